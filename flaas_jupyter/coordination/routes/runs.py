"""Runs: followed by people, answered by their nodes, led by their aggregator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import events, hal, schemas
from ..access import View, find_run, require_self
from ..calls import Call, Cursor, Limit, requires
from ..paging import DEFAULT
from ..services import runs
from ..tables import Round
from .following import After, EventsAnswer, answer_events

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("/{run_id}", response_model=schemas.Run)
def read_run(run_id: str, call: Annotated[Call, requires("run:read")]) -> Response:
    """One run."""
    return call.read(lambda session: runs.show(session, call.view, find_run(session, call.view, run_id)))


@router.post("/{run_id}/cancel", response_model=schemas.Run)
def cancel_run(run_id: str, call: Annotated[Call, requires("run:cancel")]) -> Response:
    """Cancel a run; its nodes are told."""

    def act(session: Session) -> Response:
        run = find_run(session, call.view, run_id)
        runs.cancel(session, call.view, run)
        return hal.answer(runs.show(session, call.view, run))

    return call.once(act)


@router.post("/{run_id}/pause", response_model=schemas.Run)
def pause_run(run_id: str, call: Annotated[Call, requires("run:pause")]) -> Response:
    """Have a run wait after the round under way; its aggregator and whoever follows it are told."""

    def act(session: Session) -> Response:
        run = find_run(session, call.view, run_id)
        runs.pause(session, call.view, run)
        return hal.answer(runs.show(session, call.view, run))

    return call.once(act)


@router.post("/{run_id}/resume", response_model=schemas.Run)
def resume_run(run_id: str, call: Annotated[Call, requires("run:pause")]) -> Response:
    """Let a paused run go on with its next round."""

    def act(session: Session) -> Response:
        run = find_run(session, call.view, run_id)
        runs.resume(session, call.view, call.hosted.scheduler, run)
        return hal.answer(runs.show(session, call.view, run))

    return call.once(act)


@router.put("/{run_id}/assignments/{node_id}", response_model=schemas.Assignment)
def answer_assignment(
    run_id: str,
    node_id: str,
    body: schemas.AnswerIn,
    call: Annotated[Call, requires("node:act")],
) -> Response:
    """A node's answer to its invitation, or its leaving."""
    with call.writing() as session:
        node = require_self(session, call.view, node_id)
        run = find_run(session, call.view, run_id)
        participant = runs.answer(session, call.hosted.scheduler, run, node, body)
        return hal.answer(runs.show_assignment(session, call.view, run, participant))


@router.post("/{run_id}/transitions", response_model=schemas.Run)
def transition_run(run_id: str, body: schemas.TransitionIn, call: Annotated[Call, requires("run:lead")]) -> Response:
    """What the aggregator makes of its run; asking for its present state changes nothing."""

    def act(session: Session) -> Response:
        run = find_run(session, call.view, run_id)
        runs.transition(session, call.view, run, body)
        return hal.answer(runs.show(session, call.view, run))

    return call.once(act)


@router.put("/{run_id}/rounds/{number}", response_model=schemas.Round)
def put_round(
    run_id: str,
    number: Annotated[int, Path(ge=1, le=1_000_000)],
    body: schemas.RoundIn,
    call: Annotated[Call, requires("run:lead")],
) -> Response:
    """The report of a finished round."""
    with call.writing() as session:
        run = find_run(session, call.view, run_id)
        reported = runs.report(session, call.view, run, number, body)
        return hal.answer(runs.show_round(run.id, reported))


@router.get("/{run_id}/rounds", response_model=schemas.Rounds)
def list_rounds(
    run_id: str,
    call: Annotated[Call, requires("run:read")],
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The reports, in order."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        run = find_run(session, call.view, run_id)
        found = page.rows(session, select(Round).where(Round.run == run.number), Round.number, kind=int)
        return page.answer("rounds", found, lambda row: runs.show_round(run.id, row), lambda row: row.number)


@router.get("/{run_id}/rounds/{number}", response_model=schemas.Round)
def read_round(
    run_id: str,
    number: Annotated[int, Path(ge=1, le=1_000_000)],
    call: Annotated[Call, requires("run:read")],
) -> Response:
    """The report of one round."""
    return call.read(
        lambda session: runs.show_round(run_id, runs.find_round(session, find_run(session, call.view, run_id), number))
    )


@router.get("/{run_id}/events", response_model=schemas.Events, responses=EventsAnswer)
async def read_run_events(
    run_id: str,
    call: Annotated[Call, requires("run:read")],
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
    after: After = None,
) -> Response:
    """What happens in the run: a page, or a stream (`Accept: text/event-stream`)."""

    def scope(session: Session, view: View) -> events.Scope:
        return events.Scope(run=find_run(session, view, run_id).id)

    return await answer_events(call, scope, limit, cursor, after)
