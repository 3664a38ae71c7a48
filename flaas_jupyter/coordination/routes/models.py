"""Versions of models: seen, released, revoked."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from ...governance import scopes
from ...governance.models import ModelState, ModelVersion
from .. import control_schemas, hal
from ..access import find_project, within_project
from ..calls import ASKED, Call, Cursor, Limit, requires
from ..paging import DEFAULT
from ..services import models

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/projects/{project_id}/models", response_model=control_schemas.Models)
def list_models(
    project_id: str,
    call: Annotated[Call, requires("model:read")],
    state: Literal["candidate", "released", "revoked"] | None = None,
    run: str | None = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The versions that the runs of a project have made."""
    page = call.page(limit, cursor, state=state, run=run)
    with call.reading() as session:
        project = find_project(session, call.view, project_id)
        found = page.rows(session, models.of_project(project.id, state=state, run=run), ModelVersion.id)
        return page.answer("models", found, lambda row: models.show(session, call.view, row), lambda row: row.id)


@router.get("/models/{model_id}", response_model=control_schemas.Model)
def read_model(model_id: str, call: Annotated[Call, requires("model:read")]) -> Response:
    """One version."""
    return call.read(lambda session: models.show(session, call.view, models.find(session, call.view, model_id)))


@router.post("/models/{model_id}/release", response_model=control_schemas.Model, responses=ASKED)
def release_model(model_id: str, call: Annotated[Call, requires("model:release")]) -> Response:
    """Release a version, or ask for it where the policy wants others to approve."""

    def act(session: Session) -> Response:
        version = models.find(session, call.view, model_id)
        models.require_releasable(session, call.view, version)
        body = models.release_body(version)
        if version.state == ModelState.CANDIDATE:
            within = within_project(session, version.project)
            waits = call.critical(session, models.RELEASE, scopes.project(version.project), body, within)
            if waits is not None:
                return waits
            models.release(session, version, body["digest"])
        return hal.answer(models.show(session, call.view, version))

    return call.once(act)


@router.post("/models/{model_id}/revoke", response_model=control_schemas.Model)
def revoke_model(
    model_id: str, body: control_schemas.ReasonIn, call: Annotated[Call, requires("model:revoke")]
) -> Response:
    """Revoke a version at once and for good: no run starts from its weights any more."""

    def act(session: Session) -> Response:
        version = models.find(session, call.view, model_id)
        models.revoke(session, call.view, version, body.reason)
        return hal.answer(models.show(session, call.view, version))

    return call.once(act)
