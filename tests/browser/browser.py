"""Find a Chromium, or get one: ``python tests/browser/browser.py`` before the tests, and again from their fixture.

In this order: what `FLAAS_CHROMIUM` names; a browser on the PATH; one that Playwright has downloaded; on Debian as
root the package ``chromium``; Playwright's own download. Nothing is skipped: without a browser it fails and says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


class NoBrowser(Exception):
    """There is no browser, and none could be installed."""


def find() -> Path | None:
    """Return the browser that is here, if any.

    Raises
    ------
    NoBrowser
        `FLAAS_CHROMIUM` names something that is not there.
    """
    named = os.environ.get("FLAAS_CHROMIUM")
    if named:
        found = shutil.which(named)
        if found is None:
            raise NoBrowser(f"FLAAS_CHROMIUM is {named!r}, which is not a program. Unset it, or name a Chromium.")
        return Path(found)
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    return _downloaded()


def ensure(say: Callable[[str], None] = lambda line: None) -> Path:
    """Return a browser, installing one if need be.

    Raises
    ------
    NoBrowser
        None is here and none could be installed; the message says what to do.
    """
    if found := find():
        return found
    attempts: list[str] = []
    for what, commands in _installations():
        say(f"No browser here; installing: {what}")
        failure = _run(commands)
        if failure is None and (found := find()):
            return found
        attempts.append(f"{what}: {failure or 'installed, but not found'}")
    raise NoBrowser(
        "The browser tests need Chromium or Chrome, and none could be had.\n  "
        + "\n  ".join(attempts)
        + "\nInstall one, or name one with FLAAS_CHROMIUM=/path/to/chromium."
    )


def _installations() -> list[tuple[str, list[list[str]]]]:
    ways = [("Playwright's own download", [[sys.executable, "-m", "playwright", "install", "chromium"]])]
    if shutil.which("apt-get") and os.geteuid() == 0:
        apt = ["apt-get", "-q", "-y"]
        ways.insert(0, ("Debian's package", [[*apt, "update"], [*apt, "install", "chromium"]]))
    return ways


def _run(commands: list[list[str]]) -> str | None:
    """Run `commands` in turn; return the last line of the first that fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in commands:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode != 0:
            lines = done.stdout.strip().splitlines() or [f"exit code {done.returncode}"]
            return f"`{' '.join(command)}`: {lines[-1]}"
    return None


def _downloaded() -> Path | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    return path if path.exists() else None


if __name__ == "__main__":
    try:
        print(f"Browser for the tests: {ensure(print)}")
    except NoBrowser as error:
        sys.exit(str(error))
