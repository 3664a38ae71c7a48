"""The relay's sockets: WebSocket connections of nodes, a latency probe, health, and an end that tells them to return.

Every connection has to prove a key in time, whatever it was opened for; nothing that a stranger sends is kept. A
connection that the relay ends is told why in the WebSocket's closing code and reason, unless it reads nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import secrets
import ssl
import time
from typing import Any, Final, Self

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from ...errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated, Unreachable
from ..transports import cut
from . import frames, handshake
from .admission import Admission
from .counters import Counters
from .exchange import Exchange
from .limits import Limits
from .session import CLOSING_SECONDS, Session

logger = logging.getLogger(__name__)

RESTART_SECONDS: Final = 2.0
"""Over how long nodes are to spread their return after a restart."""
_RESTARTS: Final = "the relay restarts"
_LATER: Final = {"Retry-After": "5"}
_TRY_FOR: Final = 60.0
_FLUSH_SECONDS: Final = 2.0
_LOOK_EVERY: Final = 1.0
_HSTS: Final = "max-age=31536000"
_PROBE: Final = re.compile(r"[A-Za-z0-9._-]{1,63}")


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Keep out of the log what strangers can do as often as they like: malformed requests, and leaving early."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | ConnectionError))


_http_logger = logger.getChild("http")
_http_logger.addFilter(_is_our_fault)


class RelayServer:
    """A relay that listens; ``async with`` opens and closes it.

    Parameters
    ----------
    admission : Admission
        Who may use it.
    host, port : str, int
        Where it listens; port 0 takes a free one.
    tls : ssl.SSLContext, optional
        With the relay's certificate. Without one it serves plain HTTP, for loopback.
    limits : Limits
        What nodes may take of it.
    counters : Counters, optional
        Where it counts.
    """

    def __init__(
        self,
        admission: Admission,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        counters: Counters | None = None,
    ) -> None:
        self.counters = counters or Counters()
        self._admission, self._limits, self._tls = admission, limits, tls
        self._host, self._port = host, port
        self._exchange = Exchange(limits, self.counters)
        self.counters.observe(lambda: self._exchange.memory.taken, lambda: admission.age)
        self._unproved: dict[Any, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=_http_logger,
            handle_signals=False,
            shutdown_timeout=1.0,
            lingering_time=0,
        )
        self._listener: asyncio.Server | None = None
        self.url = ""
        """Where it listens, with the address that it is bound to."""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._watch_ends()
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                self._connected,
                self._host,
                self._port,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.handshake if self._tls else None,
                ssl_shutdown_timeout=CLOSING_SECONDS if self._tls else None,
                backlog=512,
            )
        except OSError as error:
            await self._runner.cleanup()
            raise Unreachable(
                f"The relay cannot listen at {self._host}:{self._port}: {error.strerror or error}.",
                code="address-in-use",
                hint="Choose another --port (0 takes a free one) or --host.",
            ) from error
        bound, chosen, *_ = self._listener.sockets[0].getsockname()
        self.url = f"{'https' if self._tls else 'http'}://{f'[{bound}]' if ':' in bound else bound}:{chosen}"
        self._following = self._start(self._admission.follow(self.recheck), "relay-admission")
        self._start(self._look_after(), "relay-sessions")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether nodes can be admitted now, and what is to be said of it."""
        if self._is_stopping:
            return False, {"status": "restarting"}
        if not self._admission.is_ready:
            return False, {"status": "waiting for the signed directory"}
        if self._following is None or self._following.done():
            return False, {"status": "the signed directory is not followed any more"}
        return True, {"status": "ok", "connections": len(self._exchange)}

    def recheck(self) -> None:
        """Look again at who may be connected, and close the connections of those who may not."""
        for session in self._exchange:
            if session.ending:
                continue
            try:
                session.domains = self._admission.domains(session.node_id)
            except NotAllowed as refusal:
                logger.info("a connection is closed: %s", refusal.message)
                session.domains = frozenset()
                self._end(session, WSCloseCode.POLICY_VIOLATION, refusal.code, f"not a member any more: {refusal.code}")
        self._exchange.forget_buckets(self._admission.known)

    async def close(self) -> None:
        """Announce the restart, send what waits, close every connection, and free the sockets."""
        if self._is_stopping:
            return
        self._is_stopping = True
        if self._listener is not None:
            self._listener.close()
        sessions = list(self._exchange)
        for session in sessions:
            session.offer(frames.restarting(random.uniform(0, RESTART_SECONDS), _TRY_FOR))  # noqa: S311
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await asyncio.gather(*(session.drained() for session in sessions))
        await asyncio.gather(*(session.close(WSCloseCode.GOING_AWAY, "restart", _RESTARTS) for session in sessions))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    # -- connections ---------------------------------------------------------------------------------------------

    def _connected(self) -> asyncio.BaseProtocol:
        """Return what a new TCP connection talks to, for as long as it may stay without a proved key."""
        server = self._runner.server
        assert server is not None
        if self._is_stopping or len(self._unproved) >= self._limits.strangers:
            self._refused("strangers")
            return _Turned()
        protocol = server()
        loop = asyncio.get_running_loop()
        self._unproved[protocol] = loop.call_later(self._limits.handshake, self._too_late, protocol)
        if (accepting := asyncio.current_task()) is not None:
            # One that ends within the TLS handshake is never shown to the protocol, but ends the task that accepts it.
            accepting.add_done_callback(lambda _: self._settled(protocol) if protocol.transport is None else None)
        return protocol

    def _watch_ends(self) -> None:
        """Have a connection that ends give its place to the next stranger at once."""
        server = self._runner.server
        assert server is not None
        lost = server.connection_lost

        def connection_lost(handler: web.RequestHandler, exc: BaseException | None = None) -> None:
            lost(handler, exc)
            self._settled(handler)

        server.connection_lost = connection_lost  # type: ignore[method-assign]

    def _too_late(self, protocol: Any) -> None:
        del self._unproved[protocol]
        if protocol.transport is not None:
            if not protocol.transport.is_closing():  # an answer to a probe may be on its way still
                self._refused("handshake-timeout")
            cut(protocol.transport)

    def _settled(self, protocol: Any) -> None:
        """Take the connection out of those that have to prove a key in time: it has, or is over."""
        if timer := self._unproved.pop(protocol, None):
            timer.cancel()

    def _refused(self, reason: str) -> None:
        self.counters.refused.labels(reason).inc()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=1)
        application.add_routes(
            [
                web.get("/relay", self._relay),
                web.get("/ping", self._ping),
                web.get("/generate_204", self._generate_204),
                web.get("/healthz", self._healthz),
            ]
        )
        application.on_response_prepare.append(self._finish_headers)
        return application

    async def _finish_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        if not isinstance(response, web.WebSocketResponse):
            response.force_close()  # one request a connection: nothing idles here but nodes
        if self._tls is not None:
            response.headers["Strict-Transport-Security"] = _HSTS

    async def _ping(self, request: web.Request) -> web.Response:
        """Answer the latency probe by which nodes choose their relay."""
        return web.Response(text="pong", headers={"Access-Control-Allow-Origin": "*"})

    async def _generate_204(self, request: web.Request) -> web.Response:
        """Answer the probe for captive portals, which wants its own word back."""
        word = request.headers.get("X-Iroh-Challenge", "")
        headers = {"X-Iroh-Response": f"response {word}"} if _PROBE.fullmatch(word) else {}
        return web.Response(status=204, headers=headers)

    async def _healthz(self, request: web.Request) -> web.Response:
        is_well, told = self.health
        return web.json_response(told, status=200 if is_well else 503, headers={"Cache-Control": "no-store"})

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        """Talk to a node until it leaves."""
        if self._is_stopping or len(self._exchange) >= self._limits.connections:
            self._refused("connections")
            return web.Response(status=503, text="the relay has no room for more connections", headers=_LATER)
        socket = web.WebSocketResponse(
            protocols=frames.VERSIONS,
            compress=False,
            max_msg_size=frames.FRAME_LIMIT + 1,  # the library's limit is exclusive
            timeout=CLOSING_SECONDS,
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is None or (admitted := await self._admitted(socket, request.protocol)) is None:
            return socket
        key, domains = admitted
        self._settled(request.protocol)
        if self._is_stopping:
            await socket.close(code=WSCloseCode.GOING_AWAY, message=_RESTARTS.encode())
            return socket
        session = Session(
            key, socket, transport, domains, self._exchange.bucket(key), self._limits, self._exchange.memory
        )
        await self._serve(session, socket)
        return socket

    async def _admitted(self, socket: web.WebSocketResponse, protocol: Any) -> tuple[bytes, frozenset[str]] | None:
        """Return the key that the node proves and the domains that it is in; None if it was refused."""
        if socket.ws_protocol is None:
            self._refused("protocol")
            await socket.close(code=WSCloseCode.PROTOCOL_ERROR, message=f"speak {frames.VERSION_2}".encode())
            return None
        challenge = handshake.new_challenge()
        try:
            await socket.send_bytes(frames.challenge(challenge))
            message = await socket.receive()
            if message.type is not WSMsgType.BINARY:
                raise NotAuthenticated("The challenge was not answered.", code="bad-handshake")
            key = handshake.authenticate(challenge, message.data)
            return key, self._admission.domains(key.hex())
        except FlaasError as refusal:
            if protocol not in self._unproved:
                return None  # it was too late, which is counted, or has left
            self._refused(refusal.code)
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(frames.denied(refusal.code))
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=refusal.code.encode())
        except ConnectionError:
            self._refused("bad-handshake")
        return None

    async def _serve(self, session: Session, socket: web.WebSocketResponse) -> None:
        if not session.offer(frames.accepted()):  # first in the queue: nothing reaches the node before it
            self._refused("memory")
            await session.close(WSCloseCode.TRY_AGAIN_LATER, "memory", "the relay has no memory left")
            return
        surplus = self._exchange.join(session)
        self.counters.accepted.inc()
        if surplus is not None:
            self._end(surplus, WSCloseCode.POLICY_VIOLATION, "surplus", "too many connections of this key")
        writer = asyncio.create_task(session.write(), name="relay-write")
        try:
            await self._converse(session, socket)
        finally:
            writer.cancel()
            self._exchange.leave(session)
            self.counters.closed.labels(session.ending or "left").inc()

    async def _converse(self, session: Session, socket: web.WebSocketResponse) -> None:
        counters, bucket = self.counters, session.bucket
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                if message.type is WSMsgType.TEXT:
                    await session.close(WSCloseCode.UNSUPPORTED_DATA, "bad-frame", "frames are binary messages")
                return
            frame = message.data
            counters.bytes_in.inc(len(frame))
            if delay := bucket.spend(len(frame)):
                counters.throttled.inc(delay)
                await asyncio.sleep(delay)  # nothing is read meanwhile: TCP slows the node down
            session.heard = time.monotonic()
            try:
                parsed = frames.parse(frame)
            except InvalidInput as error:
                await session.close(WSCloseCode.PROTOCOL_ERROR, "bad-frame", error.message)
                return
            if isinstance(parsed, frames.Datagrams):
                self._exchange.forward(session, parsed)
            elif isinstance(parsed, frames.Ping):
                session.offer(frames.pong(parsed.payload))

    # -- what happens by itself -----------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        """Ping who is silent, cut who is stuck or dead, and close whose membership has ended; for ever."""
        idle = self._limits.idle
        while True:
            await asyncio.sleep(min(_LOOK_EVERY, idle / 4))
            now = time.monotonic()
            self.recheck()
            for session in self._exchange:
                silent = now - session.heard
                if session.is_stalled(now):
                    session.cut("stalled")
                elif silent > 2 * idle:
                    session.cut("silent")
                elif silent > idle and now - session.pinged > idle:
                    session.pinged = now
                    session.offer(frames.ping(secrets.token_bytes(8)))

    def _end(self, session: Session, code: WSCloseCode, outcome: str, reason: str) -> None:
        """Close `session` without waiting for it."""
        self._start(session.close(code, outcome, reason), "relay-close")

    def _start(self, work: Any, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_report)
        return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("the relay's task %s failed", task.get_name(), exc_info=error)


class _Turned(asyncio.Protocol):
    """A connection for which there is no room: it is closed as it opens."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
