"""Nodes: registered by their organisation's operator, with a proof that the key is theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ...communications.identity import REGISTER, canonical, verify
from ...errors import Aborted, Conflict
from ...governance import scopes
from ...governance.isolation import across
from .. import events, hal, states
from ..access import View
from ..schemas import NodeIn
from ..tables import Assignment, Dataset, DatasetProject, Node, NodeProject, RecordRow, Run
from . import directory, mesh, upload_keys, uploads


def joins(session: Session, body: NodeIn) -> bool:
    """Tell whether registering adds a node to a project: a new one, one that was removed, or to one more project."""
    node = session.get(Node, body.id)
    return node is None or node.removed is not None or not set(body.projects) <= set(projects_of(session, node.id))


def register(session: Session, organisation: str, body: NodeIn) -> tuple[Node, bool]:
    """Register a node, or change projects and version of one that is; tell whether it is new.

    The caller has looked whether `organisation` may join these projects.

    Raises
    ------
    NotAuthenticated
        Code ``bad-signature``: the proof was not made with the node's key.
    Conflict
        Code ``node-exists``.
    """
    with across(session, "a key or name that others have is refused, whoever they are"):
        return _register(session, organisation, body)


def _register(session: Session, organisation: str, body: NodeIn) -> tuple[Node, bool]:
    proof = canonical({"id": body.id, "name": body.name, "organisation": organisation})
    verify(body.id, REGISTER, proof, bytes.fromhex(body.proof))
    known = session.get(Node, body.id)
    _require_free(session, known, body, organisation)
    new = known is None or known.removed is not None
    node = known if known is not None else Node(id=body.id, online=False)
    node.name, node.organisation, node.version = body.name, organisation, body.version
    if new:
        node.registered, node.removed = datetime.now(UTC), None
        session.add(node)
    session.flush()
    _set_projects(session, node, body.projects)
    return node, new


def remove(session: Session, node: Node) -> None:
    """Remove a node from everything but the history of its runs."""
    for project in projects_of(session, node.id):
        leave(session, node, project)
    session.execute(delete(Dataset).where(Dataset.node == node.id))
    upload_keys.remove(session, node)
    mesh.forget(session, node)
    gone = Aborted(f"Node {node.name} was removed.", code="node-removed", hint="Choose another node.")
    uploads.end_all(session, node, gone.to_dict())
    node.removed = datetime.now(UTC)
    node.online, node.stream = False, None


def leave(session: Session, node: Node, project: str) -> None:
    """Take a node out of a project: its data sets there, its record, its open runs."""
    gone = Aborted(
        f"Node {node.name} was taken out of project {project!r}.",
        code="node-removed",
        hint="Register it again, then start a new run.",
    )
    leave_runs(session, node, project, gone)
    # Told while the node is still in the project: it is one of those that are told.
    events.append(session, "node.removed", project=project, node=node.id)
    for table, condition in (
        (DatasetProject, (DatasetProject.node == node.id) & (DatasetProject.project == project)),
        (RecordRow, (RecordRow.node == node.id) & (RecordRow.project == project)),
        (NodeProject, (NodeProject.node == node.id) & (NodeProject.project == project)),
    ):
        session.execute(delete(table).where(condition))
    events.append(session, "directory.changed", project=project, node=node.id)


def leave_runs(session: Session, node: Node, project: str, reason: Aborted) -> None:
    """Take a node out of its open runs in a project; the caller advances them, for it may have led some."""
    for participant, run in _open_parts(session, node):
        if run.project == project and states.FAILED in states.ANSWERS[participant.state]:
            states.answer(session, run, participant, states.FAILED, reason.to_dict())


def quarantine(session: Session, node: Node, reason: str) -> None:
    """Keep a node out of new runs, and take it out of its open ones; it goes on running, and is told why.

    A node that is in quarantine already is given the new reason. The caller has looked who asks, and advances
    `open_runs` afterwards: the node may have led some of them.
    """
    if node.quarantined is None:
        node.quarantined = datetime.now(UTC)
    node.quarantine_reason = reason
    why = Aborted(
        f"Node {node.name} is in quarantine: {reason}",
        code="node-quarantined",
        hint="Its organisation's operator lifts the quarantine; then start a new run.",
    ).to_dict()
    for participant, run in _open_parts(session, node):
        if states.FAILED in states.ANSWERS[participant.state]:
            states.answer(session, run, participant, states.FAILED, why)
    for project in projects_of(session, node.id):
        events.append(session, "node.quarantined", project=project, node=node.id, data={"reason": reason})


def release(session: Session, node: Node) -> None:
    """Lift a quarantine: the node is invited to runs again, to new ones; again changes nothing."""
    if node.quarantined is None:
        return
    node.quarantined, node.quarantine_reason = None, None
    for project in projects_of(session, node.id):
        events.append(session, "node.released", project=project, node=node.id)


def open_runs(session: Session, node: Node) -> list[Run]:
    """Return the runs that have not ended and that the node has, or had, a part in."""
    return [run for _, run in _open_parts(session, node)]


def _open_parts(session: Session, node: Node) -> list[tuple[Assignment, Run]]:
    parts = select(Assignment, Run).join(Run, Run.number == Assignment.run)
    parts = parts.where(Assignment.node == node.id, Run.state.in_(states.OPEN)).order_by(Run.number)
    return [(participant, run) for participant, run in session.execute(parts).all()]


def projects_of(session: Session, node_id: str) -> list[str]:
    """Return the ids of the node's projects, sorted."""
    return sorted(session.scalars(select(NodeProject.project).where(NodeProject.node == node_id)))


def show(session: Session, view: View, node: Node) -> hal.Resource:
    """Return the node as the caller sees it."""
    return show_all(session, view, [node])[0]


def show_all(session: Session, view: View, found: Sequence[Node]) -> list[hal.Resource]:
    """Return the nodes as the caller sees them."""
    ids = [node.id for node in found]
    projects, datasets = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for node_id, project in session.execute(
        select(NodeProject.node, NodeProject.project).where(NodeProject.node.in_(ids))
    ):
        projects[node_id].append(project)
    for node_id, name in session.execute(select(Dataset.node, Dataset.name).where(Dataset.node.in_(ids))):
        datasets[node_id].append(name)
    taking = upload_keys.taking(session, ids, view.now)
    return [
        _show(
            view,
            node,
            projects=sorted(projects[node.id]),
            datasets=sorted(datasets[node.id]),
            addresses=directory.addresses(session, node.id),
            takes_uploads=node.id in taking,
        )
        for node in found
    ]


def _show(
    view: View, node: Node, *, projects: list[str], datasets: list[str], addresses: int, takes_uploads: bool
) -> hal.Resource:
    href = f"/v1/nodes/{node.id}"
    itself = view.caller.kind == "node" and view.caller.subject == node.id
    removes = view.may_for("node:register", node.organisation, *projects)
    body = {
        "id": node.id,
        "name": node.name,
        "organisation": node.organisation,
        "projects": projects,
        "state": "online" if view.online(node) else "offline",
        "last_seen": hal.instant(node.last_seen),
        "version": node.version,
        "registered": hal.instant(node.registered),
        "datasets": datasets,
        "addresses": addresses,
        "uploads": takes_uploads,
        "quarantined": hal.instant(node.quarantined),
        "quarantine_reason": node.quarantine_reason,
    }
    bars = view.may("node:quarantine", scopes.organisation(node.organisation), scopes.node(node.id))
    own = {
        "events": hal.link(f"{href}/events"),
        "assignments": hal.link(f"{href}/assignments?open=true"),
        "record": hal.link(f"{href}/record", "PUT"),
        "links": hal.link(f"{href}/links", "PUT"),
        "dataset": hal.link(f"{href}/datasets/{{name}}", "PUT", templated=True),
    }
    barred = f"{href}/quarantine"
    return hal.resource(
        body,
        href,
        delete=hal.link(href, "DELETE") if removes else None,
        upload_key=hal.link(f"{href}/upload-key") if takes_uploads else None,
        quarantine=hal.link(barred, "POST") if bars and node.quarantined is None else None,
        release=hal.link(barred, "DELETE") if bars and node.quarantined is not None else None,
        **(own if itself else {}),
    )


def _require_free(session: Session, known: Node | None, body: NodeIn, organisation: str) -> None:
    if known is not None and known.removed is None and (known.organisation, known.name) != (organisation, body.name):
        theirs = f"as {known.name!r}" if known.organisation == organisation else "by another organisation"
        raise Conflict(
            f"The key {body.id} is registered already, {theirs}.",
            code="node-exists",
            hint="Use another FLAAS_HOME for another node, or remove the registered one first.",
        )
    namesake = session.scalar(
        select(Node.id).where(
            Node.organisation == organisation,
            Node.name == body.name,
            Node.removed.is_(None),
            Node.id != body.id,
        )
    )
    if namesake is not None:
        raise Conflict(
            f"Organisation {organisation!r} has a node {body.name!r} already, with the key {namesake}.",
            code="node-exists",
            hint="Choose another name, or remove that node first.",
        )


def _set_projects(session: Session, node: Node, wanted: Sequence[str]) -> None:
    present = set(projects_of(session, node.id))
    for project in sorted(present - set(wanted)):
        leave(session, node, project)
    for project in sorted(set(wanted) - present):
        session.add(NodeProject(node=node.id, project=project))
        session.flush()
        events.append(session, "node.registered", project=project, node=node.id, data={"name": node.name})
        events.append(session, "directory.changed", project=project, node=node.id)
