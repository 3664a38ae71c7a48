"""What every installation begins with, and what becomes of it."""

from __future__ import annotations

import logging

import pytest

from flaas_jupyter.governance import permissions
from flaas_jupyter.governance.permissions import DYNAMIC, NODE, PERMISSIONS, ROLES, STATIC, permits, split
from flaas_jupyter.governance.rbac import Rbac, defaults

from .conftest import dump


def install(rbac: Rbac) -> None:
    with rbac._store.writing() as session:
        defaults.install(session)


def test_the_tables_permit_what_the_declared_table_does(rbac: Rbac):
    install(rbac)
    for role in ROLES:
        allowed = {split(operation) for operation in PERMISSIONS if permits(role, operation)}
        assert rbac.role_permissions(role) == allowed
    assert rbac.ssd_role_sets() == {each.name for each in STATIC}
    assert rbac.dsd_role_sets() == {each.name for each in DYNAMIC}
    for each in STATIC:
        assert rbac.ssd_role_set_roles(each.name) == each.roles
    assert NODE not in ROLES


def test_installing_again_changes_nothing(rbac: Rbac):
    install(rbac)
    before = dump(rbac)
    install(rbac)
    assert dump(rbac) == before


def test_what_was_changed_stays_changed(rbac: Rbac):
    install(rbac)
    rbac.revoke_permission("create", "run", "developer")
    rbac.delete_inheritance("developer", "viewer")
    rbac.delete_dsd_set(DYNAMIC[0].name)
    rbac.set_ssd_set_cardinality(STATIC[0].name, 2)
    rbac.delete_role("cost-manager")
    rbac.grant_permission("create", "run", "operator")
    before = dump(rbac)
    install(rbac)
    assert dump(rbac) == before


def test_a_later_version_adds_what_is_new(rbac: Rbac, monkeypatch: pytest.MonkeyPatch):
    install(rbac)
    rbac.delete_role("cost-manager")
    more = {
        **PERMISSIONS,
        "model:export": permissions.Permission("Export models", frozenset({"developer", "cost-manager", NODE})),
    }
    monkeypatch.setattr(defaults, "PERMISSIONS", more)
    monkeypatch.setattr(defaults, "ROLES", {**ROLES, "guest": permissions.Role("Looks", ("viewer",))})
    install(rbac)
    assert rbac.permission_roles("export", "model") == {"developer"}
    assert ("read", "run") in rbac.role_permissions("guest")
    assert rbac.ssd_role_sets() == {each.name for each in STATIC}


def test_an_exclusion_that_somebody_violates_waits_until_nobody_does(rbac: Rbac, caplog: pytest.LogCaptureFixture):
    rbac.add_user("anna")
    for role in ("governance-admin", "auditor"):
        rbac.add_role(role)
        rbac.assign_user("anna", role)
    with caplog.at_level(logging.WARNING):
        install(rbac)
    assert "administration-and-audit" not in rbac.ssd_role_sets()
    assert "administration-and-audit" in caplog.text
    rbac.deassign_user("anna", "auditor")
    install(rbac)
    assert "administration-and-audit" in rbac.ssd_role_sets()
