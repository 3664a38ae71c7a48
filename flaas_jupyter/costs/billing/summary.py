"""What the dashboard asks: sums of the roll-up by one key and by day, always apart by currency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import REAL, Float, case, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from . import money
from .rollup import counted
from .tables import CostRollup

GroupBy = Literal["project", "provider", "service", "node", "day"]
Daily = Callable[[Session, str | None, date, date], list[dict[str, Any]]]
"""The estimate: session, organisation (all with None), first day, day after the last; see `launch.usage.daily`."""

OTHERS = "(others)"
MOST_KEYS = 30
"""Days are told for so many keys; the rest of a day is told under `OTHERS`."""

_KEYS: Mapping[GroupBy, InstrumentedAttribute[Any]] = {
    "project": CostRollup.project,
    "provider": CostRollup.provider,
    "service": CostRollup.service,
    "node": CostRollup.node,
    "day": CostRollup.day,
}


@dataclass(frozen=True)
class Scope:
    """Which part of the bills is looked at: days from `start` to before `end`; None stands for all."""

    organisation: str | None
    start: date
    end: date
    project: str | None = None
    provider: str | None = None

    def narrowed(self, session: Session, query: Any) -> Any:
        """Return a query on the roll-up for this part only."""
        query = query.where(CostRollup.day >= self.start, CostRollup.day < self.end)
        query = query.where(counted(session, CostRollup, self.organisation, self.start, self.end))
        for column, value in (
            (CostRollup.organisation, self.organisation),
            (CostRollup.project, self.project),
            (CostRollup.provider, self.provider),
        ):
            if value is not None:
                query = query.where(column == value)
        return query

    def covers(self, entry: Mapping[str, Any]) -> bool:
        """Tell whether an entry of the estimate belongs to it."""
        return (self.project is None or entry["project"] == self.project) and (
            self.provider is None or entry["provider"] == self.provider
        )


@dataclass(frozen=True)
class Total:
    """What was billed for one key in one currency.

    `elsewhere` is the part that carries no node's tag: machines that were not launched here, and what no machine is.
    """

    key: str
    currency: str
    billed: Decimal
    effective: Decimal
    list: Decimal
    elsewhere: Decimal
    rows: int


def _sum(stem: str, only: Any = None) -> tuple[Any, Any]:
    """Return the sums of both parts as floating point: whole numbers below 2⁵³ add up exactly, larger ones do not fail.

    So amounts are exact to 10⁻¹⁵ up to nine thousand million of a currency.
    """
    parts = []
    for part in ("micro", "femto"):
        column = cast(getattr(CostRollup, f"{stem}_{part}"), Float(53).with_variant(REAL(), "sqlite"))
        parts.append(func.sum(column if only is None else case((only, column), else_=0.0)))
    return parts[0], parts[1]


def totals(session: Session, scope: Scope, group: GroupBy) -> list[Total]:
    """Return what was billed by key and currency, the largest first."""
    key = _KEYS[group]
    query = select(
        key, CostRollup.currency, *_sum("billed"), *_sum("effective"), *_sum("list"),
        *_sum("billed", CostRollup.node == ""), func.sum(CostRollup.rows),
    )  # fmt: skip
    query = scope.narrowed(session, query).group_by(key, CostRollup.currency)
    found = [
        Total(
            str(row[0]), row[1], money.amount(row[2], row[3]), money.amount(row[4], row[5]),
            money.amount(row[6], row[7]), money.amount(row[8], row[9]), int(row[10]),
        )
        for row in session.execute(query)
    ]  # fmt: skip
    return sorted(found, key=lambda total: (-total.billed, total.key, total.currency))


def days(session: Session, scope: Scope, group: GroupBy, shown: set[str]) -> list[dict[str, Any]]:
    """Return what was billed by day, key and currency; keys that are not among `shown` go together."""
    key: Any = _KEYS[group]
    if group == "day":
        key = CostRollup.day
    elif len(shown) >= MOST_KEYS:
        key = case((key.in_(sorted(shown)), key), else_=OTHERS)
    label = key.label("grouped")
    query = scope.narrowed(session, select(CostRollup.day, label, CostRollup.currency, *_sum("billed")))
    query = query.group_by(CostRollup.day, label, CostRollup.currency).order_by(CostRollup.day)
    return [
        {"day": day, "key": str(each), "currency": currency, "billed": money.amount(micro, femto)}
        for day, each, currency, micro, femto in session.execute(query)
    ]


def without_project(session: Session, scope: Scope) -> list[tuple[str, Decimal]]:
    """Return what was billed without a project's tag, by currency."""
    query = scope.narrowed(session, select(CostRollup.currency, *_sum("billed")).where(CostRollup.project == ""))
    query = query.group_by(CostRollup.currency).order_by(CostRollup.currency)
    return [(currency, money.amount(micro, femto)) for currency, micro, femto in session.execute(query)]


def estimated(entries: list[dict[str, Any]], scope: Scope, group: GroupBy) -> dict[str, Decimal]:
    """Return the estimate by key, in USD."""
    sums: dict[str, Decimal] = {}
    for entry in entries:
        if scope.covers(entry):
            key = str(entry[group])
            sums[key] = sums.get(key, Decimal(0)) + Decimal(str(entry["usd"]))
    return sums
