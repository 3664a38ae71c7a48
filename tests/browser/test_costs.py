"""The dashboard of costs and the wizard: what a person sees and does from a template to training machines."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import ARTIFACTS
from .contrast import texts
from .fake_api import TOKEN, FakeApi
from .lab import Lab, Panel

IMAGES = Path(__file__).parents[2] / "docs" / "images"
THEMES = ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"]
TEMPLATE = "Table, small network"


@pytest.fixture
def panel(lab: Lab, fake_api: FakeApi) -> Panel:
    panel = lab.panel
    panel.sign_in(fake_api.url, TOKEN)
    expect(panel.nodes).to_have_count(3)
    return panel


def picture(page: Page, name: str) -> None:
    """Keep a picture: of the documentation when it is being written, of the test otherwise."""
    page.mouse.move(700, 790)
    folder = IMAGES if os.environ.get("FLAAS_DOCS_IMAGES") else ARTIFACTS
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / f"costs-{name}.png")


def smaller(lab: Lab) -> None:
    """The size of the documentation's pictures, without the panel beside."""
    lab.page.set_viewport_size({"width": 1280, "height": 800})
    lab.execute("application:toggle-left-area")


def view_of(lab: Lab, heading: str) -> Locator:
    return lab.page.locator(".flaas-RunView").filter(has=lab.page.get_by_role("heading", name=heading, exact=True))


class Wizard:
    """The wizard, open."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.root = view_of(lab, "Launch machines")

    def open(self) -> Wizard:
        self.lab.execute("flaas:open-wizard")
        expect(self.root.get_by_role("radiogroup", name="Template")).to_be_visible()
        return self

    def press(self, name: str) -> None:
        self.root.get_by_role("button", name=name, exact=True).click()

    def template(self, title: str = TEMPLATE) -> None:
        self.root.get_by_role("radio", name=title, exact=True).check()

    def to_prices(self, title: str = TEMPLATE) -> None:
        self.template(title)
        self.press("Compare prices")
        expect(self.root.get_by_role("region", name="AWS", exact=True)).to_be_visible()

    def to_plan(self, choice: str, title: str = TEMPLATE) -> None:
        self.to_prices(title)
        self.press("Choose")
        self.root.get_by_role("radio", name=choice, exact=True).check()
        self.press("Show the plan")
        expect(self.rows("Plan").first).to_be_visible()

    def accept(self) -> None:
        self.root.get_by_role("checkbox", name=re.compile("I accept up to")).check()

    def launch(self, choice: str = "Everything at AWS", title: str = TEMPLATE) -> None:
        self.to_plan(choice, title)
        self.accept()
        self.press("Launch")
        expect(self.rows("Machines").first).to_be_visible()

    def rows(self, table: str) -> Locator:
        return self.root.get_by_role("table", name=table, exact=True).locator("tbody tr")


def join_all(fake_api: FakeApi, launch: str) -> None:
    for node in fake_api.costs.launches[launch]["nodes"]:
        fake_api.costs.set_node(launch, node["name"], "joined", spent=0.04)
    fake_api.costs.set_launch(launch, "ready")


# ---- panel and dashboard ------------------------------------------------------------------------------


def test_the_panel_has_the_costs_of_this_month_and_the_budget(panel: Panel, fake_api: FakeApi) -> None:
    section = panel.root.locator("details").filter(has=panel.root.page.get_by_role("heading", name="Costs this month"))
    expect(section).to_contain_text(re.compile(r"[\d,.]+ EUR, [\d,.]+ USD"))
    expect(section.get_by_role("progressbar", name="Budget of Breast cancer")).to_be_visible()

    section.get_by_role("button", name="Show costs").click()
    expect(view_of(panel.lab, "Costs")).to_be_visible()
    section.get_by_role("button", name="Launch machines …").click()
    expect(view_of(panel.lab, "Launch machines")).to_be_visible()


def test_the_dashboard_lays_bill_and_estimate_side_by_side(panel: Panel, fake_api: FakeApi) -> None:
    fake_api.costs.budget = 300.0
    lab = panel.lab
    lab.execute("flaas:open-costs")
    view = view_of(lab, "Costs")
    view.get_by_label("Days", exact=True).select_option("Last month")
    month = fake_api.costs.summary(
        {"from": view.get_by_label("From", exact=True).input_value(),
         "to": view.get_by_label("To before").input_value(), "group": "project"}
    )  # fmt: skip
    table = view.get_by_role("table", name="Bill and estimate").locator("tbody tr")
    expect(table).to_have_count(4)
    demo = next(row for row in month["comparison"] if row["key"] == "demo" and row["currency"] == "USD")
    row = table.filter(has_text="Breast cancer").filter(has_text="Storage is billed")
    expect(row).to_contain_text(f"{demo['billed']:,.2f} USD")
    expect(row).to_contain_text(f"{demo['estimated']:,.2f} USD")
    euros = table.filter(has_text="EUR")
    expect(euros.locator("td").nth(2)).to_have_text("–")  # no difference across currencies
    expect(table.filter(has_text="without project")).to_have_count(1)
    figures = view.locator(".flaas-Figures").first
    expect(figures).to_contain_text("Billed in EUR")
    expect(figures).to_contain_text("Billed in USD")
    chart = view.get_by_role("img", name=re.compile("Bar chart of the costs by day"))
    expect(chart).to_have_attribute("aria-label", re.compile("Breast cancer .* USD.*estimated"))
    expect(view.get_by_role("list", name="Sources")).to_contain_text("bigquery.jobs.create is missing")
    expect(view).to_contain_text(re.compile("(Near the|Over) budget|Near the budget"))
    smaller(lab)
    picture(lab.page, "dashboard")
    view.get_by_role("table", name="Bill and estimate").scroll_into_view_if_needed()
    view.evaluate("view => { view.scrollTop = view.scrollHeight; }")
    picture(lab.page, "sources")

    view.get_by_role("button", name="EUR").click()
    expect(view.get_by_role("heading", name="By day, EUR")).to_be_visible()
    view.get_by_role("button", name="Show as table").click()
    expect(view.get_by_role("table", name="Costs by day, EUR").locator("tbody tr").first).to_contain_text("EUR")
    view.get_by_label("By", exact=True).select_option("Service")
    expect(table.filter(has_text="virtual machines")).to_have_count(2)
    view.get_by_label("Provider", exact=True).select_option("gcp")
    expect(table).to_have_count(3)
    expect(view).not_to_contain_text("Billed in EUR")
    view.get_by_label("Project", exact=True).select_option("without project")
    expect(view).to_contain_text("Nothing was billed or estimated in these days.")


def test_the_bill_can_be_exported_and_fetched_anew(panel: Panel, fake_api: FakeApi) -> None:
    lab = panel.lab
    lab.execute("flaas:open-costs")
    view = view_of(lab, "Costs")
    expect(view.get_by_role("table", name="Bill and estimate")).to_be_visible()

    with lab.page.expect_download() as caught:
        view.get_by_role("button", name="Export CSV").click()

    assert re.fullmatch(r"costs-\d{4}-\d\d-01-\d{4}-\d\d-\d\d\.csv", caught.value.suggested_filename)
    rows = list(csv.DictReader(io.StringIO(Path(caught.value.path()).read_text())))
    start, end = re.findall(r"\d{4}-\d\d-\d\d", caught.value.suggested_filename)
    assert fake_api.costs.table(start, end).splitlines()[0].split(",") == list(rows[0])
    expect(view.get_by_role("list", name="Sources")).to_contain_text("fetched 5 h ago")
    view.get_by_role("button", name="Fetch the bill of AWS, hospital group").click()
    expect(view.get_by_role("list", name="Sources")).to_contain_text("fetched just now")

    fake_api.costs.fail_next("GET", "/v1/costs/export", 403, "not-permitted", "Not permitted", "Ask an operator.")
    view.get_by_role("button", name="Export CSV").click()
    expect(view.get_by_role("alert").filter(has_text="Ask an operator.")).to_be_visible()


def test_when_costs_cannot_be_had_the_dashboard_says_so_and_recovers(panel: Panel, fake_api: FakeApi) -> None:
    fake_api.costs.fail_next("GET", "/v1/costs/summary", 503, "unavailable", "Starts anew", "Not yet.")
    panel.lab.execute("flaas:open-costs")
    view = view_of(panel.lab, "Costs")

    view.get_by_role("alert").get_by_role("button", name="Retry").click()

    expect(view.get_by_role("table", name="Bill and estimate")).to_be_visible()
    expect(view.get_by_role("alert").filter(has_text="Not yet.")).to_have_count(0)


def test_without_a_bill_the_dashboard_says_what_to_do(panel: Panel, fake_api: FakeApi) -> None:
    fake_api.costs.empty = True
    fake_api.costs.accounts.clear()
    panel.lab.execute("flaas:open-costs")

    expect(view_of(panel.lab, "Costs")).to_contain_text("flaas costs account add aws")


# ---- wizard -------------------------------------------------------------------------------------------


def test_the_wizard_goes_from_a_template_to_training_machines(panel: Panel, fake_api: FakeApi) -> None:
    lab, costs = panel.lab, fake_api.costs
    smaller(lab)
    wizard = Wizard(lab).open()
    root = wizard.root
    root.get_by_role("button", name="Defence", exact=True).click()
    expect(root.get_by_role("radiogroup", name="Template").get_by_role("radio")).to_have_count(2)
    root.get_by_role("button", name="All", exact=True).click()
    wizard.template("Table, secure aggregation")
    picture(lab.page, "1-template")

    wizard.to_prices("Defence by reputation")
    aws = root.get_by_role("region", name="AWS", exact=True)
    aws.locator("summary").click() if not aws.locator("table").is_visible() else None
    expect(aws.get_by_role("img", name="chosen")).to_have_count(1)
    expect(aws.locator("tbody")).to_contain_text("outside the EU (GB), though in Europe")
    picture(lab.page, "2-prices")
    wizard.root.get_by_label("Nodes", exact=True).fill("3")
    root.locator("summary", has_text="Where each node has to be").click()
    root.get_by_label("Name of node 1").fill("berlin")
    root.get_by_label("Area of berlin").fill("DE")
    expect(root).to_contain_text("compare the prices anew")
    expect(root.get_by_role("button", name="Choose", exact=True)).to_be_disabled()
    wizard.press("Compare prices anew")
    expect(root).not_to_contain_text("compare the prices anew")
    assert [node["area"] for node in costs.asked[-1]["nodes"]] == ["DE", None, None]
    picture(lab.page, "2-pins")

    wizard.press("Choose")
    expect(root.get_by_role("radio", name="The cheapest mixture")).to_be_checked()
    root.get_by_role("radio", name="Everything at AWS").check()
    picture(lab.page, "3-choice")

    wizard.press("Show the plan")
    expect(wizard.rows("Plan")).to_have_count(3)
    expect(wizard.rows("Plan").first).to_contain_text("eu-central-1 (DE)")
    expect(root.get_by_role("region", name="What constraints cost")).to_contain_text("pinning berlin to area DE")
    expect(root.get_by_role("button", name="Launch", exact=True)).to_be_disabled()
    root.get_by_label("Data set", exact=True).fill("biopsies")
    root.get_by_label("Source").fill("{node}.csv")
    root.get_by_label("Target column").fill("malignant")
    wizard.accept()
    picture(lab.page, "4-plan")
    assert costs.orders == []

    wizard.press("Launch")
    expect(wizard.rows("Machines")).to_have_count(3)
    [order] = costs.orders
    assert [node["dataset"]["source"] for node in order["nodes"]] == ["berlin.csv", "node-2.csv", "node-3.csv"]
    assert {node["account"] for node in order["nodes"]} == {"acc-aws"}
    [launch] = costs.launches
    costs.set_node(launch, "berlin", "booting")
    costs.set_node(launch, "node-2", "registered", spent=0.02)
    costs.set_node(launch, "node-3", "launching")
    costs.set_launch(launch, "booting")
    expect(wizard.rows("Machines").filter(has_text="berlin")).to_contain_text("booting")
    expect(root).to_contain_text(f"flaas domain approve demo --launch {launch}")
    picture(lab.page, "5-follow")

    join_all(fake_api, launch)
    expect(root).to_contain_text("3 of 3 nodes joined")
    wizard.press("Open training notebook")
    notebook = lab.page.locator(".jp-NotebookPanel:visible")
    expect(notebook.locator(".jp-Notebook")).to_contain_text("federation(dataset=", timeout=60_000)
    path = lab.server.root / "training-biopsies.ipynb"
    assert '"reputation\\"' in path.read_text()
    expect(notebook.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]")).first).to_be_visible(
        timeout=120_000
    )
    costs.set_launch(launch, "training", run="r9", round=0)
    fake_api.add_run("r9", "reputation run", age=0)
    for _ in range(4):
        fake_api.advance("r9")
    lab.execute("flaas:open-wizard")
    expect(root.get_by_role("progressbar", name="Progress of the training")).to_have_attribute(
        "aria-valuetext", "round 4 of 10"
    )
    expect(root.get_by_role("img", name=re.compile("Line chart of .*accuracy"))).to_be_visible()
    picture(lab.page, "6-training")
    while fake_api.advance("r9") < 10:
        pass
    expect(root.get_by_role("region", name="Training")).to_contain_text("completed")

    wizard.press("End")
    lab.dialog("End the launch").get_by_role("button", name="Cancel").click()
    assert ("POST", f"/v1/launches/{launch}/terminate") not in fake_api.requests
    wizard.press("End")
    lab.dialog("End the launch").get_by_role("button", name="End the machines").click()
    expect(root.get_by_role("status").filter(has_text="ending").first).to_be_visible()
    for node in ("berlin", "node-2", "node-3"):
        costs.set_node(launch, node, "ended", spent=0.11)
    costs.set_launch(launch, "ended", round=10)
    expect(root).to_contain_text("Ended: nothing of it is left running")
    expect(root).to_contain_text("for 10 rounds")
    root.evaluate("view => { view.scrollTop = view.scrollHeight; }")
    picture(lab.page, "7-end")


def test_a_reload_in_the_middle_of_a_launch_finds_it_again(panel: Panel, fake_api: FakeApi) -> None:
    lab = panel.lab
    wizard = Wizard(lab).open()
    with lab.saving("launch-1"):
        wizard.launch()
    [launch] = fake_api.costs.launches

    lab.reload()

    expect(wizard.rows("Machines").first).to_contain_text("planned")
    fake_api.costs.set_node(launch, "node-1", "booting")
    expect(wizard.rows("Machines").first).to_contain_text("booting")
    assert len(fake_api.costs.launches) == 1


def test_a_reload_keeps_what_was_entered(panel: Panel, fake_api: FakeApi) -> None:
    lab = panel.lab
    wizard = Wizard(lab).open()
    wizard.to_prices()
    wizard.root.get_by_label("Area", exact=True).fill("DE, FR")
    wizard.press("Compare prices anew")
    wizard.press("Choose")
    with lab.saving('"choice":"aws"'):
        wizard.root.get_by_role("radio", name="Everything at AWS").check()

    lab.reload()

    expect(wizard.root.get_by_role("radio", name="Everything at AWS")).to_be_checked()
    assert fake_api.costs.asked[-1]["area"] == ["DE", "FR"]
    expect(wizard.root.get_by_role("alert")).to_have_count(0)


def test_an_order_whose_answer_is_lost_launches_once(panel: Panel, fake_api: FakeApi) -> None:
    wizard = Wizard(panel.lab).open()
    wizard.to_plan("Everything at AWS")
    wizard.accept()
    fake_api.costs.lose_next_answer()
    wizard.press("Launch")
    alert = wizard.root.get_by_role("alert").filter(has_text="It does not answer now.")
    picture(panel.lab.page, "lost")

    alert.get_by_role("button", name="Retry").click()

    expect(wizard.rows("Machines").first).to_be_visible()
    assert len(fake_api.costs.launches) == 1


def test_an_order_whose_answer_is_lost_is_found_after_a_reload(panel: Panel, fake_api: FakeApi) -> None:
    lab = panel.lab
    wizard = Wizard(lab).open()
    wizard.to_plan("Everything at AWS")
    wizard.accept()
    fake_api.costs.lose_next_answer()
    with lab.saving('"pending":{'):
        wizard.press("Launch")

    lab.reload()

    expect(wizard.rows("Machines").first).to_be_visible()
    assert len(fake_api.costs.launches) == 1


def test_a_refused_order_loses_nothing(panel: Panel, fake_api: FakeApi) -> None:
    wizard = Wizard(panel.lab).open()
    wizard.to_plan("Everything at AWS")
    wizard.accept()
    fake_api.costs.fail_next(
        "POST", "/v1/projects/demo/launches", 409, "price-risen", "The price has risen", "Now it is 12.00 USD.", "Look."
    )
    wizard.press("Launch")

    alert = wizard.root.get_by_role("alert")
    expect(alert).to_contain_text("Now it is 12.00 USD.")
    expect(wizard.rows("Plan").first).to_be_visible()
    alert.get_by_role("button", name="Retry").click()
    expect(wizard.rows("Machines").first).to_be_visible()


def test_prices_that_cannot_be_had_are_asked_for_again(panel: Panel, fake_api: FakeApi) -> None:
    fake_api.costs.fail_next("POST", "/v1/costs/recommendations", 503, "unavailable", "Starts anew", "Not yet.")
    wizard = Wizard(panel.lab).open()
    wizard.template()
    wizard.press("Compare prices")

    wizard.root.get_by_role("alert").get_by_role("button", name="Retry").click()

    expect(wizard.root.get_by_role("region", name="AWS", exact=True)).to_be_visible()


def test_what_nobody_sells_is_said_with_its_reason(panel: Panel, fake_api: FakeApi) -> None:
    wizard = Wizard(panel.lab).open()
    wizard.to_prices()
    wizard.root.get_by_label("Area", exact=True).fill("atlantis")
    wizard.press("Compare prices anew")

    expect(wizard.root.get_by_role("alert").first).to_contain_text(re.compile("atlantis|no plan", re.IGNORECASE))


def test_a_missing_account_is_named_with_the_command_that_enters_it(panel: Panel, fake_api: FakeApi) -> None:
    wizard = Wizard(panel.lab).open()
    wizard.to_plan("Everything at Azure")
    alert = wizard.root.get_by_role("alert")
    expect(alert).to_contain_text("flaas costs account add azure")
    wizard.accept()
    expect(wizard.root.get_by_role("button", name="Launch", exact=True)).to_be_disabled()
    smaller(panel.lab)
    alert.scroll_into_view_if_needed()
    picture(panel.lab.page, "account")

    fake_api.costs.add_account("azure")
    alert.get_by_role("button", name="Look again").click()

    expect(alert).to_have_count(0)
    wizard.accept()
    expect(wizard.root.get_by_role("button", name="Launch", exact=True)).to_be_enabled()


def test_a_machine_that_fails_is_named_and_can_be_resumed(panel: Panel, fake_api: FakeApi) -> None:
    costs = fake_api.costs
    wizard = Wizard(panel.lab).open()
    wizard.launch()
    [launch] = costs.launches
    trouble = {
        "title": "Quota", "code": "quota", "detail": "The account may run no more machines of this family.",
        "hint": "Ask AWS for a higher quota of vCPUs, or choose another region.",
    }  # fmt: skip
    costs.set_node(launch, "node-1", "joined", spent=0.03)
    costs.set_node(launch, "node-2", "failed", trouble)
    costs.set_launch(launch, "stuck")
    alert = wizard.root.get_by_role("alert")
    expect(alert).to_contain_text("Not launched: node-2")
    expect(alert).to_contain_text("Ask AWS for a higher quota")
    expect(wizard.rows("Machines").filter(has_text="node-1")).to_contain_text("joined")
    smaller(panel.lab)
    picture(panel.lab.page, "problem")

    costs.fail_next("POST", f"/v1/launches/{launch}/resume", 503, "unavailable", "Starts anew", "Not yet.")
    alert.get_by_role("button", name="Resume").click()
    expect(wizard.root).to_contain_text("Not yet.")
    wizard.root.get_by_role("button", name="Retry").click()

    expect(wizard.rows("Machines").filter(has_text="node-2")).to_contain_text("attempt 2")
    expect(alert).to_have_count(0)


def test_when_the_api_is_down_during_a_launch_old_figures_are_marked(panel: Panel, fake_api: FakeApi) -> None:
    wizard = Wizard(panel.lab).open()
    wizard.launch()
    [launch] = fake_api.costs.launches

    fake_api.stop()
    wizard.root.get_by_role("alert").first.wait_for(timeout=30_000)
    expect(wizard.rows("Machines").first).to_contain_text("planned")
    fake_api.start()
    fake_api.costs.set_node(launch, "node-1", "booting")
    wizard.root.get_by_role("button", name="Retry").first.click()

    expect(wizard.rows("Machines").first).to_contain_text("booting")


def test_the_wizard_can_be_used_with_the_keyboard_alone(panel: Panel, fake_api: FakeApi) -> None:
    lab, keyboard = panel.lab, panel.lab.page.keyboard
    wizard = Wizard(lab).open()
    root = wizard.root

    def tab_to(target: Locator, times: int = 80) -> None:
        # Tab passes a button that the last key has not enabled yet.
        expect(target).to_be_enabled()
        for _ in range(times):
            if target.evaluate("element => element === document.activeElement"):
                return
            keyboard.press("Tab")
        raise AssertionError("Tab does not get there.")

    root.get_by_role("combobox", name="For the project").focus()
    tab_to(root.get_by_role("radio").first)
    keyboard.press("Space")
    keyboard.press("ArrowDown")
    expect(root.get_by_role("radio").nth(1)).to_be_checked()
    outline = root.locator(".flaas-Card").nth(1).evaluate("card => getComputedStyle(card).outlineStyle")
    assert outline == "solid"
    keyboard.press("ArrowUp")
    expect(root.get_by_role("radio", name=TEMPLATE)).to_be_checked()
    tab_to(root.get_by_role("button", name="Compare prices"))
    keyboard.press("Enter")
    expect(root.get_by_role("region", name="AWS", exact=True)).to_be_visible()
    expect(root.get_by_role("heading", name="Step 2 of 5: Prices")).to_be_focused()
    tab_to(root.get_by_role("button", name="Choose", exact=True))
    keyboard.press("Enter")
    tab_to(root.get_by_role("radio", name="The cheapest mixture"))
    keyboard.press("ArrowDown")
    expect(root.get_by_role("radio", name="Everything at AWS")).to_be_checked()
    tab_to(root.get_by_role("button", name="Show the plan"))
    keyboard.press("Enter")
    tab_to(root.get_by_role("checkbox", name=re.compile("I accept")))
    keyboard.press("Space")
    tab_to(root.get_by_role("button", name="Launch", exact=True))
    keyboard.press("Enter")
    expect(wizard.rows("Machines").first).to_be_visible()
    tab_to(root.get_by_role("button", name="End", exact=True))
    keyboard.press("Enter")
    dialog = lab.dialog("End the launch")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(root.get_by_role("status").filter(has_text="ending").first).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_can_be_read_in_every_theme(panel: Panel, fake_api: FakeApi, theme: str) -> None:
    lab, costs = panel.lab, fake_api.costs
    costs.budget = 100.0
    lab.theme(theme)
    lab.execute("flaas:open-costs")
    view = view_of(lab, "Costs")
    view.get_by_label("Days", exact=True).select_option("Last month")
    expect(view.get_by_role("alert").filter(has_text="Over budget")).to_be_visible()
    found: dict[str, list[Any]] = {"dashboard": texts(view), "panel": texts(panel.root)}
    wizard = Wizard(lab).open()
    wizard.template("Defence by reputation")
    found["template"] = texts(wizard.root)
    wizard.to_prices("Defence by reputation")
    wizard.root.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
    found["prices"] = texts(wizard.root)
    wizard.press("Choose")
    wizard.root.get_by_role("radio", name="Everything at Azure").check()
    found["choice"] = texts(wizard.root)
    wizard.press("Show the plan")
    found["plan"] = texts(wizard.root)
    wizard.press("Back")
    wizard.root.get_by_role("radio", name="Everything at AWS").check()
    wizard.press("Show the plan")
    wizard.accept()
    wizard.press("Launch")
    expect(wizard.rows("Machines").first).to_be_visible()
    [launch] = costs.launches
    costs.set_node(launch, "node-1", "registered", spent=0.02)
    costs.set_node(launch, "node-2", "failed", {"detail": "No machine of this kind is free.", "hint": "Wait."})
    costs.set_launch(launch, "stuck")
    expect(wizard.root).to_contain_text("No machine of this kind is free.")
    found["follow"] = texts(wizard.root)
    if theme == "JupyterLab Dark":
        smaller(lab)
        picture(lab.page, "dark")

    assert {name: len(shown) > 10 for name, shown in found.items()} == dict.fromkeys(found, True)
    assert [(name, text) for name, shown in found.items() for text in shown if text.contrast < 4.5] == []


def test_launcher_and_palette_open_dashboard_and_wizard(lab: Lab) -> None:
    lab.page.locator(".jp-LauncherCard").filter(has_text="Federated Costs").click()
    expect(view_of(lab, "Costs")).to_contain_text("Nobody is signed in")
    view_of(lab, "Costs").get_by_role("button", name="Launch machines …").click()
    wizard = view_of(lab, "Launch machines")
    expect(wizard).to_contain_text("Nobody is signed in")
    wizard.get_by_role("button", name="Show the panel").click()
    expect(Panel(lab).root.get_by_label("Token")).to_be_visible()
