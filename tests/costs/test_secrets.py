"""Sealed credentials: only the right key, for the right account, opens them; nothing shows them."""

from __future__ import annotations

import base64
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.costs.secrets import Keyring
from flaas_jupyter.errors import Conflict, InvalidInput
from flaas_jupyter.home import Home

VALUES = {"access_key_id": "AKIA", "secret_access_key": "very secret"}
OLD, NEW = Keyring([b"o" * 32]), Keyring([b"n" * 32])


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5))
def test_what_is_sealed_opens_again(values):
    assert OLD.open(OLD.seal(values, "lab", "a1"), "lab", "a1") == values


def test_the_same_again_looks_different_and_shows_nothing():
    sealed = [OLD.seal(VALUES, "lab", "a1") for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert "secret" not in sealed[0] + repr(OLD)


@pytest.mark.parametrize(("organisation", "account"), [("clinic", "a1"), ("lab", "a2"), ("la", "ba1")])
def test_another_row_cannot_use_it(organisation, account):
    with pytest.raises(Conflict) as caught:
        OLD.open(OLD.seal(VALUES, "lab", "a1"), organisation, account)
    assert caught.value.code == "credentials-unreadable"


@given(st.data())
def test_a_changed_text_is_refused(data):
    sealed = OLD.seal(VALUES, "lab", "a1")
    body = bytearray(base64.urlsafe_b64decode(sealed.split(":")[2]))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    changed = sealed.rpartition(":")[0] + ":" + base64.urlsafe_b64encode(bytes(body)).decode()
    with pytest.raises(Conflict):
        OLD.open(changed, "lab", "a1")


@pytest.mark.parametrize("text", ["", "1", "1:", "2:x:y", "1:deadbeef:AAAA", "garbage"])
def test_garbage_is_refused(text):
    with pytest.raises(Conflict):
        OLD.open(text, "lab", "a1")


def test_after_a_rotation_old_texts_open_and_new_ones_use_the_new_key():
    sealed = OLD.seal(VALUES, "lab", "a1")
    with pytest.raises(Conflict, match="does not have"):
        NEW.open(sealed, "lab", "a1")
    both = Keyring([b"n" * 32, b"o" * 32])
    assert both.open(sealed, "lab", "a1") == VALUES
    again = both.seal(VALUES, "lab", "a1")
    assert NEW.open(again, "lab", "a1") == VALUES
    assert (both.is_present(sealed), both.is_present(again)) == (False, True)


def test_the_key_comes_from_the_environment_or_is_made_once(tmp_path):
    home = Home(tmp_path / "home")
    first = Keyring.load({}, home)
    path = tmp_path / "home" / "secrets.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sealed = first.seal(VALUES, "lab", "a1")
    assert Keyring.load({}, home).open(sealed, "lab", "a1") == VALUES
    moved = {"FLAAS_SECRETS_KEY": path.read_text()}
    assert Keyring.load(moved, Home(tmp_path / "other")).open(sealed, "lab", "a1") == VALUES
    rotated = {
        "FLAAS_SECRETS_KEY": base64.urlsafe_b64encode(b"x" * 32).decode(),
        "FLAAS_SECRETS_KEY_OLD": path.read_text(),
    }
    assert Keyring.load(rotated, Home(tmp_path / "other")).open(sealed, "lab", "a1") == VALUES


def test_processes_that_start_together_have_one_key(tmp_path):
    home = Home(tmp_path / "home")
    together = threading.Barrier(8)
    found: list[Keyring] = []

    def start() -> None:
        together.wait()
        found.append(Keyring.load({}, home))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealed = found[0].seal(VALUES, "lab", "a1")
    assert [each.open(sealed, "lab", "a1") for each in found] == [VALUES] * 8
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["secrets.key"]


@pytest.mark.parametrize("text", ["short", "!" * 44, base64.b64encode(b"x" * 31).decode()])
def test_a_key_that_is_none_is_refused_without_telling_it(text, tmp_path):
    with pytest.raises(InvalidInput) as caught:
        Keyring.load({"FLAAS_SECRETS_KEY": text}, Home(tmp_path))
    assert caught.value.code == "bad-secrets-key"
    assert text not in str(caught.value)
