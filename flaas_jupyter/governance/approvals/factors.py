"""Which persons fill which factors: a request is approved if distinct persons fill every place.

A person may fit several factors (two roles) and counts once, so filling is a maximum matching between persons and
places (augmenting paths: Kuhn 1955), which never fails only because of the order in which persons have approved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import scopes
from .actions import Factor


@dataclass(frozen=True)
class Seats:
    """A factor at the place of one request.

    Parameters
    ----------
    role : str
        As in `Factor`.
    scope : str
        As in `Factor`; ``anywhere`` for approvals that no single place can be named for.
    scopes : tuple of str
        Where the role has to be held, beside the platform; empty for anywhere.
    number : int
        Persons.
    """

    role: str
    scope: str
    scopes: tuple[str, ...]
    number: int

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of which one is enough."""
        return tuple(self.role.split("|"))

    @property
    def place(self) -> str:
        """Where, in words."""
        return " or ".join(self.scopes) or "anywhere"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"role": self.role, "scope": self.scope, "scopes": list(self.scopes), "number": self.number}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Seats:
        """Return what `to_dict` was made of."""
        return cls(kept["role"], kept["scope"], tuple(kept["scopes"]), kept["number"])

    def counts_for(self, other: Seats) -> bool:
        """Tell whether whoever sits here could also sit in `other`."""
        if not set(self.roles) <= set(other.roles):
            return False
        return not other.scopes or (bool(self.scopes) and set(self.scopes) <= {*other.scopes, scopes.PLATFORM})


def resolve(factor: Factor, places: Sequence[str], organisation: str) -> Seats:
    """Return `factor` for an action that takes place in the scopes `places`, asked for by somebody of `organisation`.

    A factor of a project asks, where the action lies in none, for roles wherever the action takes place.
    """
    everywhere = tuple(dict.fromkeys(places))
    if factor.scope == scopes.PLATFORM:
        where: tuple[str, ...] = (scopes.PLATFORM,)
    elif factor.scope == "organisation":
        named = tuple(scope for scope in everywhere if scopes.kind_of(scope) == "organisation")
        where = named or (scopes.organisation(organisation),)
    elif factor.scope == "project":
        where = tuple(scope for scope in everywhere if scopes.kind_of(scope) == "project") or everywhere
    else:
        where = everywhere
    return Seats(factor.role, factor.scope, where, factor.number)


def unplaced(factor: Factor) -> Seats:
    """Return `factor` for a decision about the action in all places at once: roles held anywhere count."""
    if factor.scope == scopes.PLATFORM:
        return Seats(factor.role, factor.scope, (scopes.PLATFORM,), factor.number)
    return Seats(factor.role, "anywhere", (), factor.number)


def also(asked: Sequence[Seats], further: Sequence[Seats]) -> tuple[Seats, ...]:
    """Return the fewest seats with which both `asked` and `further` are filled, each by distinct persons."""
    sitting = {f"{at}/{place}": seats for at, seats in enumerate(asked) for place in range(seats.number)}
    options = {
        person: [index for index, other in enumerate(further) if seats.counts_for(other)]
        for person, seats in sitting.items()
    }
    filled = fill(further, options)
    rest = [
        replace(seats, number=seats.number - len(persons))
        for seats, persons in zip(further, filled, strict=True)
        if len(persons) < seats.number
    ]
    return (*asked, *rest)


def fill(seats: Sequence[Seats], options: Mapping[str, Iterable[int]]) -> list[list[str]]:
    """Return, for each of `seats`, the persons in it, as many as possible in all.

    Parameters
    ----------
    seats : sequence of Seats
        How many places there are.
    options : mapping of str to iterable of int
        By person: the positions in `seats` where that person may sit. Nobody sits twice.
    """
    possible = {person: tuple(dict.fromkeys(at)) for person, at in options.items()}
    taken: list[list[str]] = [[] for _ in seats]

    def seat(person: str, seen: set[int]) -> bool:
        for at in possible[person]:
            if at in seen:
                continue
            seen.add(at)
            if len(taken[at]) < seats[at].number:
                taken[at].append(person)
                return True
            for index, other in enumerate(taken[at]):
                if seat(other, seen):
                    taken[at][index] = person
                    return True
        return False

    for person in possible:
        seat(person, set())
    return taken


def is_full(seats: Sequence[Seats], taken: Sequence[Sequence[str]]) -> bool:
    """Tell whether nobody is missing."""
    return all(len(persons) == place.number for place, persons in zip(seats, taken, strict=True))
