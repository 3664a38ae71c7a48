"""The device flow (RFC 8628): a program without a browser shows a short code, and somebody enters it elsewhere.

The program polls with a secret of 256 bits; the code that people type has 20**8 values (34.6 bits), lives ten minutes,
and can only be tried by somebody who has signed in, a few times.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import attempts, role_sessions, sign_ins
from .oauth_errors import OAuthError
from .provider import IdentityProvider
from .sealing import digest, new_secret
from .sign_ins import Granted
from .tables import DeviceCode, Person

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no words come up, and no letters that look like digits (RFC 8628, section 6.1)."""
_LENGTH = 8
_SLOWER = 5
_GUESSES = attempts.Limits(free=5, first_wait=60.0)
PENDING, APPROVED, DENIED, USED = "pending", "approved", "denied", "used"


@dataclass(frozen=True)
class Started:
    """What a device shows and polls with."""

    device_code: str = field(repr=False)
    user_code: str
    expires_in: int
    interval: int


def start(provider: IdentityProvider, session: Session, client: str, scope: str) -> Started:
    """Begin the flow for a client.

    Raises
    ------
    OAuthError
        ``invalid_scope``.
    """
    role_sessions.parse(scope)
    now = provider.now()
    plain, user_code = new_secret(), "".join(secrets.choice(ALPHABET) for _ in range(_LENGTH))
    session.add(
        DeviceCode(
            digest=digest(plain),
            user_code=_index(provider, session, user_code),
            client=client,
            scope=scope,
            state=PENDING,
            interval=provider.lifetimes.interval,
            created=now,
            expires=now + provider.lifetimes.device,
            polled=None,
            person=None,
            authenticated=None,
        )
    )
    session.flush()
    shown = f"{user_code[:4]}-{user_code[4:]}"
    return Started(plain, shown, int(provider.lifetimes.device.total_seconds()), provider.lifetimes.interval)


def find(provider: IdentityProvider, session: Session, user_code: str, person: str) -> DeviceCode | None:
    """Return the device that shows `user_code`, as far as somebody may still answer; a miss counts against `person`.

    Raises
    ------
    OAuthError
        429: too many wrong codes.
    """
    key, now = f"user-code:{person}", provider.now()
    attempts.require_heard(session, (key,), now)
    index = _index(provider, session, "".join(c for c in user_code.upper() if c in ALPHABET)[:_LENGTH])
    row = session.scalars(select(DeviceCode).where(DeviceCode.user_code == index)).first()
    if row is None or row.state != PENDING or row.expires <= now:
        attempts.count_account(session, key, now, _GUESSES)
        return None
    return row


def answer(
    provider: IdentityProvider, session: Session, device: str, person: str, authenticated: datetime, *, agreed: bool
) -> None:
    """Note what a person has answered; `OAuthError` (``expired_token``) if it is too late or answered already."""
    row = session.get(DeviceCode, device)
    if row is None or row.state != PENDING or row.expires <= provider.now():
        raise OAuthError("expired_token", "The code has expired or was answered already. Start again at the device.")
    row.state, row.person, row.authenticated = (APPROVED if agreed else DENIED), person, authenticated
    attempts.forget(session, f"user-code:{person}")
    session.flush()


def poll(provider: IdentityProvider, session: Session, *, issuer: str, device_code: str, client: str) -> Granted:
    """Answer a device that asks whether somebody has signed in.

    Raises
    ------
    OAuthError
        ``authorization_pending``, ``slow_down``, ``access_denied``, ``expired_token`` or ``invalid_grant``.
    """
    row, now = session.get(DeviceCode, digest(device_code)), provider.now()
    if row is None or row.client != client or row.state == USED:
        raise OAuthError("invalid_grant", "The device code is not known, or was used. Start again.")
    if row.expires <= now:
        raise OAuthError("expired_token", "Nobody has entered the code in time. Start again.")
    before, row.polled = row.polled, now
    # A tenth less than the interval: a device that waits exactly so long may be early by what the network varies.
    if before is not None and now - before < timedelta(seconds=0.9 * row.interval):
        row.interval += _SLOWER
        raise OAuthError("slow_down", f"Poll every {row.interval} s at most.", keep=True)
    if row.state == PENDING:
        raise OAuthError("authorization_pending", "Nobody has answered yet.", keep=True)
    if row.state == DENIED or row.person is None or row.authenticated is None:
        raise OAuthError("access_denied", "Somebody has refused.", keep=True)
    row.state = USED
    return sign_ins.begin(
        provider,
        session,
        issuer=issuer,
        person=session.get_one(Person, row.person),
        client=client,
        scope=row.scope,
        authenticated=row.authenticated,
    )


def _index(provider: IdentityProvider, session: Session, user_code: str) -> str:
    """A keyed hash: a plain one of so short a code could be guessed from a copy of the data base."""
    return provider.vault.blind_index(session, "device_codes.user_code", user_code)
