"""Rotation of nodes' keys: a node keeps its name, its data sets and what it waits for under a new key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ...communications.rotation import Rotation as Statement
from ...errors import Aborted, Conflict, NotFound
from ...governance.isolation import across
from .. import events, hal, states
from ..tables import (
    Assignment,
    Dataset,
    DatasetProject,
    MembershipRow,
    MeshLinks,
    Node,
    NodeProject,
    RecordRow,
    Rotation,
    Run,
)
from . import directory, nodes, upload_keys, uploads


def begin(session: Session, node: Node, document: dict[str, Any], now: datetime) -> Rotation:
    """Keep the statement that a node is to have another key; a newer one takes the place of one that is not completed.

    Raises
    ------
    InvalidInput
        ``bad-rotation``; ``wrong-domain``: it is another node's.
    NotAuthenticated
        ``bad-signature``.
    Conflict
        ``node-exists``: the new key is a node's already.
    """
    statement = Statement.parse(document)
    if statement.old != node.id:
        raise directory.wrong_domain(f"node {statement.old}", f"node {node.id}")
    with across(session, "a key that others have is refused, whoever they are"):
        taken = session.scalar(select(Rotation.node).where(Rotation.new == statement.new, Rotation.node != node.id))
        if session.get(Node, statement.new) is not None or taken is not None:
            raise Conflict(
                f"The key {statement.new} is a node's already.", code="node-exists", hint="Make another new key."
            )
    row = session.merge(
        Rotation(node=node.id, new=statement.new, document=document, created=now, completed=None)
    )  # a completed one cannot be in the way: its node is gone
    for project in nodes.projects_of(session, node.id):
        events.append(session, "directory.changed", project=project, node=node.id)
    return row


def find(session: Session, node: Node) -> Rotation:
    """Return the node's rotation; `NotFound` (code ``no-rotation``) if none has begun."""
    row = session.get(Rotation, node.id)
    if row is None:
        raise NotFound(
            f"Node {node.name} goes over to no other key.",
            code="no-rotation",
            hint="It begins with `flaas node rotate`.",
        )
    return row


def complete(session: Session, node: Node, now: datetime) -> Node:
    """Let the new key take the node's place: name, projects, data sets, and runs that have not begun.

    Raises
    ------
    NotFound
        ``no-rotation``.
    Conflict
        ``rotation-not-signed``: the administrators of a project have not signed for the new key;
        ``node-busy``: the node takes part in a run that has begun.
    """
    row = find(session, node)
    projects = nodes.projects_of(session, node.id)
    unsigned = [project for project in projects if session.get(MembershipRow, (project, row.new)) is None]
    if unsigned:
        raise Conflict(
            f"Nobody has signed for the new key of {node.name} in {', '.join(unsigned)}.",
            code="rotation-not-signed",
            hint=f"An administrator runs `flaas domain renew {unsigned[0]} {node.id}`.",
        )
    _require_idle(session, node)
    with across(session, "the row of a node under its new key is written by the old one"):
        return _complete(session, node, row, projects, now)


def show(row: Rotation) -> hal.Resource:
    """Return a rotation."""
    body = {
        "node": row.node,
        "new": row.new,
        "statement": row.document,
        "created": hal.instant(row.created),
        "completed": hal.instant(row.completed),
    }
    return hal.resource(body, f"/v1/nodes/{row.node}/rotation", node=hal.link(f"/v1/nodes/{row.node}"))


def _complete(session: Session, node: Node, row: Rotation, projects: list[str], now: datetime) -> Node:
    old = node.id
    gone = Aborted(f"Node {node.name} has a new key.", code="node-rotated", hint="Start anew: choose the file again.")
    uploads.end_all(session, node, gone.to_dict())
    upload_keys.remove(session, node)
    node.removed, node.online, node.stream = datetime.now(UTC), False, None
    session.flush()  # its name is free now
    new = Node(
        id=row.new,
        name=node.name,
        organisation=node.organisation,
        version=node.version,
        registered=now,
        removed=None,
        online=False,
        stream=None,
        last_seen=None,
        quarantined=node.quarantined,
        quarantine_reason=node.quarantine_reason,
    )
    session.add(new)
    session.flush()
    session.add_all(NodeProject(node=new.id, project=project) for project in projects)
    offered = session.scalars(select(DatasetProject).where(DatasetProject.node == old)).all()
    places = [(offer.name, offer.project) for offer in offered]
    session.execute(delete(DatasetProject).where(DatasetProject.node == old))
    session.execute(update(Dataset).where(Dataset.node == old).values(node=new.id))
    session.flush()
    session.add_all(DatasetProject(node=new.id, name=name, project=project) for name, project in places)
    open_runs = select(Run.number).where(Run.state.in_(states.OPEN))
    session.execute(update(Assignment).where(Assignment.node == old, Assignment.run.in_(open_runs)).values(node=new.id))
    for table in (RecordRow, MeshLinks, NodeProject):
        session.execute(delete(table).where(table.node == old))
    row.completed = now
    session.flush()
    for project in projects:
        events.append(session, "node.registered", project=project, node=new.id, data={"name": new.name})
        events.append(session, "directory.changed", project=project, node=new.id)
    return new


def _require_idle(session: Session, node: Node) -> None:
    begun = select(Run.id).join(Assignment, Assignment.run == Run.number)
    begun = begun.where(Assignment.node == node.id, Assignment.state == states.ACCEPTED)
    run = session.scalar(begun.where(Run.state.in_(states.OPEN), Run.term > 0).limit(1))
    if run is not None:
        raise Conflict(
            f"Node {node.name} takes part in run {run}.",
            code="node-busy",
            hint="It goes over to its new key when the run is over.",
        )
