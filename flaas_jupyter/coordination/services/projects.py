"""Projects: which organisations work together, under which domain key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...costs.launch import states as launch_states
from ...costs.launch.tables import LaunchRow
from ...errors import Conflict, NotFound
from .. import events, hal, states
from ..access import View
from ..schemas import ProjectIn, ProjectPatch
from ..tables import Dataset, Node, NodeProject, Organisation, Project, ProjectOrganisation, Run
from . import nodes


def create(session: Session, body: ProjectIn) -> Project:
    """Create a project.

    Raises
    ------
    Conflict
        Code ``project-exists``.
    NotFound
        Code ``unknown-organisation``.
    """
    if session.get(Project, body.id) is not None:
        raise Conflict(f"There is a project {body.id!r} already.", code="project-exists", hint="Choose another id.")
    _require_organisations(session, body.organisations)
    project = Project(
        id=body.id,
        name=body.name,
        description=body.description,
        domain_key=body.domain_key,
        created=datetime.now(UTC),
    )
    session.add(project)
    session.flush()
    _set_organisations(session, project, body.organisations)
    return project


def change(session: Session, project: Project, body: ProjectPatch) -> None:
    """Change a project; nodes of an organisation that leaves are out of it, and of its runs."""
    if body.name is not None:
        project.name = body.name
    if body.description is not None:
        project.description = body.description
    if body.organisations is not None:
        _require_organisations(session, body.organisations)
        leaving = select(Node).join(NodeProject, NodeProject.node == Node.id)
        leaving = leaving.where(NodeProject.project == project.id, Node.organisation.not_in(body.organisations))
        for node in session.scalars(leaving).all():
            nodes.leave(session, node, project.id)
        _set_organisations(session, project, body.organisations)
        events.append(session, "directory.changed", project=project.id)


def remove(session: Session, project: Project) -> None:
    """Remove a project with its history; `Conflict` (code ``project-in-use``) while a run or launch of it is open."""
    open_run = select(Run.id).where(Run.project == project.id, Run.state.in_(states.OPEN)).limit(1)
    if (run := session.scalar(open_run)) is not None:
        raise Conflict(
            f"Run {run} of project {project.id!r} is open.",
            code="project-in-use",
            hint="Cancel its runs, or wait for their end.",
        )
    open_launch = select(LaunchRow.id).where(
        LaunchRow.project == project.id, LaunchRow.state.not_in(launch_states.OVER)
    )
    if (launch := session.scalar(open_launch.limit(1))) is not None:
        raise Conflict(
            f"Machines of launch {launch} of project {project.id!r} are still there.",
            code="project-in-use",
            hint="End its launches first.",
        )
    session.delete(project)


def show(session: Session, view: View, project: Project) -> hal.Resource:
    """Return the project as the caller sees it."""
    href = f"/v1/projects/{project.id}"
    writes = view.may("project:write")
    body = {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "domain_key": project.domain_key,
        "organisations": organisations_of(session, project.id),
    }
    return hal.resource(
        body,
        href,
        directory=hal.link(f"{href}/directory"),
        nodes=hal.link(f"/v1/nodes?project={project.id}"),
        datasets=hal.link(f"{href}/datasets"),
        runs=hal.link(f"{href}/runs"),
        events=hal.link(f"{href}/events"),
        create_run=hal.link(f"{href}/runs", "POST")
        if view.may("run:create") and _has_datasets(session, project)
        else None,
        launches=hal.link(f"{href}/launches") if view.may("launch:read") else None,
        create_launch=hal.link(f"{href}/launches", "POST") if view.may("launch:write") else None,
        add_membership=hal.link(f"{href}/memberships", "POST") if view.may("membership:write") else None,
        edit=hal.link(href, "PATCH") if writes else None,
        delete=hal.link(href, "DELETE") if writes else None,
    )


def organisations_of(session: Session, project_id: str) -> list[str]:
    """Return the ids of the project's organisations, sorted."""
    query = select(ProjectOrganisation.organisation).where(ProjectOrganisation.project == project_id)
    return sorted(session.scalars(query))


def _has_datasets(session: Session, project: Project) -> bool:
    held = (
        select(Dataset.name)
        .join(NodeProject, NodeProject.node == Dataset.node)
        .where(NodeProject.project == project.id)
    )
    return session.scalar(held.limit(1)) is not None


def _require_organisations(session: Session, wanted: Sequence[str]) -> None:
    known = set(session.scalars(select(Organisation.id).where(Organisation.id.in_(wanted))))
    missing = sorted(set(wanted) - known)
    if missing:
        raise NotFound(
            f"There is no organisation {', '.join(map(repr, missing))}.",
            code="unknown-organisation",
            hint="Create it first.",
            unknown=missing,
        )


def _set_organisations(session: Session, project: Project, wanted: Sequence[str]) -> None:
    present = set(organisations_of(session, project.id))
    for organisation in present - set(wanted):
        session.delete(session.get_one(ProjectOrganisation, (project.id, organisation)))
    for organisation in sorted(set(wanted) - present):
        session.add(ProjectOrganisation(project=project.id, organisation=organisation))
    session.flush()
