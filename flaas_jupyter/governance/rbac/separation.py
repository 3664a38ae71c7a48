"""Static and dynamic separation of duty (INCITS 359, 6.3 and 6.4), their commands and their review.

A set ``(roles, n)`` with 2 <= n <= the number of its roles. Static: no user is authorised for n or more of them, by
assignment or through the hierarchy. Dynamic: no session has n or more of them active. `per_scope`: see `exclusions`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from . import exclusions, lookup, names
from .closure import Hierarchy
from .errors import RbacConflict, RbacInvalid
from .exclusions import ExclusionSet
from .tables import DYNAMIC, STATIC, ActiveRole, Assignment, Exclusion, ExclusionRole


def create_ssd_set(session: Session, name: str, roles: Iterable[str], n: int, *, per_scope: bool = False) -> None:
    """Create a static set: no user is authorised for `n` or more of `roles`.

    Raises
    ------
    RbacError
        Codes ``bad-name``, ``ssd-set-exists``, ``unknown-role``, ``bad-cardinality``, and ``ssd-violated`` if a user
        is already.
    """
    _create(session, STATIC, name, roles, n, per_scope)


def add_ssd_role_member(session: Session, name: str, role: str) -> None:
    """Add a role to a static set.

    Raises
    ------
    RbacError
        Codes ``unknown-ssd-set``, ``unknown-role``, ``already-member`` and ``ssd-violated``.
    """
    _add_member(session, STATIC, name, role)


def delete_ssd_role_member(session: Session, name: str, role: str) -> None:
    """Take a role out of a static set.

    Raises
    ------
    RbacError
        Codes ``unknown-ssd-set``, ``unknown-role``, ``not-member``, and ``bad-cardinality`` if too few are left.
    """
    _delete_member(session, STATIC, name, role)


def delete_ssd_set(session: Session, name: str) -> None:
    """Delete a static set; `RbacError` (``unknown-ssd-set``) if there is none."""
    _delete(session, STATIC, name)


def set_ssd_set_cardinality(session: Session, name: str, n: int) -> None:
    """Set of how many roles of a static set nobody may have so many or more.

    Raises
    ------
    RbacError
        Codes ``unknown-ssd-set``, ``bad-cardinality`` and ``ssd-violated``.
    """
    _set_cardinality(session, STATIC, name, n)


def create_dsd_set(session: Session, name: str, roles: Iterable[str], n: int, *, per_scope: bool = False) -> None:
    """Create a dynamic set: no session has `n` or more of `roles` active.

    Raises
    ------
    RbacError
        Codes ``bad-name``, ``dsd-set-exists``, ``unknown-role``, ``bad-cardinality``, and ``dsd-violated`` if an open
        session has.
    """
    _create(session, DYNAMIC, name, roles, n, per_scope)


def add_dsd_role_member(session: Session, name: str, role: str) -> None:
    """Add a role to a dynamic set.

    Raises
    ------
    RbacError
        Codes ``unknown-dsd-set``, ``unknown-role``, ``already-member`` and ``dsd-violated``.
    """
    _add_member(session, DYNAMIC, name, role)


def delete_dsd_role_member(session: Session, name: str, role: str) -> None:
    """Take a role out of a dynamic set.

    Raises
    ------
    RbacError
        Codes ``unknown-dsd-set``, ``unknown-role``, ``not-member``, and ``bad-cardinality`` if too few are left.
    """
    _delete_member(session, DYNAMIC, name, role)


def delete_dsd_set(session: Session, name: str) -> None:
    """Delete a dynamic set; `RbacError` (``unknown-dsd-set``) if there is none."""
    _delete(session, DYNAMIC, name)


def set_dsd_set_cardinality(session: Session, name: str, n: int) -> None:
    """Set of how many roles of a dynamic set no session may have so many or more active.

    Raises
    ------
    RbacError
        Codes ``unknown-dsd-set``, ``bad-cardinality`` and ``dsd-violated``.
    """
    _set_cardinality(session, DYNAMIC, name, n)


def ssd_role_sets(session: Session) -> set[str]:
    """Return the names of the static sets."""
    return {each.name for each in exclusions.of_kind(session, STATIC)}


def ssd_role_set_roles(session: Session, name: str) -> set[str]:
    """Return the roles of a static set; `RbacError` (``unknown-ssd-set``) if there is none."""
    return set(exclusions.find(session, STATIC, name).roles)


def ssd_role_set_cardinality(session: Session, name: str) -> int:
    """Return the cardinality of a static set; `RbacError` (``unknown-ssd-set``) if there is none."""
    return exclusions.find(session, STATIC, name).cardinality


def dsd_role_sets(session: Session) -> set[str]:
    """Return the names of the dynamic sets."""
    return {each.name for each in exclusions.of_kind(session, DYNAMIC)}


def dsd_role_set_roles(session: Session, name: str) -> set[str]:
    """Return the roles of a dynamic set; `RbacError` (``unknown-dsd-set``) if there is none."""
    return set(exclusions.find(session, DYNAMIC, name).roles)


def dsd_role_set_cardinality(session: Session, name: str) -> int:
    """Return the cardinality of a dynamic set; `RbacError` (``unknown-dsd-set``) if there is none."""
    return exclusions.find(session, DYNAMIC, name).cardinality


def _create(session: Session, kind: str, name: str, roles: Iterable[str], n: int, per_scope: bool) -> None:
    names.require("set", name)
    if isinstance(roles, str):
        raise RbacInvalid(
            f"{roles[:80]!r} is one text; give a list of roles.", code="bad-name", hint="Give at least two roles."
        )
    members = list(roles)
    for role in members:
        lookup.require_role(session, role)
    if any(each.name == name for each in exclusions.of_kind(session, kind)):
        short = exclusions.SHORT[kind]
        raise RbacConflict(
            f"There is an {short.upper()} set {name!r} already.",
            code=f"{short}-set-exists",
            hint="Choose another name, or change its roles and cardinality.",
            exclusion=name,
        )
    exclusion = ExclusionSet(kind, name, frozenset(members), n, bool(per_scope))
    _require_holds(session, exclusion)
    session.execute(insert(Exclusion).values(kind=kind, name=name, cardinality=n, per_scope=bool(per_scope)))
    for role in sorted(exclusion.roles):
        session.execute(insert(ExclusionRole).values(kind=kind, exclusion=name, role=role))


def _add_member(session: Session, kind: str, name: str, role: str) -> None:
    exclusion = exclusions.find(session, kind, name)
    lookup.require_role(session, role)
    if role in exclusion.roles:
        raise RbacConflict(
            f"Role {role!r} is in the set {name!r} already.",
            code="already-member",
            hint="There is nothing to do.",
            exclusion=name,
            role=role,
        )
    _require_holds(session, exclusion.with_roles(exclusion.roles | {role}))
    session.execute(insert(ExclusionRole).values(kind=kind, exclusion=name, role=role))


def _delete_member(session: Session, kind: str, name: str, role: str) -> None:
    exclusion = exclusions.find(session, kind, name)
    lookup.require_role(session, role)
    if role not in exclusion.roles:
        raise RbacConflict(
            f"Role {role!r} is not in the set {name!r} ({', '.join(sorted(exclusion.roles))}).",
            code="not-member",
            hint="There is nothing to do.",
            exclusion=name,
            role=role,
        )
    exclusions.require_cardinality(exclusion.with_roles(exclusion.roles - {role}))
    session.execute(
        delete(ExclusionRole).where(
            ExclusionRole.kind == kind, ExclusionRole.exclusion == name, ExclusionRole.role == role
        )
    )


def _delete(session: Session, kind: str, name: str) -> None:
    exclusions.find(session, kind, name)
    session.execute(delete(Exclusion).where(Exclusion.kind == kind, Exclusion.name == name))


def _set_cardinality(session: Session, kind: str, name: str, n: int) -> None:
    present = exclusions.find(session, kind, name)
    _require_holds(session, ExclusionSet(kind, name, present.roles, n, present.per_scope))
    session.execute(update(Exclusion).where(Exclusion.kind == kind, Exclusion.name == name).values(cardinality=n))


def _require_holds(session: Session, exclusion: ExclusionSet) -> None:
    """Check the set by itself, and against what is held or active now."""
    exclusions.require_cardinality(exclusion)
    if exclusion.kind == DYNAMIC:
        exclusions.require_satisfied([exclusion], lookup.active(session, ActiveRole.role.in_(exclusion.roles)))
        return
    hierarchy = Hierarchy.of(session)
    seniors = frozenset().union(*(hierarchy.seniors(role) for role in exclusion.roles))
    held = lookup.assigned(session, Assignment.role.in_(seniors))
    exclusions.require_satisfied([exclusion], {user: lookup.closed(hierarchy, roles) for user, roles in held.items()})
