"""The keys that tokens are signed with: Ed25519, one ``active``, one ``next``, and those ``retired`` of late.

The next key is in the published set (RFC 7517) for at least as long as callers may cache the set before anything is
signed with it, so that no caller meets a signature by a key that it cannot know. A retired key stays published until
the last token that it signed has died. All of it is in the data base, so that every API process on it agrees; the
private halves are sealed. A key's id is its thumbprint (RFC 7638).
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from joserfc.jwk import OKPKey
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ...errors import Conflict
from ..confidentiality import INSTALLATION, Vault
from .tables import SigningKey

ALGORITHM = "EdDSA"
CACHE_SECONDS = 300
"""How long the published set may be cached, and how long the next key is in it before its first use."""
LONGEST_TOKEN_SECONDS = 600
"""No token that is signed with these keys lives longer."""
LEEWAY_SECONDS = 30


def ensure(session: Session, vault: Vault, now: datetime) -> SigningKey:
    """Return the active key; make it and the next one if there are none yet (nobody can have cached a set then)."""
    active = _one(session, "active")
    if active is None:
        active = _make(session, vault, now, "active")
        active.activated = now
    if _one(session, "next") is None:
        _make(session, vault, now, "next")
    session.flush()
    return active


def rotate(session: Session, vault: Vault, now: datetime, *, compromised: bool = False) -> SigningKey:
    """Sign with the next key from now on, make another next one, and drop retired keys whose tokens have died.

    Parameters
    ----------
    session : Session
        A writing session.
    vault : Vault
        Seals the private halves.
    now : datetime
        The present.
    compromised : bool
        The active key has leaked: it is dropped at once, with every token that it signed, and so is the next one,
        which was kept beside it; the key that signs from now on is new.

    Returns
    -------
    SigningKey
        The key that is active now.

    Raises
    ------
    Conflict
        Code ``key-not-published``: the next key has been published for less than `CACHE_SECONDS`.
    """
    before = ensure(session, vault, now)
    _prune(session, now)
    if compromised:
        session.execute(delete(SigningKey))
        session.expire_all()
        return ensure(session, vault, now)
    following = session.scalars(select(SigningKey).where(SigningKey.state == "next")).one()
    usable = following.published + timedelta(seconds=CACHE_SECONDS)
    if now < usable:
        wait = int((usable - now).total_seconds() + 0.999)
        raise Conflict(
            f"The next signing key can be used in {wait} s: callers may not know it before {usable:%H:%M:%S} UTC.",
            code="key-not-published",
            hint="Rotate again then; if the present key has leaked, rotate it as compromised, which signs everybody "
            "out for a moment.",
            retry_after=wait,
        )
    before.state = "retired"
    before.drop_after = now + timedelta(seconds=LONGEST_TOKEN_SECONDS + LEEWAY_SECONDS)
    session.flush()
    following.state, following.activated = "active", now
    session.flush()
    _make(session, vault, now, "next")
    return following


def published(session: Session, now: datetime) -> list[SigningKey]:
    """Return the keys that callers may meet: all but retired ones whose tokens have died."""
    rows = session.scalars(select(SigningKey).order_by(SigningKey.created, SigningKey.kid))
    return [row for row in rows if row.drop_after is None or row.drop_after > now]


def jwk_set(session: Session, now: datetime) -> dict[str, list[dict[str, str]]]:
    """Return the published set (RFC 7517, RFC 8037)."""
    return {"keys": [_public_jwk(row) for row in published(session, now)]}


class Signer:
    """Signs with the active key of the data base; opened keys are kept in memory by their id.

    Parameters
    ----------
    vault : Vault
        Opens the private halves.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opened: dict[str, OKPKey] = {}

    def key(self, session: Session, now: datetime) -> tuple[str, OKPKey]:
        """Return id and private key of what signs now."""
        row = ensure(session, self._vault, now)
        if row.kid not in self._opened:
            seed = base64.b64decode(self._vault.open(session, _purpose(row.kid), INSTALLATION, row.sealed))
            jwk: dict[str, str | list[str]] = {"kty": "OKP", "crv": "Ed25519", "x": row.public, "d": _url64(seed)}
            self._opened = {row.kid: OKPKey.import_key(jwk)}
        return row.kid, self._opened[row.kid]


class KeyRing:
    """Public keys for verification, read again when they are old or one is not known.

    Parameters
    ----------
    load : callable
        Returns the published set from the data base.
    clock : callable
        Monotonic seconds.
    """

    _FRESH, _AGAIN = 10.0, 1.0

    def __init__(
        self, load: Callable[[], Mapping[str, list[dict[str, str]]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, OKPKey] = {}
        self._read = float("-inf")

    def find(self, kid: str) -> OKPKey | None:
        """Return the key `kid`; None if it is not published.

        Whoever sends made-up ids causes at most one look at the data base a second.
        """
        with self._lock:
            age = self._clock() - self._read
            if age > self._FRESH or (kid not in self._keys and age > self._AGAIN):
                entries: list[dict[str, Any]] = list(self._load()["keys"])
                self._keys = {str(entry["kid"]): OKPKey.import_key(entry) for entry in entries}
                self._read = self._clock()
            return self._keys.get(kid)

    def forget(self) -> None:
        """Read the set again at the next look: the keys were rotated here."""
        with self._lock:
            self._read = float("-inf")


def _one(session: Session, state: str) -> SigningKey | None:
    return session.scalars(select(SigningKey).where(SigningKey.state == state)).first()


def _make(session: Session, vault: Vault, now: datetime, state: str) -> SigningKey:
    key = OKPKey.generate_key("Ed25519")
    parts = key.as_dict(private=True)
    seed = base64.urlsafe_b64decode(str(parts["d"]) + "=")
    kid = key.thumbprint()
    row = SigningKey(
        kid=kid,
        state=state,
        public=str(parts["x"]),
        sealed=vault.seal(session, _purpose(kid), INSTALLATION, base64.b64encode(seed).decode()),
        created=now,
        published=now,
        activated=None,
        drop_after=None,
    )
    session.add(row)
    session.flush()
    return row


def _purpose(kid: str) -> str:
    return f"identity_keys.sealed/{kid}"


def _prune(session: Session, now: datetime) -> None:
    session.execute(delete(SigningKey).where(SigningKey.state == "retired", SigningKey.drop_after <= now))


def _public_jwk(row: SigningKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": row.public, "kid": row.kid, "use": "sig", "alg": ALGORITHM}


def _url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
