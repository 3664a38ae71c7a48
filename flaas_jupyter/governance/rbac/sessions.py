"""Sessions (INCITS 359, system functions): a user at work with some of its roles, and the decision on each access."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, bindparam, delete, exists, insert, select
from sqlalchemy.orm import Session

from .. import scopes
from . import exclusions, lookup, names
from .closure import downward
from .errors import RbacConflict, RbacInvalid, RbacNotAllowed, unknown
from .tables import DYNAMIC, ActiveRole, Grant, RoleSession

_ID_BYTES = 32

ActiveRoles = Iterable[str | tuple[str, str]]
"""Roles to activate: by name, wherever the user is authorised for it, or as a pair of name and scope."""


def create_session(
    session: Session, user: str, roles: ActiveRoles, *, expires: datetime | None = None, fixed: bool = False
) -> str:
    """Create a session of `user` with `roles` active; return its id, 256 random bits.

    Parameters
    ----------
    session : Session
        A writing session of the data base.
    user : str
        Whose session it is.
    roles : iterable
        Among those that the user is authorised for; each a name (active in every scope where the user is authorised
        for it) or a pair of name and scope. None at all is a session without rights.
    expires : datetime, optional
        From when on the session gives access to nothing.
    fixed : bool
        Whether no role can be added to it later, as behind a token that asked for a part of its user's roles.

    Raises
    ------
    RbacError
        Codes ``unknown-user``, ``unknown-role``, ``not-authorised`` and ``dsd-violated``.
    """
    lookup.require_user(session, user)
    if isinstance(roles, str):
        raise RbacInvalid(
            f"{roles[:80]!r} is one text; give a list of roles.", code="bad-name", hint="Put it into a list."
        )
    authorised = lookup.authorised(session, user)
    active: lookup.Held = set()
    for role in roles:
        active |= _meant(session, user, role, authorised)
    session_id = secrets.token_urlsafe(_ID_BYTES)
    exclusions.require_satisfied(exclusions.of_kind(session, DYNAMIC), {(user, session_id): active})
    session.execute(
        insert(RoleSession).values(
            id=session_id, user=user, created=datetime.now(UTC), expires=expires, fixed=bool(fixed)
        )
    )
    _activate(session, session_id, active)
    return session_id


def delete_session(session: Session, user: str, session_id: str) -> None:
    """End a session of `user`, one that has expired too.

    Raises
    ------
    RbacError
        Codes ``unknown-user``, ``unknown-session`` and ``not-session-owner``.
    """
    lookup.require_user(session, user)
    lookup.require_owner(lookup.find_session(session, session_id, now=lookup.EVER), user)
    session.execute(delete(RoleSession).where(RoleSession.id == session_id))


def add_active_role(session: Session, user: str, session_id: str, role: str, scope: str | None = None) -> None:
    """Activate a role in a session of `user`; one that is active already stays so.

    Parameters
    ----------
    session : Session
        A writing session of the data base.
    user, session_id, role : str
        Whose session, which, and which role.
    scope : str, optional
        Only there; otherwise in every scope where the user is authorised for it.

    Raises
    ------
    RbacError
        Codes ``unknown-user``, ``unknown-session``, ``unknown-role``, ``session-expired``, ``not-session-owner``,
        ``session-fixed``, ``not-authorised`` and ``dsd-violated``.
    """
    lookup.require_user(session, user)
    row = lookup.find_session(session, session_id)
    lookup.require_role(session, role)
    lookup.require_owner(row, user)
    if row.fixed:
        raise is_fixed()
    wanted = role if scope is None else (role, scope)
    new = _meant(session, user, wanted, lookup.authorised(session, user))
    active = _active(session, session_id)
    exclusions.require_satisfied(exclusions.of_kind(session, DYNAMIC), {(user, session_id): active | new})
    _activate(session, session_id, new - active)


def drop_active_role(session: Session, user: str, session_id: str, role: str, scope: str | None = None) -> None:
    """Deactivate a role in a session of `user`, in one scope or wherever it is active.

    Raises
    ------
    RbacError
        Codes ``unknown-user``, ``unknown-session``, ``unknown-role``, ``session-expired``, ``not-session-owner`` and
        ``not-active``.
    """
    lookup.require_user(session, user)
    row = lookup.find_session(session, session_id)
    lookup.require_role(session, role)
    lookup.require_owner(row, user)
    dropped = {pair for pair in _active(session, session_id) if pair[0] == role and scope in (None, pair[1])}
    if not dropped:
        raise RbacConflict(
            f"Role {role!r} is not active in the session{'' if scope is None else f' in {scope[:80]}'}.",
            code="not-active",
            hint="session_roles lists the active ones; what they inherit is dropped with them.",
            role=role,
        )
    for _, where in dropped:
        session.execute(
            delete(ActiveRole).where(
                ActiveRole.session == session_id, ActiveRole.role == role, ActiveRole.scope == where
            )
        )


def check_access(session: Session, session_id: str, operation: str, object: str, *within: str) -> bool:
    """Decide whether a session may do `operation` on `object`.

    Parameters
    ----------
    session : Session
        A session of the data base.
    session_id : str
        The session of roles.
    operation, object : str
        What is to be done; a pair that nobody was ever granted is denied.
    *within : str
        The scopes that the thing lies in: a role counts if it is held in one of them or on the platform. Without any,
        every active role counts.

    Returns
    -------
    bool
        True if an active role, or one that it inherits, has the permission.

    Raises
    ------
    RbacError
        Codes ``bad-name``, ``unknown-session`` and ``session-expired``.
    """
    given = decision_parameters(session_id, operation, object, within)
    row = session.execute(decision(len(within)), given).one_or_none()
    if row is None:
        raise unknown("session", session_id)
    expires, permitted = row
    lookup.require_unexpired(expires)
    return bool(permitted)


def end_expired(session: Session, now: datetime | None = None) -> None:
    """Clear expired sessions away."""
    session.execute(delete(RoleSession).where(RoleSession.expires <= (now or datetime.now(UTC))))


@functools.lru_cache
def decision(count: int) -> Select[*tuple[Any, ...]]:
    """Return the query that decides an access within `count` scopes: when the session expires, and whether.

    One statement, so that it sees one state; its parameters are those of `decision_parameters`.
    """
    start = select(ActiveRole.role).where(ActiveRole.session == bindparam("session"))
    if count:
        places: list[Any] = [bindparam(f"scope_{number}") for number in range(count)]
        start = start.where(ActiveRole.scope.in_([bindparam("platform"), *places]))
    held = downward(start)
    permitted = exists().where(
        Grant.role == held.c.role, Grant.operation == bindparam("operation"), Grant.object == bindparam("object")
    )
    return select(RoleSession.expires, permitted).where(RoleSession.id == bindparam("session"))


def decision_parameters(session_id: str, operation: str, object: str, within: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of `decision`, once they are such that both data bases can be asked."""
    if not names.is_sound(session_id):
        raise unknown("session", session_id)
    given = {
        "session": session_id,
        "operation": names.require("operation", operation),
        "object": names.require("object", object),
    }
    if within:
        given["platform"] = scopes.PLATFORM
        given.update((f"scope_{number}", names.require("scope", scope)) for number, scope in enumerate(within))
    return given


def is_fixed() -> RbacNotAllowed:
    """Return the error that nothing can be added to a session."""
    return RbacNotAllowed(
        "No role can be added to this session: it was created for a token that asked for these roles and no more.",
        code="session-fixed",
        hint="Sign in with the roles that you need.",
    )


def _meant(session: Session, user: str, role: str | tuple[str, str], authorised: lookup.Held) -> lookup.Held:
    """Return the pairs of role and scope that `role` stands for."""
    name, scope = role if isinstance(role, tuple) else (role, None)
    lookup.require_role(session, name)
    meant = {pair for pair in authorised if pair[0] == name and scope in (None, pair[1])}
    if not meant:
        raise RbacNotAllowed(
            f"User {user!r} is not authorised for role {name!r}{'' if scope is None else f' in {str(scope)[:80]}'}.",
            code="not-authorised",
            hint="authorized_roles lists those that it may activate.",
            user=user,
            role=name,
        )
    return meant


def _active(session: Session, session_id: str) -> lookup.Held:
    rows = session.execute(select(ActiveRole.role, ActiveRole.scope).where(ActiveRole.session == session_id))
    return {(role, scope) for role, scope in rows}


def _activate(session: Session, session_id: str, roles: lookup.Held) -> None:
    for role, scope in sorted(roles):
        session.execute(insert(ActiveRole).values(session=session_id, role=role, scope=scope))
