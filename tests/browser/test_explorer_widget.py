"""The data explorer as a widget, in a page of its own: seen, gone through by keyboard, and taken away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

import flaas_jupyter as flaas
from flaas_jupyter.notebook import widget_files
from flaas_jupyter.widgets import DataExplorer

from .conftest import ARTIFACTS

PAGE = """<!doctype html><html><head><style>{style}</style></head><body><div id="widget"></div><script type="module">
{module}
let state = {state};
let changed = null;
const model = {{
  get: () => state,
  send: async message => {{
    state = JSON.parse(await window.ask(JSON.stringify(message)));
    changed();
  }},
  on: (event, call) => {{ changed = call; }},
  off: () => undefined
}};
render({{ model, el: document.getElementById('widget') }});
</script></body></html>"""
DARK = """:root { --jp-layout-color1: #111; --jp-ui-font-color1: #eee; --jp-ui-font-color2: #bbb;
--jp-border-color1: #555; --jp-border-color2: #333; --jp-brand-color1: #64b5f6; } body { background: #111; }"""


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    columns = {"age": rng.integers(18, 90, 900), "=cmd|x": rng.integers(0, 4, 900)}
    return pd.DataFrame({**columns, "ill": (rng.random(900) < 0.2).astype(int)})


@pytest.fixture
def widget(page: Page, table: pd.DataFrame, tmp_path: Path) -> Locator:
    """The widget of a simulation, as its page shows it."""
    federation = flaas.simulate(table.drop(columns="ill"), table.ill, clients=3, seed=1, analytics_epsilon=4.0)
    made = DataExplorer(federation)

    def ask(message: str) -> str:
        made._clicked(made, json.loads(message), None)
        return json.dumps(made.state, allow_nan=False)

    module = widget_files.module("data_explorer").replace("export default { render };", "")
    style = widget_files.style("data_explorer").read_text()
    file = tmp_path / "page.html"
    file.write_text(PAGE.format(style=style, module=module, state=json.dumps(made.state)))
    page.expose_function("ask", ask)
    page.goto(file.as_uri())
    return page.locator("#widget")


def show(widget: Locator, name: str) -> None:
    widget.get_by_role("button", name=name, exact=True).click()
    expect(widget).not_to_have_attribute("aria-busy", "true")


def test_a_distribution_is_drawn_gone_through_and_saved(page: Page, widget: Locator, table: pd.DataFrame) -> None:
    show(widget, "age")
    marks = widget.locator("svg rect[tabindex]")
    told = [str(mark.get_attribute("aria-label")) for mark in marks.all()]
    counts = np.histogram(table.age, np.arange(15, 91, 5))[0]
    assert told == [f"{low} to {low + 5}: {count} rows" for low, count in zip(range(15, 90, 5), counts, strict=True)]
    assert [mark.get_attribute("tabindex") for mark in marks.all()].count("0") == 1, "one stop for the Tab key"
    marks.first.focus()
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("End", -1), ("ArrowLeft", -2), ("Home", 0)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == told[place]
    widget.get_by_text("As a table").click()
    expect(widget.get_by_role("table", name="Distribution of age").get_by_role("row")).to_have_count(len(told) + 1)
    page.screenshot(path=ARTIFACTS / "explorer-widget-light.png", full_page=True)
    saved = {kind: save(page, widget, kind) for kind in ("CSV", "SVG", "PNG")}
    assert saved["CSV"].decode().splitlines()[:2] == ["from,to,rows", f"15,20,{counts[0]}"]
    assert saved["SVG"].startswith(b"<svg")
    assert b"var(--" not in saved["SVG"]
    assert saved["PNG"].startswith(b"\x89PNG")


def save(page: Page, widget: Locator, kind: str) -> bytes:
    with page.expect_download() as download:
        widget.get_by_role("button", name=kind, exact=True).click()
    assert download.value.suggested_filename.endswith(f".{kind.lower()}")
    return Path(download.value.path()).read_bytes()


def test_every_view_is_shown_and_names_are_no_formulas_for_spreadsheets(page: Page, widget: Locator) -> None:
    for name, title in (
        ("Missing values", "Share of missing values"),
        ("Labels", "Rows by class of ill"),
        ("Nodes against all", "Distance of each node from all nodes"),
        ("Correlations", "Correlations"),
    ):
        show(widget, name)
        expect(widget.get_by_role("group", name=title, exact=True)).to_be_visible()
    assert "'=cmd|x" in save(page, widget, "CSV").decode()
    show(widget, "Ask the nodes")
    expect(widget.get_by_role("meter").first).to_have_attribute("aria-valuetext", "ε 0 of 4 spent")
    page.add_style_tag(content=DARK)
    page.screenshot(path=ARTIFACTS / "explorer-widget-dark.png", full_page=True)


def test_what_is_typed_wrongly_is_said_and_not_passed_over(widget: Locator) -> None:
    widget.get_by_label("Privacy ε").fill("little")
    show(widget, "Labels")
    expect(widget.get_by_role("alert")).to_contain_text("epsilon is 'little'")
    widget.get_by_label("Privacy ε").fill("0.5")
    show(widget, "Labels")
    expect(widget.get_by_role("alert")).to_have_count(0)
    show(widget, "age")
    expect(widget.get_by_role("alert")).to_contain_text("needs limits")
    widget.get_by_label("From").fill("18")
    show(widget, "age")
    expect(widget.get_by_role("alert")).to_contain_text("two numbers")
    widget.get_by_label("To").fill("90")
    show(widget, "age")
    expect(widget.get_by_text("ε 0.5 spent")).to_be_visible()
