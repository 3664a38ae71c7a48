"""``flaas doctor``: is everything here that this machine's role needs, and if not, what to do."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ._version import __version__
from .errors import FlaasError
from .home import Home

ROLES = {
    "node": ["iroh", "keras", "pandas", "pyarrow"],
    "lab": ["jupyterlab", "jupyter_server", "matplotlib"],
    "hub": ["fastapi", "sqlalchemy", "alembic", "uvicorn"],
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything; a check that itself fails is a finding, not an exception."""
    checks: list[Callable[[], Iterable[Finding]]] = [_python, _roles, _backend, _home, _lab_halves, _tls, _api]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # the doctor must not fall ill itself
            findings.append(Finding(check.__name__.strip("_"), "problem", f"{type(error).__name__}: {error}"))
    return findings


def _python() -> Iterable[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("flaas_jupyter", "ok", f"{__version__} on Python {version}, {sys.prefix}")


def _roles() -> Iterable[Finding]:
    for role, modules in ROLES.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            advice = f'To use this machine as {role}: pip install "flaas_jupyter[{role}]"'
            yield Finding(f"extra {role}", "warning", f"missing: {', '.join(missing)}", advice)
        else:
            yield Finding(f"extra {role}", "ok", "installed")


def _backend() -> Iterable[Finding]:
    if importlib.util.find_spec("keras") is None:
        return
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if importlib.util.find_spec(backend) is None:
        yield Finding("Keras backend", "problem", f"{backend} is not installed", f"pip install {backend}")
    else:
        yield Finding("Keras backend", "ok", backend)


def _home() -> Iterable[Finding]:
    home = Home.default()
    if not home.path.exists():
        yield Finding(
            "FLAAS_HOME",
            "warning",
            f"{home.path} is not there yet",
            "`flaas login` or `flaas node init` makes it.",
        )
        return
    private = [home.key, home.path / "credentials.json", home.policy, home.enrolment]
    exposed = [path for path in private if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in exposed:
        yield Finding(str(path), "problem", "others can read it", f"chmod 600 {path}")
    if not exposed:
        yield Finding("FLAAS_HOME", "ok", str(home.path))


def _lab_halves() -> Iterable[Finding]:
    if importlib.util.find_spec("jupyterlab") is None:
        return
    manifest = _labextension_manifest()
    if manifest is None:
        yield Finding(
            "JupyterLab panel",
            "problem",
            "the browser half is not installed",
            "Install the wheel (pip install flaas_jupyter[lab]); in a checkout: make bundle.",
        )
    else:
        built = json.loads(manifest.read_text())["version"]
        state: Literal["ok", "problem"] = "ok" if built == __version__ else "problem"
        advice = (
            "" if state == "ok" else "Reinstall flaas_jupyter, or in a checkout: make bundle; then reload the page."
        )
        yield Finding("JupyterLab panel", state, f"version {built}", advice)
    jupyter = shutil.which("jupyter", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if jupyter is None or importlib.util.find_spec("flaas_server") is None:
        yield Finding("server extension", "problem", "flaas_server is not installed", "pip install flaas_jupyter[lab]")
        return
    command = [jupyter, "server", "extension", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60)  # noqa: S603 - found above
    enabled = "flaas_server enabled" in listed.stdout + listed.stderr
    yield Finding(
        "server extension",
        "ok" if enabled else "problem",
        "enabled" if enabled else "not enabled",
        "" if enabled else "jupyter server extension enable flaas_server; then restart JupyterLab.",
    )


def _labextension_manifest() -> Path | None:
    from jupyter_core.paths import jupyter_path

    for folder in jupyter_path("labextensions"):
        manifest = Path(folder) / "@flaas" / "labextension" / "package.json"
        if manifest.exists():
            return manifest
    return None


def _tls() -> Iterable[Finding]:
    from datetime import UTC, datetime, timedelta

    from .communications.trust import Trust
    from .signing_in import url_of

    home = Home.default()
    url = url_of(home)
    if not url.startswith("https:"):
        return
    trust = Trust.of(home, url)
    if not trust.certificates:
        yield Finding("TLS", "ok", f"{url}: whom this system trusts may vouch for it")
        return
    end = min(each.not_valid_after_utc for each in trust.certificates)
    found = f"{url}: {', '.join(trust.fingerprints)} alone may vouch for it, until {end:%Y-%m-%d}"
    if datetime.now(UTC) > end - timedelta(days=30):
        advice = "Ask its administrator for the next fingerprint: `flaas login URL --ca-fingerprint sha256:…`."
        yield Finding("TLS", "warning", found, advice)
    else:
        yield Finding("TLS", "ok", found)


def _api() -> Iterable[Finding]:
    from .communications.coordinator import PATIENCE, Bearer, Coordinator
    from .communications.trust import Trust

    home = Home.default()
    credentials = home.credentials()
    if credentials.token is None:
        yield Finding("coordination API", "warning", f"no token for {credentials.url}", "`flaas login --url URL`")
        return

    async def ask(token: str) -> tuple[str, str]:
        trust = Trust.of(home, credentials.url)
        async with Coordinator(credentials.url, Bearer(token), trust=trust, retry_for=PATIENCE) as coordinator:
            health = await coordinator.get("/v1/health")
            me = await coordinator.get("/v1/me")
            roles = ", ".join(sorted({held["role"] for held in me["roles"]})) or me["kind"]
            return str(health["version"]), f"{me['subject']} ({roles})"

    try:
        version, caller = asyncio.run(ask(credentials.token))
    except FlaasError as error:
        yield Finding("coordination API", "problem", error.message, error.hint)
        return
    if version.split(".")[:2] != __version__.split(".")[:2]:
        yield Finding(
            "coordination API",
            "warning",
            f"{credentials.url} is version {version}, this is {__version__}",
            "Bring both to the same minor version.",
        )
    else:
        yield Finding("coordination API", "ok", f"{credentials.url}, version {version}, as {caller}")
