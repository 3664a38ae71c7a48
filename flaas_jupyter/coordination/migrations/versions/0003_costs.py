"""Bills: charges in FOCUS columns with their roll-up, cloud accounts, budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("bill_coverage", "bill_imports", "charges", "cloud_accounts", "cost_rollups", "project_budgets")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "bill_coverage",
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("delivered", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_bill_coverage_organisation_organisations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation", "source", "day", name=op.f("pk_bill_coverage")),
    )
    op.create_table(
        "bill_imports",
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("delivered", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_bill_imports_organisation_organisations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation", "name", name=op.f("pk_bill_imports")),
    )
    op.create_table(
        "charges",
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("line", sa.LargeBinary(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("delivered", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("billed_micro", sa.BigInteger(), nullable=False),
        sa.Column("billed_femto", sa.BigInteger(), nullable=False),
        sa.Column("effective_micro", sa.BigInteger(), nullable=False),
        sa.Column("effective_femto", sa.BigInteger(), nullable=False),
        sa.Column("list_micro", sa.BigInteger(), nullable=False),
        sa.Column("list_femto", sa.BigInteger(), nullable=False),
        sa.Column("availability_zone", sa.String(), nullable=True),
        sa.Column("billing_account_id", sa.String(), nullable=False),
        sa.Column("billing_account_name", sa.String(), nullable=True),
        sa.Column("billing_currency", sa.String(), nullable=False),
        sa.Column("billing_period_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("billing_period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("charge_category", sa.String(), nullable=False),
        sa.Column("charge_class", sa.String(), nullable=True),
        sa.Column("charge_description", sa.String(), nullable=True),
        sa.Column("charge_frequency", sa.String(), nullable=True),
        sa.Column("charge_period_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("charge_period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("consumed_quantity", sa.String(), nullable=True),
        sa.Column("consumed_unit", sa.String(), nullable=True),
        sa.Column("contracted_cost", sa.String(), nullable=True),
        sa.Column("invoice_issuer_name", sa.String(), nullable=True),
        sa.Column("pricing_category", sa.String(), nullable=True),
        sa.Column("pricing_quantity", sa.String(), nullable=True),
        sa.Column("pricing_unit", sa.String(), nullable=True),
        sa.Column("provider_name", sa.String(), nullable=False),
        sa.Column("publisher_name", sa.String(), nullable=True),
        sa.Column("region_id", sa.String(), nullable=True),
        sa.Column("region_name", sa.String(), nullable=True),
        sa.Column("resource_id", sa.String(), nullable=True),
        sa.Column("resource_name", sa.String(), nullable=True),
        sa.Column("resource_type", sa.String(), nullable=True),
        sa.Column("service_category", sa.String(), nullable=False),
        sa.Column("service_name", sa.String(), nullable=False),
        sa.Column("sku_id", sa.String(), nullable=True),
        sa.Column("sku_price_id", sa.String(), nullable=True),
        sa.Column("sub_account_id", sa.String(), nullable=True),
        sa.Column("sub_account_name", sa.String(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_charges_organisation_organisations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation", "source", "line", "ordinal", name=op.f("pk_charges")),
    )
    op.create_index("ix_charges_organisation_day", "charges", ["organisation", "day", "source"], unique=False)
    op.create_table(
        "cloud_accounts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("sealed", sa.String(), nullable=False),
        sa.Column("identity", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("permissions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("overlays", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fetch_state", sa.String(), nullable=False),
        sa.Column("fetch_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fetch_from", sa.Date(), nullable=True),
        sa.Column("fetch_to", sa.Date(), nullable=True),
        sa.Column("fetch_rows", sa.BigInteger(), nullable=False),
        sa.Column("fetch_problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("fetch_owner", sa.String(), nullable=True),
        sa.Column("fetch_beat", sa.DateTime(timezone=True), nullable=True),
        sa.Column("complete_until", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_cloud_accounts_organisation_organisations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cloud_accounts")),
    )
    op.create_index(op.f("ix_cloud_accounts_organisation"), "cloud_accounts", ["organisation"], unique=False)
    op.create_table(
        "cost_rollups",
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("billed_micro", sa.BigInteger(), nullable=False),
        sa.Column("billed_femto", sa.BigInteger(), nullable=False),
        sa.Column("effective_micro", sa.BigInteger(), nullable=False),
        sa.Column("effective_femto", sa.BigInteger(), nullable=False),
        sa.Column("list_micro", sa.BigInteger(), nullable=False),
        sa.Column("list_femto", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_cost_rollups_organisation_organisations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "organisation",
            "day",
            "source",
            "project",
            "provider",
            "service",
            "node",
            "currency",
            "region",
            "account",
            name=op.f("pk_cost_rollups"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "project_budgets",
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("budget_usd", sa.Double(), nullable=False),
        sa.Column("warn_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.id"],
            name=op.f("fk_project_budgets_organisation_organisations"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name=op.f("fk_project_budgets_project_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organisation", "project", name=op.f("pk_project_budgets")),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in TABLES:
        op.drop_table(name)
