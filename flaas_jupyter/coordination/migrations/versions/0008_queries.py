"""Queries: questions over the rows of several nodes, and what the owners of data sets let be done with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flaas_jupyter.governance.isolation import policies

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Make the table, and have it isolated."""
    op.create_table(
        "queries",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        _text("id"),
        _text("project"),
        _text("dataset"),
        _text("operation"),
        _text("purpose"),
        _text("via"),
        _text("digest"),
        _text("submitter"),
        sa.Column("participants", sa.JSON(none_as_null=True), nullable=False),
        _text("releaser"),
        _text("created_by"),
        _text("organisation"),
        _time("created"),
        _time("expires"),
        _time("closed", nullable=True),
        _text("outcome", nullable=True),
        sa.Column("steps", sa.Integer(), nullable=True),
        sa.Column("reason", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_queries_organisation_organisations"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_queries_project_projects", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="pk_queries"),
        sa.UniqueConstraint("id", name="uq_queries_id"),
        sqlite_autoincrement=True,
    )
    op.add_column("datasets", sa.Column("operations", sa.JSON(none_as_null=True), nullable=True))
    op.create_index("ix_queries_project", "queries", ["project"])
    if op.get_context().dialect.name == "postgresql":
        policies.create(op.get_bind(), ("queries",))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("datasets", "operations")
    op.drop_table("queries")
