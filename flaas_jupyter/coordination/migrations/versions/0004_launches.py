"""Launches: their machines, single-use enrolments, and the installation's id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _number(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "installation",
        sa.Column("number", sa.Integer(), nullable=False),
        _text("id"),
        sa.PrimaryKeyConstraint("number", name="pk_installation"),
    )
    op.create_table(
        "launches",
        _number("number"),
        _text("id"),
        _text("project"),
        _text("organisation"),
        _text("title", nullable=True),
        _text("template", nullable=True),
        sa.Column("rounds", sa.Integer(), nullable=True),
        sa.Column("hours", sa.Double(), nullable=False),
        sa.Column("accepted_usd", sa.Double(), nullable=False),
        _text("state"),
        sa.Column("ending", sa.Boolean(), nullable=False),
        _json("problem"),
        _time("created"),
        _text("created_by"),
        _time("ends_at"),
        _text("url"),
        _text("run", nullable=True),
        sa.Column("round", sa.Integer(), nullable=True),
        _text("worker", nullable=True),
        _time("lease_until", nullable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_launches_project_projects", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_launches_organisation_organisations"),
        sa.PrimaryKeyConstraint("number", name="pk_launches"),
        sa.UniqueConstraint("id", name="uq_launches_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_launches_project_number", "launches", ["project", "number"])
    op.create_index("ix_launches_state", "launches", ["state"])
    op.create_table(
        "machines",
        _number("launch"),
        _text("node"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        _text("token"),
        _text("provider"),
        _text("account", nullable=True),
        _text("region"),
        _text("instance_type"),
        _text("market"),
        _text("usd_hour"),
        sa.Column("disk_gib", sa.Integer(), nullable=False),
        _json("dataset"),
        _text("state"),
        sa.Column("over", sa.Boolean(), nullable=False),
        _json("problem"),
        sa.Column("user_data", sa.Text(), nullable=True),
        sa.Column("max_minutes", sa.Integer(), nullable=True),
        _text("machine", nullable=True),
        _text("node_id", nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        _time("retry_at", nullable=True),
        _time("called", nullable=True),
        _time("planned"),
        _time("started", nullable=True),
        _time("ended", nullable=True),
        sa.ForeignKeyConstraint(
            ["launch"], ["launches.number"], name="fk_machines_launch_launches", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("launch", "node", "attempt", name="pk_machines"),
        sa.UniqueConstraint("token", name="uq_machines_token"),
    )
    op.create_index("ix_machines_node_id", "machines", ["node_id"])
    op.create_index("ix_machines_over_started", "machines", ["over", "started"])
    op.create_table(
        "enrolments",
        _text("digest"),
        _number("launch"),
        _text("node"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _time("expires"),
        _text("used_by", nullable=True),
        _time("used", nullable=True),
        sa.ForeignKeyConstraint(
            ["launch"], ["launches.number"], name="fk_enrolments_launch_launches", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name="pk_enrolments"),
    )
    op.create_index("ix_enrolments_launch", "enrolments", ["launch"])


def downgrade() -> None:
    """Remove them."""
    for table in ("enrolments", "machines", "launches", "installation"):
        op.drop_table(table)
