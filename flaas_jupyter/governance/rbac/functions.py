"""The functions of INCITS 359 as one table: its kind and what it needs, from which the REST interface is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from . import core, hierarchy, review, separation, sessions

Kind = Literal["administrative", "system", "review"]
ROLE_CHANGE, SEPARATION_CHANGE = "role.change", "separation.change"


@dataclass(frozen=True)
class Function:
    """A function of the standard.

    Parameters
    ----------
    name : str
        In snake case.
    kind : str
        ``administrative`` changes the policy, ``system`` works with sessions, ``review`` reads.
    call : callable
        Takes a session of the data base and the arguments.
    action : str, optional
        The critical action that an administrative function is.
    tells : str
        Of a review function: ``users`` if its answer is about people, ``roles`` otherwise.
    """

    name: str
    kind: Kind
    call: Callable[..., Any]
    action: str | None = None
    tells: Literal["users", "roles"] = "roles"

    @property
    def description(self) -> str:
        """The first sentence of its documentation."""
        return (self.call.__doc__ or "").strip().partition("\n")[0]


def _administrative(module: ModuleType, action: str, names: str) -> list[Function]:
    return [Function(name, "administrative", getattr(module, name), action) for name in names.split()]


def _review(module: ModuleType, tells: Literal["users", "roles"], names: str) -> list[Function]:
    return [Function(name, "review", getattr(module, name), tells=tells) for name in names.split()]


_ALL = [
    *_administrative(
        core,
        ROLE_CHANGE,
        "add_user delete_user add_role delete_role assign_user deassign_user add_permission delete_permission "
        "grant_permission revoke_permission",
    ),
    *_administrative(hierarchy, ROLE_CHANGE, "add_inheritance delete_inheritance add_ascendant add_descendant"),
    *_administrative(
        separation,
        SEPARATION_CHANGE,
        "create_ssd_set delete_ssd_set add_ssd_role_member delete_ssd_role_member set_ssd_set_cardinality "
        "create_dsd_set delete_dsd_set add_dsd_role_member delete_dsd_role_member set_dsd_set_cardinality",
    ),
    *[
        Function(name, "system", getattr(sessions, name))
        for name in ("create_session", "delete_session", "add_active_role", "drop_active_role", "check_access")
    ],
    *_review(
        review,
        "users",
        "assigned_users assigned_roles authorized_users authorized_roles user_permissions session_roles "
        "session_permissions user_operations_on_object permission_users",
    ),
    *_review(review, "roles", "role_permissions role_operations_on_object permission_roles"),
    *_review(
        separation,
        "roles",
        "ssd_role_sets ssd_role_set_roles ssd_role_set_cardinality dsd_role_sets dsd_role_set_roles "
        "dsd_role_set_cardinality",
    ),
]

FUNCTIONS: Mapping[str, Function] = {function.name: function for function in _ALL}
"""Every function of the standard, by name."""
