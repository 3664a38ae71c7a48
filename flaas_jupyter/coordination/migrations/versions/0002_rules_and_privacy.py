"""Rules with options, and differential privacy: fields of runs and round reports, which are stored as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_RUNS = sa.table("runs", sa.column("number", sa.BigInteger), sa.column("request", sa.JSON))
_ROUNDS = sa.table(
    "rounds", sa.column("run", sa.BigInteger), sa.column("number", sa.Integer), sa.column("report", sa.JSON)
)


def upgrade() -> None:
    """Add the fields to what was stored before there were any: no options, no privacy."""
    _change(_RUNS, ["number"], "request", lambda run: {"aggregation_options": {}, "privacy": None, **run})
    _change(
        _ROUNDS,
        ["run", "number"],
        "report",
        lambda report: {
            "epsilon": None,
            **report,
            "clients": [{"columns": {}, **client} for client in report["clients"]],
        },
    )


def downgrade() -> None:
    """Take the fields away again."""
    _change(_RUNS, ["number"], "request", lambda run: _without(run, "aggregation_options", "privacy"))
    _change(
        _ROUNDS,
        ["run", "number"],
        "report",
        lambda report: {
            **_without(report, "epsilon"),
            "clients": [_without(client, "columns") for client in report["clients"]],
        },
    )


def _change(
    table: sa.TableClause, keys: list[str], column: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    connection = op.get_bind()
    for key in connection.execute(sa.select(*(table.c[name] for name in keys))).all():
        this = sa.and_(*(table.c[name] == value for name, value in zip(keys, key, strict=True)))
        stored = connection.execute(sa.select(table.c[column]).where(this)).scalar_one()
        connection.execute(sa.update(table).where(this).values({column: change(stored)}))


def _without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: entry for name, entry in value.items() if name not in names}
