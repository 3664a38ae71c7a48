"""Nobody hands out more than they have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flaas_jupyter.errors import NotAllowed
from flaas_jupyter.governance.identity import Caller
from flaas_jupyter.governance.permissions import ROLES
from flaas_jupyter.governance.rbac import Rbac, RbacError, defaults, grants
from flaas_jupyter.governance.rbac.delegation import DAILY_WORK, require_may_assign


@pytest.fixture(scope="module")
def platform() -> Iterator[Rbac]:
    with Rbac("sqlite://") as rbac:
        with rbac._store.writing() as session:
            defaults.install(session)
        for user, role, scope in (
            ("governor", "governance-admin", "platform"),
            ("local-governor", "governance-admin", "organisation:north"),
            ("head", "org-admin", "organisation:north"),
            ("project-head", "org-admin", "project:credit"),
            ("everywhere", "org-admin", "platform"),
            ("dev", "developer", "organisation:north"),
            ("auditor", "auditor", "platform"),
        ):
            rbac.add_user(user)
            rbac.assign_user(user, role, scope)
        rbac.add_role("harmless")
        rbac.add_role("keeper")
        rbac.grant_permission("rotate", "key", "keeper")
        yield rbac


def may(rbac: Rbac, user: str, role: str, *places: str) -> bool:
    session_id = rbac.create_session(user, rbac.assigned_roles(user))
    with rbac._store.reading() as session:
        given = grants.of(session, session_id)
        caller = Caller(user, "user", "north", given.operations, given.roles, session_id)
        try:
            require_may_assign(session, caller, role, *places)
        except NotAllowed as error:
            return error.code != "may-not-assign"
        return True


def test_who_may_change_roles_may_assign_all(platform: Rbac):
    for role in (*ROLES, "keeper"):
        assert may(platform, "governor", role, "platform")
        assert may(platform, "governor", role, "project:credit")


def test_the_head_of_an_organisation_assigns_the_roles_of_its_work_within_it(platform: Rbac):
    for role in (*DAILY_WORK, "org-admin", "harmless"):
        assert may(platform, "head", role, "organisation:north")
        assert may(platform, "head", role, "node:1", "organisation:north"), "a node of the organisation lies in it"
        for elsewhere in ("organisation:south", "platform", "project:credit", "node:1"):
            assert not may(platform, "head", role, elsewhere)


def test_the_head_of_a_project_assigns_what_it_holds_itself(platform: Rbac):
    for role in ("viewer", "operator", "org-admin", "harmless"):
        assert may(platform, "project-head", role, "project:credit")
    for role in ("developer", "approver", "auditor", "data-owner"):
        assert not may(platform, "project-head", role, "project:credit")


@pytest.mark.parametrize("user", ["head", "project-head", "everywhere", "local-governor"])
def test_roles_over_the_rules_are_given_by_nobody_else(platform: Rbac, user: str):
    for role in ("governance-admin", "keeper"):
        for scope in ("platform", "organisation:north", "project:credit"):
            assert not may(platform, user, role, scope)


@pytest.mark.parametrize("user", ["dev", "auditor"])
def test_who_manages_no_members_assigns_nothing(platform: Rbac, user: str):
    for role in ("viewer", "harmless"):
        assert not may(platform, user, role, "organisation:north")


def test_a_role_of_daily_work_that_was_given_power_over_the_rules_is_no_way_round(platform: Rbac):
    platform.grant_permission("manage", "role", "viewer")
    try:
        assert not may(platform, "head", "viewer", "organisation:north")
        assert not may(platform, "head", "developer", "organisation:north"), "it includes viewer"
    finally:
        platform.revoke_permission("manage", "role", "viewer")


def test_an_unknown_role_is_told(platform: Rbac):
    with pytest.raises(RbacError, match="king"):
        may(platform, "governor", "king", "platform")
