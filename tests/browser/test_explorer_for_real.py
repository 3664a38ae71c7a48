"""The data explorer against real nodes: a developer, somebody whose role shows names only, and an owner."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from federation.explored import ExploredFederation
from playwright.sync_api import Locator, Page, expect

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.execution.query_log import queries_of
from flaas_jupyter.home import Credentials, Home

from .conftest import ARTIFACTS
from .lab import Lab, LabServer
from .test_explorer import begin, saved, tab

LONG = 120_000  # ms that a kernel and the nodes may take on a busy machine


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExploredFederation]:
    running = ExploredFederation(tmp_path_factory.mktemp("explored") / "federation")
    try:
        running.begin()
        yield running
    finally:
        running.end()


@contextmanager
def explorer_of(federation: ExploredFederation, home: Home, page: Page, folder: Path) -> Iterator[tuple[Lab, Locator]]:
    """The explorer in JupyterLab on somebody's machine."""
    with LabServer(folder, {"FLAAS_HOME": str(home.path), "FLAAS_URL": federation.url}) as server:
        lab = Lab(page, server).open()
        expect(lab.panel.datasets).not_to_have_count(0, timeout=LONG)
        lab.execute("flaas:open-explorer")
        found = lab.page.locator(".flaas-RunView .flaas-Explorer:visible")
        expect(found).to_be_visible()
        yield lab, found


def test_a_developer_sees_what_owners_show_and_the_nodes_write_it_down(
    federation: ExploredFederation, page: Page, tmp_path: Path
) -> None:
    pooled = federation.pooled
    with explorer_of(federation, federation.developer_home, page, tmp_path) as (lab, explorer):
        begin(explorer, "aggregates")
        expect(explorer).to_contain_text("what is about too few is withheld", timeout=LONG)
        explorer.get_by_role("button", name="age", exact=True).click()
        part = explorer.get_by_role("region", name="Distribution of age")
        expect(part).to_contain_text(f"Values{len(pooled)}", timeout=LONG)
        rows = list(csv.DictReader(io.StringIO(saved(lab.page, part, "CSV")[1].decode("utf-8-sig"))))
        assert sum(int(row["rows"]) for row in rows) == len(pooled)
        lab.page.screenshot(path=ARTIFACTS / "explorer-real-distribution.png")
        part = tab(explorer, "Labels")
        part.get_by_role("button", name="Show as table").click(timeout=LONG)
        counts = part.get_by_role("table").locator("tbody tr")
        for place, count in enumerate(pooled["sick"].value_counts().sort_index()):
            expect(counts.nth(place)).to_contain_text(str(count))
        part = tab(explorer, "Drift")
        expect(part).to_contain_text(re.compile("west: "), timeout=LONG)  # its owner does not let it be told

        tab(explorer, "Overview")
        begin(explorer, "private")
        expect(explorer).to_contain_text("each look spends of your privacy budget", timeout=LONG)
        part = tab(explorer, "Distribution")
        part.get_by_label("age", exact=True).check()
        explorer.get_by_label("Privacy ε").fill("0.5")
        part.get_by_label("Least value").fill("0")
        part.get_by_label("Greatest value").fill("100")
        part.get_by_role("button", name="Look, and spend ε 0.5 at each node").click(timeout=LONG)
        expect(part).to_contain_text("Privacy spent, ε0.5", timeout=LONG)
        meter = part.get_by_role("meter", name="Privacy budget at north")
        expect(meter).to_have_attribute("aria-valuetext", re.compile(r"ε 0\.[1-5]\d* of 4 spent"), timeout=LONG)
        lab.page.screenshot(path=ARTIFACTS / "explorer-real-private.png")

        tab(explorer, "Overview")
        begin(explorer, "schema")
        expect(explorer).to_contain_text("You see names and types of columns, and no figures.", timeout=LONG)
        begin(explorer, "nothing")
        expect(explorer).to_contain_text("You see nothing of this data set", timeout=LONG)
        expect(explorer.get_by_role("table", name="Columns")).not_to_contain_text("income")
        assert "income" not in lab.server.output.read_text()
    developer = Identity.load_or_create(federation.developer_home.key).node_id[:12]
    for node in federation.nodes.values():
        looks = {each["operation"] for each in queries_of(node.home, "aggregates") if each["developer"] == developer}
        assert {"explore-nodes", "explore-column", "explore-labels", "explore-drift"} <= looks


@pytest.mark.long
def test_a_role_without_figures_is_told_so(federation: ExploredFederation, page: Page, tmp_path: Path) -> None:
    federation.person("viewer").close()
    home = Home(federation.folder / "people" / "viewer-explorer")
    with explorer_of(federation, home, page, tmp_path) as (_, explorer):
        begin(explorer, "aggregates")
        expect(explorer).to_contain_text("You see names and types of columns, and no figures.", timeout=LONG)
        part = tab(explorer, "Distribution")
        expect(part).to_contain_text("data:explore")
        expect(part.get_by_role("radio")).to_have_count(0)


@pytest.mark.long
def test_an_owner_sees_the_own_rows_exactly(federation: ExploredFederation, page: Page, tmp_path: Path) -> None:
    home = federation.nodes["north"].home
    home.save_credentials(Credentials(federation.url, federation.token("north", "data-owner")))
    with explorer_of(federation, home, page, tmp_path) as (_, explorer):
        begin(explorer, "schema")
        explorer.get_by_label("Only my own rows, at north").check(timeout=LONG)
        expect(explorer).to_contain_text("You see your own rows, exactly.", timeout=LONG)
        explorer.get_by_role("button", name="income", exact=True).click()
        mean = federation.tables["north"]["income"].mean()
        part = explorer.get_by_role("region", name="Distribution of income")
        expect(part).to_contain_text(f"Mean{float(f'{mean:.4g}'):g}", timeout=LONG)
        expect(part).to_contain_text(f"Values{len(federation.tables['north'])}")
