"""Who is calling: the seam behind which an identity provider will stand.

An `Authenticator` turns what a request presents into a `Caller`, or refuses. There are two today: bearer tokens of
people and services, and requests that a node signed with its own key (a JWT of RFC 7519 for one request, in the
manner of RFC 9449, "alg" Ed25519 of RFC 9864). Another way of signing in is one more authenticator.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Protocol, TypeGuard

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import NotAuthenticated, NotFound
from .. import scopes, tokens
from ..permissions import NODE, PERMISSIONS, permits
from ..rbac import grants
from ..rbac.errors import RbacError
from .persons import ACTIVE
from .tables import Person

CLOCK_TOLERANCE = 60
LONGEST_LIFE = 60
_JTI_LIMIT = 100


_OWN_ACCOUNT = frozenset({"me:read", "me:write"})


@dataclass(frozen=True)
class Caller:
    """Somebody who was recognised, and what they may do in this session.

    Parameters
    ----------
    subject : str
        Id of the person or service, or the node id.
    kind : str
        ``"user"`` or ``"node"``.
    organisation : str
        Whose they are.
    grants : mapping of str to frozenset of str
        Operation (a key of `permissions.PERMISSIONS`) to the scopes where it is permitted.
    roles : tuple of (str, str)
        The active roles, each with the scope where it is held.
    session : str, optional
        Id of the session of roles; nodes have none.
    """

    subject: str
    kind: Literal["user", "node"]
    organisation: str
    grants: Mapping[str, frozenset[str]]
    roles: tuple[tuple[str, str], ...] = ()
    session: str | None = None

    def may(self, operation: str, *within: str) -> bool:
        """Tell whether the caller may do `operation` in one of the scopes `within`; anywhere at all without them.

        One's own account is everybody's who is signed in: whoever was invited may wait for the approval of every role.
        """
        if operation in _OWN_ACCOUNT and self.kind == "user" and not within:
            return True
        held = self.grants.get(operation, frozenset())
        if not within:
            return bool(held)
        return scopes.PLATFORM in held or not held.isdisjoint(within)


@dataclass(frozen=True)
class Presented:
    """What a request shows of its caller.

    Parameters
    ----------
    scheme, credentials : str
        The two parts of the ``Authorization`` header.
    method, path : str
        Of the request; the path as it was sent, without query.
    audience : str
        Origin of the API, ``scheme://host:port``, as the caller has addressed it.
    """

    scheme: str
    credentials: str
    method: str
    path: str
    audience: str


class Authenticator(Protocol):
    """One way of telling who is calling."""

    scheme: ClassVar[str]

    def authenticate(self, presented: Presented) -> Caller:
        """Return the caller, or raise `NotAuthenticated`."""


def recognise(authenticators: Sequence[Authenticator], presented: Presented) -> Caller:
    """Return the caller by the authenticator of the scheme that was used.

    Raises
    ------
    NotAuthenticated
        Code ``unknown-scheme``, or what the authenticator raises.
    """
    for authenticator in authenticators:
        if authenticator.scheme.lower() == presented.scheme.lower():
            return authenticator.authenticate(presented)
    known = " or ".join(authenticator.scheme for authenticator in authenticators)
    raise NotAuthenticated(
        f"Nobody signs in here with the scheme {presented.scheme[:40]!r}; use {known}.",
        code="unknown-scheme",
        hint="Send `Authorization: Bearer <token>`.",
    )


class BearerTokens:
    """People and services, by token.

    Parameters
    ----------
    find : callable
        Calls the function that it is given with a reading session.
    """

    scheme: ClassVar[str] = "Bearer"

    def __init__(self, find: Callable[[Callable[[Session], Caller]], Caller]) -> None:
        self._find = find

    def authenticate(self, presented: Presented) -> Caller:
        """Return whom the token stands for.

        Raises
        ------
        NotAuthenticated
            Codes ``bad-token``, ``token-expired`` and ``signed-out``: whose it is was locked or removed, or the session
            of roles behind it has ended.
        """

        def whom(session: Session) -> Caller:
            row = tokens.verify(session, presented.credentials)
            return user_caller(session, row.user, row.organisation, row.session)

        return self._find(whom)


def user_caller(session: Session, user: str, organisation: str, acting: str) -> Caller:
    """Return the person or service that works in the session of roles `acting`, with what that permits now.

    Raises
    ------
    NotAuthenticated
        Code ``signed-out``.
    """
    if session.scalar(select(Person.state).where(Person.id == user)) != ACTIVE:
        raise _out_of_force("the account is not active")
    try:
        held = grants.of(session, acting)
    except RbacError as error:
        raise _out_of_force("the session of roles has ended") from error
    return Caller(user, "user", organisation, held.operations, held.roles, acting)


def _out_of_force(why: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"The token is not in force any more: {why}.",
        code="signed-out",
        hint="Sign in again, or ask whoever administers your organisation.",
    )


def node_caller(node_id: str, organisation: str) -> Caller:
    """Return the caller that a node is: what `permissions.NODE` may do, in its organisation and its projects."""
    within = frozenset({scopes.organisation(organisation)})
    grants = {operation: within for operation in PERMISSIONS if permits(NODE, operation)}
    return Caller(node_id, "node", organisation, grants)


class NodeSignatures:
    """Nodes, by a token that each request carries for itself, signed with the node's key.

    Parameters
    ----------
    organisation_of : callable
        Node id to the organisation it is registered by, or None.
    first_use : callable
        Takes note of a request by node id, its id and when it expires; False if it was seen before.
    clock : callable
        Unix seconds.
    """

    scheme: ClassVar[str] = "FlaasNode"

    def __init__(
        self,
        organisation_of: Callable[[str], str | None],
        first_use: Callable[[str, str, datetime], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._organisation_of = organisation_of
        self._first_use = first_use
        self._clock = clock

    def authenticate(self, presented: Presented) -> Caller:
        """Return the node that signed the request.

        Raises
        ------
        NotAuthenticated
            Codes ``bad-signature``, ``wrong-request``, ``clock-skew``, ``token-expired`` and ``replayed``.
        NotFound
            Code ``unknown-node``: the signature is right, and no node is registered with this key.
        """
        node_id, claims = _open(presented.credentials)
        self._require_for(node_id, claims, presented)
        expires = self._require_fresh(claims)
        organisation = self._organisation_of(node_id)
        if organisation is None:
            raise NotFound(
                f"No node with the key {node_id} is registered here.",
                code="unknown-node",
                hint="It was never registered, or was removed: run `flaas node join`.",
            )
        if not self._first_use(node_id, claims["jti"], expires):
            raise NotAuthenticated(
                "This signed request was made before.",
                code="replayed",
                hint="Sign each request anew; if you did, somebody else may be repeating it.",
            )
        return node_caller(node_id, organisation)

    @staticmethod
    def _require_for(node_id: str, claims: dict[str, Any], presented: Presented) -> None:
        wanted = {
            "iss": node_id,
            "sub": node_id,
            "aud": presented.audience,
            "htm": presented.method,
            "htu": presented.path,
        }
        for name, value in wanted.items():
            if claims.get(name) != value:
                raise NotAuthenticated(
                    f"The signed request has {name} {str(claims.get(name))[:200]!r}; this one is for {value!r}.",
                    code="wrong-request",
                    hint="Sign each request for its own method, path and API (scheme://host:port).",
                )
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= _JTI_LIMIT or not jti.isprintable():
            raise _unreadable("its jti is no text of 1 to 100 characters")

    def _require_fresh(self, claims: dict[str, Any]) -> datetime:
        issued, expires = claims.get("iat"), claims.get("exp")
        if not _is_moment(issued) or not _is_moment(expires):
            raise _unreadable("iat and exp are whole Unix seconds")
        now = self._clock()
        if abs(issued - now) > CLOCK_TOLERANCE:
            raise NotAuthenticated(
                f"The node's clock says {_utc(issued)}, the API's {_utc(now)}: "
                f"they are more than {CLOCK_TOLERANCE} s apart.",
                code="clock-skew",
                hint="Set the node's clock right (NTP).",
                node_time=_utc(issued),
                api_time=_utc(now),
            )
        if not issued <= expires <= issued + LONGEST_LIFE:
            raise _unreadable(f"exp is at most {LONGEST_LIFE} s after iat")
        if expires < int(now):
            raise NotAuthenticated(
                f"The signed request expired at {_utc(expires)}; it is {_utc(now)}.",
                code="token-expired",
                hint="Sign each request right before it is sent.",
            )
        return datetime.fromtimestamp(expires, UTC)


def _open(token: str) -> tuple[str, dict[str, Any]]:
    """Verify the signature by the key that the token names; return that key and the claims."""
    signer = ""

    def key(token: Any) -> OKPKey:
        nonlocal signer
        signer = str(token.headers().get("kid"))
        raw = bytes.fromhex(signer)
        if len(raw) != 32 or raw.hex() != signer:
            raise ValueError("kid")
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})

    try:
        claims = dict(jwt.decode(token, key, algorithms=["Ed25519"]).claims)
        return signer, claims
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable("it is no JWT signed (Ed25519) with the key that its kid names") from error


def _unreadable(why: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"The node's signature was not accepted: {why}.",
        code="bad-signature",
        hint="Sign each request with the node's own key.",
    )


def _is_moment(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 253402300800


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
