"""Vertical runs: named parties that are all needed, led by who holds the label."""

from __future__ import annotations

from typing import Any

import pytest

from .hosted_api import Federation, Node, run_body

IDS = {"id_column": "customer"}
ERROR = {"kind": "NotAllowed", "code": "policy-operation", "message": "Not with these.", "hint": "Ask.", "details": {}}


@pytest.fixture
def parties(federation: Federation) -> list[Node]:
    """Return a bank with the label, a telco and a shop, online, and a node that is no party."""
    bank = federation.node("north", online=True, **IDS)
    others = []
    for name, dataset in (("south", "usage"), ("west", "baskets")):
        node = federation.node(name, online=True)
        feature = {"name": f"{name}-x", "dtype": "float32", "shape": []}
        assert node.describe(dataset, target=None, features=[feature], **IDS).is_success
        others.append(node)
    return [bank, *others]


def body(nodes: list[Node], **changes: Any) -> dict[str, Any]:
    datasets = ["loans", "usage", "baskets"]
    parties = [{"node": n.id, "name": n.name, "dataset": d} for n, d in zip(nodes, datasets, strict=False)]
    return run_body(
        kind="vertical",
        parties=parties,
        id_column="customer",
        label={"node": nodes[0].id, "column": "default"},
        mode="oneway",
        **changes,
    )


def created(federation: Federation, nodes: list[Node], **changes: Any) -> dict[str, Any]:
    return federation.developer.post(f"{federation.path}/runs", body(nodes, **changes))


def led(federation: Federation, nodes: list[Node]) -> str:
    run = created(federation, nodes)["id"]
    for node in nodes:
        assert node.answer(run).is_success
    return run


def test_exactly_the_parties_are_invited_and_the_label_holder_leads(federation, parties):
    shown = {e["name"]: e for e in federation.developer.embedded(f"{federation.path}/datasets", "datasets")}
    assert (shown["usage"]["target"], shown["usage"]["id_column"]) == (None, "customer")
    assert shown["loans"]["target"]["name"] == "default"
    assert [holder["columns"] is None for holder in shown["loans"]["nodes"]] == [True, False, False]
    federation.node("laboratory", online=True)
    run = created(federation, parties)
    assert (run["state"], run["kind"], run["mode"], run["report"]) == ("gathering", "vertical", "oneway", None)
    assert {p["name"] for p in run["participants"]} == {"north", "south", "west"}
    for node in reversed(parties):
        assert node.answer(run["id"]).is_success
    run = federation.read(run["id"])
    assert (run["aggregator"], run["term"]) == (parties[0].id, 1)
    assert run["parties"][1] == {"node": parties[1].id, "name": "south", "dataset": "usage"}


def test_it_waits_until_all_parties_are_online(federation, parties):
    watched = federation.follow()
    parties[2].go_offline()
    watched.until("node.offline", node=parties[2].id)
    run = created(federation, parties)
    assert run["state"] == "queued"
    assert run["waiting_for"] == "3 parties online; 2 are (north, south), offline: west."
    parties[2].come_online()
    watched.until("run.state", to="gathering")


NO_VERTICAL_RUN = [
    ({"parties": None}, "vertical-parties"),
    ({"label": None}, "vertical-parties"),
    ({"id_column": None}, "vertical-parties"),
    ({"mode": None}, "vertical-parties"),
    ({"secure_aggregation": True}, "vertical-parties"),
    ({"aggregation": "median"}, "vertical-parties"),
    ({"minimum_nodes": 2}, "vertical-parties"),
    ({"dataset": "usage"}, "vertical-parties"),
    ({"id_column": "person"}, "no-id-column"),
    ({"label": {"node": "ab" * 32, "column": "default"}}, "vertical-parties"),
]


def test_what_is_no_vertical_run_is_refused(federation, parties):
    path = f"{federation.path}/runs"
    for changes, code in NO_VERTICAL_RUN:
        problem = federation.developer.problem("POST", path, body(parties) | changes)
        assert (problem["status"], problem["code"]) == (422, code), problem
    wrong = body(parties) | {"label": {"node": parties[0].id, "column": "age"}}
    problem = federation.developer.problem("POST", path, wrong)
    assert (problem["status"], problem["code"]) == (422, "no-target")
    assert "'default'" in problem["detail"]
    wrong = body(parties) | {"label": {"node": parties[1].id, "column": "default"}, "dataset": "usage"}
    assert federation.developer.refused("POST", path, wrong) == (422, "no-target")
    # A horizontal run needs a target and has no parties.
    assert federation.developer.refused("POST", path, run_body(dataset="usage")) == (422, "no-target")
    assert federation.developer.refused("POST", path, run_body(mode="split")) == (422, "vertical-parties")
    assert federation.developer.embedded(path, "runs") == []


def test_a_party_must_hold_what_is_named_for_it_under_its_name(federation, parties):
    def refused(number: int, **party: str) -> tuple[int, str]:
        wrong = body(parties)
        wrong["parties"][number] |= party
        return federation.developer.refused("POST", f"{federation.path}/runs", wrong)

    assert refused(1, dataset="baskets") == (404, "unknown-dataset")
    assert refused(1, node="ab" * 32) == (404, "unknown-dataset")
    assert refused(1, name="west") == (422, "vertical-parties")
    assert refused(1, name="south-pole") == (422, "vertical-parties")
    alone = body(parties[:1])
    assert federation.developer.refused("POST", f"{federation.path}/runs", alone) == (422, "vertical-parties")


def test_one_party_that_refuses_ends_the_run_at_once(federation, parties):
    run = created(federation, parties)["id"]
    parties[1].answer(run, "refused", ERROR)
    read = federation.read(run)
    assert (read["state"], read["reason"]["code"]) == ("failed", "too-few-nodes")
    assert "south refused: Not with these." in read["reason"]["message"]


def test_one_party_that_fails_later_ends_the_run_with_its_reason(federation, parties):
    run = led(federation, parties)
    assert parties[0].move(run, "running").is_success
    parties[2].answer(run, "failed", ERROR | {"code": "party-lost", "message": "It was restarted."})
    read = federation.read(run)
    assert (read["state"], read["reason"]["code"]) == ("failed", "party-lost")
    assert "west is out of the run: It was restarted." in read["reason"]["message"]


def test_nobody_else_leads_when_the_label_holder_is_lost(start_api, enter):
    federation = enter(start_api(patience=0.6))
    bank = federation.node("north", online=True, **IDS)
    south = federation.node("south", online=True)
    south.describe("usage", target=None, **IDS)
    run = led(federation, [bank, south])
    watched = federation.follow()
    bank.go_offline()
    watched.until("run.state", to="failed")
    read = federation.read(run)
    assert (read["term"], read["reason"]["code"]) == (1, "party-lost")


def test_the_label_holder_reports_how_its_parties_stand(federation, parties):
    run = led(federation, parties)
    report = {"phase": "training", "intersection": 1200, "sizes": {"north": 2000}, "bytes": 10,
              "statement": ["south learns which of its rows are common"], "figures": {}}  # fmt: skip
    path = f"/v1/runs/{run}/transitions"
    parties[0].api.post(path, {"to": "running", "term": 1, "report": report})
    assert federation.read(run)["report"] == report
    parties[0].api.post(path, {"to": "running", "term": 1, "report": report | {"phase": "done"}})
    assert federation.read(run)["report"]["phase"] == "done"
    told = [e["data"]["phase"] for e in federation.developer.embedded(f"/v1/runs/{run}/events", "events")
            if e["type"] == "run.report"]  # fmt: skip
    assert told == ["training", "done"]
    assert parties[1].api.refused("POST", path, {"to": "running", "term": 1, "report": report})[1] == (
        "not-the-aggregator"
    )
    for wrong in ({"phase": "elsewhere"}, {"ids": ["c1"]}, {"figures": {"x": [1.0]}}):
        assert parties[0].api.refused("POST", path, {"to": "running", "term": 1, "report": report | wrong})[0] == 422


def test_the_report_of_parties_is_of_vertical_runs_only(federation):
    run, leader, _ = federation.led_run(federation.three())
    wrong = {"to": "running", "term": 1, "report": {"phase": "done"}}
    assert leader.api.refused("POST", f"/v1/runs/{run}/transitions", wrong) == (422, "invalid-input")
