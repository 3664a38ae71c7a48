"""Tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from ...governance.tokens import revoke
from .. import hal, member_schemas
from ..calls import Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import tokens
from ..tables import Token

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.get("", response_model=member_schemas.Tokens)
def list_tokens(
    call: Annotated[Call, requires("token:issue")], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """The caller's own tokens, without their secrets; everybody's for those who govern the platform."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        found = page.rows(session, tokens.visible(call.view), Token.id)
        shown = {token["id"]: token for token in tokens.show_all(session, found)}
        return page.answer("tokens", found, lambda row: shown[row.id], lambda row: row.id)


@router.post("", status_code=201, response_model=member_schemas.Token)
def create_token(body: member_schemas.TokenIn, call: Annotated[Call, requires("token:issue")]) -> Response:
    """Issue a token for oneself: it is shown this once, and not again to a repetition with the same key."""

    def act(session: Session) -> Response:
        token, plain = tokens.create(session, call.view, body)
        answer = created(tokens.show(session, token, plain), f"/v1/tokens/{token.id}")
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return call.once(act)


@router.get("/{token_id}", response_model=member_schemas.Token)
def read_token(token_id: str, call: Annotated[Call, requires("token:issue")]) -> Response:
    """One token, without its secret."""
    return call.read(lambda session: tokens.show(session, tokens.find(session, call.view, token_id)))


@router.delete("/{token_id}", status_code=204)
def delete_token(token_id: str, call: Annotated[Call, requires("token:issue")]) -> Response:
    """Revoke a token; it is refused from now on."""
    with call.writing() as session:
        token = tokens.find(session, call.view, token_id)
        hal.require_match(call.request, tokens.show(session, token))
        revoke(session, token)
    return Response(status_code=204)
