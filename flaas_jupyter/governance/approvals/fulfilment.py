"""Whether there are enough people: a rule that nobody could fulfil would lock its action, and with it the policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from ...errors import Conflict
from .. import scopes
from .actions import ACTIONS, Rule
from .factors import Seats, fill, is_full, resolve, unplaced
from .people import People

DECIDE = "approval:decide"
Around = Callable[[Session, str], Iterable[Sequence[str]]]
_around: list[Around] = []


def know_places(around: Around) -> None:
    """Have `around` tell, for a scope, in which scopes each project lies that has to do with it.

    Without it nothing is known about projects, and roles have to be held in the very scope of an action.
    """
    _around[:] = [around]


@dataclass(frozen=True)
class Shortfall:
    """Who is missing for a rule.

    Parameters
    ----------
    action, role, scope : str
        For what, and who; `scope` in words.
    needed, there_are : int
        Persons other than a requester, who fill no other place of the rule.
    """

    action: str
    role: str
    scope: str
    needed: int
    there_are: int

    def __str__(self) -> str:
        role = self.role.replace("|", " or ")
        return (
            f"{self.action} needs {self.needed} with the role {role} ({self.scope}) who are not the requester, "
            f"and there {'is' if self.there_are == 1 else 'are'} {self.there_are}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "action": self.action,
            "role": self.role,
            "scope": self.scope,
            "needed": self.needed,
            "there_are": self.there_are,
        }


def eligible(session: Session, people: People, seats: Seats) -> frozenset[str]:
    """Return the persons who could approve for `seats`, if they had the role active."""
    held: frozenset[str] = frozenset().union(*(people.holders(session, role, seats.scopes) for role in seats.roles))
    return held & people.permitted(session, DECIDE, seats.scopes) if held else held


def shortfalls(session: Session, people: People, rules: Mapping[str, Rule]) -> list[Shortfall]:
    """Return, for each of `rules` that nobody could fulfil, who is missing.

    A rule can be fulfilled if there is a place where the action could be asked for by somebody, and approved by
    enough others.
    """
    found = (_shortfall(session, people, name, rule) for name, rule in rules.items() if rule.factors)
    return [shortfall for shortfall in found if shortfall is not None]


def require(session: Session, people: People, rules: Mapping[str, Rule]) -> None:
    """Check that `rules` can be fulfilled.

    Raises
    ------
    Conflict
        Code ``policy-unfulfillable``; it names action, role, scope, how many are needed and how many there are.
    """
    missing = shortfalls(session, people, rules)
    if missing:
        raise Conflict(
            f"Nobody could fulfil the policy: {'; '.join(map(str, missing))}.",
            code="policy-unfulfillable",
            hint="Give more people these roles first (each with an account of their own), or ask for fewer.",
            missing=[shortfall.to_dict() for shortfall in missing],
        )


def _shortfall(session: Session, people: People, name: str, rule: Rule) -> Shortfall | None:
    """Return who is missing where the action takes place on the platform, or wherever it is nearest to possible."""
    action = ACTIONS[name]
    places = [scopes.PLATFORM]
    if not action.central:
        places += [scope for scope in people.scopes(session) if scope != scopes.PLATFORM]
    best: Shortfall | None = None
    for place in places:
        for within in _within(session, place, shared=action.shared):
            seats = [_seats(factor, place, within) for factor in rule.factors]
            holders = [eligible(session, people, seat) for seat in seats]
            missing = _missing(name, seats, holders, people.permitted(session, action.operation, within))
            if missing is None:
                return None
            if best is None or missing.needed - missing.there_are < best.needed - best.there_are:
                best = missing
    return best


def _within(session: Session, place: str, *, shared: bool) -> list[tuple[str, ...]]:
    if not shared or not _around:
        return [(place,)]
    return [(place,), *(tuple(around) for around in _around[0](session, place))]


def _seats(factor: Any, place: str, places: tuple[str, ...]) -> Seats:
    if factor.scope == "organisation" and scopes.kind_of(place) != "organisation":
        return unplaced(factor)
    return resolve(factor, places, scopes.id_of(place))


def _missing(
    name: str, seats: Sequence[Seats], holders: Sequence[Iterable[str]], asking: frozenset[str]
) -> Shortfall | None:
    """Try requesters until one is found whose request could be approved by others."""
    # As many as there are places, and one more, are as good as ten thousand (Hall's theorem).
    enough = sum(seat.number for seat in seats) + 1
    few = [sorted(held)[:enough] for held in holders]
    involved = sorted({person for held in few for person in held})
    outsider = next((person for person in sorted(asking) if person not in involved), None)
    requesters = [outsider] if outsider is not None or not asking else [who for who in involved if who in asking]
    taken: list[list[str]] = []
    for requester in requesters:
        options = {
            person: [at for at, held in enumerate(few) if person in held] for person in involved if person != requester
        }
        taken = fill(seats, options)
        if is_full(seats, taken):
            return None
    short = next(at for at, seat in enumerate(seats) if len(taken[at]) < seat.number)
    return Shortfall(name, seats[short].role, seats[short].place, seats[short].number, len(taken[short]))
