"""Projects: which organisations work together, under which domain key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...costs.launch import states as launch_states
from ...costs.launch.tables import LaunchRow
from ...errors import Conflict, NotAllowed, NotFound
from ...governance import scopes
from ...governance.identity.tables import Person
from ...governance.isolation import across
from ...governance.rbac import core as rbac
from ...governance.rbac.tables import Assignment
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
    with across(session, "an id that others have is taken, and a new project is nobody's as yet"):
        return _create(session, body)


def _create(session: Session, body: ProjectIn) -> Project:
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


def get(session: Session, project_id: str) -> Project:
    """Return the project, whoever asks; `NotFound` (code ``unknown-project``) if there is none."""
    found = session.get(Project, project_id)
    if found is None:
        raise NotFound(
            f"There is no project {project_id[:80]!r}.", code="unknown-project", hint="It was removed meanwhile."
        )
    return found


def change(session: Session, project: Project, body: ProjectPatch) -> None:
    """Change a project; nodes of an organisation that leaves are out of it and of its runs, people lose roles in it."""
    if body.name is not None:
        project.name = body.name
    if body.description is not None:
        project.description = body.description
    if body.organisations is not None:
        with across(session, "organisations come and go, with nodes of theirs"):
            _change_organisations(session, project, body.organisations)


def _change_organisations(session: Session, project: Project, wanted: Sequence[str]) -> None:
    _require_organisations(session, wanted)
    leaving = select(Node).join(NodeProject, NodeProject.node == Node.id)
    leaving = leaving.where(NodeProject.project == project.id, Node.organisation.not_in(wanted))
    for node in session.scalars(leaving).all():
        nodes.leave(session, node, project.id)
    gone = set(organisations_of(session, project.id)) - set(wanted)
    users = set(session.scalars(select(Person.id).where(Person.organisation.in_(gone))))
    _take_roles(session, project.id, users)
    _set_organisations(session, project, wanted)
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
    with across(session, "roles in it go, so that a later project of this id does not begin with them"):
        _take_roles(session, project.id)
    session.delete(project)


def _take_roles(session: Session, project_id: str, users: Collection[str] | None = None) -> None:
    """Take the roles in a project from `users`, from everybody by default; open sessions lose them at once."""
    held = select(Assignment.user, Assignment.role, Assignment.scope)
    for user, role, scope in session.execute(held.where(Assignment.scope == scopes.project(project_id))).all():
        if users is None or user in users:
            rbac.deassign_user(session, user, role, scope)


def show(session: Session, view: View, project: Project) -> hal.Resource:
    """Return the project as the caller sees it."""
    href = f"/v1/projects/{project.id}"
    organisations = organisations_of(session, project.id)
    within = (scopes.project(project.id), *(scopes.organisation(name) for name in organisations))
    writes = may_write(view, project.id, organisations)
    body = {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "domain_key": project.domain_key,
        "organisations": organisations,
    }
    return hal.resource(
        body,
        href,
        directory=hal.link(f"{href}/directory"),
        nodes=hal.link(f"/v1/nodes?project={project.id}"),
        mesh=hal.link(f"{href}/mesh"),
        datasets=hal.link(f"{href}/datasets"),
        runs=hal.link(f"{href}/runs"),
        queries=hal.link(f"{href}/queries") if view.may("analytics:read", *within) else None,
        recipes=hal.link(f"{href}/recipes") if view.may("recipe:read", *within) else None,
        create_recipe=hal.link(f"{href}/recipes", "POST") if view.may("recipe:write", *within) else None,
        create_view=hal.link(f"{href}/views", "POST") if view.may("data:explore", *within) else None,
        uploads=hal.link(f"{href}/uploads") if view.may("dataset:read", *within) else None,
        events=hal.link(f"{href}/events"),
        create_run=hal.link(f"{href}/runs", "POST")
        if view.may("run:create", *within) and _has_datasets(session, project)
        else None,
        create_upload=hal.link(f"{href}/uploads", "POST") if view.may("dataset:upload", *within) else None,
        launches=hal.link(f"{href}/launches") if view.may("launch:read", *within) else None,
        create_launch=hal.link(f"{href}/launches", "POST") if view.may("launch:write", *within) else None,
        add_membership=hal.link(f"{href}/memberships", "POST") if view.may("membership:write", *within) else None,
        edit=hal.link(href, "PATCH") if writes else None,
        delete=hal.link(href, "DELETE") if writes else None,
    )


def may_write(view: View, project_id: str, organisations: Sequence[str]) -> bool:
    """Tell whether the caller may change the project: its own administrator, or that of its only organisation."""
    if view.may("project:write", scopes.project(project_id)):
        return True
    return len(organisations) == 1 and view.may("project:write", scopes.organisation(organisations[0]))


def require_writer(session: Session, view: View, project: Project) -> None:
    """Check that the caller may change the project; it is others' too, so seeing it does not do.

    Raises
    ------
    NotAllowed
        The caller has the permission in one of its organisations only.
    """
    organisations = organisations_of(session, project.id)
    if not may_write(view, project.id, organisations):
        raise NotAllowed(
            f"Project {project.id!r} belongs to {', '.join(organisations)} together.",
            hint="Who changes it holds the role org-admin in the project itself or on the platform.",
            operation="project:write",
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
