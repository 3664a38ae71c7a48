"""The inheritance relation with all its consequences: as recursive queries, and in memory.

Queries answer what is. `Hierarchy` answers what would be, before anything is written: whether an edge closes a cycle,
and what everybody would be authorised for.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import CTE, Select, select
from sqlalchemy.orm import Session

from .tables import Inheritance


def downward(start: Select[*tuple[Any, ...]], name: str = "held") -> CTE:
    """Return the roles of `start` and all that they inherit.

    Parameters
    ----------
    start : Select
        A column ``role``, and others that are carried along.
    name : str
        Of the common table expression.
    """
    held = start.cte(name, recursive=True)
    carried = [column for column in held.c if column.name != "role"]
    step = select(Inheritance.descendant, *carried).join_from(held, Inheritance, Inheritance.ascendant == held.c.role)
    return held.union(step)


def upward(start: Select[*tuple[Any, ...]], name: str = "seniors") -> CTE:
    """Return the roles of `start` (a column ``role``) and all that inherit them."""
    held = start.cte(name, recursive=True)
    step = select(Inheritance.ascendant).join_from(held, Inheritance, Inheritance.descendant == held.c.role)
    return held.union(step)


class Hierarchy:
    """A partial order of roles.

    Parameters
    ----------
    edges : iterable of (str, str)
        The immediate pairs, ascendant first.
    """

    def __init__(self, edges: Iterable[tuple[str, str]]) -> None:
        self.edges = frozenset(edges)
        below: dict[str, list[str]] = defaultdict(list)
        above: dict[str, list[str]] = defaultdict(list)
        for ascendant, descendant in sorted(self.edges):
            below[ascendant].append(descendant)
            above[descendant].append(ascendant)
        self._below, self._above = dict(below), dict(above)
        self._juniors: dict[str, frozenset[str]] = {}

    @classmethod
    def of(cls, session: Session) -> Hierarchy:
        """Return the present one."""
        rows = session.execute(select(Inheritance.ascendant, Inheritance.descendant))
        return cls((ascendant, descendant) for ascendant, descendant in rows)

    def with_edge(self, ascendant: str, descendant: str) -> Hierarchy:
        """Return the hierarchy with one more edge."""
        return Hierarchy(self.edges | {(ascendant, descendant)})

    def juniors(self, role: str) -> frozenset[str]:
        """Return `role` and all that it inherits."""
        if role not in self._juniors:
            self._juniors[role] = frozenset(self.paths(role))
        return self._juniors[role]

    def seniors(self, role: str) -> frozenset[str]:
        """Return `role` and all that inherit it."""
        return frozenset(_paths(self._above, role))

    def paths(self, role: str) -> Mapping[str, tuple[str, ...]]:
        """Return `role` and all that it inherits, each with a shortest way there from `role`."""
        return _paths(self._below, role)

    def immediate_juniors(self, role: str) -> list[str]:
        """Return the roles that `role` inherits immediately."""
        return self._below.get(role, [])

    def immediate_seniors(self, role: str) -> list[str]:
        """Return the roles that inherit `role` immediately."""
        return self._above.get(role, [])


def _paths(neighbours: Mapping[str, list[str]], start: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {start: (start,)}
    queue = deque([start])
    while queue:
        role = queue.popleft()
        for following in neighbours.get(role, ()):
            if following not in found:
                found[following] = (*found[role], following)
                queue.append(following)
    return found
