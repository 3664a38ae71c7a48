"""What a transaction of PostgreSQL says of its tenant, for the policies to read; it is forgotten with the transaction.

The projects are looked up once, as the transaction begins: a policy that looked them up itself would need a policy to
do so, and so on. Whatever changes who is in which project does so in `scoping.across`, after which they are looked up
again.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from .tenants import Tenant

_SYSTEM = text("SELECT set_config('flaas.system', 'on', true)")
_TENANT = text(
    "SELECT set_config('flaas.system', '', true), set_config('flaas.organisation', :organisation, true), "
    "set_config('flaas.node', :node, true), set_config('flaas.projects', '{}', true)"
)
_PROJECTS = text(
    "SELECT set_config('flaas.projects', (ARRAY(SELECT project FROM project_organisations "
    "WHERE organisation = :organisation) || CAST(:projects AS text[]))::text, true)"
)
_NODE_PROJECTS = text(
    "SELECT set_config('flaas.projects', (ARRAY(SELECT p.project FROM project_organisations p "
    "JOIN node_projects n ON n.project = p.project WHERE p.organisation = :organisation AND n.node = :node) "
    "|| CAST(:projects AS text[]))::text, true)"
)


def enter(connection: Connection, tenant: Tenant) -> None:
    """Say for whom the present transaction of `connection`, one of PostgreSQL, works."""
    if tenant.system:
        connection.execute(_SYSTEM)
        return
    whose = {"organisation": tenant.organisation or "", "node": tenant.node or ""}
    connection.execute(_TENANT, whose)
    query = _PROJECTS if tenant.node is None else _NODE_PROJECTS
    if tenant.node is None:
        del whose["node"]
    connection.execute(query, {**whose, "projects": sorted(tenant.projects)})
