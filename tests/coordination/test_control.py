"""Tools over models in training: pause, resume, stop, and nodes in quarantine."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from flaas_jupyter.coordination import states
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.presence import Presence
from flaas_jupyter.coordination.scheduler import Scheduler
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.coordination.states import Actor, State
from flaas_jupyter.coordination.tables import Node, Run

from .hosted_api import Api

REASON = {"reason": "Its data are looked at."}


def pause(federation, run, **expected):
    shown = federation.developer.post(f"/v1/runs/{run}/pause")
    assert shown["state"] == "paused"
    return shown


def resume(federation, run):
    return federation.developer.post(f"/v1/runs/{run}/resume")


def until(condition, limit=10.0):
    """Wait for what the scheduler does by itself; it looks every 20 ms."""
    give_up = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < give_up, "it does not happen"
        time.sleep(0.01)
    return found


def test_a_running_run_is_paused_and_goes_on(federation):
    run, leader, _ = federation.led_run(federation.three())
    leader.move(run, "running")
    watched = federation.follow()
    shown = pause(federation, run)
    assert shown["reason"]["code"] == "paused"
    assert shown["reason"]["message"] == f"Paused by {shown['created_by']}."
    assert "resume it" in shown["waiting_for"]
    assert "resume" in shown["_links"]
    assert "pause" not in shown["_links"]
    event = watched.until("run.state")
    assert (event["data"]["from"], event["data"]["to"]) == ("running", "paused")
    assert event["data"]["reason"]["details"] == {"by": shown["created_by"]}

    shown = resume(federation, run)
    assert (shown["state"], shown["reason"]) == ("gathering", None)
    assert "pause" in shown["_links"]
    assert "resume" not in shown["_links"]
    assert leader.move(run, "running").is_success


def test_participants_are_told_of_a_pause(federation):
    run, _, others = federation.led_run(federation.three())
    pause(federation, run)
    assert others[0].stream.until("run.state", to="paused")["run"] == run


def test_the_round_under_way_is_reported_while_the_run_is_paused(federation):
    run, leader, _ = federation.led_run(federation.three())
    leader.move(run, "running")
    pause(federation, run)
    assert leader.report(run, 1, digest="11" * 32).is_success
    shown = federation.read(run)
    assert (shown["state"], shown["round"]) == ("paused", 1)


def test_the_aggregator_cannot_end_a_pause(federation):
    run, leader, _ = federation.led_run(federation.three())
    leader.move(run, "running")
    pause(federation, run)
    for to in ("running", "gathering"):
        response = leader.move(run, to)
        assert (response.status_code, response.json()["code"]) == (409, "forbidden-transition")
    assert federation.read(run)["state"] == "paused"


def test_a_run_whose_last_round_was_under_way_completes(federation):
    run, leader, _ = federation.led_run(federation.three())
    leader.move(run, "running")
    pause(federation, run)
    assert leader.move(run, "finishing").is_success
    assert leader.move(run, "completed").is_success


def test_pausing_twice_and_resuming_what_runs(federation):
    run, _, _ = federation.led_run(federation.three())
    pause(federation, run)
    pause(federation, run)
    resume(federation, run)
    assert federation.developer.refused("POST", f"/v1/runs/{run}/resume", {}) == (409, "not-paused")


def test_a_run_that_has_ended_is_not_paused(federation):
    run, _, _ = federation.led_run(federation.three())
    federation.developer.post(f"/v1/runs/{run}/cancel")
    for action in ("pause", "resume"):
        assert federation.developer.refused("POST", f"/v1/runs/{run}/{action}", {}) == (409, "run-ended")
    links = federation.read(run)["_links"]
    assert not {"pause", "resume", "cancel"} & set(links)


def test_a_paused_run_is_stopped(federation):
    run, _, _ = federation.led_run(federation.three())
    pause(federation, run)
    assert federation.developer.post(f"/v1/runs/{run}/cancel")["state"] == "cancelled"


def test_a_queued_run_is_paused_and_does_not_gather(federation):
    north = federation.node("north")
    run = federation.run()["id"]
    pause(federation, run)
    north.come_online()
    assert federation.read(run)["state"] == "paused"
    assert resume(federation, run)["state"] == "gathering"


def test_another_aggregator_is_elected_if_it_has_gone_in_the_pause(federation):
    nodes = federation.three()
    run, leader, others = federation.led_run(nodes)
    pause(federation, run)
    leader.go_offline()
    until(lambda: sum(p["online"] for p in federation.read(run)["participants"]) == 2)
    assert federation.read(run)["aggregator"] == leader.id, "nobody is elected in a pause"
    resume(federation, run)
    shown = until(lambda: (r := federation.read(run))["term"] == 2 and r)
    assert shown["aggregator"] in {node.id for node in others}


# ---- deadlines ------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    yield opened
    opened.close()


LONG_AGO = datetime.now(UTC) - timedelta(days=1)


def stored_run(session, state, **more):
    """A run of one node, which was last seen a day ago."""
    node = Node(
        id="aa" * 32, name="north", organisation="north", version="1", registered=LONG_AGO, online=False,
        last_seen=LONG_AGO,
    )  # fmt: skip
    run = Run(
        id="run", project="credit", dataset="loans", request={}, needed=1, state=state, round=0, created_by="ada",
        organisation="laboratory", created=LONG_AGO, participants=[], **more,
    )  # fmt: skip
    session.add_all([node, run])
    session.flush()
    states.invite(session, run, node.id, 10)
    session.flush()
    session.refresh(run)
    return run


def scheduler(database, database_url, **settings):
    made = Scheduler(database, Settings(database_url, start_grace=0, **settings))
    made._awake_since = LONG_AGO  # it has watched all day
    return made


NO_PATIENCE = {"gather_timeout": 0, "aggregator_timeout": 0, "patience": 0}


def test_the_time_to_answer_does_not_pass_while_a_run_is_paused(database, database_url):
    with database.writing() as session:
        run = stored_run(session, "paused", term=0, gather_until=LONG_AGO)
        scheduler(database, database_url, **NO_PATIENCE).advance(session, run)
        assert run.state == "paused"
        states.move(session, run, State.GATHERING, Actor.PERSON)
        patient = scheduler(database, database_url, gather_timeout=60)
        patient.resumed(session, run)
        assert run.state == "gathering", "it begins anew"
        assert run.gather_until > datetime.now(UTC) + timedelta(seconds=30)


def test_an_aggregator_is_not_missed_while_a_run_is_paused(database, database_url):
    with database.writing() as session:
        run = stored_run(session, "paused", term=1, aggregator="aa" * 32, gather_until=LONG_AGO)
        run.participants[0].state = "accepted"
        scheduler(database, database_url, **NO_PATIENCE).advance(session, run)
        assert (run.state, run.term) == ("paused", 1)


@pytest.mark.parametrize(("patience", "state"), [(600, "gathering"), (0, "failed")])
def test_who_has_gone_in_a_pause_is_waited_for_from_its_end_on(database, database_url, patience, state):
    with database.writing() as session:
        run = stored_run(session, "paused", term=1, aggregator="aa" * 32, gather_until=LONG_AGO)
        run.participants[0].state = "accepted"
        states.move(session, run, State.GATHERING, Actor.PERSON)
        scheduler(database, database_url, aggregator_timeout=1, patience=patience).resumed(session, run)
        assert run.state == state


# ---- an API that is cut off -----------------------------------------------------------------------------------------


def test_an_api_that_nobody_reaches_gives_no_run_up(database, database_url):
    """Its nodes may be there, and go on without it: it is the API's network that is down."""
    with database.writing() as session:
        stored_run(session, "running", term=1, aggregator="aa" * 32).participants[0].state = "accepted"
    made = scheduler(database, database_url, aggregator_timeout=1, patience=60)
    presence = Presence(database, Settings(database_url), made.node_came_online)

    def state():
        made.tick(presence)
        with database.reading() as session:
            return session.scalars(select(Run.state)).one()

    made._heard = LONG_AGO
    assert state() == "running"
    made.heard()
    assert state() == "running", "it begins to count"
    made._reached_since -= timedelta(seconds=59)
    assert state() == "running"
    made._reached_since -= timedelta(seconds=2)
    assert state() == "failed"


def test_whoever_asks_shows_that_the_api_is_reached(federation):
    scheduler = federation.api.hosted.scheduler
    scheduler._heard = LONG_AGO
    federation.admin.call("GET", "/v1/health")
    assert federation.admin.call("GET", "/v1/me", headers={"Authorization": "Bearer nobody"}).status_code == 401
    assert scheduler._heard == LONG_AGO, "strangers do not count"
    federation.admin.get("/v1/me")
    assert scheduler._heard > datetime.now(UTC) - timedelta(minutes=1)


# ---- who ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_who_may_pause(federation, action):
    run, _, _ = federation.led_run(federation.three())
    if action == "resume":
        pause(federation, run)
    path = f"/v1/runs/{run}/{action}"
    viewer = federation.person("viewer", "laboratory")
    assert viewer.refused("POST", path, {})[0] == 403
    assert not {"pause", "resume"} & set(viewer.get(f"/v1/runs/{run}")["_links"])
    assert federation.person("operator", "elsewhere").refused("POST", path, {}) == (404, "unknown-run")
    assert federation.person("operator", "north").call("POST", path, {}).is_success


# ---- quarantine -----------------------------------------------------------------------------------------------------


def quarantine(federation, node, organisation=None):
    operator = federation.person("operator", organisation or node.organisation)
    return operator.post(f"{node.path}/quarantine", REASON)


def test_a_node_in_quarantine_is_shown_with_the_reason_and_let_back(federation):
    north = federation.node("north", online=True)
    operator = federation.person("operator", "north")
    assert "quarantine" in operator.get(north.path)["_links"]
    shown = quarantine(federation, north)
    assert shown["quarantine_reason"] == REASON["reason"]
    assert shown["quarantined"] is not None
    assert shown["state"] == "online", "it goes on running"
    assert "release" in shown["_links"]
    assert "quarantine" not in shown["_links"]
    (listed,) = federation.developer.embedded("/v1/nodes?project=credit", "nodes")
    assert listed["quarantine_reason"] == REASON["reason"]
    assert not {"release", "quarantine"} & set(listed["_links"])
    assert north.stream.until("node.quarantined")["data"] == REASON

    shown = operator.call("DELETE", f"{north.path}/quarantine").json()
    assert (shown["quarantined"], shown["quarantine_reason"]) == (None, None)
    assert north.stream.until("node.released")["node"] == north.id
    assert operator.call("DELETE", f"{north.path}/quarantine").is_success, "once more changes nothing"


def test_a_node_in_quarantine_is_not_invited(federation):
    nodes = federation.three()
    quarantine(federation, nodes[0])
    invited = {p["node"] for p in federation.run()["participants"]}
    assert invited == {nodes[1].id, nodes[2].id}
    waiting = federation.run(minimum_nodes=3)
    assert waiting["state"] == "queued"
    assert f"in quarantine: {nodes[0].name}" in waiting["waiting_for"]
    federation.person("operator", nodes[0].organisation).call("DELETE", f"{nodes[0].path}/quarantine")
    assert federation.read(waiting["id"])["state"] == "gathering", "what has waited for it goes on"


def test_a_participant_in_quarantine_is_out_of_its_open_runs(federation):
    run, _, others = federation.led_run(federation.three())
    quarantine(federation, others[0])
    part = next(p for p in federation.read(run)["participants"] if p["node"] == others[0].id)
    assert (part["state"], part["reason"]["code"]) == ("failed", "node-quarantined")
    assert REASON["reason"] in part["reason"]["message"]
    response = others[0].answer(run)
    assert (response.status_code, response.json()["code"]) == (409, "answered")


def test_an_aggregator_in_quarantine_is_replaced(federation):
    run, leader, others = federation.led_run(federation.three())
    leader.move(run, "running")
    quarantine(federation, leader)
    shown = federation.read(run)
    assert shown["term"] == 2
    assert shown["aggregator"] in {node.id for node in others}
    response = leader.move(run, "gathering", term=1)
    assert (response.status_code, response.json()["code"]) == (409, "stale-term")


def test_an_aggregator_in_quarantine_is_replaced_after_a_pause(federation):
    run, leader, others = federation.led_run(federation.three())
    pause(federation, run)
    quarantine(federation, leader)
    assert federation.read(run)["aggregator"] == leader.id
    resume(federation, run)
    assert federation.read(run)["aggregator"] in {node.id for node in others}


def test_who_may_quarantine(federation):
    north = federation.node("north", online=True)
    path = f"{north.path}/quarantine"
    assert federation.developer.refused("POST", path, REASON)[0] == 403
    assert federation.person("operator", "south").refused("POST", path, REASON)[0] in (403, 404)
    assert federation.person("operator", "south").refused("DELETE", path)[0] in (403, 404)
    assert federation.person("operator", "elsewhere").refused("POST", path, REASON) == (404, "unknown-node")
    assert north.api.refused("POST", path, REASON)[0] == 403, "not by itself"
    assert federation.person("operator", "north").call("POST", path, REASON).is_success


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "   "}, {"reason": "x" * 1001}, {"reason": 1}, None,
                                  {"reason": "a\x00b"}, {"reason": "fine", "quarantined": None}])  # fmt: skip
def test_a_quarantine_needs_a_reason_and_nothing_else(federation, body):
    north = federation.node("north")
    operator = federation.person("operator", "north")
    assert operator.call("POST", f"{north.path}/quarantine", body).status_code == 422
    assert operator.get(north.path)["quarantined"] is None


def test_a_quarantine_outlives_the_api(federation, api: Api, start_api):
    north = federation.node("north")
    quarantine(federation, north)
    north.go_offline() if north.stream else None
    api.stop()
    federation.moved_on(start_api())
    assert federation.person("operator", "north").get(north.path)["quarantine_reason"] == REASON["reason"]
