"""Approvals: the inbox, decisions with signatures, the policy, the end of the founding phase, and emergencies."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from ...governance.approvals import Request, change, decide, emergency, founding, withdraw
from ...governance.approvals.requests import find
from .. import approval_schemas as schemas
from .. import hal
from ..calls import Call, Cursor, Limit, requires
from ..paging import DEFAULT
from ..services import approvals

router = APIRouter(tags=["approvals"])

State = Literal["pending", "executed", "denied", "expired", "withdrawn", "failed"]


@router.get("/v1/approvals", response_model=schemas.Approvals)
def list_approvals(
    call: Annotated[Call, requires("policy:read")],
    state: Annotated[State | None, Query()] = None,
    mine: Annotated[bool, Query(description="Only what the caller has asked for.")] = False,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Requests for approval: the caller's own, and those in scopes where it may read them; the newest first."""
    page = call.page(limit, cursor, state=state, mine="true" if mine else None)
    with call.reading() as session:
        found = page.rows(session, approvals.listed(call.view, state, mine), Request.id, descending=True)
        return page.answer("approvals", found, lambda row: approvals.show(session, call.view, row), lambda row: row.id)


@router.get("/v1/approvals/{approval_id}", response_model=schemas.Approval)
def read_approval(approval_id: str, call: Annotated[Call, requires("policy:read")]) -> Response:
    """One request: the exact text, who has approved with which role, what is missing, and until when."""
    return call.read(lambda session: approvals.show(session, call.view, find(session, approval_id, call.view.caller)))


@router.get("/v1/approvals/{approval_id}/evidence", response_model=schemas.Evidence)
def read_evidence(approval_id: str, call: Annotated[Call, requires("policy:read")]) -> Response:
    """The request with all signatures and keys, for whoever wants to check them without believing the API."""
    return call.read(lambda session: approvals.show_evidence(session, find(session, approval_id, call.view.caller)))


@router.post("/v1/approvals/{approval_id}/decisions", response_model=schemas.Approval)
def decide_approval(
    approval_id: str, body: schemas.DecisionIn, call: Annotated[Call, requires("approval:decide")]
) -> Response:
    """Approve or deny; the last approval carries the action out."""

    def act(session: Session) -> Response:
        view = call.view
        find(session, approval_id, view.caller)
        request = decide(session, approval_id, view.caller, body.decision, body.time, body.signature, view.now)
        return hal.answer(approvals.show(session, view, request))

    return call.once(act)


@router.post("/v1/approvals/{approval_id}/withdraw", response_model=schemas.Approval)
def withdraw_approval(approval_id: str, call: Annotated[Call, requires("policy:read")]) -> Response:
    """Take one's own request back."""

    def act(session: Session) -> Response:
        request = withdraw(session, approval_id, call.view.caller, call.view.now)
        return hal.answer(approvals.show(session, call.view, request))

    return call.once(act)


@router.get("/v1/policy", response_model=schemas.PolicyOut)
def read_policy(call: Annotated[Call, requires("policy:read")]) -> Response:
    """Which actions need whose approval, whether that is in force, and which emergencies are open."""
    return call.read(lambda session: approvals.show_policy(session, call.view))


@router.put(
    "/v1/policy",
    response_model=schemas.PolicyOut,
    responses={202: {"model": schemas.Approval, "description": "The change waits for approval"}},
)
def change_policy(body: schemas.PolicyIn, call: Annotated[Call, requires("policy:manage")]) -> Response:
    """Ask for another policy; what weakens the rule of an action needs also the approvals that this rule asks for."""
    with call.writing() as session:
        hal.require_match(call.request, approvals.show_policy(session, call.view))
        asked = change(session, body.model_dump(), requester=call.view.caller, now=call.view.now)
        if isinstance(asked, Request):
            return approvals.accepted(call, asked)
        return hal.answer(approvals.show_policy(session, call.view))


@router.post("/v1/founding/close", response_model=schemas.PolicyOut)
def close_founding(call: Annotated[Call, requires("policy:manage")]) -> Response:
    """End the founding phase for good: from now on nobody is alone in control."""

    def act(session: Session) -> Response:
        founding.close(session, call.view.caller, call.view.now)
        return hal.answer(approvals.show_policy(session, call.view))

    return call.once(act)


@router.post("/v1/emergencies", status_code=202, response_model=schemas.Approval)
def ask_in_emergency(body: schemas.EmergencyIn, call: Annotated[Call, requires("policy:read")]) -> Response:
    """Ask that two others open one action to the caller for an hour; everybody who is responsible is alarmed."""

    def act(session: Session) -> Response:
        request = emergency.ask(
            session,
            body.action,
            scope=body.scope,
            reason=body.reason,
            requester=call.view.caller,
            now=call.view.now,
        )
        return approvals.accepted(call, request)

    return call.once(act)
