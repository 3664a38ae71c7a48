"""General hierarchical RBAC (INCITS 359, 6.2): any partial order of roles.

A senior role (ascendant) has the permissions of its juniors (descendants), and its users are theirs.
"""

from __future__ import annotations

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from . import core, exclusions, lookup
from .closure import Hierarchy
from .errors import RbacConflict, RbacNotFound
from .tables import STATIC, Assignment, Inheritance


def add_inheritance(session: Session, ascendant: str, descendant: str) -> None:
    """Have `ascendant` inherit `descendant` immediately.

    Raises
    ------
    RbacError
        Codes ``unknown-role``, ``inheritance-exists`` (it does so immediately already), ``inheritance-cycle``
        (`descendant` is `ascendant` or inherits it), and ``ssd-violated``.
    """
    lookup.require_role(session, ascendant)
    lookup.require_role(session, descendant)
    present = Hierarchy.of(session)
    if (ascendant, descendant) in present.edges:
        raise RbacConflict(
            f"Role {ascendant!r} inherits {descendant!r} immediately already.",
            code="inheritance-exists",
            hint="There is nothing to do.",
            roles=[ascendant, descendant],
        )
    way = present.paths(descendant).get(ascendant)
    if way is not None:
        raise RbacConflict(
            f"Role {ascendant!r} cannot inherit {descendant!r}: that would close the cycle "
            f"{' > '.join((ascendant, *way))}.",
            code="inheritance-cycle",
            hint="Delete one of these inheritances first.",
            roles=list(way),
        )
    seniors, gained = present.seniors(ascendant), present.juniors(descendant)
    touched = [each for each in exclusions.of_kind(session, STATIC) if each.roles & gained]
    if touched:
        after = present.with_edge(ascendant, descendant)
        concerned = select(Assignment.user).where(Assignment.role.in_(seniors))
        held = lookup.assigned(session, Assignment.user.in_(concerned))
        exclusions.require_satisfied(touched, {user: lookup.closed(after, roles) for user, roles in held.items()})
    session.execute(insert(Inheritance).values(ascendant=ascendant, descendant=descendant))


def delete_inheritance(session: Session, ascendant: str, descendant: str) -> None:
    """Take an immediate inheritance away; open sessions lose the roles that they had through it alone.

    Raises
    ------
    RbacError
        Codes ``unknown-role`` and ``no-inheritance``.
    """
    lookup.require_role(session, ascendant)
    lookup.require_role(session, descendant)
    present = Hierarchy.of(session)
    if (ascendant, descendant) not in present.edges:
        through = " (it does through others)" if descendant in present.juniors(ascendant) - {ascendant} else ""
        raise RbacNotFound(
            f"Role {ascendant!r} does not inherit {descendant!r} immediately{through}.",
            code="no-inheritance",
            hint="The list of roles names the immediate juniors of each.",
            roles=[ascendant, descendant],
        )
    session.execute(delete(Inheritance).where(Inheritance.ascendant == ascendant, Inheritance.descendant == descendant))
    core.deactivate_unauthorised(session)


def add_ascendant(session: Session, new: str, existing: str) -> None:
    """Add the role `new`, immediately senior to `existing`.

    Raises
    ------
    RbacError
        Codes ``bad-name``, ``role-exists`` and ``unknown-role``.
    """
    lookup.require_role(session, existing)
    core.add_role(session, new)
    session.execute(insert(Inheritance).values(ascendant=new, descendant=existing))


def add_descendant(session: Session, new: str, existing: str) -> None:
    """Add the role `new`, immediately junior to `existing`.

    Raises
    ------
    RbacError
        Codes ``bad-name``, ``role-exists`` and ``unknown-role``.
    """
    lookup.require_role(session, existing)
    core.add_role(session, new)
    session.execute(insert(Inheritance).values(ascendant=existing, descendant=new))
