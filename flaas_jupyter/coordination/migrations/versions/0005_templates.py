"""Templates and prices of an organisation's own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cost_templates",
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("template", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], ondelete="CASCADE",
                                name=op.f("fk_cost_templates_organisation_organisations")),
        sa.PrimaryKeyConstraint("organisation", "name", name=op.f("pk_cost_templates")),
    )  # fmt: skip
    op.create_table(
        "cost_prices",
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("instance_type", sa.String(), nullable=False),
        sa.Column("market", sa.String(), nullable=False),
        sa.Column("usd_hour", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], ondelete="CASCADE",
                                name=op.f("fk_cost_prices_organisation_organisations")),
        sa.PrimaryKeyConstraint("organisation", "provider", "region", "instance_type", "market",
                                name=op.f("pk_cost_prices")),
    )  # fmt: skip


def downgrade() -> None:
    """Drop them."""
    op.drop_table("cost_prices")
    op.drop_table("cost_templates")
