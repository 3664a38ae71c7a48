"""Deliveries into the table of charges: whatever comes twice, late, corrected or out of order, the table is the same.

No bill gives its rows a number that stays. So a charge is identified by what it is for: all columns but amounts, names
and tags. Tags are what a bill that is exported again may have changed (a tag shows on a bill only once it was made a
cost allocation tag), and they must not make other charges of it. Charges of one delivery that are equal in these form
a group, and the newest delivery of a group replaces the whole group. A fetch from a cloud's interface tells all charges
of its days, so there the newest fetch of a day replaces the day.

The roll-up changes in the same transaction. Who delivers holds `lock` for the organisation.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from ..driver import NODE_TAG, PROJECT_TAG
from . import focus, money
from .focus import COLUMNS
from .rollup import CHARGE_COLUMNS, FILES, Change, counted
from .tables import BillCoverage, Charge, CostRollup

_LOCK = 0x636F7374  # "cost"
_CHUNK = 500
_LONGEST_TAG = 256
_encode = json.JSONEncoder(ensure_ascii=False).encode
_UNSYNCHRONISED: dict[str, Any] = {"synchronize_session": False}

_IDENTITY = (
    "BillingAccountId", "SubAccountId", "BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart",
    "ChargePeriodEnd", "ServiceName", "ServiceCategory", "ChargeCategory", "ChargeClass", "ResourceId", "RegionId",
    "SkuId", "SkuPriceId", "ChargeDescription", "PricingUnit", "ConsumedUnit", "ChargeFrequency", "BillingCurrency",
    "AvailabilityZone",
)  # fmt: skip
_CONTENT = tuple(name for name in COLUMNS if name not in (*_IDENTITY, "ProviderName", "Tags"))


def column_of(name: str) -> str:
    """Return the table's name for a FOCUS column: ``ChargePeriodStart`` is ``charge_period_start``."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


_TEXTS = tuple(
    (name, column_of(name)) for name, column in COLUMNS.items() if column.kind in ("text", "time") and name != "Tags"
)
_QUANTITIES = tuple(
    (name, column_of(name)) for name, column in COLUMNS.items() if column.kind == "amount" and name not in focus.COSTS
)
_PARTS = (("BilledCost", "billed"), ("EffectiveCost", "effective"), ("ListCost", "list"))


@dataclass(frozen=True)
class Outcome:
    """What became of a delivery: charges written, charges that they replaced, charges that changed nothing."""

    accepted: int = 0
    replaced: int = 0
    ignored: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.accepted + other.accepted, self.replaced + other.replaced, self.ignored + other.ignored)


def lock(session: Session, organisation: str) -> None:
    """Wait until nobody else delivers for `organisation`, and keep others waiting to the end of the transaction."""
    if session.get_bind().dialect.name == "postgresql":
        statement = text("SELECT pg_advisory_xact_lock(:lock, hashtext(:organisation))")
        session.execute(statement, {"lock": _LOCK, "organisation": organisation})


def line(charge: Mapping[str, Any]) -> bytes:
    """Return the digest of what identifies a charge (SHA-256, 32 bytes): what it is for, not what it is tagged with."""
    values: list[str | None] = [focus.provider(charge["ProviderName"])]
    for name in _IDENTITY:
        value = charge[name]
        values.append(value.isoformat() if isinstance(value, datetime) else value)
    return hashlib.sha256(_encode(values).encode()).digest()


def deliver(session: Session, organisation: str, rows: Iterable[focus.Charge], delivered: datetime) -> Outcome:
    """Take in charges from files.

    Parameters
    ----------
    session : Session
        In a transaction that has the `lock`.
    organisation : str
        Whose bill it is.
    rows : iterable of Charge
        Checked; charges of one identity must all be among them.
    delivered : datetime
        When the bill was made; a newer one corrects an older one.
    """
    groups: dict[bytes, list[focus.Charge]] = defaultdict(list)
    for charge in rows:
        groups[line(charge)].append(charge)
    outcome = Outcome()
    change = Change()
    lines = list(groups)
    for start in range(0, len(lines), _CHUNK):
        part = {each: _Group.of(groups[each]) for each in lines[start : start + _CHUNK]}
        outcome += _take_in(session, organisation, part, delivered, change)
    change.apply(session, organisation, FILES)
    return outcome


def cover(
    session: Session,
    organisation: str,
    source: str,
    window: tuple[date, date],
    rows: Iterable[focus.Charge],
    delivered: datetime,
) -> Outcome:
    """Take in all charges of one source in a window of days: those that were there and are not any more, go.

    Parameters
    ----------
    session, organisation
        See `deliver`.
    source : str
        The cloud account.
    window : tuple of date
        First day, and the day after the last; rows of other days are ignored.
    rows : iterable of Charge
        Checked.
    delivered : datetime
        When the fetch began: days that a newer one has told stay as they are.
    """
    first, after = window
    days: dict[date, list[focus.Charge]] = {
        first + timedelta(days=number): [] for number in range((after - first).days)
    }
    ignored = 0
    for charge in rows:
        day = focus.day(charge)
        if day in days:
            days[day].append(charge)
        else:
            ignored += 1
    query = select(BillCoverage).where(
        BillCoverage.organisation == organisation,
        BillCoverage.source == source,
        BillCoverage.day >= first,
        BillCoverage.day < after,
    )
    told = {row.day: row for row in session.scalars(query)}
    outcome = Outcome(ignored=ignored)
    for day, charges in days.items():
        outcome += _cover_day(session, (organisation, source, day), charges, delivered, told.get(day))
    return outcome


def forget(session: Session, organisation: str, source: str) -> None:
    """Remove all charges of a source."""
    for table in (Charge, CostRollup, BillCoverage):
        statement = delete(table).where(table.organisation == organisation, table.source == source)
        session.execute(statement, execution_options=_UNSYNCHRONISED)


def focus_row(charge: Charge) -> dict[str, str]:
    """Return a stored charge in FOCUS columns, as texts for a file; empty where nothing is known."""
    row = {}
    for name, column in COLUMNS.items():
        if name in focus.COSTS:
            continue
        value = getattr(charge, column_of(name))
        if column.kind == "time":
            value = f"{value:%Y-%m-%dT%H:%M:%SZ}"
        row[name] = value or ""
    for name, stem in _PARTS:
        micro, femto = getattr(charge, f"{stem}_micro"), getattr(charge, f"{stem}_femto")
        row[name] = money.plain(money.amount(micro, femto))
    return {name: row[name] for name in COLUMNS}


def stored(session: Session, organisation: str | None, start: date, end: date) -> Iterator[Charge]:
    """Yield the charges from `start` to before `end` of one organisation, or of all, in order of days.

    Those of files that are fetched too are left out, as in all sums; see `rollup.counted`.
    """
    query = select(Charge).where(Charge.day >= start, Charge.day < end)
    query = query.where(counted(session, Charge, organisation, start, end))
    if organisation is not None:
        query = query.where(Charge.organisation == organisation)
    query = query.order_by(Charge.organisation, Charge.day, Charge.source, Charge.line, Charge.ordinal)
    for part in session.scalars(query, execution_options={"yield_per": 1000}).partitions():
        yield from part
        session.expunge_all()


# ---- groups and days -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    """Charges of one identity in an order that only depends on them, and the digest of their content."""

    charges: Sequence[focus.Charge]
    digest: bytes

    @classmethod
    def of(cls, charges: Sequence[focus.Charge]) -> _Group:
        contents = [_content(charge) for charge in charges]
        order = sorted(range(len(charges)), key=contents.__getitem__)
        digest = hashlib.sha256("\n".join(contents[place] for place in order).encode())
        return cls([charges[place] for place in order], digest.digest())


def _content(charge: focus.Charge) -> str:
    return _encode([_tags_text(charge["Tags"]), *(_plain(charge[name]) for name in _CONTENT)])


def _plain(value: Any) -> Any:
    return money.plain(value.normalize()) if isinstance(value, Decimal) else value


def _tags_text(tags: Mapping[str, str] | None) -> str | None:
    return _encode(dict(sorted(tags.items()))) if tags else None


def _take_in(
    session: Session, organisation: str, groups: Mapping[bytes, _Group], delivered: datetime, change: Change
) -> Outcome:
    mine = (Charge.organisation == organisation, Charge.source == FILES)
    known = select(Charge.line, Charge.delivered, Charge.digest)
    known = known.where(*mine, Charge.line.in_(groups), Charge.ordinal == 0)
    present = {each: (then, digest) for each, then, digest in session.execute(known)}
    unchanged: list[bytes] = []
    winning: list[bytes] = []
    ignored = 0
    for each, group in groups.items():
        before = present.get(each)
        if before is None or (before[1] != group.digest and (delivered, group.digest) > before):
            winning.append(each)
            continue
        ignored += len(group.charges)
        if delivered > before[0]:
            unchanged.append(each)
    if unchanged:
        again = update(Charge).where(*mine, Charge.line.in_(unchanged)).values(delivered=delivered)
        session.execute(again, execution_options=_UNSYNCHRONISED)
    outdated = [each for each in winning if each in present]
    replaced = 0
    if outdated:
        old = session.execute(select(*CHARGE_COLUMNS).where(*mine, Charge.line.in_(outdated))).all()
        change.take_away(old)
        replaced = len(old)
        session.execute(delete(Charge).where(*mine, Charge.line.in_(outdated)), execution_options=_UNSYNCHRONISED)
    records = []
    for each in winning:
        group = groups[each]
        for ordinal, charge in enumerate(group.charges):
            row = record(charge, each, ordinal)
            row |= {"organisation": organisation, "source": FILES, "delivered": delivered, "digest": group.digest}
            change.add(row)
            records.append(row)
    _insert(session, records)
    return Outcome(len(records), replaced, ignored)


def _cover_day(
    session: Session,
    where: tuple[str, str, date],
    charges: Sequence[focus.Charge],
    delivered: datetime,
    told: BillCoverage | None,
) -> Outcome:
    organisation, source, day = where
    groups: dict[bytes, list[focus.Charge]] = defaultdict(list)
    for charge in charges:
        groups[line(charge)].append(charge)
    ordered = {each: _Group.of(groups[each]) for each in sorted(groups)}
    digest = hashlib.sha256(b"".join(each + group.digest for each, group in ordered.items())).digest()
    if told is not None and (told.delivered, told.digest) >= (delivered, digest):
        return Outcome(ignored=len(charges))
    change = Change()
    mine = (Charge.organisation == organisation, Charge.day == day, Charge.source == source)
    replaced = 0
    if told is not None:
        old = session.execute(select(*CHARGE_COLUMNS).where(*mine)).all()
        change.take_away(old)
        replaced = len(old)
        session.execute(delete(Charge).where(*mine), execution_options=_UNSYNCHRONISED)
        told.delivered, told.digest = delivered, digest
    else:
        session.add(BillCoverage(organisation=organisation, source=source, day=day, delivered=delivered, digest=digest))
    session.flush()
    records = []
    for each, group in ordered.items():
        for ordinal, charge in enumerate(group.charges):
            row = record(charge, each, ordinal)
            row |= {"organisation": organisation, "source": source, "delivered": delivered, "digest": digest}
            change.add(row)
            records.append(row)
    _insert(session, records)
    change.apply(session, organisation, source)
    return Outcome(len(records), replaced, 0)


# ---- rows of the table ---------------------------------------------------------------------------------------------


def record(charge: focus.Charge, identity: bytes, ordinal: int) -> dict[str, Any]:
    """Return a charge as a row of the table, but for whose it is and what it came with."""
    tags = charge["Tags"] or {}
    row: dict[str, Any] = {
        "line": identity,
        "ordinal": ordinal,
        "day": focus.day(charge),
        "project": _label(tags, PROJECT_TAG),
        "node": _label(tags, NODE_TAG),
        "provider": focus.provider(charge["ProviderName"]),
        "account": focus.account(charge),
        "tags": _tags_text(tags),
    }
    for name, column in _TEXTS:
        row[column] = charge[name]
    for name, column in _QUANTITIES:
        value = charge[name]
        row[column] = None if value is None else money.plain(value)
    for name, stem in _PARTS:
        row[f"{stem}_micro"], row[f"{stem}_femto"] = money.parts(charge[name])
    return row


def _label(tags: Mapping[str, str], name: str) -> str:
    value = tags.get(name, "")
    return value if len(value.encode()) <= _LONGEST_TAG else ""


def _insert(session: Session, records: list[dict[str, Any]]) -> None:
    """Write rows; many at once go to PostgreSQL with COPY, which is several times faster than INSERT."""
    if not records:
        return
    if session.get_bind().dialect.name != "postgresql" or len(records) < 100:
        session.execute(insert(Charge.__table__), records)  # type: ignore[arg-type]  # a declared class has a Table
        return
    names = ", ".join(records[0])
    connection: Any = session.connection().connection.dbapi_connection
    with connection.cursor() as cursor:
        # PostgreSQL copies into no table that has row-level security; from one beside it the policies are looked at.
        cursor.execute("CREATE TEMPORARY TABLE IF NOT EXISTS new_charges (LIKE charges) ON COMMIT DROP")
        cursor.execute("TRUNCATE new_charges")
        with cursor.copy(f"COPY new_charges ({names}) FROM STDIN") as copy:
            for row in records:
                copy.write_row(list(row.values()))
        cursor.execute(f"INSERT INTO charges ({names}) SELECT {names} FROM new_charges")  # noqa: S608 - our own columns
