"""Templates, prices and recommendations over REST."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from flaas_jupyter.costs import Catalog, accounts
from flaas_jupyter.costs.driver import CloudUnreachable, Identity
from flaas_jupyter.costs.launch.tables import LaunchedMachine, LaunchRow
from flaas_jupyter.costs.secrets import Keyring
from flaas_jupyter.costs.tables import OwnPrice

PATH = "/v1/costs/templates"
RECOMMEND = "/v1/costs/recommendations"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of the test's own: refreshed prices and the key of sealed credentials are kept there."""
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))


def template(**changes):
    """A template of an organisation's own."""
    return {"name": "own-table", "title": "Our table", "need": {"vcpus": 2.0, "memory_gib": 8.0}, "nodes": 2, **changes}


def test_everybody_sees_the_built_in_templates(federation):
    for role in ("viewer", "developer", "cost-manager", "operator"):
        found = federation.person(role, "north").embedded(PATH, "templates")
        assert len(found) >= 14
        assert all(entry["builtin"] for entry in found)


def test_a_template_of_one_s_own_is_seen_by_one_s_organisation_alone(federation):
    controller = federation.person("cost-manager", "north")
    made = controller.call("POST", PATH, template())
    assert (made.status_code, made.headers["Location"]) == (201, f"{PATH}/own-table")
    assert made.json()["need"]["memory_gib"] == 8
    seen = {entry["name"]: entry for entry in federation.person("viewer", "north").embedded(PATH, "templates")}
    assert not seen["own-table"]["builtin"]
    assert "own-table" not in {e["name"] for e in federation.person("viewer", "south").embedded(PATH, "templates")}
    assert controller.refused("POST", PATH, template()) == (409, "template-exists")
    plan = federation.person("developer", "north").post(RECOMMEND, {"template": "own-table"})["plan"]
    assert len(plan["nodes"]) == 2
    more = federation.person("developer", "north").post(RECOMMEND, {"template": "own-table", "nodes": 5})["plan"]
    assert len(more["nodes"]) == 5
    south = federation.person("cost-manager", "south")
    assert south.refused("POST", RECOMMEND, {"template": "own-table"}) == (404, "unknown-template")
    assert south.refused("DELETE", f"{PATH}/own-table") == (404, "unknown-template")
    assert controller.call("DELETE", f"{PATH}/own-table").status_code == 204
    assert controller.refused("DELETE", f"{PATH}/own-table") == (404, "unknown-template")


def test_templates_take_the_right_to_manage_costs(federation):
    for role in ("viewer", "developer"):
        assert federation.person(role, "north").refused("POST", PATH, template())[0] == 403
        assert federation.person(role, "north").refused("DELETE", f"{PATH}/own-table")[0] == 403
    node = federation.node("north")
    assert node.api.refused("GET", PATH)[0] == 403
    assert node.api.refused("POST", RECOMMEND, {"template": "tabular-small"})[0] == 403
    assert federation.nobody.refused("GET", PATH)[0] == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Capital"}, {"nodes": 0}, {"nodes": 10_000}, {"need": {"vcpus": -1}}, {"need": {"wings": 2}},
        {"area": "Atlantis"}, {"market": "black"}, {"aggregation": "no-rule"}, {"colour": "red"},
        {"secure_aggregation": True, "nodes": 2}, {"disk_gib": "much"},
    ],
)  # fmt: skip
def test_templates_that_cannot_be_are_refused(federation, wrong):
    controller = federation.person("cost-manager", "north")
    status, _ = controller.refused("POST", PATH, template(**wrong))
    assert status == 422
    assert "own-table" not in {entry["name"] for entry in controller.embedded(PATH, "templates")}


def test_a_recommendation_is_the_one_of_the_library(federation):
    answer = federation.person("viewer", "north").post(RECOMMEND, {"template": "tabular-secure", "rounds": 10})
    offers = {entry["provider"]: entry["offer"] for entry in answer["providers"]}
    catalog = Catalog.embedded()
    from flaas_jupyter.costs import templates

    need = templates.find("tabular-secure").need
    for provider, offer in offers.items():
        assert offer["price_usd_hour"] >= catalog.cheapest(need, provider=provider).price_usd_hour
    totals = {entry["provider"]: entry["plan"]["total_usd"] for entry in answer["providers"]}
    assert answer["plan"]["total_usd"] <= min(totals.values())
    assert all(not entry["launchable"] for entry in answer["providers"]), "nobody has an account"
    assert "local" not in totals, "this API's operator does not offer its own machine"


def test_bad_questions_are_refused_with_what_is_allowed(federation):
    viewer = federation.person("viewer", "north")
    assert viewer.refused("POST", RECOMMEND, {"template": "nope"}) == (404, "unknown-template")
    bad_area = viewer.problem("POST", RECOMMEND, {"template": "tabular-small", "area": "Atlantis"})
    assert bad_area["code"] == "unknown-area"
    assert "Atlantis" in bad_area["detail"]
    for wrong in ({}, {"template": "tabular-small", "rounds": 0}, {"template": "tabular-small", "nodes": []}):
        assert viewer.refused("POST", RECOMMEND, wrong)[0] == 422
    twice = {"template": "tabular-small", "nodes": [{"name": "a"}, {"name": "a"}]}
    assert viewer.refused("POST", RECOMMEND, twice) == (422, "bad-request")
    unmeetable = viewer.post(RECOMMEND, {"template": "tabular-small", "budget_usd": 0.001})
    assert unmeetable["plan"] is None
    assert "budget" in unmeetable["why_not"]


class Cloud:
    """A driver that answers from here; AWS in the registry."""

    title, name, fields = "AWS", "aws", ()

    def __init__(self, rows=(), own=(), error=None):
        self.rows, self.own, self.error = rows, own, error

    def prices(self, regions=()):
        if self.error is not None:
            raise self.error
        yield from self.rows

    def negotiated(self, wanted):
        known = {(row["region"], row["instance_type"]) for row in wanted}
        yield from (row for row in self.own if (row["region"], row["instance_type"]) in known)


@pytest.fixture
def aws(api, monkeypatch):
    """Enter an account at AWS for an organisation, answered by a `Cloud`."""

    def entered(organisation, cloud):
        with api.hosted.database.writing() as session:
            identity = Identity("123456789012", "user/flaas")
            account = accounts.add(session, Keyring.load(), organisation, "aws", "AWS", {"key": "secret"}, identity)
        monkeypatch.setattr(accounts, "open_driver", lambda *args, **more: cloud)
        return account

    return entered


def dearer(factor):
    """The embedded prices of AWS, times `factor`, as a cloud tells them."""
    from flaas_jupyter.costs.price_table import to_arrow

    rows = to_arrow(Catalog.embedded().rows_of("aws")).to_pylist()
    return [{**row, "price_usd_hour": row["price_usd_hour"] * factor, "as_of": date.today()} for row in rows]


def aws_price(caller):
    answer = caller.post(RECOMMEND, {"template": "tabular-secure"})
    return next(entry for entry in answer["providers"] if entry["provider"] == "aws")


def test_prices_are_refreshed_with_the_organisation_s_account(federation, api, aws):
    controller = federation.person("cost-manager", "north")
    assert controller.refused("POST", "/v1/costs/prices/refresh") == (409, "no-cloud-account")
    before = aws_price(controller)["offer"]
    place = {"region": before["region"], "instance_type": before["instance_type"]}
    aws("north", Cloud(dearer(2), [{**place, "usd_hour": 0.01, "source": "bill"}]))
    assert controller.call("POST", "/v1/costs/prices/refresh").status_code == 202
    api.hosted.price_refresh.join(20)
    state = controller.get("/v1/costs/prices")
    assert state["state"] == "idle"
    assert state["providers"]["aws"]["state"] == "replaced"
    assert state["providers"]["aws"]["as_of"] == date.today().isoformat()
    mine = aws_price(controller)["offer"]
    assert (mine["price_usd_hour"], mine["kind"]) == (0.01, "negotiated")
    theirs = aws_price(federation.person("viewer", "south"))["offer"]
    assert theirs["kind"] == "list", "another organisation's prices are its own"
    assert theirs["price_usd_hour"] == pytest.approx(2 * before["price_usd_hour"])


def test_a_cloud_that_fails_keeps_its_prices(federation, api, aws):
    controller = federation.person("cost-manager", "north")
    before = aws_price(controller)["offer"]
    aws("north", Cloud(error=CloudUnreachable("AWS does not answer.")))
    controller.call("POST", "/v1/costs/prices/refresh")
    api.hosted.price_refresh.join(20)
    state = controller.get("/v1/costs/prices")["providers"]["aws"]
    assert state["state"] == "kept"
    assert "AWS does not answer" in state["problem"]
    assert aws_price(controller)["offer"] == before


def test_refreshing_takes_the_right_to_manage_costs(federation):
    for role in ("viewer", "developer"):
        assert federation.person(role, "north").refused("POST", "/v1/costs/prices/refresh")[0] == 403
    assert set(federation.person("viewer", "north").get("/v1/costs/prices")["providers"]) == {"aws", "azure", "gcp"}


def test_an_account_makes_a_provider_launchable_and_its_overlay_counts(federation, api, aws):
    controller = federation.person("cost-manager", "north")
    before = aws_price(controller)
    account = aws("north", Cloud())
    with api.hosted.database.writing() as session:
        accounts.set_overlays(accounts.find(session, "north", account.id), [{"percent": 50}])
    after = aws_price(controller)
    assert after["account"] == account.id
    assert after["launchable"]
    assert after["offer"]["price_usd_hour"] == pytest.approx(before["offer"]["price_usd_hour"] / 2)
    assert after["offer"]["kind"] == "overlay"
    assert "secret" not in json.dumps(after)


def test_an_organisation_that_goes_takes_its_prices_along(federation, api):
    federation.admin.post("/v1/organisations", {"id": "passing", "name": "Passing"})
    with api.hosted.database.writing() as session:
        session.add(
            OwnPrice(
                organisation="passing", provider="aws", region="eu-west-1", instance_type="m5.large",
                market="on_demand", usd_hour=1.0, kind="negotiated", source="bill", as_of=date(2026, 9, 1),
            )
        )  # fmt: skip
    path = "/v1/organisations/passing"
    assert federation.admin.call("DELETE", path, headers=federation.admin.matching(path)).status_code == 204
    with api.hosted.database.reading() as session:
        assert session.query(OwnPrice).count() == 0


def test_measured_rounds_correct_the_next_estimate(federation, api):
    """A launch whose run has reported rounds: the estimate of the same template on such hardware follows them."""
    nodes = federation.three()
    run, leader, _ = federation.led_run(nodes)
    leader.move(run, "running")
    for number, seconds in enumerate((400.0, 500.0, 600.0), 1):
        assert leader.report(run, number, seconds={"total": seconds, "train": 1.0}).is_success
    developer = federation.developer
    before = developer.post(RECOMMEND, {"template": "tabular-small", "rounds": 100})
    assert before["hours"] == 1
    assert any("No run was measured" in text for text in before["assumptions"])
    now = datetime.now(UTC)
    with api.hosted.database.writing() as session:
        launch = LaunchRow(
            id="measured", project=federation.project, organisation="laboratory", template="tabular-small", rounds=3,
            hours=1.0, accepted_usd=1.0, state="ended", created=now, created_by="ana", ends_at=now, run=run, round=3,
            url=api.url,
        )  # fmt: skip
        session.add(launch)
        session.flush()
        session.add_all(
            LaunchedMachine(
                launch=launch.number, node=f"node-{position}", attempt=1, position=position, token=f"t-{position}",
                provider="aws", region="eu-central-1", instance_type="t3.medium", market="on_demand", usd_hour="0.048",
                disk_gib=30, state="ended", over=True, planned=now,
            )
            for position in range(3)
        )  # fmt: skip
    after = developer.post(RECOMMEND, {"template": "tabular-small", "rounds": 100})
    assert any("Corrected by measured runs" in text for text in after["assumptions"])
    assert after["seconds_per_round"] == pytest.approx(500)
    assert after["hours"] == pytest.approx(100 * 500 / 3600 + 0.2, rel=0.01)
    stranger = federation.person("viewer", "elsewhere").post(RECOMMEND, {"template": "tabular-small", "rounds": 100})
    assert stranger["hours"] == 1, "another organisation's runs tell it nothing"
