"""Which permissions are made use of, so that those that are not can be taken away.

Each use is noted in memory, which costs one entry of a dictionary; `UsageLog.flush` writes what came together, once a
minute or so. A use counts for every active role that gives the permission in the place in question: the report must
not call a permission unused that somebody works with.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ..permissions import split
from ..scopes import PLATFORM
from .closure import Hierarchy
from .tables import Assignment, Grant, Role, Usage

Roles = tuple[tuple[str, str], ...]
_MOST = 100_000


@dataclass(frozen=True)
class Unused:
    """A permission of a role that nobody has used where the role is held.

    Parameters
    ----------
    role, scope : str
        The role as it is assigned.
    operation, object : str
        The permission, its own or inherited.
    assigned : datetime
        Since when somebody has held it there.
    last_used : datetime, optional
        When it was last used; None if it never was.
    """

    role: str
    scope: str
    operation: str
    object: str
    assigned: datetime
    last_used: datetime | None


class UsageLog:
    """Uses that are not yet written; any number of threads may note."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Roles, str, tuple[str, ...]], datetime] = {}
        self._lock = threading.Lock()

    def note(self, roles: Roles, operation: str, *within: str) -> None:
        """Take note that a caller has made use of a permission.

        Parameters
        ----------
        roles : tuple of (str, str)
            The caller's active roles with their scopes (`Caller.roles`).
        operation : str
            ``resource:verb``.
        *within : str
            The scopes that the thing lies in; without any, every active role counts.
        """
        if len(self._seen) < _MOST:
            self._seen[roles, operation, within] = datetime.now(UTC)

    def flush(self, session: Session) -> None:
        """Write what was noted, with a writing session; if the transaction fails, it is lost."""
        with self._lock:
            noted, self._seen = self._seen, {}
        seen = noted.copy()  # another thread may still be about to note in what was just taken away
        if not seen:
            return
        hierarchy = Hierarchy.of(session)
        holders: dict[str, frozenset[str]] = {}
        for (roles, operation, within), moment in seen.items():
            verb, resource = split(operation)
            if operation not in holders:
                granted = select(Grant.role).where(Grant.operation == verb, Grant.object == resource)
                holders[operation] = frozenset(session.scalars(granted))
            for role, scope in roles:
                there = not within or scope == PLATFORM or scope in within
                if there and hierarchy.juniors(role) & holders[operation]:
                    note(session, role, scope, verb, resource, moment)


def note(session: Session, role: str, scope: str, operation: str, object: str, moment: datetime) -> None:
    """Write that `role`, held in `scope`, has given the permission at `moment`."""
    if session.scalar(select(Role.name).where(Role.name == role)) is None:
        return  # it was deleted since
    insert: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    row = {"role": role, "scope": scope, "operation": operation, "object": object, "last_used": moment}
    added = insert(Usage).values(row)
    session.execute(
        added.on_conflict_do_update(
            index_elements=["role", "scope", "operation", "object"],
            set_={"last_used": added.excluded.last_used},
            where=Usage.last_used < added.excluded.last_used,
        )
    )


def unused(session: Session, days: float = 90, now: datetime | None = None) -> list[Unused]:
    """Return the permissions that nobody has used for `days` days, by role and place.

    Roles are reported where they have been held for so long; what was assigned lately cannot have been used.

    Parameters
    ----------
    session : Session
        A session of the data base.
    days : float
        Length of the time, in days.
    now : datetime, optional
        Its end; the present by default.
    """
    since = (now or datetime.now(UTC)) - timedelta(days=days)
    last: dict[tuple[str, str, str, str], datetime] = {}
    used = select(Usage.role, Usage.scope, Usage.operation, Usage.object, Usage.last_used)
    for role, scope, operation, object, moment in session.execute(used):
        last[role, scope, operation, object] = moment
    granted: dict[str, set[tuple[str, str]]] = {}
    for role, operation, object in session.execute(select(Grant.role, Grant.operation, Grant.object)):
        granted.setdefault(role, set()).add((operation, object))
    hierarchy = Hierarchy.of(session)
    held = (
        select(Assignment.role, Assignment.scope, func.min(Assignment.assigned))
        .group_by(Assignment.role, Assignment.scope)
        .order_by(Assignment.role, Assignment.scope)
    )
    found: list[Unused] = []
    for role, scope, assigned in session.execute(held):
        if assigned > since:
            continue
        juniors = hierarchy.juniors(role)
        for operation, object in sorted(_permissions(juniors, granted)):
            # Whoever holds a role may work with one that it includes.
            uses = (last.get((active, scope, operation, object)) for active in juniors)
            moment_of_use = max((use for use in uses if use is not None), default=None)
            if moment_of_use is None or moment_of_use <= since:
                found.append(Unused(role, scope, operation, object, assigned, moment_of_use))
    return found


def _permissions(roles: Iterable[str], granted: dict[str, set[tuple[str, str]]]) -> set[tuple[str, str]]:
    return set().union(*(granted.get(role, set()) for role in roles))
