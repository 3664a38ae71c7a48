"""Passwords: the rules of NIST SP 800-63B, section 5.1.1.2, and argon2id (RFC 9106).

Length counts and nothing about the kinds of characters; what many people use, what is easily continued, and one's own
name are refused. Hashing takes 64 MiB and some tens of milliseconds on purpose, so a process does few at once and
turns further ones away instead of queueing without end.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import unicodedata
from collections.abc import Iterator

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from ...errors import InvalidInput
from .oauth_errors import too_many

SHORTEST, LONGEST = 12, 256
_AT_ONCE, _WAITING = 2, 16
_REST = 8
_LEET = str.maketrans("013457@$!|", "oieastasil")
_RUNS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
)
_WORDS = """
password passwort passphrase motdepasse contrasena senha wachtwoord parola haslo qwerty qwertz azerty letmein welcome
willkommen bienvenue administrator admin root toor login guest secret geheim changeme default iloveyou sunshine
princess football baseball basketball superman batman dragon monkey master shadow michael jennifer jessica charlie
ashley daniel thomas jordan hunter liverpool chelsea arsenal barcelona realmadrid starwars pokemon minecraft computer
internet samsung google facebook microsoft trustno whatever freedom forever mustang corvette mercedes ferrari
butterfly chocolate summer winter spring autumn sommer januar february november december monday friday hospital
krankenhaus clinic doctor patient nurse medicine bank banking finance money federated federation learning flaas jupyter
jupyterlab notebook correcthorsebatterystaple thisisapassword mypassword nopassword yourpassword newpassword
testpassword temporarypassword passwordpass test tester testing demo
"""
_COMMON = frozenset(_WORDS.split())


class Passwords:
    """Hashes and checks passwords, a few at once.

    Parameters
    ----------
    hasher : PasswordHasher, optional
        By default with RFC 9106's parameters for little memory (64 MiB, 3 passes, 4 lanes).
    at_once, waiting : int
        How many are hashed at the same time, and how many may wait for their turn.
    """

    def __init__(self, hasher: PasswordHasher | None = None, at_once: int = _AT_ONCE, waiting: int = _WAITING) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._turns = threading.Semaphore(at_once)
        self._places = threading.Semaphore(at_once + waiting)

    @functools.cached_property
    def _nobody(self) -> str:
        """Checked where there is no account, so that the answer takes as long as where there is one."""
        return self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """Return the hash to keep of `password`, which `require_good` has let through."""
        with self._turn():
            return self._hasher.hash(_normal(password))

    def matches(self, kept: str | None, password: str) -> bool:
        """Tell whether `password` is the one that `kept` was made from; None, for no account, takes as long.

        Raises
        ------
        OAuthError
            Too many are being checked (429).
        """
        nobody = self._nobody  # also where it is not needed: making it takes time once
        with self._turn():
            try:
                return self._hasher.verify(kept or nobody, _normal(password)[: 4 * LONGEST]) and kept is not None
            except (VerificationError, InvalidHashError):
                return False

    def outdated(self, kept: str) -> bool:
        """Tell whether `kept` was made with other parameters than those in force."""
        return self._hasher.check_needs_rehash(kept)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise too_many(1)
        try:
            with self._turns:
                yield
        finally:
            self._places.release()


def require_good(password: str, own: tuple[str, ...] = ()) -> None:
    """Check a new password against the rules.

    Parameters
    ----------
    password : str
        As it was typed.
    own : tuple of str
        The person's own words: user name, name, e-mail address, organisation.

    Raises
    ------
    InvalidInput
        Code ``weak-password``; the message never quotes it.
    """
    password = _normal(password)
    if not SHORTEST <= len(password) <= LONGEST:
        raise _weak(f"it has {len(password)} characters; allowed are {SHORTEST} to {LONGEST}")
    plain = password.casefold()
    if len(set(plain)) < 5 or _is_repetition(plain):
        raise _weak("it repeats a few characters")
    if _is_run(plain):
        raise _weak("it is a run of neighbouring characters")
    trimmed = plain.strip("0123456789!?.,-_ ")
    core = re.sub(r"[\W\d_]", "", trimmed)
    leet = re.sub(r"[\W\d_]", "", trimmed.translate(_LEET))
    if any(word in _COMMON or _is_repetition(word, _COMMON) for word in (core, leet, plain) if word):
        raise _weak("many people use it, or one like it")
    rest = plain
    for word in sorted(_own_words(own), key=len, reverse=True):
        rest = rest.replace(word, "")
    if rest != plain and len(re.sub(r"[\W\d_]", "", rest)) < _REST:
        raise _weak("it is made of your own name, address or organisation")


def _own_words(own: tuple[str, ...]) -> set[str]:
    words = {part for text in own for part in re.split(r"[\W_]+", _normal(text).casefold())}
    whole = {_normal(text).casefold() for text in own}
    return {word for word in words | whole if len(word) >= 3}


def _is_repetition(text: str, of: frozenset[str] | None = None) -> bool:
    """Tell whether `text` is a shorter text over and over; with `of`, one of these."""
    for size in range(1, len(text) // 2 + 1):
        part = text[:size]
        if (part * (len(text) // size + 1))[: len(text)] == text and (of is None or part in of):
            return True
    return False


def _is_run(text: str) -> bool:
    return any(text in way for run in _RUNS for way in (run * 2, (run * 2)[::-1]))


def _normal(password: str) -> str:
    """NIST asks for NFKC or NFKD, so that one keyboard's spelling is another's."""
    return unicodedata.normalize("NFKC", password)


def _weak(why: str) -> InvalidInput:
    return InvalidInput(
        f"The password cannot be used: {why}.",
        code="weak-password",
        hint=f"Take at least {SHORTEST} characters that are not a known password: several unrelated words, or one that "
        "a password manager makes.",
    )
