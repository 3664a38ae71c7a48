"""Sets of roles that exclude each other, and who would violate them.

Per scope, roles count together only where they meet (`scopes.overlap`): somebody may develop in one project and
approve in another. Without it they count wherever they are held.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..scopes import KINDS, PLATFORM, kind_of
from .errors import RbacConflict, RbacInvalid, unknown
from .tables import DYNAMIC, STATIC, Exclusion, ExclusionRole

_TOLD = 50
SHORT = {STATIC: "ssd", DYNAMIC: "dsd"}
Holder = str | tuple[str, str]
"""A user, or a user and one of its sessions."""


@dataclass(frozen=True)
class ExclusionSet:
    """A set of roles of which nobody may have `cardinality` or more.

    Parameters
    ----------
    kind : str
        ``static``: may hold; ``dynamic``: may have active in one session.
    name : str
        Its own among those of its kind.
    roles : frozenset of str
        At least `cardinality`.
    cardinality : int
        At least 2.
    per_scope : bool
        Whether roles count together only in scopes that overlap.
    """

    kind: str
    name: str
    roles: frozenset[str]
    cardinality: int
    per_scope: bool = False

    def clash(self, held: Iterable[tuple[str, str]]) -> frozenset[str]:
        """Return the roles in `held` (role and scope) that violate the set; empty if it is satisfied."""
        most = meeting(((role, scope) for role, scope in held if role in self.roles), per_scope=self.per_scope)
        return most if len(most) >= self.cardinality else frozenset()

    def with_roles(self, roles: Iterable[str]) -> ExclusionSet:
        """Return the set with other roles."""
        return replace(self, roles=frozenset(roles))


def meeting(held: Iterable[tuple[str, str]], *, per_scope: bool) -> frozenset[str]:
    """Return the most roles that are held together: anywhere, or in scopes of which each two overlap.

    Scopes that all overlap are the platform and at most one of each kind. So it is enough to try one scope of each
    kind, and of those only the different sets of roles that are held there, however many scopes there are.
    """
    by_scope: dict[str, set[str]] = defaultdict(set)
    for role, scope in held:
        by_scope[scope if per_scope else PLATFORM].add(role)
    everywhere = frozenset(by_scope.pop(PLATFORM, ()))
    choices: list[set[frozenset[str]]] = []
    for kind in KINDS:
        choices.append(
            {frozenset(roles) for scope, roles in by_scope.items() if kind_of(scope) == kind} or {frozenset()}
        )
    return max(
        (everywhere.union(*chosen) for chosen in product(*choices)), key=lambda roles: (len(roles), sorted(roles))
    )


def of_kind(session: Session, kind: str) -> list[ExclusionSet]:
    """Return all sets of a kind, by name."""
    members: dict[str, set[str]] = defaultdict(set)
    of_kind = select(ExclusionRole.exclusion, ExclusionRole.role).where(ExclusionRole.kind == kind)
    for name, role in session.execute(of_kind):
        members[name].add(role)
    query = (
        select(Exclusion.name, Exclusion.cardinality, Exclusion.per_scope)
        .where(Exclusion.kind == kind)
        .order_by(Exclusion.name)
    )
    return [
        ExclusionSet(kind, name, frozenset(members[name]), cardinality, per_scope)
        for name, cardinality, per_scope in session.execute(query)
    ]


def find(session: Session, kind: str, name: str) -> ExclusionSet:
    """Return the set; `RbacNotFound` (``unknown-ssd-set``, ``unknown-dsd-set``) if there is none."""
    found = next((each for each in of_kind(session, kind) if each.name == name), None)
    if found is None:
        raise unknown(f"{SHORT[kind]}-set", name)
    return found


def require_cardinality(exclusion: ExclusionSet) -> None:
    """Raise ``bad-cardinality`` unless 2 <= n <= the number of roles."""
    n, size = exclusion.cardinality, len(exclusion.roles)
    if type(n) is int and 2 <= n <= size:
        return
    raise RbacInvalid(
        f"The cardinality of {exclusion.name!r} is {n!r}; with {size} role{'s' * (size != 1)} "
        f"({', '.join(sorted(exclusion.roles)) or 'none'}) it is at least 2 and at most {size}.",
        code="bad-cardinality",
        hint="Give another cardinality, or more roles.",
        exclusion=exclusion.name,
        roles=sorted(exclusion.roles),
    )


def require_satisfied(exclusions: Iterable[ExclusionSet], held: Mapping[Any, Iterable[tuple[str, str]]]) -> None:
    """Check what would be held.

    Parameters
    ----------
    exclusions : iterable of ExclusionSet
        Sets of one kind.
    held : mapping
        A user, or a user and its session, to what it would hold or have active.

    Raises
    ------
    RbacConflict
        Codes ``ssd-violated`` and ``dsd-violated``; `details` has ``conflicts``, the first 50.
    """
    conflicts: list[dict[str, Any]] = []
    worst: ExclusionSet | None = None
    for exclusion in exclusions:
        for holder in sorted(held):
            clash = exclusion.clash(held[holder])
            if clash and len(conflicts) < _TOLD:
                worst = worst or exclusion
                conflicts.append({"exclusion": exclusion.name, **_who(holder), "roles": sorted(clash)})
    if worst is not None:
        raise _violated(worst, conflicts)


def _who(holder: Holder) -> dict[str, str]:
    if isinstance(holder, str):
        return {"user": holder}
    user, session_id = holder
    # Enough to tell one's sessions apart; the whole id stands in tokens.
    return {"user": user, "session": session_id[:8]}


def _violated(exclusion: ExclusionSet, conflicts: list[dict[str, Any]]) -> RbacConflict:
    first = conflicts[0]
    roles, user = ", ".join(first["roles"]), first["user"]
    others = f" ({len(conflicts) - 1} more like this)" if len(conflicts) > 1 else ""
    allowed = f"{exclusion.name!r} permits fewer than {exclusion.cardinality} of {', '.join(sorted(exclusion.roles))}"
    if exclusion.kind == STATIC:
        message = f"User {user!r} would be authorised for {roles}{others}; static separation of duty {allowed}."
        hint = "Take one of these roles from the user first, through the hierarchy too."
    else:
        message = f"A session of {user!r} would have {roles} active{others}; dynamic separation of duty {allowed}."
        hint = "Drop one of these roles from the session first, or use another session."
    return RbacConflict(
        message,
        code=f"{SHORT[exclusion.kind]}-violated",
        hint=hint,
        exclusion=exclusion.name,
        user=user,
        roles=first["roles"],
        conflicts=conflicts,
    )
