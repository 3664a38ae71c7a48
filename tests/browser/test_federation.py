"""The whole product, as the README promises it: three real nodes, the first notebook, the panel."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from flaas_jupyter.demo import breast_cancer
from flaas_jupyter.demo.lab import NOTEBOOK, copy_notebook
from flaas_jupyter.demo.local import LocalFederation, local_federation
from flaas_jupyter.demo.run import model
from flaas_jupyter.errors import FlaasError

from .conftest import ARTIFACTS
from .lab import Lab, LabServer

LONG = 120_000  # ms


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    folder = tmp_path_factory.mktemp("federation")
    files = breast_cancer.load().write(folder / "data")
    datasets = {name: {breast_cancer.DATASET: path} for name, path in files.items()}
    with local_federation(folder / "federation", datasets, breast_cancer.TARGET) as running:
        yield running


@pytest.fixture
def lab(federation: LocalFederation, page: Page, tmp_path: Path) -> Iterator[Lab]:
    """JupyterLab as `flaas lab` starts it: signed in as the developer, the notebook at hand."""
    environment = {"FLAAS_HOME": str(federation.developer_home.path), "FLAAS_URL": federation.url}
    copy_notebook(tmp_path / "notebooks")
    with LabServer(tmp_path, environment) as server:
        yield Lab(page, server).open()


@pytest.fixture
def long_run(federation: LocalFederation) -> Iterator[list[FlaasError]]:
    """Another developer's training that would go on for a long time; the list gets what it ends with."""
    ends: list[FlaasError] = []

    def train() -> None:
        with federation.connect() as session:
            connected = session.project("demo").federation(dataset=breast_cancer.DATASET)
            try:
                model().fit(connected, rounds=1000, local_epochs=50, verbose=0, run_name="too long")
            except FlaasError as error:
                ends.append(error)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    yield ends
    thread.join(60)
    assert not thread.is_alive(), "the notebook was not told that the run is over"


def test_three_nodes_the_notebook_and_the_panel(lab: Lab, long_run: list[FlaasError]) -> None:
    panel = lab.panel
    expect(panel.nodes).to_have_count(3)
    for name in breast_cancer.SHARES:
        expect(panel.nodes.filter(has_text=name)).to_contain_text(re.compile("online", re.I))
    expect(panel.datasets.filter(has_text=breast_cancer.DATASET)).to_have_count(1)

    expect(panel.run("too long")).to_be_visible(timeout=LONG)
    expect(panel.run("too long")).to_contain_text(re.compile("running", re.I), timeout=LONG)
    panel.stop_run("too long")
    expect(panel.run("too long")).to_contain_text(re.compile("cancelled", re.I), timeout=LONG)

    notebook = lab.open_notebook(NOTEBOOK)
    notebook.run_all()
    expect(panel.run("biopsies")).to_be_visible(timeout=LONG)
    view = panel.open_run("biopsies")
    expect(panel.run("biopsies")).to_contain_text(re.compile("completed", re.I), timeout=LONG)
    expect(view.rows("Rounds")).to_have_count(10)
    expect(view.chart).to_be_visible()
    for theme in ("Light", "Dark"):
        lab.theme(f"JupyterLab {theme}")
        lab.page.screenshot(path=ARTIFACTS / f"federation-{theme.lower()}.png")

    lab.execute("docmanager:open", {"path": NOTEBOOK})
    notebook.wait_for_text("Round 10/10", timeout=LONG)
    notebook.wait_kernel_idle()
    assert notebook.errors == []
    assert [error.code for error in long_run] == ["run-cancelled"]
