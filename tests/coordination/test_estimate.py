"""The live estimate over REST: lifetimes and traffic of launched machines, against figures worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import event

from flaas_jupyter.coordination.services.estimate import sent
from flaas_jupyter.costs.launch import plan, states
from flaas_jupyter.costs.launch.plan import Asked, Wanted

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WINDOW = (TODAY - 2 * DAY).date(), (TODAY + DAY).date()
SUMMARY = f"/v1/costs/summary?from={WINDOW[0]}&to={WINDOW[1]}"
FRANKFURT, IRELAND, BELGIUM = ("aws", "eu-central-1"), ("aws", "eu-west-1"), ("gcp", "europe-west1")
GB = 10**9


@pytest.fixture
def federation(federation, tmp_path, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))  # no prices that somebody has refreshed
    return federation


@pytest.fixture
def controller(federation):
    return federation.person("cost-manager", "north")


def launch(federation, nodes, places, organisation="north"):
    """Keep a launch whose machines ran for 25 h over midnight, each at 0.1 USD an hour, and trained as `nodes`."""
    wanted = [
        Wanted(f"machine-{n}", provider, region, "m5.large", 0.1, account="a")
        for n, (provider, region) in enumerate(places)
    ]
    asked = Asked("credit", organisation, "dev", 30.0, federation.api.url, 100.0, wanted)
    with federation.api.hosted.database.writing() as session:
        made = plan.create(session, asked, [Decimal("0.1")] * len(wanted), TODAY - 2 * DAY)
        made.state = states.ENDED
        for row, node in zip(made.machines, nodes, strict=False):
            row.state, row.over, row.node_id = states.ENDED, True, node.id
            row.started, row.ended = TODAY - 26 * HOUR, TODAY - HOUR


def trained(federation, days=(2, 1, 1)):
    """Train on three nodes; in each round the leader gets 2 GB and sends 10 GB. Return leader and others."""
    nodes = federation.three()
    run, leader, _ = federation.led_run(nodes)
    client = {"examples": 100, "weight": 1.0, "columns": {}}
    for number, before in enumerate(days, 1):
        report = leader.round(
            number,
            started=(TODAY - before * DAY + 20 * HOUR + number * timedelta(minutes=30)).isoformat(),
            bytes={"up": 2 * GB, "down": 10 * GB},
            clients=[{"node": node.id, **client} for node in nodes],
        )
        assert leader.api.call("PUT", f"/v1/runs/{run}/rounds/{number}", report).is_success
    return [leader, *(node for node in nodes if node is not leader)]


def estimated(caller, query=""):
    return {each["key"]: each["usd"] for each in caller.get(SUMMARY + query)["estimated"]}


@pytest.mark.parametrize(
    ("places", "usd_per_gb"),
    [
        ([FRANKFURT] * 3, (0.0, 0.0, 0.0)),
        ([FRANKFURT, FRANKFURT, IRELAND], (0.02, 0.02, 0.02)),
        ([FRANKFURT, FRANKFURT, BELGIUM], (0.09, 0.09, 0.12)),
        ([FRANKFURT, FRANKFURT], (0.09, 0.09, 0.0)),  # the third stands in its owner's cellar
    ],
)
def test_the_estimate_is_lifetimes_and_traffic(federation, controller, places, usd_per_gb):
    launch(federation, trained(federation), places)
    leader, second, third = usd_per_gb
    compute = len(places) * 25 * 0.1
    traffic = 3 * (10 * leader + second + third)  # three rounds: the leader sends 10 GB, each of the others one
    found = estimated(controller, "&group=service")
    assert found.pop("Compute") == pytest.approx(compute, abs=1e-9)
    assert found.pop("Data transfer", 0.0) == pytest.approx(traffic, abs=1e-9)
    assert found == {}
    assert estimated(controller)["credit"] == pytest.approx(compute + traffic, abs=1e-9)
    nodes = estimated(controller, "&group=node")
    assert nodes["machine-0"] == pytest.approx(2.5 + 30 * leader, abs=1e-9)
    days = estimated(controller, "&group=day")
    earlier = (TODAY - 2 * DAY).date().isoformat()
    assert days[earlier] == pytest.approx(len(places) * 2 * 0.1 + traffic / 3, abs=1e-9)

    controller.put("/v1/projects/credit/budget", {"budget_usd": 100})
    assert controller.get("/v1/projects/credit/budget")["spent_usd"] == pytest.approx(compute + traffic, abs=1e-9)
    left = federation.api.hosted.launching.budget_left
    with federation.api.hosted.database.reading() as session:
        assert left(session, "north", "credit") == pytest.approx(100 - compute - traffic, abs=1e-9)


def test_what_a_leader_has_sent_stays_its_own_when_another_leads_the_run(federation, controller):
    nodes = trained(federation)
    launch(federation, nodes, [FRANKFURT, FRANKFURT, BELGIUM])
    before = estimated(controller, "&group=node")
    (run,) = federation.developer.embedded(f"{federation.path}/runs", "runs")
    events = federation.developer.follow(f"/v1/runs/{run['id']}/events", last=0)
    nodes[0].go_offline()
    assert events.until("run.aggregator", term=2)["data"]["node"] in {node.id for node in nodes[1:]}
    assert estimated(controller, "&group=node") == pytest.approx(before, abs=1e-9)


def test_each_organisation_is_told_of_its_own_machines(federation, controller):
    nodes = trained(federation)
    launch(federation, nodes[:1], [FRANKFURT])
    launch(federation, nodes[1:], [FRANKFURT, FRANKFURT], organisation="south")
    assert estimated(controller, "&group=service") == pytest.approx({"Compute": 2.5}), "all of them in one region"
    south = federation.person("cost-manager", "south")
    assert estimated(south, "&group=service") == pytest.approx({"Compute": 5.0})
    assert estimated(federation.person("cost-manager", "west")) == {}
    assert "internet" not in str(controller.get(SUMMARY)["estimated"])


def test_the_comparison_says_how_traffic_is_estimated(federation, controller):
    launch(federation, trained(federation), [FRANKFURT, FRANKFURT, BELGIUM])
    day = TODAY - DAY
    row = {
        "BilledCost": "9", "BillingAccountId": "123", "BillingAccountName": None, "BillingCurrency": "USD",
        "BillingPeriodEnd": (day + 31 * DAY).isoformat(), "BillingPeriodStart": day.isoformat(),
        "ChargeCategory": "Usage", "ChargeClass": None, "ChargeDescription": "m5.large",
        "ChargePeriodEnd": TODAY.isoformat(), "ChargePeriodStart": day.isoformat(), "ContractedCost": None,
        "EffectiveCost": "9", "InvoiceIssuerName": "AWS", "ListCost": "9", "PricingQuantity": "24",
        "PricingUnit": "Hours", "ProviderName": "AWS", "PublisherName": "AWS", "ServiceCategory": "Compute",
        "ServiceName": "Amazon EC2", "Tags": {"flaas-project": "credit", "flaas-node": "machine-0"},
    }  # fmt: skip
    controller.post("/v1/costs/imports", {"name": "b", "delivered": TODAY.isoformat(), "rows": [row]})
    (entry,) = controller.get(SUMMARY)["comparison"]
    assert "estimated at internet prices" in entry["explanation"]


def test_a_report_tells_what_the_leader_received_and_the_others_sent(federation):
    leader, second, third = trained(federation, days=(1,))
    launch(federation, [leader], [FRANKFURT])
    with federation.api.hosted.database.reading() as session:
        found = {node: (day, size) for node, day, size, _ in sent(session, *WINDOW)}
        day = (TODAY - DAY).date()
        assert found == {leader.id: (day, 10 * GB), second.id: (day, GB), third.id: (day, GB)}
        assert list(sent(session, WINDOW[0], day)) == []


def test_reports_are_read_at_once_however_many_they_are(federation):
    launch(federation, trained(federation, days=(2, 2, 1, 1, 1)), [FRANKFURT, FRANKFURT, BELGIUM])
    asked = []
    with federation.api.hosted.database.reading() as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *args: asked.append(args[2]))
        found = federation.api.hosted.launching.daily(session, "north", *WINDOW)
    assert len({(row["day"], row["node"]) for row in found if row["service"] == "Data transfer"}) == 6
    assert len([statement for statement in asked if statement.startswith("SELECT")]) == 3
