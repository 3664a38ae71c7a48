"""Approvals over the installation's own tables: persons of the identity provider, roles of `rbac`."""

from __future__ import annotations

import time

import pytest

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.governance import approvals
from flaas_jupyter.governance.approvals import people
from flaas_jupyter.governance.approvals.registry import Registry
from flaas_jupyter.governance.identity import Caller
from flaas_jupyter.governance.identity.tables import Person
from flaas_jupyter.governance.rbac import core, defaults, grants, hierarchy, sessions
from flaas_jupyter.governance.tables import Organisation

from .world import PROJECT, START, marking

HELD = {
    "dora": [("developer", PROJECT)],
    "ann": [("approver", PROJECT)],
    "owen": [("data-owner", PROJECT)],
    "pam": [("approver", "platform")],
    "sam": [("approver", "project:other")],
    "robot": [("approver", PROJECT)],
    "gwen": [("governance-admin", "platform")],
}


@pytest.fixture
def registry(database):
    """Return the installation's own tables, with people in them."""
    with marking(), database.writing() as session:
        session.add(Organisation(id="north", name="North", created=START))
        session.flush()
        defaults.install(session)
        for name, roles in HELD.items():
            core.add_user(session, name)
            for role, scope in roles:
                core.assign_user(session, name, role, scope)
            key = Identity(name.encode().ljust(32, b"."))
            session.add(
                Person(
                    id=name,
                    kind="service" if name == "robot" else "person",
                    organisation="north",
                    state="active",
                    approval_key=key.node_id,
                    created=START,
                )
            )
        session.flush()
        session.add(approvals.founding.Founding(id=1, closed=START, closed_by="gwen"))
        session.commit()
        people._in_use.clear()
        yield session


def caller(session, name: str) -> Caller:
    """Sign in with all roles."""
    session_id = sessions.create_session(session, name, [role for role, _ in HELD[name]])
    held = grants.of(session, session_id)
    return Caller(name, "user", "north", held.operations, tuple(held.roles), session_id)


def decide(session, request: str, name: str) -> str:
    sha256 = session.get_one(approvals.Request, request).sha256
    key = Identity(name.encode().ljust(32, b"."))
    now = int(START.timestamp())
    signature = approvals.sign(key, request, sha256, "approve", now)
    return approvals.decide(session, request, caller(session, name), "approve", now, signature, START).state


def submit(session, body=None) -> str:
    asked = approvals.submit(
        session,
        "model.release",
        scope=PROJECT,
        requester=caller(session, "dora"),
        body=body or {"model": "m1"},
        now=START,
    )
    assert asked is not None
    return asked.id


def test_a_request_goes_its_way(registry):
    request = submit(registry)
    for name in ("sam", "robot", "gwen", "dora"):
        with pytest.raises(approvals.decisions.NotAllowed):
            decide(registry, request, name)
    assert decide(registry, request, "ann") == "pending"
    assert decide(registry, request, "owen") == "executed"


def test_what_is_taken_away_counts_no_more(registry):
    request = submit(registry)
    decide(registry, request, "ann")
    core.deassign_user(registry, "ann", "approver", PROJECT)
    assert decide(registry, request, "owen") == "pending"
    registry.get_one(Person, "owen").state = "locked"
    registry.flush()
    lapsed = approvals.assess(registry, registry.get_one(approvals.Request, request)).lapsed
    assert set(lapsed) == {"ann", "owen"}
    registry.get_one(Person, "owen").state = "active"
    core.deassign_user(registry, "dora", "developer", PROJECT)
    assert decide(registry, request, "pam") == "pending"
    assert not approvals.assess(registry, registry.get_one(approvals.Request, request)).requester_may


def test_a_senior_role_counts_for_those_that_it_includes(registry):
    core.add_role(registry, "chief")
    hierarchy.add_inheritance(registry, "chief", "approver")
    core.add_user(registry, "cleo")
    core.assign_user(registry, "cleo", "chief", PROJECT)
    registry.add(Person(id="cleo", kind="person", organisation="north", state="active", created=START))
    registry.get_one(Person, "cleo").approval_key = Identity(b"cleo".ljust(32, b".")).node_id
    registry.flush()
    known = Registry()
    assert known.included(registry, "chief") == {"chief", "approver", "viewer"}
    assert known.holders(registry, "approver", (PROJECT,)) == {"ann", "pam", "cleo"}
    assert known.authorised(registry, "cleo", "viewer", (PROJECT,))
    assert not known.authorised(registry, "cleo", "viewer", ("project:other",))
    HELD["cleo"] = [("chief", PROJECT)]
    try:
        request = submit(registry)
        assert decide(registry, request, "cleo") == "pending"
        assert decide(registry, request, "owen") == "executed"
    finally:
        del HELD["cleo"]


def test_who_there_is(registry):
    known = Registry()
    assert known.holders(registry, "approver", ()) == {"ann", "pam", "sam"}
    assert known.permitted(registry, "approval:decide", (PROJECT,)) == {"ann", "owen", "pam", "robot"}
    assert known.permitted(registry, "policy:manage", ("platform",)) == {"gwen"}
    assert known.scopes(registry) == sorted({"platform", PROJECT, "project:other"})
    assert known.grants(registry, "dora")["run:create"] == {PROJECT}
    assert known.grants(registry, "nobody") == {}
    assert not known.is_person(registry, "nobody")
    assert not known.is_person(registry, "robot")
    assert known.is_active(registry, "robot")
    assert known.key_of(registry, "nobody") is None


def test_who_is_missing_is_named(registry):
    with pytest.raises(approvals.changes.Conflict) as caught:
        approvals.founding.fulfilment.require(registry, Registry(), approvals.policy.current(registry).rules)
    missing = {each["action"]: each for each in caught.value.details["missing"]}
    assert (missing["policy.change"]["needed"], missing["policy.change"]["there_are"]) == (2, 1)


def test_five_thousand_people_are_no_burden(registry):
    """One decision looks at the persons that it concerns, not at all of them."""
    from flaas_jupyter.governance.rbac.tables import Assignment, User

    names = [f"person-{number}" for number in range(5_000)]
    registry.execute(User.__table__.insert(), [{"name": name} for name in names])
    registry.execute(
        Assignment.__table__.insert(),
        [{"user": name, "role": "approver", "scope": PROJECT, "assigned": START} for name in names],
    )
    request = submit(registry)
    began = time.perf_counter()
    assert decide(registry, request, "ann") == "pending"
    assert time.perf_counter() - began < 10.0
