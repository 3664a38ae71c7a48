"""The mesh as far as the API knows it: the signed network document, signals between nodes, who is connected how."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from .. import domain_schemas, hal, mesh_schemas
from ..access import find_project, require_self
from ..calls import Call, requires
from ..services import dials, directory, mesh

router = APIRouter(prefix="/v1", tags=["mesh"])


@router.get("/projects/{project_id}/network", response_model=domain_schemas.DomainAnswer)
def read_network(project_id: str, call: Annotated[Call, requires("directory:read")]) -> Response:
    """Relays, reflectors, and whether peers connect directly, as the domain key has signed it."""

    def show(session: Session) -> hal.Resource:
        project = find_project(session, call.view, project_id)
        return hal.resource(directory.network(session, project), f"/v1/projects/{project.id}/network")

    return call.read(show)


@router.put("/projects/{project_id}/network", response_model=domain_schemas.DomainAnswer)
def put_network(
    project_id: str, body: domain_schemas.DomainDocument, call: Annotated[Call, requires("membership:write")]
) -> Response:
    """Hand in a network document signed by the domain key; its serial takes the place of If-Match."""
    with call.writing() as session:
        project = find_project(session, call.view, project_id)
        document = body.model_dump()
        directory.put_network(session, project, document)
        return hal.answer(hal.resource(document, f"/v1/projects/{project.id}/network"))


@router.post("/projects/{project_id}/dials", status_code=204)
def dial(project_id: str, body: mesh_schemas.DialIn, call: Annotated[Call, requires("mesh:dial")]) -> Response:
    """Have a node of the project connect back to the caller's key, at once or not at all."""
    with call.reporting() as session:
        project = find_project(session, call.view, project_id)
        dials.signal(session, call.view, call.hosted.dials, project, body)
    return Response(status_code=204)


@router.put("/nodes/{node_id}/links", status_code=204)
def put_links(node_id: str, body: mesh_schemas.LinksIn, call: Annotated[Call, requires("node:act")]) -> Response:
    """Say how the node is connected; it counts for a minute."""
    with call.reporting() as session:
        mesh.report(session, require_self(session, call.view, node_id), body, call.view.now)
    return Response(status_code=204)


@router.get("/projects/{project_id}/mesh", response_model=mesh_schemas.Mesh)
def read_mesh(project_id: str, call: Annotated[Call, requires("node:read")]) -> Response:
    """The nodes of the project, and how they are connected."""
    return call.read(lambda session: mesh.show(session, call.view, find_project(session, call.view, project_id)))
