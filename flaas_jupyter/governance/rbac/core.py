"""Core RBAC (INCITS 359, 6.1): users, roles, who has which role, and which role has which permission.

Each function checks its preconditions first and then writes, so that one that raises `RbacError` has changed nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.orm import Session

from .. import scopes
from . import exclusions, lookup, names
from .closure import Hierarchy
from .errors import RbacConflict, RbacInvalid, RbacNotFound, unknown
from .tables import STATIC, ActiveRole, Assignment, ExclusionRole, Grant, Permission, Role, RoleSession, User


def add_user(session: Session, user: str) -> None:
    """Add a user, without roles or sessions.

    Raises
    ------
    RbacError
        Codes ``bad-name`` and ``user-exists``.
    """
    names.require("user", user)
    if lookup.user_exists(session, user):
        raise _exists("user", user)
    session.execute(insert(User).values(name=user))


def delete_user(session: Session, user: str) -> None:
    """Delete a user and its assignments; its sessions end.

    Raises
    ------
    RbacError
        Code ``unknown-user``.
    """
    lookup.require_user(session, user)
    session.execute(delete(User).where(User.name == user))


def add_role(session: Session, role: str, description: str = "") -> None:
    """Add a role that nobody has and that permits nothing.

    Raises
    ------
    RbacError
        Codes ``bad-name`` and ``role-exists``.
    """
    names.require("role", role)
    if description:
        names.require("description", description)
    if lookup.role_exists(session, role):
        raise _exists("role", role)
    session.execute(insert(Role).values(name=role, description=description))


def delete_role(session: Session, role: str) -> None:
    """Delete a role with its assignments, grants and edges; open sessions lose what they had through it.

    It leaves its exclusion sets.

    Raises
    ------
    RbacError
        Codes ``unknown-role``, and ``bad-cardinality`` if an exclusion set would be left with fewer roles than its
        cardinality.
    """
    lookup.require_role(session, role)
    for kind, name in session.execute(
        select(ExclusionRole.kind, ExclusionRole.exclusion).where(ExclusionRole.role == role)
    ).all():
        exclusion = exclusions.find(session, kind, name)
        exclusions.require_cardinality(exclusion.with_roles(exclusion.roles - {role}))
    session.execute(delete(Role).where(Role.name == role))
    deactivate_unauthorised(session)


def assign_user(session: Session, user: str, role: str, scope: str = scopes.PLATFORM) -> None:
    """Assign a role to a user, in a scope.

    Raises
    ------
    RbacError
        Codes ``unknown-user``, ``unknown-role``, ``bad-name`` (scope), ``already-assigned`` and ``ssd-violated``.
    """
    lookup.require_user(session, user)
    lookup.require_role(session, role)
    _require_scope(scope)
    held = lookup.assigned(session, Assignment.user == user)[user]
    if (role, scope) in held:
        raise RbacConflict(
            f"User {user!r} has role {role!r} already{_on(scope)}.",
            code="already-assigned",
            hint="There is nothing to do.",
            user=user,
            role=role,
            scope=scope,
        )
    after = lookup.closed(Hierarchy.of(session), held | {(role, scope)})
    exclusions.require_satisfied(exclusions.of_kind(session, STATIC), {user: after})
    session.execute(insert(Assignment).values(user=user, role=role, scope=scope, assigned=datetime.now(UTC)))


def deassign_user(session: Session, user: str, role: str, scope: str = scopes.PLATFORM) -> None:
    """Take a role from a user, in a scope; it is dropped from the user's open sessions at once.

    So is every role for which the user is no more authorised without it.

    Raises
    ------
    RbacError
        Codes ``unknown-user``, ``unknown-role`` and ``not-assigned``.
    """
    lookup.require_user(session, user)
    lookup.require_role(session, role)
    if (role, scope) not in lookup.assigned(session, Assignment.user == user)[user]:
        raise RbacConflict(
            f"User {user!r} does not have role {role!r}{_on(scope)}.",
            code="not-assigned",
            hint="assigned_roles lists what it has; what it inherits is taken away with the senior role.",
            user=user,
            role=role,
            scope=str(scope)[:80],
        )
    session.execute(
        delete(Assignment).where(Assignment.user == user, Assignment.role == role, Assignment.scope == scope)
    )
    theirs = select(RoleSession.id).where(RoleSession.user == user)
    session.execute(
        delete(ActiveRole).where(ActiveRole.session.in_(theirs), ActiveRole.role == role, ActiveRole.scope == scope)
    )
    deactivate_unauthorised(session, RoleSession.user == user)


def add_permission(session: Session, operation: str, object: str, description: str = "") -> None:
    """Put a permission on record before anybody has it.

    The standard takes permissions as given; this and `delete_permission` are the administration of that set.

    Raises
    ------
    RbacError
        Codes ``bad-name`` and ``permission-exists``.
    """
    names.require("operation", operation)
    names.require("object", object)
    if description:
        names.require("description", description)
    if lookup.permission_exists(session, operation, object):
        raise RbacConflict(
            f"The permission ({operation!r}, {object!r}) exists already.",
            code="permission-exists",
            hint="There is nothing to do.",
        )
    session.execute(insert(Permission).values(operation=operation, object=object, description=description))


def delete_permission(session: Session, operation: str, object: str) -> None:
    """Delete a permission; every role that has it loses it.

    Raises
    ------
    RbacError
        Code ``unknown-permission``.
    """
    if not lookup.permission_exists(session, operation, object):
        raise unknown("permission", (operation, object))
    session.execute(delete(Permission).where(Permission.operation == operation, Permission.object == object))


def grant_permission(session: Session, operation: str, object: str, role: str) -> None:
    """Grant a role an operation on an object; granting it again changes nothing, as in the standard.

    A pair that is not on record is put there: by the standard PRMS holds every pair of an operation and an object, and
    it has no function to declare one before it is granted.

    Raises
    ------
    RbacError
        Codes ``bad-name`` and ``unknown-role``.
    """
    names.require("operation", operation)
    names.require("object", object)
    lookup.require_role(session, role)
    if _is_granted(session, operation, object, role):
        return
    if not lookup.permission_exists(session, operation, object):
        session.execute(insert(Permission).values(operation=operation, object=object, description=""))
    session.execute(insert(Grant).values(role=role, operation=operation, object=object))


def revoke_permission(session: Session, operation: str, object: str, role: str) -> None:
    """Take a permission from a role; it stays on record.

    Raises
    ------
    RbacError
        Codes ``unknown-role`` and ``not-granted``.
    """
    lookup.require_role(session, role)
    if not _is_granted(session, operation, object, role):
        raise RbacNotFound(
            f"Role {role!r} was not itself granted {str(operation)[:80]!r} on {str(object)[:80]!r}.",
            code="not-granted",
            hint="role_permissions lists what it has; what it inherits is revoked where it was granted.",
            role=role,
        )
    session.execute(delete(Grant).where(Grant.role == role, Grant.operation == operation, Grant.object == object))


def deactivate_unauthorised(session: Session, *which: ColumnElement[bool]) -> None:
    """Drop from the open sessions (`which`: conditions on them) all roles that their users are not authorised for."""
    owners = select(RoleSession.user).where(*which)
    hierarchy = Hierarchy.of(session)
    held = lookup.assigned(session, Assignment.user.in_(owners))
    for (user, session_id), active in lookup.active(session, *which).items():
        for role, scope in active - lookup.closed(hierarchy, held[user]):
            session.execute(
                delete(ActiveRole).where(
                    ActiveRole.session == session_id, ActiveRole.role == role, ActiveRole.scope == scope
                )
            )


def _is_granted(session: Session, operation: str, object: str, role: str) -> bool:
    if not names.is_sound(operation) or not names.is_sound(object):
        return False
    found = select(Grant.role).where(Grant.role == role, Grant.operation == operation, Grant.object == object)
    return session.scalar(found) is not None


def _require_scope(scope: str) -> None:
    names.require("scope", scope)
    try:
        scopes.parse(scope)
    except ValueError as error:
        raise RbacInvalid(
            f"{scope[:80]!r} is no scope.",
            code="bad-scope",
            hint="Give platform, organisation:<id>, project:<id> or node:<id>.",
        ) from error


def _on(scope: str) -> str:
    return "" if scope == scopes.PLATFORM else f" in {str(scope)[:80]}"


def _exists(kind: str, name: str) -> RbacConflict:
    return RbacConflict(
        f"There is a {kind} {name!r} already.", code=f"{kind}-exists", hint="Choose another name.", **{kind: name}
    )
