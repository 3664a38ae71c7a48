"""The keys that sign access tokens: rotated by approval, from afar."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from ...governance import scopes
from ...governance.identity import keys
from .. import hal, key_schemas
from ..calls import ASKED, Call, requires

router = APIRouter(prefix="/v1/keys", tags=["approvals"])


@router.post("/rotate", response_model=key_schemas.Rotated, responses=ASKED)
def rotate_keys(body: key_schemas.RotateIn, call: Annotated[Call, requires("key:rotate")]) -> Response:
    """Sign access tokens with the next key from now on; with `compromised` the present one is refused at once."""
    call.view.require_platform()

    def act(session: Session) -> Response:
        waits = call.critical(session, "key.rotate", scopes.PLATFORM, body.model_dump())
        if waits is not None:
            return waits
        key = keys.rotate(session, call.hosted.vault, call.view.now, compromised=body.compromised)
        return hal.answer(hal.resource({"key": key.kid}, "/oauth/jwks"), tagged=False)

    answer = call.once(act)
    call.hosted.provider.keys.forget()  # tokens of the new key are known here at once
    return answer
