"""What an attacker who owns the data base changes is found at its number; what no chain can show, by a checkpoint."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.errors import Conflict
from flaas_jupyter.governance.audit import checkpoints, entries, verification
from flaas_jupyter.governance.audit.statements import Checkpoint, Trust
from flaas_jupyter.governance.audit.verification import exported, stored, stored_checkpoints, verify

from .logs import SIGNER, START, make_tables, rebuild, sign, tamper, tampered, write


def check(database, documents=None, **options):
    with database.reading() as session:
        kept = stored_checkpoints(session) if documents is None else documents
        return verify(stored(session), kept, **options)


def lines(database) -> list[str]:
    with database.reading() as session:
        return [json.dumps(dict(entry)) for entry in stored(session)]


@pytest.fixture
def sqlite(tmp_path):
    """A log on SQLite alone."""
    database = Database(f"sqlite:///{tmp_path / 'audit.db'}")
    make_tables(database)
    yield database
    database.close()


@pytest.fixture
def log(database):
    """Twelve entries, signed at 5 and at 12."""
    write(database, 5)
    sign(database)
    write(database, 7)
    sign(database)
    return database


def test_a_sound_log_is_found_sound(log):
    result = check(log, trust=Trust(SIGNER.node_id))
    assert result.finding is None
    assert (result.entries, result.checkpoints, result.gaps) == (12, 2, 0)
    assert result.keys == [SIGNER.node_id]
    with log.reading() as session:
        last = Checkpoint.open(stored_checkpoints(session)[-1])
    assert (result.head, result.root) == (last.hash, last.root)


def test_an_empty_log_is_sound(database):
    result = check(database)
    assert (result.finding, result.entries, result.head) == (None, 0, "00" * 32)


CHANGES = [
    "actor = 'mallory'",
    "actor = actor || ' '",
    "actor_kind = 'node'",
    "operation = 'run:cancel'",
    "object = 'runs/8'",
    "organisation = 'elsewhere'",
    "organisation = NULL",
    "project = 'other'",
    "project = NULL",
    "outcome = 'refused'",
    "details = '{}'",
    'details = \'{"method": "POST", "parts": [7, 0.5, true, null], "body_sha256": "ac"}\'',
    "prev = 'x'",
    f"prev = '{'ab' * 32}'",
    "hash = 'x'",
    f"hash = '{'ab' * 32}'",
    "time = '2026-01-01 12:00:07.123457'",
]


def test_a_change_of_any_field_is_found_at_its_number(log):
    for change in CHANGES:
        with tampered(log, f"UPDATE audit_entries SET {change} WHERE sequence = 7") as session:
            finding = verify(stored(session), stored_checkpoints(session)).finding
        assert (finding.sequence, finding.kind) == (7, "changed"), change


def test_a_field_that_cannot_be_read_any_more_is_found_at_its_number(sqlite):
    write(sqlite, 12)
    for change in ("time = 'yesterday'", "details = '{'", "time = 12", "details = 'null'", "actor = x'ff00'"):
        with tampered(sqlite, f"UPDATE audit_entries SET {change} WHERE sequence = 7") as session:
            finding = verify(stored(session)).finding
        assert finding.sequence == 7, change
        assert finding.kind in ("unreadable", "changed")


MOVED = [
    ("DELETE FROM audit_entries WHERE sequence = 7", 7, "missing"),
    ("DELETE FROM audit_entries WHERE sequence BETWEEN 3 AND 7", 3, "missing"),
    ("DELETE FROM audit_entries WHERE sequence = 1", 1, "missing"),
    ("UPDATE audit_entries SET sequence = 40 WHERE sequence = 7", 7, "missing"),
    ("UPDATE audit_entries SET sequence = 0 WHERE sequence = 7", 0, "repeated"),
    ("UPDATE audit_entries SET sequence = -3 WHERE sequence = 1", -3, "repeated"),
]


def test_a_row_that_is_missing_or_moved_is_found(log):
    for statement, sequence, kind in MOVED:
        with tampered(log, statement) as session:
            finding = verify(stored(session), stored_checkpoints(session)).finding
        assert (finding.sequence, finding.kind) == (sequence, kind), statement


def test_a_single_entry_with_a_hash_of_its_own_breaks_the_chain_at_its_number(log):
    with log.reading() as session:
        body = dict(next(entry for entry in stored(session) if entry["sequence"] == 7))
    body["actor"] = "mallory"
    fitting = entries.digest(body["prev"], {name: body[name] for name in entries.FIELDS})
    tamper(log, f"UPDATE audit_entries SET actor = 'mallory', hash = '{fitting}' WHERE sequence = 7")
    finding = check(log).finding
    assert (finding.sequence, finding.kind) == (7, "changed")
    assert "new hash" in finding.detail


def test_cutting_off_the_tail_is_not_seen_by_the_chain_but_by_a_checkpoint(log):
    with log.reading() as session:
        kept = stored_checkpoints(session)
    tamper(
        log,
        "DELETE FROM audit_entries WHERE sequence > 8",
        "DELETE FROM audit_checkpoints WHERE sequence > 8",
    )
    assert check(log).finding is None, "a chain that is shorter is still a chain"
    finding = check(log, kept).finding
    assert (finding.sequence, finding.kind) == (9, "cut-off")
    assert "12" in finding.detail
    tamper(log, "DELETE FROM audit_entries")
    assert check(log, kept).finding.sequence == 1


def test_a_history_rebuilt_with_fitting_hashes_is_seen_by_a_checkpoint(log):
    with log.reading() as session:
        kept = stored_checkpoints(session)
    with log.writing() as session:
        rebuild(session, 3, actor="mallory")
    assert check(log, documents=[]).finding is None, "the chain alone is sound"
    finding = check(log, kept).finding
    assert (finding.sequence, finding.kind) == (5, "rewritten")
    assert kept[0]["body"]["hash"] in finding.detail


def test_a_rebuilt_history_is_signed_anew_only_over_the_servers_own_objection(log):
    with log.writing() as session:
        rebuild(session, 3, actor="mallory")
    write(log, 1)
    with pytest.raises(Conflict) as refused, log.writing() as session:
        checkpoints.sign(session, SIGNER, START)
    assert refused.value.code == "audit-log-changed"


def test_checkpoints_of_another_key_are_not_believed(log):
    finding = check(log, trust=Trust(Identity(b"b" * 32).node_id)).finding
    assert finding.kind == "checkpoint"
    assert "not one of the keys" in finding.detail


def test_a_checkpoint_that_was_changed_is_not_believed(log):
    with log.reading() as session:
        document = stored_checkpoints(session)[0]
    document["body"]["sequence"] = 4
    finding = check(log, [document]).finding
    assert (finding.sequence, finding.kind) == (4, "checkpoint")


def test_a_root_that_is_not_the_entries_is_found(log):
    with log.reading() as session:
        genuine = Checkpoint.open(stored_checkpoints(session)[0])
    false = Checkpoint(genuine.sequence, genuine.hash, "ab" * 32, genuine.time, genuine.key).sign(SIGNER)
    finding = check(log, [false]).finding
    assert (finding.sequence, finding.kind) == (5, "checkpoint")


# ---- exports --------------------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_no_byte_of_an_export_can_be_changed_unseen(sound_export, data):
    text, kept, trust = sound_export
    place = data.draw(st.integers(0, len(text) - 1), label="place")
    byte = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda new: new != text[place]))
    forged = text[:place] + byte + text[place + 1 :]
    result = verify(exported(forged.splitlines()), kept, trust=trust)
    number = text[:place].count("\n") + 1
    if result.finding is None:  # another spelling of the same: a space where JSON does not care, 1E0 for 1e0
        assert [json.loads(line) for line in forged.splitlines()] == [json.loads(line) for line in text.splitlines()]
    else:
        assert number in (result.finding.sequence, result.finding.sequence + 1) or result.finding.kind != "changed"


@pytest.fixture(scope="module")
def sound_export(tmp_path_factory):
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('audit') / 'audit.db'}")
    make_tables(database)
    write(database, 6)
    kept = [sign(database)]
    text = "\n".join(lines(database))
    database.close()
    return text, kept, Trust(SIGNER.node_id)


def test_an_export_is_checked_as_the_data_base_is(sound_export):
    text, kept, trust = sound_export
    rows = text.splitlines()
    assert verify(exported(rows), kept, trust=trust).finding is None
    assert verify(exported([*rows, ""]), kept, trust=trust).finding is None
    cases = [
        (rows[:-1], 6, "cut-off"),
        ([*rows[:2], *rows[3:]], 3, "missing"),
        (rows[1:], 1, "missing"),
        ([rows[0], *rows], 1, "repeated"),
        ([rows[1], rows[0], *rows[2:]], 1, "missing"),
        ([*rows[:2], "{", *rows[3:]], 3, "unreadable"),
        ([*rows[:2], "[1]", *rows[3:]], 3, "unreadable"),
        ([*rows[:2], "{}", *rows[3:]], 3, "unreadable"),
        ([*rows[:2], '{"sequence": 3}', *rows[3:]], 3, "unreadable"),
        ([*rows[:2], '{"sequence": true}', *rows[3:]], 3, "unreadable"),
        ([*rows[:2], "[" * 100_000, *rows[3:]], 3, "unreadable"),
    ]
    for forged, sequence, kind in cases:
        finding = verify(exported(forged), kept, trust=trust).finding
        assert (finding.sequence, finding.kind) == (sequence, kind), forged


def test_a_partial_export_is_checked_as_far_as_it_goes(sound_export):
    text, kept, trust = sound_export
    rows = text.splitlines()
    part = [rows[0], rows[1], rows[4], rows[5]]
    result = verify(exported(part), kept, trust=trust, partial=True)
    assert (result.finding, result.entries, result.gaps, result.root) == (None, 4, 2, None)
    assert result.checkpoints == 1, "the last entry is the one that was signed"
    forged = [rows[0], rows[1].replace("person-2", "mallory"), *rows[4:]]
    assert verify(exported(forged), kept, trust=trust, partial=True).finding.sequence == 2


def test_a_long_log_is_read_in_pages_and_tells_how_far_it_is(sqlite, monkeypatch):
    monkeypatch.setattr(verification, "_PAGE", 10)
    monkeypatch.setattr(entries, "_PAGE", 10)
    write(sqlite, 25)
    document = sign(sqlite, now=START + timedelta(hours=1))
    told = []
    result = check(sqlite, progress=told.append)
    assert (result.finding, result.entries, told) == (None, 25, [10, 20])
    assert result.root == document["body"]["root"]
    with tampered(sqlite, "UPDATE audit_entries SET time = 'never' WHERE sequence = 17") as session:
        assert verify(stored(session)).finding.sequence == 17
