"""Tokens of people and services, as the platform's administrators manage them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ...errors import NotFound
from ...governance import tokens
from .. import hal
from ..access import View
from ..schemas import TokenIn
from ..tables import Token
from . import organisations


def find(session: Session, token_id: str) -> Token:
    """Return the token; `NotFound` (code ``unknown-token``) if there is none."""
    token = session.get(Token, token_id)
    if token is None:
        raise NotFound(f"There is no token {token_id[:80]!r}.", code="unknown-token", hint="It may be revoked already.")
    return token


def create(session: Session, view: View, body: TokenIn) -> tuple[Token, str]:
    """Issue a token; `NotFound` (code ``unknown-organisation``) if its organisation is not there."""
    organisations.find(session, view, body.organisation)
    return tokens.issue(
        session,
        subject=body.subject,
        organisation=body.organisation,
        role=body.role,
        expires_in=body.expires_in,
    )


def show(token: Token, plain: str | None = None) -> hal.Resource:
    """Return the token without its secret, or, when it has just been made, with it."""
    href = f"/v1/tokens/{token.id}"
    body = {
        "id": token.id,
        "subject": token.subject,
        "organisation": token.organisation,
        "role": token.role,
        "created": hal.instant(token.created),
        "expires": hal.instant(token.expires),
        **({} if plain is None else {"token": plain}),
    }
    return hal.resource(body, href, delete=hal.link(href, "DELETE"))
