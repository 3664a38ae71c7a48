"""A small HTTP listener of a daemon's own, for ``/metrics`` (Prometheus) and ``/healthz`` (probes).

It runs in the event loop that it tells of: a loop that hangs answers no probe. There is no sign-in, so it belongs on
loopback or a network of the operator's; what it says holds nothing about people (`allowed`). It reads one short
request a connection (parsed by h11), within a deadline, from a few callers at a time, so that whoever dawdles or
floods costs a bounded number of sockets and nothing else (Slowloris).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import h11

from ..errors import InvalidInput, Unreachable

logger = logging.getLogger(__name__)

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of Prometheus's text format."""

_CONNECTIONS = 16
_SECONDS = 10.0
"""From the connection to the end of the answer."""
_REQUEST_BYTES = 8 << 10

Metrics = Callable[[], Awaitable[bytes]]
"""Returns the metrics in Prometheus's text format 0.0.4."""
Health = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Tells whether the process is well, and how it is as JSON values."""


@contextlib.asynccontextmanager
async def exposed(listen: str, metrics: Metrics, health: Health) -> AsyncIterator[str]:
    """Serve at `listen` (``HOST:PORT``, port 0 takes a free one) within the block.

    Yields
    ------
    str
        The URL.

    Raises
    ------
    InvalidInput
        Code ``bad-listen-address``.
    Unreachable
        Code ``address-in-use``.
    """
    host, port = address(listen)
    exposition = _Exposition(metrics, health)
    try:
        server = await asyncio.start_server(exposition.connected, host, port, limit=_REQUEST_BYTES)
    except OSError as error:
        raise Unreachable(
            f"The metrics cannot be served at {listen}: {error.strerror or error}.",
            code="address-in-use",
            hint="Choose another --metrics address (port 0 takes a free one).",
        ) from error
    try:
        bound = server.sockets[0].getsockname()
        yield f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"
    finally:
        server.close()
        await exposition.close()


def address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` or ``[HOST]:PORT``.

    Raises
    ------
    InvalidInput
        Code ``bad-listen-address``.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or not bare or (":" in bare) != bracketed or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(
            f"{text!r} is no address to listen at.",
            code="bad-listen-address",
            hint="Give HOST:PORT, e.g. 127.0.0.1:9464 or [::1]:9464.",
        )
    return bare, int(port)


class _Exposition:
    """Answers the listener's connections."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._metrics, self._health = metrics, health
        self._open: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A peer that does not read, or sends a byte a second, is cut off like one that says nothing.
            async with asyncio.timeout(_SECONDS):
                answer = await self._answered(reader)
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError):
            pass
        except Exception:
            logger.exception("a request for metrics or health could not be answered")
        finally:
            writer.transport.abort()

    async def _answered(self, reader: asyncio.StreamReader) -> bytes:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_REQUEST_BYTES)
        try:
            request = await _request(connection, reader)
        except h11.RemoteProtocolError as error:
            return _answer(connection, error.error_status_hint, b"", "text/plain", head=False)
        if request is None:
            return b""
        head = request.method == b"HEAD"
        path = request.target.partition(b"?")[0]
        if request.method not in (b"GET", b"HEAD"):
            return _answer(connection, 405, b"", "text/plain", head=False)
        if path == b"/metrics":
            return _answer(connection, 200, await self._metrics(), TEXT_FORMAT, head=head)
        if path == b"/healthz":
            well, told = self._health()
            body = json.dumps(told).encode() + b"\n"
            return _answer(connection, 200 if well else 503, body, "application/json", head=head)
        return _answer(connection, 404, b"", "text/plain", head=head)


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Return the request; None if the caller went before it was whole."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_REQUEST_BYTES))
    return event if isinstance(event, h11.Request) else None


def _answer(connection: h11.Connection, status: int, body: bytes, kind: str, *, head: bool) -> bytes:
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
        *([("Allow", "GET, HEAD")] if status == 405 else []),
    ]
    sent = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    if not head:
        sent += connection.send(h11.Data(data=body)) or b""
    return sent + (connection.send(h11.EndOfMessage()) or b"")
