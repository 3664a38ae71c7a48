"""The key that signs checkpoints: one of its own, sealed at rest, rotated by a statement that the old one signs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ...communications.identity import Identity
from ..confidentiality import INSTALLATION
from .statements import Succession, Trust
from .tables import AuditCheckpoint, AuditKey, purpose_of


class Sealer(Protocol):
    """What keeps private keys at rest; `confidentiality.Vault` does."""

    def seal(self, session: Session, purpose: str, owner: str, text: str) -> str:
        """Return `text` encrypted."""

    def open(self, session: Session, purpose: str, owner: str, sealed: str) -> str:
        """Return the text of what `seal` returned."""


def active(session: Session, sealer: Sealer, now: datetime) -> Identity:
    """Return the key that signs now, and make the first one if there is none; `session` is a writing one."""
    row = session.scalar(select(AuditKey).where(AuditKey.retired.is_(None)).order_by(AuditKey.number.desc()))
    if row is None or row.sealed is None:
        return _make(session, sealer, now, None)
    return Identity(bytes.fromhex(sealer.open(session, purpose_of(row.key), INSTALLATION, row.sealed)))


def rotate(session: Session, sealer: Sealer, now: datetime) -> str:
    """Make a new key, announce it with the old one, whose private half is wiped; return the new public half.

    Checkpoints of the old key stay verifiable. `session` is a writing one.
    """
    old = active(session, sealer, now)
    session.flush()
    row = session.scalars(select(AuditKey).where(AuditKey.key == old.node_id)).one()
    last = session.scalar(select(func.max(AuditCheckpoint.sequence))) or 0
    new = Identity.generate()
    succession = Succession(old.node_id, new.node_id, last, int(now.timestamp())).sign(old)
    row.retired, row.sealed = now, None
    _add(session, sealer, now, new, succession)
    return new.node_id


def successions(session: Session) -> list[dict[str, Any]]:
    """Return the signed documents by which one key follows another, in order."""
    query = select(AuditKey.succession).where(AuditKey.succession.is_not(None)).order_by(AuditKey.number)
    return [document for document in session.scalars(query) if document is not None]


def first(session: Session) -> str | None:
    """Return the public half of the first key, None as long as nothing was signed."""
    return session.scalar(select(AuditKey.key).order_by(AuditKey.number).limit(1))


def trust(session: Session) -> Trust | None:
    """Return the keys that the data base names; who does not believe it pins the first key elsewhere."""
    pinned = first(session)
    return None if pinned is None else Trust(pinned, successions(session))


def _make(session: Session, sealer: Sealer, now: datetime, succession: dict[str, Any] | None) -> Identity:
    identity = Identity.generate()
    _add(session, sealer, now, identity, succession)
    return identity


def _add(
    session: Session, sealer: Sealer, now: datetime, identity: Identity, succession: dict[str, Any] | None
) -> None:
    number = (session.scalar(select(func.max(AuditKey.number))) or 0) + 1
    sealed = sealer.seal(session, purpose_of(identity.node_id), INSTALLATION, identity.seed.hex())
    session.add(
        AuditKey(number=number, key=identity.node_id, created=now, retired=None, sealed=sealed, succession=succession)
    )
    session.flush()
