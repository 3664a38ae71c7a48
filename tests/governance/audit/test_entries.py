"""Writing entries: in the transaction of the change, without gaps, and with nothing personal in them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import threading

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from flaas_jupyter.coordination import tables
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.governance import audit
from flaas_jupyter.governance.audit import entries, guards
from flaas_jupyter.governance.audit.details import MOST_ITEMS, require_details
from flaas_jupyter.governance.audit.tables import AuditEntry
from flaas_jupyter.governance.audit.verification import stored, verify
from flaas_jupyter.governance.isolation import Tenant

from .logs import entry, make_tables, owned, sign, tamper, write


def sequences(database: Database) -> list[int]:
    with database.reading() as session:
        return list(session.scalars(select(AuditEntry.sequence).order_by(AuditEntry.sequence)))


def test_the_hash_is_sha256_of_a_zero_byte_the_hash_before_and_canonical_json(database):
    write(database, 2)
    with database.reading() as session:
        first, second = session.scalars(select(AuditEntry).order_by(AuditEntry.sequence))
    assert first.prev == "00" * 32
    body = {
        "sequence": 1, "time": "2026-01-01T12:00:01.123456Z", "actor": "person-1", "actor_kind": "user",
        "operation": "run:create", "object": "runs/1", "organisation": "north", "project": "credit",
        "outcome": "done",
        "details": {"method": "POST", "parts": [1, 0.5, True, None], "body_sha256": "ab" * 32},
    }  # fmt: skip
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    assert first.hash == hashlib.sha256(b"\x00" + bytes(32) + text).hexdigest()
    assert second.prev == first.hash


def test_an_entry_goes_with_its_transaction(database):
    write(database, 1)

    def fail() -> None:
        with database.writing() as session:
            audit.append(session, **entry(2))
            audit.append(session, **entry(3))
            raise RuntimeError("the change failed")

    with pytest.raises(RuntimeError):
        fail()
    write(database, 1)
    assert sequences(database) == [1, 2]
    with database.reading() as session:
        assert verify(stored(session)).finding is None


def test_what_is_read_back_has_the_hash_that_was_written(database):
    details = {"small": 5e-324, "minus": -0.0, "large": 2**53, "many": [[[1.5]]], "empty": {}, "none": None}
    with database.writing() as session:
        audit.append(session, **entry(1, details=details))
        audit.append(session, **entry(2, details={}, organisation=None, project=None))
    with database.reading() as session:
        assert verify(stored(session)).finding is None


def test_the_session_of_a_tenant_follows_the_last_entry_of_another(database):
    with database.writing() as session:
        tables.Base.metadata.create_all(session.connection())  # a tenant is told which projects it is in
    write(database, 3)
    with database.writing(Tenant("elsewhere")) as session:
        audit.append(session, **entry(4, organisation="elsewhere"))
        audit.append(session, **entry(5, organisation="elsewhere"))
    assert sequences(database) == [1, 2, 3, 4, 5]
    with database.reading() as session:
        assert verify(stored(session)).finding is None


def append_many(url: str, name: str, count: int, start: object) -> None:
    """Append in transactions of one and two entries, as another process does."""
    database = Database(url)
    start.wait()
    for number in range(count):
        with database.writing() as session:
            for _ in range(1 + number % 2):
                audit.append(session, **entry(number, actor=name))
    database.close()


def test_two_processes_that_write_at_once_keep_one_chain_without_gaps(url, database):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    processes = [context.Process(target=append_many, args=(url, name, 30, start)) for name in ("one", "two")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sequences(database) == list(range(1, 91))
    with database.reading() as session:
        assert verify(stored(session)).finding is None
        assert len(set(session.scalars(select(AuditEntry.actor)))) == 2


def test_writers_that_take_no_turn_still_make_no_fork(database):
    """`noting` does not wait for a turn on PostgreSQL: the entry's own lock does."""
    start, failed = threading.Barrier(4), []

    def work() -> None:
        start.wait()
        for number in range(10):
            try:
                with database.noting() as session:
                    audit.append(session, **entry(number))
            except DBAPIError as error:
                failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sequences(database) == list(range(1, 41))
    with database.reading() as session:
        assert verify(stored(session)).finding is None


# ---- guards ---------------------------------------------------------------------------------------------------------


FORBIDDEN = [
    "UPDATE audit_entries SET actor = 'somebody' WHERE sequence = 2",
    "UPDATE audit_entries SET hash = hash",
    "DELETE FROM audit_entries WHERE sequence = 3",
    "DELETE FROM audit_entries",
    "UPDATE audit_checkpoints SET key = 'x'",
    "DELETE FROM audit_checkpoints",
    "UPDATE audit_tree SET hash = 'x'",
    "DELETE FROM audit_tree",
    "DELETE FROM audit_keys",
    "INSERT INTO audit_entries SELECT 9, time, actor, actor_kind, operation, object, organisation, project, "
    "outcome, details, 'x', 'y' FROM audit_entries WHERE sequence = 1",
    "INSERT INTO audit_entries SELECT 4, time, actor, actor_kind, operation, object, organisation, project, "
    "outcome, details, 'x', 'y' FROM audit_entries WHERE sequence = 1",
]


def test_no_statement_changes_or_removes_an_entry(database):
    with database.writing() as session:
        session.execute(text("INSERT INTO audit_keys (number, key, created) VALUES (1, 'k', '2026-01-01 00:00:00')"))
    write(database, 3)
    sign(database)
    for statement in FORBIDDEN:
        with pytest.raises(DBAPIError, match=r"append-only|follow the last"), database.writing() as session:
            session.execute(text(statement))
    with database.reading() as session:
        assert verify(stored(session)).entries == 3


def test_sqlite_replaces_nothing_either(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'audit.db'}")
    make_tables(database)
    write(database, 3)
    columns = "time, actor, actor_kind, operation, object, organisation, project, outcome, details, prev, hash"
    for how in ("INSERT OR REPLACE INTO", "REPLACE INTO", "INSERT OR IGNORE INTO", "UPDATE OR REPLACE"):
        statement = (
            f"{how} audit_entries SET sequence = 2 WHERE sequence = 3"
            if how.startswith("UPDATE")
            else f"{how} audit_entries SELECT 2, {columns} FROM audit_entries WHERE sequence = 3"
        )
        with pytest.raises(DBAPIError, match=r"append-only|follow the last"), database.writing() as session:
            session.execute(text(statement))
    database.close()


def test_postgresql_truncates_nothing_and_knows_no_replica(cluster):
    name = cluster.create()
    database = Database(owned(cluster.url(name)))
    make_tables(database)
    write(database, 1)
    for statement in ("TRUNCATE audit_entries", "DELETE FROM audit_entries"):
        with psycopg.connect(cluster.url(name)) as superuser:
            superuser.execute("SET session_replication_role = replica")
            with pytest.raises(psycopg.Error, match="append-only"):
                superuser.execute(statement)
    database.close()
    cluster.drop(name)


def test_the_guards_can_be_installed_again(database):
    with database.writing() as session:
        guards.install_guards(session.connection())
    write(database, 2)
    assert sequences(database) == [1, 2]


def test_without_guards_the_columns_allow_no_fork(database):
    write(database, 1)
    tamper(database)
    write(database, 1)
    columns = "time, actor, actor_kind, operation, object, organisation, project, outcome, details, prev"
    with pytest.raises(IntegrityError), database.writing() as session:
        session.execute(
            text(f"INSERT INTO audit_entries (sequence, {columns}, hash) SELECT 3, {columns}, 'h' FROM audit_entries")
        )


# ---- what may be in an entry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "details",
    [
        {"name": "x"},
        {"email": "x"},
        {"user_email": "x"},
        {"password": "x"},
        {"access_token": "x"},
        {"client_secret": "x"},
        {"deep": [{"phone": 1}]},
        {"to": "ana@clinic.example"},
        {"who": "Ana Maier"},
        {"who": "Zoë"},
        {"line": "a\nb"},
        {"zero": "a\x00b"},
        {"half": "\ud800"},
        {"jwt": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbmEifQ.c2ln"},
        {"long": "a" * 129},
        {"data": b"bytes"},
        {"number": float("nan")},
        {"number": float("inf")},
        {"number": 2**53 + 1},
        {"a set": 1},
        {"Upper": 1},
        {1: 1},
        {"deep": [[[[[1]]]]]},
        {"many": list(range(MOST_ITEMS + 1))},
        {"much": [{"list": ["a" * 128] * 64}] * 3},
        ["no", "object"],
        "text",
        None,
    ],
)
def test_details_that_may_be_personal_secret_or_large_are_refused(details):
    with pytest.raises(InvalidInput) as refused:
        require_details(details)
    assert refused.value.code == "audit-not-opaque"
    assert refused.value.hint
    for value in ("ana@", "Maier", "Zoë", "eyJ"):
        assert value not in str(refused.value), "the message does not repeat what must not be written down"


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"token_id": "t-1", "name_count": 3, "secret_ids": ["a", "b"]},
        {"method": "PUT", "time": "2026-01-01T00:00:00.5Z", "path": "/v1/runs/abc%20d", "key": "ab" * 32},
        {"signature": "cd" * 64, "role": "org-admin", "scope": "project:credit", "epsilon": 1.5, "nothing": None},
    ],
)
def test_ids_digests_and_numbers_are_let_in(details):
    assert require_details(details) == details


def test_every_field_holds_an_id(database):
    for field in ("actor", "actor_kind", "operation", "object", "organisation", "project"):
        for value in ("ana@clinic.example", "Ana Maier", "", "a" * 201, "a\x00", "é", 7):
            with pytest.raises(InvalidInput) as refused, database.writing() as session:
                audit.append(session, **entry(1, **{field: value}))
            assert refused.value.code == "audit-not-opaque"
            assert field in str(refused.value)
    assert sequences(database) == []


def test_an_outcome_is_one_of_three(database):
    with pytest.raises(InvalidInput, match="perhaps"), database.writing() as session:
        audit.append(session, **entry(1, outcome="perhaps"))


@given(st.text())
def test_whatever_a_caller_sends_becomes_an_id_or_a_digest(text):
    known = audit.opaque(text)
    assert audit.opaque(known) == known
    assert known == text or known.startswith("sha256:")
    assert "@" not in known
    assert " " not in known


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_is_let_in_can_be_hashed_and_is_short(details):
    try:
        require_details(details)
    except InvalidInput:
        return
    assert len(entries.digest("00" * 32, {"details": details})) == 64
    assert len(json.dumps(details)) < 100_000
