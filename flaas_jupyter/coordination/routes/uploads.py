"""Sealed uploads: opened by people, followed and ended by their nodes; and the keys that they are sealed with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from .. import hal, schemas, tables, upload_schemas
from ..access import find_node, find_project, require_self
from ..calls import Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import upload_keys, uploads

router = APIRouter(prefix="/v1", tags=["uploads"])

Named = Annotated[str | None, Query(max_length=100)]


@router.get("/projects/{project_id}/uploads", response_model=upload_schemas.Uploads)
def list_uploads(
    project_id: str,
    call: Annotated[Call, requires("dataset:read")],
    node: Named = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The project's uploads, newest first."""
    page = call.page(limit, cursor, node=node)
    with call.reading() as session:
        project = find_project(session, call.view, project_id)
        query = uploads.of_project(project.id, node)
        found = page.rows(session, query, tables.Upload.number, kind=int, descending=True)
        return page.answer("uploads", found, lambda row: uploads.show(session, call.view, row), lambda row: row.number)


@router.post("/projects/{project_id}/uploads", status_code=201, response_model=upload_schemas.Upload)
def create_upload(
    project_id: str, body: upload_schemas.UploadIn, call: Annotated[Call, requires("dataset:upload")]
) -> Response:
    """Open a sealed upload to a node; again, to go on with it (200)."""

    def act(session: Session) -> Response:
        project = find_project(session, call.view, project_id)
        upload, new = uploads.create(session, call.view, project, body)
        return created(uploads.show(session, call.view, upload), f"/v1/uploads/{upload.id}", new=new)

    return call.once(act)


@router.get("/uploads/{upload_id}", response_model=upload_schemas.Upload)
def read_upload(upload_id: str, call: Annotated[Call, requires("dataset:read")]) -> Response:
    """One upload."""
    return call.read(lambda session: uploads.show(session, call.view, uploads.find(session, call.view, upload_id)))


@router.post("/uploads/{upload_id}/abort", response_model=upload_schemas.Upload)
def abort_upload(upload_id: str, call: Annotated[Call, requires("dataset:upload")]) -> Response:
    """End an upload of one's organisation; what the node has of it is removed."""

    def act(session: Session) -> Response:
        upload = uploads.find(session, call.view, upload_id)
        uploads.abort(session, call.view, upload)
        return hal.answer(uploads.show(session, call.view, upload))

    return call.once(act)


@router.put("/uploads/{upload_id}/outcome", response_model=upload_schemas.Upload)
def put_outcome(
    upload_id: str, body: upload_schemas.UploadOutcome, call: Annotated[Call, requires("node:act")]
) -> Response:
    """Say how an upload to the calling node has ended; one that nobody ends expires."""
    with call.writing() as session:
        upload = uploads.find(session, call.view, upload_id)
        uploads.require_of(upload, require_self(session, call.view, call.view.caller.subject))
        uploads.end(session, upload, body)
        return hal.answer(uploads.show(session, call.view, upload))


@router.get("/nodes/{node_id}/upload-key", response_model=upload_schemas.UploadKey)
def read_upload_key(node_id: str, call: Annotated[Call, requires("node:read")], project: Named = None) -> Response:
    """With which key files for a node are sealed, signed by it, and its membership, signed by the domain key."""
    return call.read(
        lambda session: upload_keys.show(session, call.view, find_node(session, call.view, node_id), project)
    )


@router.put("/nodes/{node_id}/upload-key", response_model=schemas.Signed)
def put_upload_key(node_id: str, body: schemas.SignedDocument, call: Annotated[Call, requires("node:act")]) -> Response:
    """Hand in which key files for the node are sealed with, signed by it."""
    with call.writing() as session:
        node = require_self(session, call.view, node_id)
        upload_keys.put(session, node, body)
        return hal.answer(hal.resource(body.model_dump(), f"/v1/nodes/{node.id}/upload-key"))


@router.delete("/nodes/{node_id}/upload-key", status_code=204)
def delete_upload_key(node_id: str, call: Annotated[Call, requires("node:act")]) -> Response:
    """Take the key back: the node takes no uploads any more."""
    with call.writing() as session:
        upload_keys.remove(session, require_self(session, call.view, node_id))
    return Response(status_code=204)
