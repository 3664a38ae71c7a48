"""The gate that every request passes: it counts, and turns away what no route should have to look at.

Bodies are read whole before anything else happens, up to a limit that no model's weights would fit in; only JSON is
let in. What passed is counted for ``GET /metrics`` (Prometheus text format 0.0.4).
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import FlaasError, InvalidInput
from .problems import problem

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Traffic:
    """Counters of one API process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.body_bytes: Counter[str] = Counter({"in": 0, "out": 0})

    def moved(self, direction: str, count: int) -> None:
        """Count `count` body bytes ``"in"`` or ``"out"``."""
        with self._lock:
            self.body_bytes[direction] += count

    def answered(self, method: str, status: int) -> None:
        """Count a request; `method` is one of HTTP's, whatever was sent."""
        with self._lock:
            self.requests[method if method in _METHODS else "other", status] += 1

    def render(self, runs: Mapping[str, int], nodes_online: int) -> str:
        """Return the metrics as text; `runs` counts runs by state."""
        with self._lock:
            requests, moved = dict(self.requests), dict(self.body_bytes)
        families = (
            (
                "flaas_http_requests_total",
                "counter",
                "Requests answered.",
                {f'{{method="{m}",status="{s}"}}': n for (m, s), n in sorted(requests.items())},
            ),
            (
                "flaas_http_body_bytes_total",
                "counter",
                "Bytes of request and answer bodies.",
                {f'{{direction="{direction}"}}': n for direction, n in sorted(moved.items())},
            ),
            (
                "flaas_runs",
                "gauge",
                "Runs by state.",
                {f'{{state="{state}"}}': n for state, n in runs.items()},
            ),
            ("flaas_nodes_online", "gauge", "Nodes that hold their event stream.", {"": nodes_online}),
        )
        lines: list[str] = []
        for name, kind, text, values in families:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{labels} {value}" for labels, value in values.items()]
        return "\n".join(lines) + "\n"


class Gate:
    """ASGI middleware: counts requests and bytes, limits bodies.

    Parameters
    ----------
    app : ASGIApp
        What stands behind it.
    traffic : Traffic
        Where to count.
    body_limit : int
        Bytes.
    """

    def __init__(self, app: ASGIApp, traffic: Traffic, body_limit: int) -> None:
        self._app = app
        self._traffic = traffic
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = self._counting(scope, send)
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
            self._traffic.moved("in", len(chunk))
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

    def _counting(self, scope: MutableMapping[str, Any], send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._traffic.answered(scope["method"], message["status"])
                if message["status"] == 405:
                    MutableHeaders(scope=message)["Allow"] = ", ".join(_methods_at(scope))
            elif message["type"] == "http.response.body":
                self._traffic.moved("out", len(message.get("body", b"")))
            await send(message)

        return counted


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
