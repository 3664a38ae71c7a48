"""Documents that some holders of a project's domain key have signed and others must still sign.

The API keeps them until there are signatures enough, and then takes them in as if they had been handed in whole. It
could not add a signature; what it withholds or loses is signed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ...communications.domain_key import merge, signatures_missing
from ...communications.identity import MEMBER, REVOKE, canonical
from ...communications.membership import Membership
from ...communications.network import NETWORK, Network
from ...communications.revocation import Revocation
from ...errors import Conflict, NotFound
from .. import hal
from ..access import View
from ..domain_schemas import PendingIn
from ..tables import PendingDocument, Project
from . import directory, revocations

MOST = 200

CONTEXTS = {"memberships": MEMBER, "revocations": REVOKE, "networks": NETWORK}
"""What a document of each kind is signed for."""
_READERS: dict[str, Callable[[dict[str, Any]], Membership | Revocation | Network]] = {
    "memberships": Membership.of,
    "revocations": Revocation.of,
    "networks": Network.of,
}


def hand_in(session: Session, view: View, project: Project, body: PendingIn) -> hal.Resource:
    """Keep a document that is not signed by all who must, with the signatures of one that is kept; take in a whole one.

    Raises
    ------
    NotAuthenticated
        Code ``bad-signature``: a signature is false, or not that of a holder of the project's domain key.
    InvalidInput
        ``bad-document``, ``bad-holders``, ``wrong-domain``, and those of the kind.
    Conflict
        ``too-many-pending``; once it is whole, those of taking it in.
    """
    context, document = CONTEXTS[body.kind], body.document.model_dump()
    signatures_missing(document, context, project.domain_key)
    domain = _READERS[body.kind](document["body"]).domain
    if domain != project.id:
        raise directory.wrong_domain(f"project {domain!r}", f"project {project.id!r}")
    digest = hashlib.sha256(context.encode() + b"\x00" + canonical(document["body"])).hexdigest()
    row = session.get(PendingDocument, (project.id, digest))
    if row is not None:
        document = merge(row.document, document, context)
    if signatures_missing(document, context, project.domain_key) == 0:
        _take_in(session, project, body.kind, document)
        if row is not None:
            session.delete(row)
        return _resource(project, digest, body.kind, document)
    if row is None:
        _require_room(session, project)
        row = PendingDocument(project=project.id, digest=digest, kind=body.kind, document=document,
                              created_by=view.caller.subject, created=view.now)  # fmt: skip
        session.add(row)
    else:
        row.document = document
    return _show(project, row)


def listed(session: Session, project: Project) -> list[hal.Resource]:
    """Return what waits for signatures in the project, oldest first."""
    rows = select(PendingDocument).where(PendingDocument.project == project.id)
    return [
        _show(project, row) for row in session.scalars(rows.order_by(PendingDocument.created, PendingDocument.digest))
    ]


def withdraw(session: Session, project: Project, digest: str) -> None:
    """Forget a document that waits; `NotFound` (code ``unknown-pending``) if there is none."""
    row = session.get(PendingDocument, (project.id, digest))
    if row is None:
        raise NotFound(
            f"No document {digest[:80]!r} waits for signatures in {project.id!r}.",
            code="unknown-pending",
            hint="It is signed by enough holders meanwhile, or was withdrawn.",
        )
    session.delete(row)


def _take_in(session: Session, project: Project, kind: str, document: dict[str, Any]) -> None:
    if kind == "memberships":
        directory.add_membership(session, project, document)
    elif kind == "revocations":
        revocations.add(session, project, document)
    else:
        directory.put_network(session, project, document)


def _require_room(session: Session, project: Project) -> None:
    kept = session.scalar(select(func.count()).where(PendingDocument.project == project.id)) or 0
    if kept >= MOST:
        raise Conflict(
            f"{kept} documents wait for signatures in {project.id!r}.",
            code="too-many-pending",
            hint="Sign or withdraw some of them.",
        )


def _show(project: Project, row: PendingDocument) -> hal.Resource:
    more = {"created_by": row.created_by, "created": hal.instant(row.created)}
    return _resource(project, row.digest, row.kind, row.document, **more)


def _resource(project: Project, digest: str, kind: str, document: dict[str, Any], **more: Any) -> hal.Resource:
    missing = signatures_missing(document, CONTEXTS[kind], project.domain_key)
    body = {"id": digest, "kind": kind, "document": document, "missing": missing}
    return hal.resource(
        {**body, "created_by": None, "created": None, **more}, f"/v1/projects/{project.id}/pending/{digest}"
    )
