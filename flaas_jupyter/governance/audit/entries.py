"""Writing entries, and what their hashes are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from ...communications.identity import canonical
from ...errors import InvalidInput
from ..isolation import across
from .details import opaque, require_details, require_id
from .tables import AuditEntry

FIRST_PREV = "0" * 64
OUTCOMES = ("done", "asked", "refused")
FIELDS = (
    "sequence", "time", "actor", "actor_kind", "operation", "object", "organisation", "project", "outcome", "details",
)  # fmt: skip
"""What is hashed of an entry, beside the hash of the one before."""
_APPENDERS_LOCK = 0x666C617375  # "flasu"
_PAGE = 1000
_LAST = select(AuditEntry.sequence, AuditEntry.hash).order_by(AuditEntry.sequence.desc()).limit(1)
_ADD = insert(AuditEntry.__table__)  # type: ignore[arg-type]


def append(
    session: Session,
    *,
    actor: str,
    actor_kind: str,
    operation: str,
    object: str,
    organisation: str | None = None,
    project: str | None = None,
    outcome: Literal["done", "asked", "refused"] = "done",
    details: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> AuditEntry:
    """Write the next entry into `session`, in whose transaction it is committed or rolled back; return a copy of it.

    Numbers have no gaps and the chain no forks, since writers take turns: on SQLite by ``BEGIN IMMEDIATE``, on
    PostgreSQL by an advisory lock taken here and held to the end of the transaction, which must be READ COMMITTED, as
    those of `Database.writing` are, so that whoever waited sees the entry before. Under any other isolation, or with a
    writer that takes no lock, the unique columns let one of two entries in and fail the other's transaction.

    Parameters
    ----------
    session : Session
        The one of the change.
    actor, actor_kind : str
        Id of who did it, and ``"user"``, ``"service"``, ``"node"`` or ``"system"``.
    operation : str
        As in the permissions table, ``resource:verb``.
    object : str
        Id or path of what it was done to.
    organisation, project : str, optional
        Ids of whose it is: who may read the entry.
    outcome : str
        ``"done"``; ``"asked"``, it waits for approval; ``"refused"``.
    details : mapping, optional
        Ids, digests and numbers; see `details.require_details`.
    now : datetime, optional
        The time of the entry; default: the clock's.

    Raises
    ------
    InvalidInput
        Code ``audit-not-opaque``: something is given that may be personal or secret, or is too long.
    """
    if outcome not in OUTCOMES:
        raise InvalidInput(
            f"The outcome of an audit entry is {outcome!r}.",
            code="audit-not-opaque",
            hint=f"Use {', '.join(OUTCOMES)}.",
        )
    with across(session, "an entry follows the last one, whoever's that is"):
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _APPENDERS_LOCK})
        last = session.execute(_LAST).one_or_none()
        prev = last.hash if last else FIRST_PREV
        body: dict[str, Any] = {
            "sequence": last.sequence + 1 if last else 1,
            "time": (now or datetime.now(UTC)).astimezone(UTC),
            "actor": require_id("actor", actor),
            "actor_kind": require_id("actor_kind", actor_kind),
            "operation": require_id("operation", operation),
            "object": require_id("object", object),
            "organisation": None if organisation is None else require_id("organisation", organisation),
            "project": None if project is None else require_id("project", project),
            "outcome": outcome,
            "details": require_details(dict(details or {})),
        }
        entry = AuditEntry(**body, prev=prev, hash=digest(prev, {**body, "time": instant(body["time"])}))
        # By the table, not by the session: nobody is to change the entry, and this takes a third of the time.
        session.execute(_ADD, {**body, "prev": entry.prev, "hash": entry.hash})
    return entry


def append_command(session: Session, operation: str, about: str, details: Mapping[str, Any]) -> AuditEntry:
    """Write the entry of a command on the API's own machine, where nobody signs in; `about` may be any text."""
    return append(
        session, actor="operator", actor_kind="system", operation=operation, object=opaque(about), details=details
    )


def show(entry: Any) -> dict[str, Any]:
    """Return what is hashed of an entry, given as a row with the columns of `AuditEntry`."""
    body = {name: getattr(entry, name) for name in FIELDS}
    body["time"] = instant(body["time"])
    return body


def instant(moment: datetime) -> str:
    """Return `moment` in RFC 3339, UTC, always with microseconds, which both data bases keep."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def digest(prev: str, body: Mapping[str, Any]) -> str:
    """Return the hash of an entry: ``SHA-256(0x00 || prev || canonical JSON)``, a Merkle leaf of prev and body."""
    return hashlib.sha256(b"\x00" + bytes.fromhex(prev) + canonical(dict(body))).hexdigest()


def leaves(session: Session, after: int, until: int) -> Iterator[bytes]:
    """Yield the hashes of entries `after` + 1 to `until`, in order, a page of memory at a time."""
    while after < until:
        query = select(AuditEntry.sequence, AuditEntry.hash).where(
            AuditEntry.sequence > after, AuditEntry.sequence <= until
        )
        rows = session.execute(query.order_by(AuditEntry.sequence).limit(_PAGE)).all()
        if not rows:
            return
        for row in rows:
            yield bytes.fromhex(row.hash)
        after = rows[-1].sequence
