"""The API as a process: a listening socket, uvicorn, and an end that keeps nobody waiting."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from ..errors import Unreachable
from .app import create_app
from .hosted import Hosted
from .settings import Settings

_SILENCE_MS = 15_000
_END_SECONDS = 5


def serve(database_url: str, host: str, port: int, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve the API until SIGINT or SIGTERM.

    Parameters
    ----------
    database_url : str
        ``sqlite:///path`` or ``postgresql://…``.
    host : str
        Address to listen at.
    port : int
        Port to listen at; 0 takes a free one.
    ready : callable, optional
        Given the real URL once requests are answered.

    Raises
    ------
    Unreachable
        Code ``address-in-use``: the address cannot be listened at.
    """
    listener = listen(host, port)
    settings = Settings.from_environment(database_url)
    app = create_app(settings)
    server = _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=_END_SECONDS,
            server_header=False,
            lifespan="on",
        ),
        app.state.hosted,
        lambda: ready(_url(listener)) if ready is not None else None,
    )
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, whose connections end when the far side has been gone for 15 s.

    Without that, a node that lost its power or cable would be online until TCP gives up, a quarter of an hour later.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: 40 ms less per answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise Unreachable(
            f"The API cannot listen at {host}:{port}: {error.strerror}.",
            code="address-in-use",
            hint="Choose another --port (0 takes a free one) or --host.",
        ) from error
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """Says when it is up, and ends event streams first when it stops: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, hosted: Hosted, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._hosted = hosted
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal, and return from `run`: uvicorn would raise the signal once more."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hosted.log.close()
        await super().shutdown(sockets)


def _url(listener: socket.socket) -> str:
    address: tuple[Any, ...] = listener.getsockname()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}"
