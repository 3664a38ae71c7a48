"""JupyterHub as a real process, with its own proxy and with people who only have to say their names.

The proxy is an npm package of its own, so it is no dependency of the front end: this command installs it by itself,
with npm, into ``.venv/hub``, from where the tests start it. Where it is not installed those tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

PROXY_VERSION = "5.3.0"
FOLDER = Path(sys.prefix) / "hub"
MISSING = "JupyterHub's proxy is not installed: python tests/browser/hub.py (it needs npm)"
PREFIX = "/jupyter/"
"""Of the hub itself; a person's server is below it, as it is where a hub is one of several things on a host."""
START_SECONDS = 120.0

_CONFIG = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}{prefix}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.Authenticator.allow_all = True
c.ConfigurableHTTPProxy.command = ["node", "{proxy}"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/home/{{username}}"
c.Spawner.cmd = [{python!r}, "-P", "-m", "jupyterhub.singleuser"]
c.Spawner.args = [
    "--allow-root",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.expose_app_in_browser=True",
]
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = c.Spawner.start_timeout = 120
"""


def find() -> Path | None:
    """Return the proxy's program, None if it is not there."""
    program = FOLDER / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    return program if program.exists() and shutil.which("node") else None


def install() -> str:
    """Install it where it is not; say what there is now."""
    npm = shutil.which("npm")
    if find() is None and npm is not None:
        command = [npm, "install", "--prefix", str(FOLDER), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        FOLDER.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, f"configurable-http-proxy@{PROXY_VERSION}"], stdout=subprocess.DEVNULL,
                           check=False, timeout=240)  # fmt: skip
    found = find()
    return f"JupyterHub's proxy: {found}" if found else f"{MISSING}. Its tests are skipped."


class Hub:
    """A hub under `folder`; use it as a context."""

    def __init__(self, folder: Path, proxy: Path) -> None:
        self.folder = folder
        self._proxy = proxy
        port, hub_port, api_port = _free_ports(3)
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}{PREFIX}"
        self.output = folder / "hub.log"
        config = _CONFIG.format(
            port=port, hub_port=hub_port, api_port=api_port, prefix=PREFIX, folder=folder, proxy=proxy,
            python=sys.executable,
        )  # fmt: skip
        (folder / "jupyterhub_config.py").write_text(config)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Hub:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLAAS_", "JUPYTER"))}
        with self.output.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(self.folder / "jupyterhub_config.py")],
                cwd=self.folder, env=kept, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"JupyterHub did not start:\n{self.output.read_text()[-3000:]}")
            time.sleep(0.2)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, its proxy and the people's servers."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def flaas_home(self, name: str) -> Path:
        """Where what a person is signed in with is kept."""
        return self.folder / "home" / name / ".flaas"

    def server(self, name: str) -> str:
        """Return the path of a person's server."""
        return f"{PREFIX}user/{name}/"

    def sign_in(self, page: Any, name: str) -> None:
        """Sign somebody in at the hub, and wait for their JupyterLab."""
        page.goto(f"{self.url}hub/login")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill("anything")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{self.origin}{self.server(name)}lab**", timeout=START_SECONDS * 1000)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}hub/health", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


if __name__ == "__main__":
    print(install())
