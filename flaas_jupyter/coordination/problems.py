"""Errors as problem details (RFC 9457): one place that translates, and one page per code that says what to do.

Inside, code raises `FlaasError`s. Their kind decides the status; the few codes that HTTP has a status of its own for
say so in `meanings.MEANINGS`, which is also what ``GET /problems/{code}`` answers.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ..errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotAuthenticated, NotFound, Unreachable
from ..governance.identity import Caller
from .database import is_away
from .meanings import MEANINGS

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="flaas", FlaasNode'

_STATUS: Mapping[type[FlaasError], int] = {
    InvalidInput: 422,
    NotAuthenticated: 401,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    Unreachable: 503,
}


_BY_STATUS: Mapping[int, tuple[type[FlaasError], str]] = {
    400: (InvalidInput, "invalid-input"),
    404: (NotFound, "not-found"),
    405: (InvalidInput, "method-not-allowed"),
}


def status_of(error: FlaasError) -> int:
    """Return the HTTP status that tells `error`."""
    meaning = MEANINGS.get(error.code)
    if meaning is not None and meaning.status is not None:
        return meaning.status
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def problem(error: FlaasError, instance: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return `error` as an answer; `instance` is the path that was asked for."""
    status = status_of(error)
    meaning = MEANINGS.get(error.code)
    body = {
        **error.details,
        "type": f"/problems/{error.code}",
        "title": meaning.title if meaning else type(error).__name__,
        "status": status,
        "detail": error.message,
        "instance": instance,
        "code": error.code,
        "kind": type(error).__name__,
        "hint": error.hint or (meaning.remedy if meaning else ""),
    }
    extra = {"Cache-Control": "no-store", **(headers or {})}
    if status == 401:
        extra["WWW-Authenticate"] = CHALLENGE
    if status == 503:
        extra["Retry-After"] = "1"
    elif isinstance(wait := error.details.get("retry_after"), int | float):
        extra["Retry-After"] = str(max(1, math.ceil(wait)))
    return Response(json.dumps(body), status, headers=extra, media_type=MEDIA_TYPE)


def install(app: FastAPI, refused: Callable[[Caller, str, str, str, str], None] | None = None) -> None:
    """Have `app` answer every error as a problem; `refused` is told what a caller may not do (`Refusals.note`)."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, FlaasError)
        asked = getattr(request.state, "asked", None)  # by `calls.requires`
        if refused is not None and asked is not None and isinstance(error, NotAllowed):
            try:
                caller, operation = asked
                await run_in_threadpool(refused, caller, operation, request.method, request.url.path, error.code)
            except Exception:  # the answer stays what it is
                logger.exception("a refusal could not be noted in the audit log")
        return problem(error, request.url.path)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        entries = [{"pointer": _pointer(entry["loc"]), "detail": str(entry["msg"])} for entry in error.errors()[:50]]
        told = "; ".join(f"{entry['pointer'] or 'the body'}: {entry['detail']}" for entry in entries[:5])
        return problem(InvalidInput(f"The request is not valid: {told}.", errors=entries), request.url.path)

    async def by_status(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind, code = _BY_STATUS.get(error.status_code, (FlaasError, "internal"))
        where = f"{request.method} {request.url.path}"
        message = f"{where}: {MEANINGS[code].title[0].lower()}{MEANINGS[code].title[1:]}."
        return problem(kind(message, code=code), request.url.path, error.headers)

    async def database(request: Request, error: Exception) -> Response:
        assert isinstance(error, DBAPIError)
        if not is_away(error):
            return await unexpected(request, error)
        logger.warning("the data base is away: %s", error.orig)
        return problem(
            Unreachable("The data base is away for the moment.", code="database-unavailable"), request.url.path
        )

    async def unexpected(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(FlaasError("The API failed; its log says why.", code="internal"), request.url.path)

    app.add_exception_handler(FlaasError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, by_status)
    app.add_exception_handler(DBAPIError, database)
    app.add_exception_handler(Exception, unexpected)


def _pointer(location: tuple[int | str, ...]) -> str:
    """Return a JSON pointer (RFC 6901) into the body, or ``/query/name``, ``/path/name`` into the address."""
    steps = location[1:] if location and location[0] == "body" else location
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)
