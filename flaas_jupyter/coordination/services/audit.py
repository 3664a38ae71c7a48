"""The audit log for readers: filtered by what they may see, exported, and its checkpoints kept up."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, false, or_, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ...errors import FlaasError, InvalidInput
from ...governance import scopes
from ...governance.audit import checkpoints, entries, keys
from ...governance.audit.tables import AuditCheckpoint, AuditEntry
from ...governance.identity import Caller
from ...governance.isolation import across
from .. import hal
from ..database import Database

log = logging.getLogger(__name__)

COLUMNS = (*entries.FIELDS, "prev", "hash")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PAGE = 500
_SCOPED: dict[str, Any] = {
    "organisation": AuditEntry.organisation,
    "project": AuditEntry.project,
    "node": AuditEntry.actor,
}


@dataclass(frozen=True)
class Filter:
    """Which entries are asked for; None is any.

    Parameters
    ----------
    actor, operation, object, project, outcome : str, optional
        Must be equal.
    start, end : datetime, optional
        From the first, to before the second.
    """

    actor: str | None = None
    operation: str | None = None
    object: str | None = None
    project: str | None = None
    outcome: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None, **equal: str | None) -> Filter:
        """Return the filter of a request, its times in UTC.

        Raises
        ------
        InvalidInput
            Code ``bad-window``.
        """
        try:
            utc = [None if moment is None else moment.astimezone(UTC) for moment in (start, end)]
        except OverflowError as error:
            raise _bad_window(start, end) from error
        return cls(**equal, start=utc[0], end=utc[1])

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield what an entry must fulfil.

        Raises
        ------
        InvalidInput
            Code ``bad-window``.
        """
        if self.start is not None and self.end is not None and not self.start < self.end:
            raise _bad_window(self.start, self.end)
        for name in ("actor", "operation", "object", "project", "outcome"):
            value = getattr(self, name)
            if value is not None:
                yield getattr(AuditEntry, name) == value
        if self.start is not None:
            yield AuditEntry.time >= self.start
        if self.end is not None:
            yield AuditEntry.time < self.end

    def query(self) -> dict[str, str | None]:
        """Return it as parameters of a link."""
        return {
            "actor": self.actor,
            "operation": self.operation,
            "object": self.object,
            "project": self.project,
            "outcome": self.outcome,
            "from": None if self.start is None else entries.instant(self.start),
            "to": None if self.end is None else entries.instant(self.end),
        }


def visible(caller: Caller, wanted: Filter) -> Select[Any]:
    """Return the query of the entries that `caller` may read and asks for.

    A role that is held on the platform reads all; one held in an organisation or project, the entries of that one.
    """
    query = select(AuditEntry).where(*wanted.conditions())
    held = caller.grants.get("audit:read", frozenset())
    if scopes.PLATFORM in held:
        return query
    theirs = [_SCOPED[scopes.kind_of(scope)] == scopes.id_of(scope) for scope in sorted(held)]
    return query.where(or_(false(), *theirs))


def show(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry of a list."""
    return {**entries.show(entry), "hash": entry.hash}


def show_checkpoints(session: Session, after: int, limit: int) -> hal.Resource:
    """Return up to `limit` checkpoints of more than `after` entries, and what it takes to check them."""
    href = "/v1/audit/checkpoints"
    query = select(AuditCheckpoint).where(AuditCheckpoint.sequence > after).order_by(AuditCheckpoint.sequence)
    with across(session, "checkpoints and keys are everybody's"):
        found = session.scalars(query.limit(limit + 1)).all()
        newest = checkpoints.newest(session)
        first, successions = keys.first(session), keys.successions(session)
    shown = found[:limit]
    body = {
        "key": first,
        "successions": successions,
        "newest": newest.document if newest else None,
        "_embedded": {"checkpoints": [row.document for row in shown]},
    }
    onward = f"{href}?after={shown[-1].sequence}&limit={limit}" if len(found) > limit else None
    return hal.resource(
        body,
        f"{href}?after={after}&limit={limit}",
        next=hal.link(onward) if onward else None,
        proof=hal.link("/v1/audit/proof{?from,to}", templated=True),
    )


def show_proof(session: Session, first: int, second: int) -> hal.Resource:
    """Return the proof that the log of `second` entries extends that of `first`."""
    with across(session, "a proof is made of the digests of everybody's entries"):
        steps = checkpoints.proof(session, first, second)
    body = {"from": first, "to": second, "proof": steps}
    return hal.resource(body, f"/v1/audit/proof?from={first}&to={second}")


def export(reading: Callable[[], AbstractContextManager[Session]], query: Select[Any], kind: str) -> Iterator[str]:
    """Yield the entries of `query`, oldest first, as JSON or CSV lines, a piece at a time from one snapshot.

    A CSV text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV Injection"); JSON
    lines are exact, for ``flaas audit verify --file``.
    """
    write = _as_csv if kind == "csv" else _as_json
    if kind == "csv":
        yield _csv_line(COLUMNS)
    after = 0
    with reading() as session:
        while True:
            page = query.where(AuditEntry.sequence > after).order_by(AuditEntry.sequence).limit(_PAGE)
            rows = session.scalars(page).all()
            if not rows:
                return
            yield "".join(write({**entries.show(row), "prev": row.prev, "hash": row.hash}) for row in rows)
            after = rows[-1].sequence
            session.expunge_all()


def _bad_window(start: datetime | None, end: datetime | None) -> InvalidInput:
    return InvalidInput(f"From {start} to {end} is no window.", code="bad-window", hint="Give from before to.")


def _as_json(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":"), allow_nan=False) + "\n"


def _as_csv(entry: dict[str, Any]) -> str:
    details = json.dumps(entry["details"], sort_keys=True, separators=(",", ":"))
    return _csv_line([_harmless({**entry, "details": details}[name]) for name in COLUMNS])


def _csv_line(cells: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


class Keeper:
    """Signs checkpoints when they are due; of several API processes on one data base whichever comes first.

    Parameters
    ----------
    database : Database
        Where the log is.
    vault : Sealer
        What keeps the private key at rest.
    entries : int
        Sign at the latest after so many entries.
    seconds : float
        Sign at the latest when an entry is so old.
    tick : float
        Seconds between looks.
    """

    def __init__(
        self,
        database: Database,
        vault: keys.Sealer,
        *,
        entries: int = checkpoints.EVERY_ENTRIES,
        seconds: float = checkpoints.EVERY_SECONDS,
        tick: float = 1.0,
    ) -> None:
        self._database = database
        self._vault = vault
        self._entries, self._seconds, self._tick = entries, seconds, tick

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the log signed as long as this is entered."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def sign_if_due(self, now: datetime | None = None) -> int | None:
        """Sign a checkpoint if one is due; return its number of entries."""
        now = now or datetime.now(UTC)
        with self._database.reading() as session:
            if not checkpoints.due(session, now, entries=self._entries, seconds=self._seconds):
                return None
        return self.sign(now)

    def sign(self, now: datetime | None = None) -> int | None:
        """Sign the log as it is now; return the number of entries, None if it is signed already."""
        now = now or datetime.now(UTC)
        with self._database.writing() as session:
            row = checkpoints.sign(session, keys.active(session, self._vault, now), now)
            return row.sequence if row is not None else None

    async def _run(self) -> None:
        while True:
            try:
                await self._database.run(self.sign_if_due)
            except (FlaasError, DBAPIError) as error:
                log.error("the audit log could not be signed: %s", error)
            await asyncio.sleep(self._tick)
