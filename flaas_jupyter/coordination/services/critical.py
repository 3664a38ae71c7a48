"""What carries out the critical actions of this API once they are approved, with the body that was stored.

Each is also what its route does where nobody has to approve: one way in, so that what is approved is what happens.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from ...errors import Conflict
from ...governance import approvals, scopes
from ...governance.approvals import Context, fulfilment
from ...governance.approvals import Request as Asked
from ...governance.identity import keys, persons
from .. import events
from ..access import View, find_project, within_project
from ..hosted import Hosted
from ..launch_schemas import LaunchIn
from ..schemas import NodeIn, OrganisationIn
from ..tables import Project, ProjectOrganisation
from . import enrolments, launches, models, nodes, organisations, projects, rbac, users

Body = dict[str, Any]


def _tell(session: Session, event: str, request: Asked | None, details: Body) -> None:
    """Have the browser look again when a request in a project changes."""
    if request is not None and scopes.kind_of(request.scope) == "project":
        project = scopes.id_of(request.scope)
        if session.get(Project, project) is not None:
            data = {"id": request.id, "action": request.action, "state": request.state}
            events.append(session, "approval.changed", project=project, data=data)


def _projects_around(session: Session, scope: str) -> list[tuple[str, ...]]:
    """Return where each project lies that `scope` is, or takes part in."""
    if scopes.kind_of(scope) == "project":
        return [within_project(session, scopes.id_of(scope))]
    theirs = select(ProjectOrganisation.project).where(ProjectOrganisation.organisation == scopes.id_of(scope))
    return [within_project(session, project) for project in session.scalars(theirs)]


approvals.hooks.observe(_tell)
fulfilment.know_places(_projects_around)


def install(hosted: Hosted) -> None:
    """Have the approvals carry out this API's actions."""

    def over_budget(context: Context, body: Body) -> Body:
        view = View(context.requester, context.now, hosted.settings, "launch:write")
        launch = launches.create(
            context.session,
            view,
            find_project(context.session, view, body["project"]),
            LaunchIn.model_validate(body["launch"]),
            url=body["url"],
            price_of=hosted.launching.price_of(context.session),
            budget_left=lambda session, organisation, project: None,
        )
        return {"launch": launch.id}

    def rotate(context: Context, body: Body) -> Body:
        event.listen(context.session, "after_commit", lambda _: hosted.provider.keys.forget(), once=True)
        key = keys.rotate(context.session, hosted.vault, context.now, compromised=body.get("compromised", False))
        return {"key": key.kid}

    for action, executor in (
        ("member.roles", member_roles),
        ("organisation.add", organisation_add),
        ("organisation.remove", organisation_remove),
        ("project.remove", project_remove),
        ("node.add", node_add),
        ("model.release", models.carry_out_release),
        ("launch.over-budget", over_budget),
        ("key.rotate", rotate),
        ("role.change", rbac.carry_out),
        ("separation.change", rbac.carry_out),
    ):
        approvals.register(action, executor)


def member_roles(context: Context, body: Body) -> Body:
    """Give or take a role; none in a project that the user's organisation has left meanwhile."""
    kind, project = scopes.kind_of(body["scope"]), scopes.id_of(body["scope"])
    if body["do"] == "give" and kind == "project":
        organisation = persons.find(context.session, body["user"]).organisation
        if organisation not in projects.organisations_of(context.session, project):
            raise Conflict(
                f"{organisation!r} is not in project {project!r} any more.",
                code="not-in-project",
                hint="Ask for a role in a project that the organisation takes part in.",
            )
    change = users.give if body["do"] == "give" else users.take
    change(context.session, body["user"], body["role"], body["scope"])
    return {"user": body["user"]}


def organisation_add(context: Context, body: Body) -> Body:
    """Add an organisation."""
    return {"organisation": organisations.create(context.session, OrganisationIn.model_validate(body)).id}


def organisation_remove(context: Context, body: Body) -> Body:
    """Remove an organisation."""
    organisations.remove(context.session, organisations.get(context.session, body["organisation"]))
    return {}


def project_remove(context: Context, body: Body) -> Body:
    """Remove a project."""
    projects.remove(context.session, projects.get(context.session, body["project"]))
    return {}


def node_add(context: Context, body: Body) -> Body:
    """Invite a node, or register one if its organisation is still in the projects that it wants to be in."""
    if "invite" in body:
        invited = enrolments.invite(
            context.session, body["organisation"], context.requester.subject, body["invite"], context.now
        )
        return {"invitation": invited.digest}
    registration = NodeIn.model_validate(body["node"])
    for project in registration.projects:
        if body["organisation"] not in projects.organisations_of(context.session, project):
            raise Conflict(
                f"{body['organisation']!r} is not in project {project!r} any more.",
                code="not-in-project",
                hint="Register the node again, for the projects that there are.",
            )
    node, _ = nodes.register(context.session, body["organisation"], registration)
    return {"node": node.id}
