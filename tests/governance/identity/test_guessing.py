"""Passwords: what is refused as one, and what ten thousand guesses bring."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.governance.identity import authentication
from flaas_jupyter.governance.identity.attempts import Limits, address_key
from flaas_jupyter.governance.identity.authentication import WrongPassword, authenticate
from flaas_jupyter.governance.identity.oauth_errors import OAuthError
from flaas_jupyter.governance.identity.passwords import Passwords, require_good
from flaas_jupyter.governance.identity.tables import Attempts, Person

from .identity_api import CHEAP, PASSWORD, Clock, IdentityApi

OWN = ("ana.meyer", "Ana Meyer", "ana.meyer@clinic.example", "clinic")


class Counting(Passwords):
    """Counts how many passwords are hashed."""

    def __init__(self, hasher: PasswordHasher = CHEAP) -> None:
        super().__init__(hasher)
        self.checked: list[bool] = []

    def matches(self, kept: str | None, password: str) -> bool:
        self.checked.append(kept is not None)
        return super().matches(kept, password)


@pytest.mark.parametrize(
    "password",
    [
        "",
        "elevenchars",
        "x" * 257,
        "password1234",
        "P@ssw0rd1234",
        "Passwordpassword",
        "administrator",
        "qwertyuiop[]" * 2,
        "123456789012",
        "abcdefghijkl",
        "zyxwvutsrqponm",
        "aaaaaaaaaaaa",
        "abababababab",
        "letmein2024!",
        "correct horse battery staple",
        "ana.meyer1234",
        "Ana Meyer 2024",
        "ana.meyer@clinic.example",
        "clinic-meyer-1",
    ],
)
def test_what_is_easily_guessed_is_refused_without_being_quoted(password: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_good(password, OWN)
    assert refused.value.code == "weak-password"
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize(
    "password",
    [PASSWORD, "kettle violin harbour moss", "gJ4v-Xq9s-Lm2w-Tz7k", "вода камень трава луна", "ünterwegs mit Zügen"],
)
def test_length_counts_and_no_mixture_is_asked_for(password: str) -> None:
    require_good(password, OWN)


@given(password=st.text(max_size=300), own=st.lists(st.text(max_size=30), max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_text_is_accepted_or_refused(password: str, own: list[str]) -> None:
    with contextlib.suppress(InvalidInput):
        require_good(password, tuple(own))


def test_one_keyboards_spelling_is_anothers() -> None:
    passwords = Passwords(CHEAP)
    kept = passwords.hash("Zürich im Frühling")
    assert kept.startswith("$argon2id$")
    assert passwords.matches(kept, "Zürich im Frühling")
    assert not passwords.matches(kept, "Zurich im Fruhling")
    assert not passwords.matches("broken", "x")


def test_by_default_a_hash_has_the_parameters_of_rfc_9106() -> None:
    assert Passwords().hash(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_hash_with_old_parameters_is_renewed_at_the_next_sign_in(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    identity.provider.passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    identity.sign_in("ana")
    with identity.database.reading() as session:
        assert "m=16,t=2" in str(session.get_one(Person, "ana").password)
    identity.sign_in("ana")


def _fails(api: IdentityApi, login: str, password: str = "wrong wrong wrong", address: str = "192.0.2.1") -> str:
    try:
        authenticate(api.provider, api.database, login, password, address)
    except WrongPassword:
        return "wrong"
    except OAuthError as error:
        return "wait" if error.status == 429 and int(error.headers["Retry-After"]) <= 900 else str(error)
    return "right"


def test_ten_thousand_guesses_cost_little_and_lock_nobody_out_for_ever(identity: IdentityApi, clock: Clock) -> None:
    identity.add("ana", "developer")
    identity.provider.passwords = counting = Counting()
    identity.provider.limits = Limits()
    begin = time.process_time()
    outcomes = [_fails(identity, "ana", address=f"198.51.100.{number % 250}") for number in range(10_000)]
    spent = time.process_time() - begin
    assert "right" not in outcomes
    assert outcomes.count("wrong") == len(counting.checked) < 25  # the others cost no hash
    assert spent / len(outcomes) < 0.005
    clock.ahead += 901
    assert _fails(identity, "ana", PASSWORD) == "right"


def test_many_guesses_at_once_are_counted_before_they_are_made(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    identity.provider.passwords = Counting()
    identity.provider.limits = Limits(per_address=1_000)
    start = threading.Barrier(8)

    def guess(_: int) -> str:
        start.wait()
        return _fails(identity, "ana")

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(guess, range(8)))
    assert outcomes.count("wrong") <= 5


def test_an_unknown_account_takes_as_long_and_waits_as_long_as_a_known_one(identity: IdentityApi) -> None:
    """The work is the same by construction; the clock only confirms it."""
    identity.add("ana", "developer")
    hasher = PasswordHasher(time_cost=2, memory_cost=4096, parallelism=1)
    identity.provider.passwords = counting = Counting(hasher)
    identity.provider.limits = Limits(free=1_000, per_address=1_000)
    with identity.database.writing() as session:
        session.get_one(Person, "ana").password = hasher.hash(PASSWORD)
    counting.matches(None, "warm")
    times: dict[str, list[float]] = {"ana": [], "nobody": []}
    for _ in range(15):
        for login, taken in times.items():
            begin = time.thread_time()
            assert _fails(identity, login) == "wrong"
            taken.append(time.thread_time() - begin)
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert 0.5 < known / unknown < 2
    assert counting.checked[1:] == [True, False] * 15

    identity.provider.limits = Limits(free=1, per_address=1_000)
    for login in times:
        assert [_fails(identity, login) for _ in range(2)] == ["wrong", "wait"]


def test_names_and_addresses_are_counted_without_being_kept(identity: IdentityApi) -> None:
    _fails(identity, "somebody@clinic.example", address="192.0.2.77")
    with identity.database.reading() as session:
        kept = [row.key for row in session.query(Attempts)]
    assert len(kept) == 2
    assert not [key for key in kept if "somebody" in key or "192.0.2" in key]
    assert authentication.address_key(identity.provider, identity.database.reading().__enter__(), "192.0.2.77") in kept


def test_who_has_a_whole_network_has_one_budget() -> None:
    assert address_key("2001:db8:1:2:aaaa::1") == address_key("2001:db8:1:2:bbbb::2")
    assert address_key("2001:db8:1:3::1") != address_key("2001:db8:1:2::1")
    assert address_key("::ffff:192.0.2.1") == address_key("192.0.2.1") == "192.0.2.1"
    assert address_key("unix") == "unix"


def test_what_has_expired_is_removed(identity: IdentityApi, clock: Clock) -> None:
    identity.add("ana", "developer")
    identity.sign_in("ana")
    identity.post("/oauth/device_authorization", client_id="flaas-cli")
    _fails(identity, "ana")
    clock.ahead = 40 * 86_400.0
    with identity.database.writing() as session:
        identity.provider.prune(session)
    from flaas_jupyter.governance.identity import tables

    kept: list[Any] = [tables.SignIn, tables.RefreshToken, tables.AuthorizationCode, tables.DeviceCode, tables.Attempts]
    with identity.database.reading() as session:
        assert {table.__tablename__: session.query(table).count() for table in kept} == {
            table.__tablename__: 0 for table in kept
        }
        assert session.get(Person, "ana") is not None
