"""Recipes of projects in versions, and what owners declare of columns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flaas_jupyter.governance.isolation import policies

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and have it isolated."""
    texts = ("id", "project", "name", "kind", "digest", "created_by", "organisation")
    op.create_table(
        "recipes",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in texts),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_recipes_organisation_organisations"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_recipes_project_projects", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name="pk_recipes"),
        sa.UniqueConstraint("id", name="uq_recipes_id"),
        sa.UniqueConstraint("project", "name", "version", name="uq_recipes_project_name_version"),
        sqlite_autoincrement=True,
    )
    op.add_column("datasets", sa.Column("declared", sa.JSON(none_as_null=True), nullable=True))
    if op.get_context().dialect.name == "postgresql":
        policies.create(op.get_bind(), ("recipes",))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("datasets", "declared")
    op.drop_table("recipes")
