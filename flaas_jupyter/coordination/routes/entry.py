"""Where one starts: the entry point, the API's health, the caller, metrics, and what problems mean."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy import text

from ..._version import __version__
from ...errors import NotFound
from ...governance.identity.tables import Person
from ...observability.exposition import TEXT_FORMAT
from .. import hal, schemas
from ..access import View
from ..calls import Call, hosted_of, maybe_signed_in, requires
from ..meanings import MEANINGS

router = APIRouter(tags=["entry"])

_LINKS = {
    "me": ("me:read", "/v1/me", "GET"),
    "organisations": ("organisation:read", "/v1/organisations", "GET"),
    "create_organisation": ("organisation:write", "/v1/organisations", "POST"),
    "projects": ("project:read", "/v1/projects", "GET"),
    "create_project": ("project:write", "/v1/projects", "POST"),
    "nodes": ("node:read", "/v1/nodes", "GET"),
    "register_node": ("node:register", "/v1/nodes", "POST"),
    "tokens": ("token:issue", "/v1/tokens", "GET"),
    "create_token": ("token:issue", "/v1/tokens", "POST"),
    "users": ("member:read", "/v1/users", "GET"),
    "create_user": ("member:manage", "/v1/users", "POST"),
    "roles": ("role:read", "/v1/roles", "GET"),
    "permissions": ("role:read", "/v1/permissions", "GET"),
    "separation": ("role:read", "/v1/separation", "GET"),
    "can": ("role:read", "/v1/can", "GET"),
    "edit_roles": ("role:manage", "/v1/roles", "GET"),
    "unused_permissions": ("role:report", "/v1/permissions/unused", "GET"),
    "approvals": ("policy:read", "/v1/approvals", "GET"),
    "policy": ("policy:read", "/v1/policy", "GET"),
    "audit": ("audit:read", "/v1/audit", "GET"),
    "checkpoints": ("audit:check", "/v1/audit/checkpoints", "GET"),
    "costs": ("costs:read", "/v1/costs/summary", "GET"),
    "cost_templates": ("costs:read", "/v1/costs/templates", "GET"),
    "cost_accounts": ("costs:read", "/v1/costs/accounts", "GET"),
    "cost_providers": ("costs:read", "/v1/costs/providers", "GET"),
    "metrics": ("metrics:read", "/metrics", "GET"),
}


@router.get("/", response_model=schemas.Entry)
def read_entry(request: Request, view: Annotated[View | None, Depends(maybe_signed_in)]) -> Response:
    """The entry point, with links to what the caller may do."""
    links = {
        "health": hal.link("/v1/health"),
        "openapi": hal.link("/openapi.json"),
        "problem": hal.link("/problems/{code}", templated=True),
    }
    if view is not None:
        links |= {
            name: hal.link(href, method) for name, (operation, href, method) in _LINKS.items() if view.may(operation)
        }
        if view.caller.kind == "node":
            links["node"] = hal.link(f"/v1/nodes/{view.caller.subject}")
    body = {"name": "flaas coordination API", "version": __version__, "api": "v1"}
    return hal.answer(hal.resource(body, "/", **links), request)


@router.get("/v1/health", response_model=schemas.Health)
def read_health(request: Request) -> Response:
    """Whether the API and its data base answer."""
    database = hosted_of(request).database
    with database.reading() as session:
        session.execute(text("SELECT 1"))
    body = {"status": "ok", "database": database.kind, "version": __version__}
    return hal.answer(hal.resource(body, "/v1/health"), request)


@router.get("/v1/me", response_model=schemas.Me)
def read_me(call: Annotated[Call, requires("me:read")]) -> Response:
    """Who the API takes the caller for."""
    caller = call.view.caller
    with call.reading() as session:
        person = session.get(Person, caller.subject) if caller.kind == "user" else None
    body = {
        "subject": caller.subject,
        "kind": caller.kind,
        "organisation": caller.organisation,
        "session": caller.session,
        "has_key": person is not None and person.approval_key is not None,
        "roles": [{"role": role, "scope": scope} for role, scope in caller.roles],
        "permissions": {operation: sorted(held) for operation, held in sorted(caller.grants.items())},
    }
    links = {"organisation": hal.link(f"/v1/organisations/{caller.organisation}")}
    if caller.kind == "node":
        links["node"] = hal.link(f"/v1/nodes/{caller.subject}")
    return hal.answer(hal.resource(body, "/v1/me", **links), call.request)


@router.get("/metrics", response_class=PlainTextResponse)
def read_metrics(call: Annotated[Call, requires("metrics:read")]) -> Response:
    """Counters of this process and gauges of the platform, for Prometheus."""
    return PlainTextResponse(call.hosted.metrics.text(), media_type=TEXT_FORMAT)


@router.get("/problems/{code}", response_model=schemas.Meaning)
def read_problem(code: str, request: Request) -> Response:
    """What a problem's code means, and what to do about it."""
    meaning = MEANINGS.get(code)
    if meaning is None:
        raise NotFound(f"There is no problem {code[:80]!r}.", hint="The code is the last part of `type`.")
    body = {"code": code, "title": meaning.title, "remedy": meaning.remedy}
    answer = hal.answer(hal.resource(body, f"/problems/{code}"), request)
    answer.headers["Cache-Control"] = "public, max-age=3600"
    return answer
