"""JupyterLab as a real process, and what a person does in it, by the names that the person reads."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Locator, Page, Response, expect

BASE_URL = "/user/ana/"
TIMEOUT = 30_000  # ms that JupyterLab may take for one thing


class LabServer:
    """A JupyterLab of its own: settings, workspaces, notebooks and `FLAAS_HOME` are all under `folder`."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.root = folder / "notebooks"
        self.flaas_home = folder / "flaas"
        self.url = ""
        self.token = "lab-token"
        self.output = folder / "jupyter.log"
        self._environment = dict(environment or {})
        # Kernels' sockets are in it, and a socket's path has at most 107 characters.
        self._runtime = tempfile.mkdtemp(prefix="lab-")
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()

    def __enter__(self) -> LabServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return when JupyterLab answers.

        Raises
        ------
        RuntimeError
            It ended, or did not say within a minute that it runs; with the end of its output.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        news = self.folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        news.parent.mkdir(parents=True, exist_ok=True)
        news.write_text('{"fetchNews": "false"}')  # or a pop-up covers a corner of the page
        inherited = {name: value for name, value in os.environ.items() if name not in {"FLAAS_TOKEN", "FLAAS_URL"}}
        environment = {
            **inherited,
            "FLAAS_HOME": str(self.flaas_home),
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_RUNTIME_DIR": self._runtime,
            "JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "workspaces"),
            "PYTHONUNBUFFERED": "1",
            **self._environment,
        }
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
            f"--port={_free_port()}", f"--ServerApp.base_url={BASE_URL}", f"--ServerApp.root_dir={self.root}",
            f"--IdentityProvider.token={self.token}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.expose_app_in_browser=True", "--KernelManager.transport=ipc",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._read_output, daemon=True).start()
        if not self._ready.wait(60) or self._process.poll() is not None:
            self.stop()
            raise RuntimeError(f"JupyterLab did not start:\n{self.output.read_text()[-3000:]}")
        # It says that it runs a moment before it takes connections.
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            client.get(f"{self.url}api/status", params={"token": self.token}).raise_for_status()

    def stop(self) -> None:
        """Stop it and its kernels."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._runtime, ignore_errors=True)

    def _read_output(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self.output.open("w") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                # JupyterLab takes another port if this one was taken meanwhile, and says which.
                if not self.url and (address := re.search(rf"http://127\.0\.0\.1:\d+{BASE_URL}", line)):
                    self.url = address[0]
                    self._ready.set()
        self._ready.set()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Lab:
    """JupyterLab in a page."""

    def __init__(self, page: Page, server: LabServer) -> None:
        self.page = page
        self.server = server
        page.set_default_timeout(TIMEOUT)

    # ---- JupyterLab -------------------------------------------------------------------------------

    def open(self, *, reset: bool = True) -> Lab:
        """Open JupyterLab, in an empty workspace unless `reset` is false."""
        self.page.goto(f"{self.server.url}lab?token={self.server.token}{'&reset' if reset else ''}")
        self.wait_ready()
        if reset:  # the launcher opens by itself then, and takes the focus from whatever has it
            self.page.locator(".jp-Launcher").wait_for()
        return self

    def reload(self) -> Lab:
        """Reload the page, as a person would."""
        self.page.reload()
        return self.wait_ready()

    def wait_ready(self) -> Lab:
        """Wait until JupyterLab is there and has restored what was open."""
        self.page.wait_for_selector("#jp-main-dock-panel", state="visible")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")
        self.page.wait_for_function("() => window.jupyterapp")
        self.page.evaluate("async () => { await window.jupyterapp.restored; }")
        return self

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> None:
        """Execute a command of JupyterLab."""
        self.page.evaluate(
            "async ([id, args]) => { await window.jupyterapp.commands.execute(id, args); }", [command, arguments or {}]
        )

    def theme(self, name: str) -> None:
        """Switch to the theme ``JupyterLab Light`` or ``JupyterLab Dark``, and wait until it is loaded."""
        self.execute("apputils:change-theme", {"theme": name})
        self.page.wait_for_selector(f'body[data-jp-theme-name="{name}"]', state="attached")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    @contextmanager
    def saving(self, text: str) -> Iterator[None]:
        """Wait until JupyterLab has saved, by itself, a workspace with `text` in it; what changes it goes inside."""

        def saved(response: Response) -> bool:
            request = response.request
            return request.method == "PUT" and "/workspaces/" in request.url and text in (request.post_data or "")

        with self.page.expect_response(saved):
            yield

    def open_notebook(self, path: str) -> Notebook:
        """Open the notebook at `path`, and wait for its kernel."""
        self.execute("docmanager:open", {"path": path})
        widget = self.page.locator(".jp-NotebookPanel:visible")
        widget.locator(".jp-Notebook").wait_for()
        notebook = Notebook(self, widget, path)
        notebook.wait_kernel_idle()
        return notebook

    def dialog(self, title: str) -> Locator:
        """The dialog with this title."""
        return self.page.locator(".jp-Dialog-content").filter(has_text=title)

    @property
    def panel(self) -> Panel:
        """The panel, open."""
        panel = Panel(self)
        if not panel.root.is_visible():
            self.page.get_by_role("tab", name="Federated learning").click()
        panel.root.wait_for()
        return panel

    @property
    def status_item(self) -> Locator:
        """What the status bar says of the federation."""
        return self.page.locator(".flaas-StatusItem button")

    def run_view(self, name: str) -> RunView:
        """The view of the run `name`, which is open."""
        return RunView(self.page.locator(".flaas-RunView").filter(has=self.page.get_by_role("heading", name=name)))


class Panel:
    """The panel "Federated learning"."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.root = lab.page.get_by_role("region", name="Federated learning", exact=True)

    def sign_in(self, url: str, token: str) -> None:
        """Fill in the form and send it."""
        self.root.get_by_label("Address of the coordination API").fill(url)
        self.root.get_by_label("Token").fill(token)
        self.root.get_by_role("button", name="Sign in").click()

    def pick_project(self, name: str) -> None:
        """Show another project."""
        self.root.get_by_role("combobox", name="Project").select_option(label=name)

    def table(self, name: str) -> Locator:
        """The rows of the table "Nodes" or "Data sets"."""
        return self.root.get_by_role("table", name=name, exact=True).locator("tbody tr")

    @property
    def nodes(self) -> Locator:
        """One row for each node."""
        return self.table("Nodes")

    @property
    def datasets(self) -> Locator:
        """One row for each data set."""
        return self.table("Data sets")

    @property
    def runs(self) -> Locator:
        """One item for each run, newest first."""
        return self.root.get_by_role("list", name="Runs").get_by_role("listitem")

    def run(self, name: str) -> Locator:
        """The item of one run."""
        return self.runs.filter(has_text=name)

    def open_run(self, name: str) -> RunView:
        """Click on a run."""
        self.run(name).get_by_role("button", name=name).first.click()
        view = self.lab.run_view(name)
        view.root.wait_for()
        return view

    def stop_run(self, name: str) -> None:
        """Stop a run, and say yes."""
        self.run(name).get_by_role("button", name="Stop the run").click()
        self.lab.dialog("Stop the run").get_by_role("button", name="Stop the run").click()

    def wait_for_text(self, text: str | re.Pattern[str], timeout: float = TIMEOUT) -> None:
        """Wait until the panel says `text`."""
        expect(self.root).to_contain_text(text, timeout=timeout)


class RunView:
    """The view of a run in the main area."""

    def __init__(self, root: Locator) -> None:
        self.root = root

    @property
    def chart(self) -> Locator:
        """The chart, as who cannot see it meets it."""
        return self.root.get_by_role("img", name=re.compile("Line chart"))

    def rows(self, table: str) -> Locator:
        """Rows of a table: "Rounds", "Participants", "Metrics by round"."""
        return self.root.get_by_role("table", name=table, exact=True).locator("tbody tr")

    @property
    def events(self) -> Locator:
        """The event log, newest first."""
        return self.root.get_by_role("list", name="Events").get_by_role("listitem")


class Notebook:
    """An open notebook."""

    def __init__(self, lab: Lab, root: Locator, path: str) -> None:
        self.lab = lab
        self.root = root
        self.path = path

    def wait_kernel_idle(self, timeout: float = 120_000) -> None:
        """Wait until there is a kernel and it has nothing to do; the indicator says "idle" without a kernel, too."""
        expect(self.root.locator(".jp-Toolbar-kernelName")).not_to_have_text("No Kernel", timeout=timeout)
        self.root.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=timeout)

    def run_all(self) -> None:
        """Run all cells, without waiting for them."""
        # The command's promise is kept when the last cell is done.
        self.lab.page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def wait_for_text(self, text: str | re.Pattern[str], timeout: float = 300_000) -> None:
        """Wait until some output says `text`."""
        expect(self.root.locator(".jp-OutputArea-output").filter(has_text=text).first).to_be_visible(timeout=timeout)

    @property
    def errors(self) -> list[str]:
        """What cells failed with; on the page an error looks as a warning does, hence from the model."""
        found: list[str] = self.lab.page.evaluate(
            """path => [...window.jupyterapp.shell.widgets('main')]
              .filter(widget => widget.context?.path === path)
              .flatMap(widget => widget.content.model.toJSON().cells)
              .flatMap(cell => cell.outputs ?? [])
              .filter(output => output.output_type === 'error')
              .map(output => `${output.ename}: ${output.evalue}`)""",
            self.path,
        )
        return found
