"""Access tokens in the profile of RFC 9068, and OpenID Connect's id tokens: two kinds, never taken for one another.

An access token says who (``sub``), by which client, in which session of roles (``sid``). What its bearer may do is not
in it: that is read from the session at every use, so that ending the session ends the token at once.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import OKPKey
from sqlalchemy.orm import Session

from ...errors import NotAuthenticated
from .keys import ALGORITHM, LEEWAY_SECONDS, KeyRing, Signer

# RFC 9864 names the algorithm "Ed25519"; "EdDSA" is the name that every library for verifying tokens knows.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)

TYPE = "at+jwt"
ACCESS_SECONDS = 300
"""How long an access token lives."""
ID_TOKEN_SECONDS = 300
_LONGEST = 4096


@dataclass(frozen=True)
class AccessToken:
    """The claims of an access token that was verified.

    Parameters
    ----------
    subject : str
        Person, service or node.
    client : str
        The client that it was issued to.
    session : str, optional
        The session of roles; nodes have none.
    scope : str
        What was granted.
    kind : str
        ``"user"`` or ``"node"``.
    expires, issued : int
        Unix seconds.
    id : str
        ``jti``.
    """

    subject: str
    client: str
    session: str | None
    scope: str
    kind: str
    issued: int
    expires: int
    id: str


def issue(
    session: Session,
    signer: Signer,
    *,
    issuer: str,
    subject: str,
    client: str,
    scope: str,
    now: datetime,
    sid: str | None = None,
    lifetime: int = ACCESS_SECONDS,
) -> str:
    """Return a new access token.

    Parameters
    ----------
    session : Session
        A writing session; the active key is read in it.
    signer : Signer
        Signs.
    issuer : str
        This API's origin; also the audience.
    subject, client, scope : str
        Claims ``sub``, ``client_id`` and ``scope``.
    now : datetime
        The present.
    sid : str, optional
        The session of roles. A token without one is a node's.
    lifetime : int
        Seconds.
    """
    kid, key = signer.key(session, now)
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": issuer,
        "sub": subject,
        "client_id": client,
        "scope": scope,
        "iat": issued,
        "exp": issued + lifetime,
        "jti": secrets.token_urlsafe(16),
    }
    claims |= {"kind": "node"} if sid is None else {"sid": sid}
    return _sign(kid, key, TYPE, claims)


def issue_id_token(
    session: Session,
    signer: Signer,
    *,
    issuer: str,
    subject: str,
    client: str,
    access_token: str,
    authenticated: datetime,
    nonce: str | None,
    now: datetime,
    claims: dict[str, str],
) -> str:
    """Return an id token (OpenID Connect Core, section 2) for the client, bound to `access_token` by ``at_hash``."""
    kid, key = signer.key(session, now)
    issued = int(now.timestamp())
    # For Ed25519 the hash is the one inside the signature scheme, SHA-512; half of it is kept.
    half = hashlib.sha512(access_token.encode()).digest()[:32]
    body: dict[str, Any] = {
        **claims,
        "iss": issuer,
        "aud": client,
        "sub": subject,
        "iat": issued,
        "exp": issued + ID_TOKEN_SECONDS,
        "auth_time": int(authenticated.timestamp()),
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
    }
    if nonce is not None:
        body["nonce"] = nonce
    return _sign(kid, key, "JWT", body)


def verify(token: str, keys: KeyRing, issuer: str, clock: Callable[[], float] = time.time) -> AccessToken:
    """Return what an access token says, if this API has issued it for itself and it has not expired.

    Parameters
    ----------
    token : str
        As it was presented.
    keys : KeyRing
        The published keys.
    issuer : str
        This API's origin: issuer and audience.
    clock : callable
        Unix seconds.

    Raises
    ------
    NotAuthenticated
        Codes ``bad-token`` (any defect: kind, algorithm, key, signature, issuer or audience) and ``token-expired``.
    """
    claims = _open(token, keys)
    if claims.get("iss") != issuer or claims.get("aud") != issuer:
        raise _bad(f"it was not issued by and for {issuer}")
    texts = {name: claims.get(name) for name in ("sub", "client_id", "scope", "jti")}
    sid, kind = claims.get("sid"), claims.get("kind", "user")
    issued, expires = claims.get("iat"), claims.get("exp")
    sound = all(isinstance(text, str) for text in texts.values()) and type(issued) is int and type(expires) is int
    if not sound or not (kind == "node" if sid is None else isinstance(sid, str) and kind == "user"):
        raise _bad("claims are missing")
    assert isinstance(issued, int) and isinstance(expires, int)  # noqa: PT018 - told to the type checker
    now = clock()
    if issued > now + LEEWAY_SECONDS:
        raise _bad("it is from the future")
    if expires + LEEWAY_SECONDS <= now:
        raise NotAuthenticated(
            "The access token has expired.",
            code="token-expired",
            hint="Get a new one with the refresh token; `flaas` commands and notebooks do so by themselves.",
        )
    return AccessToken(
        subject=str(texts["sub"]),
        client=str(texts["client_id"]),
        session=sid,
        scope=str(texts["scope"]),
        kind=kind,
        issued=issued,
        expires=expires,
        id=str(texts["jti"]),
    )


def looks_like_one(token: str) -> bool:
    """Tell whether `token` has the form of a JWT; this API's opaque tokens have no dots."""
    return token.count(".") == 2


def _sign(kid: str, key: OKPKey, kind: str, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": ALGORITHM, "typ": kind, "kid": kid}, claims, key, algorithms=[ALGORITHM])


def _open(token: str, keys: KeyRing) -> dict[str, Any]:
    if len(token) > _LONGEST:
        raise _bad("it is too long")

    def key(unverified: Any) -> OKPKey:
        headers = unverified.headers()
        kind = headers.get("typ")
        # RFC 9068, section 4: compared without regard to case, "application/" may be left out.
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") != TYPE:
            raise ValueError("typ")
        found = keys.find(str(headers.get("kid")))
        if found is None:
            raise ValueError("kid")
        return found

    try:
        return dict(jwt.decode(token, key, algorithms=[ALGORITHM]).claims)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _bad("it is no access token signed by this API") from error


def _bad(why: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"The access token was not accepted: {why}.",
        code="bad-token",
        hint="Sign in again: run `flaas login`.",
    )
