"""What a person sees and does with simulations in JupyterLab; nobody is signed in anywhere."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from flaas_jupyter.protocols import aggregation, attacks

from .conftest import ARTIFACTS
from .contrast import texts
from .lab import Lab, Panel
from .simulated import CATALOGUE, Simulated

THEMES = ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"]


@pytest.fixture
def simulation(lab_server) -> Iterator[Simulated]:
    """A simulation that runs, and has done forty of sixty rounds."""
    simulation = Simulated(lab_server.flaas_home, "sim-votes")
    simulation.advance(40)
    yield simulation
    shutil.rmtree(lab_server.flaas_home / "simulations")


@pytest.fixture
def panel(simulation: Simulated, lab: Lab) -> Panel:
    panel = lab.panel
    expect(items(panel)).to_have_count(1)
    return panel


def items(panel: Panel) -> Locator:
    return panel.root.get_by_role("list", name="Simulations").get_by_role("listitem")


def view_of(lab: Lab, name: str) -> Locator:
    return lab.page.locator(".flaas-RunView").filter(has=lab.page.get_by_role("heading", name=name, exact=True))


def open_simulation(panel: Panel, name: str = "votes") -> Locator:
    items(panel).filter(has_text=name).get_by_role("button", name=name, exact=True).click()
    view = view_of(panel.lab, name)
    expect(view.get_by_role("application")).to_be_visible()
    return view


def colours(view: Locator) -> int:
    """How many different colours the heat map is painted with."""
    return view.locator(".flaas-Heat-map canvas").evaluate(
        """canvas => {
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )


def test_without_simulations_the_panel_says_how_to_start_one(lab: Lab) -> None:
    lab.panel.wait_for_text("flaas.simulate(x, y, clients=100)")

    lab.panel.root.get_by_role("button", name="New simulation").click()

    expect(lab.page.get_by_role("heading", name="New simulation")).to_be_visible()


def test_the_panel_lists_simulations_and_follows_them(panel: Panel, simulation: Simulated) -> None:
    item = items(panel)
    expect(item).to_contain_text("fedqv_reputation under label_flip, 30 % attackers")
    expect(item).to_contain_text("running")
    expect(item).to_contain_text("round 40 of 60")

    simulation.advance(2)

    expect(item).to_contain_text("round 42 of 60")
    simulation.write(state="completed")
    expect(item).to_contain_text("completed")
    expect(item.get_by_role("button", name="Stop")).to_have_count(0)


def test_the_view_has_chart_heat_map_and_settings_and_follows_the_simulation(
    panel: Panel, simulation: Simulated
) -> None:
    view = open_simulation(panel)
    chart = view.get_by_role("img", name=re.compile("Line chart"))
    expect(chart).to_have_attribute("aria-label", re.compile(r"val_attack_success_rate.* Round 40: "))
    heat = view.get_by_role("application")
    expect(heat).to_have_attribute(
        "aria-label", re.compile("Heat map of votes: 40 clients, of them 12 attackers, in 40 rounds")
    )
    expect(view).to_contain_text("fedqv_reputation (budget=30, threshold=0.2)")
    expect(view).to_contain_text("12 (30 %)")
    panel.lab.page.wait_for_timeout(200)  # a frame or two
    assert colours(view) > 50

    simulation.advance(3)

    expect(chart).to_have_attribute("aria-label", re.compile("Round 43: "))
    expect(heat).to_have_attribute("aria-label", re.compile("in 43 rounds"))


def test_the_heat_map_can_be_walked_with_the_keyboard(panel: Panel, simulation: Simulated) -> None:
    simulation.write(state="completed")
    view = open_simulation(panel)
    view.get_by_label("Quantity").select_option("reputation")
    told = view.locator(".flaas-Heat-told")
    keyboard = panel.lab.page.keyboard

    view.get_by_role("application").focus()
    keyboard.press("ArrowRight")
    expect(told).to_have_text(re.compile(r"Round 40, client-\d+ \(attacker\): "))
    keyboard.press("Home")
    expect(told).to_have_text(re.compile(r"Round 1, client-\d+ \(attacker\): "))
    for _ in range(12):
        keyboard.press("ArrowDown")
    expect(told).to_have_text(re.compile(r"Round 1, client-\d+: "))
    assert "attacker" not in (told.text_content() or "")

    first = json.loads((simulation.folder / "rounds.jsonl").read_text().splitlines()[0])
    present = {client["node"]: client["columns"]["reputation"] for client in first["clients"]}
    honest = next(client for client in simulation.header["clients"] if not client["attacker"])
    value = present.get(honest["id"])
    words = "not in this round" if value is None else f"reputation {float(f'{value:.8g}'):g}"[:16]
    expect(told).to_contain_text(f"{honest['name']}: {words}")


def test_pointing_at_a_cell_tells_its_value(panel: Panel) -> None:
    view = open_simulation(panel)
    box = view.locator(".flaas-Heat-map canvas").bounding_box()
    assert box is not None

    view.locator(".flaas-Heat-map canvas").hover(position={"x": 140, "y": 60})

    expect(view.locator(".flaas-Heat-tip")).to_have_text(re.compile(r"^Round \d+, client-\d+ \(attacker\): "))


def test_a_round_stands_in_a_table_too(panel: Panel, simulation: Simulated) -> None:
    view = open_simulation(panel)
    view.locator(".flaas-Heat").get_by_role("button", name="Show as table").click()
    table = view.get_by_role("table", name="Clients of the round")

    expect(table.locator("tbody tr")).to_have_count(20)
    expect(table.locator("thead th")).to_have_text(
        ["Client", "Role", "votes", "reputation", "similarity", "weight", "examples"]
    )
    expect(table.locator("tbody tr").first).to_contain_text("attacker")
    expect(view.get_by_text("Round 40: 20 of 40 clients")).to_be_visible()
    view.get_by_role("button", name="Earlier").click()
    expect(view.get_by_text("Round 39: 20 of 40 clients")).to_be_visible()


def test_stopping_asks_first_and_leaves_the_engines_file(panel: Panel, simulation: Simulated) -> None:
    item = items(panel)
    item.get_by_role("button", name="Stop the simulation votes").click()
    panel.lab.dialog("Stop the simulation").get_by_role("button", name="Cancel").click()
    assert not (simulation.folder / "stop").exists()

    item.get_by_role("button", name="Stop the simulation votes").click()
    panel.lab.dialog("Stop the simulation").get_by_role("button", name="Stop the simulation").click()

    expect(item).to_contain_text("stops after this round")
    assert (simulation.folder / "stop").exists()
    view = open_simulation(panel)
    simulation.write(state="cancelled")
    expect(view).to_contain_text('model.fit(federation, resume="sim-votes")')


def test_deleting_asks_first_and_closes_the_view(panel: Panel, simulation: Simulated) -> None:
    simulation.write(state="completed")
    view = open_simulation(panel)

    view.get_by_role("button", name="Delete the simulation votes").click()
    panel.lab.dialog("Delete the simulation").get_by_role("button", name="Delete the simulation").click()

    expect(view).to_have_count(0)
    expect(items(panel)).to_have_count(0)
    assert not simulation.folder.exists()


def test_a_simulation_whose_notebook_is_gone_says_how_to_go_on(panel: Panel, simulation: Simulated) -> None:
    simulation.write(pid=2**22 + 1)

    expect(items(panel)).to_contain_text("interrupted")
    view = open_simulation(panel)
    expect(view).to_contain_text('model.fit(federation, resume="sim-votes")')


def test_a_reload_restores_the_view(panel: Panel) -> None:
    with panel.lab.saving("flaas-simulations:sim-votes"):
        open_simulation(panel)

    panel.lab.reload()

    view = view_of(panel.lab, "votes")
    expect(view.get_by_role("application")).to_have_attribute("aria-label", re.compile("in 40 rounds"))


def test_a_deleted_simulation_that_is_open_has_a_way_out(panel: Panel, simulation: Simulated) -> None:
    view = open_simulation(panel)
    hidden = simulation.folder.with_name(".away")
    simulation.folder.rename(hidden)

    expect(view.get_by_role("alert")).to_contain_text("There is no simulation 'sim-votes'")
    hidden.rename(simulation.folder)
    view.get_by_role("button", name="Retry").click()

    expect(view.get_by_role("alert")).to_have_count(0)


def test_thousands_of_clients_over_hundreds_of_rounds_stay_fluid(lab: Lab, lab_server) -> None:
    simulation = Simulated(lab_server.flaas_home, "sim-large", clients=3000, attackers=900, per_round=600)
    simulation.header["rounds"] = 300
    simulation.advance(300)
    try:
        view = open_simulation(lab.panel, "large")
        heat = view.get_by_role("application")
        expect(heat).to_have_attribute("aria-label", re.compile("3,000 clients, .* in 300 rounds"), timeout=60_000)
        lab.page.wait_for_timeout(500)
        view.scroll_into_view_if_needed()
        view.locator(".flaas-Heat").scroll_into_view_if_needed()
        view.locator(".flaas-Heat-map canvas").hover(position={"x": 400, "y": 100})
        expect(view.locator(".flaas-Heat-tip")).to_have_text(
            re.compile(r"^Round \d+, 7 clients, of them 7 attackers: ")
        )
        lab.page.screenshot(path=ARTIFACTS / "simulation-large.png")
        milliseconds = lab.page.evaluate(
            """async () => {
              const frame = () => new Promise(done => requestAnimationFrame(done));
              const select = [...document.querySelectorAll('.flaas-Heat-controls select')][0];
              const times = [];
              for (const value of ['reputation', 'votes', 'similarity']) {
                const start = performance.now();
                select.value = value;
                select.dispatchEvent(new Event('change', { bubbles: true }));
                await frame(); await frame();
                times.push(performance.now() - start);
              }
              return Math.min(...times);
            }"""
        )
        assert milliseconds < 1000  # software painting on a shared machine; 100 on a desk
    finally:
        shutil.rmtree(simulation.folder)


@pytest.fixture
def form(lab: Lab) -> Locator:
    """The form for a new simulation, with a small catalogue."""
    lab.page.route("**/flaas/protocols*", lambda route: route.fulfill(json=CATALOGUE))
    lab.page.locator(".jp-LauncherCard").filter(has_text="Federated Simulation").click()
    form = lab.page.get_by_role("form", name="New simulation")
    form.wait_for()
    return form


def test_choosing_a_rule_tells_what_it_is_good_for(form: Locator) -> None:
    form.get_by_label("Rule", exact=True).select_option("krum")

    expect(form).to_contain_text("closest to its nearest neighbours")
    expect(form).to_contain_text("Defends Arbitrary models from fewer than half")
    expect(form).to_contain_text("Limits Models crafted to lie among the honest ones pass")


def test_the_form_makes_a_notebook_and_opens_it(lab: Lab, form: Locator) -> None:
    form.get_by_label("Rule", exact=True).select_option("krum")
    form.get_by_label("byzantine").fill("2")
    form.get_by_label("Attack", exact=True).select_option("label_flip")
    form.get_by_label("fraction").fill("0.4")
    form.get_by_label("Partition").select_option("Dirichlet")
    form.get_by_label("Clients", exact=True).fill("50")
    form.get_by_label("Rounds").fill("5")

    form.get_by_role("button", name="Create notebook").click()

    notebook = lab.page.locator(".jp-NotebookPanel:visible")
    expect(notebook).to_contain_text("Simulation: krum under label_flip")
    path = lab.server.root / "simulation-krum.ipynb"
    cells = json.loads(path.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    compile(code, str(path), "exec")
    assert 'aggregation=flaas.aggregation("krum", byzantine=2)' in code
    assert "attack=flaas.attacks.LabelFlip(fraction=0.4)" in code
    assert "partition=flaas.Dirichlet(0.9)" in code
    assert "clients=50" in code
    assert "rounds=5" in code


def test_a_second_notebook_does_not_replace_the_first(lab: Lab, form: Locator) -> None:
    for name in ("simulation-fedavg.ipynb", "simulation-fedavg-2.ipynb"):
        lab.execute("flaas:new-simulation")
        form.get_by_role("button", name="Create notebook").click()
        expect(lab.page.get_by_role("tab", name=name)).to_be_visible()
        assert (lab.server.root / name).exists()


def test_the_form_offers_every_rule_and_attack_that_flaas_knows(lab: Lab) -> None:
    lab.execute("flaas:new-simulation")
    form = lab.page.get_by_role("form", name="New simulation")
    form.wait_for(timeout=90_000)  # `flaas protocols` is a process of its own

    for label, names in (("Rule", aggregation.names()), ("Attack", ["", *attacks.names()])):
        options = form.get_by_label(label, exact=True).locator("option")
        assert options.evaluate_all("options => options.map(option => option.value)") == names


def test_without_a_catalogue_the_form_says_why_and_recovers(lab: Lab) -> None:
    problem = {
        "status": 500,
        "code": "no-catalogue",
        "title": "Rules cannot be listed",
        "detail": "No module.",
        "hint": "",
    }
    lab.page.route("**/flaas/protocols*", lambda route: route.fulfill(status=500, json=problem))
    lab.execute("flaas:new-simulation")
    alert = lab.page.locator(".flaas-RunView").get_by_role("alert")
    expect(alert).to_contain_text("Rules cannot be listed")

    lab.page.unroute("**/flaas/protocols*")
    lab.page.route("**/flaas/protocols*", lambda route: route.fulfill(json=CATALOGUE))
    alert.get_by_role("button", name="Retry").click()

    expect(lab.page.get_by_role("form", name="New simulation")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_can_be_read_in_every_theme(panel: Panel, theme: str) -> None:
    lab = panel.lab
    view = open_simulation(panel)
    lab.theme(theme)
    view.locator(".flaas-Heat-map canvas").hover(position={"x": 300, "y": 100})
    expect(view.locator(".flaas-Heat-tip")).to_be_visible()
    name = theme.removeprefix("JupyterLab ").lower().replace(" ", "-")
    lab.page.screenshot(path=ARTIFACTS / f"simulation-{name}.png")
    view.locator(".flaas-Heat").screenshot(path=ARTIFACTS / f"heat-map-{name}.png")

    shown = texts(panel.root) + texts(view)

    assert {"votes", "Clients by round", "attackers first"} & {text.text for text in shown}
    assert len(shown) > 40
    assert [text for text in shown if text.contrast < 4.5] == []


@pytest.mark.parametrize("theme", THEMES[:2])
def test_the_form_can_be_read_in_every_theme(lab: Lab, form: Locator, theme: str) -> None:
    form.get_by_label("Rule", exact=True).select_option("krum")
    form.get_by_label("Attack", exact=True).select_option("label_flip")
    lab.theme(theme)
    root = lab.page.locator(".flaas-RunView").filter(has=form)
    root.get_by_text("All 2 aggregation rules").click()
    name = theme.split()[-1].lower()
    lab.page.screenshot(path=ARTIFACTS / f"new-simulation-{name}.png")

    assert [text for text in texts(root) if text.contrast < 4.5] == []
