"""Nodes that go over to a new key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from .. import domain_schemas, hal, schemas
from ..access import find_node, require_self
from ..calls import Call, created, requires
from ..services import nodes, rotations

router = APIRouter(prefix="/v1/nodes/{node_id}/rotation", tags=["nodes"])


@router.get("", response_model=domain_schemas.Rotation)
def read_rotation(node_id: str, call: Annotated[Call, requires("node:read")]) -> Response:
    """Which key the node goes over to, as both keys have signed it."""
    return call.read(lambda session: rotations.show(rotations.find(session, find_node(session, call.view, node_id))))


@router.post("", status_code=201, response_model=domain_schemas.Rotation)
def begin_rotation(
    node_id: str, body: domain_schemas.RotationStatement, call: Annotated[Call, requires("node:act")]
) -> Response:
    """Say, signed with both keys, that the node goes over to a new one."""

    def act(session: Session) -> Response:
        node = require_self(session, call.view, node_id)
        row = rotations.begin(session, node, body.model_dump(), call.view.now)
        return created(rotations.show(row), f"/v1/nodes/{node.id}/rotation")

    return call.once(act)


@router.post("/completion", response_model=schemas.Node)
def complete_rotation(node_id: str, call: Annotated[Call, requires("node:act")]) -> Response:
    """Have the new key take the node's place; the old one is no node any more."""
    with call.writing() as session:
        node = require_self(session, call.view, node_id)
        new = rotations.complete(session, node, call.view.now)
        call.hosted.scheduler.node_came_online(session, new)
        return hal.answer(nodes.show(session, call.view, new))
