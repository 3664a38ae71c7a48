"""Invitations of nodes and the one call that uses them: once, by one key, in time, for what was said."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaas_jupyter.communications.identity import REGISTER, Identity, canonical
from flaas_jupyter.coordination.tables import NodeInvitation

from .hosted_api import Caller, Federation, Json

SECRET = "a" * 52
MINE, OTHER = Identity(b"m" * 32), Identity(b"o" * 32)
INVITATIONS = "/v1/nodes/invitations"


def digest(secret: str = SECRET) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def invitation(**changes: Any) -> Json:
    return {"name": "fresh", "project": "credit", "digest": digest(), **changes}


def enrolment(key: Identity = MINE, organisation: str = "north", **changes: Any) -> Json:
    name = changes.get("name", "fresh")
    proof = canonical({"id": key.node_id, "name": name, "organisation": organisation})
    return {
        "secret": SECRET,
        "id": key.node_id,
        "name": name,
        "version": "0.1.0",
        "proof": key.sign(REGISTER, proof).hex(),
        **changes,
    }


@pytest.fixture
def operator(federation: Federation) -> Caller:
    """Who runs the nodes of north."""
    return federation.person("operator", "north")


@pytest.fixture
def invited(operator: Caller) -> Json:
    """An invitation of the node ``fresh`` of north."""
    return operator.post(INVITATIONS, invitation())


def enrol(federation: Federation, body: Json) -> tuple[int, str]:
    """Use a secret as a node does that nobody knows yet; return status, and the code of a refusal."""
    response = federation.nobody.call("POST", "/v1/enrolments", body)
    return response.status_code, response.json().get("code", "")


def open_ones(caller: Caller) -> list[str]:
    return [each["digest"] for each in caller.embedded(INVITATIONS, "invitations") if each["used_by"] is None]


def test_a_node_is_invited_and_takes_its_place_with_its_own_key(federation, operator, invited):
    assert (invited["organisation"], invited["project"], invited["name"]) == ("north", "credit", "fresh")
    assert (invited["used_by"], "delete" in invited["_links"]) == (None, True)
    assert SECRET not in str(invited)
    answer = federation.nobody.call("POST", "/v1/enrolments", enrolment())
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v1/nodes/{MINE.node_id}")
    assert {name: answer.json()[name] for name in ("organisation", "project", "node")} == {
        "organisation": "north", "project": "credit", "node": MINE.node_id,
    }  # fmt: skip
    node = federation.api.as_node(MINE).get(f"/v1/nodes/{MINE.node_id}")
    assert (node["name"], node["organisation"], node["projects"]) == ("fresh", "north", ["credit"])
    (used,) = operator.embedded(INVITATIONS, "invitations")
    assert (used["used_by"], "delete" in used["_links"]) == (MINE.node_id, False)


def test_a_secret_is_good_for_one_key_which_may_repeat_itself(federation, operator, invited):
    assert enrol(federation, enrolment()) == (201, "")
    assert enrol(federation, enrolment()) == (200, ""), "the node crashed before it noted it"
    assert enrol(federation, enrolment(OTHER)) == (403, "enrolment-used")
    assert enrol(federation, enrolment(proof=enrolment(OTHER)["proof"])) == (401, "bad-signature")
    assert len(federation.admin.embedded("/v1/nodes", "nodes")) == 1


def test_of_two_keys_at_once_one_gets_in(federation, invited):
    barrier = threading.Barrier(2)

    def race(key: Identity) -> int:
        barrier.wait(20)
        return enrol(federation, enrolment(key))[0]

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(race, (MINE, OTHER))) == [201, 403]


def test_a_removed_node_does_not_come_back_with_its_old_secret(federation, operator, invited):
    assert enrol(federation, enrolment())[0] == 201
    path = f"/v1/nodes/{MINE.node_id}"
    assert operator.call("DELETE", path, headers=operator.matching(path)).status_code == 204
    assert enrol(federation, enrolment()) == (403, "enrolment-used")
    assert federation.api.as_node(MINE).refused("GET", path) == (404, "unknown-node")


def test_repeating_it_changes_nothing_that_was_changed_since(federation, operator, invited):
    federation.admin.post("/v1/projects", federation.project_body(id="fraud"))
    assert enrol(federation, enrolment())[0] == 201
    registration = {**enrolment(), "projects": ["credit", "fraud"]}
    del registration["secret"]
    assert operator.post("/v1/nodes", registration)["projects"] == ["credit", "fraud"]
    assert enrol(federation, enrolment()) == (200, "")
    assert operator.get(f"/v1/nodes/{MINE.node_id}")["projects"] == ["credit", "fraud"]


WRONG = [
    ({"secret": "b" * 52}, (401, "bad-enrolment")),
    ({"name": "other"}, (401, "bad-enrolment")),
    ({"organisation": "south"}, (401, "bad-signature")),
    ({"proof": "00" * 64}, (401, "bad-signature")),
    ({"id": OTHER.node_id}, (401, "bad-signature")),
    ({"secret": SECRET[:-1]}, (422, "invalid-input")),
    ({"secret": digest()}, (422, "invalid-input")),
    ({"projects": ["other"]}, (422, "invalid-input")),
    ({"id": "zz" * 32}, (422, "invalid-input")),
    ({"version": ""}, (422, "invalid-input")),
]


def test_what_is_wrong_is_refused_and_uses_nothing_up(federation, operator, invited):
    for changes, refusal in WRONG:
        assert enrol(federation, enrolment(**changes)) == refusal, changes
    assert open_ones(operator) == [digest()]
    assert enrol(federation, enrolment()) == (201, "")


def test_it_ends_in_time_but_not_for_who_has_used_it(federation, operator, invited):
    expire(federation)
    assert enrol(federation, enrolment()) == (401, "enrolment-expired")
    assert operator.embedded("/v1/nodes", "nodes") == []
    operator.post(INVITATIONS, invitation(digest=digest("c" * 52)))
    assert enrol(federation, enrolment(secret="c" * 52)) == (201, "")
    expire(federation)
    assert enrol(federation, enrolment(secret="c" * 52)) == (200, "")


def expire(federation: Federation) -> None:
    with federation.api.hosted.database.writing() as session:
        for row in session.query(NodeInvitation):
            row.expires = datetime.now(UTC) - timedelta(seconds=1)


def test_it_is_taken_back_while_nobody_has_used_it(federation, operator, invited):
    path = f"{INVITATIONS}/{digest()}"
    assert federation.person("operator", "south").refused("DELETE", path) == (404, "unknown-invitation")
    assert operator.call("DELETE", path).status_code == 204
    assert operator.refused("DELETE", path) == (404, "unknown-invitation")
    assert enrol(federation, enrolment()) == (401, "bad-enrolment")
    operator.post(INVITATIONS, invitation())
    assert enrol(federation, enrolment()) == (201, "")
    assert operator.refused("DELETE", path) == (404, "unknown-invitation"), "it is a node now"


def test_the_same_digest_is_the_same_invitation_and_never_anothers(federation, operator, invited):
    again = operator.call("POST", INVITATIONS, invitation())
    assert again.json()["digest"] == invited["digest"]
    assert len(operator.embedded(INVITATIONS, "invitations")) == 1
    for other in (invitation(name="second"), invitation(name="fresh", project="credit", expires_in=60)):
        answer = operator.call("POST", INVITATIONS, other)
        assert answer.status_code == (409 if other["name"] == "second" else 201)
    south = federation.person("operator", "south")
    assert south.refused("POST", INVITATIONS, invitation()) == (409, "invitation-exists")
    assert enrol(federation, enrolment()) == (201, "")
    assert operator.refused("POST", INVITATIONS, invitation(digest="cd" * 32)) == (409, "node-exists")


def test_whoever_may_register_nodes_invites_them_for_its_own_organisation(federation, operator, invited):
    for role, organisation in (("developer", "north"), ("viewer", "north"), ("cost-manager", "north")):
        person = federation.person(role, organisation)
        assert person.refused("POST", INVITATIONS, invitation(digest="ef" * 32)) == (403, "not-allowed")
        assert person.refused("GET", INVITATIONS) == (403, "not-allowed")
    stranger = federation.person("operator", "elsewhere")
    assert stranger.refused("POST", INVITATIONS, invitation(digest="ef" * 32)) == (404, "unknown-project")
    assert operator.refused("POST", INVITATIONS, invitation(project="other")) == (404, "unknown-project")
    assert open_ones(stranger) == open_ones(federation.person("operator", "south")) == []
    assert open_ones(operator) == open_ones(federation.admin) == [digest()]
    assert federation.nobody.refused("GET", INVITATIONS)[0] == 401


def test_what_is_no_invitation_is_refused(federation, operator):
    for changes in (
        {"digest": SECRET},
        {"digest": "AB" * 32},
        {"name": "Fresh"},
        {"name": ""},
        {"expires_in": 0},
        {"expires_in": 31 * 86_400},
        {"secret": SECRET},
        {"organisation": "south"},
    ):
        assert operator.refused("POST", INVITATIONS, invitation(**changes)) == (422, "invalid-input"), changes
    assert operator.embedded(INVITATIONS, "invitations") == []


def test_an_organisation_that_has_left_the_project_sends_no_node(federation, operator, invited):
    path = federation.path
    left = [name for name in federation.ORGANISATIONS if name != "north"]
    admin = federation.admin
    changed = admin.call("PATCH", path, {"organisations": left}, headers=admin.matching(path))
    assert changed.status_code == 200
    assert enrol(federation, enrolment()) == (409, "not-in-project")
    assert admin.embedded("/v1/nodes", "nodes") == []


def test_a_name_that_was_taken_meanwhile_is_refused(federation, operator, invited):
    registration = enrolment(OTHER)
    del registration["secret"]
    operator.post("/v1/nodes", {**registration, "projects": ["credit"]})
    assert enrol(federation, enrolment()) == (409, "node-exists")
    assert open_ones(operator) == [digest()]


def test_it_is_noted_by_digest_alone(federation, operator, invited):
    assert enrol(federation, enrolment())[0] == 201
    auditor = federation.governor.post(
        "/v1/users",
        {"id": "audit", "kind": "service", "organisation": "platform",
         "roles": [{"role": "auditor", "scope": "platform"}]},
    )["token"]  # fmt: skip
    log = federation.api.as_person(auditor).embedded("/v1/audit", "entries")
    assert any(entry["object"] == "nodes/invitations" and entry["actor"] == "operator.north" for entry in log)
    assert SECRET not in str(log)
