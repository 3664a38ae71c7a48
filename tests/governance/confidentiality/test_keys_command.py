"""`flaas keys`: what is sealed stays readable through every change of the key that wraps the others."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from flaas_jupyter import keys_command
from flaas_jupyter.coordination.tables import Base, Organisation
from flaas_jupyter.costs.accounts import CloudAccount
from flaas_jupyter.costs.secrets import Keyring
from flaas_jupyter.governance.audit import AuditEntry
from flaas_jupyter.governance.confidentiality import Vault, person
from flaas_jupyter.governance.identity import keys as signing

EMAIL, ANA = "persons.email", person("ana")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A data base with one sealed field and one cloud account, and a home of the test's own."""
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    for name in ("FLAAS_SECRETS_KEY", "FLAAS_SECRETS_KEY_OLD", "FLAAS_KMS_COMMAND", "FLAAS_KMS_COMMAND_OLD"):
        monkeypatch.delenv(name, raising=False)
    url = f"sqlite:///{tmp_path / 'coordination.db'}"
    monkeypatch.setenv("FLAAS_DATABASE_URL", url)
    monkeypatch.setattr("flaas_jupyter.coordination.database.Database.migrate", lambda self: None)
    made = create_engine(url)
    Base.metadata.create_all(made)
    with Session(made) as session:
        session.add(Organisation(id="clinic", name="Clinic", created=NOW))
        session.flush()
        account = CloudAccount(
            id="a1",
            organisation="clinic",
            provider="aws",
            title="Ours",
            sealed=Keyring.load().seal({"key": "k"}, "clinic", "a1"),
            identity={},
            permissions=[],
            overlays=[],
            created=NOW,
            checked=NOW,
            fetch_state="never",
        )
        session.add(account)
        session.info["field"] = Vault.load().seal(session, EMAIL, ANA, "ana@clinic.example")
        field = session.info["field"]
        session.commit()
    yield made, field
    made.dispose()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(keys_command.keys, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def read(engine, field):
    with Session(engine) as session:
        account = session.get(CloudAccount, "a1")
        opened = Keyring.load().open(account.sealed, "clinic", "a1")
        return Vault.load().open(session, EMAIL, ANA, field), opened


def test_a_new_key_takes_over_and_the_old_one_can_go(engine, tmp_path):
    made, field = engine
    key = tmp_path / "home" / "secrets.key"
    before = key.read_text()
    assert run("status").splitlines()[0].endswith("present  1 data keys")

    assert "1 data keys wrapped and 1 cloud accounts" in run("rotate", "--new")

    assert key.read_text() != before
    assert read(made, field) == ("ana@clinic.example", {"key": "k"})
    assert "1 older keys deleted" in run("rotate", "--forget-old")
    assert sorted(path.name for path in key.parent.iterdir()) == ["secrets.key"]
    assert read(made, field) == ("ana@clinic.example", {"key": "k"})
    assert before.strip() not in run("status")
    with Session(made) as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.sequence)).first()
    assert (entry.actor, entry.actor_kind, entry.operation) == ("operator", "system", "key:wrap")
    assert entry.details == {"new_key": True, "everything": False, "wrapped_count": 1, "sealed_count": 1}


def test_to_a_kms(engine, kms, monkeypatch):
    made, field = engine
    monkeypatch.setenv("FLAAS_KMS_COMMAND", kms.command)

    assert "1 data keys wrapped and 1 cloud accounts" in run("rotate", "--new", "--forget-old")

    assert run("status").startswith("kms:alpha  present  1 data keys")
    assert read(made, field) == ("ana@clinic.example", {"key": "k"})
    assert "1 data keys wrapped" in run("rotate", "--everything")


def test_a_key_that_is_missing_is_said(engine, tmp_path):
    (tmp_path / "home" / "secrets.key").unlink()
    told = CliRunner().invoke(keys_command.keys, ["status"])
    assert (told.exit_code, "[data-key-unreadable]" in told.output) == (1, True)
    assert "Traceback" not in told.output


def test_public_keys_are_exported_and_no_private_ones(engine, tmp_path):
    made, _ = engine
    with Session(made) as session:
        signing.ensure(session, Vault.load(), datetime.now(UTC))
        session.commit()
    assert "Data key 2 of installation: 2 fields" in run("renew", "installation")
    run("export-public", "--output", str(tmp_path / "jwks.json"))
    published = json.loads((tmp_path / "jwks.json").read_text())["keys"]
    assert published
    assert all("d" not in key and key["kty"] == "OKP" for key in published)
