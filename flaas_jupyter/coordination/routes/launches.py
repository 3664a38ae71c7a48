"""Launches of machines, and what a machine that has booted calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import Conflict
from ...governance import audit, scopes
from .. import hal, launch_schemas
from ..access import find_project
from ..calls import ASKED, Call, Cursor, Limit, audience, created, hosted_of, requires
from ..paging import DEFAULT
from ..services import enrolments, launches
from ..tables import LaunchRow

router = APIRouter(prefix="/v1", tags=["launches"])


@router.post("/projects/{project_id}/launches", status_code=201, response_model=launch_schemas.Launch, responses=ASKED)
def create_launch(
    project_id: str, body: launch_schemas.LaunchIn, call: Annotated[Call, requires("launch:write")]
) -> Response:
    """Launch machines for a project, within what was accepted and within the budget."""
    launching = call.hosted.launching

    def act(session: Session) -> Response:
        project = find_project(session, call.view, project_id)
        url = audience(call.request, call.hosted)
        try:
            launch = launches.create(
                session,
                call.view,
                project,
                body,
                url=url,
                price_of=launching.price_of(session),
                budget_left=launching.budget_left,
            )
        except Conflict as error:
            if error.details.get("budget") != "project":
                raise
            stored = {"project": project.id, "url": url, "launch": body.model_dump(mode="json")}
            own = scopes.organisation(call.view.caller.organisation)
            waits = call.critical(session, "launch.over-budget", scopes.project(project.id), stored, (own,))
            if waits is None:  # nobody has to be asked in this installation: the budget holds
                raise
            return waits
        return created(launches.show(call.view, launch), f"/v1/launches/{launch.id}")

    answer = call.once(act)
    launching.worker.wake()
    return answer


@router.get("/projects/{project_id}/launches", response_model=launch_schemas.Launches)
def list_launches(
    project_id: str,
    call: Annotated[Call, requires("launch:read")],
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The organisation's launches for a project, newest first."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        project = find_project(session, call.view, project_id)
        theirs = select(LaunchRow).where(LaunchRow.project == project.id)
        if not call.view.everything:
            theirs = theirs.where(
                LaunchRow.organisation.in_({call.view.caller.organisation, *call.view.held("organisation")})
            )
        found = page.rows(session, theirs, LaunchRow.number, kind=int, descending=True)
        return page.answer("launches", found, lambda row: launches.show(call.view, row), lambda row: row.number)


@router.get("/launches/{launch_id}", response_model=launch_schemas.Launch)
def read_launch(launch_id: str, call: Annotated[Call, requires("launch:read")]) -> Response:
    """One launch."""
    return call.read(lambda session: launches.show(call.view, launches.find(session, call.view, launch_id)))


@router.post("/launches/{launch_id}/terminate", response_model=launch_schemas.Launch)
def terminate_launch(launch_id: str, call: Annotated[Call, requires("launch:write")]) -> Response:
    """End everything of a launch; it has ended when its clouds show that nothing is left."""

    def act(session: Session) -> Response:
        launch = launches.find(session, call.view, launch_id)
        launches.terminate(session, launch)
        return hal.answer(launches.show(call.view, launch))

    answer = call.once(act)
    call.hosted.launching.worker.wake()
    return answer


@router.post("/launches/{launch_id}/resume", response_model=launch_schemas.Launch)
def resume_launch(launch_id: str, call: Annotated[Call, requires("launch:write")]) -> Response:
    """Try the nodes of a launch again that have failed."""

    def act(session: Session) -> Response:
        launch = launches.find(session, call.view, launch_id)
        launches.resume(session, launch, call.view.now, call.hosted.launching.price_of(session))
        return hal.answer(launches.show(call.view, launch))

    answer = call.once(act)
    call.hosted.launching.worker.wake()
    return answer


@router.post("/enrolments", status_code=201, response_model=launch_schemas.Enrolled)
def enrol(body: launch_schemas.EnrolmentIn, request: Request) -> Response:
    """Register a node that was launched or invited: its single-use secret says for which organisation and project."""
    hosted = hosted_of(request)
    with hosted.database.writing() as session:
        organisation, project, node, new = enrolments.enrol(session, hosted.settings, body)
        if new:
            audit.append(
                session,
                actor=node.id,
                actor_kind="node",
                operation="node:enrol",
                object=f"nodes/{node.id}",
                organisation=organisation,
                project=project,
                outcome="done",
                details={},
            )
        shown = {"organisation": organisation, "project": project, "node": node.id}
        answer = created(hal.resource(shown, "/v1/enrolments"), f"/v1/nodes/{node.id}", new=new)
    hosted.launching.worker.wake()
    return answer
