"""Sealed fields: only the right key, purpose and owner open them; rotation loses nothing, erasure everything."""

from __future__ import annotations

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import Session

from flaas_jupyter.errors import Conflict, NotFound
from flaas_jupyter.governance.confidentiality import INSTALLATION, DataKey, LocalKeys, Vault, organisation, person

OLD, NEW = b"o" * 32, b"n" * 32
EMAIL = "persons.email"
ANA, BEA = person("ana"), person("bea")

ENGINE = create_engine("sqlite://")
DataKey.metadata.create_all(ENGINE, tables=[DataKey.__table__])
TEXTS = st.text(st.characters(codec=None), max_size=60)
OWNERS = st.sampled_from([ANA, BEA, organisation("ana"), INSTALLATION])
PURPOSES = st.sampled_from([EMAIL, "persons.name", "persons.email/1", ""])


def vault_of(*keys: bytes) -> Vault:
    return Vault([LocalKeys(keys or (OLD,))])


def refused(code: str, vault: Vault, session: Session, purpose: str, owner: str, sealed: str) -> str:
    with pytest.raises(Conflict) as caught:
        vault.open(session, purpose, owner, sealed)
    assert caught.value.code == code
    return str(caught.value)


# ---- properties ---------------------------------------------------------------------------------------------------


@given(text=TEXTS, purpose=PURPOSES, owner=OWNERS)
def test_what_is_sealed_opens_again_whatever_it_is(text, purpose, owner):
    with Session(ENGINE) as session:
        sealed = vault_of().seal(session, purpose, owner, text)
        assert vault_of().open(session, purpose, owner, sealed) == text


@given(st.data())
def test_any_flipped_bit_is_refused(data):
    vault = vault_of()
    with Session(ENGINE) as session:
        sealed = vault.seal(session, EMAIL, ANA, data.draw(TEXTS))
        form, version, text = sealed.split(":")
        body = bytearray(base64.urlsafe_b64decode(text))
        bit = data.draw(st.integers(0, len(body) * 8 - 1))
        body[bit // 8] ^= 1 << bit % 8
        changed = f"{form}:{version}:{base64.urlsafe_b64encode(bytes(body)).decode()}"
        refused("field-unreadable", vault, session, EMAIL, ANA, changed)


@given(sealed_as=st.tuples(PURPOSES, OWNERS), opened_as=st.tuples(PURPOSES, OWNERS))
def test_another_field_or_owner_cannot_use_it(sealed_as, opened_as):
    vault = vault_of()
    with Session(ENGINE) as session:
        for owner in (sealed_as[1], opened_as[1]):
            vault.seal(session, EMAIL, owner, "so that the owner has a key")
        sealed = vault.seal(session, *sealed_as, "ana@clinic.example")
        if sealed_as == opened_as:
            assert vault.open(session, *opened_as, sealed) == "ana@clinic.example"
        else:
            refused("field-unreadable", vault, session, *opened_as, sealed)


@given(st.lists(st.tuples(OWNERS, TEXTS), min_size=1, max_size=6), st.lists(st.sampled_from("kd"), max_size=4))
def test_every_rotation_keeps_everything_readable(fields, steps):
    keys = [bytes([1]) * 32]
    with Session(ENGINE) as session:
        vault = vault_of(*keys)
        kept = [(owner, text, vault.seal(session, EMAIL, owner, text)) for owner, text in fields]
        index = vault.blind_index(session, EMAIL, "ana")
        for step in steps:
            if step == "k":  # a new key-encryption key; the older ones are thrown away once all is wrapped again
                keys = [bytes([keys[0][0] + 1]) * 32, keys[0]]
                vault_of(*keys).rewrap(session)
                keys = keys[:1]
                vault = vault_of(*keys)
            else:  # a new data key for everybody
                for owner in {owner for owner, _, _ in kept}:
                    vault.rotate(session, owner)
        assert [vault.open(session, EMAIL, owner, sealed) for owner, _, sealed in kept] == [t for _, t, _ in kept]
        assert vault.blind_index(session, EMAIL, "ana") == index


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(st.text(max_size=60))
def test_garbage_is_refused_and_nothing_else_happens(text):
    with Session(ENGINE) as session:
        vault = vault_of()
        vault.seal(session, EMAIL, ANA, "key")
        with pytest.raises(Conflict):
            vault.open(session, EMAIL, ANA, text)


@pytest.mark.parametrize(
    "text", ["", "v1", "v1:1", "v1:1:", "v2:1:AAAA", "v1:-1:AAAA", "v1:²:AAAA", "v1:1:AAAA", "v1:1:é", "v1:1:A"]
)
def test_texts_that_are_nearly_sealed_are_refused(text):
    with Session(ENGINE) as session:
        vault_of().seal(session, EMAIL, ANA, "key")
        refused("field-unreadable", vault_of(), session, EMAIL, ANA, text)


# ---- as it is used ------------------------------------------------------------------------------------------------


def test_nothing_shows_and_the_same_again_looks_different(session):
    vault = vault_of()
    first, second = (vault.seal(session, EMAIL, ANA, "ana@clinic.example") for _ in range(2))
    assert first != second
    row = session.get(DataKey, (ANA, 1))
    shown = f"{vault!r} {LocalKeys([OLD])!r} {row.wrapped} {first}"
    assert "ana@" not in shown
    assert OLD.decode() not in shown
    assert "oooo" not in base64.b64decode(row.wrapped).decode("latin-1")


def test_one_data_key_an_owner_however_many_fields(session):
    vault = vault_of()
    for field in range(5):
        vault.seal(session, f"persons.field{field}", ANA, "x")
    vault.seal(session, EMAIL, organisation("clinic"), "x")
    assert {tuple(row) for row in session.execute(select(DataKey.owner, DataKey.version))} == {
        (ANA, 1),
        (organisation("clinic"), 1),
    }


def test_a_new_key_encryption_key_wraps_data_keys_anew_and_writes_no_field(engine):
    fields = {}
    with Session(engine) as session:
        for user in range(20):
            for field in ("name", "email"):
                fields[user, field] = vault_of().seal(session, f"persons.{field}", person(str(user)), f"{field} {user}")
        session.commit()
    written = []
    event.listen(engine, "before_cursor_execute", lambda *a: written.append((a[2], a[4] or [a[3]])))
    with Session(engine) as session:
        assert vault_of(NEW, OLD).rewrap(session) == 20
        assert vault_of(NEW, OLD).rewrap(session) == 0
        assert vault_of(NEW, OLD).rewrap(session, everything=True) == 20
        session.commit()
    assert {statement.split()[0] for statement, _ in written} == {"SELECT", "UPDATE"}
    assert all("UPDATE data_keys" in statement for statement, _ in written if statement.startswith("UPDATE"))
    with Session(engine) as session:
        alone = vault_of(NEW)
        for (user, field), sealed in fields.items():
            assert alone.open(session, f"persons.{field}", person(str(user)), sealed) == f"{field} {user}"
        assert "does not have" in refused(
            "data-key-unreadable", vault_of(OLD), session, "persons.name", person("3"), fields[3, "name"]
        )


def test_without_the_key_encryption_key_the_error_says_which_is_missing(session):
    sealed = vault_of(OLD).seal(session, EMAIL, ANA, "ana@clinic.example")
    before = LocalKeys([OLD]).key_id
    message = refused("data-key-unreadable", vault_of(NEW), session, EMAIL, ANA, sealed)
    assert before in message
    assert "FLAAS_SECRETS_KEY_OLD" in message
    with pytest.raises(Conflict):  # nor is anything sealed that the others could not read
        vault_of(NEW).seal(session, EMAIL, ANA, "x")
    with pytest.raises(Conflict):
        vault_of(NEW).rewrap(session)
    uses = vault_of(NEW).usage(session)
    assert [(use.kek_id, use.data_keys, use.held, use.present) for use in uses] == [
        (LocalKeys([NEW]).key_id, 0, True, True),
        (before, 1, False, False),
    ]


def test_wrapped_keys_of_two_owners_cannot_be_exchanged(session):
    vault = vault_of()
    sealed = {owner: vault.seal(session, EMAIL, owner, owner) for owner in (ANA, BEA)}
    ana, bea = session.get(DataKey, (ANA, 1)), session.get(DataKey, (BEA, 1))
    ana.wrapped, bea.wrapped = bea.wrapped, ana.wrapped
    session.flush()
    refused("data-key-unreadable", vault_of(), session, EMAIL, ANA, sealed[ANA])


def test_after_the_rotation_of_a_data_key_its_fields_are_sealed_anew_and_the_old_key_goes(session):
    vault = vault_of()
    sealed = vault.seal(session, EMAIL, ANA, "ana@clinic.example")
    assert vault.rotate(session, ANA) == 2
    assert not vault.is_present(session, ANA, sealed)
    again = vault.reseal(session, EMAIL, ANA, sealed)
    assert vault.is_present(session, ANA, again)
    assert session.get(DataKey, (ANA, 1)).retired is not None
    assert vault.retire(session, ANA) == 1
    assert vault.open(session, EMAIL, ANA, again) == "ana@clinic.example"
    assert "deleted" in refused("field-erased", vault, session, EMAIL, ANA, sealed)


def test_an_owner_that_has_no_key_gets_no_new_one(session):
    with pytest.raises(NotFound) as caught:
        vault_of().rotate(session, "person:misspelt")
    assert caught.value.code == "no-data-key"
    assert session.scalars(select(DataKey)).all() == []


def test_shredding_makes_everything_of_one_owner_unreadable_at_once_and_nothing_else(engine):
    vault, other_process = vault_of(), vault_of()
    with Session(engine) as session:
        sealed = {owner: vault.seal(session, EMAIL, owner, owner) for owner in (ANA, BEA)}
        vault.rotate(session, ANA)
        session.commit()
    with Session(engine) as session:
        assert other_process.open(session, EMAIL, ANA, sealed[ANA]) == ANA  # it has the key in memory now
    with Session(engine) as session:
        assert vault.shred(session, ANA) == 2
        session.commit()
    for each in (vault, other_process):
        with Session(engine) as session:
            refused("field-erased", each, session, EMAIL, ANA, sealed[ANA])
            assert each.open(session, EMAIL, BEA, sealed[BEA]) == BEA
    with Session(engine) as session:  # somebody with the same id later has another key
        vault.seal(session, EMAIL, ANA, "new")
        refused("field-unreadable", vault, session, EMAIL, ANA, sealed[ANA])


def test_a_key_whose_transaction_was_rolled_back_is_not_used_from_memory(engine):
    vault = vault_of()
    with Session(engine) as session:
        lost = vault.seal(session, EMAIL, ANA, "never kept")
        session.rollback()
    with Session(engine) as session:
        kept = vault.seal(session, EMAIL, ANA, "kept")
        session.commit()
    with Session(engine) as session:
        assert vault_of().open(session, EMAIL, ANA, kept) == "kept"
        refused("field-unreadable", vault, session, EMAIL, ANA, lost)


def test_shredded_keys_leave_no_bytes_in_an_sqlite_file(tmp_path):
    path = tmp_path / "vault.db"
    engine = create_engine(f"sqlite:///{path}")
    DataKey.metadata.create_all(engine, tables=[DataKey.__table__])
    with Session(engine) as session:
        for user in range(100):
            vault_of().seal(session, EMAIL, person(str(user)), "x")
        wrapped = session.get(DataKey, (person("50"), 1)).wrapped.encode()
        session.commit()
    assert wrapped in path.read_bytes()
    with Session(engine) as session:
        vault_of().shred(session, person("50"))
        session.commit()
    engine.dispose()
    assert wrapped not in path.read_bytes()


# ---- looking things up --------------------------------------------------------------------------------------------


def test_a_blind_index_finds_the_same_text_for_the_same_purpose_only(session):
    vault = vault_of()
    index = vault.blind_index(session, EMAIL, "ana@clinic.example")
    assert (len(index), int(index, 16) > 0) == (64, True)
    assert vault.blind_index(session, EMAIL, "ana@clinic.example") == index
    others = {
        vault.blind_index(session, EMAIL, "bea@clinic.example"),
        vault.blind_index(session, "persons.name", "ana@clinic.example"),
    }
    assert index not in others
    assert len(others) == 2


def test_a_blind_index_is_another_in_another_installation():
    indexes = []
    for _ in range(2):
        engine = create_engine("sqlite://")
        DataKey.metadata.create_all(engine, tables=[DataKey.__table__])
        with Session(engine) as session:
            indexes.append(vault_of().blind_index(session, EMAIL, "ana@clinic.example"))
    assert indexes[0] != indexes[1]


def test_the_key_of_blind_indexes_is_never_rotated_away(session):
    vault = vault_of()
    index = vault.blind_index(session, EMAIL, "ana")
    vault.seal(session, EMAIL, INSTALLATION, "x")
    vault.rotate(session, INSTALLATION)
    assert vault.blind_index(session, EMAIL, "ana") == index
    owners = set(session.scalars(select(DataKey.owner)))
    for owner in owners - {INSTALLATION}:
        with pytest.raises(ValueError, match="blind indexes"):
            vault.rotate(session, owner)


# ---- memory -------------------------------------------------------------------------------------------------------


class Counting(LocalKeys):
    """Counts how often it unwraps."""

    count = 0

    def unwrap(self, key_id, wrapped, context):
        self.count += 1
        return super().unwrap(key_id, wrapped, context)


def test_unwrapped_keys_are_kept_for_a_bounded_time(session):
    service, now = Counting([OLD]), [0.0]
    vault = Vault([service], cache_seconds=10, clock=lambda: now[0])
    sealed = vault.seal(session, EMAIL, ANA, "x")
    for _ in range(50):
        vault.open(session, EMAIL, ANA, sealed)
    assert service.count == 1
    now[0] = 10.0
    vault.open(session, EMAIL, ANA, sealed)
    assert service.count == 2


def test_many_owners_are_read_in_one_query(engine):
    vault = vault_of()
    with Session(engine) as session:
        sealed = {f"person:{n}": vault.seal(session, EMAIL, f"person:{n}", str(n)) for n in range(50)}
        session.commit()
    asked = []
    event.listen(engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    with Session(engine) as session:
        vault.preload(session, sealed)
        assert [vault.open(session, EMAIL, owner, text) for owner, text in sealed.items()] == [
            str(n) for n in range(50)
        ]
    assert len(asked) == 1


def test_no_more_keys_stay_in_memory_than_there_is_room_for(monkeypatch):
    from flaas_jupyter.governance.confidentiality import memory

    monkeypatch.setattr(memory, "CACHED_KEYS", 3)
    kept = memory.UnwrappedKeys()
    for number in range(10):
        kept.keep(str(number), bytes([number]))
        kept.get("0" if number < 5 else "9")
    assert len(kept) == 3
    assert kept.get("9") == b"\x09"
    assert "\\x09" not in repr(kept)
