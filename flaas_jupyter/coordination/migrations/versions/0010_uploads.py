"""Sealed uploads: the keys that nodes state for them, and who has opened which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flaas_jupyter.governance.isolation import policies

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLES = ("upload_keys", "uploads")


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Make the tables, and have them isolated."""
    op.create_table(
        "upload_keys",
        _text("node"),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        _time("expires"),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name="fk_upload_keys_node_nodes"),
        sa.PrimaryKeyConstraint("node", name="pk_upload_keys"),
    )
    op.create_table(
        "uploads",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        _text("id"),
        _text("project"),
        _text("node"),
        _text("dataset"),
        sa.Column("size", sa.BigInteger(), nullable=False),
        _text("digest"),
        _text("submitter"),
        _text("created_by"),
        _text("organisation"),
        _time("created"),
        _time("expires"),
        _time("closed", nullable=True),
        _text("outcome", nullable=True),
        sa.Column("reason", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name="fk_uploads_node_nodes"),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_uploads_organisation_organisations"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_uploads_project_projects", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="pk_uploads"),
        sa.UniqueConstraint("id", name="uq_uploads_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_uploads_project", "uploads", ["project"])
    op.create_index("ix_uploads_node", "uploads", ["node"])
    if op.get_context().dialect.name == "postgresql":
        policies.create(op.get_bind(), _TABLES)


def downgrade() -> None:
    """Drop them."""
    for table in reversed(_TABLES):
        op.drop_table(table)
