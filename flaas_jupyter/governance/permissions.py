"""What each role may do: one table that everything else about permissions is made from.

That is the routes, the links in answers, the data base of roles, the documentation and the matrix in JupyterLab.
An operation is ``resource:verb``. A role has the operations that name it and those of the roles it includes, wherever
it is held (`scopes`). The roles here are what an installation begins with: they are written into the tables of `rbac`,
which decide, and which an administrator may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VIEWER, DATA_OWNER, DEVELOPER, OPERATOR, COST_MANAGER, APPROVER, AUDITOR, ORG_ADMIN, GOVERNANCE_ADMIN = (
    "viewer",
    "data-owner",
    "developer",
    "operator",
    "cost-manager",
    "approver",
    "auditor",
    "org-admin",
    "governance-admin",
)
NODE = "node"
"""What a node's own signature gives; nobody holds it, and it is in no table."""


@dataclass(frozen=True)
class Role:
    """A role that every installation has: what it is for, and the roles that it includes."""

    description: str
    juniors: tuple[str, ...] = ()


ROLES: Mapping[str, Role] = {
    VIEWER: Role("Sees projects, nodes, runs, models and costs"),
    DATA_OWNER: Role("Answers for data at a node: sees what is done with it, and approves its release"),
    DEVELOPER: Role("Trains models, and asks questions over data sets", (VIEWER,)),
    OPERATOR: Role("Runs nodes: registers, launches and quarantines them", (VIEWER,)),
    COST_MANAGER: Role("Keeps cloud accounts and budgets, and launches within them", (VIEWER,)),
    APPROVER: Role("Approves or refuses critical actions that others ask for", (VIEWER,)),
    AUDITOR: Role("Reads the audit log and who can do what; changes nothing"),
    ORG_ADMIN: Role("Runs an organisation: its people, projects and nodes", (OPERATOR,)),
    GOVERNANCE_ADMIN: Role("Keeps roles, separation of duties, the policy of approvals and keys; sees no project"),
}


@dataclass(frozen=True)
class Exclusion:
    """Roles of which nobody may hold (static) or have active at once (dynamic) `limit` or more.

    With `per_scope`, only where they meet: see `scopes.overlap`.
    """

    name: str
    roles: frozenset[str]
    limit: int = 2
    per_scope: bool = False


STATIC = (
    Exclusion("administration-and-audit", frozenset({GOVERNANCE_ADMIN, AUDITOR})),
    Exclusion("roles-and-resources", frozenset({GOVERNANCE_ADMIN, ORG_ADMIN})),
    Exclusion("development-and-approval", frozenset({DEVELOPER, APPROVER}), per_scope=True),
)
"""Static separation of duty that every installation begins with (ANSI INCITS 359, SSD)."""

DYNAMIC = (
    Exclusion("data-and-development", frozenset({DATA_OWNER, DEVELOPER})),
    Exclusion("operation-and-approval", frozenset({OPERATOR, APPROVER})),
    Exclusion("administration-and-approval", frozenset({ORG_ADMIN, APPROVER})),
)
"""Dynamic separation of duty that every installation begins with (ANSI INCITS 359, DSD)."""


@dataclass(frozen=True)
class Permission:
    """Who may do an operation to begin with: `roles`, and every role that includes one of them."""

    description: str
    roles: frozenset[str]


def _by(description: str, *roles: str) -> Permission:
    return Permission(description, frozenset(roles))


_PEOPLE = tuple(ROLES)
_PARTICIPANTS = (VIEWER, DATA_OWNER, AUDITOR, NODE)

PERMISSIONS: Mapping[str, Permission] = {
    "me:read": _by("See who the API takes the caller for, and what it keeps about that person", *_PEOPLE, NODE),
    "me:write": _by("Change one's own password, key and sessions", *_PEOPLE),
    "token:issue": _by("Issue, list and revoke one's own tokens, with no more than one's own roles", *_PEOPLE),
    "token:manage": _by("List and revoke everybody's tokens and sessions", GOVERNANCE_ADMIN),
    "organisation:read": _by("Read one's own organisation", *_PARTICIPANTS, GOVERNANCE_ADMIN),
    "organisation:write": _by("Create, rename and remove organisations", ORG_ADMIN),
    "member:read": _by(
        "See the people of an organisation or project and their roles", AUDITOR, ORG_ADMIN, GOVERNANCE_ADMIN
    ),
    "member:manage": _by("Invite people, give and take roles, remove people", ORG_ADMIN, GOVERNANCE_ADMIN),
    "role:read": _by("See roles, what they include and permit, and separation of duties", *_PEOPLE),
    "role:manage": _by("Change roles, their hierarchy, permissions and separation of duties", GOVERNANCE_ADMIN),
    "role:report": _by("See which permissions nobody has used for long", AUDITOR, GOVERNANCE_ADMIN),
    "policy:read": _by("See which actions need whose approval", *_PEOPLE),
    "policy:manage": _by("Change which actions need whose approval", GOVERNANCE_ADMIN),
    "approval:read": _by("See requests for approval", APPROVER, DATA_OWNER, AUDITOR, ORG_ADMIN, GOVERNANCE_ADMIN),
    "approval:decide": _by(
        "Approve or refuse what others ask for, signed with one's own key", APPROVER, DATA_OWNER, ORG_ADMIN
    ),
    "audit:read": _by("Read, filter and export the audit log", AUDITOR),
    "audit:check": _by("Read signed checkpoints of the audit log, and prove it against them", AUDITOR, NODE),
    "key:rotate": _by("Rotate the keys that sign tokens and checkpoints", GOVERNANCE_ADMIN),
    "project:read": _by("Read the projects that one's organisation is in", *_PARTICIPANTS),
    "project:write": _by("Create, change and remove projects", ORG_ADMIN),
    "directory:read": _by("Read the signed directory of a project", *_PARTICIPANTS),
    "membership:write": _by("Hand in memberships signed by the domain key", OPERATOR),
    "node:read": _by("Read the nodes of one's organisation and projects", *_PARTICIPANTS),
    "node:register": _by("Invite, register and remove nodes of one's organisation", OPERATOR),
    "node:quarantine": _by("Keep a node out of runs, and let it back", OPERATOR),
    "node:act": _by("Act as this node: record, data sets, events, assignments", NODE),
    "mesh:dial": _by("Have a node of one's projects connect back", DATA_OWNER, DEVELOPER, OPERATOR, NODE),
    "dataset:read": _by("Read descriptions of a project's data sets", *_PARTICIPANTS),
    "dataset:upload": _by(
        "Send a node of one's projects a sealed file, where its owner takes it", DATA_OWNER, DEVELOPER, OPERATOR
    ),
    "recipe:read": _by("Read how a project's columns are brought together", *_PARTICIPANTS),
    "recipe:write": _by("Keep versions of how a project's columns are brought together", DEVELOPER, DATA_OWNER),
    "run:read": _by("Read runs, their rounds and events", *_PARTICIPANTS),
    "run:create": _by("Create runs in one's organisation's projects", DEVELOPER),
    "run:cancel": _by("Stop runs of one's organisation", DEVELOPER, OPERATOR),
    "run:pause": _by("Have runs of one's projects pause after the present round, and go on", DEVELOPER, OPERATOR),
    "run:lead": _by("Report as the run's aggregator", NODE),
    "analytics:read": _by("See who has asked what kind of question about which data set", *_PARTICIPANTS),
    "analytics:query": _by("Ask questions over the rows of a data set's nodes together", DEVELOPER),
    "data:explore": _by(
        "Look at the distributions of a data set, as far as its owners show them", DEVELOPER, DATA_OWNER
    ),
    "model:read": _by("See the versions of models that runs have made", *_PARTICIPANTS),
    "model:release": _by("Ask for a model version to be released", DEVELOPER),
    "model:revoke": _by("Revoke a model version: no node starts from it any more", APPROVER, ORG_ADMIN),
    "costs:read": _by("See prices, recommendations, bills and budgets of one's organisation", VIEWER),
    "costs:manage": _by("Keep cloud accounts, budgets, templates and imported bills", OPERATOR, COST_MANAGER),
    "launch:read": _by("Follow the launches of one's organisation", VIEWER),
    "launch:write": _by("Launch and end machines within the budget", OPERATOR, DEVELOPER, COST_MANAGER),
    "metrics:read": _by(
        "Read the API's metrics, if the role is held on the platform", AUDITOR, ORG_ADMIN, GOVERNANCE_ADMIN
    ),
}


def included(role: str) -> frozenset[str]:
    """Return `role` and all roles that it includes to begin with."""
    juniors = ROLES[role].juniors if role in ROLES else ()
    return frozenset({role}).union(*(included(junior) for junior in juniors))


def permits(role: str, operation: str) -> bool:
    """Tell whether `role` may do `operation` (a key of `PERMISSIONS`) to begin with."""
    return not PERMISSIONS[operation].roles.isdisjoint(included(role))


def roles_for(operation: str) -> list[str]:
    """Return the roles that may do `operation` to begin with."""
    return [role for role in (*ROLES, NODE) if permits(role, operation)]


def split(operation: str) -> tuple[str, str]:
    """Return operation and object of INCITS 359 for ``resource:verb``: ``("verb", "resource")``."""
    resource, _, verb = operation.partition(":")
    return verb, resource
