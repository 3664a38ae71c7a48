"""Vertical runs: the column that names the rows of a data set, and what a run reports of its parties."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("datasets", sa.Column("id_column", sa.String(), nullable=True))
    op.add_column("runs", sa.Column("report", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("runs", "report")
    op.drop_column("datasets", "id_column")
