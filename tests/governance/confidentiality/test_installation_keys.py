"""Where the key that wraps all others comes from: the environment, a file, or a KMS that is asked by a command."""

from __future__ import annotations

import base64
import stat

import pytest
from sqlalchemy.orm import Session

from flaas_jupyter.costs.secrets import Keyring
from flaas_jupyter.errors import Conflict, InvalidInput, Unreachable
from flaas_jupyter.governance.confidentiality import DataKey, KmsCommand, Vault, person
from flaas_jupyter.governance.confidentiality.installation import forget_old_keys, replace_secret_key, secret_key
from flaas_jupyter.home import Home

EMAIL, ANA = "persons.email", person("ana")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def environment(kms, **more):
    return {"FLAAS_KMS_COMMAND": kms.command, **more}


def names(home):
    return sorted(path.name for path in home.path.iterdir()) if home.path.exists() else []


# ---- file and environment -----------------------------------------------------------------------------------------


def test_a_vault_of_another_process_with_the_same_file_or_variable_opens_it(home, tmp_path, session):
    sealed = Vault.load({}, home).seal(session, EMAIL, ANA, "ana@clinic.example")
    key = (home.path / "secrets.key").read_text()
    assert stat.S_IMODE((home.path / "secrets.key").stat().st_mode) == 0o600
    moved = Vault.load({"FLAAS_SECRETS_KEY": key}, Home(tmp_path / "other"))
    assert moved.open(session, EMAIL, ANA, sealed) == "ana@clinic.example"
    assert names(Home(tmp_path / "other")) == []


def test_a_replaced_key_file_keeps_what_was_sealed_and_what_the_clouds_need(home, session):
    vault, ring = Vault.load({}, home), Keyring.load({}, home)
    sealed = vault.seal(session, EMAIL, ANA, "ana@clinic.example")
    account = ring.seal({"key": "k"}, "clinic", "a1")
    before = secret_key({}, home)
    replace_secret_key({}, home)
    assert secret_key({}, home) != before
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.path.iterdir()} == {0o600}
    vault = Vault.load({}, home)
    assert vault.open(session, EMAIL, ANA, sealed) == "ana@clinic.example"
    assert Keyring.load({}, home).open(account, "clinic", "a1") == {"key": "k"}
    assert vault.rewrap(session) == 1
    assert forget_old_keys(home) == 1
    assert Vault.load({}, home).open(session, EMAIL, ANA, sealed) == "ana@clinic.example"


def test_a_key_of_the_environment_is_replaced_in_the_environment(home):
    given = base64.urlsafe_b64encode(b"x" * 32).decode()
    with pytest.raises(InvalidInput, match="FLAAS_SECRETS_KEY_OLD"):
        replace_secret_key({"FLAAS_SECRETS_KEY": given}, home)
    assert names(home) == []


# ---- KMS ----------------------------------------------------------------------------------------------------------


def test_with_a_kms_no_key_is_kept_here_as_it_is(home, kms, session):
    vault = Vault.load(environment(kms), home)
    sealed = vault.seal(session, EMAIL, ANA, "ana@clinic.example")
    assert names(home) == []
    assert session.get(DataKey, (ANA, 1)).kek_id == "kms:alpha"
    for _ in range(20):
        assert vault.open(session, EMAIL, ANA, sealed) == "ana@clinic.example"
    assert kms.asked == ["describe", "wrap", "unwrap"]
    ring = Keyring.load(environment(kms), home)
    assert names(home) == ["secrets.key.wrapped"]
    account = ring.seal({"key": "k"}, "clinic", "a1")
    assert Keyring.load(environment(kms), home).open(account, "clinic", "a1") == {"key": "k"}


def test_the_kms_binds_a_data_key_to_its_owner(home, kms, session):
    vault = Vault.load(environment(kms), home)
    sealed = {owner: vault.seal(session, EMAIL, owner, owner) for owner in (ANA, person("bea"))}
    rows = [session.get(DataKey, (owner, 1)) for owner in sealed]
    rows[0].wrapped, rows[1].wrapped = rows[1].wrapped, rows[0].wrapped
    session.flush()
    with pytest.raises(Unreachable, match="status 4"):
        Vault.load(environment(kms), home).open(session, EMAIL, ANA, sealed[ANA])


def test_from_the_file_to_a_kms_to_another_and_back(home, kms, session):
    sealed = Vault.load({}, home).seal(session, EMAIL, ANA, "ana@clinic.example")
    account = Keyring.load({}, home).seal({"key": "k"}, "clinic", "a1")

    vault = Vault.load(environment(kms), home)
    assert vault.open(session, EMAIL, ANA, sealed) == "ana@clinic.example"
    assert vault.rewrap(session) == 1
    replace_secret_key(environment(kms), home)
    assert names(home)[-2:] == ["secrets.key.old", "secrets.key.wrapped"]
    ring = Keyring.load(environment(kms), home)
    account = ring.seal(ring.open(account, "clinic", "a1"), "clinic", "a1")
    forget_old_keys(home)

    kms.set(present="beta")
    assert Vault.load(environment(kms), home).rewrap(session) == 1
    assert session.get(DataKey, (ANA, 1)).kek_id == "kms:beta"

    back = {"FLAAS_KMS_COMMAND_OLD": kms.command}
    replace_secret_key(back, home)
    assert Vault.load(back, home).rewrap(session) == 1
    ring = Keyring.load({}, home)
    assert ring.open(account, "clinic", "a1") == {"key": "k"}
    assert not ring.is_present(account)
    assert Vault.load({}, home).open(session, EMAIL, ANA, sealed) == "ana@clinic.example"


def test_a_wrapped_key_without_its_kms_is_said(home, kms):
    secret_key(environment(kms), home)
    with pytest.raises(InvalidInput) as caught:
        secret_key({}, home)
    assert caught.value.code == "bad-kms-command"
    assert names(home) == ["secrets.key.wrapped"]  # and no new one was made in its place


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key_id": "k", "wrapped": 7}', '{"key_id": "k", "wrapped": "*"}'])
def test_a_wrapped_key_file_that_is_none_is_refused(home, kms, text):
    home.path.mkdir()
    (home.path / "secrets.key.wrapped").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        secret_key(environment(kms), home)
    assert caught.value.code == "bad-secrets-key"


@pytest.mark.parametrize("fault", ["status", "text", "list", "plain", "short", "base64"])
def test_a_kms_that_fails_is_unavailable_and_shows_nothing(home, kms, engine, fault, capfd):
    environ = environment(kms)
    with Session(engine) as session:
        sealed = Vault.load(environ, home).seal(session, EMAIL, ANA, "ana@clinic.example")
        session.commit()
    kms.set(fault=fault)
    with Session(engine) as session:
        for act in (
            lambda vault: vault.open(session, EMAIL, ANA, sealed),
            lambda vault: vault.seal(session, EMAIL, person("new"), "x"),
        ):
            with pytest.raises(Unreachable) as caught:
                act(Vault.load(environ, home))
            assert caught.value.code == "kms-unavailable"
            assert "s3cr3t" not in str(caught.value.to_dict())
    assert ("s3cr3t" in capfd.readouterr().err) == (fault == "status")


def test_a_kms_that_hangs_is_given_up(kms):
    kms.set(fault="slow")
    with pytest.raises(Unreachable, match=r"more than 0\.3 s") as caught:
        KmsCommand(kms.words, seconds=0.3).wrap(b"d" * 32, {"owner": ANA})
    assert caught.value.__cause__ is None


def test_a_command_that_is_not_there_is_said():
    with pytest.raises(Unreachable, match="No such file"):
        KmsCommand(["/nowhere/kms"]).wrap(b"d" * 32, {})


@pytest.mark.parametrize(
    "given",
    [
        {"FLAAS_KMS_COMMAND": "kms 'open"},
        *({"FLAAS_KMS_COMMAND": "kms", "FLAAS_KMS_TIMEOUT": t} for t in ("x", "0", "-1", "nan", "301")),
    ],
)
def test_settings_that_are_none_are_refused(given):
    with pytest.raises(InvalidInput) as caught:
        KmsCommand.from_environment(given)
    assert caught.value.code == "bad-kms-command"


def test_arguments_of_the_command_are_not_shown():
    assert "s3cr3t" not in repr(KmsCommand(["kms", "--token", "s3cr3t"]))


def test_a_changed_row_is_told_from_a_missing_key(home, session):
    sealed = Vault.load({}, home).seal(session, EMAIL, ANA, "x")
    row = session.get(DataKey, (ANA, 1))
    row.wrapped = base64.b64encode(b"short").decode()
    session.flush()
    with pytest.raises(Conflict) as caught:
        Vault.load({}, home).open(session, EMAIL, ANA, sealed)
    assert caught.value.code == "data-key-unreadable"
