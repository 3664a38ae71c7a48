"""The roll-up of charges: it changes with them, in the same transaction, by exactly what they change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, String, cast, delete, insert, or_, select, true
from sqlalchemy.orm import Session

from .tables import BillCoverage, Charge, CostRollup

FILES = "files"
"""The source of all imported files: what two of them both hold is there once."""

Key = tuple[date, str, str, str, str, str, str, str]
"""Day, project, provider, service, node, currency, region, account."""

AMOUNTS = ("billed_micro", "billed_femto", "effective_micro", "effective_femto", "list_micro", "list_femto")
_KEY = ("day", "project", "provider", "service", "node", "currency", "region", "account")
_SUMS = ("rows", *AMOUNTS)
_CHUNK = 500

CHARGE_COLUMNS = (
    Charge.day, Charge.project, Charge.provider, Charge.service_name, Charge.node, Charge.billing_currency,
    Charge.region_id, Charge.account, *(getattr(Charge, name) for name in AMOUNTS),
)  # fmt: skip
"""What `Change.take_away` is given of a charge, in order."""


def counted(
    session: Session, table: type[Charge] | type[CostRollup], organisation: str | None, start: date, end: date
) -> ColumnElement[bool]:
    """Return the condition for what counts of a table, from `start` to before `end`.

    A cloud's account may be fetched, and its bill be imported from a file as well. On days of which the fetch tells
    anything, it counts and the file does not. Where there are not both, nothing has to be looked at row by row.
    """
    for either, further in ((BillCoverage, None), (CostRollup, CostRollup.source == FILES)):
        some = select(either.day).where(either.day >= start, either.day < end)
        if organisation is not None:
            some = some.where(either.organisation == organisation)
        if further is not None:
            some = some.where(further)
        if session.scalar(some.limit(1)) is None:
            return true()
    return or_(table.source != FILES, ~_fetched(table, organisation, start, end))


def also_fetched(organisation: str | None, start: date, end: date) -> ColumnElement[bool]:
    """Return the condition for the rows of files in the roll-up that do not count, since they are fetched too."""
    return (CostRollup.source == FILES) & _fetched(CostRollup, organisation, start, end)


def _fetched(
    table: type[Charge] | type[CostRollup], organisation: str | None, start: date, end: date
) -> ColumnElement[bool]:
    from sqlalchemy.orm import aliased

    told = aliased(CostRollup)
    same = (
        (told.organisation == BillCoverage.organisation)
        & (told.day == BillCoverage.day)
        & (told.source == BillCoverage.source)
    )
    fetched = select(_account_and_day(told)).join(BillCoverage, same)
    fetched = fetched.where(BillCoverage.day >= start, BillCoverage.day < end)
    if organisation is not None:
        fetched = fetched.where(BillCoverage.organisation == organisation)
    return _account_and_day(table).in_(fetched)


def _account_and_day(table: Any) -> ColumnElement[str]:
    """Return one text for the four columns: SQLite looks a text up in an index, and goes through a list of tuples.

    No other four make the same text, since neither an organisation's id nor an account (`focus.account`) has a slash.
    """
    text: ColumnElement[str] = table.organisation + "/" + cast(table.day, String) + "/" + table.provider
    text += "/" + table.account
    return text


class Change:
    """What the roll-up of one source changes by."""

    def __init__(self) -> None:
        self._sums: dict[Key, list[int]] = defaultdict(lambda: [0] * len(_SUMS))

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a new row of `Charge`, given by column names."""
        sums = self._sums[
            row["day"], row["project"], row["provider"], row["service_name"], row["node"],
            row["billing_currency"], row["region_id"] or "", row["account"],
        ]  # fmt: skip
        sums[0] += 1
        for place, name in enumerate(AMOUNTS, 1):
            sums[place] += row[name]

    def take_away(self, stored: Iterable[Any]) -> None:
        """Count charges that are no more; each is the values of `CHARGE_COLUMNS`."""
        for day, project, provider, service, node, currency, region, account, *amounts in stored:
            sums = self._sums[day, project, provider, service, node, currency, region or "", account]
            sums[0] -= 1
            for place, part in enumerate(amounts, 1):
                sums[place] -= part

    def apply(self, session: Session, organisation: str, source: str) -> None:
        """Change the table; keys that no charge has any more leave it."""
        changed = [(key, sums) for key, sums in self._sums.items() if any(sums)]
        rows: list[dict[str, Any]] = [
            {
                "organisation": organisation,
                "source": source,
                **dict(zip(_KEY, key, strict=True)),
                **dict(zip(_SUMS, sums, strict=True)),
            }
            for key, sums in changed
        ]
        if not rows:
            return
        upsert = _upsert(session)
        for start in range(0, len(rows), _CHUNK):
            session.execute(upsert, rows[start : start + _CHUNK])
        days = sorted({key[0] for key, sums in changed if sums[0] < 0})
        if days:
            empty = delete(CostRollup).where(
                CostRollup.organisation == organisation,
                CostRollup.source == source,
                CostRollup.day.in_(days),
                CostRollup.rows == 0,
            )
            session.execute(empty, execution_options={"synchronize_session": False})


def _upsert(session: Session) -> Any:
    """Return the statement that adds to what is there; both data bases have it, each under its own name."""
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(CostRollup.__table__)
    table = CostRollup.__table__.c
    return statement.on_conflict_do_update(
        index_elements=["organisation", "source", *_KEY],
        set_={name: table[name] + statement.excluded[name] for name in _SUMS},
    )


def rebuild(session: Session, organisation: str) -> None:
    """Make the roll-up of an organisation anew from its charges."""
    from sqlalchemy import func

    session.execute(delete(CostRollup).where(CostRollup.organisation == organisation))
    region = func.coalesce(Charge.region_id, "")
    key = (
        Charge.organisation, Charge.source, Charge.day, Charge.project, Charge.provider, Charge.service_name,
        Charge.node, Charge.billing_currency, region, Charge.account,
    )  # fmt: skip
    sums = (func.count(), *(func.sum(getattr(Charge, name)) for name in AMOUNTS))
    summed = select(*key, *sums).where(Charge.organisation == organisation).group_by(*key)
    names = ["organisation", "source", *_KEY, *_SUMS]
    session.execute(insert(CostRollup).from_select(names, summed))
