"""What is kept about the caller, for the caller (Regulation (EU) 2016/679, articles 15 and 20)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import Response

from .. import hal
from ..calls import Call, requires
from ..schemas import _Resource
from ..services import personal

router = APIRouter(prefix="/v1/me", tags=["me"])


class PersonalData(_Resource):
    """All that is kept about a person or service; of runs, queries, recipes, uploads, documents, launches the ids."""

    person: dict[str, Any]
    roles: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    tokens: list[dict[str, Any]]
    approvals: dict[str, list[dict[str, Any]]]
    runs: list[str]
    queries: list[str]
    recipes: list[str]
    uploads: list[str]
    pending_documents: list[str]
    launches: list[str]
    audit: list[dict[str, Any]]


@router.get("/export", response_model=PersonalData)
def export_personal_data(call: Annotated[Call, requires("me:read")]) -> Response:
    """All that is kept about the caller, to take along; of secrets, only that there are some. Nodes are no persons."""
    with call.reading() as session:
        kept = personal.export(session, call.hosted.vault, call.view.caller.subject)
    headers = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="flaas-personal-data.json"'}
    return hal.answer(hal.resource(kept, "/v1/me/export"), headers=headers, tagged=False)
