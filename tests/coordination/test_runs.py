"""Runs: what is refused at once, what waits, who leads, and what the aggregator may say."""

from __future__ import annotations

import hashlib
import re
import threading

import pytest

from .hosted_api import run_body

ERROR = {
    "kind": "NotAllowed",
    "code": "too-many-rounds",
    "message": "5 rounds, 3 are allowed.",
    "hint": "Fewer.",
    "details": {"maximum": 3},
}


def test_a_run_gathers_at_once_when_its_nodes_are_online(federation):
    nodes = federation.three()
    response = federation.developer.call("POST", f"{federation.path}/runs", run_body(name="first"))
    assert response.status_code == 201
    run = response.json()
    assert response.headers["Location"] == f"/v1/runs/{run['id']}"
    assert (run["state"], run["term"], run["aggregator"], run["round"]) == ("gathering", 0, None, 0)
    assert (run["created_by"], run["organisation"]) == ("developer.laboratory", "laboratory")
    assert {(p["node"], p["state"], p["rows"], p["online"]) for p in run["participants"]} == {
        (node.id, "invited", 100, True) for node in nodes
    }
    for name, value in run_body(name="first").items():
        assert run[name] == value


def test_a_run_waits_for_its_nodes_and_says_so(federation):
    federation.node("north", online=True)
    south = federation.node("south")
    run = federation.run(minimum_nodes=2)
    assert run["state"] == "queued"
    assert run["waiting_for"] == "2 nodes with data set 'loans' online; 1 are (north), offline: south."
    watched = federation.follow()
    south.come_online()
    assert watched.until("run.state")["data"] == {"from": "queued", "to": "gathering", "reason": None}
    assert federation.read(run["id"])["waiting_for"] == "the answers of north, south."


def test_a_run_waits_for_a_data_set_that_is_told_of_later(federation):
    federation.node("north", online=True)
    south = federation.node("south", online=True)
    south.api.call("DELETE", f"{south.path}/datasets/loans")
    run = federation.run(minimum_nodes=2)["id"]
    watched = federation.follow()
    south.describe()
    watched.until("run.state", to="gathering")
    assert len(federation.read(run)["participants"]) == 2


def test_three_nodes_are_needed_for_secure_aggregation_unless_more_are_asked_for(federation):
    nodes = federation.three()
    for asked, state in ((None, "gathering"), (3, "gathering"), (4, "queued")):
        run = federation.run(secure_aggregation=True, clip=8.0, minimum_nodes=asked)
        assert run["state"] == state
    assert len(nodes) == len(federation.read(run["id"])["participants"]) + 3


def test_secure_aggregation_with_fewer_than_three_is_refused(federation):
    def refused(**changes) -> None:
        body = run_body(secure_aggregation=True, **changes)
        problem = federation.developer.problem("POST", f"{federation.path}/runs", body)
        assert (problem["status"], problem["code"]) == (422, "secagg-too-few-nodes")
        assert (problem["kind"], problem["needed"]) == ("InvalidInput", 3)

    federation.node("north")
    federation.node("south")
    refused()
    federation.node("west")
    refused(minimum_nodes=2)
    refused(clients_per_round=2)


def test_an_unknown_data_set_names_those_that_there_are(federation):
    federation.node("north").describe("cars")
    problem = federation.developer.problem("POST", f"{federation.path}/runs", run_body(dataset="boats"))
    assert (problem["status"], problem["code"], problem["known"]) == (404, "unknown-dataset", ["cars", "loans"])
    assert "cars, loans" in problem["detail"]


DIFFERENT = [
    ({"features": [{"name": "age", "dtype": "float32", "shape": []}]}, ["'income' is missing"]),
    (
        {
            "features": [
                {"name": "age", "dtype": "int64", "shape": [3]},
                {"name": "height", "dtype": "float32", "shape": []},
            ]
        },
        ["'income' is missing", "'height' is added", "'age' is int64[3], not float32"],
    ),
    (
        {
            "features": [
                {"name": "income", "dtype": "float32", "shape": []},
                {"name": "age", "dtype": "float32", "shape": []},
            ]
        },
        ["in another order: 'income', 'age'"],
    ),
    (
        {"target": {"name": "late", "dtype": "int64", "kind": "multiclass", "classes": 3}},
        [
            "target name is 'late', not 'default'",
            "target kind is 'multiclass', not 'binary'",
            "target classes is 3, not 2",
        ],
    ),
]


def test_nodes_that_describe_the_data_differently_are_named(federation):
    federation.node("north")
    federation.node("south")
    west = federation.node("west")
    for changes, told in DIFFERENT:
        west.describe(**changes)
        problem = federation.developer.problem("POST", f"{federation.path}/runs", run_body())
        assert (problem["status"], problem["code"], problem["reference"]) == (422, "schema-mismatch", "north")
        assert problem["differences"] == {"west": told}
        assert "west" in problem["detail"]
        assert told[0] in problem["detail"]


def test_a_schema_that_changes_while_the_run_waits_fails_it(federation):
    federation.node("north", online=True)
    run = federation.run(minimum_nodes=2)["id"]
    south = federation.node("south", rows=5, features=[{"name": "age", "dtype": "float32", "shape": []}])
    south.come_online()
    watched = federation.follow(last=0)
    assert watched.until("run.state", run=run)["data"]["to"] == "failed"
    assert federation.read(run)["reason"]["code"] == "schema-mismatch"


def test_an_unknown_rule_names_those_that_there_are(federation):
    federation.node("north")
    problem = federation.developer.problem("POST", f"{federation.path}/runs", run_body(aggregation="fedmagic"))
    assert (problem["status"], problem["code"]) == (422, "unknown-aggregation")
    assert "fedavg" in problem["allowed"]


WRONG = [
    ("rounds", 0), ("rounds", 1.5), ("rounds", "5"), ("rounds", 10**9), ("local_epochs", 0), ("batch_size", -1),
    ("minimum_nodes", 0), ("seed", -1), ("parameters", 0), ("model_digest", "short"), ("submitter", "AB" * 32),
    ("aggregation_options", None), ("aggregation_options", {"x": "y" * 5000}),
    ("aggregation_options", {str(i): 0 for i in range(33)}), ("aggregation_options", {"a": list(range(2000))}),
    ("secure_aggregation", "yes"), ("weights", [0.1, 0.2]), ("name", ""), ("name", "a\x00b"), ("clip", 0),
]  # fmt: skip


def test_what_is_wrong_with_a_run_is_pointed_at(federation):
    federation.node("north")
    for name, value in WRONG:
        problem = federation.developer.problem("POST", f"{federation.path}/runs", {**run_body(), name: value})
        assert (problem["status"], problem["code"]) == (422, "invalid-input"), (name, value)
        assert [error["pointer"] for error in problem["errors"]] == [f"/{name}"], (name, value)
    assert federation.developer.embedded(f"{federation.path}/runs", "runs") == []


PRIVACY = {"epsilon": 4.0, "delta": 1e-5, "clip": 1.0, "mode": "central", "noise_multiplier": None}


def test_a_rule_with_options_and_privacy_are_part_of_the_run(federation):
    federation.three()
    run = federation.run(aggregation="fedadam", aggregation_options={"eta": 0.1}, privacy=PRIVACY)
    assert (run["aggregation"], run["aggregation_options"]) == ("fedadam", {"eta": 0.1})
    assert run["privacy"] == PRIVACY
    short = federation.run(privacy={"epsilon": 4, "delta": 1e-5, "clip": 1})
    assert short["privacy"] == PRIVACY


REFUSED = [
    ({"aggregation": "krum", "aggregation_options": {"malicious": 1}}, "bad-aggregation-option", "malicious"),
    ({"aggregation": "krum", "aggregation_options": {"byzantine": "two"}}, "bad-aggregation-option", "two"),
    ({"aggregation": "krum", "aggregation_options": {"byzantine": 1}}, "too-few-clients", "n ≥ 2f \\+ 3 = 5"),
    ({"aggregation": "krum", "clients_per_round": 2}, "too-few-clients", "n = 2"),
    ({"aggregation": "median", "secure_aggregation": True}, "aggregation-needs-updates", "median.*every client"),
    (
        {"aggregation": "median", "secure_aggregation": True, "group_size": 3},
        "aggregation-needs-updates",
        "median.*N ≥ 9.*N = 3",
    ),
    ({"secure_aggregation": True, "sharded": True, "privacy": PRIVACY}, "secagg-not-sharded", "central"),
    ({"aggregation": "fedqv", "secure_aggregation": True, "sharded": True}, "secagg-not-sharded", "fedqv"),
    ({"privacy": {**PRIVACY, "mode": "distributed"}}, "privacy-needs-secure-aggregation", "takes secure aggregation"),
    ({"aggregation": "fedqv", "secure_aggregation": True}, "too-few-clients", "hide each other"),
    ({"aggregation": "median", "privacy": PRIVACY}, "aggregation-with-privacy", "mean of the clipped"),
    ({"aggregation": "fltrust"}, "bad-aggregation-option", "no participant is named"),
    (
        {"aggregation": "fltrust", "aggregation_options": {"trusted": "east"}},
        "bad-aggregation-option",
        "'east'.*north, south, west",
    ),
    ({"privacy": {**PRIVACY, "noise_multiplier": 0.1}}, "privacy-budget", "would spend"),
]


def test_what_does_not_go_together_is_refused_before_anybody_is_asked(federation):
    federation.three()
    for changes, code, told in REFUSED:
        problem = federation.developer.problem("POST", f"{federation.path}/runs", run_body(**changes))
        assert (problem["status"], problem["code"]) == (422, code), changes
        assert re.search(told, problem["detail"]), problem["detail"]
    assert federation.developer.embedded(f"{federation.path}/runs", "runs") == []


def test_what_does_go_together_is_accepted(federation):
    federation.three()
    for changes in (
        {"aggregation": "krum"},
        {"aggregation": "fltrust", "aggregation_options": {"trusted": "south"}},
        {"aggregation": "median", "privacy": {**PRIVACY, "mode": "local"}},
        {"aggregation": "fedyogi", "secure_aggregation": True, "privacy": PRIVACY},
        {"aggregation": "fedprox", "aggregation_options": {"mu": 0.5}, "secure_aggregation": True},
        {"secure_aggregation": True, "sharded": True, "privacy": {**PRIVACY, "mode": "distributed"}},
    ):
        run = federation.run(**changes)
        assert run["state"] == "gathering"
        assert run["sharded"] is changes.get("sharded", False)


def test_a_rule_in_groups_waits_for_as_many_nodes_as_they_take(federation):
    for number in range(9):
        federation.node(f"node-{number}", organisation="north", online=number < 3)
    asked = {"aggregation": "median", "secure_aggregation": True, "group_size": 3}
    run = federation.run(**asked)
    assert (run["state"], run["group_size"]) == ("queued", 3)
    assert "9" in run["waiting_for"]
    problem = federation.developer.problem("POST", f"{federation.path}/runs", run_body(**(asked | {"group_size": 4})))
    assert problem["code"] == "aggregation-needs-updates"
    assert (problem["needed"], problem["clients"]) == (9, 9)
    assert problem["reason"] == "SECAGG_INCOMPATIBLE_AGGREGATOR"
    assert "N ≥ 12 in groups of 4" in problem["detail"]


def test_a_run_waits_for_as_many_nodes_as_its_rule_needs(federation):
    federation.node("north", online=True)
    federation.node("south")
    federation.node("west")
    run = federation.run(aggregation="krum", aggregation_options={"byzantine": 0})
    assert (run["state"], run["minimum_nodes"]) == ("queued", None)
    assert run["waiting_for"].startswith("3 nodes")


def test_settings_of_privacy_that_are_none_are_pointed_at(federation):
    federation.three()
    for name, value in (("epsilon", 0), ("delta", 1), ("clip", -1.0), ("mode", "global"), ("noise", 1.0)):
        body = run_body(privacy={**PRIVACY, name: value})
        problem = federation.developer.problem("POST", f"{federation.path}/runs", body)
        assert (problem["status"], problem["code"]) == (422, "invalid-input"), name
        assert [error["pointer"] for error in problem["errors"]] == [f"/privacy/{name}"]


# ---- gathering and election ------------------------------------------------------------------------------------------


def test_the_aggregator_is_elected_when_all_have_answered(federation):
    nodes = federation.three()
    watched = federation.follow()
    run = federation.run()["id"]
    for node in nodes[:2]:
        assert node.answer(run).json()["state"] == "accepted"
        assert federation.read(run)["aggregator"] is None
    nodes[2].answer(run, "refused", ERROR)
    elected = watched.until("run.aggregator")
    best = min(nodes[:2], key=lambda n: hashlib.sha256(f"{run}|{n.id}".encode()).hexdigest())
    assert elected["data"] == {"node": best.id, "term": 1}
    body = federation.read(run)
    assert (body["aggregator"], body["term"], body["state"]) == (best.id, 1, "gathering")
    refused = next(p for p in body["participants"] if p["node"] == nodes[2].id)
    assert (refused["state"], refused["reason"]) == ("refused", ERROR)


def test_runs_are_shared_out_among_aggregators(federation):
    nodes = federation.three()
    leaders = [federation.led_run(nodes)[1].name for _ in range(6)]
    assert sorted(leaders) == sorted(["north", "south", "west"] * 2)


def test_answers_given_at_once_elect_one_aggregator(federation):
    nodes = federation.three()
    for _ in range(5):
        run = federation.run()["id"]
        threads = [threading.Thread(target=node.answer, args=(run,)) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elections = [
            e
            for e in federation.developer.embedded(f"/v1/runs/{run}/events", "events")
            if e["type"] == "run.aggregator"
        ]
        assert [e["data"]["term"] for e in elections] == [1]
        assert federation.read(run)["aggregator"] == elections[0]["data"]["node"]


def test_too_few_acceptances_fail_the_run_and_every_reason_is_told(federation):
    nodes = federation.three()
    run = federation.run(secure_aggregation=True)["id"]
    nodes[0].answer(run)
    nodes[1].answer(run, "refused", ERROR)
    nodes[2].answer(run, "failed", {**ERROR, "code": "bad-data", "message": "NaN in 'age'."})
    body = federation.read(run)
    assert (body["state"], body["reason"]["code"], body["reason"]["kind"]) == ("failed", "too-few-nodes", "Aborted")
    assert "south refused: 5 rounds, 3 are allowed." in body["reason"]["message"]
    assert "west failed: NaN in 'age'." in body["reason"]["message"]
    assert [r["name"] for r in sorted(body["reason"]["details"]["refusals"], key=lambda r: r["name"])] == [
        "south",
        "west",
    ]
    assert body["ended"] is not None


def test_an_answer_is_given_once_and_repeated_freely(federation):
    nodes = federation.three()
    run = federation.run()["id"]
    assert nodes[0].answer(run).status_code == nodes[0].answer(run).status_code == 200
    assert nodes[1].answer(run, "refused", ERROR).status_code == 200
    again = nodes[1].answer(run)
    assert (again.status_code, again.json()["code"]) == (409, "answered")
    told = [
        e for e in federation.developer.embedded(f"/v1/runs/{run}/events", "events") if e["type"] == "run.participant"
    ]
    assert len(told) == 3 + 2


def test_a_node_that_was_not_invited_has_no_part(federation):
    federation.node("north", online=True)
    south = federation.node("south")
    run = federation.run()["id"]
    response = south.answer(run)
    assert (response.status_code, response.json()["code"]) == (404, "not-found")
    assert south.api.embedded(f"{south.path}/assignments", "assignments") == []


def test_a_node_finds_its_open_assignments(federation):
    node = federation.node("north", online=True)
    runs = [federation.run()["id"] for _ in range(3)]
    federation.developer.post(f"/v1/runs/{runs[1]}/cancel")
    path = f"{node.path}/assignments?open=true&limit=1"
    found = node.api.embedded(path, "assignments")
    assert [(a["state"], a["run"]["id"], a["run"]["dataset"]) for a in found] == [
        ("invited", runs[0], "loans"),
        ("invited", runs[2], "loans"),
    ]
    assert len(node.api.embedded(f"{node.path}/assignments", "assignments")) == 3


# ---- leading ---------------------------------------------------------------------------------------------------------


def test_a_run_from_beginning_to_end(federation):
    run, leader, _ = federation.led_run(federation.three(), rounds=2)
    assert leader.move(run, "running").json()["state"] == "running"
    assert federation.read(run)["started"] is not None
    for number in (1, 2):
        assert leader.report(run, number).status_code == 200
    assert federation.read(run)["round"] == 2
    assert leader.move(run, "finishing").json()["state"] == "finishing"
    body = leader.move(run, "completed").json()
    assert (body["state"], body["reason"]) == ("completed", None)
    assert body["ended"] > body["started"] > body["created"]
    rounds = federation.developer.embedded(f"/v1/runs/{run}/rounds?limit=1", "rounds")
    assert [(r["number"], r["term"], r["metrics"]) for r in rounds] == [(1, 1, {"loss": 0.25}), (2, 1, {"loss": 0.25})]
    assert federation.developer.get(f"/v1/runs/{run}/rounds/2")["number"] == 2
    told = federation.developer.embedded(f"/v1/runs/{run}/events", "events")
    assert [e["data"]["to"] for e in told if e["type"] == "run.state"] == [
        "gathering", "running", "finishing", "completed",
    ]  # fmt: skip
    assert [e["data"]["number"] for e in told if e["type"] == "run.round"] == [1, 2]


def test_only_the_aggregator_leads(federation):
    run, leader, others = federation.led_run(federation.three())
    for response in (others[0].move(run, "running"), others[0].report(run, 1, clients=[])):
        assert (response.status_code, response.json()["code"]) == (403, "not-the-aggregator")
    assert federation.read(run)["state"] == "gathering"
    assert leader.move(run, "running").is_success


def test_nobody_leads_before_the_election(federation):
    nodes = federation.three()
    run = federation.run()["id"]
    response = nodes[0].move(run, "running")
    assert (response.status_code, response.json()["code"]) == (409, "run-not-started")


def test_another_term_is_refused(federation):
    run, leader, _ = federation.led_run(federation.three())
    for response in (leader.move(run, "running", term=2), leader.report(run, 1, term=2)):
        assert (response.status_code, response.json()["code"], response.json()["term"]) == (409, "stale-term", 1)


def test_a_transition_that_is_not_in_the_table_is_refused_by_name(federation):
    run, leader, _ = federation.led_run(federation.three())
    problem = leader.move(run, "completed").json()
    assert (problem["status"], problem["code"], problem["state"]) == (409, "forbidden-transition", "gathering")
    assert problem["allowed"] == ["running", "failed"]
    assert leader.move(run, "gathering").is_success, "where it is already"


def test_a_run_that_failed_says_why_and_is_over(federation):
    run, leader, others = federation.led_run(federation.three())
    leader.move(run, "running")
    assert leader.move(run, "failed", reason=ERROR).json()["reason"] == ERROR
    for response in (leader.move(run, "running"), leader.report(run, 1), others[0].answer(run, "failed")):
        assert (response.status_code, response.json()["code"]) == (409, "run-ended")
    assert federation.developer.refused("POST", f"/v1/runs/{run}/cancel", {}) == (409, "run-ended")


def test_a_report_is_repeated_freely_and_never_changed(federation):
    run, leader, _ = federation.led_run(federation.three(), rounds=2)
    leader.move(run, "running")
    assert leader.report(run, 1).json() == leader.report(run, 1).json()
    response = leader.report(run, 1, metrics={"loss": 0.5})
    assert (response.status_code, response.json()["code"]) == (409, "round-conflict")
    leader.move(run, "finishing")
    leader.move(run, "completed")
    assert leader.report(run, 1).status_code == 200, "also when the run has ended meanwhile"
    told = [e for e in federation.developer.embedded(f"/v1/runs/{run}/events", "events") if e["type"] == "run.round"]
    assert len(told) == 1


def test_a_report_is_figures_of_this_run_and_nothing_else(federation):
    run, leader, _ = federation.led_run(federation.three(), rounds=2)
    stranger = federation.foreign_node()
    wrong = [
        leader.report(run, 3),
        leader.report(run, 1, number=2),
        leader.report(run, 1, clients=[{"node": stranger.id, "examples": 1, "weight": 1.0}]),
        leader.report(run, 1, dropped=[{"node": stranger.id, "phase": "share", "reason": "gone"}]),
        leader.report(run, 1, weights=[0.1, 0.2]),
        leader.report(run, 1, metrics={"loss": [0.1, 0.2]}),
        leader.report(run, 1, metrics={f"w{n}": 0.1 for n in range(65)}),
        leader.report(run, 1, started="yesterday"),
        leader.report(run, 0),
        leader.report(run, 10**30),
    ]
    assert [response.status_code for response in wrong] == [422] * len(wrong)
    assert federation.developer.embedded(f"/v1/runs/{run}/rounds", "rounds") == []


# ---- cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["queued", "gathering", "running", "finishing"])
def test_an_open_run_can_be_cancelled(federation, state):
    if state == "queued":
        federation.node("north")
        run = federation.run()["id"]
    else:
        run, leader, _ = federation.led_run([federation.node("north", online=True)])
        for step in ("running", "finishing")[: ("gathering", "running", "finishing").index(state)]:
            leader.move(run, step)
    assert federation.read(run)["state"] == state
    assert federation.developer.post(f"/v1/runs/{run}/cancel")["state"] == "cancelled"


def test_a_run_is_cancelled_by_its_own_organisation_or_an_administrator(federation):
    federation.node("north", online=True)
    run = federation.run()["id"]
    other = federation.person("developer", "north")
    assert other.refused("POST", f"/v1/runs/{run}/cancel", {}) == (403, "not-allowed")
    assert "cancel" not in other.get(f"/v1/runs/{run}")["_links"]
    assert "cancel" in federation.read(run)["_links"]
    assert federation.admin.post(f"/v1/runs/{run}/cancel")["state"] == "cancelled"
    assert "cancel" not in federation.read(run)["_links"]


def test_links_follow_state_and_part(federation):
    nodes = federation.three()
    run = federation.run()["id"]
    always = {"self", "project", "rounds", "events"}

    def links(node):
        return set(node.api.get(f"/v1/runs/{run}")["_links"]) - always

    assert links(nodes[0]) == {"assignment"}
    for node in nodes:
        node.answer(run)
    leader = next(n for n in nodes if n.id == federation.read(run)["aggregator"])
    other = next(n for n in nodes if n is not leader)
    assert links(leader) == {"assignment", "transitions", "report"}
    assert links(other) == {"assignment"}
    leader.move(run, "failed", reason=ERROR)
    assert links(leader) == links(other) == set()


def test_runs_are_listed_newest_first(federation):
    federation.node("north")
    made = [federation.run(name=f"run {number}")["id"] for number in range(5)]
    listed = federation.developer.embedded(f"{federation.path}/runs?limit=2", "runs")
    assert [run["id"] for run in listed] == made[::-1]
