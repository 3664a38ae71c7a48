"""Signing checkpoints, and proofs between any two numbers up to the newest."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from ...communications.identity import Identity
from ...errors import Conflict, InvalidInput, NotFound
from .entries import leaves
from .merkle import consistency_proof, frontier_of
from .statements import Checkpoint
from .tables import AuditCheckpoint, AuditEntry, AuditTreeHash

EVERY_ENTRIES = 1000
EVERY_SECONDS = 60.0
_BATCH = 1000


def newest(session: Session) -> AuditCheckpoint | None:
    """Return the newest checkpoint."""
    return session.scalar(select(AuditCheckpoint).order_by(AuditCheckpoint.sequence.desc()).limit(1))


def due(session: Session, now: datetime, *, entries: int = EVERY_ENTRIES, seconds: float = EVERY_SECONDS) -> bool:
    """Tell whether to sign one: `entries` were added since the last, or the first of them is `seconds` old."""
    last = newest(session)
    signed = last.sequence if last else 0
    following = select(AuditEntry.sequence, AuditEntry.time).where(AuditEntry.sequence > signed)
    first = session.execute(following.order_by(AuditEntry.sequence).limit(1)).one_or_none()
    if first is None:
        return False
    if first.time <= now - timedelta(seconds=seconds):
        return True
    head = session.scalar(select(AuditEntry.sequence).order_by(AuditEntry.sequence.desc()).limit(1))
    return head is not None and head - signed >= entries


def sign(session: Session, signer: Identity, now: datetime) -> AuditCheckpoint | None:
    """Sign the log as it is in `session`, a writing one; None if nothing was added since the last checkpoint.

    Before it signs, it compares the last checkpoint with the log: a log that was rewritten below it gets no signature.

    Raises
    ------
    Conflict
        Code ``audit-log-changed``.
    """
    last = newest(session)
    head = session.execute(
        select(AuditEntry.sequence, AuditEntry.hash).order_by(AuditEntry.sequence.desc()).limit(1)
    ).one_or_none()
    signed = last.sequence if last else 0
    if last is not None:
        _require_unchanged(session, last, head.sequence if head else 0)
    if head is None or head.sequence == signed:
        return None
    root = _grow(session, signed, head.sequence)
    checkpoint = Checkpoint(head.sequence, head.hash, root.hex(), int(now.timestamp()), signer.node_id)
    row = AuditCheckpoint(sequence=head.sequence, time=now, key=signer.node_id, document=checkpoint.sign(signer))
    session.add(row)
    session.flush()
    return row


def proof(session: Session, first: int, second: int) -> list[str]:
    """Return the Merkle consistency proof between two numbers of entries, as hex digests.

    Raises
    ------
    InvalidInput
        Code ``bad-proof-range``: not ``0 < first <= second``.
    NotFound
        Code ``audit-not-signed``: `second` is beyond the newest checkpoint.
    """
    if not 0 < first <= second:
        raise InvalidInput(
            f"There is no proof from entry {first} to entry {second}.",
            code="bad-proof-range",
            hint="Give numbers of entries, from 1 on, the smaller one first.",
        )
    last = newest(session)
    signed = last.sequence if last else 0
    if second > signed:
        raise NotFound(
            f"The newest checkpoint is of {signed} entries; there is no proof to entry {second} yet.",
            code="audit-not-signed",
            hint="Ask again after the next checkpoint.",
            signed=signed,
        )
    return [digest.hex() for digest in consistency_proof(first, second, _Stored(session))]


class _Stored:
    """Hashes of complete subtrees as the data base has them; level 0 are the entries'."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, level: int, position: int) -> bytes:
        if level == 0:
            query = select(AuditEntry.hash).where(AuditEntry.sequence == position + 1)
        else:
            query = select(AuditTreeHash.hash).where(AuditTreeHash.level == level, AuditTreeHash.position == position)
        found = self._session.scalar(query)
        if found is None:
            raise _changed(f"the hash of {1 << level} entries from number {(position << level) + 1} on is missing")
        return bytes.fromhex(found)


def _require_unchanged(session: Session, last: AuditCheckpoint, head: int) -> None:
    checkpoint = Checkpoint.open(last.document)
    hash_there = session.scalar(select(AuditEntry.hash).where(AuditEntry.sequence == checkpoint.sequence))
    if head < checkpoint.sequence or hash_there != checkpoint.hash:
        raise _changed(f"entry {checkpoint.sequence} is not what the last checkpoint says")
    if frontier_of(checkpoint.sequence, _Stored(session)).root.hex() != checkpoint.root:
        raise _changed(f"the tree of {checkpoint.sequence} entries has not the root of the last checkpoint")


def _grow(session: Session, signed: int, size: int) -> bytes:
    """Store the subtrees that entries `signed` + 1 to `size` complete; return the root."""
    frontier = frontier_of(signed, _Stored(session))
    rows: list[dict[str, Any]] = []
    for leaf in leaves(session, signed, size):
        for level, position, digest in frontier.append(leaf):
            rows.append({"level": level, "position": position, "hash": digest.hex()})
        if len(rows) >= _BATCH:
            session.execute(insert(AuditTreeHash), rows)
            rows = []
    if rows:
        session.execute(insert(AuditTreeHash), rows)
    if frontier.size != size:
        raise _changed(f"of {size} entries {frontier.size} are there")
    return frontier.root


def _changed(what: str) -> Conflict:
    return Conflict(
        f"The audit log was changed from outside: {what}.",
        code="audit-log-changed",
        hint="Run `flaas audit verify` with the checkpoints that a node has kept; restore the data base from a backup.",
    )
