"""Row-level security: PostgreSQL itself holds each tenant to its own rows. SQLite has none."""

from __future__ import annotations

from alembic import op

from flaas_jupyter.governance.isolation import policies

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = (
    "approval_decisions",
    "approval_founding",
    "approval_policies",
    "approval_requests",
    "approval_scopes",
    "approval_uses",
    "approval_windows",
    "assignments",
    "audit_checkpoints",
    "audit_entries",
    "audit_keys",
    "audit_tree",
    "authorization_codes",
    "bill_coverage",
    "bill_imports",
    "charges",
    "cloud_accounts",
    "cost_prices",
    "cost_rollups",
    "cost_templates",
    "data_keys",
    "dataset_projects",
    "datasets",
    "device_codes",
    "enrolments",
    "events",
    "idempotency",
    "identity_attempts",
    "identity_browser_sign_ins",
    "identity_keys",
    "installation",
    "invitations",
    "launches",
    "machines",
    "memberships",
    "model_versions",
    "node_invitations",
    "node_projects",
    "nodes",
    "organisations",
    "persons",
    "project_budgets",
    "project_organisations",
    "projects",
    "rbac_active_roles",
    "rbac_assignments",
    "rbac_exclusion_roles",
    "rbac_exclusions",
    "rbac_grants",
    "rbac_inheritance",
    "rbac_installed",
    "rbac_permissions",
    "rbac_roles",
    "rbac_sessions",
    "rbac_usage",
    "rbac_users",
    "records",
    "refresh_tokens",
    "rounds",
    "runs",
    "seen_requests",
    "sign_ins",
    "tokens",
)
"""The tables that there are by now; a later migration that makes one isolates it in the same way."""


def upgrade() -> None:
    """Have the tables isolated."""
    if op.get_context().dialect.name == "postgresql":
        policies.create(op.get_bind(), TABLES)


def downgrade() -> None:
    """Take the policies off."""
    if op.get_context().dialect.name == "postgresql":
        policies.drop(op.get_bind(), TABLES)
