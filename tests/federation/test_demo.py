"""The demo and the first notebook, as a newcomer runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from flaas_jupyter.demo import breast_cancer
from flaas_jupyter.demo.local import local_federation

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01-first-federation.ipynb"


def test_the_demo_reports_what_it_promises(tmp_path):
    report = tmp_path / "report.json"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "REPORT": str(report), "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-m", "flaas_jupyter.cli", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(report.read_text())
    accuracy = figures["accuracy"]
    assert accuracy["federated"] >= accuracy["centralised"] - 0.01
    assert set(accuracy["local"]) == set(breast_cancer.SHARES)
    assert accuracy["federated"] > max(accuracy["local"].values())
    assert figures["nodes"] == 3
    assert figures["rounds"] > 1
    parameters = 30 * 12 + 12 + 12 + 1
    # Every round carries the model to each node, and a masked vector of its length back.
    assert figures["bytes"]["mesh"] > figures["rounds"] * 2 * 2 * 4 * parameters
    assert figures["bytes"]["api"] > 0
    assert set(figures["seconds"]) >= {"start", "federated", "round_overhead"}
    assert "Round" in done.stdout
    assert not list(temporary.glob("flaas-demo-*")), "it leaves nothing behind"


def test_the_first_notebook_runs(tmp_path, monkeypatch):
    files = breast_cancer.load().write(tmp_path / "data")
    datasets = {name: {breast_cancer.DATASET: file} for name, file in files.items()}
    with local_federation(tmp_path / "federation", datasets, breast_cancer.TARGET) as federation:
        monkeypatch.setenv("FLAAS_HOME", str(federation.developer_home.path))
        monkeypatch.setenv("FLAAS_URL", federation.url)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    outputs = json.dumps(notebook.cells)
    assert "Round 10/10" in outputs
    assert "completed" in outputs, "%flaas runs lists the run"
