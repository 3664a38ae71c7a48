"""The audit log's tables. What is in the first three is never changed or removed; see `guards`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from ..confidentiality import INSTALLATION, sealed_columns
from ..tables import Base

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # there INTEGER is the row's own number, of 64 bits


class AuditEntry(Base):
    """Who did what to what, chained to the entry before by its hash."""

    __tablename__ = "audit_entries"

    sequence: Mapped[int] = mapped_column(_NUMBER, primary_key=True, autoincrement=False)
    time: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(index=True)
    actor_kind: Mapped[str]
    operation: Mapped[str] = mapped_column(index=True)
    object: Mapped[str] = mapped_column(index=True)
    organisation: Mapped[str | None] = mapped_column(index=True)
    project: Mapped[str | None] = mapped_column(index=True)
    outcome: Mapped[str]
    details: Mapped[dict[str, Any]]
    prev: Mapped[str] = mapped_column(String(64), unique=True)
    hash: Mapped[str] = mapped_column(String(64))


class AuditTreeHash(Base):
    """Hash of a complete subtree of two entries or more; written when a checkpoint is signed, to answer proofs from."""

    __tablename__ = "audit_tree"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(_NUMBER, primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(String(64))


class AuditCheckpoint(Base):
    """A signed checkpoint; see `statements.Checkpoint`."""

    __tablename__ = "audit_checkpoints"

    sequence: Mapped[int] = mapped_column(_NUMBER, primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    key: Mapped[str] = mapped_column(String(64))
    document: Mapped[dict[str, Any]]


class AuditKey(Base):
    """A key that signs or has signed checkpoints; the private half is sealed, and wiped when it is retired."""

    __tablename__ = "audit_keys"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[datetime]
    retired: Mapped[datetime | None]
    sealed: Mapped[str | None]
    succession: Mapped[dict[str, Any] | None]


def purpose_of(key: str) -> str:
    """Return what the private half of `key` is sealed for."""
    return f"audit_keys.sealed/{key}"


sealed_columns.declare(AuditKey, "sealed", purpose=lambda row: purpose_of(row.key), owner=lambda row: INSTALLATION)
