"""Who led each round: what a node sent is counted to it also when another node leads the run since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of rounds before, the run's last leader is what is known."""
    op.add_column("rounds", sa.Column("aggregator", sa.String(), nullable=True))
    op.execute("UPDATE rounds SET aggregator = (SELECT aggregator FROM runs WHERE runs.number = rounds.run)")


def downgrade() -> None:
    """Drop it."""
    op.drop_column("rounds", "aggregator")
