"""Tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import hal, schemas
from ..calls import Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import tokens
from ..tables import Token

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.get("", response_model=schemas.Tokens)
def list_tokens(
    call: Annotated[Call, requires("token:manage")], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """All tokens, without their secrets."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        found = page.rows(session, select(Token), Token.id)
        return page.answer("tokens", found, tokens.show, lambda row: row.id)


@router.post("", status_code=201, response_model=schemas.Token)
def create_token(body: schemas.TokenIn, call: Annotated[Call, requires("token:manage")]) -> Response:
    """Issue a token: it is shown this once, and not again to a repetition with the same key."""

    def act(session: Session) -> Response:
        token, plain = tokens.create(session, call.view, body)
        return created(tokens.show(token, plain), f"/v1/tokens/{token.id}")

    return call.once(act)


@router.get("/{token_id}", response_model=schemas.Token)
def read_token(token_id: str, call: Annotated[Call, requires("token:manage")]) -> Response:
    """One token, without its secret."""
    return call.read(lambda session: tokens.show(tokens.find(session, token_id)))


@router.delete("/{token_id}", status_code=204)
def delete_token(token_id: str, call: Annotated[Call, requires("token:manage")]) -> Response:
    """Revoke a token; it is refused from now on."""
    with call.writing() as session:
        token = tokens.find(session, token_id)
        hal.require_match(call.request, tokens.show(token))
        session.delete(token)
    return Response(status_code=204)
