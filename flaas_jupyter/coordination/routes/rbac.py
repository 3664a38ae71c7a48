"""Roles: what there is, who may do what and why, and every function of INCITS 359 by its name."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...governance import scopes
from ...governance.rbac.functions import FUNCTIONS, Function
from ...governance.rbac.tables import Role
from .. import hal, rbac_schemas
from ..access import find_node, find_project, within_project
from ..calls import ASKED, Call, Cursor, Limit, requires
from ..paging import DEFAULT
from ..services import rbac

router = APIRouter(prefix="/v1", tags=["roles"])


@router.get("/roles", response_model=rbac_schemas.Roles)
def list_roles(call: Annotated[Call, requires("role:read")], limit: Limit = DEFAULT, cursor: Cursor = None) -> Response:
    """The roles, what they include and permit, and who has them, as far as the caller may see."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        found = page.rows(session, select(Role), Role.name)
        return page.answer("roles", found, rbac.role_shower(session, call.view), lambda row: row.name)


@router.post("/roles/preview", response_model=rbac_schemas.RolePreview)
def preview_changes(body: rbac_schemas.ChangesIn, call: Annotated[Call, requires("role:manage")]) -> Response:
    """Try changes without making them: whom they would bring into conflict with separation of duties."""
    call.view.require_platform()
    with call.hosted.database.writing() as session:
        shown = rbac.preview(session, body.changes)
        session.rollback()
    return hal.answer(shown, tagged=False)


@router.get("/roles/{name}", response_model=rbac_schemas.Role)
def read_role(name: str, call: Annotated[Call, requires("role:read")]) -> Response:
    """One role."""
    return call.read(lambda session: rbac.role_shower(session, call.view)(rbac.find_role(session, name)))


@router.get("/permissions", response_model=rbac_schemas.Permissions)
def list_permissions(
    call: Annotated[Call, requires("role:read")], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """The matrix: each permission with the roles that have it, and the way through the hierarchy."""
    page = call.page(limit, cursor)
    after = page.after(str)
    with call.reading() as session:
        keys, show = rbac.permission_shower(session)
        found = [key for key in keys if after is None or key > after][: limit + 1]
        return page.answer("permissions", found, show, lambda key: key)


@router.get("/permissions/unused", response_model=rbac_schemas.Unused)
def list_unused(call: Annotated[Call, requires("role:report")], days: rbac_schemas.Days = 90.0) -> Response:
    """Permissions that nobody has used for so many days, by role and the place where it is held."""
    return call.read(lambda session: rbac.show_unused(session, call.view, days))


@router.get("/separation", response_model=rbac_schemas.Exclusions)
def list_exclusions(call: Annotated[Call, requires("role:read")]) -> Response:
    """Static and dynamic separation of duties."""
    return call.read(rbac.show_separation)


@router.get("/can", response_model=rbac_schemas.Can)
def can(
    call: Annotated[Call, requires("me:read")],
    operation: Annotated[rbac_schemas.Operation, Query()],
    resource: Annotated[rbac_schemas.Thing | None, Query()] = None,
) -> Response:
    """Whether the caller may do `operation` with `resource` (`project/credit`, `node/…`), or anywhere, and why."""
    rbac.require_operation(operation)

    def show(session: Session) -> hal.Resource:
        return rbac.show_can(session, call.view, operation, resource, _within(call, session, resource))

    return call.read(show)


def _within(call: Call, session: Session, resource: str | None) -> tuple[str, ...]:
    """Return the scopes that a thing lies in; `NotFound` if the caller does not see it."""
    if resource is None:
        return ()
    kind, _, name = resource.partition("/")
    if kind == "project":
        return within_project(session, find_project(session, call.view, name).id)
    if kind == "node":
        node = find_node(session, call.view, name)
        return (scopes.node(node.id), scopes.organisation(node.organisation))
    return (scopes.organisation(name),) if kind == "organisation" else (scopes.PLATFORM,)


def _route(function: Function) -> Callable[..., Response]:
    """Return the route of a function; the table of functions says what it takes to call it."""

    def act(body: Any, call: Any) -> Response:
        if function.kind == "review" or function.name == "check_access":
            answer = rbac.system if function.kind == "system" else rbac.review
            with call.reading() as session:
                return answer(call, session, function, body.arguments)
        do = rbac.change if function.kind == "administrative" else rbac.system
        made: Response = call.once(lambda session: do(call, session, function, body.arguments))
        return made

    act.__name__ = function.name
    act.__doc__ = function.description
    act.__annotations__ = {
        "body": rbac_schemas.CALLS[function.name],
        "call": Annotated[Call, requires(_operation(function))],
        "return": Response,
    }
    return act


def _operation(function: Function) -> str:
    if function.kind == "system":
        return "me:read" if function.name == "check_access" else "me:write"
    return "role:manage" if function.kind == "administrative" else "role:read"


for _function in FUNCTIONS.values():
    router.add_api_route(
        f"/rbac/{_function.name}",
        _route(_function),
        methods=["POST"],
        response_model=rbac_schemas.Result,
        responses=ASKED if _function.kind == "administrative" else None,
    )
