"""Logs to test with: entries, a signer, and what an attacker who owns the data base can do to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance import audit
from flaas_jupyter.governance.audit import checkpoints, entries, guards
from flaas_jupyter.governance.audit.tables import (
    AuditCheckpoint,
    AuditEntry,
    AuditKey,
    AuditTreeHash,
)
from flaas_jupyter.governance.confidentiality import DataKey

TABLES = [model.__table__ for model in (AuditEntry, AuditTreeHash, AuditCheckpoint, AuditKey, DataKey)]
START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
SIGNER = Identity(b"a" * 32)


def owned(url: str) -> str:
    """Return the URL of a PostgreSQL data base for a role that owns it, as an attacker may, but is no superuser."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regrole('audit_owner')").fetchone() == (None,):
            connection.execute("CREATE ROLE audit_owner LOGIN")
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO audit_owner").format(sql.Identifier(connection.info.dbname))
        )
    return url.replace("//flaas@", "//audit_owner@")


def make_tables(database: Database) -> None:
    """Make the tables, with their guards."""
    with database.writing() as session:
        AuditEntry.metadata.create_all(session.connection(), tables=TABLES)
        guards.install_guards(session.connection())


def entry(number: int, **changes: Any) -> dict[str, Any]:
    """Return what is told of the entry with this number."""
    return {
        "actor": f"person-{number % 3}",
        "actor_kind": "user",
        "operation": "run:create",
        "object": f"runs/{number}",
        "organisation": "north" if number % 2 else "south",
        "project": "credit" if number % 3 else None,
        "outcome": "done",
        "details": {"method": "POST", "parts": [number, 0.5, True, None], "body_sha256": "ab" * 32},
        "now": START + timedelta(seconds=number),
        **changes,
    }


def write(database: Database, count: int, **changes: Any) -> None:
    """Append so many entries."""
    with database.writing() as session:
        last = session.scalar(select(AuditEntry.sequence).order_by(AuditEntry.sequence.desc()).limit(1)) or 0
        for number in range(last + 1, last + count + 1):
            audit.append(session, **entry(number, **changes))


def sign(database: Database, signer: Identity = SIGNER, now: datetime = START) -> dict[str, Any]:
    """Sign a checkpoint; return its document."""
    with database.writing() as session:
        row = checkpoints.sign(session, signer, now)
        assert row is not None
        return row.document


def tamper(database: Database, *statements: str) -> None:
    """Do what the owner of a data base can: drop the triggers, and run SQL."""
    with database.writing() as session:
        guards.remove_guards(session.connection())
        for statement in statements:
            session.execute(text(statement))


@contextlib.contextmanager
def tampered(database: Database, *statements: str) -> Iterator[Session]:
    """As `tamper`, and undone afterwards."""
    with database.writing() as session:
        guards.remove_guards(session.connection())
        for statement in statements:
            session.execute(text(statement))
        yield session
        session.rollback()


def rebuild(session: Session, first: int, **changes: Any) -> None:
    """Change the entry with number `first`, and give it and all after it the hashes that fit."""
    guards.remove_guards(session.connection())
    rows = session.scalars(select(AuditEntry).where(AuditEntry.sequence >= first).order_by(AuditEntry.sequence)).all()
    prev = rows[0].prev
    for row in rows:
        values: dict[str, Any] = changes if row.sequence == first else {}
        for name, value in values.items():
            setattr(row, name, value)
        digest = entries.digest(prev, entries.show(row))
        session.execute(
            update(AuditEntry).where(AuditEntry.sequence == row.sequence).values(**values, prev=prev, hash=digest)
        )
        prev = digest
