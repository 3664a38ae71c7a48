"""Whose the rows of every table are: the one table that the scoped sessions and PostgreSQL's policies are made from.

A table that is missing here makes a test fail, and nobody but the platform itself can use it through a session.

Some tables hold what decides over others (roles, approvals, the audit log). The sessions of tenants only read those:
whatever writes them says so with `isolation.across`.
"""

from __future__ import annotations

from collections.abc import Mapping

from .rules import AllOf, AnyOf, Caller, Everybody, InProject, Itself, Nobody, Own, Ownership, Scoped, Through

_OWN_NODE = Through("nodes", {"node": "id"}, AnyOf(Own(), Itself("id")))
_SHARED_NODE = Through("node_projects", {"id": "node"})
_IN_HISTORY = Through("assignments", {"id": "node"})
"""A node that was removed, or has left the project, is still named by the runs that it was in."""

_IN_RUN = Through("runs", {"run": "number"})
_OF_LAUNCH = Through("launches", {"launch": "number"})
_SIGNED_IN = Through("persons", {"person": "id"})

_OWN = Ownership(Own())
_PROJECT = Ownership(InProject())
_READ_BY_ALL = Ownership(Everybody(), Nobody())
_PLATFORM = Ownership(Nobody())

OWNERSHIP: Mapping[str, Ownership] = {
    # Organisations and the projects that they share.
    "organisations": Ownership(Own("id", nodes=True)),
    "projects": Ownership(InProject("id")),
    "project_organisations": Ownership(AnyOf(InProject(), Own(nodes=True)), InProject()),
    # Nodes, and what they tell.
    "nodes": Ownership(
        AnyOf(Own(), Itself("id"), _SHARED_NODE, _IN_HISTORY),
        AnyOf(Own(), Itself("id")),
    ),
    "node_projects": Ownership(AnyOf(InProject(), Itself()), AllOf(InProject(), _OWN_NODE)),
    "memberships": _PROJECT,
    "revocations": _PROJECT,
    "pending_documents": _PROJECT,
    "rotations": Ownership(AnyOf(_OWN_NODE, Through("node_projects", {"node": "node"})), _OWN_NODE),
    "records": Ownership(InProject(), AllOf(InProject(), _OWN_NODE)),
    "networks": _PROJECT,
    "mesh_links": Ownership(AnyOf(_OWN_NODE, Through("node_projects", {"node": "node"})), _OWN_NODE),
    "node_invitations": _OWN,
    "datasets": Ownership(AnyOf(_OWN_NODE, Through("dataset_projects", {"node": "node", "name": "name"})), _OWN_NODE),
    "dataset_projects": Ownership(InProject(), AllOf(InProject(), _OWN_NODE)),
    # Runs.
    "runs": _PROJECT,
    "assignments": Ownership(_IN_RUN),
    "rounds": Ownership(_IN_RUN),
    "events": _PROJECT,
    "queries": _PROJECT,
    "recipes": _PROJECT,
    "uploads": _PROJECT,
    "upload_keys": Ownership(AnyOf(_OWN_NODE, Through("node_projects", {"node": "node"})), _OWN_NODE),
    "model_versions": _PROJECT,
    # Costs and launches.
    "cloud_accounts": _OWN,
    "charges": _OWN,
    "cost_rollups": _OWN,
    "bill_coverage": _OWN,
    "bill_imports": _OWN,
    "project_budgets": _OWN,
    "cost_templates": _OWN,
    "cost_prices": _OWN,
    "launches": _OWN,
    "machines": Ownership(_OF_LAUNCH),
    "enrolments": Ownership(_OF_LAUNCH),
    "installation": Ownership(Everybody(), Nobody(), adds=Everybody()),
    # Requests.
    "idempotency": Ownership(Caller()),
    "seen_requests": _PLATFORM,
    # Who there is, and how they sign in.
    "tokens": _OWN,
    "persons": _OWN,
    "invitations": Ownership(_SIGNED_IN),
    "sign_ins": Ownership(_SIGNED_IN),
    "refresh_tokens": Ownership(Through("sign_ins", {"sign_in": "id"})),
    "authorization_codes": _PLATFORM,
    "device_codes": _PLATFORM,
    "identity_attempts": _PLATFORM,
    "identity_browser_sign_ins": _PLATFORM,
    "identity_keys": _PLATFORM,
    # Roles.
    "rbac_roles": _READ_BY_ALL,
    "rbac_inheritance": _READ_BY_ALL,
    "rbac_permissions": _READ_BY_ALL,
    "rbac_grants": _READ_BY_ALL,
    "rbac_exclusions": _READ_BY_ALL,
    "rbac_exclusion_roles": _READ_BY_ALL,
    "rbac_users": Ownership(Through("persons", {"name": "id"}), Nobody()),
    "rbac_assignments": Ownership(Through("persons", {"user": "id"}), Nobody()),
    "rbac_sessions": Ownership(Through("persons", {"user": "id"})),
    "rbac_active_roles": Ownership(Through("rbac_sessions", {"session": "id"})),
    "rbac_usage": _PLATFORM,
    "rbac_installed": _PLATFORM,
    # Approvals.
    "approval_requests": Ownership(AnyOf(Own(), Through("approval_scopes", {"id": "request"})), Nobody()),
    "approval_scopes": Ownership(Scoped(), Nobody()),
    "approval_decisions": Ownership(Through("approval_requests", {"request": "id"}), Nobody()),
    "approval_policies": _READ_BY_ALL,
    "approval_founding": _READ_BY_ALL,
    "approval_windows": Ownership(Own(), Nobody()),
    "approval_uses": Ownership(Through("approval_windows", {"window": "id"}), Nobody()),
    # The audit log.
    "audit_entries": Ownership(AnyOf(Own(), InProject()), Nobody()),
    "audit_tree": _READ_BY_ALL,
    "audit_checkpoints": _READ_BY_ALL,
    "audit_keys": _PLATFORM,
    # Sealing.
    "data_keys": _PLATFORM,
}
"""Name of a table to whose its rows are."""
