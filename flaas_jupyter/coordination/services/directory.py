"""The signed directory of a project: passed on as it was signed, checked before it is taken in.

The API holds no key that could make an entry; what it refuses here, nodes would refuse too.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...communications.directory import Membership, Record
from ...communications.network import Network
from ...errors import Conflict, InvalidInput, NotFound
from .. import events, hal
from ..access import View, within_project
from ..schemas import SignedDocument
from ..tables import MembershipRow, NetworkRow, Node, NodeProject, Project, RecordRow, RevocationRow
from . import projects


def show(session: Session, view: View, project: Project) -> hal.Resource:
    """Return memberships, revocations and records of the project, by node, and its network document."""
    href = f"/v1/projects/{project.id}"
    memberships = select(MembershipRow.document).where(MembershipRow.project == project.id)
    revocations = select(RevocationRow.document).where(RevocationRow.project == project.id)
    records = select(RecordRow.document).where(RecordRow.project == project.id)
    # A revoked node learns that it is, and not where the others are: somebody else may have its key.
    node = view.caller.subject if view.caller.kind == "node" else None
    gone = node is not None and session.get(RevocationRow, (project.id, node)) is not None
    body = {
        "domain": project.id,
        "domain_key": project.domain_key,
        "memberships": list(session.scalars(memberships.order_by(MembershipRow.node))),
        "revocations": list(session.scalars(revocations.order_by(RevocationRow.node))),
        "records": [] if gone else list(session.scalars(records.order_by(RecordRow.node))),
        "network": session.scalar(select(NetworkRow.document).where(NetworkRow.project == project.id)),
    }
    may_add = view.may("membership:write", *within_project(session, project.id))
    return hal.resource(
        body,
        f"{href}/directory",
        project=hal.link(href),
        add_membership=hal.link(f"{href}/memberships", "POST") if may_add else None,
        add_revocation=hal.link(f"{href}/revocations", "POST") if may_add else None,
        pending=hal.link(f"{href}/pending") if may_add else None,
    )


def add_membership(session: Session, project: Project, document: dict[str, Any]) -> bool:
    """Take in a membership; tell whether it is new. A revocation that it is newer than is over.

    Raises
    ------
    NotAuthenticated
        ``bad-signature``, ``signatures-missing``: the project's domain key did not sign it.
    InvalidInput
        ``bad-membership``, ``wrong-domain``, or ``unknown-organisation`` for one that is not in the project.
    Conflict
        Code ``stale-membership``: one with this or a higher serial is known, or a revocation.
    """
    membership = Membership.parse(document, project.domain_key)
    if membership.domain != project.id:
        raise wrong_domain(f"project {membership.domain!r}", f"project {project.id!r}")
    if membership.organisation not in projects.organisations_of(session, project.id):
        raise InvalidInput(
            f"The membership is for organisation {membership.organisation!r}, which is not in {project.id!r}.",
            code="unknown-organisation",
            hint="An administrator of the platform adds organisations to a project.",
        )
    known = session.get(MembershipRow, (project.id, membership.node_id))
    revoked = session.get(RevocationRow, (project.id, membership.node_id))
    if known is not None and known.document == document:
        return False
    for newer in (known, revoked):
        if newer is not None and membership.serial <= newer.serial:
            raise Conflict(
                f"A membership or revocation of {membership.node_id} with serial {newer.serial} is known; "
                f"this one has {membership.serial}.",
                code="stale-membership",
                hint="Sign one with a higher serial.",
            )
    row = MembershipRow(project=project.id, node=membership.node_id, serial=membership.serial, document=document)
    session.merge(row)
    if revoked is not None:
        session.delete(revoked)
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
        raise wrong_domain(f"node {record.node_id}", f"node {node.id}")
    if session.get(NodeProject, (node.id, record.domain)) is None:
        raise wrong_domain(f"project {record.domain!r}", "the projects of this node")
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


def network(session: Session, project: Project) -> dict[str, Any]:
    """Return the project's network document as it was signed; `NotFound` (code ``no-network``) if there is none."""
    row = session.get(NetworkRow, project.id)
    if row is None:
        raise NotFound(f"Project {project.id!r} has no network document.", code="no-network")
    return row.document


def put_network(session: Session, project: Project, document: dict[str, Any]) -> None:
    """Take in a project's network document; the same again changes nothing.

    Raises
    ------
    NotAuthenticated
        ``bad-signature``, ``signatures-missing``: the project's domain key did not sign it.
    InvalidInput
        ``bad-network``, ``bad-relay-url``, ``wrong-domain``.
    Conflict
        Code ``stale-network``: one with this or a higher serial is known.
    """
    network = Network.parse(document, project.domain_key)
    if network.domain != project.id:
        raise wrong_domain(f"project {network.domain!r}", f"project {project.id!r}")
    known = session.get(NetworkRow, project.id)
    if known is not None and known.document == document:
        return
    if known is not None and network.serial <= known.serial:
        raise Conflict(
            f"A network document with serial {known.serial} is known; this one has {network.serial}.",
            code="stale-network",
            hint="Sign one with a higher serial.",
            serial=known.serial,
        )
    session.merge(NetworkRow(project=project.id, serial=network.serial, document=document))
    events.append(session, "directory.changed", project=project.id)


def addresses(session: Session, node_id: str) -> int:
    """Return how many addresses a node has told."""
    documents = session.scalars(select(RecordRow.document).where(RecordRow.node == node_id))
    return len({address for document in documents for address in _addresses(document)})


def _addresses(document: dict[str, Any]) -> list[str]:
    return list(document["body"]["addresses"])


def wrong_domain(got: str, wanted: str) -> InvalidInput:
    """Return the refusal of a document that is for something else."""
    return InvalidInput(
        f"The document is for {got}, not for {wanted}.",
        code="wrong-domain",
        hint="Sign it for this one.",
    )
