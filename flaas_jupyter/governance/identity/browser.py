"""Signing in with a browser: marked forms, and the few minutes between the password and the consent.

There is no lasting session in the browser: each authorization asks for the password, and what the consent is about is
kept here, not in the page. A form carries a mark (HMAC) of a random cookie that only this site can set and read, so
that another site cannot have a browser send it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from .oauth_errors import OAuthError
from .provider import IdentityProvider
from .sealing import digest, new_secret
from .tables import BrowserSignIn


@dataclass(frozen=True)
class Consent:
    """Who has signed in, and what is asked."""

    person: str
    purpose: str
    parameters: dict[str, Any]
    authenticated: datetime


def new_cookie() -> str:
    """Return the value of a new cookie."""
    return new_secret()


def mark(provider: IdentityProvider, session: Session, cookie: str, form: str) -> str:
    """Return the mark of `form` for the browser that has `cookie`."""
    return provider.vault.blind_index(session, f"forms/{form}", cookie)


def require_marked(
    provider: IdentityProvider, session: Session, cookie: str | None, form: str, given: str | None
) -> str:
    """Return the cookie, if the form carries its mark.

    Raises
    ------
    OAuthError
        ``invalid_request``: the form came from elsewhere, or is old.
    """
    if cookie and given and hmac.compare_digest(mark(provider, session, cookie, form).encode(), given.encode()):
        return cookie
    raise OAuthError("invalid_request", "The form is old, or was sent by another page. Open it again.", status=403)


def remember(
    provider: IdentityProvider, session: Session, person: str, purpose: str, parameters: dict[str, Any]
) -> str:
    """Note that `person` has just signed in; return the cookie by which the consent finds it."""
    now, cookie = provider.now(), new_secret()
    session.add(
        BrowserSignIn(
            digest=digest(cookie),
            person=person,
            purpose=purpose,
            parameters=parameters,
            authenticated=now,
            expires=now + provider.lifetimes.browser,
        )
    )
    session.flush()
    return cookie


def take(provider: IdentityProvider, session: Session, cookie: str | None, purpose: str) -> Consent:
    """Return what was remembered, once.

    Raises
    ------
    OAuthError
        ``invalid_request``: there is nothing, it was answered already, or it is old.
    """
    row = session.get(BrowserSignIn, digest(cookie)) if cookie else None
    if row is None or row.purpose != purpose or row.expires <= provider.now():
        raise OAuthError("invalid_request", "You were asked too long ago. Start again.", status=403)
    session.delete(row)
    session.flush()
    return Consent(row.person, row.purpose, dict(row.parameters), row.authenticated)
