"""What a project's domain key has signed: memberships, revocations, and what more holders must sign."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import domain_schemas, hal, states
from ..access import find_project
from ..calls import Call, created, requires
from ..services import directory, pending, revocations
from ..tables import Assignment, Run

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["domains"])


@router.post("/memberships", status_code=201, response_model=domain_schemas.DomainAnswer)
def add_membership(
    project_id: str,
    body: domain_schemas.DomainDocument,
    call: Annotated[Call, requires("membership:write")],
) -> Response:
    """Hand in a membership signed by the domain key; one that is known already answers 200."""

    def act(session: Session) -> Response:
        project = find_project(session, call.view, project_id)
        document = body.model_dump()
        new = directory.add_membership(session, project, document)
        location = f"/v1/projects/{project.id}/directory"
        return created(hal.resource(document, location), location, new=new)

    return call.once(act)


@router.post("/revocations", status_code=201, response_model=domain_schemas.DomainAnswer)
def add_revocation(
    project_id: str,
    body: domain_schemas.DomainDocument,
    call: Annotated[Call, requires("membership:write")],
) -> Response:
    """Hand in a revocation signed by the domain key; one that is known already answers 200."""

    def act(session: Session) -> Response:
        project = find_project(session, call.view, project_id)
        document = body.model_dump()
        concerned = _open_runs(session, project.id, str(document["body"].get("node_id")))
        new = revocations.add(session, project, document)
        for run in concerned:
            call.hosted.scheduler.advance(session, run)
        location = f"/v1/projects/{project.id}/directory"
        return created(hal.resource(document, location), location, new=new)

    return call.once(act)


@router.get("/pending", response_model=domain_schemas.PendingList)
def list_pending(project_id: str, call: Annotated[Call, requires("membership:write")]) -> Response:
    """Documents that more holders of the domain key must sign."""

    def show(session: Session) -> hal.Resource:
        project = find_project(session, call.view, project_id)
        found = {"_embedded": {"pending": pending.listed(session, project)}}
        return hal.resource(found, f"/v1/projects/{project.id}/pending")

    return call.read(show)


@router.post("/pending", status_code=201, response_model=domain_schemas.Pending)
def hand_in_pending(
    project_id: str, body: domain_schemas.PendingIn, call: Annotated[Call, requires("membership:write")]
) -> Response:
    """Hand in a document with one's own signature, or add it to one that waits; with enough of them it is taken in."""

    def act(session: Session) -> Response:
        project = find_project(session, call.view, project_id)
        concerned = []
        if body.kind == "revocations":
            concerned = _open_runs(session, project.id, str(body.document.body.get("node_id")))
        answer = pending.hand_in(session, call.view, project, body)
        for run in concerned:
            call.hosted.scheduler.advance(session, run)
        return created(answer, f"/v1/projects/{project.id}/pending")

    return call.once(act)


@router.delete("/pending/{digest}", status_code=204)
def withdraw_pending(project_id: str, digest: str, call: Annotated[Call, requires("membership:write")]) -> Response:
    """Withdraw a document that waits for signatures."""
    with call.writing() as session:
        pending.withdraw(session, find_project(session, call.view, project_id), digest)
    return Response(status_code=204)


def _open_runs(session: Session, project_id: str, node_id: str) -> list[Run]:
    """Return the open runs of a project that a key has a part in."""
    parts = select(Run).join(Assignment, Assignment.run == Run.number)
    parts = parts.where(Assignment.node == node_id, Run.project == project_id, Run.state.in_(states.OPEN))
    return list(session.scalars(parts.order_by(Run.number)))
