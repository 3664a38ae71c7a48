"""The table of permissions, read as the specification that it is."""

from __future__ import annotations

from flaas_jupyter.governance.permissions import DYNAMIC, NODE, PERMISSIONS, ROLES, STATIC, included, permits, roles_for


def may(role: str) -> set[str]:
    return {operation for operation in PERMISSIONS if permits(role, operation)}


READS = {
    "me:read", "organisation:read", "project:read", "directory:read", "node:read", "dataset:read", "run:read",
    "model:read", "analytics:read", "recipe:read",
}  # fmt: skip
ONESELF = {"me:read", "me:write", "token:issue", "role:read", "policy:read"}
VIEWS = READS | ONESELF | {"costs:read", "launch:read"}


def test_who_may_do_what():
    assert may("viewer") == VIEWS
    assert may("data-owner") == READS | ONESELF | {
        "approval:read", "approval:decide", "data:explore", "dataset:upload", "mesh:dial", "recipe:write",
    }  # fmt: skip
    assert may("developer") == VIEWS | {
        "run:create", "run:cancel", "run:pause", "launch:write", "model:release", "analytics:query", "data:explore",
        "dataset:upload", "mesh:dial", "recipe:write",
    }  # fmt: skip
    assert may("operator") == VIEWS | {
        "node:register", "node:quarantine", "membership:write", "costs:manage", "launch:write", "run:pause",
        "run:cancel", "dataset:upload", "mesh:dial",
    }  # fmt: skip
    assert may("cost-manager") == VIEWS | {"costs:manage", "launch:write"}
    assert may("approver") == VIEWS | {"approval:read", "approval:decide", "model:revoke"}
    assert may("auditor") == READS | ONESELF | {
        "member:read", "role:report", "approval:read", "audit:read", "audit:check", "metrics:read",
    }  # fmt: skip
    assert may("org-admin") == may("operator") | {
        "organisation:write", "project:write", "member:read", "member:manage", "approval:read", "approval:decide",
        "model:revoke",
        "metrics:read",
    }  # fmt: skip
    assert may("governance-admin") == ONESELF | {
        "organisation:read", "token:manage", "member:read", "member:manage", "role:manage", "role:report",
        "policy:manage", "approval:read", "key:rotate", "metrics:read",
    }  # fmt: skip
    assert may(NODE) == READS | {"node:act", "mesh:dial", "run:lead", "audit:check"}


def test_nobody_is_in_control_alone():
    changes = {operation for operation in PERMISSIONS if not operation.endswith((":read", ":check", ":report"))}
    for role in ROLES:
        assert not changes <= may(role), role
        together = {"role:manage", "approval:decide"} & may(role)
        assert len(together) < 2, f"{role} both changes roles and approves"
        assert not {"role:manage", "run:create"} <= may(role)
        assert not {"audit:read", "role:manage"} <= may(role)


def test_separation_of_duties_names_roles_that_there_are():
    for exclusion in (*STATIC, *DYNAMIC):
        assert exclusion.roles <= set(ROLES)
        assert 2 <= exclusion.limit <= len(exclusion.roles)
        for role in ROLES:
            assert len(included(role) & exclusion.roles) < exclusion.limit, f"nobody could hold {role} alone"


def test_nodes_see_and_do_nothing_about_money_or_people():
    for operation in ("costs:read", "costs:manage", "launch:read", "launch:write", "member:read", "approval:decide"):
        assert not permits(NODE, operation)


def test_no_person_acts_as_a_node():
    for role in ROLES:
        assert not permits(role, "node:act")
        assert not permits(role, "run:lead")


def test_developers_and_operators_do_not_do_each_others_work():
    assert not permits("developer", "node:register")
    assert not permits("operator", "run:create")


def test_roles_include_each_other_as_declared():
    assert included("org-admin") == {"org-admin", "operator", "viewer"}
    assert included("viewer") == {"viewer"}
    assert included("unheard-of") == {"unheard-of"}
    assert may("unheard-of") == set()


def test_every_operation_is_somebodys_and_described():
    for operation, permission in PERMISSIONS.items():
        assert roles_for(operation)
        assert permission.description
