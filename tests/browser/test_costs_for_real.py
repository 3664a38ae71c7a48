"""The wizard from a template to a trained model: a real API, real machines (processes here), a real notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from flaas_jupyter.demo import breast_cancer
from flaas_jupyter.demo.local import LocalFederation

from .lab import Lab, LabServer
from .test_costs import Wizard, picture, smaller, view_of

LONG = 180_000  # ms
HOSPITALS = tuple(breast_cancer.SHARES)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    """A project without nodes, at an API that may launch on this machine, as in `flaas lab`."""
    folder = tmp_path_factory.mktemp("launched")
    breast_cancer.load().write(folder / "data")
    options = {"FLAAS_LOCAL_MACHINES": str(folder / "data"), "FLAAS_LAUNCH_TICK": "0.2", "FLAAS_LAUNCH_LOOK": "0.5"}
    running = LocalFederation(folder / "federation", api_options=options)
    try:
        running.start({}, None)
        running.approve_launches(0.3)
        yield running
    finally:
        running.stop()


@pytest.fixture
def lab(federation: LocalFederation, page: Page, tmp_path: Path) -> Iterator[Lab]:
    environment = {"FLAAS_HOME": str(federation.developer_home.path), "FLAAS_URL": federation.url}
    with LabServer(tmp_path, environment) as server:
        yield Lab(page, server).open()


@pytest.mark.timeout(600)
def test_from_a_template_to_a_trained_model(lab: Lab, federation: LocalFederation) -> None:
    wizard = Wizard(lab).open()
    root = wizard.root
    wizard.to_prices("Table, small network")
    root.locator("summary", has_text="Where each node has to be").click()
    for number, name in enumerate(HOSPITALS, 1):
        root.get_by_label(f"Name of node {number}").fill(name)
    root.get_by_label("Rounds", exact=True).fill("8")
    wizard.press("Compare prices anew")
    expect(root.get_by_role("region", name="Google Cloud", exact=True)).to_be_visible()
    wizard.press("Choose")
    root.get_by_role("radio", name="This machine", exact=True).check()
    wizard.press("Show the plan")
    expect(wizard.rows("Plan")).to_have_count(3)
    root.get_by_label("Data set", exact=True).fill("launched-biopsies")
    root.get_by_label("Source").fill("{node}.csv")
    root.get_by_label("Target column").fill(breast_cancer.TARGET)
    wizard.accept()
    wizard.press("Launch")

    for name in HOSPITALS:
        expect(wizard.rows("Machines").filter(has_text=name)).to_contain_text("joined", timeout=LONG)
    expect(lab.panel.nodes).to_have_count(3)
    wizard.press("Open training notebook")
    notebook = lab.page.locator(".jp-NotebookPanel:visible")
    expect(notebook.locator(".jp-Notebook")).to_contain_text("Round 8/8", timeout=LONG)
    expect(notebook.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)

    lab.execute("flaas:open-wizard")
    expect(root.get_by_role("region", name="Training")).to_contain_text("completed", timeout=LONG)
    smaller(lab)
    picture(lab.page, "8-trained")
    (run,) = federation.get("/v1/projects/demo/runs")["_embedded"]["runs"]
    assert (run["state"], run["round"]) == ("completed", 8)

    wizard.press("End")
    lab.dialog("End the launch").get_by_role("button", name="End the machines").click()
    expect(root).to_contain_text("Ended: nothing of it is left running", timeout=LONG)
    (launch,) = federation.get("/v1/projects/demo/launches")["_embedded"]["launches"]
    assert launch["state"] == "ended"
    lab.execute("flaas:open-costs")
    expect(view_of(lab, "Costs")).to_contain_text(re.compile("estimate", re.IGNORECASE))
