"""The data explorer in the panel and in the main area, with a real kernel: every level, every chart, every file."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Download, Locator, Page, expect

from . import fake_exploration
from .contrast import Text, texts
from .fake_api import TOKEN, FakeApi
from .lab import Lab, LabServer

ARTIFACTS = Path(__file__).parent / "artifacts"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
THEMES = ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"]
KERNEL = 60_000  # ms that a kernel may take to start and to answer


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where kernels write what they were asked."""
    return tmp_path_factory.mktemp("book") / "ipython"


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory: pytest.TempPathFactory, book: Path) -> Iterator[LabServer]:
    """JupyterLab whose kernels answer from the book."""
    with LabServer(tmp_path_factory.mktemp("lab"), fake_exploration.kernel_environment(book)) as server:
        yield server


@pytest.fixture
def explorer(lab: Lab, fake_api: FakeApi) -> Locator:
    """The explorer in the main area, signed in, of a project with data sets of every level."""
    fake_api.more_datasets = [fake_exploration.described(name) for name in ("heart", "loans", "ledger", "vault")]
    panel = lab.panel
    panel.sign_in(fake_api.url, TOKEN)
    expect(panel.datasets).to_have_count(5)
    lab.execute("flaas:open-explorer")
    found = lab.page.locator(".flaas-RunView .flaas-Explorer:visible")
    expect(found).to_be_visible()
    return found


def begin(explorer: Locator, dataset: str) -> None:
    explorer.get_by_label("Data set").select_option(dataset)
    explorer.get_by_role("button", name="Explore", exact=True).click()


def tab(explorer: Locator, name: str) -> Locator:
    explorer.get_by_role("tab", name=name).click()
    return explorer.get_by_role("tabpanel")


def in_panel(lab: Lab) -> Locator:
    """The explorer in the panel, open."""
    heading = lab.page.get_by_role("heading", name="Data explorer")
    part = lab.panel.root.locator("details.flaas-Part").filter(has=heading)
    part.locator("summary").first.click()
    return part


def saved(page: Page, part: Locator, kind: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        part.get_by_role("button", name=f"Save as {kind}").first.click()
    download: Download = waiting.value
    return download.suggested_filename, Path(download.path()).read_bytes()


def test_what_the_api_knows_is_there_at_once_and_nothing_is_asked_before_somebody_says_so(
    explorer: Locator, book: Path
) -> None:
    before = len(fake_exploration.asked(book))
    explorer.get_by_label("Data set").select_option("heart")
    columns = explorer.get_by_role("table", name="Columns").locator("tbody tr")
    expect(columns).to_have_count(4)
    expect(columns.first).to_contain_text("0 to 120")
    expect(explorer).to_contain_text("So far this is what nodes have described to the API.")
    tab(explorer, "Distribution")
    expect(explorer).to_contain_text("Nothing has been asked yet")
    assert len(fake_exploration.asked(book)) == before

    tab(explorer, "Overview")
    begin(explorer, "heart")
    expect(columns).to_have_count(5, timeout=KERNEL)
    expect(columns.nth(1)).to_contain_text(re.compile(r"chol.*mg/dl.*80 to 600.*hospital-b has unit: mmol/l"))
    shows = explorer.get_by_role("table", name="What nodes show").locator("tbody tr")
    expect(shows.nth(2)).to_contain_text("hospital-c does not answer. Ask again later.")
    assert [each["part"] for each in fake_exploration.asked(book)[before:]] == ["overview", "nodes"]


def test_a_distribution_can_be_walked_read_as_a_table_and_taken_along(explorer: Locator, lab: Lab) -> None:
    begin(explorer, "heart")
    explorer.get_by_role("button", name="age", exact=True).click(timeout=KERNEL)
    part = explorer.get_by_role("region", name="Distribution of age")
    chart = part.get_by_role("application", name="Chart of Distribution of age")
    expect(chart).to_be_visible(timeout=KERNEL)
    expect(part).to_contain_text("Median54 years")
    expect(part).to_contain_text("Least valuenot told")

    chart.focus()
    told = part.get_by_role("status")
    lab.page.keyboard.press("Home")
    expect(told).to_have_text("below 30: 14 rows (told together with its neighbour)")
    lab.page.keyboard.press("ArrowRight")
    expect(told).to_have_text("30 to 35: 37 rows")
    lab.page.keyboard.press("End")
    expect(told).to_have_text("70 to 80: withheld (fewer than 10 rows)")

    name, svg = saved(lab.page, part, "SVG")
    assert name == "heart-age.svg"
    assert b"var(--" not in svg
    assert b"class=" not in svg
    words = "".join(ElementTree.fromstring(svg).itertext())
    assert all(each in words for each in ("Distribution of age", "withheld", "hospital-a", "fewer than 10 rows"))
    name, png = saved(lab.page, part, "PNG")
    assert name == "heart-age.png"
    assert png.startswith(b"\x89PNG")
    (ARTIFACTS / "explorer-saved.png").write_bytes(png)
    (ARTIFACTS / "explorer-saved.svg").write_bytes(svg)
    assert painted(lab.page, png) > 3
    name, table = saved(lab.page, part, "CSV")
    rows = list(csv.reader(io.StringIO(table.decode("utf-8-sig"))))
    assert rows[0] == ["from", "to", "rows", "note"]
    assert rows[1] == ["-∞", "30", "14", "told together with its neighbour"]
    assert rows[-1] == ["70", "80", "", "withheld: rows; fewer than 10 rows"]

    part.get_by_role("button", name="Show as table").click()
    expect(chart).to_be_hidden()
    expect(part.get_by_role("table").locator("tbody tr")).to_have_count(10)
    expect(part.get_by_role("table").locator("tbody tr").last).to_contain_text("withheld")
    assert saved(lab.page, part, "SVG")[1].startswith(b"<?xml")  # also while the table is shown


def painted(page: Page, png: bytes) -> int:
    """How many colours a picture has."""
    colours: int = page.evaluate(
        """async bytes => {
          const image = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: 'image/png' }));
          const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d');
          canvas.drawImage(image, 0, 0);
          const data = new Uint32Array(canvas.getImageData(0, 0, image.width, image.height).data.buffer);
          return new Set(data).size;
        }""",
        list(png),
    )
    return colours


def test_every_part_has_a_chart_a_table_and_says_what_is_withheld(explorer: Locator, lab: Lab, book: Path) -> None:
    begin(explorer, "heart")
    expect(explorer.get_by_role("table", name="What nodes show")).to_be_visible(timeout=KERNEL)
    before = len(fake_exploration.asked(book))

    part = tab(explorer, "Missing values")
    chart = part.get_by_role("application", name="Chart of Missing values")
    expect(chart).to_be_visible(timeout=KERNEL)
    chart.focus()
    lab.page.keyboard.press("ArrowDown")
    expect(part.get_by_role("status")).to_have_text("resting blood pressure: 6.4 % (58)")
    lab.page.keyboard.press("End")
    expect(part.get_by_role("status")).to_have_text("disease: withheld (fewer than 10 rows)")
    expect(part).to_contain_text("2 figures are withheld")

    part = tab(explorer, "Correlations")
    chart = part.get_by_role("application", name="Chart of Correlations")
    expect(chart).to_be_visible(timeout=KERNEL)
    chart.focus()
    for key in ("Home", "ArrowDown", "ArrowRight", "ArrowRight"):
        lab.page.keyboard.press(key)
    expect(part.get_by_role("status")).to_have_text(
        "chol and resting blood pressure: withheld (fewer than 10 rows have both values)"
    )
    part.get_by_role("button", name="Show as table").click()
    expect(part.get_by_role("table", name="Correlations").locator("tbody tr")).to_have_count(4)
    part.get_by_role("heading", name="Which columns").click()
    part.get_by_label("age", exact=True).check()
    part.get_by_label("disease", exact=True).check()
    expect(part.get_by_role("table", name="Correlations").locator("tbody tr")).to_have_count(2, timeout=KERNEL)

    part = tab(explorer, "Labels")  # as a table, since that is how the last one was wanted
    expect(part.get_by_role("table").locator("tbody tr").nth(1)).to_contain_text(
        re.compile("1.*489.*0.54"), timeout=KERNEL
    )
    part.get_by_role("button", name="Show as table").click()
    expect(part.get_by_role("application", name="Chart of Rows by disease")).to_be_visible()

    part = tab(explorer, "Drift")
    expect(part.get_by_role("application")).to_be_visible(timeout=KERNEL)
    expect(part).to_contain_text("hospital-c: its owner does not let it be told")

    looks = fake_exploration.asked(book)[before:]
    assert [each["part"] for each in looks] == ["missing", "correlations", "correlations", "labels", "drift"]
    assert looks[2]["columns"] == ["age", "disease"]
    tab(explorer, "Labels")  # what was seen is not asked for again
    assert len(fake_exploration.asked(book)[before:]) == len(looks)


def test_a_kernel_with_the_package_answers_about_rows(explorer: Locator, lab: Lab) -> None:
    begin(explorer, "biopsies")
    columns = explorer.get_by_role("table", name="Columns").locator("tbody tr")
    expect(columns).to_have_count(31, timeout=KERNEL)
    expect(explorer.get_by_role("table", name="What nodes show")).to_contain_text("figures about many rows")
    explorer.get_by_role("button", name="feature 3", exact=True).click()
    part = explorer.get_by_role("region", name="Distribution of feature 3")
    expect(part.get_by_role("application")).to_be_visible(timeout=KERNEL)
    expect(part).to_contain_text(re.compile(r"Values450.*Mean1[4-6]\.\d+"))
    rows = list(csv.reader(io.StringIO(saved(lab.page, part, "CSV")[1].decode("utf-8-sig"))))
    assert sum(int(row[2]) for row in rows[1:]) == 450
    part = tab(explorer, "Labels")
    expect(part.get_by_role("application", name="Chart of Rows by malignant")).to_be_visible(timeout=KERNEL)
    part = tab(explorer, "Correlations")
    chart = part.get_by_role("application", name="Chart of Correlations")
    expect(chart).to_be_visible(timeout=KERNEL)
    chart.focus()
    lab.page.keyboard.press("Home")
    expect(part.get_by_role("status")).to_have_text("feature 0 and feature 0: 1")
    part = tab(explorer, "Missing values")
    expect(part).to_contain_text("No value is missing.", timeout=KERNEL)
    part = tab(explorer, "Drift")
    expect(part.get_by_role("application")).to_be_visible(timeout=KERNEL)


def test_a_look_that_costs_is_asked_for_by_name_and_the_meter_follows(explorer: Locator, lab: Lab, book: Path) -> None:
    begin(explorer, "loans")
    meter = explorer.get_by_role("meter", name="Privacy budget at hospital-a")
    expect(meter).to_be_visible(timeout=KERNEL)
    spent = float(meter.get_attribute("aria-valuenow") or "")
    expect(explorer).to_contain_text("each look spends of your privacy budget")
    part = tab(explorer, "Distribution")
    part.get_by_label("age", exact=True).check()
    expect(part.get_by_role("alert")).to_contain_text("say with ε how much")
    before = len(fake_exploration.asked(book))
    explorer.get_by_label("Privacy ε").fill("0.25")
    part.get_by_label("Least value").fill("90")
    part.get_by_label("Greatest value").fill("18")
    expect(part.get_by_role("alert")).to_contain_text("the lower one first")
    part.get_by_label("Least value").fill("18")
    part.get_by_label("Greatest value").fill("90")
    assert len(fake_exploration.asked(book)) == before  # typing costs nothing
    part.get_by_role("button", name="Look, and spend ε 0.25 at each node").click()
    expect(part.get_by_role("region", name="Distribution of age")).to_contain_text(
        "± 6.2, with a probability of 95 %", timeout=KERNEL
    )
    look = next(each for each in fake_exploration.asked(book)[before:] if each["part"] == "column")
    assert (look["epsilon"], look["bounds"]) == (0.25, [18, 90])
    tab(explorer, "Overview")
    expect(meter).not_to_have_attribute("aria-valuenow", str(spent))
    assert float(meter.get_attribute("aria-valuenow") or "") == pytest.approx(spent + 0.05)


def test_names_and_types_alone_and_a_role_that_may_not_look_are_said(explorer: Locator) -> None:
    begin(explorer, "ledger")
    expect(explorer).to_contain_text("You see names and types of columns, and no figures.", timeout=KERNEL)
    part = tab(explorer, "Distribution")
    expect(part).to_contain_text("There are no figures to look at here.")
    expect(part).to_contain_text("Your role lacks data:explore")
    expect(part.get_by_role("radio")).to_have_count(0)

    tab(explorer, "Overview")
    begin(explorer, "vault")
    expect(explorer.get_by_role("alert")).to_contain_text(
        re.compile("Your role does not let you look at data sets.*Ask for the permission data:explore"), timeout=KERNEL
    )


def test_an_owner_can_look_at_the_own_rows_alone(explorer: Locator, book: Path) -> None:
    begin(explorer, "heart")
    explorer.get_by_label("Only my own rows, at hospital-a").check(timeout=KERNEL)
    expect(explorer).to_contain_text("You see your own rows, exactly.", timeout=KERNEL)
    tab(explorer, "Labels")
    expect(explorer.get_by_role("application", name="Chart of Rows by disease")).to_be_visible(timeout=KERNEL)
    assert fake_exploration.asked(book)[-1]["own"] is True


def test_the_panel_shows_the_same_and_the_choice_survives_a_reload_without_asking(
    explorer: Locator, lab: Lab, book: Path
) -> None:
    begin(explorer, "heart")
    with lab.saving('"column":"chest pain"'):
        explorer.get_by_role("button", name="chest pain", exact=True).click(timeout=KERNEL)
    expect(explorer.get_by_role("application", name="Chart of Distribution of chest pain")).to_be_visible(
        timeout=KERNEL
    )
    part = in_panel(lab)
    expect(part.get_by_role("application", name="Chart of Distribution of chest pain")).to_be_visible()
    before = len(fake_exploration.asked(book))

    lab.reload()

    again = lab.page.locator(".flaas-RunView .flaas-Explorer:visible")
    expect(again.get_by_label("Data set")).to_have_value("heart")
    expect(again.get_by_role("tab", name="Distribution")).to_have_attribute("aria-selected", "true")
    expect(again).to_contain_text("Nothing has been asked yet")
    assert len(fake_exploration.asked(book)) == before


def test_it_goes_into_a_notebook_as_code(explorer: Locator, lab: Lab) -> None:
    begin(explorer, "heart")
    explorer.get_by_role("button", name="chol", exact=True).click(timeout=KERNEL)
    explorer.get_by_role("button", name="Insert as cell").click()
    cell = lab.page.locator(".jp-NotebookPanel:visible .jp-CodeCell").first
    expect(cell).to_contain_text('federation(dataset="heart")', timeout=KERNEL)
    expect(cell).to_contain_text('exploration.column("chol")')


def test_every_text_can_be_read_in_every_theme(explorer: Locator, lab: Lab) -> None:
    lab.page.set_viewport_size({"width": 1400, "height": 1150})
    begin(explorer, "heart")
    expect(explorer.get_by_role("table", name="What nodes show")).to_contain_text("does not answer", timeout=KERNEL)
    explorer.get_by_role("button", name="age", exact=True).click()
    part = in_panel(lab)
    shown = []
    for theme in THEMES:
        name = theme.removeprefix("JupyterLab ").replace(" ", "-").lower()
        lab.theme(theme)
        for each in ("Overview", "Distribution", "Missing values", "Correlations", "Labels", "Drift"):
            chart = tab(explorer, each).get_by_role("application").last
            expect(chart).to_be_visible(timeout=KERNEL)
            if each == "Distribution":
                chart.focus()
                for _ in range(6):
                    lab.page.keyboard.press("ArrowRight")
            shown += picture(explorer, f"explorer-{each.split()[0].lower()}-{name}.png")
        shown += texts(part)
    part.scroll_into_view_if_needed()
    picture(part, "explorer-panel.png")
    assert part.evaluate("element => element.scrollWidth <= element.clientWidth")  # nothing is cut off
    assert {"Distribution of age", "Correlations", "withheld"} <= {text.text for text in shown}
    assert [text for text in shown if text.contrast < 4.5] == []


def picture(explorer: Locator, name: str) -> list[Text]:
    """Take a picture of the page, and return the texts of the explorer."""
    page = explorer.page
    page.mouse.move(1390, 1140)
    page.screenshot(path=ARTIFACTS / name)
    if os.environ.get("FLAAS_DOCS_IMAGES") and name in DOCUMENTED:
        page.screenshot(path=IMAGES / name)
    return texts(explorer)


DOCUMENTED = {"explorer-overview-light.png", "explorer-distribution-light.png", "explorer-correlations-dark.png"}
