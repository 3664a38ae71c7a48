"""All that a session permits, at once: what a service needs to know of its caller, in two queries."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from . import names
from .closure import downward
from .errors import unknown
from .lookup import require_unexpired
from .tables import ActiveRole, Grant, RoleSession


@dataclass(frozen=True)
class Grants:
    """What a session permits.

    Parameters
    ----------
    user : str
        Whose session it is.
    roles : tuple of (str, str)
        The active roles, each with the scope where it is held.
    operations : mapping of str to frozenset of str
        ``resource:verb`` to the scopes where it is permitted.
    """

    user: str
    roles: tuple[tuple[str, str], ...]
    operations: Mapping[str, frozenset[str]]


def of(session: Session, session_id: str) -> Grants:
    """Return what the session permits.

    Raises
    ------
    RbacError
        Codes ``unknown-session`` and ``session-expired``.
    """
    given = {"session": session_id}
    rows = session.execute(_active(), given).all() if names.is_sound(session_id) else []
    if not rows:
        raise unknown("session", session_id)
    user, expires = rows[0][:2]
    require_unexpired(expires)
    operations: dict[str, set[str]] = defaultdict(set)
    for operation, object, scope in session.execute(_granted(), given):
        operations[f"{object}:{operation}"].add(scope)
    roles = tuple(sorted((role, scope) for _, _, role, scope in rows if role is not None))
    return Grants(user, roles, {operation: frozenset(places) for operation, places in sorted(operations.items())})


# Every request asks these two: building them anew would cost more than the data base takes to answer.


@functools.cache
def _active() -> Select[*tuple[Any, ...]]:
    return (
        select(RoleSession.user, RoleSession.expires, ActiveRole.role, ActiveRole.scope)
        .join_from(RoleSession, ActiveRole, ActiveRole.session == RoleSession.id, isouter=True)
        .where(RoleSession.id == bindparam("session"))
    )


@functools.cache
def _granted() -> Select[*tuple[Any, ...]]:
    held = downward(select(ActiveRole.role, ActiveRole.scope).where(ActiveRole.session == bindparam("session")))
    granted = select(Grant.operation, Grant.object, held.c.scope).join_from(held, Grant, Grant.role == held.c.role)
    return granted.distinct()
