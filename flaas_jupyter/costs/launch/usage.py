"""What machines have cost so far: lifetimes x price at launch, and bytes over the mesh x egress price.

The only figures that are there at once; the clouds' bills come hours to days later. Amounts are exact decimals: an
estimate that is rounded somewhere on the way cannot be compared to the cent.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ..driver import NODE_TAG
from .tables import LaunchedMachine, LaunchRow

COMPUTE, EGRESS = "Compute", "Data transfer"
"""What `daily` calls the two services."""
GB: Final = 10**9
_MICROSECONDS: Final = Decimal(3600 * 1_000_000)
_PART: Final = re.compile(r"-(nic|ip|disk)$")

Transfer = Callable[[str, date], Decimal]
"""Node id, UTC day: USD for what the node sent over the mesh."""


def spent(machines: Sequence[LaunchedMachine], now: datetime) -> Decimal:
    """Return what `machines` have cost up to `now`, in USD."""
    return sum((_cost(row, row.started, _end(row, now)) for row in machines if row.started is not None), Decimal(0))


def daily(
    session: Session,
    organisation: str | None,
    start: date,
    end: date,
    *,
    now: datetime | None = None,
    transfer: Transfer | None = None,
) -> list[dict[str, Any]]:
    """Return the estimate by UTC day and node.

    Parameters
    ----------
    session : Session
        Of the data base with the launches.
    organisation : str, optional
        Whose launches; all with None.
    start, end : date
        From `start` to before `end`.
    now : datetime, optional
        Until when machines that run have run.
    transfer : callable, optional
        What the traffic of nodes costs; nothing without.

    Returns
    -------
    list of dict
        ``day`` (date), ``project``, ``provider``, ``node`` (name), ``service``, ``usd`` (Decimal); sorted.
    """
    now = now or datetime.now(UTC)
    first, last = _midnight(start), min(_midnight(end), now)
    query = (
        select(LaunchedMachine, LaunchRow.project)
        .join(LaunchRow, LaunchRow.number == LaunchedMachine.launch)
        .where(
            LaunchedMachine.started.is_not(None),
            LaunchedMachine.started < last,
            or_(LaunchedMachine.ended.is_(None), LaunchedMachine.ended > first),
        )
    )
    if organisation is not None:
        query = query.where(LaunchRow.organisation == organisation)
    totals: dict[tuple[date, str, str, str, str], Decimal] = defaultdict(Decimal)
    for row, project in session.execute(query):
        assert row.started is not None
        for day, since, until in _days(max(row.started, first), min(_end(row, now), last)):
            totals[day, project, row.provider, row.node, COMPUTE] += _cost(row, since, until)
            if transfer is not None and row.node_id is not None:
                usd = transfer(row.node_id, day)
                if usd:
                    totals[day, project, row.provider, row.node, EGRESS] += usd
    return [
        {"day": day, "project": project, "provider": provider, "node": node, "service": service, "usd": usd}
        for (day, project, provider, node, service), usd in sorted(totals.items())
    ]


def with_nodes(session: Session, organisation: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return charges with the node's tag added where a bill tells the machine but not that tag.

    Azure's query groups by two things, which are the project and the resource. Disks, addresses and network interfaces
    have the name of their machine, and a suffix.
    """
    query = (
        select(LaunchedMachine.machine, LaunchedMachine.node)
        .join(LaunchRow, LaunchRow.number == LaunchedMachine.launch)
        .where(LaunchRow.organisation == organisation, LaunchedMachine.machine.is_not(None))
    )
    nodes = {_name(str(machine)): node for machine, node in session.execute(query)}
    named = []
    for row in rows:
        tags, resource = row["Tags"] or {}, row["ResourceId"]
        node = nodes.get(_PART.sub("", _name(resource))) if resource and NODE_TAG not in tags else None
        named.append(row if node is None else {**row, "Tags": {**tags, NODE_TAG: node}})
    return named


def _name(resource: str) -> str:
    return resource.rsplit("/", 1)[-1].lower()


def _cost(row: LaunchedMachine, since: datetime | None, until: datetime) -> Decimal:
    if since is None or until <= since:
        return Decimal(0)
    return row.price * ((until - since) // timedelta(microseconds=1)) / _MICROSECONDS


def _end(row: LaunchedMachine, now: datetime) -> datetime:
    return row.ended if row.ended is not None else now


def _days(since: datetime, until: datetime) -> Iterator[tuple[date, datetime, datetime]]:
    """Split a span at every UTC midnight."""
    while since < until:
        day = since.astimezone(UTC).date()
        end = min(_midnight(day + timedelta(days=1)), until)
        yield day, since, end
        since = end


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
