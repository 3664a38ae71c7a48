"""Governance: people and sign-ins, roles, approvals, the audit log, data keys, versions of models.

Tokens act in sessions of roles from here on. Those that were issued before had a role written into them that there is
no more; they are void, and the first start afterwards invites an administrator.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flaas_jupyter.governance.audit import guards

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    "approval_founding",
    "approval_requests",
    "audit_checkpoints",
    "audit_entries",
    "audit_keys",
    "audit_tree",
    "data_keys",
    "identity_attempts",
    "identity_keys",
    "rbac_exclusions",
    "rbac_installed",
    "rbac_permissions",
    "rbac_roles",
    "rbac_users",
    "approval_decisions",
    "approval_policies",
    "approval_scopes",
    "approval_windows",
    "model_versions",
    "node_invitations",
    "persons",
    "rbac_assignments",
    "rbac_exclusion_roles",
    "rbac_grants",
    "rbac_inheritance",
    "rbac_sessions",
    "rbac_usage",
    "approval_uses",
    "authorization_codes",
    "device_codes",
    "identity_browser_sign_ins",
    "invitations",
    "rbac_active_roles",
    "sign_ins",
    "refresh_tokens",
)
"""In the order in which they refer to each other."""


def upgrade() -> None:
    """Make the tables."""
    op.drop_table("tokens")
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_tokens_organisation_organisations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_organisation"), "tokens", ["organisation"])
    op.create_index(op.f("ix_tokens_user"), "tokens", ["user"])
    op.create_table(
        "approval_founding",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("closed", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_founding")),
    )
    op.create_table(
        "approval_requests",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("requester", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("factors", sa.JSON(), nullable=False),
        sa.Column("within", sa.JSON(), nullable=False),
        sa.Column("cooling", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("problem", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_requests")),
    )
    op.create_index(op.f("ix_approval_requests_organisation"), "approval_requests", ["organisation"], unique=False)
    op.create_index(op.f("ix_approval_requests_requester"), "approval_requests", ["requester"], unique=False)
    op.create_index(op.f("ix_approval_requests_sha256"), "approval_requests", ["sha256"], unique=False)
    op.create_index(op.f("ix_approval_requests_state"), "approval_requests", ["state"], unique=False)
    op.create_index(
        "uq_approval_requests_pending",
        "approval_requests",
        ["sha256"],
        unique=True,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_checkpoints")),
    )
    op.create_table(
        "audit_entries",
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("actor_kind", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=True),
        sa.Column("project", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("prev", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_entries")),
        sa.UniqueConstraint("prev", name=op.f("uq_audit_entries_prev")),
    )
    op.create_index(op.f("ix_audit_entries_actor"), "audit_entries", ["actor"], unique=False)
    op.create_index(op.f("ix_audit_entries_object"), "audit_entries", ["object"], unique=False)
    op.create_index(op.f("ix_audit_entries_operation"), "audit_entries", ["operation"], unique=False)
    op.create_index(op.f("ix_audit_entries_organisation"), "audit_entries", ["organisation"], unique=False)
    op.create_index(op.f("ix_audit_entries_project"), "audit_entries", ["project"], unique=False)
    op.create_index(op.f("ix_audit_entries_time"), "audit_entries", ["time"], unique=False)
    op.create_table(
        "audit_keys",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sealed", sa.String(), nullable=True),
        sa.Column("succession", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_keys")),
        sa.UniqueConstraint("key", name=op.f("uq_audit_keys_key")),
    )
    op.create_table(
        "audit_tree",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_audit_tree")),
    )
    op.create_table(
        "data_keys",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kek_id", sa.String(), nullable=False),
        sa.Column("wrapped", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("owner", "version", name=op.f("pk_data_keys")),
    )
    op.create_index(op.f("ix_data_keys_kek_id"), "data_keys", ["kek_id"], unique=False)
    op.create_table(
        "identity_attempts",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_identity_attempts")),
    )
    op.create_table(
        "identity_keys",
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("public", sa.String(), nullable=False),
        sa.Column("sealed", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published", sa.DateTime(timezone=True), nullable=False),
        sa.Column("activated", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drop_after", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_identity_keys")),
    )
    op.create_table(
        "rbac_exclusions",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("cardinality", sa.Integer(), nullable=False),
        sa.Column("per_scope", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_rbac_exclusions")),
    )
    op.create_table(
        "rbac_installed",
        sa.Column("item", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("item", name=op.f("pk_rbac_installed")),
    )
    op.create_table(
        "rbac_permissions",
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("description", sa.String(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("operation", "object", name=op.f("pk_rbac_permissions")),
    )
    op.create_table(
        "rbac_roles",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rbac_roles")),
    )
    op.create_table(
        "rbac_users",
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rbac_users")),
    )
    op.create_table(
        "approval_decisions",
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("decider", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("factors", sa.JSON(), nullable=False),
        sa.Column("time", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request"], ["approval_requests.id"], name=op.f("fk_approval_decisions_request_approval_requests")
        ),
        sa.PrimaryKeyConstraint("request", "decider", name=op.f("pk_approval_decisions")),
    )
    op.create_table(
        "approval_policies",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.Column("request", sa.String(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request"], ["approval_requests.id"], name=op.f("fk_approval_policies_request_approval_requests")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_approval_policies")),
    )
    op.create_table(
        "approval_scopes",
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request"], ["approval_requests.id"], name=op.f("fk_approval_scopes_request_approval_requests")
        ),
        sa.PrimaryKeyConstraint("request", "scope", name=op.f("pk_approval_scopes")),
    )
    op.create_table(
        "approval_windows",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("opened", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["id"], ["approval_requests.id"], name=op.f("fk_approval_windows_id_approval_requests")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_windows")),
    )
    op.create_index(op.f("ix_approval_windows_closes"), "approval_windows", ["closes"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name=op.f("fk_model_versions_project_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
    )
    op.create_index("ix_model_versions_project_digest", "model_versions", ["project", "digest"], unique=False)
    op.create_table(
        "node_invitations",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_by", sa.String(), nullable=True),
        sa.Column("used", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_node_invitations_organisation_organisations"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name=op.f("fk_node_invitations_project_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_node_invitations")),
    )
    op.create_index(op.f("ix_node_invitations_organisation"), "node_invitations", ["organisation"], unique=False)
    op.create_index(op.f("ix_node_invitations_project"), "node_invitations", ["project"], unique=False)
    op.create_table(
        "persons",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("login", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("email", sa.String(), nullable=True),
        sa.Column("password", sa.String(), nullable=True),
        sa.Column("password_changed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("approval_key", sa.String(), nullable=True),
        sa.Column("approval_key_changed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_persons_organisation_organisations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_persons")),
        sa.UniqueConstraint("approval_key", name=op.f("uq_persons_approval_key")),
        sa.UniqueConstraint("login", name=op.f("uq_persons_login")),
    )
    op.create_index(op.f("ix_persons_organisation"), "persons", ["organisation"], unique=False)
    op.create_table(
        "rbac_assignments",
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("assigned", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["role"], ["rbac_roles.name"], name=op.f("fk_rbac_assignments_role_rbac_roles"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user"], ["rbac_users.name"], name=op.f("fk_rbac_assignments_user_rbac_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user", "role", "scope", name=op.f("pk_rbac_assignments")),
    )
    op.create_index("ix_rbac_assignments_role", "rbac_assignments", ["role", "user"], unique=False)
    op.create_table(
        "rbac_exclusion_roles",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("exclusion", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["kind", "exclusion"],
            ["rbac_exclusions.kind", "rbac_exclusions.name"],
            name="fk_rbac_exclusion_roles_exclusion",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["role"], ["rbac_roles.name"], name=op.f("fk_rbac_exclusion_roles_role_rbac_roles"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("kind", "exclusion", "role", name=op.f("pk_rbac_exclusion_roles")),
    )
    op.create_index(op.f("ix_rbac_exclusion_roles_role"), "rbac_exclusion_roles", ["role"], unique=False)
    op.create_table(
        "rbac_grants",
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["operation", "object"],
            ["rbac_permissions.operation", "rbac_permissions.object"],
            name="fk_rbac_grants_permission",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["role"], ["rbac_roles.name"], name=op.f("fk_rbac_grants_role_rbac_roles"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("role", "operation", "object", name=op.f("pk_rbac_grants")),
    )
    op.create_index("ix_rbac_grants_permission", "rbac_grants", ["operation", "object", "role"], unique=False)
    op.create_table(
        "rbac_inheritance",
        sa.Column("ascendant", sa.String(), nullable=False),
        sa.Column("descendant", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ascendant"],
            ["rbac_roles.name"],
            name=op.f("fk_rbac_inheritance_ascendant_rbac_roles"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["descendant"],
            ["rbac_roles.name"],
            name=op.f("fk_rbac_inheritance_descendant_rbac_roles"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("ascendant", "descendant", name=op.f("pk_rbac_inheritance")),
    )
    op.create_index(op.f("ix_rbac_inheritance_descendant"), "rbac_inheritance", ["descendant"], unique=False)
    op.create_table(
        "rbac_sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fixed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user"], ["rbac_users.name"], name=op.f("fk_rbac_sessions_user_rbac_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rbac_sessions")),
    )
    op.create_index(op.f("ix_rbac_sessions_expires"), "rbac_sessions", ["expires"], unique=False)
    op.create_index(op.f("ix_rbac_sessions_user"), "rbac_sessions", ["user"], unique=False)
    op.create_table(
        "rbac_usage",
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("last_used", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["role"], ["rbac_roles.name"], name=op.f("fk_rbac_usage_role_rbac_roles"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("role", "scope", "operation", "object", name=op.f("pk_rbac_usage")),
    )
    op.create_table(
        "approval_uses",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("window", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["window"], ["approval_windows.id"], name=op.f("fk_approval_uses_window_approval_windows")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_approval_uses")),
    )
    op.create_index(op.f("ix_approval_uses_window"), "approval_uses", ["window"], unique=False)
    op.create_table(
        "authorization_codes",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=False),
        sa.Column("redirect_uri", sa.String(), nullable=False),
        sa.Column("challenge", sa.String(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=True),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("authenticated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sign_in", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"], ["persons.id"], name=op.f("fk_authorization_codes_person_persons"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_authorization_codes")),
    )
    op.create_index(op.f("ix_authorization_codes_expires"), "authorization_codes", ["expires"], unique=False)
    op.create_table(
        "device_codes",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("user_code", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("interval", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("polled", sa.DateTime(timezone=True), nullable=True),
        sa.Column("person", sa.String(), nullable=True),
        sa.Column("authenticated", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"], ["persons.id"], name=op.f("fk_device_codes_person_persons"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_device_codes")),
        sa.UniqueConstraint("user_code", name=op.f("uq_device_codes_user_code")),
    )
    op.create_index(op.f("ix_device_codes_expires"), "device_codes", ["expires"], unique=False)
    op.create_table(
        "identity_browser_sign_ins",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("authenticated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["person"], ["persons.id"], name=op.f("fk_identity_browser_sign_ins_person_persons"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_identity_browser_sign_ins")),
    )
    op.create_index(
        op.f("ix_identity_browser_sign_ins_expires"), "identity_browser_sign_ins", ["expires"], unique=False
    )
    op.create_table(
        "invitations",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["person"], ["persons.id"], name=op.f("fk_invitations_person_persons"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_invitations")),
    )
    op.create_index(op.f("ix_invitations_person"), "invitations", ["person"], unique=False)
    op.create_table(
        "rbac_active_roles",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["role"], ["rbac_roles.name"], name=op.f("fk_rbac_active_roles_role_rbac_roles"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session"],
            ["rbac_sessions.id"],
            name=op.f("fk_rbac_active_roles_session_rbac_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session", "role", "scope", name=op.f("pk_rbac_active_roles")),
    )
    op.create_index(op.f("ix_rbac_active_roles_role"), "rbac_active_roles", ["role"], unique=False)
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("authenticated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"], ["persons.id"], name=op.f("fk_sign_ins_person_persons"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ins")),
        sa.UniqueConstraint("session", name=op.f("uq_sign_ins_session")),
    )
    op.create_index(op.f("ix_sign_ins_expires"), "sign_ins", ["expires"], unique=False)
    op.create_index(op.f("ix_sign_ins_person"), "sign_ins", ["person"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("sign_in", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["sign_in"], ["sign_ins.id"], name=op.f("fk_refresh_tokens_sign_in_sign_ins"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_refresh_tokens")),
    )
    op.create_index(op.f("ix_refresh_tokens_sign_in"), "refresh_tokens", ["sign_in"], unique=False)
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("quarantined", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("quarantine_reason", sa.String(), nullable=True))
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("resumed", sa.DateTime(timezone=True), nullable=True))
    guards.install_guards(op.get_bind())


def downgrade() -> None:
    """Drop them; tokens are void again."""
    guards.remove_guards(op.get_bind())
    op.drop_column("nodes", "quarantined")
    op.drop_column("nodes", "quarantine_reason")
    op.drop_column("runs", "resumed")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_table("tokens")
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name=op.f("fk_tokens_organisation_organisations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_organisation"), "tokens", ["organisation"])
