"""Quarantine: a node is kept out of runs, and let back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from ...errors import NotAllowed
from ...governance import scopes
from .. import control_schemas, hal, schemas
from ..access import find_node
from ..calls import Call, requires
from ..services import nodes
from ..tables import Node

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])


@router.post("/{node_id}/quarantine", response_model=schemas.Node)
def quarantine_node(
    node_id: str, body: control_schemas.ReasonIn, call: Annotated[Call, requires("node:quarantine")]
) -> Response:
    """Keep a node out of new runs and take it out of its open ones; another aggregator is elected where it led."""

    def act(session: Session) -> Response:
        node = _own(session, call, node_id)
        concerned = nodes.open_runs(session, node)
        nodes.quarantine(session, node, body.reason)
        for run in concerned:
            call.hosted.scheduler.advance(session, run)
        return hal.answer(nodes.show(session, call.view, node))

    return call.once(act)


@router.delete("/{node_id}/quarantine", response_model=schemas.Node)
def release_node(node_id: str, call: Annotated[Call, requires("node:quarantine")]) -> Response:
    """Let a node take part in runs again."""
    with call.writing() as session:
        node = _own(session, call, node_id)
        nodes.release(session, node)
        call.hosted.scheduler.node_came_online(session, node)
        return hal.answer(nodes.show(session, call.view, node))


def _own(session: Session, call: Call, node_id: str) -> Node:
    """Return the node, if the caller answers for it: in its organisation, at the node, or on the platform."""
    node = find_node(session, call.view, node_id)
    if not call.view.may("node:quarantine", scopes.organisation(node.organisation), scopes.node(node.id)):
        raise NotAllowed(
            f"Node {node.name} belongs to organisation {node.organisation!r}.",
            hint="An operator or administrator of that organisation, or of the platform, can do this.",
            operation="node:quarantine",
        )
    return node
