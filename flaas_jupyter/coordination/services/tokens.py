"""Tokens: one's own, and everybody's for those who govern the platform."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ...errors import NotAllowed, NotFound
from ...governance import scopes, tokens
from ...governance.rbac import lookup
from ...governance.rbac.closure import Hierarchy
from ...governance.rbac.tables import ActiveRole
from .. import hal
from ..access import View
from ..member_schemas import RoleHeld, TokenIn
from ..tables import Token


def visible(view: View) -> Select[Token]:
    """Return the query of the tokens that `view` has: the caller's own, or all."""
    query = select(Token)
    if view.may("token:manage", scopes.PLATFORM):
        return query
    return query.where(Token.user == view.caller.subject)


def find(session: Session, view: View, token_id: str) -> Token:
    """Return the token; `NotFound` (code ``unknown-token``) if the caller sees none."""
    token = session.scalar(visible(view).where(Token.id == token_id))
    if token is None:
        raise NotFound(
            f"There is no token {token_id[:80]!r} for you.", code="unknown-token", hint="It may be revoked already."
        )
    return token


def create(session: Session, view: View, body: TokenIn) -> tuple[Token, str]:
    """Issue a token for the caller, with no more than the roles that are active in the caller's own session.

    With a token that expires, one is made that expires no later.

    Raises
    ------
    NotAllowed
        Code ``not-active``: a role that is named is not active here; a weak token makes no stronger one.
    RbacError
        The roles may not be active together.
    """
    active = lookup.closed(Hierarchy.of(session), view.caller.roles)
    roles: list[tuple[str, str]] = list(view.caller.roles)
    if body.roles is not None:
        roles = [(role, scope) for each in body.roles for role, scope in sorted(active) if _names(each, role, scope)]
        found = {*roles, *(role for role, _ in roles)}
        missing = [
            each for each in body.roles if (each if isinstance(each, str) else (each.role, each.scope)) not in found
        ]
        if missing:
            names = ", ".join(each if isinstance(each, str) else f"{each.role} in {each.scope}" for each in missing)
            raise NotAllowed(
                f"Your session does not have the role {names}.",
                code="not-active",
                hint="Sign in with the roles that the token is to have; GET /v1/me lists those that you have here.",
            )
    caller = view.caller
    expires = None if body.expires_in is None else view.now + timedelta(seconds=body.expires_in)
    own = session.scalar(select(Token.expires).where(Token.session == caller.session))
    if own is not None and (expires is None or expires > own):
        expires = own  # a token makes none that outlives it
    return tokens.issue(
        session, user=caller.subject, organisation=caller.organisation, note=body.note, roles=roles, expires=expires
    )


def _names(asked: str | RoleHeld, role: str, scope: str) -> bool:
    return asked == role if isinstance(asked, str) else (asked.role, asked.scope) == (role, scope)


def show_all(session: Session, found: Sequence[Token]) -> list[hal.Resource]:
    """Return tokens without their secrets."""
    held: dict[str, list[dict[str, str]]] = {row.session: [] for row in found}
    query = select(ActiveRole).where(ActiveRole.session.in_(held)).order_by(ActiveRole.role, ActiveRole.scope)
    for active in session.scalars(query):
        held[active.session].append({"role": active.role, "scope": active.scope})
    return [_show(row, held[row.session]) for row in found]


def show(session: Session, token: Token, plain: str | None = None) -> hal.Resource:
    """Return the token without its secret, or, when it has just been made, with it."""
    (shown,) = show_all(session, [token])
    return {**shown, **({} if plain is None else {"token": plain})}


def _show(token: Token, roles: list[dict[str, str]]) -> hal.Resource:
    href = f"/v1/tokens/{token.id}"
    body = {
        "id": token.id,
        "user": token.user,
        "organisation": token.organisation,
        "note": token.note,
        "roles": roles,
        "created": hal.instant(token.created),
        "expires": hal.instant(token.expires),
    }
    return hal.resource(body, href, delete=hal.link(href, "DELETE"))
