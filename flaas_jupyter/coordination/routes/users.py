"""People and services, and the roles that they hold."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from ...governance import scopes
from ...governance.identity.tables import Person
from .. import hal, member_schemas
from ..calls import ASKED, Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import personal, users

router = APIRouter(prefix="/v1/users", tags=["users"])


@router.get("", response_model=member_schemas.Users)
def list_users(
    call: Annotated[Call, requires("member:read")], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """The people and services of the organisations and projects that the caller looks after."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        found = page.rows(session, users.visible(call.view), Person.id)
        shown = {user["id"]: user for user in users.show_all(session, call.view, call.hosted.vault, found)}
        invites = call.view.may("member:manage")
        return page.answer(
            "users",
            found,
            lambda row: shown[row.id],
            lambda row: row.id,
            invite=hal.link("/v1/users", "POST") if invites else None,
        )


@router.post("", status_code=201, response_model=member_schemas.User)
def create_user(body: member_schemas.UserIn, call: Annotated[Call, requires("member:manage")]) -> Response:
    """Invite a person, or make a service. The invitation or token is shown this once.

    Roles that need approval are asked for, one request each: `approvals` names these.
    """

    def act(session: Session) -> Response:
        user, once = users.create(session, call.view, call.hosted.vault, body)
        session.flush()
        asked = []
        for wanted in body.roles:
            users.require_assignable(session, call.view, user, wanted)
            users.require_possible(session, user.id, wanted.role, wanted.scope)
            request = call.ask(session, "member.roles", wanted.scope, _change("give", user.id, wanted))
            if request is None:
                users.give(session, user.id, wanted.role, wanted.scope)
            else:
                asked.append(request.id)
        shown = users.show(session, call.view, call.hosted.vault, user, {**once, "approvals": asked})
        answer = created(shown, f"/v1/users/{user.id}")
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return call.once(act)


@router.get("/{user_id}", response_model=member_schemas.User)
def read_user(user_id: str, call: Annotated[Call, requires("member:read")]) -> Response:
    """One person or service."""
    return call.read(
        lambda session: users.show(session, call.view, call.hosted.vault, users.find(session, call.view, user_id))
    )


@router.delete("/{user_id}", status_code=204)
def delete_user(user_id: str, call: Annotated[Call, requires("member:manage")]) -> Response:
    """Remove a person or service with its sessions, tokens, roles and personal data."""
    with call.writing() as session:
        user = users.find(session, call.view, user_id)
        users.require_outranked(session, call.view, user, removes=True)
        hal.require_match(call.request, users.show(session, call.view, call.hosted.vault, user))
        personal.erase(session, call.hosted.vault, user.id)
    return Response(status_code=204)


@router.post("/{user_id}/roles", response_model=member_schemas.User, responses=ASKED)
def give_role(
    user_id: str, body: member_schemas.RoleHeld, call: Annotated[Call, requires("member:manage")]
) -> Response:
    """Give a role. Where that needs approval: 202, and the request for it."""

    def act(session: Session) -> Response:
        user = users.find(session, call.view, user_id)
        users.require_assignable(session, call.view, user, body)
        users.require_possible(session, user.id, body.role, body.scope)
        waits = call.critical(session, "member.roles", body.scope, _change("give", user.id, body))
        if waits is not None:
            return waits
        users.give(session, user.id, body.role, body.scope)
        return hal.answer(users.show(session, call.view, call.hosted.vault, user))

    return call.once(act)


@router.delete("/{user_id}/roles/{role}/{scope}", status_code=204, responses=ASKED)
def take_role(user_id: str, role: str, scope: str, call: Annotated[Call, requires("member:manage")]) -> Response:
    """Take a role away. Where that needs approval: 202, and the request for it."""
    with call.writing() as session:
        user = users.find(session, call.view, user_id)
        held = member_schemas.RoleHeld.model_construct(role=role, scope=scopes.parse(scope))
        users.require_assignable(session, call.view, user, held)
        waits = call.critical(session, "member.roles", held.scope, _change("take", user.id, held))
        if waits is not None:
            return waits
        users.take(session, user.id, role, held.scope)
    return Response(status_code=204)


@router.post("/{user_id}/invitation", response_model=member_schemas.User)
def invite_again(user_id: str, call: Annotated[Call, requires("member:manage")]) -> Response:
    """Make a new invitation: the older ones are void, and the password and key that there were, once it is used.

    After the founding phase, the roles that were held go at once: they are given again as to somebody new.
    """

    def act(session: Session) -> Response:
        user = users.find(session, call.view, user_id)
        secret = users.invite_again(session, call.view, call.hosted.vault, user)
        answer = hal.answer(users.show(session, call.view, call.hosted.vault, user, {"invitation": secret}))
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return call.once(act)


def _change(do: str, user: str, wanted: member_schemas.RoleHeld) -> dict[str, str]:
    return {"do": do, "user": user, "role": wanted.role, "scope": wanted.scope}
