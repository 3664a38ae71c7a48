"""Authorization codes with PKCE (RFC 6749, section 4.1; RFC 7636, S256 only; RFC 9700): 60 seconds, used once.

A code that comes a second time has been copied, so what it gave is revoked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from . import sign_ins
from .oauth_errors import OAuthError
from .provider import IdentityProvider
from .sealing import digest, new_secret
from .sign_ins import Granted
from .tables import AuthorizationCode, Person, SignIn

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Asked:
    """What a client asks the authorization end point for; `redirect_uri` was compared already."""

    client: str
    redirect_uri: str
    challenge: str
    scope: str
    nonce: str | None = None
    state: str | None = None


def require_challenge(method: str | None, challenge: str | None) -> str:
    """Return a sound code challenge.

    Raises
    ------
    OAuthError
        ``invalid_request``: it is missing, malformed or not by S256.
    """
    if challenge is None:
        raise OAuthError("invalid_request", "PKCE is required: send code_challenge and code_challenge_method=S256.")
    if method != "S256":
        raise OAuthError("invalid_request", "The code_challenge_method is S256; plain is not accepted.")
    if not _CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "The code_challenge is no SHA-256 in base64url without padding.")
    return challenge


def issue(provider: IdentityProvider, session: Session, asked: Asked, person: str, authenticated: datetime) -> str:
    """Return a new code for what a person has agreed to."""
    plain = new_secret()
    session.add(
        AuthorizationCode(
            digest=digest(plain),
            client=asked.client,
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
            nonce=asked.nonce,
            scope=asked.scope,
            person=person,
            authenticated=authenticated,
            expires=provider.now() + provider.lifetimes.code,
            used=None,
            sign_in=None,
        )
    )
    session.flush()
    return plain


def redeem(
    provider: IdentityProvider,
    session: Session,
    *,
    issuer: str,
    code: str,
    client: str,
    redirect_uri: str | None,
    verifier: str | None,
) -> Granted:
    """Exchange a code for tokens.

    Raises
    ------
    OAuthError
        ``invalid_grant``: not known, expired, another client's or redirect's, without the right verifier, or used
        before, which revokes what it gave.
    """
    row = session.get(AuthorizationCode, digest(code))
    if row is None or row.client != client:
        raise _refused("it is not known")
    if row.used is not None:
        gave = session.get(SignIn, row.sign_in) if row.sign_in is not None else None
        if gave is not None:
            sign_ins.end(provider, session, gave, "reused")
        raise OAuthError(
            "invalid_grant", "The code was used before; what it gave is revoked. Sign in again.", keep=True
        )
    # Whatever is wrong from here on, the code is in wrong hands or spoilt: it is used up.
    row.used = provider.now()
    if row.expires <= provider.now():
        raise _refused("it has expired")
    if row.redirect_uri != redirect_uri:
        raise _refused("redirect_uri is not the one that it was issued for")
    if verifier is None or not _VERIFIER.fullmatch(verifier) or not _matches(row.challenge, verifier):
        raise _refused("code_verifier does not belong to the code_challenge")
    granted = sign_ins.begin(
        provider,
        session,
        issuer=issuer,
        person=session.get_one(Person, row.person),
        client=client,
        scope=row.scope,
        authenticated=row.authenticated,
        nonce=row.nonce,
    )
    row.sign_in = granted.sign_in
    return granted


def _matches(challenge: str, verifier: str) -> bool:
    hashed = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return hmac.compare_digest(challenge, hashed)


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_grant", f"The code was not accepted: {why}.", keep=True)
