"""Approvals over REST: who sees what, what a link promises, signatures, the policy, races; on both data bases."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from governance.approvals.served import Served, serving
from governance.approvals.world import PROJECT, World, clean, marking, prepare
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance.approvals import verified_approvers


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A data base for all tests here."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('approvals') / 'approvals.db'}"
    else:
        cluster = request.getfixturevalue("cluster")
        url = cluster.url(cluster.create())
    opened = prepare(url)
    yield opened
    opened.close()


@pytest.fixture
def api(database: Database) -> Iterator[Served]:
    """The API of an installation with people; it takes the time for what it is."""
    clean(database)
    with marking():
        world = World(database, now=datetime.now(UTC))
        world.found()
        with serving(world) as served:
            yield served


def links(api: Served, name: str, request: str) -> set[str]:
    shown = api.get(name, f"/v1/approvals/{request}")["_links"]
    return set(shown) & {"approve", "deny", "withdraw"}


def ids(api: Served, name: str, query: str = "") -> list[str]:
    return [each["id"] for each in api.get(name, f"/v1/approvals{query}")["_embedded"]["approvals"]]


def problem(response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_a_request_on_its_way(api):
    request = api.world.ask(body={"model": "m1", "to": "süd"})
    shown = api.get("ann", f"/v1/approvals/{request}")
    assert hashlib.sha256(shown["body"].encode()).hexdigest() == shown["sha256"]
    assert json.loads(shown["body"])["body"] == {"model": "m1", "to": "süd"}
    assert shown["factors"] == [
        {"role": "approver", "scope": PROJECT, "needed": 1, "given": 0, "approvers": [], "available": 5},
        {"role": "data-owner", "scope": PROJECT, "needed": 1, "given": 0, "approvers": [], "available": 2},
    ]
    assert shown["missing"] == [
        f"1 of 1 with the role approver ({PROJECT})",
        f"1 of 1 with the role data-owner ({PROJECT})",
    ]
    first = api.decide("ann", request)
    assert first.status_code == 200
    assert first.json()["state"] == "pending"
    assert [each["given"] for each in first.json()["factors"]] == [1, 0]
    last = api.decide("owen", request).json()
    assert (last["state"], last["result"]) == ("executed", {"marked": "m1", "for": "dora"})
    assert [(row["decider"], row["role"], row["decision"], row["counts"]) for row in last["decisions"]] == [
        ("ann", "approver", "approve", True),
        ("owen", "data-owner", "approve", True),
    ]
    assert len(api.world.marks) == 1


def test_a_link_is_there_exactly_if_it_works(api):
    request = api.world.ask()
    expected = {
        "dora": {"withdraw"},
        "ann": {"approve", "deny"},
        "owen": {"approve", "deny"},
        "pam": {"approve", "deny"},
        "audrey": set(),
    }
    assert {name: links(api, name, request) for name in expected} == expected
    assert api.decide("ann", request).status_code == 200
    assert links(api, "ann", request) == {"deny"}
    assert api.as_("audrey").post(f"/v1/approvals/{request}/withdraw").status_code == 403
    api.world.people.humans["owen"].key = None
    assert links(api, "owen", request) == set()
    assert api.as_("dora").post(f"/v1/approvals/{request}/withdraw").json()["state"] == "withdrawn"
    assert links(api, "dora", request) == set()
    assert links(api, "bob", request) == set()


def test_each_sees_its_own_and_what_lies_in_its_scopes(api):
    api.world.people.add("dave", ("developer", PROJECT))
    api.world.people.add("stranger", ("developer", "project:other"), organisation="elsewhere")
    mine = api.world.ask()
    api.world.later(seconds=-1)
    others = api.world.ask(by="dave")
    api.world.later(seconds=-1)
    foreign = api.world.ask(by="stranger", scope="project:other")
    assert ids(api, "dora") == [mine]
    assert ids(api, "ann") == [mine, others]
    assert ids(api, "pam") == ids(api, "audrey") == [mine, others, foreign]
    assert ids(api, "sam") == [foreign]
    assert ids(api, "stranger") == [foreign]
    assert ids(api, "dave", "?mine=true") == [others]
    for path in ("", "/evidence"):
        problem(api.as_("sam").get(f"/v1/approvals/{mine}{path}"), 404, "unknown-approval")
    problem(api.as_("sam").post(f"/v1/approvals/{mine}/withdraw"), 404, "unknown-approval")
    problem(api.decide("sam", mine), 404, "unknown-approval")
    problem(api.as_("dave").get(f"/v1/approvals/{mine}"), 404, "unknown-approval")


def test_lists_by_state_and_in_pages(api):
    requests = [api.world.ask(body={"model": number}) for number in range(5)]
    api.decide("ann", requests[0], "deny")
    old = api.world.ask(body={"model": "old"})
    past = datetime.now(UTC) - timedelta(seconds=1)
    with api.world.database.writing() as session:
        session.get_one(type(api.world.look(old)), old).expires = past
    assert ids(api, "ann", "?state=denied") == [requests[0]]
    assert ids(api, "ann", "?state=expired") == [old]
    assert sorted(ids(api, "ann", "?state=pending")) == sorted(requests[1:])
    assert api.get("ann", f"/v1/approvals/{old}")["state"] == "expired"
    problem(api.decide("ann", old), 409, "approval-expired")
    found, path = [], "/v1/approvals?limit=2&state=pending"
    while path:
        page = api.get("ann", path)
        found += [each["id"] for each in page["_embedded"]["approvals"]]
        path = page["_links"].get("next", {}).get("href")
    assert found == ids(api, "ann", "?state=pending")


def test_what_has_not_changed_costs_nothing(api):
    request = api.world.ask()
    ann = api.as_("ann")
    tag = ann.get(f"/v1/approvals/{request}").headers["ETag"]
    assert ann.get(f"/v1/approvals/{request}", headers={"If-None-Match": tag}).status_code == 304
    api.decide("bob", request)
    assert ann.get(f"/v1/approvals/{request}", headers={"If-None-Match": tag}).status_code == 200


def test_bad_decisions_are_refused_and_change_nothing(api):
    request, other = api.world.ask(), api.world.ask(body={"model": "m2"})
    problem(api.decide("dora", request), 403, "not-allowed")
    api.world.people.add("dora", ("developer", PROJECT), ("approver", PROJECT))
    problem(api.decide("dora", request), 403, "own-request")
    problem(api.decide("ann", request, key=Identity.generate()), 403, "bad-approval-signature")
    problem(api.decide("ann", request, key=api.world.people.humans["bob"].key), 403, "bad-approval-signature")
    replayed = api.decision("ann", other)
    problem(api.as_("ann").post(f"/v1/approvals/{request}/decisions", json=replayed), 403, "bad-approval-signature")
    problem(api.decide("ann", request, time=1), 422, "stale-approval")
    problem(api.decide("robot", request), 403, "not-a-person")
    problem(api.decide("ann", request, more=1), 422, "invalid-input")
    problem(api.decide("ann", request, time="1"), 422, "invalid-input")
    assert api.as_("nobody").get("/v1/approvals").status_code == 401
    assert api.get("ann", f"/v1/approvals/{request}")["decisions"] == []


def test_a_role_lost_meanwhile_is_said(api):
    request = api.world.ask()
    api.decide("ann", request)
    api.world.people.take("ann", "approver")
    shown = api.decide("owen", request).json()
    assert shown["state"] == "pending"
    assert "the approval of ann does not count any more: has lost the role" in shown["missing"]
    assert [(row["decider"], row["counts"]) for row in shown["decisions"]] == [("ann", False), ("owen", True)]


def test_two_last_approvals_at_once_over_the_socket(api):
    for number in range(3):
        request = api.world.ask(body={"model": number})
        barrier = threading.Barrier(2)

        def approve(name: str, request: str = request, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(20)
            return api.decide(name, request).json()["state"]

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(approve, ("ann", "owen"))) == ["executed", "pending"]
    assert len(api.world.marks) == 3


def test_a_decision_repeated_with_its_key_is_answered_as_before(api):
    request = api.world.ask()
    api.decide("ann", request)
    body = api.decision("owen", request)
    answers = [api.as_("owen").post(f"/v1/approvals/{request}/decisions", json=body) for _ in range(2)]
    assert [answer.json()["state"] for answer in answers] == ["executed", "executed"]
    assert len(api.world.marks) == 1


def test_the_evidence_convinces_without_the_api(api):
    request = api.world.ask()
    api.decide("ann", request)
    api.decide("owen", request)
    evidence = api.get("audrey", f"/v1/approvals/{request}/evidence")
    keys = {name: human.key.node_id for name, human in api.world.people.humans.items()}
    assert verified_approvers(evidence, keys) == {"ann", "owen"}


# ---- the policy -----------------------------------------------------------------------------------------------------


def put_policy(api: Served, actions, name: str = "gwen", tag: str | None = None):
    client = api.as_(name)
    tag = client.get("/v1/policy").headers["ETag"] if tag is None else tag
    return client.put("/v1/policy", json={"actions": actions}, headers={"If-Match": tag} if tag else {})


def test_the_policy_is_changed_by_several(api):
    policy = api.get("gwen", "/v1/policy")
    assert policy["founding"] is False
    assert policy["shortfalls"] == []
    assert set(policy["actions"]) == set(policy["known"])
    assert put_policy(api, policy["actions"]).json() == policy
    asked = put_policy(api, {**policy["actions"], "model.release": {"factors": []}})
    assert asked.status_code == 202
    request = asked.json()["id"]
    assert asked.headers["Location"] == f"/v1/approvals/{request}"
    assert [(each["role"], each["scope"], each["needed"]) for each in asked.json()["factors"]] == [
        ("approver", "platform", 2),
        ("data-owner", "anywhere", 1),
    ]
    assert [api.decide(name, request).json()["state"] for name in ("pam", "owen", "pit")][-1] == "executed"
    after = api.get("dora", "/v1/policy")
    assert after["actions"]["model.release"]["factors"] == []
    assert after["version"] == 1


def test_the_policy_is_changed_with_open_eyes_by_who_may(api):
    actions = api.get("gwen", "/v1/policy")["actions"]
    wanted = {**actions, "key.rotate": {**actions["key.rotate"], "ttl": 600}}
    problem(put_policy(api, wanted, tag='"old"'), 412, "stale-etag")
    problem(put_policy(api, wanted, tag=""), 428, "if-match-required")
    problem(put_policy(api, wanted, name="pam"), 403, "not-allowed")
    three = {"factors": [{"role": "approver", "scope": "platform", "number": 3}]}
    refused = put_policy(api, {**actions, "key.rotate": three})
    problem(refused, 409, "policy-unfulfillable")
    assert refused.json()["missing"][0]["there_are"] == 2
    without = {name: rule for name, rule in actions.items() if name != "policy.change"}
    problem(put_policy(api, without), 422, "bad-policy")
    problem(put_policy(api, {**actions, "nothing": {"factors": []}}), 422, "unknown-action")
    assert "edit" not in api.get("pam", "/v1/policy")["_links"]


def test_founding_is_closed_once_there_are_enough_people(api):
    api.world.tamper("DELETE FROM approval_founding")
    humans = api.world.people.humans
    pit = humans.pop("pit")
    young = api.get("gwen", "/v1/policy")
    assert young["founding"] is True
    assert "close_founding" not in young["_links"]
    assert {each["action"] for each in young["shortfalls"]} >= {"policy.change", "key.rotate"}
    assert api.get("dora", "/v1/policy")["shortfalls"] == []
    problem(api.as_("gwen").post("/v1/founding/close"), 409, "policy-unfulfillable")
    humans["pit"] = pit
    assert "close_founding" in api.get("gwen", "/v1/policy")["_links"]
    problem(api.as_("pam").post("/v1/founding/close"), 403, "not-allowed")
    assert api.as_("gwen").post("/v1/founding/close").json()["founding"] is False
    problem(api.as_("gwen").post("/v1/founding/close"), 409, "founding-closed")


def test_an_emergency_is_shown_to_whom_it_concerns(api):
    body = {"action": "model.release", "scope": PROJECT, "reason": "It harms patients."}
    asked = api.as_("dora").post("/v1/emergencies", json=body)
    assert asked.status_code == 202
    request = asked.json()["id"]
    api.decide("ann", request)
    assert api.decide("pam", request).json()["state"] == "executed"
    (shown,) = api.get("bob", "/v1/policy")["emergencies"]
    assert (shown["id"], shown["person"], shown["reason"], shown["uses"]) == (request, "dora", body["reason"], [])
    assert api.get("sam", "/v1/policy")["emergencies"] == []
    problem(api.as_("sam").post("/v1/emergencies", json=body), 403, "not-allowed")
    problem(api.as_("dora").post("/v1/emergencies", json={**body, "action": "x"}), 422, "unknown-action")


# ---- garbage --------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["decision", "time", "signature", "actions", "action", "scope", "reason", "x"])
ROUTES = ("POST /v1/approvals/{}/decisions", "PUT /v1/policy", "POST /v1/emergencies")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ROUTES), values | st.dictionaries(keys, values, max_size=4))
def test_garbage_is_refused(api, route, body):
    method, _, path = route.partition(" ")
    name = "gwen" if "policy" in path else "ann"
    headers = {"If-Match": "*"}
    known = ids(api, "pam")
    request = known[0] if known else api.world.ask()
    response = api.as_(name).request(method, path.format(request), json=body, headers=headers)
    assert 400 <= response.status_code < 500, response.text
    assert response.json()["hint"] or response.json()["errors"]


@pytest.mark.parametrize("identifier", ["%00", "..%2f..", "x" * 2000, "%F0%9F%A6%84", "'--", "%ED%A0%80"])
def test_garbage_is_no_id(api, identifier):
    assert api.as_("ann").get(f"/v1/approvals/{identifier}").status_code in (404, 422)


@pytest.mark.parametrize("query", ["?state=x", "?mine=perhaps", "?limit=0", "?cursor=x", "?cursor=W10="])
def test_garbage_is_no_query(api, query):
    assert api.as_("ann").get(f"/v1/approvals{query}").status_code == 422
