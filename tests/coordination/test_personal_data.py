"""Names and addresses: sealed wherever they are kept, shown to the person, and gone when the person is erased."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, text

from flaas_jupyter.coordination.services import personal
from flaas_jupyter.errors import Conflict, NotFound
from flaas_jupyter.governance import audit
from flaas_jupyter.governance.audit import verification
from flaas_jupyter.governance.audit.tables import AuditEntry
from flaas_jupyter.governance.confidentiality import DataKey, person, sealed_columns
from flaas_jupyter.governance.identity import persons
from flaas_jupyter.governance.identity.tables import Person, SignIn
from flaas_jupyter.governance.tables import Token

from .hosted_api import Federation, run_body

NAME, ADDRESS = "Zacharias Quibble", "zq.marker@clinic.example"
TRACES = ("zacharias", "quibble", "zq.marker")

Dump = Callable[[], bytes]


@pytest.fixture
def dump(database_url: str, database_kind: str) -> Dump:
    """Everything that the data base keeps: the files of SQLite, every row of PostgreSQL as text."""

    def sqlite() -> bytes:
        path = Path(database_url.removeprefix("sqlite:///"))
        return b"".join(each.read_bytes() for each in sorted(path.parent.glob(f"{path.name}*")))

    def postgresql() -> bytes:
        engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
            rows = [connection.execute(text(f'SELECT t::text FROM "{table}" t')).scalars().all() for table in tables]
        engine.dispose()
        return "\n".join(row for table in rows for row in table).encode()

    return sqlite if database_kind == "sqlite" else postgresql


def traces(kept: bytes) -> list[str]:
    lower = kept.lower()
    encoded = [base64.b64encode(each.encode()).rstrip(b"=")[:-2] for each in (NAME, ADDRESS)]
    return [each for each in TRACES if each.encode() in lower] + [str(each) for each in encoded if each in kept]


def invite(federation: Federation, user: str = "p-marker") -> dict:
    body = {"id": user, "kind": "person", "organisation": "north", "name": NAME, "email": ADDRESS}
    return federation.governor.post("/v1/users", body, headers={"Idempotency-Key": f"make-{user}"})


# ---- at rest ------------------------------------------------------------------------------------------------------


def test_names_and_addresses_are_nowhere_in_the_clear(federation, dump, caplog, capfd):
    caplog.set_level("DEBUG")
    shown = invite(federation)
    assert (shown["name"], shown["email"]) == (NAME, ADDRESS)
    path = f"/v1/users/{shown['id']}"
    assert federation.governor.get(path)["email"] == ADDRESS
    federation.governor.post(f"{path}/roles", {"role": "viewer", "scope": "organisation:north"})
    refused = [
        federation.governor.problem("POST", "/v1/users", {"id": "p-marker", "organisation": "north", "email": ADDRESS}),
        federation.governor.problem("POST", "/v1/users", {"id": "p-second", "organisation": "north", "email": ADDRESS}),
        federation.governor.problem("POST", "/v1/users", {"organisation": "north", "name": NAME, "email": "none"}),
    ]

    kept = dump()
    assert b"p-marker" in kept  # it is the right data base
    assert traces(kept) == []
    assert traces(json.dumps(refused).encode()) == []
    assert traces((caplog.text + "".join(capfd.readouterr())).encode()) == []


def test_every_column_that_could_hold_a_name_or_address_is_declared_sealed():
    declared = {str(column) for column in sealed_columns.declared()}
    assert {"persons.name", "persons.email"} <= declared
    personal = {
        f"{table.name}.{column.name}"
        for table in Person.metadata.tables.values()
        for column in table.columns
        if column.name in {"email", "mail", "full_name", "given_name", "family_name", "phone", "address", "sealed"}
    }
    # Cloud credentials have a key of their own (`costs.secrets`), which `flaas keys rotate` seals anew.
    assert personal - {"cloud_accounts.sealed"} <= declared


def test_a_new_data_key_seals_all_fields_of_a_person_anew(federation, api):
    invite(federation)
    vault, owner = api.hosted.vault, person("p-marker")
    with api.hosted.database.writing() as session:
        before = session.get_one(Person, "p-marker").name
        vault.rotate(session, owner)
        assert sealed_columns.reseal(session, vault, owner) == 2
    with api.hosted.database.reading() as session:
        row = session.get_one(Person, "p-marker")
        assert row.name != before
        assert persons.told(session, row, vault) == (NAME, ADDRESS)
        assert session.scalars(select(DataKey.version).where(DataKey.owner == owner)).all() == [2]


# ---- the person's own ---------------------------------------------------------------------------------------------


def test_the_export_tells_the_caller_what_is_kept_and_no_secret(federation):
    federation.three()
    federation.developer.post(f"{federation.path}/runs", run_body())

    kept = federation.developer.get("/v1/me/export")

    assert kept["person"]["id"] == "developer.laboratory"
    assert kept["person"]["organisation"] == "laboratory"
    assert {"role": "developer", "scope": "organisation:laboratory"} in kept["roles"]
    assert len(kept["tokens"]) == 1
    assert len(kept["runs"]) == 1
    secret = federation.people["developer", "laboratory"].split("_", 2)[2]  # the secret may hold "_" too
    assert secret not in json.dumps(kept)
    assert "digest" not in json.dumps(kept)


def test_the_export_is_kept_by_nobody_on_the_way(federation):
    answer = federation.developer.call("GET", "/v1/me/export")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert "ETag" not in answer.headers


def test_nobody_and_nodes_get_no_export(federation):
    assert federation.nobody.refused("GET", "/v1/me/export")[0] == 401
    assert federation.node("north").api.refused("GET", "/v1/me/export") == (404, "unknown-user")


# ---- erasing ------------------------------------------------------------------------------------------------------


def test_who_is_erased_leaves_an_id_and_nothing_else(federation, api, dump):

    invite(federation)
    database, vault = api.hosted.database, api.hosted.vault
    with database.reading() as session:
        row = session.get_one(Person, "p-marker")
        sealed, wrapped = row.email, session.get_one(DataKey, (person("p-marker"), 1)).wrapped
        assert vault.open(session, "persons.email", person("p-marker"), sealed) == ADDRESS

    with database.writing() as session:
        personal.erase(session, vault, "p-marker")
        personal.erase(session, vault, "p-marker")

    with database.reading() as session:
        row = session.get_one(Person, "p-marker")
        assert (row.state, row.name, row.email, row.login, row.password) == ("removed", None, None, None, None)
        assert (row.approval_key, row.password_changed, row.approval_key_changed) == (None, None, None)
        assert session.scalars(select(SignIn).where(SignIn.person == "p-marker")).all() == []
        assert session.scalars(select(Token).where(Token.user == "p-marker")).all() == []
        assert session.get(DataKey, (person("p-marker"), 1)) is None
        with pytest.raises(Conflict) as caught:  # from a copy that was made before
            vault.open(session, "persons.email", person("p-marker"), sealed)
        assert caught.value.code == "field-erased"
        with pytest.raises(NotFound):
            persons.find(session, "p-marker")
        with pytest.raises(NotFound):
            personal.export(session, vault, "p-marker")
    assert federation.governor.refused("GET", "/v1/users/p-marker") == (404, "unknown-user")
    again = {"id": "p-other", "organisation": "north", "name": NAME, "email": ADDRESS}
    federation.governor.post("/v1/users", again)  # the address is free
    api.stop()
    if "sqlite" in str(database):
        assert wrapped.encode() not in dump()


def test_a_service_that_is_erased_is_signed_out_at_once(federation, api):

    caller = federation.person("viewer", "north")
    assert caller.get("/v1/me")["subject"] == "viewer.north"
    with api.hosted.database.writing() as session:
        personal.erase(session, api.hosted.vault, "viewer.north")
    assert caller.refused("GET", "/v1/me")[0] == 401


def test_the_audit_log_stays_valid_and_still_names_the_id(federation, api):

    invite(federation)
    with api.hosted.database.writing() as session:
        for operation in ("member:manage", "me:write"):
            audit.append(
                session,
                actor="p-marker",
                actor_kind="user",
                operation=operation,
                object="p-marker",
                organisation="north",
                project=None,
                outcome="done",
                details={},
            )
    with api.hosted.database.reading() as session:
        before = personal.export(session, api.hosted.vault, "p-marker")["audit"]
    with api.hosted.database.writing() as session:
        personal.erase(session, api.hosted.vault, "p-marker")
    with api.hosted.database.reading() as session:
        rows = session.scalars(select(AuditEntry).order_by(AuditEntry.sequence)).all()
        assert [row.sequence for row in rows if row.actor == "p-marker"][-2:] == [e["sequence"] for e in before][-2:]
        checked = verification.verify(verification.stored(session))
        assert (checked.finding, checked.entries) == (None, len(rows))


def test_erasing_somebody_who_never_was_is_said(federation, api):

    with pytest.raises(NotFound), api.hosted.database.writing() as session:
        personal.erase(session, api.hosted.vault, "nobody")
