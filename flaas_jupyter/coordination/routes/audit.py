"""The audit log: read, filter and export it; checkpoints and proofs for those who keep watch over it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import AwareDatetime

from ...governance.audit.tables import AuditEntry
from .. import audit_schemas as schemas
from .. import hal
from ..calls import Call, Cursor, Limit, requires
from ..paging import DEFAULT
from ..services import audit


@contextlib.asynccontextmanager
async def _signing(app: FastAPI) -> AsyncIterator[None]:
    """Sign checkpoints in the background, as long as the API runs."""
    hosted, settings = app.state.hosted, app.state.hosted.settings
    keeper = audit.Keeper(
        hosted.database,
        hosted.vault,
        entries=settings.audit_entries,
        seconds=settings.audit_seconds,
        tick=settings.tick,
    )
    async with keeper.running():
        yield


router = APIRouter(tags=["audit"], lifespan=_signing)

_Text = Annotated[str | None, Query(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Time = AwareDatetime | None
_Number = Annotated[int, Query(ge=0, lt=1 << 62)]


def _filter(
    actor: _Text = None,
    operation: _Text = None,
    object: _Text = None,
    project: _Text = None,
    outcome: schemas.Outcome | None = None,
    start: Annotated[_Time, Query(alias="from")] = None,
    end: Annotated[_Time, Query(alias="to")] = None,
) -> audit.Filter:
    return audit.Filter.of(
        start, end, actor=actor, operation=operation, object=object, project=project, outcome=outcome
    )


_Wanted = Annotated[audit.Filter, Depends(_filter)]


def _media(kind: schemas.Format) -> str:
    return "text/csv" if kind == "csv" else "application/jsonl"


@router.get("/v1/audit", response_model=schemas.AuditEntries)
def list_entries(
    call: Annotated[Call, requires("audit:read")],
    wanted: _Wanted,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Who did what, newest first: of the organisations and projects that the caller is an auditor of."""
    page = call.page(limit, cursor, **wanted.query())
    with call.reading() as session:
        query = audit.visible(call.view.caller, wanted)
        found = page.rows(session, query, AuditEntry.sequence, kind=int, descending=True)
        return page.answer(
            "entries",
            found,
            audit.show,
            lambda entry: entry.sequence,
            export=hal.link(f"/v1/audit/export?{urlencode({**page.query, 'format': 'jsonl'})}"),
            checkpoints=hal.link("/v1/audit/checkpoints"),
        )


@router.get(
    "/v1/audit/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/jsonl": {}, "text/csv": {}}, "description": "Entries, oldest first"}},
)
def export_entries(
    call: Annotated[Call, requires("audit:read")], wanted: _Wanted, format: schemas.Format = "jsonl"
) -> StreamingResponse:
    """The same entries, all of them and oldest first: as JSON lines with every hash, or as CSV for spreadsheets."""
    lines = audit.export(call.reading, audit.visible(call.view.caller, wanted), format)
    headers = {"Cache-Control": "private, no-store", "Content-Disposition": f'attachment; filename="audit.{format}"'}
    return StreamingResponse(lines, media_type=_media(format), headers=headers)


@router.get("/v1/audit/checkpoints", response_model=schemas.Checkpoints)
def list_checkpoints(
    call: Annotated[Call, requires("audit:check")], after: _Number = 0, limit: Limit = DEFAULT
) -> Response:
    """Signed checkpoints of more than `after` entries, and the keys that sign them."""
    with call.reading() as session:
        return hal.answer(audit.show_checkpoints(session, after, limit), call.request)


@router.get("/v1/audit/proof", response_model=schemas.Proof)
def prove(
    call: Annotated[Call, requires("audit:check")],
    first: Annotated[int, Query(alias="from", ge=1, lt=1 << 62)],
    second: Annotated[int, Query(alias="to", ge=1, lt=1 << 62)],
) -> Response:
    """The proof that the log of `to` entries extends that of `from` (RFC 9162, section 2.1.4)."""
    return call.read(lambda session: audit.show_proof(session, first, second))
