"""The costs notebook, from sign-in to a trained model on launched machines, as `flaas lab` offers it."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from nbclient import NotebookClient

from flaas_jupyter.cli import main
from flaas_jupyter.demo import breast_cancer
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.widgets import CostWizard

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "07-cloud-costs.ipynb"


@pytest.fixture
def laboratory(tmp_path):
    """A federation without nodes, whose API may launch them on this machine, and whose administrator signs for them."""
    data = tmp_path / "data"
    breast_cancer.load().write(data)
    options = {"FLAAS_LOCAL_MACHINES": str(data), "FLAAS_LAUNCH_TICK": "0.2", "FLAAS_LAUNCH_LOOK": "0.5"}
    federation = LocalFederation(tmp_path / "federation", api_options=options)
    try:
        federation.start({}, None)
        federation.approve_launches(0.3)
        yield federation
    finally:
        federation.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_costs_notebook_runs_from_sign_in_to_a_trained_model(laboratory, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(laboratory.developer_home.path))
    monkeypatch.setenv("FLAAS_URL", laboratory.url)
    monkeypatch.delenv("FLAAS_NOTEBOOK_PROVIDER", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are committed without outputs"
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    outputs = json.dumps(notebook.cells)
    assert "Google Cloud" in outputs
    assert "Pinning berlin to area DE costs" in outputs
    assert "Round 10/10" in outputs
    (launch,) = laboratory.get("/v1/projects/demo/launches")["_embedded"]["launches"]
    assert launch["state"] == "ended"
    assert {node["state"] for node in launch["nodes"]} == {"ended"}


@pytest.mark.slow
@pytest.mark.long
def test_the_wizard_launches_and_ends(laboratory):
    with laboratory.connect() as session:
        wizard = CostWizard(session=session)
        wizard.choose_template("tabular-small")
        wizard.compare(nodes=3)
        wizard.choose_provider("local")
        assert wizard.state["project"] == "demo"
        wizard.launch(0.0, hours=1.0)
        assert wizard.state["step"] == "follow"
        wizard.launched.wait(["ready"], timeout=120)
        wizard.refresh()
        assert {node["state"] for node in wizard.state["launch"]["nodes"]} == {"joined"}
        wizard.end()
        wizard.launched.wait(["ended"], timeout=60)
        wizard.refresh()
        assert wizard.state["launch"]["state"] == "ended"


@pytest.mark.slow
@pytest.mark.long
def test_the_same_from_the_command_line(laboratory, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(laboratory.developer_home.path))
    monkeypatch.setenv("FLAAS_URL", laboratory.url)
    monkeypatch.delenv("FLAAS_TOKEN", raising=False)

    def flaas(*arguments, code=0, text=None):
        done = CliRunner().invoke(main, ["costs", *arguments], input=text)
        assert done.exit_code == code, done.output
        return done.stdout

    assert "This machine" in flaas("recommend", "tabular-small")
    order = ("launch", "tabular-small", "--project", "demo", "--provider", "local", "--nodes", "1", "--hours", "1")
    flaas(*order, code=1, text="n\n")
    assert laboratory.get("/v1/projects/demo/launches")["_embedded"]["launches"] == [], "nothing without consent"
    launched = json.loads(flaas(*order, "--yes", "--title", "By hand", "--json"))
    assert launched["state"] == "ready"
    assert [node["state"] for node in launched["nodes"]] == ["joined"]
    assert "By hand" in flaas("launches", "demo")
    assert launched["id"] in flaas("follow", launched["id"])
    assert flaas("resume", launched["id"], code=1) == ""
    summary = json.loads(flaas("bill", "--group", "node", "--json"))
    assert summary["billed"] == []
    token = laboratory.token("laboratory", "cost-manager")
    monkeypatch.setenv("FLAAS_TOKEN", token)
    assert "25" in flaas("budget", "demo", "25")
    assert "None" in flaas("budget", "demo", "--none")
    assert "is ended" in flaas("end", launched["id"])
