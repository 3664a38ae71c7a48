"""The network documents of projects, how nodes are connected, and signals between nodes among the events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from flaas_jupyter.governance.isolation import policies

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TABLES = ("networks", "mesh_links")
_SIGNALS = sa.text("type = 'mesh.dial'")


def upgrade() -> None:
    """Make the tables, and have them isolated."""
    op.create_table(
        "networks",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_networks_project_projects", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project", name="pk_networks"),
    )
    op.create_table(
        "mesh_links",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("reported", sa.DateTime(timezone=True), nullable=False),
        sa.Column("links", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.id"], name="fk_mesh_links_node_nodes"),
        sa.PrimaryKeyConstraint("node", name="pk_mesh_links"),
    )
    op.create_index("ix_events_mesh_dial", "events", ["time"], sqlite_where=_SIGNALS, postgresql_where=_SIGNALS)
    if op.get_context().dialect.name == "postgresql":
        policies.create(op.get_bind(), _TABLES)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_events_mesh_dial", "events")
    for table in reversed(_TABLES):
        op.drop_table(table)
