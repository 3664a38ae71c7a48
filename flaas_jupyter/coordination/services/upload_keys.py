"""Upload keys: passed on as nodes have signed them, with the membership by which the node itself is believed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...communications.upload_key import UploadKeyStatement
from ...errors import InvalidInput, NotFound
from .. import hal
from ..access import View, project_ids
from ..schemas import SignedDocument
from ..tables import MembershipRow, Node, NodeProject, Project, RevocationRow, UploadKeyRow


def put(session: Session, node: Node, document: SignedDocument) -> None:
    """Take in what a node states its upload key to be.

    Raises
    ------
    NotAuthenticated
        Code ``bad-signature``: the node did not sign it.
    InvalidInput
        ``bad-upload-key``; ``wrong-domain``: it is another node's.
    """
    signed = document.model_dump()
    statement = UploadKeyStatement.parse(signed)
    if statement.node != node.id:
        raise InvalidInput(
            f"The statement is of node {statement.node}, not of {node.id}.",
            code="wrong-domain",
            hint="Sign it with the key of this node.",
        )
    session.merge(UploadKeyRow(node=node.id, document=signed, expires=datetime.fromtimestamp(statement.expires, UTC)))


def remove(session: Session, node: Node) -> None:
    """Forget a node's upload key: it takes no uploads any more."""
    row = session.get(UploadKeyRow, node.id)
    if row is not None:
        session.delete(row)


def require(session: Session, node: Node, now: datetime) -> UploadKeyRow:
    """Return what a node states its key to be.

    Raises
    ------
    NotFound
        Code ``no-upload-key``.
    """
    row = session.get(UploadKeyRow, node.id)
    if row is None or row.expires <= now:
        raise NotFound(
            f"Node {node.name} takes no uploads.",
            code="no-upload-key",
            hint="Its owner allows them with uploads = [ids] in its node.toml, and starts it with a version that can.",
        )
    return row


def taking(session: Session, ids: Collection[str], now: datetime) -> set[str]:
    """Return which of the nodes take uploads."""
    stated = select(UploadKeyRow.node).where(UploadKeyRow.node.in_(ids), UploadKeyRow.expires > now)
    return set(session.scalars(stated))


def show(session: Session, view: View, node: Node, project_id: str | None) -> hal.Resource:
    """Return the key with everything that it is believed by, in one project of the node's and the caller's.

    Raises
    ------
    NotFound
        ``no-upload-key``; ``unknown-project``: the node is in no such project of the caller's.
    """
    row = require(session, node, view.now)
    shared = (
        select(Project)
        .join(NodeProject, NodeProject.project == Project.id)
        .where(NodeProject.node == node.id, Project.id.in_(project_ids(view)))
        .order_by(Project.id)
    )
    wanted = shared if project_id is None else shared.where(Project.id == project_id)
    project = session.scalar(wanted.limit(1))
    if project is None:
        raise NotFound(
            f"Node {node.name} is in no project {str(project_id)[:80]!r} of yours.",
            code="unknown-project",
            hint="Name a project that the node is in.",
        )
    membership = session.get(MembershipRow, (project.id, node.id))
    if session.get(RevocationRow, (project.id, node.id)) is not None:
        membership = None
    body = {
        "node": node.id,
        "name": node.name,
        "organisation": node.organisation,
        "project": project.id,
        "domain_key": project.domain_key,
        "statement": row.document,
        "membership": None if membership is None else membership.document,
        "online": view.online(node),
        "quarantined": hal.instant(node.quarantined),
    }
    return hal.resource(body, f"/v1/nodes/{node.id}/upload-key", node=hal.link(f"/v1/nodes/{node.id}"))
