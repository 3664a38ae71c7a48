"""Azurite, Microsoft's own emulator of Azure Blob Storage, for the tests of ``az://`` sources.

It is an npm package with 450 dependencies, so it is no dependency of the front end: this command installs it by itself,
with npm, into ``.venv/azurite``, from where the tests start it. Where it is not installed those tests are skipped.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "3.37.0"
FOLDER = Path(sys.prefix) / "azurite"
MISSING = "Azurite is not installed: python tests/azurite.py (it needs npm)"
# Azurite's own, printed in its documentation.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def find() -> Path | None:
    """Return the program of the blob service, None if it is not there."""
    program = FOLDER / "node_modules/azurite/dist/src/blob/main.js"
    return program if program.exists() and shutil.which("node") else None


def install() -> str:
    """Install it where it is not; say what there is now."""
    npm = shutil.which("npm")
    if find() is None and npm is not None:
        command = [npm, "install", "--prefix", str(FOLDER), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        FOLDER.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, f"azurite@{VERSION}"], stdout=subprocess.DEVNULL, check=False, timeout=240)
    found = find()
    return f"Azurite: {found}" if found else f"{MISSING}. Its tests are skipped."


class Azurite:
    """A running blob service, with everything in memory; `stop` ends it."""

    def __init__(self, program: Path) -> None:
        options = ["--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
        self._process = subprocess.Popen(
            ["node", str(program), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        told = []
        for line in self._process.stdout:
            told.append(line)
            if "successfully listens on" in line:
                self.url = line.split()[-1].rstrip("/")
                return
        raise RuntimeError("Azurite did not start:\n" + "".join(told))

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate(timeout=30)


if __name__ == "__main__":
    print(install())
