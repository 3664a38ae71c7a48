"""What a person sees and does in the panel and in the view of a run, against a fake coordination API."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Response, expect

from .contrast import texts
from .fake_api import TOKEN, FakeApi
from .lab import Lab, Panel

ARTIFACTS = Path(__file__).parent / "artifacts"
RUN = "first federation"


@pytest.fixture
def panel(lab: Lab, fake_api: FakeApi) -> Panel:
    """The panel, signed in, with a run that has done three rounds."""
    fake_api.add_run("r0", "last week's", state="completed", age=500_000)
    fake_api.runs["r0"]["round"] = 10
    fake_api.add_run("r1", RUN)
    for _ in range(3):
        fake_api.advance("r1")
    panel = lab.panel
    panel.sign_in(fake_api.url, TOKEN)
    expect(panel.nodes).to_have_count(3)
    return panel


def test_signing_in_shows_the_federation_and_leaves_no_token_in_the_browser(lab: Lab, fake_api: FakeApi) -> None:
    answers: list[Response] = []
    lab.page.on("response", lambda answer: answers.append(answer))
    panel = lab.panel

    panel.sign_in(fake_api.url, "a-wrong-one")
    panel.wait_for_text("Nobody is known by this token")
    assert panel.root.get_by_label("Token").input_value() == ""
    panel.sign_in(fake_api.url, TOKEN)

    expect(panel.nodes).to_have_count(3)
    expect(panel.nodes.filter(has_text="hospital-b")).to_contain_text("online")
    expect(panel.datasets).to_have_text([re.compile("biopsies.*450.*30.*3 of 3")])
    panel.wait_for_text("ana, north")
    storage = lab.page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert TOKEN not in storage + lab.page.content()
    ours = [
        answer for answer in answers if "/flaas/" in answer.url and not answer.url.partition("?")[0].endswith("/events")
    ]
    assert len(ours) > 5
    assert all(TOKEN not in answer.url + answer.text() for answer in ours)
    stored = json.loads((lab.server.flaas_home / "credentials.json").read_text())
    assert stored == {"url": fake_api.url, "token": TOKEN}
    assert TOKEN not in lab.server.output.read_text()


def test_a_run_progresses_live(panel: Panel, fake_api: FakeApi) -> None:
    run = panel.run(RUN)
    expect(run).to_contain_text("round 3 of 10")
    before = len(fake_api.requests)

    fake_api.advance("r1")

    expect(run).to_contain_text("round 4 of 10", timeout=5_000)
    assert [path for _, path in fake_api.requests[before:] if path.startswith("/v1/runs")] == []  # from the event alone
    expect(panel.lab.status_item).to_have_text("Federation: 1 active run")
    while fake_api.advance("r1") < 10:
        pass
    expect(run).to_contain_text("completed")
    expect(run.get_by_role("button", name="Stop the run")).to_have_count(0)
    expect(panel.lab.status_item).to_have_text("Federation: 0 active runs")


def test_a_node_that_goes_is_shown_as_gone(panel: Panel, fake_api: FakeApi) -> None:
    fake_api.set_online("hospital-c", False)

    expect(panel.nodes.filter(has_text="hospital-c")).to_contain_text("offline")
    expect(panel.nodes.filter(has_text="hospital-c")).to_contain_text("seen 5 min ago")
    expect(panel.datasets).to_contain_text(["2 of 3"])


def test_stopping_a_run_asks_first(panel: Panel, fake_api: FakeApi) -> None:
    run = panel.run(RUN)
    run.get_by_role("button", name="Stop the run").click()
    panel.lab.dialog("Stop the run").get_by_role("button", name="Cancel").click()
    assert ("POST", "/v1/runs/r1/cancel") not in fake_api.requests

    panel.stop_run(RUN)

    expect(run).to_contain_text("cancelled")
    assert fake_api.requests.count(("POST", "/v1/runs/r1/cancel")) == 1


def test_the_run_view_has_chart_and_table_and_follows_the_run(panel: Panel, fake_api: FakeApi) -> None:
    view = panel.open_run(RUN)

    expect(view.chart).to_have_attribute("aria-label", re.compile(r"Line chart of .*loss.* Round 3: .*accuracy 0\.\d+"))
    expect(view.rows("Rounds")).to_have_count(3)
    expect(view.rows("Rounds").nth(1)).to_contain_text("hospital-c (masking)")
    expect(view.rows("Participants")).to_have_count(3)
    expect(view.rows("Participants").filter(has_text="hospital-b")).to_contain_text("aggregates")
    painted = view.chart.locator("canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].some(Boolean)"
    )
    assert painted

    settings = view.root.get_by_role("region", name="Settings")
    expect(settings).to_contain_text("epsilon=8, delta=0.00001, clip=1, mode=central")
    expect(settings).to_contain_text("1.559")  # spent after three rounds

    fake_api.advance("r1")

    expect(view.rows("Rounds")).to_have_count(4)
    expect(settings).to_contain_text("1.8")
    expect(view.chart).to_have_attribute("aria-label", re.compile("Round 4: "))
    expect(view.events.first).to_contain_text("Round 4 done")
    view.root.get_by_role("button", name="Show as table").click()
    expect(view.rows("Metrics by round")).to_have_count(4)
    expect(view.chart).to_have_count(0)


def test_a_failed_run_says_why(panel: Panel, fake_api: FakeApi) -> None:
    view = panel.open_run(RUN)

    fake_api.set_state(
        "r1", "failed",
        {"kind": "Aborted", "code": "too-few-nodes", "message": "Two of three nodes are gone.", "hint": "Start them."},
    )  # fmt: skip

    expect(view.root.get_by_role("alert")).to_contain_text("too-few-nodes")
    expect(view.root.get_by_role("alert")).to_contain_text("Start them.")
    expect(panel.run(RUN)).to_contain_text("Two of three nodes are gone.")


def test_a_reload_restores_panel_and_run_view(panel: Panel) -> None:
    with panel.lab.saving("flaas-runs:r1"):
        view = panel.open_run(RUN)
    expect(view.rows("Rounds")).to_have_count(3)

    panel.lab.reload()

    expect(panel.root).to_be_visible()
    expect(panel.nodes).to_have_count(3)
    expect(panel.lab.run_view(RUN).rows("Rounds")).to_have_count(3)


def test_the_choice_of_a_project_is_remembered(panel: Panel) -> None:
    with panel.lab.saving('"@flaas/labextension:project":"empty"'):
        panel.pick_project("Empty project")
    panel.wait_for_text("No node has joined yet")

    panel.lab.reload()

    panel.wait_for_text("No node has joined yet")
    panel.pick_project("Breast cancer")
    expect(panel.nodes).to_have_count(3)


def test_when_the_api_is_down_old_figures_are_marked_and_recovery_needs_no_reload(
    panel: Panel, fake_api: FakeApi
) -> None:
    fake_api.stop()

    alert = panel.root.get_by_role("alert")
    expect(alert).to_contain_text("cannot be reached")
    expect(panel.nodes).to_have_count(3)
    panel.wait_for_text(re.compile(r"Connection lost; last updated \d\d:\d\d"))
    expect(panel.lab.status_item).to_have_text("Federation: unreachable")
    panel.lab.page.screenshot(path=ARTIFACTS / "api-down.png")

    fake_api.start()
    fake_api.advance("r1")
    alert.get_by_role("button", name="Retry").click()

    expect(panel.run(RUN)).to_contain_text("round 4 of 10")
    expect(panel.root.get_by_role("alert")).to_have_count(0)
    fake_api.advance("r1")
    expect(panel.run(RUN)).to_contain_text("round 5 of 10")  # live again


def test_without_the_server_half_the_panel_says_what_to_install(lab: Lab) -> None:
    lab.page.route("**/flaas/status*", lambda route: route.fulfill(status=404, json={"message": "Not Found"}))

    lab.reload()

    lab.panel.wait_for_text("pip install flaas_jupyter")
    lab.page.screenshot(path=ARTIFACTS / "server-missing.png")
    lab.page.unroute("**/flaas/status*")
    lab.panel.root.get_by_role("button", name="Retry").click()
    expect(lab.panel.root.get_by_label("Token")).to_be_visible()


def test_halves_of_different_versions_are_told_apart(lab: Lab) -> None:
    def older(route):
        body = route.fetch().json()
        route.fulfill(json={**body, "version": "0.0.1"})

    lab.page.route("**/flaas/status*", older)
    lab.reload()

    lab.panel.wait_for_text("Jupyter Server has 0.0.1")


def test_everything_can_be_done_with_the_keyboard(lab: Lab, fake_api: FakeApi) -> None:
    fake_api.add_run("r1", RUN)
    fake_api.advance("r1")
    page, panel = lab.page, Panel(lab)
    keyboard = page.keyboard
    focused = page.locator(":focus")

    expect(page.locator(".jp-Launcher")).to_be_focused()  # it takes the focus when it comes
    keyboard.press("Control+Shift+C")
    expect(page.locator(".lm-CommandPalette-input")).to_be_focused()
    keyboard.type("Show Federated Learning")
    expect(page.locator(".lm-CommandPalette-item").first).to_contain_text("Show Federated Learning")
    keyboard.press("Enter")
    expect(panel.root.get_by_label("Address of the coordination API")).to_be_focused()
    keyboard.press("Control+A")
    keyboard.type(fake_api.url)
    keyboard.press("Tab")
    expect(panel.root.get_by_role("button", name="Get a sign-in code")).to_be_focused()
    keyboard.press("Tab")
    expect(panel.root.get_by_label("Token")).to_be_focused()
    keyboard.type(TOKEN)
    keyboard.press("Enter")
    expect(panel.nodes).to_have_count(3)

    def tab_to(name: str) -> None:
        target = panel.root.get_by_role("button", name=name, exact=True)
        for _ in range(15):
            keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
                return
        raise AssertionError(f"Tab does not reach {name!r}.")

    page.get_by_role("region", name="Federated learning", exact=True).get_by_role("button", name="Refresh").focus()
    tab_to(RUN)
    keyboard.press("Enter")
    expect(lab.run_view(RUN).rows("Rounds")).to_have_count(1)

    panel.root.get_by_role("button", name=RUN, exact=True).focus()
    tab_to(f"Stop the run {RUN}")
    keyboard.press("Enter")
    dialog = lab.dialog("Stop the run")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Stop the run")).to_be_focused()
    keyboard.press("Enter")
    expect(panel.run(RUN)).to_contain_text("cancelled")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_every_text_can_be_read_in_every_theme(panel: Panel, fake_api: FakeApi, theme: str) -> None:
    fake_api.set_online("hospital-c", False)
    fake_api.add_run("r2", "waiting one", state="queued", age=1)
    view = panel.open_run(RUN)
    expect(view.rows("Rounds")).to_have_count(3)
    expect(panel.run("waiting one")).to_contain_text("2 are online")
    panel.lab.theme(theme)
    panel.lab.page.mouse.move(700, 880)
    name = theme.removeprefix("JupyterLab ").lower().replace(" ", "-")
    panel.lab.page.screenshot(path=ARTIFACTS / f"lab-{name}.png")
    view.root.screenshot(path=ARTIFACTS / f"run-{name}.png")

    shown = texts(panel.root) + texts(view.root) + texts(panel.lab.page.locator(".flaas-StatusItem"))

    assert {"hospital-a", "biopsies", RUN, "Stop", "Sign out"} <= {text.text for text in shown}
    assert len(shown) > 60
    assert [text for text in shown if text.contrast < 4.5] == []


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_the_sign_in_form_can_be_read_in_every_theme(lab: Lab, fake_api: FakeApi, theme: str) -> None:
    panel = lab.panel
    panel.sign_in(fake_api.url, "a-wrong-one")
    panel.wait_for_text("Nobody is known by this token")
    lab.theme(theme)
    lab.page.screenshot(path=ARTIFACTS / f"sign-in-{theme.split()[-1].lower()}.png")

    shown = texts(panel.root)

    assert len(shown) >= 8
    assert [text for text in shown if text.contrast < 4.5] == []


def test_the_chart_takes_the_colours_of_a_new_theme(panel: Panel) -> None:
    view = panel.open_run(RUN)
    panel.lab.theme("JupyterLab Light")

    def axis_pixels(bright: bool) -> int:
        """Pixels of the chart that are nearly white, or nearly black, and opaque."""
        return view.chart.locator("canvas").evaluate(
            """(canvas, bright) => {
              const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
              let count = 0;
              for (let i = 0; i < data.length; i += 4) {
                const near = [0, 1, 2].every(c => (bright ? data[i + c] > 230 : data[i + c] < 40));
                count += near && data[i + 3] > 120 ? 1 : 0;
              }
              return count;
            }""",
            bright,
        )

    assert axis_pixels(bright=False) > 20 > axis_pixels(bright=True)
    panel.lab.theme("JupyterLab Dark")
    assert axis_pixels(bright=True) > 20 > axis_pixels(bright=False)


def test_the_status_bar_opens_the_panel(lab: Lab) -> None:
    expect(lab.status_item).to_have_text("Federation: not signed in")
    root = Panel(lab).root
    expect(root).to_be_hidden()

    lab.status_item.click()

    expect(root).to_be_visible()


def test_the_launcher_opens_the_panel(lab: Lab) -> None:
    lab.page.locator(".jp-LauncherCard").filter(has_text="Federated Learning").click()

    expect(Panel(lab).root).to_be_visible()
