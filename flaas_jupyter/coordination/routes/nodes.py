"""Nodes: registered by people, then acting for themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ...errors import NotAllowed, NotFound
from ...governance import scopes
from .. import events, hal, schemas, states
from ..access import find_node, find_project, require_self, visible_nodes
from ..calls import ASKED, Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import datasets, directory, enrolments, nodes, runs
from ..streams import EventStream
from ..tables import Assignment, Node, NodeInvitation, NodeProject, Run
from .following import After, EventsAnswer, resume_after

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])


@router.get("", response_model=schemas.Nodes)
def list_nodes(
    call: Annotated[Call, requires("node:read")],
    project: str | None = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The nodes of the caller's organisation and projects, or of one project."""
    page = call.page(limit, cursor, project=project)
    with call.reading() as session:
        visible = visible_nodes(call.view)
        if project is not None:
            known = find_project(session, call.view, project)
            visible = visible.where(Node.id.in_(select(NodeProject.node).where(NodeProject.project == known.id)))
        found = page.rows(session, visible, Node.id)
        shown = {node["id"]: node for node in nodes.show_all(session, call.view, found)}
        return page.answer("nodes", found, lambda row: shown[row.id], lambda row: row.id)


@router.post(
    "",
    status_code=201,
    response_model=schemas.Node,
    responses=ASKED,
)
def register_node(body: schemas.NodeIn, call: Annotated[Call, requires("node:register")]) -> Response:
    """Register a node; again, to change its projects and version (200)."""

    def act(session: Session) -> Response:
        for project in body.projects:
            find_project(session, call.view, project)
        organisation = call.view.require_for_own(*body.projects)
        if nodes.joins(session, body):
            scope = scopes.project(body.projects[0]) if len(body.projects) == 1 else scopes.organisation(organisation)
            waits = call.critical(
                session,
                "node.add",
                scope,
                {"organisation": organisation, "node": body.model_dump()},
                (scopes.organisation(organisation),),
            )
            if waits is not None:
                return waits
        node, new = nodes.register(session, organisation, body)
        return created(nodes.show(session, call.view, node), f"/v1/nodes/{node.id}", new=new)

    return call.once(act)


@router.get("/invitations", response_model=schemas.NodeInvitations)
def list_invitations(
    call: Annotated[Call, requires("node:register")], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """The organisation's invitations of nodes, used ones too."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        found = page.rows(session, _invitations(call), NodeInvitation.digest)
        return page.answer("invitations", found, enrolments.show, lambda row: row.digest)


@router.post(
    "/invitations",
    status_code=201,
    response_model=schemas.NodeInvitation,
    responses=ASKED,
)
def invite_node(body: schemas.NodeInvitationIn, call: Annotated[Call, requires("node:register")]) -> Response:
    """Invite a node of one's organisation into a project: whoever has the secret registers one key, once."""

    def act(session: Session) -> Response:
        project = find_project(session, call.view, body.project)
        organisation = call.view.require_for_own(project.id)
        invited = body.model_dump()
        change = {"organisation": organisation, "invite": invited}
        waits = call.critical(
            session, "node.add", scopes.project(project.id), change, (scopes.organisation(organisation),)
        )
        if waits is not None:
            return waits
        row = enrolments.invite(session, organisation, call.view.caller.subject, invited, call.view.now)
        return created(enrolments.show(row), f"/v1/nodes/invitations/{row.digest}")

    return call.once(act)


@router.delete("/invitations/{digest}", status_code=204)
def delete_invitation(digest: str, call: Annotated[Call, requires("node:register")]) -> Response:
    """Take back an invitation that was not used."""
    with call.writing() as session:
        row = session.scalar(_invitations(call).where(NodeInvitation.digest == digest))
        if row is None or row.used_by is not None:
            raise NotFound(
                "There is no open invitation with this digest for you.",
                code="unknown-invitation",
                hint="List the invitations; one that was used is a node now.",
            )
        session.delete(row)
    return Response(status_code=204)


def _invitations(call: Call) -> Select[NodeInvitation]:
    query = select(NodeInvitation)
    if call.view.everything:
        return query
    own = NodeInvitation.organisation == call.view.caller.organisation
    in_projects = own & NodeInvitation.project.in_(call.view.held("project"))
    return query.where(NodeInvitation.organisation.in_(call.view.held("organisation")) | in_projects)


@router.get("/{node_id}", response_model=schemas.Node)
def read_node(node_id: str, call: Annotated[Call, requires("node:read")]) -> Response:
    """One node."""
    return call.read(lambda session: nodes.show(session, call.view, find_node(session, call.view, node_id)))


@router.delete("/{node_id}", status_code=204)
def delete_node(node_id: str, call: Annotated[Call, requires("node:register")]) -> Response:
    """Remove a node; it is told, and out of its open runs."""
    with call.writing() as session:
        node = find_node(session, call.view, node_id)
        if not call.view.owns(node.organisation, *nodes.projects_of(session, node.id)):
            raise NotAllowed(
                f"Node {node.name} belongs to organisation {node.organisation!r}.",
                hint="Its own operator, or an administrator, removes it.",
            )
        hal.require_match(call.request, nodes.show(session, call.view, node))
        nodes.remove(session, node)
    return Response(status_code=204)


@router.put("/{node_id}/record", response_model=schemas.Signed)
def put_record(node_id: str, body: schemas.SignedDocument, call: Annotated[Call, requires("node:act")]) -> Response:
    """Hand in where the node can be dialled, signed by it."""
    with call.writing() as session:
        node = require_self(session, call.view, node_id)
        directory.put_record(session, node, body)
        return hal.answer(hal.resource(body.model_dump(), f"/v1/nodes/{node.id}/record"))


@router.get("/{node_id}/events", response_class=Response, responses=EventsAnswer)
async def follow_node(node_id: str, call: Annotated[Call, requires("node:act")], after: After = None) -> Response:
    """What concerns the node, as a stream. The node is online while it holds this open."""
    hosted = call.hosted
    given = resume_after(call, after)

    def itself() -> str:
        with call.reading() as session:
            return require_self(session, call.view, node_id).id

    scope = events.Scope(node=await hosted.database.run(itself))
    subscription = hosted.log.subscribe(scope)
    try:
        stream, newest = await hosted.presence.hold(node_id, subscription)
    except BaseException:
        hosted.log.unsubscribe(subscription)
        raise

    def ended() -> None:
        hosted.log.unsubscribe(subscription)
        hosted.presence.forget(stream)

    begin = newest if given is None else min(given, newest)
    return EventStream(
        hosted.log.follow(subscription, begin, hosted.settings.keepalive),
        left=lambda: hosted.presence.release(stream),
        ended=ended,
    )


@router.get("/{node_id}/assignments", response_model=schemas.Assignments)
def list_assignments(
    node_id: str,
    call: Annotated[Call, requires("node:act")],
    open: bool = False,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The node's parts in runs, each with its run; with `open=true` in those that have not ended."""
    page = call.page(limit, cursor, open="true" if open else None)
    with call.reading() as session:
        node = require_self(session, call.view, node_id)
        theirs = select(Run).join(Assignment, Assignment.run == Run.number).where(Assignment.node == node.id)
        if open:
            theirs = theirs.where(Run.state.in_(states.OPEN))

        def show(run: Run) -> hal.Resource:
            part = next(participant for participant in run.participants if participant.node == node.id)
            return runs.show_assignment(session, call.view, run, part)

        found = page.rows(session, theirs, Run.number, kind=int)
        return page.answer("assignments", found, show, lambda run: run.number)


@router.put("/{node_id}/datasets/{name}", response_model=schemas.DatasetDescription)
def put_dataset(
    node_id: str,
    name: str,
    body: schemas.DatasetIn,
    call: Annotated[Call, requires("node:act")],
) -> Response:
    """Describe a data set that the node holds; runs may have waited for it."""
    with call.writing() as session:
        node = require_self(session, call.view, node_id)
        dataset = datasets.describe(session, node, name, body)
        for project in body.projects:
            call.hosted.scheduler.project_changed(session, project)
        return hal.answer(datasets.show_description(session, dataset))


@router.delete("/{node_id}/datasets/{name}", status_code=204)
def delete_dataset(node_id: str, name: str, call: Annotated[Call, requires("node:act")]) -> Response:
    """Forget a data set of the node."""
    with call.writing() as session:
        datasets.remove(session, require_self(session, call.view, node_id), name)
    return Response(status_code=204)
