"""Roles that are held in a scope: what they give where, and how separation of duty counts them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.governance import scopes
from flaas_jupyter.governance.rbac import Rbac, RbacError, grants, lookup, sessions
from flaas_jupyter.governance.rbac.exclusions import meeting


@pytest.fixture
def lab(rbac: Rbac) -> Rbac:
    """Lead inherits developer; Anna leads in project a and approves in project b."""
    for role in ("developer", "lead", "approver"):
        rbac.add_role(role)
    rbac.add_inheritance("lead", "developer")
    rbac.grant_permission("create", "run", "developer")
    rbac.grant_permission("decide", "approval", "approver")
    rbac.add_user("anna")
    rbac.assign_user("anna", "lead", "project:a")
    rbac.assign_user("anna", "approver", "project:b")
    return rbac


def test_access_is_given_where_the_role_is_held(lab: Rbac):
    session = lab.create_session("anna", ["lead", "approver"])
    assert lab.check_access(session, "create", "run")
    assert lab.check_access(session, "create", "run", "project:a")
    assert lab.check_access(session, "create", "run", "organisation:x", "project:a")
    assert not lab.check_access(session, "create", "run", "project:b")
    assert not lab.check_access(session, "create", "run", "platform")
    lab.assign_user("anna", "developer")
    lab.add_active_role("anna", session, "developer")
    assert lab.check_access(session, "create", "run", "project:b"), "what is held on the platform is held everywhere"


def test_the_session_level_decides_as_the_facade_does(lab: Rbac):
    session = lab.create_session("anna", ["lead", "approver"])
    with lab._store.reading() as tables:
        for operation, object in (("create", "run"), ("decide", "approval"), ("fly", "moon")):
            for within in ((), ("project:a",), ("project:b",), ("node:1", "project:a"), ("platform",)):
                assert sessions.check_access(tables, session, operation, object, *within) == lab.check_access(
                    session, operation, object, *within
                )


def test_a_role_is_activated_where_it_is_held_or_in_one_scope_alone(lab: Rbac):
    lab.assign_user("anna", "lead", "project:c")
    everywhere = lab.create_session("anna", ["lead"])
    only = lab.create_session("anna", [("lead", "project:c")])
    junior = lab.create_session("anna", [("developer", "project:a")])
    with lab._store.reading() as tables:
        assert grants.of(tables, everywhere).roles == (("lead", "project:a"), ("lead", "project:c"))
        assert grants.of(tables, only).operations == {"run:create": frozenset({"project:c"})}
        assert grants.of(tables, junior).roles == (("developer", "project:a"),)
    lab.drop_active_role("anna", everywhere, "lead", "project:a")
    assert not lab.check_access(everywhere, "create", "run", "project:a")
    lab.add_active_role("anna", everywhere, "lead", "project:a")
    with pytest.raises(RbacError) as caught:
        lab.add_active_role("anna", everywhere, "lead", "project:b")
    assert caught.value.code == "not-authorised"
    lab.deassign_user("anna", "lead", "project:a")
    assert lab.session_roles(everywhere) == {"lead"}, "it is still held in project c"
    assert lab.session_roles(junior) == set()


def test_roles_exclude_each_other_everywhere_or_only_where_they_meet(lab: Rbac):
    with pytest.raises(RbacError) as caught:
        lab.create_ssd_set("everywhere", ["developer", "approver"], 2)
    assert caught.value.code == "ssd-violated"
    lab.create_ssd_set("where they meet", ["developer", "approver"], 2, per_scope=True)
    for scope in ("project:a", "platform", "organisation:x"):
        with pytest.raises(RbacError) as caught:
            lab.assign_user("anna", "approver", scope)
        assert caught.value.code == "ssd-violated"
    lab.assign_user("anna", "approver", "project:c")
    both = lab.create_session("anna", ["lead", "approver"])
    lab.create_dsd_set("at once", ["lead", "approver"], 2, per_scope=True)
    with pytest.raises(RbacError):
        lab.create_dsd_set("at all", ["lead", "approver"], 2)
    lab.delete_session("anna", both)
    lab.create_dsd_set("at all", ["lead", "approver"], 2)
    with pytest.raises(RbacError) as caught:
        lab.create_session("anna", ["lead", "approver"])
    assert caught.value.code == "dsd-violated"


def test_a_session_expires(lab: Rbac):
    soon = lab.create_session("anna", ["lead"], expires=datetime.now(UTC) + timedelta(hours=1))
    past = lab.create_session("anna", ["lead"], expires=datetime.now(UTC) - timedelta(seconds=1))
    assert lab.check_access(soon, "create", "run")
    for act in (
        lambda: lab.check_access(past, "create", "run"),
        lambda: lab.session_roles(past),
        lambda: lab.session_permissions(past),
        lambda: lab.add_active_role("anna", past, "lead"),
        lambda: lab.drop_active_role("anna", past, "lead"),
    ):
        with pytest.raises(RbacError) as caught:
            act()
        assert caught.value.code == "session-expired"
    lab.create_dsd_set("set", ["lead", "developer"], 2)
    with lab._store.writing() as tables:
        with pytest.raises(RbacError) as caught:
            grants.of(tables, past)
        assert caught.value.code == "session-expired"
        sessions.end_expired(tables)
        with pytest.raises(RbacError) as caught:
            lookup.find_session(tables, past)
        assert caught.value.code == "unknown-session"
    lab.delete_session("anna", soon)


def test_an_expired_session_is_ended_by_its_user(lab: Rbac):
    past = lab.create_session("anna", ["lead"], expires=datetime.now(UTC) - timedelta(seconds=1))
    lab.delete_session("anna", past)
    with pytest.raises(RbacError) as caught:
        lab.delete_session("anna", past)
    assert caught.value.code == "unknown-session"


def test_nothing_is_added_to_a_fixed_session(lab: Rbac):
    session = lab.create_session("anna", ["developer"], fixed=True)
    with pytest.raises(RbacError) as caught:
        lab.add_active_role("anna", session, "lead")
    assert caught.value.code == "session-fixed"
    lab.drop_active_role("anna", session, "developer")
    assert lab.session_roles(session) == set()


PLACES = st.sampled_from(["platform", "organisation:1", "organisation:2", "project:1", "project:2", "node:1", "node:2"])


@given(st.sets(st.tuples(st.sampled_from("abcd"), PLACES), max_size=9))
def test_roles_that_meet_are_those_in_scopes_that_all_overlap(held: set[tuple[str, str]]):
    most = 0
    for size in range(1, len(held) + 1):
        for some in combinations(held, size):
            if all(scopes.overlap(one, other) for (_, one), (_, other) in combinations(some, 2)):
                most = max(most, len({role for role, _ in some}))
    assert len(meeting(held, per_scope=True)) == most
    assert meeting(held, per_scope=False) == {role for role, _ in held}
