"""Projects, and what is in them: directory, data sets, runs, events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...governance import scopes
from .. import events, hal, schemas
from ..access import View, find_project, project_ids, within_project
from ..calls import ASKED, Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import datasets, directory, projects, runs
from ..tables import Project, Run
from .following import After, EventsAnswer, answer_events

router = APIRouter(prefix="/v1/projects", tags=["projects"])


@router.get("", response_model=schemas.Projects)
def list_projects(
    call: Annotated[Call, requires("project:read")], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """The projects that the caller's organisation, or the node itself, is in."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        visible = select(Project).where(Project.id.in_(project_ids(call.view)))
        found = page.rows(session, visible, Project.id)
        return page.answer("projects", found, lambda row: projects.show(session, call.view, row), lambda row: row.id)


@router.post("", status_code=201, response_model=schemas.Project)
def create_project(body: schemas.ProjectIn, call: Annotated[Call, requires("project:write")]) -> Response:
    """Create a project."""
    if set(body.organisations) != {call.view.caller.organisation}:
        call.view.require_platform()  # a project of one's own organisation alone takes less

    def act(session: Session) -> Response:
        project = projects.create(session, body)
        return created(projects.show(session, call.view, project), f"/v1/projects/{project.id}")

    return call.once(act)


@router.get("/{project_id}", response_model=schemas.Project)
def read_project(project_id: str, call: Annotated[Call, requires("project:read")]) -> Response:
    """One project."""
    return call.read(lambda session: projects.show(session, call.view, find_project(session, call.view, project_id)))


@router.patch("/{project_id}", response_model=schemas.Project)
def change_project(
    project_id: str, body: schemas.ProjectPatch, call: Annotated[Call, requires("project:write")]
) -> Response:
    """Change a project; its id and domain key stay."""
    with call.writing() as session:
        project = find_project(session, call.view, project_id)
        projects.require_writer(session, call.view, project)
        hal.require_match(call.request, projects.show(session, call.view, project))
        projects.change(session, project, body)
        session.flush()
        return hal.answer(projects.show(session, call.view, project))


@router.delete("/{project_id}", status_code=204, responses=ASKED)
def delete_project(project_id: str, call: Annotated[Call, requires("project:write")]) -> Response:
    """Remove a project that has no open run, with its history."""
    with call.writing() as session:
        project = find_project(session, call.view, project_id)
        projects.require_writer(session, call.view, project)
        hal.require_match(call.request, projects.show(session, call.view, project))
        waits = call.critical(session, "project.remove", scopes.project(project.id), {"project": project.id})
        if waits is not None:
            return waits
        projects.remove(session, project)
    return Response(status_code=204)


@router.get("/{project_id}/directory", response_model=schemas.Directory)
def read_directory(project_id: str, call: Annotated[Call, requires("directory:read")]) -> Response:
    """Memberships and addresses, as they were signed."""
    return call.read(lambda session: directory.show(session, call.view, find_project(session, call.view, project_id)))


@router.get("/{project_id}/datasets", response_model=schemas.Datasets)
def list_datasets(
    project_id: str,
    call: Annotated[Call, requires("dataset:read")],
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The project's data sets, each over all nodes that hold it."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        project = find_project(session, call.view, project_id)
        within = within_project(session, project.id)
        found = datasets.by_name(session, project.id, page.after(str), page.limit + 1)
        return page.answer(
            "datasets",
            found,
            lambda holdings: datasets.show(call.view, project.id, within, holdings),
            lambda holdings: holdings[0].dataset.name,
        )


@router.get("/{project_id}/runs", response_model=schemas.Runs)
def list_runs(
    project_id: str,
    call: Annotated[Call, requires("run:read")],
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The project's runs, newest first."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        project = find_project(session, call.view, project_id)
        theirs = select(Run).where(Run.project == project.id)
        found = page.rows(session, theirs, Run.number, kind=int, descending=True)
        return page.answer("runs", found, lambda row: runs.show(session, call.view, row), lambda row: row.number)


@router.post("/{project_id}/runs", status_code=201, response_model=schemas.Run)
def create_run(project_id: str, body: schemas.RunIn, call: Annotated[Call, requires("run:create")]) -> Response:
    """Create a run; it gathers at once if enough nodes are online, else it waits."""

    def act(session: Session) -> Response:
        project = find_project(session, call.view, project_id)
        run = runs.create(session, call.view, call.hosted.scheduler, project, body)
        return created(runs.show(session, call.view, run), f"/v1/runs/{run.id}")

    return call.once(act)


@router.get("/{project_id}/events", response_model=schemas.Events, responses=EventsAnswer)
async def read_project_events(
    project_id: str,
    call: Annotated[Call, requires("run:read")],
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
    after: After = None,
) -> Response:
    """What happens in the project: a page, or a stream (`Accept: text/event-stream`)."""

    def scope(session: Session, view: View) -> events.Scope:
        return events.Scope(project=find_project(session, view, project_id).id)

    return await answer_events(call, scope, limit, cursor, after)
