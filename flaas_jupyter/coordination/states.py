"""The life of a run, as two tables: which state may follow which, and by whose word.

Nothing else changes the state of a run or of a participant. Each change writes its event in the same transaction, so
that the events, read in order, always tell the present state.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from ..errors import Conflict, FlaasError
from ..governance import models
from . import events
from .tables import Assignment, Round, Run


class State(StrEnum):
    """State of a run."""

    QUEUED = "queued"
    GATHERING = "gathering"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHING = "finishing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Actor(StrEnum):
    """By whose word a run changes its state."""

    API = "the coordination API"
    AGGREGATOR = "the run's aggregator"
    PERSON = "a person"


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
OPEN = frozenset(State) - ENDED
PAUSABLE = frozenset({State.QUEUED, State.GATHERING, State.RUNNING})

TRANSITIONS: Mapping[tuple[State, State], frozenset[Actor]] = {
    (State.QUEUED, State.GATHERING): frozenset({Actor.API}),
    (State.GATHERING, State.RUNNING): frozenset({Actor.AGGREGATOR}),
    (State.RUNNING, State.GATHERING): frozenset({Actor.AGGREGATOR}),
    (State.RUNNING, State.FINISHING): frozenset({Actor.AGGREGATOR}),
    (State.FINISHING, State.COMPLETED): frozenset({Actor.AGGREGATOR}),
    **{(state, State.PAUSED): frozenset({Actor.PERSON}) for state in PAUSABLE},
    (State.PAUSED, State.QUEUED): frozenset({Actor.PERSON}),
    (State.PAUSED, State.GATHERING): frozenset({Actor.PERSON}),
    # The round under way was the last one.
    (State.PAUSED, State.FINISHING): frozenset({Actor.AGGREGATOR}),
    **{(state, State.FAILED): frozenset({Actor.API, Actor.AGGREGATOR}) for state in OPEN},
    **{(state, State.CANCELLED): frozenset({Actor.PERSON}) for state in OPEN},
}

INVITED, ACCEPTED, REFUSED, FAILED = "invited", "accepted", "refused", "failed"

ANSWERS: Mapping[str, frozenset[str]] = {
    INVITED: frozenset({ACCEPTED, REFUSED, FAILED}),
    ACCEPTED: frozenset({REFUSED, FAILED}),
    REFUSED: frozenset(),
    FAILED: frozenset(),
}
"""What a participant's state may become: who is out of a run stays out."""


def move(session: Session, run: Run, to: State, by: Actor, reason: dict[str, Any] | None = None) -> None:
    """Bring `run` into state `to`, and say so; being there already changes nothing.

    Raises
    ------
    Conflict
        Code ``run-ended``, or ``forbidden-transition`` with the states that are allowed.
    """
    present = State(run.state)
    if present is to:
        return
    require_open(run)
    if by not in TRANSITIONS.get((present, to), ()):
        allowed = [target.value for (state, target), actors in TRANSITIONS.items() if state is present and by in actors]
        raise Conflict(
            f"Run {run.id} is {present}; {by} cannot make it {to}, only: {', '.join(allowed) or 'nothing'}.",
            code="forbidden-transition",
            hint="Read the run again and go on from its present state.",
            state=present.value,
            allowed=allowed,
        )
    now = datetime.now(UTC)
    run.state = to.value
    if to is State.RUNNING and run.started is None:
        run.started = now
    if to in ENDED:
        run.ended, run.reason = now, reason
    elif to is State.PAUSED:
        run.reason = reason
    elif present is State.PAUSED:
        run.reason = None
    events.append(
        session,
        "run.state",
        project=run.project,
        run=run.id,
        data={"from": present.value, "to": to.value, "reason": reason},
    )
    keep_version(session, run)


def keep_version(session: Session, run: Run) -> None:
    """Keep what a run has made so far as a version of its model, if the run has ended or is paused."""
    if run.round == 0 or State(run.state) not in ENDED | {State.PAUSED}:
        return
    newest = session.get(Round, (run.number, run.round))
    digest = None if newest is None else newest.report.get("digest")
    if digest is None:
        return
    made = models.keep(session, project=run.project, run=run.id, round=run.round, digest=digest)
    if made is not None:
        say_model(session, made)


def say_model(session: Session, version: models.ModelVersion) -> None:
    """Write the event that tells a model version's state."""
    data = {"model": version.id, "digest": version.digest, "state": version.state, "reason": version.reason}
    events.append(session, "model.changed", project=version.project, run=version.run, data=data)


def fail(session: Session, run: Run, error: FlaasError) -> None:
    """End `run` as failed by the API's own word."""
    move(session, run, State.FAILED, Actor.API, error.to_dict())


def answer(
    session: Session, run: Run, participant: Assignment, state: str, reason: dict[str, Any] | None = None
) -> bool:
    """Bring a participant of `run` into `state`; tell whether that changed anything.

    Raises
    ------
    Conflict
        Code ``run-ended``, or ``answered`` when the participant is out of the run.
    """
    if participant.state == state:
        return False
    require_open(run)
    if state not in ANSWERS[participant.state]:
        raise Conflict(
            f"Node {participant.node} has {participant.state} run {run.id} and cannot be {state} any more.",
            code="answered",
            hint="A node that is out of a run stays out; it is invited to the next one.",
            state=participant.state,
        )
    participant.state, participant.reason = state, reason
    say_participant(session, run, participant)
    return True


def invite(session: Session, run: Run, node: str, rows: int) -> None:
    """Make `node` a participant of `run`."""
    participant = Assignment(run=run.number, node=node, state=INVITED, reason=None, rows=rows)
    session.add(participant)
    run.participants.append(participant)
    say_participant(session, run, participant)


def appoint(session: Session, run: Run, node: str) -> None:
    """Make `node` the aggregator of `run`, for a new term."""
    run.aggregator = node
    run.term += 1
    data = {"node": node, "term": run.term}
    events.append(session, "run.aggregator", project=run.project, run=run.id, node=node, data=data)


def say_participant(session: Session, run: Run, participant: Assignment) -> None:
    """Write the event that tells a participant's state."""
    data = {"node": participant.node, "state": participant.state, "reason": participant.reason}
    events.append(session, "run.participant", project=run.project, run=run.id, node=participant.node, data=data)


def require_open(run: Run) -> None:
    """Raise `Conflict` (code ``run-ended``) if `run` has ended."""
    if State(run.state) in ENDED:
        raise Conflict(
            f"Run {run.id} has ended: it is {run.state}.",
            code="run-ended",
            hint="Start a new run.",
            state=run.state,
        )
