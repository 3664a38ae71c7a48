"""Each peer's own virtual environment, made once with its pinned releases."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

INSTALL_SECONDS = 1800


class NotInstallable(Exception):
    """The peer cannot be installed here, for the reason given: its results are left out."""


def python_of(requirements: Path, environment: Path, project: Path) -> Path:
    """Return the interpreter of the environment, which holds exactly these requirements.

    It is made anew when they have changed, or the project file of what they install from here.

    Raises
    ------
    NotInstallable
        With pip's last words.
    """
    python, installed = environment / "bin" / "python", environment / ".installed"
    wanted = requirements.read_text()
    if "-e " in wanted:
        wanted += project.read_text()
    if installed.exists() and installed.read_text() == wanted:
        return python
    print(f"installing {requirements.parent.name} …", file=sys.stderr, flush=True)
    try:
        venv.create(environment, with_pip=True, clear=True, symlinks=True)
        # pip, not uv: it takes the build of PyTorch that the machine is set up for.
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            cwd=requirements.parent,
            # The front end is none of a benchmark's business.
            env=os.environ | {"SKIP_JUPYTER_BUILDER": "1"},
        )
    except subprocess.CalledProcessError as error:
        raise NotInstallable(last_words(error.stderr or error.stdout)) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstallable(str(error)) from error
    installed.write_text(wanted)
    return python


def last_words(output: str) -> str:
    """Return the last line that says anything."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
