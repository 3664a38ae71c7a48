"""The gate that every request passes: it counts, and turns away what no route should have to look at.

Bodies are read whole before anything else happens, up to a limit that no model's weights would fit in; only JSON is
let in. What passed is counted (`metrics`) and, where traces are asked for, is a span.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import FlaasError, InvalidInput
from ..observability import traces
from .metrics import METHODS, Metrics
from .problems import problem

_HSTS_SECONDS = 31_536_000
"""A year (RFC 6797, section 6.1.1)."""


class Gate:
    """ASGI middleware: counts requests and bytes, limits bodies, makes spans.

    Parameters
    ----------
    app : ASGIApp
        What stands behind it.
    metrics : Metrics
        Where to count.
    body_limit : int
        Bytes.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, body_limit: int) -> None:
        self._app = app
        self._metrics = metrics
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        since = time.perf_counter()
        with _span(scope):
            try:
                await self._pass(scope, receive, self._counting(scope, send, since))
            except Exception:  # answered further out
                self._answered(scope, 500, since)
                raise

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            _require_plain_address(scope)
            body = await self._read(Headers(scope=scope), receive)
            if body and not scope["path"].startswith("/oauth/"):  # OAuth speaks in forms, and its routes look at them
                _require_json(Headers(scope=scope))
        except FlaasError as error:
            await problem(error, scope["path"])(scope, receive, send)
            return
        if body is None:
            return
        scope["flaas.body_sha256"] = hashlib.sha256(body).hexdigest()
        await self._app(scope, _replayed(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """Return the whole body; None if the caller went away."""
        announced = headers.get("Content-Length", "0")
        if announced.isdigit() and int(announced) > self._body_limit:
            raise self._too_large(f"{announced} bytes")
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            self._metrics.moved("in", len(chunk))
            body += chunk
            if len(body) > self._body_limit:
                raise self._too_large(f"more than {self._body_limit} bytes")
            more = message.get("more_body", False)
        return bytes(body)

    def _too_large(self, size: str) -> FlaasError:
        return InvalidInput(
            f"The body has {size}; at most {self._body_limit} are accepted.",
            code="body-too-large",
            hint="Weights, gradients and data never go through this API: they stay on the mesh.",
            limit=self._body_limit,
        )

    def _counting(self, scope: MutableMapping[str, Any], send: Send, since: float) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answered(scope, message["status"], since)
                if message["status"] == 405:
                    MutableHeaders(scope=message)["Allow"] = ", ".join(_methods_at(scope))
                if _is_tls(scope):
                    MutableHeaders(scope=message)["Strict-Transport-Security"] = f"max-age={_HSTS_SECONDS}"
            elif message["type"] == "http.response.body":
                self._metrics.moved("out", len(message.get("body", b"")))
            await send(message)

        return counted

    def _answered(self, scope: MutableMapping[str, Any], status: int, since: float) -> None:
        method, route = _method(scope), getattr(scope.get("route"), "path", "none")
        self._metrics.answered(route, method, status, time.perf_counter() - since)
        traces.note(f"{method} {route}", http_route=route, http_response_status_code=status)


def _span(scope: Scope) -> contextlib.AbstractContextManager[object]:
    """Return the span of a request; of an event stream, which may go on for days, there is none."""
    headers = Headers(scope=scope)
    if "text/event-stream" in headers.get("Accept", ""):
        return contextlib.nullcontext()
    method = _method(scope)
    return traces.span(method, "server", headers.get(traces.FIELD, ""), http_request_method=method)


def _is_tls(scope: MutableMapping[str, Any]) -> bool:
    """Tell whether browsers may be told to use HTTPS only: it is for all ports of a host, so not for this machine's."""
    host = Headers(scope=scope).get("Host", "").partition(":")[0]
    return scope["scheme"] == "https" and host != "localhost"


def _method(scope: MutableMapping[str, Any]) -> str:
    """Return the method, as one of few: HTTP lets a caller send any word."""
    return scope["method"] if scope["method"] in METHODS else "other"


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read already, then what follows (a disconnection)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _methods_at(scope: MutableMapping[str, Any]) -> list[str]:
    """Return the methods of all routes of an address (RFC 9110, section 15.5.6); the router names those of one."""
    found: dict[str, set[str]] = {}
    for included in scope["app"].routes:
        inner = getattr(included, "original_router", None)  # FastAPI keeps an included router as one route
        for route in [included] if inner is None else inner.routes:
            if route.matches(scope)[0] is not Match.NONE:
                found.setdefault(route.path, set()).update(getattr(route, "methods", None) or ())
    # What has a name of its own is not one of the things that are named by a parameter there.
    return sorted(found[min(found, key=lambda path: path.count("{"))]) if found else []


def _require_json(headers: Headers) -> None:
    media = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        raise InvalidInput(
            f"A body of type {media[:80]!r} is not accepted.",
            code="unsupported-media-type",
            hint="Send JSON with `Content-Type: application/json`.",
        )


def _require_plain_address(scope: Scope) -> None:
    """PostgreSQL has no text with a zero byte, and nothing here is named with one."""
    if "\x00" in scope["path"] or "\x00" in unquote(scope["query_string"].decode("latin-1")):
        raise InvalidInput("The address holds a zero byte.", hint="Leave it out.")
