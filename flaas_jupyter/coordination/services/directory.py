"""The signed directory of a project: passed on as it was signed, checked before it is taken in.

The API holds no key that could make an entry; what it refuses here, nodes would refuse too.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...communications.directory import Membership, Record
from ...errors import Conflict, InvalidInput
from .. import events, hal
from ..access import View, within_project
from ..schemas import SignedDocument
from ..tables import MembershipRow, Node, NodeProject, Project, RecordRow
from . import projects


def show(session: Session, view: View, project: Project) -> hal.Resource:
    """Return memberships and records of the project, by node."""
    href = f"/v1/projects/{project.id}"
    memberships = select(MembershipRow.document).where(MembershipRow.project == project.id)
    records = select(RecordRow.document).where(RecordRow.project == project.id)
    body = {
        "domain": project.id,
        "domain_key": project.domain_key,
        "memberships": list(session.scalars(memberships.order_by(MembershipRow.node))),
        "records": list(session.scalars(records.order_by(RecordRow.node))),
    }
    may_add = view.may("membership:write", *within_project(session, project.id))
    return hal.resource(
        body,
        f"{href}/directory",
        project=hal.link(href),
        add_membership=hal.link(f"{href}/memberships", "POST") if may_add else None,
    )


def add_membership(session: Session, project: Project, document: SignedDocument) -> bool:
    """Take in a membership; tell whether it is new.

    Raises
    ------
    NotAuthenticated
        Code ``bad-signature``: the project's domain key did not sign it.
    InvalidInput
        ``bad-membership``, ``wrong-domain``, or ``unknown-organisation`` for one that is not in the project.
    Conflict
        Code ``stale-membership``: one with this or a higher serial is known.
    """
    signed = document.model_dump()
    membership = Membership.parse(signed, project.domain_key)
    if membership.domain != project.id:
        raise _wrong_domain(f"project {membership.domain!r}", f"project {project.id!r}")
    if membership.organisation not in projects.organisations_of(session, project.id):
        raise InvalidInput(
            f"The membership is for organisation {membership.organisation!r}, which is not in {project.id!r}.",
            code="unknown-organisation",
            hint="An administrator of the platform adds organisations to a project.",
        )
    known = session.get(MembershipRow, (project.id, membership.node_id))
    if known is not None and known.document == signed:
        return False
    if known is not None and membership.serial <= known.serial:
        raise Conflict(
            f"A membership of {membership.node_id} with serial {known.serial} is known; "
            f"this one has {membership.serial}.",
            code="stale-membership",
            hint="Sign one with a higher serial.",
        )
    session.merge(MembershipRow(project=project.id, node=membership.node_id, serial=membership.serial, document=signed))
    events.append(session, "directory.changed", project=project.id, node=membership.node_id)
    return True


def put_record(session: Session, node: Node, document: SignedDocument) -> None:
    """Take in a node's record.

    Raises
    ------
    NotAuthenticated
        Code ``bad-signature``: the node did not sign it.
    InvalidInput
        ``bad-record``; ``wrong-domain``: it is another node's, or for a project that the node is not in.
    Conflict
        Code ``stale-record``: its sequence is not above the one that is known.
    """
    signed = document.model_dump()
    record = Record.parse(signed)
    if record.node_id != node.id:
        raise _wrong_domain(f"node {record.node_id}", f"node {node.id}")
    if session.get(NodeProject, (node.id, record.domain)) is None:
        raise _wrong_domain(f"project {record.domain!r}", "the projects of this node")
    known = session.get(RecordRow, (record.domain, node.id))
    if known is not None and record.sequence <= known.sequence:
        raise Conflict(
            f"A record with sequence {known.sequence} is known; this one has {record.sequence}.",
            code="stale-record",
            hint="Sign one with a higher sequence.",
            sequence=known.sequence,
        )
    session.merge(RecordRow(project=record.domain, node=node.id, sequence=record.sequence, document=signed))
    events.append(session, "directory.changed", project=record.domain, node=node.id)


def addresses(session: Session, node_id: str) -> int:
    """Return how many addresses a node has told."""
    documents = session.scalars(select(RecordRow.document).where(RecordRow.node == node_id))
    return len({address for document in documents for address in _addresses(document)})


def _addresses(document: dict[str, Any]) -> list[str]:
    return list(document["body"]["addresses"])


def _wrong_domain(got: str, wanted: str) -> InvalidInput:
    return InvalidInput(
        f"The document is for {got}, not for {wanted}.",
        code="wrong-domain",
        hint="Sign it for this one.",
    )
