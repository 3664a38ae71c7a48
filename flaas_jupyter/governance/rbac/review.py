"""Review (INCITS 359, review and advanced review functions), from both sides: the fourth level of RBAC.

Who has a role and which roles somebody has; what a role permits and which roles permit it. Answers are sets of names
and of pairs (operation, object), the scopes left out; `assignments` tells them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Select, select
from sqlalchemy.orm import Session

from . import lookup, names
from .closure import downward, upward
from .tables import ActiveRole, Assignment, Grant, Role

Permissions = set[tuple[str, str]]
"""Pairs of operation and object."""


def assigned_users(session: Session, role: str) -> set[str]:
    """Return the users to whom `role` itself is assigned; `RbacError` (``unknown-role``)."""
    lookup.require_role(session, role)
    return _names(session, select(Assignment.user).where(Assignment.role == role))


def assigned_roles(session: Session, user: str) -> set[str]:
    """Return the roles that are assigned to `user` itself; `RbacError` (``unknown-user``)."""
    lookup.require_user(session, user)
    return _names(session, select(Assignment.role).where(Assignment.user == user))


def authorized_users(session: Session, role: str) -> set[str]:
    """Return the users who have `role` or one that inherits it; `RbacError` (``unknown-role``)."""
    lookup.require_role(session, role)
    return _holders(session, upward(_only(role)))


def authorized_roles(session: Session, user: str) -> set[str]:
    """Return the roles of `user` and all that they inherit; `RbacError` (``unknown-user``)."""
    lookup.require_user(session, user)
    return {role for role, _ in lookup.authorised(session, user)}


def assignments(session: Session, user: str) -> set[tuple[str, str]]:
    """Return the roles that are assigned to `user`, each with its scope; `RbacError` (``unknown-user``)."""
    lookup.require_user(session, user)
    return lookup.assigned(session, Assignment.user == user)[user]


def role_permissions(session: Session, role: str, *, inherited: bool = True) -> Permissions:
    """Return the permissions of `role` and, if `inherited`, its juniors'; `RbacError` (``unknown-role``)."""
    lookup.require_role(session, role)
    if not inherited:
        return _pairs(session, select(Grant.operation, Grant.object).where(Grant.role == role))
    return _granted(session, downward(_only(role)))


def user_permissions(session: Session, user: str) -> Permissions:
    """Return what `user` is permitted through any of its roles; `RbacError` (``unknown-user``)."""
    lookup.require_user(session, user)
    return _granted(session, downward(select(Assignment.role).where(Assignment.user == user)))


def session_roles(session: Session, session_id: str) -> set[str]:
    """Return the active roles of a session; `RbacError` (``unknown-session``, ``session-expired``)."""
    lookup.find_session(session, session_id)
    return _names(session, select(ActiveRole.role).where(ActiveRole.session == session_id))


def session_permissions(session: Session, session_id: str) -> Permissions:
    """Return what a session is permitted; `RbacError` (``unknown-session``, ``session-expired``)."""
    lookup.find_session(session, session_id)
    return _granted(session, downward(select(ActiveRole.role).where(ActiveRole.session == session_id)))


def role_operations_on_object(session: Session, role: str, object: str) -> set[str]:
    """Return what `role` permits to be done with `object`, through its juniors too.

    Raises
    ------
    RbacError
        Codes ``unknown-role`` and ``bad-name``.
    """
    lookup.require_role(session, role)
    return _operations(session, downward(_only(role)), object)


def user_operations_on_object(session: Session, user: str, object: str) -> set[str]:
    """Return what `user` is permitted to do with `object`; `RbacError` (``unknown-user``, ``bad-name``)."""
    lookup.require_user(session, user)
    return _operations(session, downward(select(Assignment.role).where(Assignment.user == user)), object)


def permission_roles(session: Session, operation: str, object: str, *, inherited: bool = True) -> set[str]:
    """Return the roles that have a permission, themselves or, unless told otherwise, through what they inherit.

    Empty for a pair that nobody was granted; `RbacError` (``bad-name``).
    """
    direct = _having(operation, object)
    if not inherited:
        return _names(session, direct)
    return _names(session, select(upward(direct).c.role))


def permission_users(session: Session, operation: str, object: str, *, inherited: bool = True) -> set[str]:
    """Return the users who have a permission: through the roles of `permission_roles`."""
    direct = _having(operation, object)
    if not inherited:
        return _names(session, select(Assignment.user).where(Assignment.role.in_(direct)))
    return _holders(session, upward(direct))


def _only(role: str) -> Select[*tuple[Any, ...]]:
    return select(Role.name.label("role")).where(Role.name == role)


def _having(operation: str, object: str) -> Select[*tuple[Any, ...]]:
    names.require("operation", operation)
    names.require("object", object)
    return select(Grant.role).where(Grant.operation == operation, Grant.object == object)


def _holders(session: Session, roles: CTE) -> set[str]:
    return _names(session, select(Assignment.user).where(Assignment.role.in_(select(roles.c.role))))


def _granted(session: Session, roles: CTE) -> Permissions:
    return _pairs(session, select(Grant.operation, Grant.object).where(Grant.role.in_(select(roles.c.role))))


def _operations(session: Session, roles: CTE, object: str) -> set[str]:
    names.require("object", object)
    return _names(session, select(Grant.operation).where(Grant.object == object, Grant.role.in_(select(roles.c.role))))


def _names(session: Session, query: Select[*tuple[Any, ...]]) -> set[str]:
    return set(session.scalars(query))


def _pairs(session: Session, query: Select[*tuple[Any, ...]]) -> Permissions:
    return {(operation, object) for operation, object in session.execute(query)}
