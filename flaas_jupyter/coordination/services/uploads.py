"""Sealed uploads: who sends which node a file. What is in it goes from browser to node, sealed, and never through here.

The node checks by itself who has signed, and asks here only whether the upload was opened and is open still
(docs/protocols/upload.md).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from ...communications.directory import CLOCK_TOLERANCE
from ...errors import Conflict, NotAllowed, NotFound
from ...governance.isolation import across
from .. import events, hal
from ..access import View, project_ids, within_project
from ..tables import MembershipRow, Node, NodeProject, Project, Upload
from ..upload_schemas import UploadIn, UploadOutcome
from . import revocations, upload_keys

LIFETIME = timedelta(days=7)
MOST_OPEN = 100
"""Uploads that are open in a project at a time, ..."""
MOST_OF_ONE = 20
"""... and those of one person, so that nobody bars all others for a week."""


def create(session: Session, view: View, project: Project, body: UploadIn) -> tuple[Upload, bool]:
    """Open an upload to a node of the project, and tell whether it is new; the same again is the same upload.

    Raises
    ------
    NotFound
        ``unknown-node``; ``no-upload-key``: the node's owner takes no uploads.
    Conflict
        ``node-quarantined``, ``node-not-a-member``, ``node-offline``; ``upload-exists``: the id is another upload's;
        ``upload-closed``; ``too-many-uploads``.
    """
    organisation = view.require_for_own(project.id)
    with across(session, "an id that others have is taken"):
        known = session.scalar(select(Upload).where(Upload.id == body.id))
    if known is not None:
        _require_same(view, project, known, body)
        return known, False
    node = session.scalar(
        select(Node)
        .join(NodeProject, NodeProject.node == Node.id)
        .where(Node.id == body.node, Node.removed.is_(None), NodeProject.project == project.id)
    )
    if node is None:
        raise NotFound(
            f"There is no node {body.node} in project {project.id!r}.",
            code="unknown-node",
            hint="List the project's nodes; it may have been removed.",
        )
    _require_ready(session, view, project, node)
    _require_few(session, view, project)
    upload = Upload(
        id=body.id,
        project=project.id,
        node=node.id,
        dataset=body.dataset,
        size=body.size,
        digest=body.digest,
        submitter=body.submitter,
        created_by=view.caller.subject,
        organisation=organisation,
        created=view.now,
        expires=view.now + LIFETIME,
    )
    session.add(upload)
    session.flush()
    _say(session, "upload.opened", upload)
    return upload, True


def end(session: Session, upload: Upload, body: UploadOutcome) -> None:
    """Take in how an upload has ended; once more changes nothing. The caller has looked whose word this is."""
    if upload.closed is not None:
        return
    upload.closed, upload.outcome = datetime.now(UTC), body.outcome
    upload.reason = body.reason.model_dump() if body.reason else None
    _say(session, "upload.closed", upload, outcome=body.outcome)


def abort(session: Session, view: View, upload: Upload) -> None:
    """End an upload at the sender's wish; the node is told, and removes what it has.

    Raises
    ------
    NotAllowed
        The caller is not of the organisation that has opened it.
    """
    if not view.owns(upload.organisation, upload.project):
        raise NotAllowed(
            f"Upload {upload.id} belongs to organisation {upload.organisation!r}, not to {view.caller.organisation!r}.",
            hint="Somebody of that organisation ends it, or the node's owner; it expires by itself.",
        )
    end(session, upload, UploadOutcome(outcome="aborted"))


def end_all(session: Session, node: Node, reason: dict[str, Any]) -> None:
    """End the open uploads to a node that is removed."""
    for upload in session.scalars(select(Upload).where(Upload.node == node.id, Upload.closed.is_(None))).all():
        upload.closed, upload.outcome, upload.reason = datetime.now(UTC), "refused", reason
        _say(session, "upload.closed", upload, outcome="refused")


def require_of(upload: Upload, node: Node) -> None:
    """Check that an upload is for `node`; `NotFound` as `find` otherwise."""
    if upload.node != node.id:
        raise _unknown(upload.id)


def of_project(project: str, node: str | None = None) -> Select[Upload]:
    """Return the query of a project's uploads, or of those to one node."""
    wanted = select(Upload).where(Upload.project == project)
    return wanted if node is None else wanted.where(Upload.node == node)


def find(session: Session, view: View, upload_id: str) -> Upload:
    """Return an upload; `NotFound` (code ``unknown-upload``) if the caller sees none."""
    upload = session.scalar(select(Upload).where(Upload.id == upload_id, Upload.project.in_(project_ids(view))))
    if upload is None:
        raise _unknown(upload_id)
    session.info["project"] = upload.project  # for the audit log
    return upload


def show(session: Session, view: View, upload: Upload) -> hal.Resource:
    """Return the upload as the caller sees it."""
    href, state = f"/v1/uploads/{upload.id}", state_of(upload, view.now)
    within = within_project(session, upload.project)
    aborts = state == "open" and view.may_for("dataset:upload", upload.organisation, upload.project)
    with across(session, "a node that has left the project is still named by what was sent to it"):
        node_name = session.scalar(select(Node.name).where(Node.id == upload.node)) or ""
    body = {
        "id": upload.id,
        "project": upload.project,
        "node": upload.node,
        "node_name": node_name,
        "dataset": upload.dataset,
        "size": upload.size,
        "digest": upload.digest,
        "submitter": upload.submitter,
        "state": state,
        "created_by": upload.created_by,
        "organisation": upload.organisation,
        "created": hal.instant(upload.created),
        "expires": hal.instant(upload.expires),
        "closed": hal.instant(upload.closed),
        "reason": upload.reason,
    }
    return hal.resource(
        body,
        href,
        project=hal.link(f"/v1/projects/{upload.project}"),
        abort=hal.link(f"{href}/abort", "POST") if aborts and view.may("dataset:upload", *within) else None,
    )


def state_of(upload: Upload, now: datetime) -> str:
    """Return ``open``, ``expired``, or how it has ended."""
    if upload.closed is not None:
        return upload.outcome or "aborted"
    return "open" if now < upload.expires else "expired"


def _require_same(view: View, project: Project, known: Upload, body: UploadIn) -> None:
    told = (known.project, known.node, known.dataset, known.size, known.digest, known.submitter, known.created_by)
    asked = (project.id, body.node, body.dataset, body.size, body.digest, body.submitter, view.caller.subject)
    if told != asked:
        raise Conflict(
            f"The id {body.id} is that of another upload.", code="upload-exists", hint="Start anew, with another id."
        )
    if (state := state_of(known, view.now)) != "open":
        raise Conflict(
            f"Upload {known.id} is over: it is {state}.",
            code="upload-closed",
            hint="Start anew: choose the file again.",
            state=state,
        )


def _require_ready(session: Session, view: View, project: Project, node: Node) -> None:
    if node.quarantined is not None:
        raise Conflict(
            f"Node {node.name} is in quarantine: {node.quarantine_reason}",
            code="node-quarantined",
            hint="Its organisation's operator lifts the quarantine; nothing is sent to it until then.",
        )
    membership = session.get(MembershipRow, (project.id, node.id))
    revoked = revocations.is_revoked(session, project.id, node.id)
    if membership is None or revoked or not _in_force(membership.document["body"]):
        raise Conflict(
            f"Node {node.name} is no member of project {project.id!r} now: its membership was never signed, has ended, "
            "or was revoked.",
            code="node-not-a-member",
            hint="Whoever holds the project's domain key signs a new one; choose another node until then.",
        )
    upload_keys.require(session, node, view.now)
    if not view.online(node):
        raise Conflict(
            f"Node {node.name} is offline.", code="node-offline", hint="Wait until it is online, or choose another."
        )


def _in_force(membership: dict[str, Any]) -> bool:
    now = time.time()
    return (
        "node" in membership["roles"]
        and membership["not_before"] - CLOCK_TOLERANCE <= now < membership["not_after"] + CLOCK_TOLERANCE
    )


def _require_few(session: Session, view: View, project: Project) -> None:
    open_ones = select(func.count()).select_from(Upload)
    open_ones = open_ones.where(Upload.project == project.id, Upload.closed.is_(None), Upload.expires > view.now)
    theirs = session.scalar(open_ones.where(Upload.created_by == view.caller.subject)) or 0
    if theirs >= MOST_OF_ONE:
        raise Conflict(
            f"{theirs} uploads of yours are open in project {project.id!r}; allowed are {MOST_OF_ONE}.",
            code="too-many-uploads",
            hint="Finish or abort some of them.",
        )
    if (session.scalar(open_ones) or 0) >= MOST_OPEN:
        raise Conflict(
            f"{MOST_OPEN} uploads are open in project {project.id!r}.",
            code="too-many-uploads",
            hint="Finish or abort some of them.",
        )


def _unknown(upload_id: str) -> NotFound:
    return NotFound(
        f"There is no upload {upload_id[:80]!r} for you.",
        code="unknown-upload",
        hint="List the uploads of the project.",
    )


def _say(session: Session, type: str, upload: Upload, **more: object) -> None:
    data = {"upload": upload.id, "dataset": upload.dataset, "created_by": upload.created_by, **more}
    events.append(session, type, project=upload.project, node=upload.node, data=data)
