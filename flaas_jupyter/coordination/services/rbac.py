"""Roles as callers of the API see and change them.

The policy is one for the whole platform, so whoever changes it has to hold ``role:manage`` there. A change is tried
first, then asked for if the policy of approvals wants others to agree, or done. Sessions are their users' own. Who has
which role is told to those who may see the members.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import FlaasError, InvalidInput, NotAllowed
from ...governance import scopes
from ...governance.isolation import across
from ...governance.permissions import PERMISSIONS, ROLES
from ...governance.rbac import RbacError, exclusions, lookup, sessions, usage
from ...governance.rbac.closure import Hierarchy
from ...governance.rbac.errors import RbacNotAllowed, unknown
from ...governance.rbac.functions import FUNCTIONS, Function
from ...governance.rbac.tables import DYNAMIC, STATIC, Assignment, Grant, Permission, Role
from .. import hal
from ..access import View
from ..calls import Call
from ..rbac_schemas import ARGUMENTS, ChangeIn

_SHOWN = 200
_SESSION_LIFE = timedelta(hours=12)
Body = dict[str, Any]


# ---- functions of the standard -----------------------------------------------------------------------------------


def change(call: Call, session: Session, function: Function, arguments: BaseModel) -> Response:
    """Make a change of the policy, or ask for the approvals that it needs.

    Raises
    ------
    NotAllowed
        The caller holds ``role:manage``, but not on the platform.
    RbacError
        A precondition fails.
    """
    call.view.require_platform()
    body = {"function": function.name, "arguments": arguments.model_dump(exclude_unset=True)}
    attempt = session.begin_nested()
    try:
        # Nobody is asked to approve what cannot be done.
        perform(session, body)
    finally:
        attempt.rollback()
    assert function.action is not None
    waits = call.critical(session, function.action, scopes.PLATFORM, body)
    if waits is not None:
        return waits
    result = perform(session, body)
    return hal.answer(show_result(function, result), tagged=False)


def carry_out(context: Any, body: Body) -> Body:
    """Make an approved change: the executor of ``role.change`` and ``separation.change``.

    Raises
    ------
    NotAllowed
        Whoever has asked for it may not change roles any more.
    RbacError
        A precondition fails by now.
    """
    if not context.requester.may("role:manage", scopes.PLATFORM):
        raise NotAllowed(
            f"{context.requester.subject} has asked for this change and may not make it any more.",
            hint="Somebody who holds role:manage on the platform has to ask for it.",
            operation="role:manage",
        )
    perform(context.session, body)
    return {"function": body["function"]}


def perform(session: Session, body: Body) -> Any:
    """Call a function by its name with its arguments, as they are sent.

    Raises
    ------
    InvalidInput
        There is no such function, or these are not its arguments.
    RbacError
        A precondition fails.
    """
    function = FUNCTIONS.get(body["function"])
    if function is None or function.kind != "administrative":
        known = ", ".join(name for name, each in FUNCTIONS.items() if each.kind == "administrative")
        raise InvalidInput(
            f"{str(body['function'])[:60]!r} is no function that changes roles.",
            code="unknown-function",
            hint=f"There are: {known}.",
        )
    try:
        arguments = ARGUMENTS[function.name].model_validate(body["arguments"])
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise InvalidInput(
            f"These are not the arguments of {function.name}: {told}.", hint="The OpenAPI description names them."
        ) from error
    return _invoke(session, function, arguments)


def system(call: Call, session: Session, function: Function, arguments: BaseModel) -> Response:
    """Work with the caller's own sessions.

    Raises
    ------
    RbacError
        A precondition fails; somebody else's session does not exist for the caller.
    """
    given = arguments.model_dump()
    subject = call.view.caller.subject
    if given.get("user", subject) != subject:
        raise RbacNotAllowed(
            f"You are {subject!r}; a session of another user is not yours to work with.",
            code="not-session-owner",
            hint="Give your own id as user.",
        )
    if "session" in given and lookup.find_session(session, given["session"], now=lookup.EVER).user != subject:
        raise unknown("session", given["session"])
    if function.name in ("create_session", "add_active_role") and call.view.caller.session is not None:
        own = lookup.find_session(session, call.view.caller.session)
        if own.fixed:
            raise sessions.is_fixed()
    return hal.answer(show_result(function, _invoke(session, function, arguments)), tagged=False)


def review(call: Call, session: Session, function: Function, arguments: BaseModel) -> Response:
    """Answer a review function.

    Raises
    ------
    NotAllowed
        The answer names people, and the caller may not see who there is on the platform.
    RbacError
        What it is about does not exist, or not for the caller.
    """
    given = arguments.model_dump()
    caller = call.view.caller
    if function.tells == "users" and not caller.may("member:read", scopes.PLATFORM):
        if "user" in given:
            if given["user"] != caller.subject:
                raise unknown("user", given["user"])
        elif "session" in given:
            if lookup.find_session(session, given["session"]).user != caller.subject:
                raise unknown("session", given["session"])
        else:
            raise NotAllowed(
                f"{function.name} tells who there is on the whole platform, which takes member:read there.",
                hint="The list of roles names those whom you may see.",
                operation="member:read",
            )
    return hal.answer(show_result(function, _invoke(session, function, arguments)), tagged=False)


def _invoke(session: Session, function: Function, arguments: BaseModel) -> Any:
    given = arguments.model_dump(exclude_unset=True)
    within = given.pop("within", [])
    if "session" in given:
        given["session_id"] = given.pop("session")
    if function.name == "create_session":
        given["expires"] = datetime.now(UTC) + _SESSION_LIFE
        given["roles"] = [(each["role"], each["scope"]) if isinstance(each, dict) else each for each in given["roles"]]
    if function.name == "check_access":
        return sessions.check_access(session, given["session_id"], given["operation"], given["object"], *within)
    return function.call(session, **given)


def show_result(function: Function, result: Any) -> hal.Resource:
    """Return what a function has answered."""
    shown = result
    if isinstance(result, set):
        shown = [_pair(*each) if isinstance(each, tuple) else each for each in sorted(result)]
    return hal.resource({"function": function.name, "result": shown}, f"/v1/rbac/{function.name}")


def preview(session: Session, changes: list[ChangeIn]) -> hal.Resource:
    """Try changes, and tell what would come of them; the caller of this rolls back."""
    conflicts: list[dict[str, Any]] = []
    problem = None
    for number, each in enumerate(changes):
        try:
            perform(session, each.model_dump())
        except FlaasError as error:
            conflicts = error.details.get("conflicts", []) if isinstance(error, RbacError) else []
            problem = {
                "code": error.code,
                "title": f"{each.function[:60]} cannot be done",
                "detail": error.message,
                "hint": error.hint,
                "change": number,
            }
            break
    return hal.resource({"conflicts": conflicts, "problem": problem}, "/v1/roles/preview")


# ---- what there is -----------------------------------------------------------------------------------------------


def role_shower(session: Session, view: View) -> Callable[[Role], hal.Resource]:
    """Return what shows roles to the caller."""
    hierarchy = Hierarchy.of(session)
    granted: dict[str, set[tuple[str, str]]] = {}
    for role, operation, object in session.execute(select(Grant.role, Grant.operation, Grant.object)):
        granted.setdefault(role, set()).add((operation, object))
    manages = view.may("role:manage", scopes.PLATFORM)

    def show(row: Role) -> hal.Resource:
        own = granted.get(row.name, set())
        inherited = set().union(*(granted.get(each, set()) for each in hierarchy.juniors(row.name))) - own
        body = {
            "name": row.name,
            "description": row.description,
            "built_in": row.name in ROLES,
            "juniors": hierarchy.immediate_juniors(row.name),
            "seniors": hierarchy.immediate_seniors(row.name),
            "permissions": [_pair(*each) for each in sorted(own)],
            "inherited": [_pair(*each) for each in sorted(inherited)],
            "users": _holders(session, view, row.name),
        }
        return hal.resource(
            body,
            f"/v1/roles/{quote(row.name, safe='')}",
            edit=hal.link("/v1/rbac") if manages else None,
            preview=hal.link("/v1/roles/preview", "POST") if manages else None,
        )

    return show


def find_role(session: Session, name: str) -> Role:
    """Return the role; `RbacError` (code ``unknown-role``) if there is none."""
    row = session.get(Role, name) if lookup.role_exists(session, name) else None
    if row is None:
        raise unknown("role", name)
    return row


def permission_shower(session: Session) -> tuple[list[str], Callable[[str], hal.Resource]]:
    """Return the keys of all permissions in order, and what shows one with those who have it and why."""
    hierarchy = Hierarchy.of(session)
    rows = session.execute(select(Permission.operation, Permission.object, Permission.description))
    known = {f"{object}:{operation}": (operation, object, text) for operation, object, text in rows}
    holders: dict[str, set[str]] = {}
    for role, operation, object in session.execute(select(Grant.role, Grant.operation, Grant.object)):
        holders.setdefault(f"{object}:{operation}", set()).add(role)
    ways = {role: hierarchy.paths(role) for role in session.scalars(select(Role.name).order_by(Role.name))}

    def show(key: str) -> hal.Resource:
        operation, object, text = known[key]
        roles = [{"role": role, "path": path} for role in ways if (path := _way(ways[role], holders.get(key, set())))]
        body = {**_pair(operation, object), "description": text, "roles": roles}
        return hal.resource(body, "/v1/permissions")

    return sorted(known), show


def show_unused(session: Session, view: View, days: float) -> hal.Resource:
    """Return the permissions that nobody has used for `days` days, where the caller may see it."""
    with across(session, "usage is kept by role and place, not by organisation"):
        everywhere = usage.unused(session, days, view.now)
    found = [each for each in everywhere if view.may("role:report", each.scope)]
    shown = [
        {
            "role": each.role,
            "scope": each.scope,
            "operation": each.operation,
            "object": each.object,
            "assigned": hal.instant(each.assigned),
            "last_used": hal.instant(each.last_used),
        }
        for each in found
    ]
    return hal.resource({"days": days, "unused": shown}, "/v1/permissions/unused")


def show_separation(session: Session) -> hal.Resource:
    """Return all separations of duty."""
    shown = [
        hal.resource(
            {
                "name": each.name,
                "kind": each.kind,
                "roles": sorted(each.roles),
                "cardinality": each.cardinality,
                "per_scope": each.per_scope,
            },
            "/v1/separation",
        )
        for kind in (STATIC, DYNAMIC)
        for each in exclusions.of_kind(session, kind)
    ]
    return hal.resource({"_embedded": {"exclusions": shown}}, "/v1/separation")


def show_can(session: Session, view: View, operation: str, resource: str | None, within: tuple[str, ...]) -> Body:
    """Return whether the caller may do `operation` in one of the scopes `within`, and which active roles are why."""
    object, _, verb = operation.partition(":")
    holders = set(session.scalars(select(Grant.role).where(Grant.operation == verb, Grant.object == object)))
    hierarchy = Hierarchy.of(session)
    because = [
        {"role": role, "scope": scope, "path": path}
        for role, scope in view.caller.roles
        if (not within or scope == scopes.PLATFORM or scope in within)
        and (path := _way(hierarchy.paths(role), holders))
    ]
    permitted = view.may(operation, *within)
    body = {
        "operation": operation,
        "resource": resource,
        "permitted": permitted,
        "because": because if permitted else [],
    }
    return hal.resource(body, "/v1/can")


def require_operation(operation: str) -> str:
    """Return `operation`; `InvalidInput` (code ``unknown-operation``) if the table of permissions has none such."""
    if operation in PERMISSIONS:
        return operation
    resource = operation.partition(":")[0]
    near = [name for name in PERMISSIONS if name.startswith(f"{resource}:")] or list(PERMISSIONS)
    raise InvalidInput(
        f"There is no operation {operation[:80]!r}.", code="unknown-operation", hint=f"There are: {', '.join(near)}."
    )


def _way(paths: Any, holders: set[str]) -> list[str]:
    """Return a shortest of `paths` to one of `holders`; empty if there is none."""
    return list(min((path for role, path in paths.items() if role in holders), key=len, default=()))


def _holders(session: Session, view: View, role: str) -> list[dict[str, str]]:
    query = select(Assignment.user, Assignment.scope).where(Assignment.role == role)
    if not view.may("member:read", scopes.PLATFORM):
        query = query.where(Assignment.scope.in_(view.caller.grants.get("member:read", frozenset())))
    query = query.order_by(Assignment.user, Assignment.scope).limit(_SHOWN)
    return [{"user": user, "scope": scope} for user, scope in session.execute(query)]


def _pair(operation: str, object: str) -> dict[str, str]:
    return {"operation": operation, "object": object}
