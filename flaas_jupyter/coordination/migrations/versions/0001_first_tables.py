"""The first tables: organisations, tokens, projects, nodes, data sets, runs, events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "idempotency",
    "organisations",
    "projects",
    "seen_requests",
    "events",
    "memberships",
    "nodes",
    "project_organisations",
    "runs",
    "tokens",
    "assignments",
    "datasets",
    "node_projects",
    "records",
    "rounds",
    "dataset_projects",
)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created", "idempotency", ["created"])

    op.create_table(
        "organisations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organisations"),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("domain_key", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.create_table(
        "seen_requests",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("jti", sa.String(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("node", "jti", name="pk_seen_requests"),
    )
    op.create_index("ix_seen_requests_expires", "seen_requests", ["expires"])

    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=True),
        sa.Column("node", sa.String(), nullable=True),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_events_project_projects", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_project_id", "events", ["project", "id"])
    op.create_index("ix_events_run_id", "events", ["run", "id"])

    op.create_table(
        "memberships",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name="fk_memberships_project_projects", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project", "node", name="pk_memberships"),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("registered", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("stream", sa.String(), nullable=True),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_nodes_organisation_organisations"),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
    )
    op.create_index("ix_nodes_online", "nodes", ["online"])
    op.create_index("ix_nodes_stream", "nodes", ["stream"])
    op.create_index(
        "uq_nodes_organisation_name",
        "nodes",
        ["organisation", "name"],
        unique=True,
        sqlite_where=sa.text("removed IS NULL"),
        postgresql_where=sa.text("removed IS NULL"),
    )

    op.create_table(
        "project_organisations",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name="fk_project_organisations_organisation_organisations"
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name="fk_project_organisations_project_projects", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project", "organisation", name="pk_project_organisations"),
    )
    op.create_index("ix_project_organisations_organisation", "project_organisations", ["organisation"])

    op.create_table(
        "runs",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("dataset", sa.String(), nullable=False),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("term", sa.Integer(), nullable=False),
        sa.Column("aggregator", sa.String(), nullable=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gather_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_runs_organisation_organisations"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_runs_project_projects", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="pk_runs"),
        sa.UniqueConstraint("id", name="uq_runs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_project", "runs", ["project"])
    op.create_index("ix_runs_state", "runs", ["state"])

    op.create_table(
        "tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_tokens_organisation_organisations"),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    op.create_index("ix_tokens_organisation", "tokens", ["organisation"])

    op.create_table(
        "assignments",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name="fk_assignments_node_nodes"),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_assignments_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "node", name="pk_assignments"),
    )
    op.create_index("ix_assignments_node", "assignments", ["node"])

    op.create_table(
        "datasets",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("features", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("target", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name="fk_datasets_node_nodes"),
        sa.PrimaryKeyConstraint("node", "name", name="pk_datasets"),
    )
    op.create_table(
        "node_projects",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name="fk_node_projects_node_nodes"),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name="fk_node_projects_project_projects", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("node", "project", name="pk_node_projects"),
    )
    op.create_index("ix_node_projects_project", "node_projects", ["project"])

    op.create_table(
        "records",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name="fk_records_node_nodes"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_records_project_projects", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project", "node", name="pk_records"),
    )
    op.create_index("ix_records_node", "records", ["node"])

    op.create_table(
        "rounds",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("term", sa.Integer(), nullable=False),
        sa.Column("report", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_rounds_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "number", name="pk_rounds"),
    )
    op.create_table(
        "dataset_projects",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node", "name"],
            ["datasets.node", "datasets.name"],
            name="fk_dataset_projects_node_datasets",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name="fk_dataset_projects_project_projects", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("node", "name", "project", name="pk_dataset_projects"),
    )
    op.create_index("ix_dataset_projects_project_name", "dataset_projects", ["project", "name"])


def downgrade() -> None:
    """Remove them."""
    # Referring tables first; their indices go with them.
    for table in reversed(TABLES):
        op.drop_table(table)
