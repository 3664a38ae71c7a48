"""The graph of connections between nodes, in the panel and in the main area."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from .conftest import ARTIFACTS
from .contrast import texts
from .fake_api import TOKEN, FakeApi
from .lab import Lab, Panel

IMAGES = Path(__file__).parents[2] / "docs" / "images"
THEMES = ["JupyterLab Light", "JupyterLab Dark"]


@pytest.fixture
def panel(lab: Lab, fake_api: FakeApi) -> Panel:
    """The panel, with a graph of three nodes: one pair direct, one by a relay, one not connected."""
    fake_api.mesh.connect("hospital-a", "hospital-b")
    fake_api.mesh.connect("hospital-b", "hospital-c", "relay", rtt=0.048, rate=1.2e6)
    panel = lab.panel
    panel.sign_in(fake_api.url, TOKEN)
    expect(panel.nodes).to_have_count(3)
    return panel


def opened(panel: Panel) -> Locator:
    """The part of the panel with the graph."""
    heading = panel.lab.page.get_by_role("heading", name="Connections", exact=True)
    part = panel.root.locator("details.flaas-Part").filter(has=heading)
    part.locator("summary").click()
    return part


def test_the_keyboard_walks_over_connections_and_a_table_has_them_too(panel: Panel) -> None:
    part, page = opened(panel), panel.lab.page
    graph = part.get_by_role("application", name="Connections between nodes: 3 nodes, 2 connections")
    graph.focus()
    page.keyboard.press("ArrowRight")
    told = part.get_by_role("status")
    expect(told).to_have_text("hospital-a and hospital-b: direct, round trip 12.5 ms, throughput 25.0 MB/s")
    page.keyboard.press("ArrowRight")
    expect(told).to_have_text("hospital-b and hospital-c: relay, round trip 48 ms, throughput 1.2 MB/s")
    graph.locator("[data-kind=direct] .flaas-Mesh-hold").hover()
    expect(told).to_contain_text("hospital-a and hospital-b")
    expect(part).to_contain_text("Not connected: hospital-a and hospital-c.")
    part.get_by_role("button", name="Show as table").click()
    rows = part.get_by_role("table", name="Connections between nodes").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text(re.compile("hospital-b and hospital-c.*relay.*48 ms.*1.2 MB/s", re.S))


def test_what_changes_is_seen_and_what_fails_is_told(panel: Panel, fake_api: FakeApi) -> None:
    part = opened(panel)
    expect(part).to_contain_text("2 of 3 pairs are connected")
    fake_api.mesh.connect("hospital-a", "hospital-c", "tls")
    expect(part).to_contain_text("3 of 3 pairs are connected")  # by itself, within ten seconds
    expect(part.locator("[data-kind=tls]")).to_have_count(1)
    fake_api.mesh.links = [link for link in fake_api.mesh.links if fake_api.nodes["hospital-c"]["id"] not in
                           (link["from"], link["to"])]  # fmt: skip
    fake_api.set_online("hospital-c", online=False)
    expect(part).to_contain_text("Offline: hospital-c.")
    fake_api.mesh.failing = True
    expect(part.get_by_role("alert")).to_contain_text("Not up to date: The data base is away")
    expect(part.get_by_role("application")).to_be_visible()
    fake_api.mesh.failing = False
    part.get_by_role("button", name="Retry").click()
    expect(part.get_by_role("alert")).to_have_count(0)


def test_it_can_be_read_in_light_and_dark(panel: Panel, fake_api: FakeApi) -> None:
    part, lab = opened(panel), panel.lab
    for number, kind in enumerate(("direct", "relay", "tls", "direct", "direct")):
        name = f"clinic-{number}"
        fake_api.add_node(name)
        for other in ("hospital-a", "hospital-b", "hospital-c")[: 1 + number % 3]:
            fake_api.mesh.connect(name, other, kind)
    part.get_by_role("button", name="Open with more room").click()
    view = lab.page.locator(".flaas-RunView").filter(
        has=lab.page.get_by_role("heading", name="Connections between nodes")
    )
    graph = view.get_by_role("application")
    expect(graph).to_have_attribute("aria-label", "Connections between nodes: 8 nodes, 11 connections")
    graph.focus()
    lab.page.keyboard.press("ArrowRight")
    for theme in THEMES:
        lab.theme(theme)
        shade = theme.split()[-1].lower()
        lab.page.screenshot(path=ARTIFACTS / f"mesh-{shade}.png")
        if os.environ.get("FLAAS_DOCS_IMAGES") and shade == "light":
            lab.page.screenshot(path=IMAGES / "mesh-light.png")
        assert [text for text in texts(view) if text.contrast < 4.5] == []
        assert [text for text in texts(part) if text.contrast < 4.5] == []
