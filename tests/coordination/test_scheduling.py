"""What happens to runs when time passes: silence, aggregators that are lost, an API that comes back."""

from __future__ import annotations

import time

from .hosted_api import Federation


def waits(federation: Federation, run: str, state: str) -> dict:
    """Follow the run until it is in `state`, and read it then."""
    stream = federation.developer.follow(f"/v1/runs/{run}/events", last=0)
    stream.until("run.state", to=state)
    stream.close()
    return federation.read(run)


def elected(federation: Federation, run: str, term: int) -> str:
    """Follow the run until the election of `term`; return who was elected."""
    stream = federation.developer.follow(f"/v1/runs/{run}/events", last=0)
    return stream.until("run.aggregator", term=term)["data"]["node"]


def test_a_node_that_does_not_answer_in_time_is_gone_without(start_api, enter):
    federation = enter(start_api(gather_timeout=2.0))
    nodes = federation.three()
    run = federation.run(minimum_nodes=2)["id"]
    nodes[0].answer(run)
    nodes[1].answer(run)
    assert elected(federation, run, 1) in (nodes[0].id, nodes[1].id)
    body = federation.read(run)
    assert {p["name"]: p["state"] for p in body["participants"]}["west"] == "invited"
    assert nodes[2].answer(run).json()["state"] == "accepted", "it may still take part"


def test_silence_of_too_many_fails_the_run_and_names_them(start_api, enter):
    federation = enter(start_api(gather_timeout=0.2))
    nodes = federation.three()
    run = federation.run(secure_aggregation=True)["id"]
    nodes[0].answer(run)
    body = waits(federation, run, "failed")
    assert body["reason"]["code"] == "too-few-nodes"
    assert "south did not answer; west did not answer" in body["reason"]["message"]


def test_a_lost_aggregator_is_replaced_and_fenced(federation):
    run, leader, others = federation.led_run(federation.three())
    leader.move(run, "running")
    leader.report(run, 1)
    leader.go_offline()
    successor_id = elected(federation, run, 2)
    assert successor_id in [node.id for node in others]
    body = federation.read(run)
    assert (body["state"], body["term"], body["aggregator"]) == ("running", 2, successor_id)
    assert {p["state"] for p in body["participants"]} == {"accepted"}, "who is away may come back"
    leader.come_online()
    for late in (leader.move(run, "finishing"), leader.report(run, 2)):
        assert (late.status_code, late.json()["code"]) == (409, "stale-term")
    assert leader.move(run, "failed", term=2).json()["code"] == "not-the-aggregator"
    successor = next(node for node in others if node.id == successor_id)
    again = successor.report(run, 1, term=2, metrics={"loss": 0.125})
    assert again.status_code == 200, "the new aggregator's history counts"
    assert federation.developer.get(f"/v1/runs/{run}/rounds/1")["metrics"] == {"loss": 0.125}
    for state in ("running", "finishing", "completed"):
        assert successor.move(run, state, term=2).is_success
    assert federation.read(run)["state"] == "completed"


def test_an_aggregator_that_is_back_in_time_stays(start_api, enter):
    federation = enter(start_api(aggregator_timeout=5.0))
    run, leader, _ = federation.led_run(federation.three())
    watched = federation.follow()
    leader.go_offline()
    watched.until("node.offline", node=leader.id)
    leader.come_online()
    watched.until("node.online", node=leader.id)
    leader.move(run, "running")
    watched.until("run.state", to="running")
    assert federation.read(run)["term"] == 1


def test_an_aggregator_whose_own_part_failed_goes_on_leading_and_says_why_the_run_fails(federation):
    """A model that fits nobody's data fails at the aggregator too; only it knows what the others said."""
    run, leader, _ = federation.led_run(federation.three())
    reason = {"kind": "InvalidInput", "code": "model-does-not-fit", "message": "9 columns, not 6."}
    assert leader.answer(run, "failed", reason).is_success
    body = federation.read(run)
    assert (body["state"], body["term"], body["aggregator"]) == ("gathering", 1, leader.id)
    assert leader.move(run, "failed", reason=reason).json()["reason"]["code"] == "model-does-not-fit"


def test_one_that_is_out_of_the_run_is_not_elected(federation):
    run, leader, (second, third) = federation.led_run(federation.three())
    second.answer(run, "failed")
    leader.go_offline()
    assert elected(federation, run, 2) == third.id


def test_a_removed_aggregator_is_replaced(federation):
    run, leader, others = federation.led_run(federation.three())
    leader.go_offline()
    operator = federation.person("operator", leader.organisation)
    while operator.call("DELETE", leader.path, headers=operator.matching(leader.path)).status_code != 204:
        pass  # it has just gone offline: read it again
    assert elected(federation, run, 2) in [node.id for node in others]


def test_a_run_that_nobody_can_lead_waits_and_goes_on_with_whoever_comes(federation):
    run, leader, others = federation.led_run(
        [federation.node("north", online=True), federation.node("south", online=True)]
    )
    (other,) = others
    watched = federation.follow()
    other.go_offline()
    watched.until("node.offline", node=other.id)
    leader.go_offline()
    watched.until("node.offline", node=leader.id)
    assert federation.read(run)["waiting_for"].startswith(f"its aggregator {leader.name}, which is offline")
    other.come_online()
    assert elected(federation, run, 2) == other.id


def test_a_run_that_nobody_leads_for_too_long_fails(start_api, enter):
    federation = enter(start_api(patience=0.8))
    run, leader, _ = federation.led_run([federation.node("north", online=True)])
    began = time.monotonic()
    leader.go_offline()
    body = waits(federation, run, "failed")
    assert time.monotonic() - began >= 0.8
    assert (body["reason"]["code"], body["reason"]["kind"]) == ("aggregator-lost", "Aborted")


def test_accepted_nodes_that_all_went_away_are_waited_for(start_api, enter):
    federation = enter(start_api(aggregator_timeout=60.0))
    north, south = federation.node("north", online=True), federation.node("south", online=True)
    run = federation.run()["id"]
    watched = federation.follow()
    north.answer(run)
    north.go_offline()
    watched.until("node.offline", node=north.id)
    south.answer(run, "refused")
    assert federation.read(run)["waiting_for"] == "an accepted node to come online."
    north.come_online()
    assert elected(federation, run, 1) == north.id


def test_after_its_start_the_api_gives_nodes_time_to_come_back(start_api, enter):
    first = start_api()
    federation = enter(first)
    run, leader, _ = federation.led_run(federation.three())
    leader.move(run, "running")
    first.stop()
    for node in federation.nodes.values():
        node.stream = None
    federation.moved_on(start_api(start_grace=1.0, online_window=0.4, aggregator_timeout=0.1))
    began = time.monotonic()
    survivors = [node.come_online() for node in federation.nodes.values() if node is not leader]
    assert elected(federation, run, 2) in [node.id for node in survivors]
    assert time.monotonic() - began >= 0.9, "not before the grace is over"


def test_a_run_goes_on_when_the_api_was_restarted(start_api, enter):
    first = start_api()
    federation = enter(first)
    run, leader, _ = federation.led_run(federation.three())
    leader.move(run, "running")
    leader.report(run, 1)
    last = federation.developer.embedded(f"/v1/runs/{run}/events", "events")[-1]["id"]
    first.stop()
    federation.moved_on(start_api(start_grace=30.0))
    for node in federation.nodes.values():
        node.come_online(last=last)
    leader.report(run, 2)
    assert leader.stream.next()["data"]["number"] == 2, "nothing repeated, nothing lost"
    for state in ("finishing", "completed"):
        assert leader.move(run, state).is_success
    body = federation.read(run)
    assert (body["state"], body["term"], body["round"]) == ("completed", 1, 2)


def test_a_run_that_was_queued_or_gathering_goes_on_too(start_api, enter):
    first = start_api()
    federation = enter(first)
    nodes = federation.three()
    gathering = federation.run()["id"]
    nodes[0].answer(gathering)
    queued = federation.run(minimum_nodes=4)["id"]
    first.stop()
    federation.moved_on(start_api())
    for node in nodes:
        node.come_online()
    for node in nodes[1:]:
        node.answer(gathering)
    assert elected(federation, gathering, 1) in [node.id for node in nodes]
    federation.node("laboratory", online=True)
    assert waits(federation, queued, "gathering")["participants"]


def test_two_processes_elect_once(start_api, enter):
    first, second = start_api(), start_api()
    federation = enter(first)
    run, leader, _ = federation.led_run(federation.three())
    leader.go_offline()
    elected(federation, run, 2)
    federation.moved_on(second)
    federation.run(minimum_nodes=2)  # both have looked at the deadlines by the time that this is told
    elections = [
        e for e in federation.developer.embedded(f"/v1/runs/{run}/events", "events") if e["type"] == "run.aggregator"
    ]
    assert [e["data"]["term"] for e in elections] == [1, 2]
