"""Bearer tokens of people and services: ``flaas_<id>_<secret>``, of which only the SHA-256 is kept.

The id finds the row, so that the secret is compared (in constant time) and never searched for. A secret has 256
random bits: a plain hash of it cannot be guessed, and no slow password hash is needed. A token acts in a session of
roles of its own, and can do what is active in it; revoking the token ends the session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import NotAuthenticated
from .identity import role_sessions
from .rbac import review, sessions
from .tables import Token

PREFIX = "flaas"

Role = tuple[str, str]


def issue(
    session: Session,
    *,
    user: str,
    organisation: str,
    note: str,
    roles: Iterable[str | Role] | None = None,
    expires: datetime | None = None,
) -> tuple[Token, str]:
    """Make a token.

    Parameters
    ----------
    session : Session
        A writing session.
    user, organisation : str
        Whom it stands for.
    note : str
        What it is for, in the owner's words.
    roles : iterable of str or (str, str), optional
        Which of the user's roles are active, by name or with a scope, and no other ever; default: as many as go
        together, and later ones too.
    expires : datetime, optional
        Without it the token is valid until it is revoked.

    Returns
    -------
    (Token, str)
        The row, and the token itself, which cannot be had again.

    Raises
    ------
    RbacError
        The user does not hold a role that is named, or they may not be active together.
    """
    acting = sessions.create_session(session, user, list(roles or []), expires=expires, fixed=roles is not None)
    if roles is None:
        role_sessions.activate(session, user, acting, review.assignments(session, user))
    token_id = secrets.token_hex(6)
    plain = f"{PREFIX}_{token_id}_{secrets.token_urlsafe(32)}"
    row = Token(
        id=token_id,
        digest=_digest(plain),
        user=user,
        organisation=organisation,
        session=acting,
        note=note,
        created=datetime.now(UTC),
        expires=expires,
    )
    session.add(row)
    session.flush()
    return row, plain


def verify(session: Session, plain: str) -> Token:
    """Return the row of the token `plain`.

    Raises
    ------
    NotAuthenticated
        Codes ``bad-token`` and ``token-expired``.
    """
    row = session.get(Token, _id(plain))
    # A token that is not there is compared too: how long the answer takes does not tell which ids exist.
    known = row.digest if row is not None else "0" * 64
    if not hmac.compare_digest(known, _digest(plain)) or row is None:
        raise NotAuthenticated(
            "The token is not known; it may have been revoked.",
            code="bad-token",
            hint="Run `flaas login` to sign in anew, or ask for a new token.",
        )
    if row.expires is not None and row.expires <= datetime.now(UTC):
        raise NotAuthenticated(
            f"The token expired at {row.expires:%Y-%m-%d %H:%M:%S} UTC.",
            code="token-expired",
            hint="Run `flaas login` to sign in anew, or ask for a new token.",
        )
    return row


def revoke(session: Session, row: Token) -> None:
    """Remove a token, and end its session."""
    role_sessions.close_session(session, row.user, row.session)
    session.delete(row)
    session.flush()


def of_user(session: Session, user: str) -> list[Token]:
    """Return the tokens of a user."""
    return list(session.scalars(select(Token).where(Token.user == user).order_by(Token.id)))


def _id(plain: str) -> str:
    parts = plain.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX else ""


def _digest(plain: str) -> str:
    return hashlib.sha256(plain.encode("utf-8", "surrogateescape")).hexdigest()
