"""The cost wizard as a widget in a notebook, of somebody who is signed in nowhere: it compares list prices."""

from __future__ import annotations

import re

import nbformat
from playwright.sync_api import expect

from .conftest import ARTIFACTS
from .lab import Lab

CELL = "import flaas_jupyter as flaas\nwizard = flaas.widgets.CostWizard()\nwizard"


def test_the_widget_compares_and_plans(lab: Lab) -> None:
    path = "wizard.ipynb"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(book, lab.server.root / path)
    notebook = lab.open_notebook(path)
    lab.execute("notebook:run-cell-and-select-next")
    widget = notebook.root.locator(".flaas-cw")
    widget.get_by_role("button", name="Medical images among hospitals").click()
    prices = widget.get_by_role("table", name="What the whole project costs at each provider")
    expect(prices.locator("tbody tr")).to_have_count(3)
    widget.get_by_label("Nodes").fill("5")
    widget.get_by_label("Area").fill("Atlantis")
    widget.get_by_role("button", name="Compare").click()
    expect(widget.get_by_role("alert")).to_contain_text("Atlantis")
    expect(widget.get_by_label("Area")).to_have_value("Atlantis")
    expect(widget.get_by_label("Nodes")).to_have_value("5")
    widget.get_by_label("Area").fill("DE, FR")
    widget.get_by_label("Nodes").fill("4")
    widget.get_by_role("button", name="Compare").click()
    expect(widget.get_by_role("alert")).to_have_count(0)
    for theme in ("Light", "Dark"):
        lab.theme(f"JupyterLab {theme}")
        lab.page.screenshot(path=ARTIFACTS / f"cost-widget-{theme.lower()}.png")
    widget.get_by_role("button", name="Choose AWS").click()
    expect(widget.get_by_role("listitem").filter(has_text="Plan")).to_have_attribute("aria-current", "step")
    expect(widget).to_contain_text("Sign in")
    plan = widget.get_by_role("table").locator("tbody tr")
    expect(plan).to_have_count(4)
    expect(plan.first).to_contain_text(re.compile(r"\((DE|FR)\)"))
    assert notebook.errors == []
