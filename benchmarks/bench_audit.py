"""Appending to the audit log / inserting the same rows without chain, index and guards; and checking it / hashing it.

Both appends use one transaction an entry on SQLite (WAL, synchronous=NORMAL), as requests do. Checking reads rows from
the data base and verifies hashes, chain and Merkle root; its limit is SHA-256 over the canonical JSON of the same
bodies in memory. Before each call the limit is measured once, so that what disturbs the machine disturbs both.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, BigInteger, Column, DateTime, MetaData, String, Table, insert

from flaas_jupyter.communications.identity import Identity, canonical
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance import audit
from flaas_jupyter.governance.audit import checkpoints, entries, guards
from flaas_jupyter.governance.audit.tables import AuditCheckpoint, AuditEntry, AuditKey, AuditTreeHash
from flaas_jupyter.governance.audit.verification import stored, stored_checkpoints, verify

APPENDS, CHECKED, REPETITIONS = 200, 10_000, 5
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLES: list[Any] = [model.__table__ for model in (AuditEntry, AuditTreeHash, AuditCheckpoint, AuditKey)]
BARE = Table(
    "bare_entries",
    MetaData(),
    Column("sequence", BigInteger),
    Column("time", DateTime),
    Column("details", JSON),
    *(Column(name, String) for name in ("actor", "actor_kind", "operation", "object", "organisation", "project")),
    Column("outcome", String),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A data base with the log's tables and a bare one."""
    opened = Database(f"sqlite:///{tmp_path / 'audit.db'}")
    with opened.writing() as session:
        AuditEntry.metadata.create_all(session.connection(), tables=TABLES)
        BARE.create(session.connection())
        guards.install_guards(session.connection())
    yield opened
    opened.close()


def body(number: int) -> dict[str, Any]:
    """Return what is told of an entry."""
    return {
        "actor": f"person-{number % 50}",
        "actor_kind": "user",
        "operation": "run:create",
        "object": f"runs/{number}",
        "organisation": "north",
        "project": "credit",
        "outcome": "done",
        "details": {"method": "POST", "body_sha256": "ab" * 32},
    }


def timed(work: Callable[[], None]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_appending_over_bare_inserts(benchmark: Any, database: Database) -> None:
    limits: list[float] = []

    def bare() -> None:
        for number in range(APPENDS):
            with database.writing() as session:
                session.execute(insert(BARE), {"sequence": number, "time": NOW, **body(number)})

    def append() -> None:
        for number in range(APPENDS):
            with database.writing() as session:
                audit.append(session, **body(number))

    benchmark.pedantic(append, setup=lambda: limits.append(timed(bare)), rounds=REPETITIONS)
    fastest = benchmark.stats.stats.min
    benchmark.extra_info |= {
        "appends_per_second": APPENDS / fastest,
        "bare_inserts_per_second": APPENDS / min(limits),
        "ratio": fastest / min(limits),
    }


def test_checking_over_hashing(benchmark: Any, database: Database) -> None:
    with database.writing() as session:
        for number in range(CHECKED):
            audit.append(session, **body(number))
        checkpoints.sign(session, Identity(b"b" * 32), NOW)
    with database.reading() as session:
        bodies = [{name: entry[name] for name in entries.FIELDS} for entry in stored(session)]
    limits: list[float] = []

    def hashing() -> None:
        for each in bodies:
            hashlib.sha256(bytes(33) + canonical(each)).digest()

    def check() -> None:
        with database.reading() as session:
            result = verify(stored(session), stored_checkpoints(session))
        assert (result.finding, result.entries, result.checkpoints) == (None, CHECKED, 1)

    benchmark.pedantic(check, setup=lambda: limits.append(timed(hashing)), rounds=REPETITIONS)
    fastest = benchmark.stats.stats.min
    benchmark.extra_info |= {
        "checks_per_second": CHECKED / fastest,
        "hashes_per_second": CHECKED / min(limits),
        "ratio": fastest / min(limits),
    }


def test_signing_and_proving(benchmark: Any, database: Database) -> None:
    """Milliseconds of a checkpoint after 1,000 entries and of a proof, in a log of ten thousand."""
    with database.writing() as session:
        for number in range(CHECKED):
            audit.append(session, **body(number))
    signer = Identity(b"b" * 32)

    def sign() -> None:
        with database.writing() as session:
            checkpoints.sign(session, signer, NOW)

    first = timed(sign)
    with database.reading() as session:
        benchmark.pedantic(lambda: checkpoints.proof(session, 4321, CHECKED), rounds=20)
    benchmark.extra_info |= {
        "signing_milliseconds_per_1000_entries": first * 1e6 / CHECKED,
        "proof_milliseconds": benchmark.stats.stats.min * 1e3,
    }
