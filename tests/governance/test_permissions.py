"""The table of permissions, read as the specification that it is."""

from __future__ import annotations

from flaas_jupyter.governance.permissions import NODE, PERMISSIONS, ROLES, included, permits, roles_for


def may(role: str) -> set[str]:
    return {operation for operation in PERMISSIONS if permits(role, operation)}


READS = {
    "me:read",
    "organisation:read",
    "project:read",
    "directory:read",
    "node:read",
    "dataset:read",
    "run:read",
}
PEOPLES_READS = READS | {"costs:read", "launch:read"}  # fmt: skip


def test_who_may_do_what():
    assert may("viewer") == PEOPLES_READS
    assert may("developer") == PEOPLES_READS | {"run:create", "run:cancel", "launch:write"}
    assert may("operator") == PEOPLES_READS | {"node:register", "membership:write", "costs:manage", "launch:write"}
    assert may("controller") == PEOPLES_READS | {"costs:manage", "launch:write"}
    assert may("admin") == may("developer") | may("operator") | {
        "organisation:write", "token:manage", "project:write", "metrics:read",
    }  # fmt: skip
    assert may(NODE) == READS | {"node:act", "run:lead"}


def test_nodes_see_and_do_nothing_about_money():
    for operation in ("costs:read", "costs:manage", "launch:read", "launch:write"):
        assert not permits(NODE, operation)


def test_no_person_acts_as_a_node():
    for role in ROLES:
        assert not permits(role, "node:act")
        assert not permits(role, "run:lead")


def test_developers_and_operators_do_not_do_each_others_work():
    assert not permits("developer", "node:register")
    assert not permits("operator", "run:create")


def test_roles_include_each_other_as_declared():
    assert included("admin") == set(ROLES)
    assert included("viewer") == {"viewer"}
    assert included("unheard-of") == {"unheard-of"}
    assert may("unheard-of") == set()


def test_every_operation_is_somebodys_and_described():
    for operation, permission in PERMISSIONS.items():
        assert roles_for(operation)
        assert permission.description
