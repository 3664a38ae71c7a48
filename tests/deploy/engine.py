"""Podman for the tests: a base image made with debootstrap where none is named, builds, and containers that end.

Nothing is pulled: `FLAAS_TEST_BASE` names an image that is there, else Debian's own packages make one, once, under
/var/tmp. Builds reach the package index that pip reaches here, with the certificates that this machine trusts.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
VERSION = json.loads((ROOT / "package.json").read_text())["version"]
TARGETS = ("api", "node", "node-lab", "relay")
HARDENED = ("--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=ALL", "--security-opt=no-new-privileges")
PASSWORD = "the-password-of-a-package-index"
_DEBIAN = "bookworm"
_ROOT_FILES = Path("/var/tmp/flaas-base")
_BASE = f"localhost/flaas-base:{_DEBIAN}"
_NEEDED = "ca-certificates,python3,python3-venv,python3-pip"


def missing() -> str | None:
    """Say what lacks, None if nothing does."""
    if os.geteuid() != 0:
        return "these containers are built and run as root"
    for program in ("podman", "make", *(() if os.environ.get("FLAAS_TEST_BASE") else ("debootstrap",))):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


class Engine:
    """Podman with settings of its own in `folder`.

    Without systemd nothing runs health checks on a timer: the tests run them, as a timer would.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        limits = {
            name: resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1] for name in ("nofile", "nproc")
        }
        # Podman would raise limits, which a machine that is itself confined may refuse.
        kept = [
            f'"{name}={min(limit, 1024) if limit > 0 else 1024}:{min(limit, 1024) if limit > 0 else 1024}"'
            for name, limit in limits.items()
        ]
        runtime = 'runtime = "runc"\n' if shutil.which("runc") else ""
        settings = folder / "containers.conf"
        settings.write_text(f"[containers]\ndefault_ulimits = [{', '.join(kept)}]\n[engine]\n{runtime}")
        self.environment = {**os.environ, "CONTAINERS_CONF": str(settings), "DISABLE_HC_SYSTEMD": "true"}

    def __call__(self, *words: str, check: bool = True, timeout: float = 300) -> str:
        """Run ``podman`` with `words` and return its standard output."""
        done = subprocess.run(
            ["podman", "--log-level=error", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"podman {' '.join(words)}\n{done.stdout}\n{done.stderr}")
        return done.stdout.strip()

    def build(self) -> str:
        """Build all images, or take those there where `FLAAS_TEST_IMAGES` is ``present``; return their sizes."""
        if os.environ.get("FLAAS_TEST_IMAGES") == "present":
            return "\n".join(
                f"{image(each)} {self('images', '--format={{.Size}}', image(each)).splitlines()[0]}" for each in TARGETS
            )
        netrc = self._folder / "netrc"
        netrc.write_text(f"machine index.invalid login somebody password {PASSWORD}\n")
        authorities = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        options = [f"--secret id=netrc,src={netrc}", f"--secret id=ca,src={authorities}", "--network=host"]
        index = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        if index:
            options.append(f"--build-arg INDEX={index}")
        wheel = os.environ.get("FLAAS_TEST_WHEEL", "source")
        done = subprocess.run(
            ["make", "images", f"BASE={self._base()}", f"WHEEL={wheel}", f"BUILD_OPTIONS={' '.join(options)}"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return "\n".join(line for line in done.stdout.splitlines() if line.startswith("localhost/flaas-"))

    def _base(self) -> str:
        if named := os.environ.get("FLAAS_TEST_BASE"):
            return named
        if self("images", "--quiet", _BASE):
            return _BASE
        archive = _ROOT_FILES / f"{_DEBIAN}.tar"
        if not archive.exists():
            made = _ROOT_FILES / "root"
            shutil.rmtree(made, ignore_errors=True)
            _ROOT_FILES.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={_NEEDED}", _DEBIAN, str(made)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            subprocess.run(["tar", "-C", str(made), "-cf", f"{archive}.part", "."], check=True)
            Path(f"{archive}.part").rename(archive)
            shutil.rmtree(made)
        self("import", str(archive), _BASE)
        return _BASE


def image(target: str) -> str:
    """Return the name of a built image."""
    return f"localhost/flaas-{target}:{VERSION}"


def wait_until(what: str, true: Callable[[], Any], seconds: float = 120) -> Any:
    """Return the first true value of `true`; fail with `what` after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        if found := true():
            return found
        assert time.monotonic() < end, f"not after {seconds:.0f} s: {what}"
        time.sleep(0.5)
