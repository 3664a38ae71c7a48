"""What may be sent and is answered about approvals, the policy behind them, and emergencies."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from ..governance.approvals.policy import (
    LONGEST_COOLING,
    LONGEST_TTL,
    MOST_FACTORS,
    MOST_PERSONS,
    SHORTEST_TTL,
)
from .schemas import Count, Reason, Signature, _In, _Out, _Resource

State = Literal["pending", "executed", "denied", "expired", "withdrawn", "failed"]
Scope = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
ActionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z.-]{0,62}$")]
Persons = Annotated[int, Field(ge=1, le=MOST_PERSONS)]


# ---- what may be sent ---------------------------------------------------------------------------------------------


class DecisionIn(_In):
    """A decision: `signature` is over the canonical JSON of request, sha256, decision and time."""

    decision: Literal["approve", "deny"]
    time: Count = Field(description="Seconds since 1970 (UTC), within five minutes of the API's clock.")
    signature: Signature


class FactorIn(_In):
    """How many persons with which role approve."""

    role: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] = Field(
        description="A role, or several joined by `|`, of which a person needs one."
    )
    scope: Literal["action", "platform", "organisation", "project"]
    number: Persons


class RuleIn(_In):
    """What the policy asks for one action; without factors, nobody."""

    factors: Annotated[list[FactorIn], Field(max_length=MOST_FACTORS)]
    ttl: Annotated[int, Field(ge=SHORTEST_TTL, le=LONGEST_TTL)] = Field(
        default=604_800, description="Seconds until a request expires."
    )
    cooling: Annotated[int, Field(ge=0, le=LONGEST_COOLING)] = Field(
        default=0, description="Seconds between the last approval and the execution."
    )


class PolicyIn(_In):
    """The whole policy: an action that is not in it needs nobody's approval any more."""

    actions: Annotated[dict[ActionName, RuleIn], Field(max_length=64)]


class EmergencyIn(_In):
    """What is to be opened to the caller for an hour, and why."""

    action: ActionName
    scope: Scope
    reason: Reason


# ---- what is answered ---------------------------------------------------------------------------------------------


class FactorState(_Out):
    """A factor, and how far it is filled."""

    role: str
    scope: str = Field(description="Where the role has to be held, in words.")
    needed: int
    given: int
    approvers: list[str]
    available: int | None = Field(
        description="Further persons who have the role and could approve; null once the request is closed."
    )


class DecisionOut(_Out):
    """What somebody has decided, and whether it counts at present."""

    decider: str
    role: str
    decision: Literal["approve", "deny"]
    time: int
    counts: bool
    reason: str | None = Field(description="Why it does not count any more.")


class Approval(_Resource):
    """A critical action that waits for approvals, or what became of it."""

    id: str
    action: str
    description: str
    scope: str
    requester: str
    organisation: str
    state: State
    body: str = Field(description="The exact text whose SHA-256 is signed: canonical JSON.")
    sha256: str
    created: str
    expires: str
    due: str | None = Field(description="When it is executed, once all have approved and while it cools down.")
    closed: str | None
    factors: list[FactorState]
    decisions: list[DecisionOut]
    missing: list[str] = Field(description="What is still needed, in words.")
    result: dict[str, Any] | None
    problem: dict[str, Any] | None


class _ApprovalList(_Out):
    approvals: list[Approval]


class Approvals(_Resource):
    """Requests for approval, the newest first."""

    embedded: _ApprovalList = Field(alias="_embedded")


class SignedDecision(_Out):
    """A decision with what proves it."""

    decider: str
    decision: str
    role: str
    time: int
    key: str
    signature: str


class Evidence(_Resource):
    """A request with everything that is needed to check its approvals without believing the API."""

    request: str
    action: str
    scope: str
    requester: str
    document: str
    sha256: str
    body: dict[str, Any]
    factors: list[dict[str, Any]]
    decisions: list[SignedDecision]


class FactorOut(_Out):
    """How many persons with which role approve."""

    role: str
    scope: str
    number: int


class RuleOut(_Out):
    """What the policy asks for one action."""

    factors: list[FactorOut]
    ttl: int
    cooling: int


class ActionOut(_Out):
    """A critical action."""

    description: str
    operation: str


class ShortfallOut(_Out):
    """An action that nobody could have approved at present, and who is missing."""

    action: str
    role: str
    scope: str
    needed: int
    there_are: int


class UseOut(_Out):
    """What was done in an emergency."""

    sha256: str
    used: str


class EmergencyOut(_Out):
    """An open emergency window."""

    id: str
    action: str
    scope: str
    person: str
    reason: str
    opened: str
    closes: str
    uses: list[UseOut]


class PolicyOut(_Resource):
    """Which actions need whose approval; `actions` is what PUT takes."""

    version: int
    sha256: str
    founding: bool = Field(description="Whether the installation is still being founded: nothing needs approval.")
    founding_closed: str | None
    actions: dict[str, RuleOut]
    known: dict[str, ActionOut]
    emergencies: list[EmergencyOut]
    shortfalls: list[ShortfallOut] = Field(description="Shown to those who keep the policy.")
