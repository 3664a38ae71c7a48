"""Revocations: keys that a domain's administrators have taken out of it; passed on as they were signed."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from ...communications.revocation import Revocation
from ...errors import Aborted, Conflict
from .. import events
from ..tables import MembershipRow, Node, Project, RevocationRow
from . import directory, nodes


def add(session: Session, project: Project, document: dict[str, Any]) -> bool:
    """Take in a revocation; tell whether it is new. A node of the key is out of its open runs.

    The caller advances those runs afterwards, for it may have led some.

    Raises
    ------
    NotAuthenticated
        ``bad-signature``, ``signatures-missing``: the project's domain key did not sign it.
    InvalidInput
        ``bad-revocation``, ``wrong-domain``.
    Conflict
        Code ``stale-revocation``: a newer membership or revocation is known.
    """
    revocation = Revocation.parse(document, project.domain_key)
    if revocation.domain != project.id:
        raise directory.wrong_domain(f"project {revocation.domain!r}", f"project {project.id!r}")
    known = session.get(RevocationRow, (project.id, revocation.node_id))
    if known is not None and known.document == document:
        return False
    member = session.get(MembershipRow, (project.id, revocation.node_id))
    newest = max((row.serial for row in (known, member) if row is not None), default=-1)
    if revocation.serial < newest or (known is not None and revocation.serial == known.serial):
        raise Conflict(
            f"A membership or revocation of {revocation.node_id} with serial {newest} is known; "
            f"this one has {revocation.serial}.",
            code="stale-revocation",
            hint="Sign one with a higher serial.",
        )
    row = RevocationRow(project=project.id, node=revocation.node_id, serial=revocation.serial, document=document)
    session.merge(row)
    node = session.get(Node, revocation.node_id)
    if node is not None:
        gone = Aborted(
            f"The key of node {node.name} was revoked in project {project.id!r}.",
            code="membership-revoked",
            hint="Start a new run without it, or have its membership signed anew.",
        )
        nodes.leave_runs(session, node, project.id, gone)
    events.append(session, "directory.changed", project=project.id, node=revocation.node_id)
    return True


def is_revoked(session: Session, project_id: str, node_id: str) -> bool:
    """Tell whether a key stands under a revocation in a project."""
    return session.get(RevocationRow, (project_id, node_id)) is not None
