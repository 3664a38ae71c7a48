"""Questions over rows in the panel, in a real kernel, and vertical runs in the view of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from .contrast import texts
from .fake_analytics import kernel_environment
from .fake_api import TOKEN, FakeApi
from .lab import Lab, LabServer, Panel

ARTIFACTS = Path(__file__).parent / "artifacts"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
THEMES = ["JupyterLab Light", "JupyterLab Dark"]


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """JupyterLab whose kernels put questions to a simulated federation."""
    folder = tmp_path_factory.mktemp("lab")
    with LabServer(folder, kernel_environment(folder / "ipython")) as server:
        yield server


@pytest.fixture
def panel(lab: Lab, fake_api: FakeApi) -> Panel:
    panel = lab.panel
    panel.sign_in(fake_api.url, TOKEN)
    expect(panel.nodes).to_have_count(3)
    return panel


def opened(panel: Panel, part: str) -> Locator:
    """Open a part of the data sets' section."""
    found = panel.root.locator("details.flaas-Part").filter(has=panel.lab.page.get_by_role("heading", name=part))
    found.locator("summary").click()
    return found


def ask(form: Locator, operation: str, *columns: str) -> None:
    form.get_by_label("Operation").select_option(operation)
    for column in columns:
        form.get_by_label("Find a column").fill(column)
        form.get_by_label(column, exact=True).check()


def test_a_question_is_answered_by_a_kernel_of_its_own(panel: Panel, fake_api: FakeApi) -> None:
    form = opened(panel, "Analytics")
    before = len(fake_api.requests)
    ask(form, "mean", "feature 0", "feature 1")
    form.get_by_label("Groups by").select_option("malignant")
    form.get_by_label("Values of the groups").fill("0, 1")
    form.get_by_role("button", name="Add a condition").click()
    form.get_by_label("Column of condition 1").select_option("feature 2")
    form.get_by_label("Value of condition 1").fill("12")
    form.get_by_role("button", name="Run", exact=True).click()

    result = form.get_by_role("region", name="Result")
    expect(result).to_be_visible(timeout=60_000)
    chart = result.get_by_role("application", name=re.compile("mean of feature 0, feature 1 by malignant"))
    chart.focus()
    panel.lab.page.keyboard.press("ArrowRight")
    panel.lab.page.keyboard.press("End")
    expect(result.get_by_role("status")).to_contain_text(re.compile(r"1, .*feature 0.*: 1[34]\.\d+"))
    result.get_by_role("button", name="Show as table").click()
    expect(result.get_by_role("table").locator("tbody tr")).to_have_count(2)
    asked = {path for _, path in fake_api.requests[before:]}
    assert not any("quer" in path and path != "/v1/projects/demo/queries" for path in asked)

    # What was released stays in the page: neither the API nor the server half has seen it.
    figure = result.get_by_role("table").locator("tbody td").first.inner_text()
    assert figure not in panel.lab.server.output.read_text()

    # What is about too few rows is withheld, and says why.
    form.get_by_label("Value of condition 1").fill("20.5")
    form.get_by_role("button", name="Run", exact=True).click()
    expect(result).to_contain_text(re.compile(r"withheld.*fewer than 10 rows"), timeout=60_000)
    form.get_by_role("button", name="End the kernel").click()
    expect(form.get_by_role("button", name="End the kernel")).to_have_count(0)


def test_a_notebook_can_be_asked_and_gets_the_same_as_a_cell(panel: Panel) -> None:
    lab = panel.lab
    lab.execute("notebook:create-new", {"kernelName": "python3"})
    notebook = lab.page.locator(".jp-NotebookPanel:visible")
    notebook.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=60_000)
    form = opened(panel, "Analytics")
    ask(form, "count")
    form.get_by_label("Kernel").select_option(label="Untitled.ipynb (used last)")
    form.get_by_role("button", name="Run", exact=True).click()
    expect(form.get_by_role("region", name="Result")).to_contain_text("450", timeout=60_000)

    form.get_by_role("button", name="Insert as cell").click()

    cells = notebook.locator(".jp-CodeCell")
    expect(cells).to_have_count(2)
    expect(cells.nth(1)).to_contain_text("federation.analytics.count(")
    names = lab.page.evaluate(
        """async () => {
          const panel = window.jupyterapp.shell.currentWidget;
          const kernel = panel.sessionContext.session.kernel;
          const future = kernel.requestExecute({ code: 'print(dir())', store_history: false });
          let text = '';
          future.onIOPub = message => { text += message.content.text ?? ''; };
          await future.done;
          return text;
        }"""
    )
    assert "'In'" in names
    assert "federation" not in names  # the notebook's names are left alone
    lab.execute("notebook:run-cell")
    expect(cells.nth(1).locator(".jp-OutputArea-output")).to_contain_text("450", timeout=60_000)


def test_the_form_survives_a_reload(panel: Panel) -> None:
    form = opened(panel, "Analytics")
    with panel.lab.saving('"operation":"quantile"'):
        ask(form, "quantile", "feature 3")
        form.get_by_label("Quantiles").fill("0.9")

    panel.lab.reload()

    form = panel.root.get_by_role("form", name="Analytics")
    expect(form.get_by_label("Quantiles")).to_have_value("0.9")
    expect(form.get_by_label("feature 3", exact=True)).to_be_checked()


def test_what_is_missing_is_said_and_a_refusal_has_a_way_out(panel: Panel) -> None:
    form = opened(panel, "Analytics")
    ask(form, "correlation", "feature 0")
    form.get_by_role("button", name="Run", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text("Choose 2 columns or more")


def test_queries_are_listed_as_they_are_asked(panel: Panel, fake_api: FakeApi) -> None:
    fake_api.analytics.add_query("q1")
    reason = {"kind": "NotAllowed", "code": "query-audit", "message": "Too much alike.", "hint": "", "details": {}}
    fake_api.analytics.add_query("q2", "histogram", outcome="refused", reason=reason, created_by="bo")
    part = opened(panel, "Queries")
    rows = part.get_by_role("table", name="Queries").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text(re.compile("histogram.*biopsies.*bo.*refused.*Too much alike"))


def test_a_vertical_run_shows_parties_phases_and_what_it_gives_away(panel: Panel, fake_api: FakeApi) -> None:
    fake_api.analytics.add_vertical_run("v1", "two views of one patient")
    view = panel.open_run("two views of one patient")
    expect(view.rows("Parties")).to_have_count(3)
    expect(view.rows("Parties").first).to_contain_text("label holder (relapse)")
    now = view.root.get_by_role("list", name="Phases").locator("[aria-current=step]")
    expect(now).to_have_count(0)

    fake_api.analytics.report("v1", "alignment")
    expect(now).to_contain_text("Alignment")
    fake_api.analytics.report("v1", "training")
    expect(now).to_contain_text("Training")
    section = view.root.get_by_role("region", name="Vertical run")
    expect(section).to_contain_text("8,214")
    expect(section).to_contain_text("12.4 MB")
    expect(section.get_by_role("note")).to_contain_text("tell labels apart")
    fake_api.analytics.report("v1", "done")
    fake_api.set_state("v1", "completed")
    expect(now).to_contain_text("Done")


def test_the_widget_asks_and_shows_what_it_is_answered(lab: Lab) -> None:
    cell = (
        "import flaas_jupyter as flaas\n"
        'federation = flaas.connect().project("demo").federation(dataset="biopsies")\n'
        "flaas.widgets.Analytics(federation)"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(book, lab.server.root / "analytics.ipynb")
    notebook = lab.open_notebook("analytics.ipynb")
    lab.execute("notebook:run-cell-and-select-next")
    widget = notebook.root.locator(".flaas-an")
    widget.get_by_label("Operation").select_option("mean", timeout=60_000)
    widget.get_by_role("button", name="Run").click()
    expect(widget.get_by_role("alert")).to_contain_text("takes 1 columns or more")
    widget.get_by_label("feature 0", exact=True).check()
    widget.get_by_label("Groups by").select_option("malignant")
    widget.get_by_role("button", name="Run").click()
    rows = widget.get_by_role("table", name="mean of feature 0 by malignant").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text(re.compile(r"1.*1[34]\.\d"))
    widget.get_by_role("button", name="Privacy budget").click()
    expect(widget.get_by_role("meter")).to_have_count(3)
    for theme in THEMES:
        lab.theme(theme)
        lab.page.screenshot(path=ARTIFACTS / f"analytics-widget-{theme.split()[-1].lower()}.png")
        assert [text for text in texts(widget) if text.contrast < 4.5] == []
    assert notebook.errors == []


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_can_be_read_in_every_theme(panel: Panel, fake_api: FakeApi, theme: str) -> None:
    fake_api.analytics.add_query("q1")
    fake_api.analytics.add_vertical_run("v1", "two views")
    fake_api.analytics.report("v1", "training")
    name = theme.split()[-1].lower()
    view = panel.open_run("two views")
    expect(view.rows("Parties")).to_have_count(3)
    panel.lab.theme(theme)
    view.root.screenshot(path=ARTIFACTS / f"vertical-{name}.png")
    shown = texts(view.root)
    panel.lab.execute("flaas:open-analytics")
    form = panel.lab.page.locator(".flaas-RunView .flaas-Analytics:visible")
    ask(form, "mean", "feature 0", "feature 1")
    form.get_by_label("Privacy ε").fill("2")
    form.get_by_label("Least value of feature 0").fill("0")
    form.get_by_label("Groups by").select_option("malignant")
    form.get_by_label("Values of the groups").fill("0, 1")
    form.get_by_role("button", name="Run", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text("feature 1 needs limits")
    form.get_by_label("Greatest value of feature 0").fill("30")
    form.get_by_label("Least value of feature 1").fill("0")
    form.get_by_label("Greatest value of feature 1").fill("30")
    form.get_by_role("button", name="Run", exact=True).click()
    expect(form.get_by_role("region", name="Result")).to_be_visible(timeout=60_000)
    expect(form.get_by_role("meter").first).to_have_attribute("aria-valuetext", re.compile("of 5 spent"))
    opened(panel, "Analytics")
    opened(panel, "Queries")
    form.get_by_label("Find a column").fill("")
    panel.lab.page.evaluate(
        "() => document.querySelectorAll('.flaas-Panel, .flaas-RunView').forEach(each => { each.scrollTop = 0; })"
    )
    panel.lab.page.mouse.move(700, 880)
    panel.lab.page.screenshot(path=ARTIFACTS / f"analytics-{name}.png")
    if os.environ.get("FLAAS_DOCS_IMAGES") and name == "light":
        panel.lab.page.screenshot(path=IMAGES / "analytics-light.png")

    shown += texts(panel.root) + texts(form)

    assert {"mean of feature 0, feature 1 by malignant", "Queries"} <= {text.text for text in shown}
    assert [text for text in shown if text.contrast < 4.5] == []
