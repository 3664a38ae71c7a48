"""Checkpoints: when they are due, what they say, by which key, and that later ones provably extend earlier ones."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.errors import Conflict, InvalidInput, NotAuthenticated, NotFound
from flaas_jupyter.governance.audit import checkpoints, keys
from flaas_jupyter.governance.audit.merkle import is_extension
from flaas_jupyter.governance.audit.statements import Checkpoint, Succession, Trust
from flaas_jupyter.governance.audit.tables import AuditKey
from flaas_jupyter.governance.audit.verification import stored, stored_checkpoints, verify
from flaas_jupyter.governance.confidentiality import LocalKeys, Vault

from .logs import SIGNER, START, sign, tampered, write

VAULT = Vault([LocalKeys([b"k" * 32])])


def test_one_is_due_after_so_many_entries_or_so_long(database):
    def due(seconds: float) -> bool:
        with database.reading() as session:
            return checkpoints.due(session, START + timedelta(seconds=seconds), entries=5, seconds=60)

    assert not due(10_000), "nothing to sign"
    write(database, 1)  # its time is START and one second
    assert not due(60)
    assert due(61)
    write(database, 3)
    assert not due(60)
    write(database, 1)
    assert due(6)
    sign(database)
    assert not due(10_000)
    write(database, 1)
    assert not due(60)
    assert due(66)


def test_an_unchanged_log_is_not_signed_twice(database):
    with database.writing() as session:
        assert checkpoints.sign(session, SIGNER, START) is None
    write(database, 3)
    assert sign(database)["body"]["sequence"] == 3
    with database.writing() as session:
        assert checkpoints.sign(session, SIGNER, START) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_any_two_numbers_up_to_the_newest_checkpoint_are_proven(signed_in_steps, data):
    database, roots = signed_in_steps
    second = data.draw(st.sampled_from(sorted(roots)), label="to")
    first = data.draw(st.sampled_from([size for size in sorted(roots) if size <= second]), label="from")
    with database.reading() as session:
        proof = [bytes.fromhex(digest) for digest in checkpoints.proof(session, first, second)]
    assert is_extension(first, second, bytes.fromhex(roots[first]), bytes.fromhex(roots[second]), proof)


@pytest.fixture
def signed_in_steps(database):
    """A log that was signed after steps of all lengths."""
    roots = {}
    for step in (1, 1, 2, 3, 1, 8, 5, 16):
        write(database, step)
        body = sign(database)["body"]
        roots[body["sequence"]] = body["root"]
    with database.reading() as session:
        assert verify(stored(session), stored_checkpoints(session)).checkpoints == len(roots)
    return database, roots


def test_there_is_no_proof_beyond_what_is_signed(database):
    write(database, 3)
    sign(database)
    write(database, 1)
    with database.reading() as session:
        with pytest.raises(NotFound) as unsigned:
            checkpoints.proof(session, 1, 4)
        assert unsigned.value.code == "audit-not-signed"
        for first, second in ((0, 3), (3, 2), (-1, 1)):
            with pytest.raises(InvalidInput) as bad:
                checkpoints.proof(session, first, second)
            assert bad.value.code == "bad-proof-range"


def test_a_log_whose_tail_or_tree_was_tampered_with_is_not_signed(database):
    write(database, 6)
    sign(database)
    write(database, 2)
    for statement in (
        "DELETE FROM audit_entries WHERE sequence > 5",
        "UPDATE audit_entries SET hash = prev WHERE sequence = 6",
        "UPDATE audit_entries SET actor = actor, hash = 'ab' WHERE sequence = 6",
        "UPDATE audit_tree SET hash = 'abab' WHERE level = 2",
        "DELETE FROM audit_tree WHERE level = 2",
        "DELETE FROM audit_entries WHERE sequence = 7",
    ):
        with tampered(database, statement) as session, pytest.raises(Conflict) as refused:
            checkpoints.sign(session, SIGNER, START)
        assert refused.value.code == "audit-log-changed"


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_sealed(database):
    with database.writing() as session:
        first = keys.active(session, VAULT, START)
    with database.writing() as session:
        assert keys.active(session, VAULT, START).node_id == first.node_id
        row = session.scalars(select(AuditKey)).one()
    assert row.key == first.node_id
    assert first.seed.hex() not in str(vars(row))


def test_a_retired_key_stays_verifiable_and_signs_no_more(database):
    with database.writing() as session:
        old = keys.active(session, VAULT, START)
    write(database, 3)
    early = sign(database, old)
    with database.writing() as session:
        new = keys.rotate(session, VAULT, START)
    write(database, 2)
    with database.writing() as session:
        signer = keys.active(session, VAULT, START)
        assert signer.node_id == new != old.node_id
    late = sign(database, signer)
    with database.reading() as session:
        trust = keys.trust(session)
        assert trust is not None
        assert (trust.pinned, trust.newest) == (old.node_id, new)
        assert verify(stored(session), stored_checkpoints(session), trust=trust).checkpoints == 2
        retired = session.scalars(select(AuditKey).where(AuditKey.key == old.node_id)).one()
        assert retired.sealed is None, "the private half is gone"
    assert trust.open(early).sequence == 3
    assert trust.open(late).sequence == 5
    body = Checkpoint(6, "ab" * 32, "cd" * 32, 0, old.node_id)
    with pytest.raises(NotAuthenticated) as refused:
        trust.open(body.sign(old))
    assert refused.value.code == "audit-key-unknown"


def test_keys_are_followed_in_order_and_each_once():
    one, two, three, thief = (Identity(bytes([number]) * 32) for number in range(1, 5))
    first = Succession(one.node_id, two.node_id, 5, 0).sign(one)
    second = Succession(two.node_id, three.node_id, 9, 0).sign(two)
    trust = Trust(one.node_id, [first, second])
    assert trust.newest == three.node_id
    assert not trust.follow([first, second])
    assert not trust.follow([Succession(one.node_id, thief.node_id, 9, 0).sign(one)]), "a retired key names nobody"
    assert not trust.follow([Succession(thief.node_id, one.node_id, 9, 0).sign(thief)])
    assert not trust.follow([Succession(three.node_id, one.node_id, 9, 0).sign(three)]), "a retired key does not return"
    assert Trust(one.node_id, [second]).newest == one.node_id
    forged = {"body": {**first["body"], "key": thief.node_id}, "signature": first["signature"]}
    with pytest.raises(NotAuthenticated):
        Trust(one.node_id, [forged])


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 0},
        {"sequence": -1},
        {"sequence": True},
        {"sequence": "1"},
        {"sequence": 1.0},
        {"sequence": 1 << 62},
        {"hash": "x"},
        {"root": None},
        {"key": "AB" * 32},
        {"time": None},
        {"more": 1},
    ],
)
def test_garbage_is_no_checkpoint(change):
    sound = Checkpoint(1, "ab" * 32, "cd" * 32, 0, SIGNER.node_id)
    assert Checkpoint.open(sound.sign(SIGNER)) == sound
    document = sound.sign(SIGNER)
    document["body"] = {**document["body"], **change}
    with pytest.raises((InvalidInput, NotAuthenticated)):
        Checkpoint.open(document)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_whatever_is_shown_as_a_checkpoint_is_refused_in_order(document):
    with pytest.raises(InvalidInput):
        Checkpoint.open(document)
    with pytest.raises(InvalidInput):
        Succession.open(document)


def test_erasing_a_person_leaves_the_chain_as_it_was(database):
    with database.writing() as session:
        session.execute(text("CREATE TABLE people (id TEXT PRIMARY KEY, email TEXT)"))
        session.execute(text("INSERT INTO people VALUES ('person-1', 'sealed')"))
        VAULT.seal(session, "persons.email", "person:person-1", "ana@clinic.example")
    write(database, 4)
    sign(database)
    with database.writing() as session:
        VAULT.shred(session, "person:person-1")
        session.execute(text("DELETE FROM people"))
    write(database, 1)
    with database.reading() as session:
        result = verify(stored(session), stored_checkpoints(session))
        assert (result.finding, result.entries, result.checkpoints) == (None, 5, 1)
        assert "clinic.example" not in str(list(stored(session)))
