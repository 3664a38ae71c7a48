"""``flaas lab``: the demo's federation, kept running, and JupyterLab on it, signed in as the model developer."""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import InvalidInput
from . import breast_cancer
from .local import LocalFederation

NOTEBOOK = "01-first-federation.ipynb"
ANALYTICS_NOTEBOOK = "04-federated-analytics.ipynb"
COSTS_NOTEBOOK = "07-cloud-costs.ipynb"


def run_lab(home: Path, *, port: int, browser: bool, say: Callable[[str], None] = print) -> None:
    """Start federation and JupyterLab, and stop both when JupyterLab ends (Ctrl-C).

    Parameters
    ----------
    home : Path
        Where keys, data base and notebooks are kept; a second start goes on with them.
    port : int
        JupyterLab's port; the next free one is taken if it is in use.
    browser : bool
        Whether to open a browser.
    say : callable
        Receives each line of progress.

    Raises
    ------
    InvalidInput
        Code ``no-jupyterlab``: JupyterLab is not installed here.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise InvalidInput(
            "JupyterLab is not installed.", code="no-jupyterlab", hint='pip install "flaas_jupyter[lab,demo]"'
        )
    home = home.resolve()
    federation, work = demo_federation(home), home / "notebooks"
    notebook = copy_notebook(work)
    try:
        say("Starting the coordination API and three nodes …")
        start_demo_federation(federation, home)
        say(f"Coordination API at {federation.url}; nodes: {', '.join(federation.nodes)}. Ctrl-C stops everything.")
        command = [
            sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={work}", f"--port={port}",
            f"--LabApp.default_url=/lab/tree/{notebook.name}", "--LabApp.news_url=None",
            "--KernelManager.transport=ipc", *([] if browser else ["--no-browser"]),
            *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        ]  # fmt: skip
        # Kernels are reached through sockets in the runtime folder, whose paths may have 107 characters at most.
        with tempfile.TemporaryDirectory(prefix="flaas-") as runtime:
            environment = {
                **os.environ,
                "FLAAS_HOME": str(federation.developer_home.path),
                "FLAAS_URL": federation.url,
                "JUPYTER_RUNTIME_DIR": runtime,
            }
            try:
                subprocess.run(command, env=environment, check=False)  # noqa: S603 - our own command
            except KeyboardInterrupt:
                say("Stopping …")
    finally:
        federation.stop()


def demo_federation(home: Path) -> LocalFederation:
    """The demo's federation under `home`; machines that its panel launches are processes here, on the demo's data."""
    options = {"FLAAS_LOCAL_MACHINES": str(home / "data")}
    return LocalFederation(home / "federation", api_options=options, operations=("train", "analytics"))


def start_demo_federation(federation: LocalFederation, home: Path) -> None:
    """Start it on the demo's data and wait until its nodes are online."""
    files = breast_cancer.load().write(home / "data")
    federation.start({name: {breast_cancer.DATASET: path} for name, path in files.items()}, breast_cancer.TARGET)
    federation.wait_online()
    federation.approve_launches()


def copy_notebook(work: Path) -> Path:
    """Put the notebooks into `work`, unless the user has them there already; return the first one's path."""
    work.mkdir(parents=True, exist_ok=True)
    for name in (NOTEBOOK, ANALYTICS_NOTEBOOK, COSTS_NOTEBOOK):
        if not (work / name).exists():
            shutil.copyfile(_notebook(name), work / name)
    return work / NOTEBOOK


def _notebook(name: str) -> Path:
    """A notebook as installed with the package, or in a checkout."""
    packaged = Path(str(importlib.resources.files("flaas_jupyter"))) / "demo" / name
    checkout = Path(__file__).parents[2] / "notebooks" / name
    return packaged if packaged.exists() else checkout
