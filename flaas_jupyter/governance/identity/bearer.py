"""The scheme Bearer: signed access tokens of this API, and opaque tokens of services beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import NotAuthenticated
from ..rbac import grants
from ..rbac.errors import RbacError
from . import access_tokens
from .access_tokens import AccessToken
from .callers import Caller, Presented, node_caller
from .keys import KeyRing
from .provider import issuer_of
from .tables import Person, SignIn


class AccessTokens:
    """Whom a signed access token stands for; roles are read from its session at every use.

    Parameters
    ----------
    read : callable
        Calls the function that it is given with a reading session.
    keys : KeyRing
        The published keys.
    organisation_of : callable
        Node id to the organisation it is registered by, or None.
    clock : callable
        Unix seconds.
    """

    scheme: ClassVar[str] = "Bearer"

    def __init__(
        self,
        read: Callable[[Callable[[Session], Caller]], Caller],
        keys: KeyRing,
        organisation_of: Callable[[str], str | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._keys = keys
        self._organisation_of = organisation_of
        self._clock = clock

    def authenticate(self, presented: Presented) -> Caller:
        """Return whom the token stands for.

        Raises
        ------
        NotAuthenticated
            Codes ``bad-token``, ``token-expired`` and ``signed-out``: the sign-in, the session of roles or the
            account has ended, or the node is registered no more.
        """
        token = access_tokens.verify(presented.credentials, self._keys, issuer_of(presented.audience), self._clock)
        if token.kind == "node":
            organisation = self._organisation_of(token.subject)
            if organisation is None:
                raise signed_out(f"node {token.subject} is registered no more")
            return node_caller(token.subject, organisation)
        return self._read(lambda session: caller_of(session, token))


class Bearer:
    """Looks at the form of a bearer token and has the right one of two ways decide.

    Parameters
    ----------
    opaque : callable
        Recognises tokens of the form ``flaas_<id>_<secret>``, and refuses all others.
    signed : callable
        Recognises signed access tokens.
    """

    scheme: ClassVar[str] = "Bearer"

    def __init__(self, opaque: Callable[[Presented], Caller], signed: Callable[[Presented], Caller]) -> None:
        self._opaque = opaque
        self._signed = signed

    def authenticate(self, presented: Presented) -> Caller:
        """Return whom the token stands for, or raise `NotAuthenticated`."""
        way = self._signed if access_tokens.looks_like_one(presented.credentials) else self._opaque
        return way(presented)


def caller_of(session: Session, token: AccessToken) -> Caller:
    """Return the person that a verified token stands for, with what its session permits now.

    Raises
    ------
    NotAuthenticated
        Code ``signed-out``.
    """
    found = session.execute(
        select(Person.id, Person.organisation, Person.state, SignIn.ended)
        .join(SignIn, SignIn.person == Person.id)
        .where(SignIn.session == token.session)
    ).first()
    if found is None or found.ended is not None or found.id != token.subject:
        raise signed_out("the sign-in was ended")
    if found.state != "active":
        raise signed_out("the account is not active")
    assert token.session is not None  # only nodes' have none
    try:
        held = grants.of(session, token.session)
    except RbacError as error:
        raise signed_out("the session of roles has ended") from error
    if held.user != token.subject:
        raise signed_out("the session is another user's")
    return Caller(
        subject=found.id,
        kind="user",
        organisation=found.organisation,
        grants=held.operations,
        roles=held.roles,
        session=token.session,
    )


def signed_out(why: str) -> NotAuthenticated:
    """Return the refusal of a token whose sign-in is over."""
    return NotAuthenticated(
        f"The access token is not in force any more: {why}.",
        code="signed-out",
        hint="Sign in again: run `flaas login`.",
    )
