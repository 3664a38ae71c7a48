"""What each role may do: one table that the routes, the links in answers and the documentation are made from.

An operation is ``thing:verb``. A role has the operations that name it and those of the roles it includes. Whose
things these are (the caller's organisation, its projects, the node itself) is decided where they are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ADMIN, OPERATOR, DEVELOPER, CONTROLLER, VIEWER, NODE = (
    "admin",
    "operator",
    "developer",
    "controller",
    "viewer",
    "node",
)

ROLES = (ADMIN, OPERATOR, DEVELOPER, CONTROLLER, VIEWER)
"""Roles that a token can have; `NODE` is what a node's signed request has."""

INCLUDES: Mapping[str, tuple[str, ...]] = {
    ADMIN: (OPERATOR, DEVELOPER, CONTROLLER),
    OPERATOR: (VIEWER,),
    DEVELOPER: (VIEWER,),
    CONTROLLER: (VIEWER,),
}


@dataclass(frozen=True)
class Permission:
    """Who may do an operation: `roles`, and every role that includes one of them."""

    description: str
    roles: frozenset[str]


def _by(description: str, *roles: str) -> Permission:
    return Permission(description, frozenset(roles))


PERMISSIONS: Mapping[str, Permission] = {
    "me:read": _by("See who the API takes the caller for", VIEWER, NODE),
    "organisation:read": _by("Read one's own organisation", VIEWER, NODE),
    "organisation:write": _by("Create, rename and remove organisations", ADMIN),
    "token:manage": _by("Issue, list and revoke tokens", ADMIN),
    "project:read": _by("Read the projects that one's organisation is in", VIEWER, NODE),
    "project:write": _by("Create, change and remove projects", ADMIN),
    "directory:read": _by("Read the signed directory of a project", VIEWER, NODE),
    "membership:write": _by("Hand in memberships signed by the domain key", OPERATOR),
    "node:read": _by("Read the nodes of one's organisation and projects", VIEWER, NODE),
    "node:register": _by("Register and remove nodes of one's organisation", OPERATOR),
    "node:act": _by("Act as this node: record, data sets, events, assignments", NODE),
    "dataset:read": _by("Read descriptions of a project's data sets", VIEWER, NODE),
    "run:read": _by("Read runs, their rounds and events", VIEWER, NODE),
    "run:create": _by("Create runs in one's organisation's projects", DEVELOPER),
    "run:cancel": _by("Cancel runs of one's organisation", DEVELOPER),
    "run:lead": _by("Report as the run's aggregator", NODE),
    "costs:read": _by("See prices, recommendations, bills and budgets of one's organisation", VIEWER),
    "costs:manage": _by("Keep cloud accounts, budgets, templates and imported bills", OPERATOR, CONTROLLER),
    "launch:read": _by("Follow the launches of one's organisation", VIEWER),
    "launch:write": _by("Launch and end machines within the budget", OPERATOR, DEVELOPER, CONTROLLER),
    "metrics:read": _by("Read the API's metrics", ADMIN),
}


def included(role: str) -> frozenset[str]:
    """Return `role` and all roles that it includes."""
    return frozenset({role}).union(*(included(junior) for junior in INCLUDES.get(role, ())))


def permits(role: str, operation: str) -> bool:
    """Tell whether `role` may do `operation` (a key of `PERMISSIONS`)."""
    return not PERMISSIONS[operation].roles.isdisjoint(included(role))


def roles_for(operation: str) -> list[str]:
    """Return the roles that may do `operation`."""
    return [role for role in (*ROLES, NODE) if permits(role, operation)]
