"""Approvals as callers see them: what waits, who has signed, what is missing, and what the caller may do now."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response
from sqlalchemy import Select
from sqlalchemy.orm import Session, object_session

from ...governance import scopes
from ...governance.approvals import ACTIONS, Request, bundle, founding, fulfilment, policy, windows
from ...governance.approvals.decisions import Standing, assess, decisions_on, seats_for
from ...governance.approvals.documents import APPROVE
from ...governance.approvals.factors import fill
from ...governance.approvals.people import in_use
from ...governance.approvals.requests import in_state, is_live, seats_of, state_of, visible
from ...governance.approvals.tables import EmergencyWindow
from .. import hal
from ..access import View
from ..calls import Call


def listed(view: View, state: str | None, mine: bool) -> Select[Request]:
    """Return the query of what the caller sees."""
    query = visible(view.caller)
    if state is not None:
        query = query.where(in_state(state, view.now))
    return query.where(Request.requester == view.caller.subject) if mine else query


def show(session: Session, view: View, request: Request) -> hal.Resource:
    """Return a request, with the links that the caller may follow now."""
    href = f"/v1/approvals/{request.id}"
    live = is_live(request, view.now)
    standing = assess(session, request) if live else _as_it_was(session, request)
    at = seats_for(session, request, view.caller) if live else []
    may = bool(at) and in_use().key_of(session, view.caller.subject) is not None
    counted = {person for persons in standing.taken for person in persons}
    decisions = decisions_on(session, request)
    valid = {row.decider for row in decisions if row.decision == APPROVE} - set(standing.lapsed)
    post = hal.link(f"{href}/decisions", "POST")
    body = {
        "id": request.id,
        "action": request.action,
        "description": ACTIONS[request.action].description,
        "scope": request.scope,
        "requester": request.requester,
        "organisation": request.organisation,
        "state": state_of(request, view.now),
        "body": request.document,
        "sha256": request.sha256,
        "created": hal.instant(request.created),
        "expires": hal.instant(request.expires),
        "due": hal.instant(request.due) if live else None,
        "closed": hal.instant(request.closed),
        "factors": [
            {
                "role": seats.role,
                "scope": seats.place,
                "needed": seats.number,
                "given": len(persons),
                "approvers": persons,
                "available": _available(session, request, seats, valid) if live else None,
            }
            for seats, persons in zip(standing.seats, standing.taken, strict=True)
        ],
        "decisions": [
            {
                "decider": row.decider,
                "role": _role(standing, row.decider) or row.role,
                "decision": row.decision,
                "time": row.time,
                "counts": row.decision != APPROVE or row.decider in counted,
                "reason": standing.lapsed.get(row.decider),
            }
            for row in decisions
        ],
        "missing": _missing(request, standing) if live else [],
        "result": request.result,
        "problem": request.problem,
    }
    return hal.resource(
        body,
        href,
        approve=post if may and view.now < request.expires and view.caller.subject not in valid else None,
        deny=post if may else None,
        withdraw=hal.link(f"{href}/withdraw", "POST") if live and _is_own(view, request) else None,
        evidence=hal.link(f"{href}/evidence"),
    )


def accepted(call: Call, request: Request) -> Response:
    """Answer that the action waits for approval: 202, with the place of the request and the request itself."""
    session = object_session(request)
    assert session is not None, "a request is answered in the session that it was made in"
    session.info["approval"] = request.id  # the audit log tells that it was asked for, and not done
    body = show(session, call.view, request)
    return hal.answer(body, status=202, headers={"Location": f"/v1/approvals/{request.id}"})


def show_evidence(session: Session, request: Request) -> hal.Resource:
    """Return a request with everything that proves its approvals."""
    return hal.resource(bundle(session, request.id), f"/v1/approvals/{request.id}/evidence")


def show_policy(session: Session, view: View) -> hal.Resource:
    """Return the policy in force, and what stands open for an emergency."""
    present = policy.current(session)
    is_founding = founding.is_open(session)
    keeps = view.caller.may("policy:manage", scopes.PLATFORM)
    missing = fulfilment.shortfalls(session, in_use(), present.rules) if keeps else []
    body: dict[str, Any] = {
        "version": present.number,
        "sha256": present.sha256,
        "founding": is_founding,
        "founding_closed": hal.instant(founding.closed(session)),
        **present.to_dict(),
        "known": {
            name: {"description": action.description, "operation": action.operation} for name, action in ACTIONS.items()
        },
        "emergencies": [
            _show_window(session, window)
            for window in windows.open_now(session, view.now)
            if window.scope == scopes.PLATFORM or view.caller.may("policy:read", window.scope)
        ],
        "shortfalls": [shortfall.to_dict() for shortfall in missing],
    }
    return hal.resource(
        body,
        "/v1/policy",
        edit=hal.link("/v1/policy", "PUT") if keeps else None,
        close_founding=hal.link("/v1/founding/close", "POST") if keeps and is_founding and not missing else None,
        emergency=None if is_founding else hal.link("/v1/emergencies", "POST"),
    )


def _show_window(session: Session, window: EmergencyWindow) -> dict[str, Any]:
    return {
        "id": window.id,
        "action": window.action,
        "scope": window.scope,
        "person": window.person,
        "reason": window.reason,
        "opened": hal.instant(window.opened),
        "closes": hal.instant(window.closes),
        "uses": [{"sha256": use.sha256, "used": hal.instant(use.used)} for use in windows.uses(session, window)],
    }


def _is_own(view: View, request: Request) -> bool:
    return view.caller.kind == "user" and request.requester == view.caller.subject


def _as_it_was(session: Session, request: Request) -> Standing:
    """Return how far a closed request came; roles that people have today say nothing about it."""
    seats = seats_of(request)
    approvals = {row.decider: row.factors for row in decisions_on(session, request) if row.decision == APPROVE}
    options = {who: [at for at in places if 0 <= at < len(seats)] for who, places in approvals.items()}
    return Standing(seats, fill(seats, options), {}, True)


def _available(session: Session, request: Request, seats: Any, approved: set[str]) -> int:
    people = fulfilment.eligible(session, in_use(), seats)
    return len(people - approved - {request.requester})


def _role(standing: Standing, person: str) -> str | None:
    return next(
        (seats.role for seats, persons in zip(standing.seats, standing.taken, strict=True) if person in persons), None
    )


def _missing(request: Request, standing: Standing) -> list[str]:
    missing = [
        f"{seats.number - len(persons)} of {seats.number} with the role {seats.role.replace('|', ' or ')} "
        f"({seats.place})"
        for seats, persons in zip(standing.seats, standing.taken, strict=True)
        if len(persons) < seats.number
    ]
    missing += [f"the approval of {person} does not count any more: {why}" for person, why in standing.lapsed.items()]
    if not standing.requester_may:
        missing.append(f"{request.requester} is not permitted {ACTIONS[request.action].operation} any more")
    return missing
