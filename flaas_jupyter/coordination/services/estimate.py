"""The live estimate: machines by their lifetimes, and what their nodes sent by the price of traffic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ...costs.billing.summary import Daily
from ...costs.egress import EgressTable
from ...costs.launch import usage
from ...costs.launch.tables import LaunchedMachine, LaunchRow
from ...governance.isolation import across
from ..tables import Assignment, Round, Run

Place = tuple[str, str]
"""Provider and region."""
Sent = tuple[str, date, int, frozenset[str]]
"""Node, UTC day, bytes that it sent in a round, and all who took part in that round."""

_INTERNET = {"provider": "internet", "region": ""}
_AT_ONCE = 500


def estimate(egress: EgressTable) -> Daily:
    """Return the estimate by day, with traffic at the prices of `egress`."""

    def daily(session: Session, organisation: str | None, start: date, end: date) -> list[dict[str, Any]]:
        with across(session, "where peers stand decides what traffic costs; one's own costs alone are told"):
            transfers = Transfers(session, organisation, start, end, egress)
        return usage.daily(session, organisation, start, end, transfer=transfers.usd)

    return daily


class Transfers:
    """What launched nodes sent over the mesh in a window of days, and what that costs.

    A node's peers are told by the round, what went to which of them is not. So everything costs what the internet
    costs, unless all who took part are machines in one region (nothing), or of one provider (the dearest of its prices
    between their regions). Gigabytes that a cloud gives for free are not taken off: they are the whole account's.

    Parameters
    ----------
    session : Session
        Of the data base with launches and rounds; both are read here, by two queries.
    organisation : str, optional
        Whose machines; all with None.
    start, end : date
        From `start` to before `end`.
    egress : EgressTable
    """

    def __init__(self, session: Session, organisation: str | None, start: date, end: date, egress: EgressTable) -> None:
        self._egress = egress
        self._places = _places(session, organisation)
        self._prices: dict[tuple[Place, frozenset[Place | None]], Decimal] = {}
        self._usd: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
        if self._places:
            for node, day, size, members in sent(session, start, end):
                place = self._places.get(node)
                if place is not None:
                    self._usd[node, day] += self._price(place, members - {node}) * size / usage.GB

    def usd(self, node: str, day: date) -> Decimal:
        """Return USD for what a node sent on a UTC day."""
        return self._usd.get((node, day), Decimal(0))

    def _price(self, place: Place, peers: Iterable[str]) -> Decimal:
        """Return USD per GB that leaves a machine at `place`."""
        places = frozenset(self._places.get(peer) for peer in peers)
        key = (place, places)
        if key not in self._prices:
            prices = [self._egress.price(_candidate(place), target) for target in self._targets(place, places)]
            self._prices[key] = Decimal(str(max(prices, default=0.0)))
        return self._prices[key]

    @staticmethod
    def _targets(place: Place, peers: frozenset[Place | None]) -> list[dict[str, str]]:
        known = [peer for peer in peers if peer is not None and peer[0] == place[0]]
        return [_candidate(peer) for peer in known] if len(known) == len(peers) else [_INTERNET]


def sent(session: Session, start: date, end: date) -> Iterator[Sent]:
    """Yield what nodes sent in each round from `start` to before `end`, of all runs with a launched machine.

    A report tells what the round's aggregator received and sent: the former is shared among the other clients. A round
    counts for the UTC day in which it began.
    """
    first, last = _midnight(start), _midnight(end)
    launched = select(Assignment.run).join(LaunchedMachine, LaunchedMachine.node_id == Assignment.node)
    query = (
        select(Round.report, Round.aggregator)
        .join(Run, Run.number == Round.run)
        .where(Run.number.in_(launched), Run.created < last, or_(Run.ended.is_(None), Run.ended >= first))
    )
    for report, aggregator in session.execute(query, execution_options={"yield_per": _AT_ONCE}):
        day = datetime.fromisoformat(report["started"]).astimezone(UTC).date()
        if not start <= day < end:
            continue
        clients = [client["node"] for client in report["clients"]]
        others = [node for node in clients if node != aggregator]
        members = frozenset([*clients, aggregator] if aggregator else clients)
        for node in others:
            yield node, day, report["bytes"]["up"] // len(others), members
        if aggregator:
            yield aggregator, day, report["bytes"]["down"], members


def _places(session: Session, organisation: str | None) -> dict[str, Place]:
    """Return where launched nodes stand: those of all organisations, if `organisation` has any."""
    query = (
        select(LaunchedMachine.node_id, LaunchedMachine.provider, LaunchedMachine.region, LaunchRow.organisation)
        .join(LaunchRow, LaunchRow.number == LaunchedMachine.launch)
        .where(LaunchedMachine.node_id.is_not(None))
    )
    rows = session.execute(query).all()
    if organisation is not None and all(row[3] != organisation for row in rows):
        return {}
    return {str(node): (provider, region) for node, provider, region, _ in rows}


def _candidate(place: Place) -> dict[str, str]:
    return {"provider": place[0], "region": place[1]}


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
