"""Whether the things that a function is called with exist, and what users hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from . import names
from .closure import Hierarchy, downward
from .errors import RbacNotAllowed, unknown
from .tables import ActiveRole, Assignment, Permission, Role, RoleSession, User

Held = set[tuple[str, str]]
"""Roles, each with the scope where it is held or active."""

EVER = datetime.min.replace(tzinfo=UTC)
"""A present in which no session has expired."""


def user_exists(session: Session, user: object) -> bool:
    """Tell whether `user` is in USERS."""
    return names.is_sound(user) and session.scalar(select(User.name).where(User.name == user)) is not None


def require_user(session: Session, user: str) -> None:
    """Raise ``unknown-user`` unless `user` is in USERS."""
    if not user_exists(session, user):
        raise unknown("user", user)


def role_exists(session: Session, role: object) -> bool:
    """Tell whether `role` is in ROLES."""
    return names.is_sound(role) and session.scalar(select(Role.name).where(Role.name == role)) is not None


def require_role(session: Session, role: str) -> None:
    """Raise ``unknown-role`` unless `role` is in ROLES."""
    if not role_exists(session, role):
        raise unknown("role", role)


def permission_exists(session: Session, operation: object, object: object) -> bool:
    """Tell whether the permission is on record."""
    if not names.is_sound(operation) or not names.is_sound(object):
        return False
    found = select(Permission.operation).where(Permission.operation == operation, Permission.object == object)
    return session.scalar(found) is not None


def find_session(session: Session, session_id: str, now: datetime | None = None) -> RoleSession:
    """Return a session that has not expired.

    Raises
    ------
    RbacNotFound
        Code ``unknown-session``.
    RbacNotAllowed
        Code ``session-expired``.
    """
    found = select(RoleSession).where(RoleSession.id == session_id)
    row = session.scalar(found.execution_options(populate_existing=True)) if names.is_sound(session_id) else None
    if row is None:
        raise unknown("session", session_id)
    require_unexpired(row.expires, now)
    return row


def require_unexpired(expires: datetime | None, now: datetime | None = None) -> None:
    """Raise ``session-expired`` if `expires` is not in the future."""
    if expires is not None and expires <= (now or datetime.now(UTC)):
        raise RbacNotAllowed(
            f"The session expired at {expires:%Y-%m-%d %H:%M:%S} UTC.",
            code="session-expired",
            hint="Sign in again, or create a new session.",
        )


def require_owner(row: RoleSession, user: str) -> None:
    """Raise ``not-session-owner`` unless the session is one of `user`'s."""
    if row.user != user:
        raise RbacNotAllowed(
            f"The session is not one of {user!r}.",
            code="not-session-owner",
            hint="Only its own user acts on a session.",
            user=user,
        )


def authorised(session: Session, user: str) -> Held:
    """Return the roles that `user` may activate: its own and all that they inherit."""
    held = downward(select(Assignment.role, Assignment.scope).where(Assignment.user == user))
    return {(role, scope) for role, scope in session.execute(select(held.c.role, held.c.scope))}


def assigned(session: Session, *conditions: ColumnElement[bool]) -> dict[str, Held]:
    """Return the assignments for which `conditions` hold, by user."""
    found: dict[str, Held] = defaultdict(set)
    query: Any = select(Assignment.user, Assignment.role, Assignment.scope).where(*conditions)
    for user, role, scope in session.execute(query):
        found[user].add((role, scope))
    return found


def active(session: Session, *conditions: ColumnElement[bool]) -> dict[tuple[str, str], Held]:
    """Return the active roles of unexpired sessions for which `conditions` hold, by user and session."""
    found: dict[tuple[str, str], Held] = defaultdict(set)
    alive = RoleSession.expires.is_(None) | (RoleSession.expires > datetime.now(UTC))
    query = (
        select(RoleSession.user, RoleSession.id, ActiveRole.role, ActiveRole.scope)
        .join_from(ActiveRole, RoleSession, ActiveRole.session == RoleSession.id)
        .where(alive, *conditions)
    )
    for user, session_id, role, scope in session.execute(query):
        found[user, session_id].add((role, scope))
    return found


def closed(hierarchy: Hierarchy, held: Iterable[tuple[str, str]]) -> Held:
    """Return `held` and all that it inherits, in the same scopes."""
    return {(junior, scope) for role, scope in held for junior in hierarchy.juniors(role)}
