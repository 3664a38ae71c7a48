"""Revocations, documents that more holders of a domain key must sign, and nodes that go over to a new key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flaas_jupyter.governance.isolation import policies

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLES = ("revocations", "pending_documents", "rotations")


def upgrade() -> None:
    """Make the tables, and have them isolated."""
    op.create_table(
        "revocations",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name="fk_revocations_project_projects", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project", "node", name="pk_revocations"),
    )
    op.create_index("ix_revocations_node", "revocations", ["node"])
    op.create_table(
        "pending_documents",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name="fk_pending_documents_project_projects", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project", "digest", name="pk_pending_documents"),
    )
    op.create_table(
        "rotations",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("new", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name="fk_rotations_node_nodes"),
        sa.PrimaryKeyConstraint("node", name="pk_rotations"),
        sa.UniqueConstraint("new", name="uq_rotations_new"),
    )
    if op.get_context().dialect.name == "postgresql":
        policies.create(op.get_bind(), _TABLES)


def downgrade() -> None:
    """Drop them."""
    for table in reversed(_TABLES):
        op.drop_table(table)
