"""The critical actions: who may ask for them, whose approval they need to begin with, and what carries them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from ...errors import InvalidInput
from ..identity import Caller
from ..permissions import APPROVER, DATA_OWNER, ORG_ADMIN
from .people import People

HOUR, DAY, WEEK = 3600, 86_400, 604_800
POLICY_CHANGE, BREAK_GLASS = "policy.change", "break-glass"


@dataclass(frozen=True)
class Factor:
    """How many persons with which role have to approve.

    Parameters
    ----------
    role : str
        A role; or several, joined by ``|``, of which a person needs one. Roles that include it count too.
    scope : str
        Where the role has to be held: ``action`` (wherever the action takes place), ``platform``, ``organisation``
        (the action's, else the requester's) or ``project`` (the action's). A role held on the platform counts
        everywhere.
    number : int
        Persons.
    """

    role: str
    scope: str
    number: int

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of which one is enough."""
        return tuple(self.role.split("|"))

    def to_dict(self) -> dict[str, Any]:
        """Return the factor as JSON values."""
        return {"role": self.role, "scope": self.scope, "number": self.number}


@dataclass(frozen=True)
class Rule:
    """What the policy asks for an action; without factors it asks nobody.

    Parameters
    ----------
    factors : tuple of Factor
        All have to be filled, by distinct persons.
    ttl : int
        Seconds after which a request without all approvals expires.
    cooling : int
        Seconds between the last approval and the execution, in which it can still be denied or withdrawn.
    """

    factors: tuple[Factor, ...]
    ttl: int = WEEK
    cooling: int = 0

    @property
    def persons(self) -> int:
        """How many distinct persons have to approve."""
        return sum(factor.number for factor in self.factors)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return {
            "factors": [factor.to_dict() for factor in self.factors],
            "ttl": self.ttl,
            "cooling": self.cooling,
        }


@dataclass(frozen=True)
class Action:
    """A critical action.

    Parameters
    ----------
    description : str
        What it does, for approvers.
    operation : str
        What the requester must be permitted, when asking and when it is carried out.
    default : Rule
        What the policy asks until it is changed.
    central : bool
        Whether it takes place on the platform as a whole, and not in an organisation or project.
    shared : bool
        Whether it concerns all organisations of the project that it takes place in: roles that are held there count.
    """

    description: str
    operation: str
    default: Rule
    central: bool = False
    shared: bool = False


def _needs(*factors: Factor, ttl: int = WEEK) -> Rule:
    return Rule(factors, ttl)


_ONE = Factor(APPROVER, "action", 1)
_TWO = Factor(APPROVER, "platform", 2)

ACTIONS: Mapping[str, Action] = {
    "role.change": Action("Change a role, and what it includes or permits", "role:manage", _needs(_TWO), central=True),
    "separation.change": Action("Change separation of duties", "role:manage", _needs(_TWO), central=True),
    "member.roles": Action("Give or take somebody's roles", "member:manage", _needs(_ONE)),
    "organisation.add": Action("Add an organisation", "organisation:write", _needs(_ONE)),
    "organisation.remove": Action("Remove an organisation", "organisation:write", _needs(_ONE)),
    "node.add": Action("Add a node", "node:register", _needs(_ONE)),
    "model.release": Action(
        "Release a model's weights", "model:release", _needs(_ONE, Factor(DATA_OWNER, "action", 1)), shared=True
    ),
    "launch.over-budget": Action("Launch machines above the budget", "launch:write", _needs(_ONE, ttl=DAY)),
    "project.remove": Action("Remove a project", "project:write", _needs(_ONE)),
    "key.rotate": Action("Rotate keys that sign tokens and checkpoints", "key:rotate", _needs(_TWO), central=True),
    POLICY_CHANGE: Action("Change which actions need whose approval", "policy:manage", _needs(_TWO), central=True),
    BREAK_GLASS: Action(
        "Let one person do one action without further approval for an hour",
        "policy:read",
        _needs(Factor("|".join((APPROVER, ORG_ADMIN)), "action", 2), ttl=HOUR),
    ),
}
"""Every critical action by its name."""


@dataclass(frozen=True)
class Context:
    """In whose name, and in which transaction, an approved action is carried out.

    Parameters
    ----------
    session : Session
        The writing session of the last approval; what fails in it is undone.
    requester : Caller
        Who has asked, with what is permitted to that person now.
    request_id : str
        The approved request.
    now : datetime
        When.
    people : People
        Who knows about people.
    """

    session: Session
    requester: Caller
    request_id: str
    now: datetime
    people: People


Executor = Callable[[Context, dict[str, Any]], dict[str, Any]]
EXECUTORS: dict[str, Executor] = {}
"""What carries out each action: given the context and the stored body, it returns a result of JSON values."""


def register(action: str, executor: Executor) -> None:
    """Have `executor` carry out `action` once it is approved.

    Raises
    ------
    InvalidInput
        Code ``unknown-action``.
    """
    require_known(action)
    EXECUTORS[action] = executor


def require_known(action: str) -> Action:
    """Return the action of this name.

    Raises
    ------
    InvalidInput
        Code ``unknown-action``.
    """
    found = ACTIONS.get(action)
    if found is None:
        raise InvalidInput(
            f"{action[:80]!r} is no critical action; there are: {', '.join(ACTIONS)}.",
            code="unknown-action",
            hint="GET /v1/policy lists them.",
            known=list(ACTIONS),
        )
    return found
