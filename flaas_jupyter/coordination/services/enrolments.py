"""Invitations of nodes, and the one call of a node that has one: its key takes the place of a single-use secret.

Whoever invites makes the secret and hands it to the node; this API is told its SHA-256 only. So an invitation can wait
for approval, and neither the approvers nor this API could use it.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...costs.launch.tables import EnrolmentRow
from ...costs.launch.tokens import digest
from ...errors import Conflict, NotAllowed, NotAuthenticated
from ...governance.isolation import across
from .. import hal
from ..launch_schemas import EnrolmentIn
from ..schemas import NodeIn
from ..settings import Settings
from ..tables import Node, NodeInvitation, ProjectOrganisation
from . import launches, nodes


def invite(session: Session, organisation: str, by: str, body: dict[str, Any], now: datetime) -> NodeInvitation:
    """Keep an invitation; the same digest again is the same invitation.

    Raises
    ------
    Conflict
        ``node-exists``: the organisation has a node of this name; ``invitation-exists``: the secret is another's.
    """
    with across(session, "a secret that others have is refused, whoever they are"):
        known = session.get(NodeInvitation, body["digest"])
    if known is not None:
        if (known.organisation, known.project, known.name) == (organisation, body["project"], body["name"]):
            return known
        raise Conflict(
            "There is an invitation with this secret.", code="invitation-exists", hint="Make a new random secret."
        )
    taken = select(Node.id).where(Node.organisation == organisation, Node.name == body["name"], Node.removed.is_(None))
    if session.scalar(taken) is not None:
        raise Conflict(
            f"{organisation!r} has a node {body['name']!r} already.",
            code="node-exists",
            hint="Choose another name, or remove that node first.",
        )
    row = NodeInvitation(
        digest=body["digest"],
        organisation=organisation,
        project=body["project"],
        name=body["name"],
        created_by=by,
        created=now,
        expires=now + timedelta(seconds=body["expires_in"]),
    )
    session.add(row)
    session.flush()
    return row


def enrol(session: Session, settings: Settings, body: EnrolmentIn) -> tuple[str, str, Node, bool]:
    """Swap a single-use secret for a registration; the same key again gets the same answer.

    Returns
    -------
    (str, str, Node, bool)
        Organisation, project, the node, and whether it is new.

    Raises
    ------
    NotAuthenticated
        ``bad-enrolment``: not known, or for another node; ``enrolment-expired``; ``bad-signature``.
    NotAllowed
        ``enrolment-used``: by another key, or the node was removed since.
    Conflict
        ``launch-over``, ``node-exists``, ``not-in-project``.
    """
    wanted = digest(body.secret)
    row = session.get(NodeInvitation, wanted)
    if row is None or session.get(EnrolmentRow, wanted) is not None:
        launch, node, new = launches.enrol(session, settings, body)
        return launch.organisation, launch.project, node, new
    if not hmac.compare_digest(row.digest, wanted) or row.name != body.name:
        raise NotAuthenticated(
            "This enrolment secret is not known.",
            code="bad-enrolment",
            hint="It is for a node of another name, or none: ask whoever invited you.",
        )
    projects = [row.project]
    if row.used_by is not None:
        projects = _projects_of_user(session, row, body.id) or projects
    elif datetime.now(UTC) >= row.expires:
        raise NotAuthenticated(
            "The enrolment secret has expired.", code="enrolment-expired", hint="Ask for a new invitation."
        )
    elif (known := session.get(Node, body.id)) is not None and known.removed is None:
        projects = sorted({row.project, *nodes.projects_of(session, known.id)})
    if session.get(ProjectOrganisation, (row.project, row.organisation)) is None:
        raise Conflict(
            f"{row.organisation!r} is not in project {row.project!r} any more.",
            code="not-in-project",
            hint="Ask for an invitation to a project that your organisation is in.",
        )
    registration = NodeIn(id=body.id, name=body.name, projects=projects, version=body.version, proof=body.proof)
    node, new = nodes.register(session, row.organisation, registration)
    row.used_by, row.used = node.id, row.used or datetime.now(UTC)
    return row.organisation, row.project, node, new


def _require_there(session: Session, node_id: str) -> None:
    """Refuse a node that was removed: its old secret does not bring it back."""
    node = session.get(Node, node_id)
    if node is None or node.removed is not None:
        raise NotAllowed(
            f"Node {node_id} was removed after it had used this enrolment secret.",
            code="enrolment-used",
            hint="Ask for a new invitation.",
        )


def _projects_of_user(session: Session, row: NodeInvitation, key: str) -> list[str]:
    """Return the projects of the node that has used the secret, if `key` is its: repeating it changes nothing."""
    if row.used_by != key:
        raise NotAllowed(
            "The enrolment secret was used by another key.",
            code="enrolment-used",
            hint="If that was not your node, have its operator remove that node at once.",
        )
    _require_there(session, key)
    return nodes.projects_of(session, key)


def show(row: NodeInvitation) -> hal.Resource:
    """Return an invitation as it is answered; its secret is not here."""
    href = f"/v1/nodes/invitations/{row.digest}"
    body = {
        "digest": row.digest,
        "organisation": row.organisation,
        "project": row.project,
        "name": row.name,
        "created_by": row.created_by,
        "created": hal.instant(row.created),
        "expires": hal.instant(row.expires),
        "used_by": row.used_by,
    }
    return hal.resource(body, href, delete=hal.link(href, "DELETE") if row.used_by is None else None)
