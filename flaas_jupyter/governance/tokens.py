"""Bearer tokens: ``flaas_<id>_<secret>``, of which only the SHA-256 is kept.

The id finds the row, so that the secret is compared (in constant time) and never searched for. A secret has 256
random bits: a plain hash of it cannot be guessed, and no slow password hash is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import NotAuthenticated
from .permissions import ADMIN
from .tables import Token

PREFIX = "flaas"


def issue(
    session: Session, *, subject: str, organisation: str, role: str, expires_in: float | None = None
) -> tuple[Token, str]:
    """Make a token.

    Parameters
    ----------
    session : Session
        A writing session.
    subject, organisation, role : str
        Whom it stands for.
    expires_in : float, optional
        Seconds; without it the token is valid until it is revoked.

    Returns
    -------
    (Token, str)
        The row, and the token itself, which cannot be had again.
    """
    now = datetime.now(UTC)
    token_id = secrets.token_hex(6)
    plain = f"{PREFIX}_{token_id}_{secrets.token_urlsafe(32)}"
    row = Token(
        id=token_id,
        digest=_digest(plain),
        subject=subject,
        organisation=organisation,
        role=role,
        created=now,
        expires=None if expires_in is None else now + timedelta(seconds=expires_in),
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
            hint="Ask the platform's administrator for a new one, then run `flaas login`.",
        )
    if row.expires is not None and row.expires <= datetime.now(UTC):
        raise NotAuthenticated(
            f"The token expired at {row.expires:%Y-%m-%d %H:%M:%S} UTC.",
            code="token-expired",
            hint="Ask the platform's administrator for a new one, then run `flaas login`.",
        )
    return row


def has_administrator(session: Session) -> bool:
    """Tell whether any administrator's token is in force."""
    tokens = session.scalars(select(Token).where(Token.role == ADMIN))
    now = datetime.now(UTC)
    return any(token.expires is None or token.expires > now for token in tokens)


def _id(plain: str) -> str:
    parts = plain.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX else ""


def _digest(plain: str) -> str:
    return hashlib.sha256(plain.encode("utf-8", "surrogateescape")).hexdigest()
