"""Ways around the roles: tokens that outlive their owner, accounts that are taken over, acting for somebody else."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select

from flaas_jupyter.communications.identity import REGISTER, Identity, canonical
from flaas_jupyter.coordination.services import users
from flaas_jupyter.governance import tokens
from flaas_jupyter.governance.approvals.tables import Founding
from flaas_jupyter.governance.audit.tables import AuditEntry
from flaas_jupyter.governance.identity import invitations, persons
from flaas_jupyter.governance.identity.tables import Person
from flaas_jupyter.governance.rbac import sessions
from flaas_jupyter.governance.tables import Token

from .hosted_api import Caller, Federation, description, run_body

Role = tuple[str, str]
on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
"""For what is decided without the data base."""
PASSWORD = "seven unrelated words in a row"


def role(name: str, scope: str) -> dict[str, str]:
    return {"role": name, "scope": scope}


def service(federation: Federation, name: str, *roles: Role, organisation: str = "north", **more: Any) -> Caller:
    """Return a service with roles that the platform's governance has given it."""
    body = {"id": name, "kind": "service", "organisation": organisation, **more}
    made = federation.governor.post("/v1/users", body)
    for each in roles:
        user_has(federation, name, *each)
    return federation.api.as_person(made["token"])


def user_has(federation: Federation, user: str, name: str, scope: str) -> None:
    """Give a role past the routes, as whoever may change all roles could."""
    with federation.api.hosted.database.writing() as session:
        users.give(session, user, name, scope)


def person(federation: Federation, name: str, *roles: Role, organisation: str = "north") -> Caller:
    """Return a person with an account, by a token of theirs."""
    body = {"id": name, "kind": "person", "organisation": organisation, "email": f"{name}@{organisation}.example"}
    invitation = federation.governor.post("/v1/users", body)["invitation"]
    for each in roles:
        user_has(federation, name, *each)
    with federation.api.hosted.database.writing() as session:
        invitations.accept(session, invitation, PASSWORD, hashed="x", vault=federation.api.hosted.vault)
        _, plain = tokens.issue(session, user=name, organisation=organisation, note="x")
    return federation.api.as_person(plain)


def close_founding(federation: Federation) -> None:
    with federation.api.hosted.database.writing() as session:
        session.add(Founding(id=1, closed=datetime.now(UTC), closed_by="x"))


# ---- tokens -------------------------------------------------------------------------------------------------------


def test_the_tokens_of_who_is_locked_or_removed_are_refused(federation):
    database = federation.api.hosted.database
    for caller, user in (
        (person(federation, "ada", ("viewer", "organisation:north")), "ada"),
        (service(federation, "robot", ("viewer", "organisation:north")), "robot"),
    ):
        for locked in (True, False):
            assert caller.get("/v1/projects")
            with database.writing() as session:
                persons.lock(session, session.get_one(Person, user), locked=locked)
            if locked:
                for path in ("/v1/projects", "/v1/me", "/"):
                    assert caller.refused("GET", path) == (401, "signed-out")
                with database.writing() as session:
                    persons.lock(session, session.get_one(Person, user), locked=False)
        path = f"/v1/users/{user}"
        assert federation.governor.call("DELETE", path, headers=federation.governor.matching(path)).is_success
        assert caller.refused("GET", "/v1/me")[0] == 401
        with database.reading() as session:
            assert session.scalar(select(func.count()).select_from(Token).where(Token.user == user)) == 0


def test_a_token_whose_session_of_roles_has_ended_is_refused(federation):
    caller = service(federation, "robot", ("viewer", "organisation:north"))
    acting = caller.get("/v1/me")["session"]
    with federation.api.hosted.database.writing() as session:
        sessions.delete_session(session, "robot", acting)
    assert caller.refused("GET", "/v1/me") == (401, "signed-out")


@on_sqlite
def test_a_token_makes_none_that_outlives_it(federation):
    caller = service(federation, "robot", ("developer", "organisation:north"), expires_in=3600)
    (own,) = caller.embedded("/v1/tokens", "tokens")
    for asked in ({}, {"expires_in": 90 * 86_400}):
        made = caller.post("/v1/tokens", {"note": "longer", **asked})
        assert made["expires"] == own["expires"]
        again = federation.api.as_person(made["token"]).post("/v1/tokens", {"note": "longer still"})
        assert again["expires"] == own["expires"]
    shorter = caller.post("/v1/tokens", {"note": "shorter", "expires_in": 60})
    assert datetime.fromisoformat(shorter["expires"]) < datetime.now(UTC) + timedelta(seconds=120)


def test_a_stream_of_events_ends_with_the_right_to_see_it(federation):
    watch = service(federation, "watcher", ("viewer", "organisation:north"))
    locked = service(federation, "locked", ("viewer", "project:credit"))
    streams = [caller.follow(f"{federation.path}/events") for caller in (watch, locked)]
    assert [stream.status for stream in streams] == [200, 200]
    federation.governor.call("DELETE", "/v1/users/watcher/roles/viewer/organisation:north")
    with federation.api.hosted.database.writing() as session:
        persons.lock(session, session.get_one(Person, "locked"), locked=True)
    for stream in streams:
        for _ in stream.lines():
            pass  # it ends: otherwise the socket's time-out fails the test


# ---- accounts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def head(federation: Federation) -> Caller:
    """Who runs the organisation north."""
    return federation.person("org-admin", "north")


@on_sqlite
def test_an_account_with_more_rights_is_neither_taken_over_nor_removed(federation, head):
    person(federation, "gwen", ("governance-admin", "platform"))
    person(federation, "pat", ("org-admin", "platform"))
    for user in ("gwen", "pat"):
        path = f"/v1/users/{user}"
        assert not {"invitation", "remove"} & set(head.get(path)["_links"]), "a link is there only if it works"
        assert head.refused("POST", f"{path}/invitation") == (403, "may-not-assign")
        assert head.refused("DELETE", path, headers=head.matching(path)) == (403, "may-not-assign")
    own = "/v1/users/org-admin.north"
    assert head.refused("POST", f"{own}/invitation") == (403, "own-roles")
    assert head.refused("DELETE", own, headers=head.matching(own)) == (403, "own-roles")
    assert head.refused("POST", "/v1/users/viewer.north/invitation") == (422, "bad-user")
    person(federation, "ada", ("viewer", "project:credit"), ("developer", "organisation:north"))
    assert head.post("/v1/users/ada/invitation")["roles"], "while the installation is founded, roles stay"
    assert head.call("DELETE", "/v1/users/ada", headers=head.matching("/v1/users/ada")).status_code == 204


@on_sqlite
def test_who_invites_an_approver_anew_does_not_get_the_approvers_voice(federation, head):
    caller = person(federation, "ann", ("approver", "organisation:north"))
    assert [each["role"] for each in caller.get("/v1/me")["roles"]] == ["approver"]
    close_founding(federation)
    invited = head.post("/v1/users/ann/invitation")
    assert invited["roles"] == []
    assert caller.get("/v1/me")["roles"] == []
    assert caller.refused("GET", "/v1/approvals") == (403, "not-allowed")
    given = head.call("POST", "/v1/users/ann/roles", role("approver", "organisation:north"))
    assert given.status_code == 202
    newcomer = head.post("/v1/users", {"organisation": "north", "email": "new@north.example"})
    assert head.post(f"/v1/users/{newcomer['id']}/invitation")["state"] == "invited"


# ---- acting for somebody else -------------------------------------------------------------------------------------


@on_sqlite
def test_a_project_administrator_lets_nobody_act_in_another_organisations_name(federation):
    lead = service(federation, "lead", ("org-admin", "project:credit"))
    service(federation, "theirs", ("viewer", "project:credit"), organisation="south")
    service(federation, "ours", ("viewer", "project:credit"))
    for name in ("developer", "operator", "cost-manager", "org-admin"):
        wanted = role(name, "project:credit")
        assert lead.refused("POST", "/v1/users/theirs/roles", wanted) == (403, "may-not-assign"), name
    assert lead.refused("POST", "/v1/users/ours/roles", role("developer", "project:credit")) == (403, "may-not-assign")
    assert lead.post("/v1/users/ours/roles", role("operator", "project:credit"))
    # Who administers south may.
    south = federation.person("org-admin", "south")
    assert south.post("/v1/users/theirs/roles", role("developer", "project:credit"))


def test_a_role_in_another_organisation_makes_nothing_in_the_name_of_ones_own(federation):
    node = federation.node("north")
    federation.node("south")
    both = service(federation, "both", ("operator", "organisation:south"), ("developer", "organisation:south"))
    new = SimpleNamespace(identity=Identity(b"n" * 32))
    proof = new.identity.sign(REGISTER, canonical({"id": new.identity.node_id, "name": "new", "organisation": "north"}))
    body = {**node.registration(), "id": new.identity.node_id, "name": "new", "proof": proof.hex()}
    assert both.refused("POST", "/v1/nodes", body) == (403, "not-allowed")
    invitation = {"name": "new", "project": "credit", "digest": "0" * 64}
    assert both.refused("POST", "/v1/nodes/invitations", invitation) == (403, "not-allowed")
    assert both.refused("POST", f"{federation.path}/runs", run_body()) == (403, "not-allowed")
    launch = {
        "hours": 1.0,
        "accepted_usd": 0.0,
        "nodes": [{"name": "new", "provider": "local", "region": "here", "instance_type": "process"}],
    }
    assert both.refused("POST", f"{federation.path}/launches", launch) == (403, "not-allowed")
    assert both.refused("GET", "/v1/costs/summary") == (403, "not-allowed")
    # People belong to one organisation: what is another's is not theirs to change, whatever roles say.
    path = federation.nodes["south"].path
    assert both.refused("POST", f"{path}/quarantine", {"reason": "looks ill"}) == (404, "not-yours")
    assert both.refused("POST", f"{node.path}/quarantine", {"reason": "looks ill"})[0] in (403, 404)


def test_a_viewer_of_one_project_sees_that_project_and_no_more(federation):
    federation.admin.post("/v1/projects", federation.project_body(id="fraud"))
    node, other = federation.node("north"), federation.node("south")
    other.register(projects=["fraud"])
    guest = service(federation, "guest", ("viewer", "project:credit"))
    assert [each["id"] for each in guest.embedded("/v1/projects", "projects")] == ["credit"]
    assert [each["id"] for each in guest.embedded("/v1/nodes", "nodes")] == [node.id]
    assert guest.refused("GET", other.path) == (404, "unknown-node")
    assert guest.embedded("/v1/approvals", "approvals") == []
    assert {each["user"] for each in guest.embedded("/v1/tokens", "tokens")} == {"guest"}
    assert all(not each["users"] for each in guest.embedded("/v1/roles", "roles"))
    for path in ("/v1/users", "/v1/audit", "/v1/costs/summary", "/v1/costs/accounts", "/metrics"):
        assert guest.refused("GET", path) == (403, "not-allowed"), path


def test_who_leaves_a_project_has_no_role_in_it_any_more(federation):
    made = federation.person("org-admin", "south").post("/v1/users", {"id": "guest", "kind": "service",
        "organisation": "south", "roles": [role("viewer", "project:credit")]})  # fmt: skip
    guest, stays = federation.api.as_person(made["token"]), service(federation, "stays", ("viewer", "project:credit"))
    assert guest.get(federation.path)
    body = {"organisations": ["north", "west", "laboratory"]}
    changed = federation.admin.call("PATCH", federation.path, body, headers=federation.admin.matching(federation.path))
    assert changed.status_code == 200
    assert guest.refused("GET", federation.path)[0] in (403, 404)
    assert federation.governor.get("/v1/users/guest")["roles"] == []
    assert stays.get(federation.path)
    removed = federation.admin.call("DELETE", federation.path, headers=federation.admin.matching(federation.path))
    assert removed.status_code == 204
    federation.admin.post("/v1/projects", federation.project_body())
    assert stays.refused("GET", federation.path)[0] in (403, 404), "a new project of the old name"


@on_sqlite
def test_a_service_without_roles_is_let_in_nowhere_but_to_its_own_account(federation):
    nobody = service(federation, "idle")
    document = federation.api.app.openapi()
    tried = 0
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            if described.get("x-flaas-operation", "me:read").startswith("me:"):
                continue
            if "{" not in path:
                assert nobody.refused(method.upper(), path, None if method == "get" else {})[0] in (403, 422), path
                tried += 1
    assert tried > 60
    assert set(nobody.get("/")["_links"]) == {"self", "health", "openapi", "problem", "me"}
    assert (nobody.get("/v1/me")["roles"], nobody.get("/v1/me")["permissions"]) == ([], {})


# ---- nodes --------------------------------------------------------------------------------------------------------


def enrolment(federation: Federation, secret: str) -> dict[str, Any]:
    """Return what a node that was invited sends."""
    identity = Identity(b"e" * 32)
    proof = identity.sign(REGISTER, canonical({"id": identity.node_id, "name": "invited", "organisation": "north"}))
    return {
        "secret": secret, "id": identity.node_id, "name": "invited", "version": "0.1.0", "proof": proof.hex(),
    }  # fmt: skip


def test_a_node_that_was_removed_does_not_come_back_with_its_old_secret(federation):
    operator, secret = federation.person("operator", "north"), "s" * 52
    digest = hashlib.sha256(secret.encode()).hexdigest()
    operator.post("/v1/nodes/invitations", {"name": "invited", "project": "credit", "digest": digest})
    body = enrolment(federation, secret)
    node = federation.nobody.post("/v1/enrolments", body)["node"]
    assert federation.nobody.post("/v1/enrolments", body)["node"] == node, "the answer was lost on its way"
    with federation.api.hosted.database.reading() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.operation == "node:enrol")).all()
    assert [(each.actor, each.organisation, each.project) for each in entries] == [(node, "north", "credit")]
    path = f"/v1/nodes/{node}"
    assert operator.call("DELETE", path, headers=operator.matching(path)).status_code == 204
    assert federation.nobody.refused("POST", "/v1/enrolments", body) == (403, "enrolment-used")
    assert operator.refused("GET", path) == (404, "unknown-node")


def test_a_node_joins_no_further_project_without_the_approval_that_adding_it_needs(federation):
    federation.admin.post("/v1/projects", federation.project_body(id="fraud"))
    node, removed = federation.node("north"), federation.node("second", organisation="north")
    operator = federation.person("operator", "north")
    path = removed.path
    assert operator.call("DELETE", path, headers=operator.matching(path)).status_code == 204
    close_founding(federation)
    assert node.register().status_code == 200, "what it has needs nobody"
    for asked in (node.register(projects=["credit", "fraud"]), removed.register()):
        assert asked.status_code == 202
        assert asked.json()["action"] == "node.add"
    assert operator.get(node.path)["projects"] == ["credit"]
    assert operator.refused("GET", path) == (404, "unknown-node")


# ---- the audit log ------------------------------------------------------------------------------------------------


def test_every_change_is_told_once_and_nothing_else_is(federation):
    node = federation.node("north")
    database = federation.api.hosted.database

    def count() -> int:
        with database.reading() as session:
            return session.scalar(select(func.count()).select_from(AuditEntry)) or 0

    before = count()
    made = federation.developer.post("/v1/tokens", {"note": "x"}, headers={"Idempotency-Key": "one"})
    assert count() == before + 1
    federation.developer.post("/v1/tokens", {"note": "x"}, headers={"Idempotency-Key": "one"})
    assert count() == before + 1, "a repetition changes nothing"
    path = f"/v1/tokens/{made['id']}"
    federation.developer.call("DELETE", path, headers=federation.developer.matching(path))
    node.api.call("PUT", f"{node.path}/datasets/loans", description("loans"))
    assert count() == before + 3
    federation.governor.post("/v1/roles/preview", {"changes": []})
    federation.developer.get("/v1/tokens")
    federation.developer.refused("DELETE", path)
    assert count() == before + 3
    federation.developer.refused("POST", "/v1/users", {"organisation": "north"})
    assert count() == before + 4, "what somebody may not do stands there too"
