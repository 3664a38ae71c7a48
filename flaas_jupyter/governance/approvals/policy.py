"""The policy: which actions need whose approval. It is kept in versions, and protected by itself.

A change that weakens the rule of an action needs, beside the approvals that ``policy.change`` asks for, those that the
action itself has asked for until then: whoever could not let the action pass alone cannot do away with its approval
either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...communications.identity import canonical
from ...errors import InvalidInput
from . import hooks
from .actions import ACTIONS, BREAK_GLASS, POLICY_CHANGE, Factor, Rule, require_known
from .documents import digest
from .factors import Seats, also, unplaced
from .tables import PolicyVersion

SCOPES = ("action", "platform", "organisation", "project")
MOST_FACTORS, MOST_PERSONS = 8, 10
SHORTEST_TTL, LONGEST_TTL = 300, 90 * 86_400
LONGEST_COOLING = 30 * 86_400
FEWEST: Mapping[str, int] = {POLICY_CHANGE: 1, BREAK_GLASS: 2}
"""How many persons can never be gone below."""


@dataclass(frozen=True)
class Policy:
    """A version of the policy.

    Parameters
    ----------
    number : int
        Of the version; 0 is what every installation begins with.
    rules : mapping of str to Rule
        For every known action.
    """

    number: int
    rules: Mapping[str, Rule]

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as JSON values."""
        return {"actions": {name: rule.to_dict() for name, rule in self.rules.items()}}

    @property
    def sha256(self) -> str:
        """The digest of the rules."""
        return digest(canonical(self.to_dict()).decode())


def current(session: Session) -> Policy:
    """Return the policy in force; actions that are newer than its version have the rules that they begin with."""
    last = session.scalar(select(PolicyVersion).order_by(PolicyVersion.number.desc()).limit(1))
    kept = {} if last is None else parse(last.document)
    rules = {name: kept.get(name, action.default) for name, action in ACTIONS.items()}
    return Policy(0 if last is None else last.number, rules)


def history(session: Session) -> list[PolicyVersion]:
    """Return all changed versions, the newest first."""
    return list(session.scalars(select(PolicyVersion).order_by(PolicyVersion.number.desc())))


def parse(document: Mapping[str, Any]) -> dict[str, Rule]:
    """Return the rules in ``{"actions": {name: {"factors": [...], "ttl": s, "cooling": s}}}``.

    Raises
    ------
    InvalidInput
        ``unknown-action``, or ``bad-policy``: the message names what is allowed.
    """
    actions = document.get("actions") if isinstance(document, Mapping) else None
    if not isinstance(actions, Mapping) or set(document) != {"actions"}:
        raise _bad("it is an object with `actions` alone")
    return {str(name): _rule(str(name), given) for name, given in actions.items()}


def complete(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return `rules` with those actions that are not in it as actions that nobody needs to approve.

    Raises
    ------
    InvalidInput
        Code ``bad-policy``: fewer persons than `FEWEST`.
    """
    whole = {name: rules.get(name, Rule((), action.default.ttl)) for name, action in ACTIONS.items()}
    for name, fewest in FEWEST.items():
        if whole[name].persons < fewest:
            raise _bad(f"{name} is approved by {whole[name].persons} persons; it can never be fewer than {fewest}")
    return whole


def weakened(before: Mapping[str, Rule], after: Mapping[str, Rule]) -> list[str]:
    """Return the actions that `after` protects less, or otherwise, than `before` in any respect."""
    return [name for name, rule in before.items() if _is_weaker(after.get(name, Rule(())), rule)]


def seats_of_change(before: Mapping[str, Rule], after: Mapping[str, Rule]) -> tuple[Seats, ...]:
    """Return who has to approve that the policy goes from `before` to `after`."""
    seats = tuple(unplaced(factor) for factor in before[POLICY_CHANGE].factors)
    for name in weakened(before, after):
        seats = also(seats, [unplaced(factor) for factor in before[name].factors])
    return seats


def put(session: Session, rules: Mapping[str, Rule], by: str, request: str | None, now: datetime) -> Policy:
    """Put `rules`, which are complete, in force."""
    document = {"actions": {name: rule.to_dict() for name, rule in rules.items()}}
    version = PolicyVersion(document=document, changed_by=by, request=request, created=now)
    session.add(version)
    session.flush()
    policy = Policy(version.number, rules)
    hooks.tell(session, hooks.POLICY_CHANGED, None, number=version.number, sha256=policy.sha256, by=by)
    return policy


def _is_weaker(new: Rule, old: Rule) -> bool:
    if not old.factors:
        return False
    numbers: dict[tuple[str, str], int] = {}
    for factor in new.factors:
        numbers[factor.role, factor.scope] = numbers.get((factor.role, factor.scope), 0) + factor.number
    fewer = any(numbers.get((factor.role, factor.scope), 0) < factor.number for factor in old.factors)
    return fewer or new.ttl > old.ttl or new.cooling < old.cooling


def _rule(name: str, given: Any) -> Rule:
    require_known(name)
    if not isinstance(given, Mapping) or not set(given) <= {"factors", "ttl", "cooling"} or "factors" not in given:
        raise _bad(f"{name} has factors, and may have ttl and cooling")
    factors, default = given["factors"], ACTIONS[name].default
    if not isinstance(factors, list) or len(factors) > MOST_FACTORS:
        raise _bad(f"{name} has a list of at most {MOST_FACTORS} factors")
    ttl, cooling = given.get("ttl", default.ttl), given.get("cooling", 0)
    if type(ttl) is not int or not SHORTEST_TTL <= ttl <= LONGEST_TTL:
        raise _bad(f"the ttl of {name} is {str(ttl)[:40]}; whole seconds from {SHORTEST_TTL} to {LONGEST_TTL}")
    if type(cooling) is not int or not 0 <= cooling <= LONGEST_COOLING:
        raise _bad(f"the cooling time of {name} is {str(cooling)[:40]}; whole seconds from 0 to {LONGEST_COOLING}")
    found = tuple(_factor(name, factor) for factor in factors)
    if len({(factor.role, factor.scope) for factor in found}) < len(found):
        raise _bad(f"{name} names a role in the same scope twice; add the numbers up")
    return Rule(found, ttl, cooling)


def _factor(name: str, given: Any) -> Factor:
    if not isinstance(given, Mapping) or set(given) != {"role", "scope", "number"}:
        raise _bad(f"each factor of {name} has role, scope and number")
    role, scope, number = given["role"], given["scope"], given["number"]
    roles = role.split("|") if isinstance(role, str) and len(role) <= 200 and role.isprintable() else []
    if not roles or not all(roles) or len(set(roles)) < len(roles):
        raise _bad(f"the role of a factor of {name} is {str(role)[:80]!r}; give a role, or several joined by |")
    if scope not in SCOPES:
        raise _bad(f"the scope of a factor of {name} is {str(scope)[:80]!r}; it is {', '.join(SCOPES)}")
    if type(number) is not int or not 1 <= number <= MOST_PERSONS:
        raise _bad(f"a factor of {name} asks for {str(number)[:40]} persons; 1 to {MOST_PERSONS} are possible")
    return Factor("|".join(sorted(roles)), scope, number)


def _bad(why: str) -> InvalidInput:
    return InvalidInput(f"The policy is not valid: {why}.", code="bad-policy", hint="GET /v1/policy shows its form.")
