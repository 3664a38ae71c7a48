"""Sealed uploads at the API: who opens one to which node, who sees and ends it, and what the API is never told."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from flaas_jupyter.coordination.services import uploads as service
from flaas_jupyter.coordination.tables import Upload
from flaas_jupyter.governance.audit.tables import AuditEntry

from .hosted_api import upload_body

REASON = {"kind": "InvalidInput", "code": "non-numeric", "message": "It was not registered.", "hint": "", "details": {}}


@pytest.fixture
def node(federation):
    node = federation.node("north", online=True)
    federation.admin.post(f"{federation.path}/memberships", federation.membership(node.id, "north"))
    assert node.api.call("PUT", f"{node.path}/upload-key", node.upload_key()).is_success
    return node


def uploads(federation) -> str:
    return f"{federation.path}/uploads"


def test_a_node_states_its_key_and_everybody_gets_it_with_what_it_is_believed_by(federation, node):
    document = node.upload_key(key="34" * 32)
    assert node.api.call("PUT", f"{node.path}/upload-key", document).is_success
    told = federation.developer.get(f"{node.path}/upload-key?project={federation.project}")
    assert told["statement"] == document
    assert told["membership"]["body"]["node_id"] == node.id
    assert told["domain_key"] == federation.developer.get(federation.path)["domain_key"]
    assert (told["online"], told["quarantined"], told["project"]) == (True, None, federation.project)
    assert federation.developer.get(node.path)["uploads"] is True
    assert federation.developer.get(node.path)["_links"]["upload_key"]["href"] == f"{node.path}/upload-key"
    assert federation.developer.refused("GET", f"{node.path}/upload-key?project=other")[0] == 404

    now = int(time.time())
    old = node.upload_key(created=now - 7200, expires=now - 3600)
    assert node.api.call("PUT", f"{node.path}/upload-key", old).is_success
    assert federation.developer.problem("GET", f"{node.path}/upload-key")["code"] == "no-upload-key"

    assert node.api.call("PUT", f"{node.path}/upload-key", document).is_success
    assert node.api.call("DELETE", f"{node.path}/upload-key").status_code == 204
    assert federation.developer.get(node.path)["uploads"] is False
    assert federation.developer.problem("GET", f"{node.path}/upload-key")["code"] == "no-upload-key"
    assert federation.developer.problem("POST", uploads(federation), upload_body(node))["code"] == "no-upload-key"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_statements_that_are_none_or_anothers_are_refused(federation, node):
    for changes in ({"key": "zz" * 32}, {"expires": int(time.time()) + 30 * 86400}, {"v": 2}, {"created": True}):
        problem = node.api.problem("PUT", f"{node.path}/upload-key", node.upload_key(**changes))
        assert (problem["status"], problem["code"]) == (422, "bad-upload-key")
    other = federation.node("south", organisation="south", online=True)
    assert other.api.problem("PUT", f"{other.path}/upload-key", node.upload_key())["code"] == "wrong-domain"
    forged = {**node.upload_key(), "signature": "00" * 64}
    assert node.api.problem("PUT", f"{node.path}/upload-key", forged)["code"] == "bad-signature"
    assert other.api.problem("PUT", f"{node.path}/upload-key", node.upload_key())["status"] == 403


def test_an_upload_is_opened_followed_and_ended_by_its_node(federation, node):
    watched = federation.follow()
    opened = federation.developer.post(uploads(federation), upload_body(node))
    assert (opened["state"], opened["node"], opened["node_name"]) == ("open", node.id, "north")
    assert opened["created_by"] == "developer.laboratory"
    told = watched.until("upload.opened")["data"]
    assert told == {"upload": opened["id"], "dataset": "sent", "created_by": "developer.laboratory"}
    path = f"/v1/uploads/{opened['id']}"
    assert node.api.get(path)["digest"] == "ef" * 32
    again = federation.developer.call("POST", uploads(federation), upload_body(node))
    assert (again.status_code, again.json()) == (200, opened)

    other = federation.node("south", organisation="south", online=True)
    assert other.api.problem("PUT", f"{path}/outcome", {"outcome": "registered"})["code"] == "unknown-upload"
    assert federation.developer.refused("PUT", f"{path}/outcome", {"outcome": "registered"})[0] == 403
    assert federation.developer.get(path)["state"] == "open"

    ended = node.api.call("PUT", f"{path}/outcome", {"outcome": "registered"})
    assert ended.is_success
    assert ended.json()["state"] == "registered"
    assert watched.until("upload.closed")["data"]["outcome"] == "registered"
    assert "abort" not in federation.developer.get(path)["_links"]
    late = node.api.call("PUT", f"{path}/outcome", {"outcome": "refused", "reason": REASON}).json()
    assert (late["state"], late["reason"]) == ("registered", None)
    assert federation.developer.problem("POST", uploads(federation), upload_body(node))["code"] == "upload-closed"
    assert [each["id"] for each in federation.developer.embedded(uploads(federation), "uploads")] == [opened["id"]]
    with federation.api.hosted.database.reading() as session:
        entries = session.query(AuditEntry).filter(AuditEntry.operation == "dataset:upload").all()
        assert {(entry.actor, entry.project) for entry in entries} == {("developer.laboratory", federation.project)}


def test_it_is_aborted_by_its_organisation_and_the_node_is_told_or_it_expires(federation, node):
    path = f"/v1/uploads/{federation.developer.post(uploads(federation), upload_body(node))['id']}"
    assert federation.person("developer", "north").refused("POST", f"{path}/abort", {})[0] == 403
    assert federation.developer.post(f"{path}/abort", {})["state"] == "aborted"
    assert federation.developer.post(f"{path}/abort", {})["state"] == "aborted"
    assert node.stream is not None
    assert node.stream.until("upload.closed")["data"]["outcome"] == "aborted"

    second = federation.developer.post(uploads(federation), upload_body(node, id="01" * 16))["id"]
    with federation.api.hosted.database.writing() as session:
        session.execute(update(Upload).values(expires=datetime.now(UTC) - timedelta(seconds=1)))
    assert federation.developer.get(f"/v1/uploads/{second}")["state"] == "expired"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_who_may_open_what_once(federation, node):
    body = upload_body(node)
    for role in ("viewer", "approver", "auditor", "cost-manager"):
        assert federation.person(role, "north").refused("POST", uploads(federation), body)[0] == 403
    for number, role in enumerate(("data-owner", "operator", "developer", "org-admin")):
        caller = federation.person(role, "north")
        assert caller.post(uploads(federation), {**body, "id": f"{number:032x}"})["organisation"] == "north"
    for changes in ({"size": 0}, {"id": "x" * 32}, {"id": "ab"}, {"digest": "1"}, {"file": "rows"}):
        problem = federation.developer.problem("POST", uploads(federation), upload_body(node, **changes))
        assert problem["status"] == 422
    federation.developer.post(uploads(federation), body)
    for changes in ({"digest": "01" * 32}, {"size": 5}, {"dataset": "other"}, {"submitter": "01" * 32}):
        problem = federation.developer.problem("POST", uploads(federation), upload_body(node, **changes))
        assert (problem["status"], problem["code"]) == (409, "upload-exists")
    theirs = federation.person("developer", "north").problem("POST", uploads(federation), body)
    assert theirs["code"] == "upload-exists"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_nothing_is_opened_to_a_node_that_is_away_barred_revoked_or_removed(federation, node):
    def code(**changes):
        return federation.developer.problem("POST", uploads(federation), upload_body(node, **changes))["code"]

    federation.admin.post(f"{node.path}/quarantine", {"reason": "Its disk fails."})
    assert code() == "node-quarantined"
    federation.admin.call("DELETE", f"{node.path}/quarantine")
    now = int(time.time())
    revoked = federation.membership(node.id, "north", serial=9, not_before=now - 100, not_after=now - 70)
    federation.admin.post(f"{federation.path}/memberships", revoked)
    assert code() == "node-not-a-member"
    federation.admin.post(f"{federation.path}/memberships", federation.membership(node.id, "north", serial=10))
    path = f"/v1/uploads/{federation.developer.post(uploads(federation), upload_body(node))['id']}"
    node.go_offline()
    while node.state == "online":
        pass
    assert code(id="01" * 16) == "node-offline"
    admin = federation.admin
    assert admin.call("DELETE", node.path, headers=admin.matching(node.path)).status_code == 204
    assert code(id="01" * 16) == "unknown-node"
    ended = federation.developer.get(path)
    assert (ended["state"], ended["reason"]["code"]) == ("refused", "node-removed")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_nobody_bars_the_others_by_opening_uploads(federation, node, monkeypatch):
    monkeypatch.setattr(service, "MOST_OF_ONE", 2)
    monkeypatch.setattr(service, "MOST_OPEN", 3)
    bodies = [upload_body(node, id=f"{number:032x}") for number in range(5)]
    first = [federation.developer.post(uploads(federation), body)["id"] for body in bodies[:2]]
    problem = federation.developer.problem("POST", uploads(federation), bodies[2])
    assert (problem["status"], problem["code"]) == (409, "too-many-uploads")
    assert "yours" in problem["detail"]
    other = federation.person("developer", "north")
    other.post(uploads(federation), bodies[3])
    problem = other.problem("POST", uploads(federation), bodies[4])
    assert problem["code"] == "too-many-uploads", "of all together"
    federation.developer.post(f"/v1/uploads/{first[0]}/abort", {})
    federation.developer.post(uploads(federation), bodies[2])


def test_the_limit_of_one_person_is_that_of_the_documentation():
    assert (service.MOST_OF_ONE, service.MOST_OPEN) == (20, 100)
