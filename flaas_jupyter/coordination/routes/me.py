"""The caller's own account: password, approval key, and where one is signed in. `GET /v1/me` is in `entry`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response

from .. import hal
from .. import identity_schemas as schemas
from ..calls import Call, requires
from ..services import own_account
from ..services.own_account import OwnAccount

router = APIRouter(prefix="/v1/me", tags=["me"])


@router.put("/password", status_code=204)
def change_password(body: schemas.PasswordIn, call: Annotated[Call, requires("me:write")]) -> Response:
    """Change one's password; all other sign-ins of one's own end."""
    _account(call).change_password(body.old, body.new, _address(call.request))
    return Response(status_code=204)


@router.put("/key", status_code=204)
def set_key(body: schemas.ApprovalKeyIn, call: Annotated[Call, requires("me:write")]) -> Response:
    """Register the key that one's approvals are signed with; one that is in force signs for the new one."""
    _account(call).set_key(body.key, body.proof, body.previous_proof)
    return Response(status_code=204)


@router.get("/sessions", response_model=schemas.OwnSessions)
def list_sessions(call: Annotated[Call, requires("me:read")]) -> Response:
    """Where one is signed in."""
    with call.reading() as session:
        shown = own_account.sessions(session, call.view)
    body = hal.resource({"_embedded": {"sessions": shown}}, "/v1/me/sessions")
    return hal.answer(body, call.request)


@router.delete("/sessions/{session_id}", status_code=204)
def end_session(session_id: str, call: Annotated[Call, requires("me:write")]) -> Response:
    """Sign out somewhere; its tokens are refused from now on."""
    _account(call).end_session(session_id)
    return Response(status_code=204)


def _account(call: Call) -> OwnAccount:
    return OwnAccount(call.hosted.provider, call)


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
