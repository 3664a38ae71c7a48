"""Sign-ins: a session of roles, and the family of refresh tokens that keeps it going.

A refresh token is used once and gives the next one (RFC 9700, section 4.14.2). Whoever uses one again, thief or robbed,
ends the whole family and its session. There is no grace for a client that has lost an answer: it cannot be told from a
thief, so it signs in anew.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import access_tokens, role_sessions
from .oauth_errors import OAuthError
from .provider import IdentityProvider
from .sealing import digest, new_secret
from .tables import Person, RefreshToken, SignIn


@dataclass(frozen=True)
class Granted:
    """What a client gets from the token end point; nothing of it shows in `repr`."""

    access_token: str
    expires_in: int
    scope: str
    refresh_token: str | None = None
    id_token: str | None = None
    sign_in: str | None = None

    def __repr__(self) -> str:
        return f"Granted(scope={self.scope!r})"

    def to_dict(self) -> dict[str, str | int]:
        """Return the body of the answer (RFC 6749, section 5.1)."""
        body: dict[str, str | int] = {
            "access_token": self.access_token,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "scope": self.scope,
        }
        if self.refresh_token is not None:
            body["refresh_token"] = self.refresh_token
        if self.id_token is not None:
            body["id_token"] = self.id_token
        return body


def begin(
    provider: IdentityProvider,
    session: Session,
    *,
    issuer: str,
    person: Person,
    client: str,
    scope: str,
    authenticated: datetime,
    nonce: str | None = None,
) -> Granted:
    """Open a session of roles for a person at a client and return the first tokens.

    Raises
    ------
    OAuthError
        ``invalid_scope``: see `role_sessions.open_session`; ``invalid_grant``: the person is locked or removed.
    """
    require_active(person)
    now = provider.now()
    identity, roles = role_sessions.parse(scope)
    expires = now + provider.lifetimes.absolute
    sid, active = role_sessions.open_session(session, person.id, roles, expires)
    row = SignIn(
        id=secrets.token_hex(8),
        person=person.id,
        client=client,
        session=sid,
        scope=" ".join([*identity, *([active] if active else [])]),
        authenticated=authenticated,
        used=now,
        expires=expires,
        ended=None,
        reason=None,
    )
    session.add(row)
    session.flush()
    _note(provider, session, row, person, "session:open", "done")
    return _tokens(provider, session, row, person, issuer, nonce)


def refresh(
    provider: IdentityProvider, session: Session, *, issuer: str, token: str, client: str, scope: str | None
) -> Granted:
    """Exchange a refresh token.

    Raises
    ------
    OAuthError
        ``invalid_grant``: not known, expired, another client's, or used before, which revokes its family.
    """
    now = provider.now()
    row = session.get(RefreshToken, digest(token))
    sign_in = session.get(SignIn, row.sign_in) if row is not None else None
    if row is None or sign_in is None or sign_in.client != client:
        raise _no_grant("The refresh token is not known")
    person = session.get_one(Person, sign_in.person)
    if row.used is not None:
        end(provider, session, sign_in, "reused")
        raise OAuthError(
            "invalid_grant",
            "The refresh token was used before, so it may have been stolen: everything that came from it is revoked. "
            "Sign in again.",
            keep=True,
        )
    if sign_in.ended is not None:
        raise _no_grant("The sign-in was ended")
    if min(row.expires, sign_in.expires) <= now:
        raise _no_grant("The sign-in has expired")
    require_active(person)
    if scope is not None and set(scope.split()) != set(sign_in.scope.split()):
        raise OAuthError("invalid_scope", "A sign-in keeps its scope: leave it out, or sign in with another one.")
    row.used = sign_in.used = now
    return _tokens(provider, session, sign_in, person, issuer, None)


def end(provider: IdentityProvider, session: Session, sign_in: SignIn, reason: str) -> None:
    """End a sign-in with its session of roles: its tokens are refused from now on."""
    if sign_in.ended is not None:
        return
    sign_in.ended, sign_in.reason = provider.now(), reason
    role_sessions.close_session(session, sign_in.person, sign_in.session)
    session.flush()
    person = session.get(Person, sign_in.person)
    _note(provider, session, sign_in, person, "session:end", "refused" if reason == "reused" else "done")


def end_all(provider: IdentityProvider, session: Session, person: str, reason: str, *, but: str | None = None) -> int:
    """End all sign-ins of a person, but for the session `but`; return how many there were."""
    rows = of_person(session, person, provider.now())
    ended = [row for row in rows if row.session != but]
    for row in ended:
        end(provider, session, row, reason)
    return len(ended)


def of_person(session: Session, person: str, now: datetime) -> list[SignIn]:
    """Return the sign-ins of a person that have not ended, the newest first."""
    query = select(SignIn).where(SignIn.person == person, SignIn.ended.is_(None), SignIn.expires > now)
    return list(session.scalars(query.order_by(SignIn.authenticated.desc(), SignIn.id)))


def require_active(person: Person) -> None:
    """Check that `person` may sign in; `OAuthError` if it is locked, removed or has not accepted its invitation."""
    if person.state != "active":
        raise _no_grant("The account is not active")


def _tokens(
    provider: IdentityProvider, session: Session, row: SignIn, person: Person, issuer: str, nonce: str | None
) -> Granted:
    now = provider.now()
    plain = new_secret()
    session.add(
        RefreshToken(
            digest=digest(plain),
            sign_in=row.id,
            created=now,
            expires=min(now + provider.lifetimes.idle, row.expires),
            used=None,
        )
    )
    session.flush()
    access = access_tokens.issue(
        session,
        provider.signer,
        issuer=issuer,
        subject=person.id,
        client=row.client,
        scope=row.scope,
        now=now,
        sid=row.session,
        lifetime=provider.lifetimes.access,
    )
    asked = row.scope.split()
    id_token = None
    if "openid" in asked:
        id_token = access_tokens.issue_id_token(
            session,
            provider.signer,
            issuer=issuer,
            subject=person.id,
            client=row.client,
            access_token=access,
            authenticated=row.authenticated,
            nonce=nonce,
            now=now,
            claims={},
        )
    return Granted(access, provider.lifetimes.access, row.scope, plain, id_token, row.id)


def _no_grant(why: str) -> OAuthError:
    return OAuthError("invalid_grant", f"{why}. Sign in again.")


def _note(
    provider: IdentityProvider,
    session: Session,
    row: SignIn,
    person: Person | None,
    operation: str,
    outcome: Literal["done", "refused"],
) -> None:
    provider.audit(
        session,
        actor=row.person,
        operation=operation,
        object=f"sign-in/{row.id}",
        organisation=person.organisation if person is not None else None,
        outcome=outcome,
        details={"client": row.client, "cause": row.reason} if row.reason else {"client": row.client},
    )
