"""The API as a process: a listening socket, uvicorn, and an end that keeps nobody waiting."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from ..communications.server_certificate import ServerCertificate
from ..communications.trust import is_loopback
from ..errors import InvalidInput, Unreachable
from ..observability.exposition import exposed
from .app import create_app
from .hosted import Hosted
from .settings import Settings

logger = logging.getLogger(__name__)

_SILENCE_MS = 15_000
_END_SECONDS = 5


def serve(
    database_url: str,
    host: str,
    port: int,
    *,
    ready: Callable[[str], None] | None = None,
    metrics: str | None = None,
    certificate: ServerCertificate | None = None,
    proxy: str | None = None,
    ca_fingerprint: str | None = None,
) -> None:
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
    metrics : str, optional
        ``HOST:PORT`` to serve ``/metrics`` and ``/healthz`` at, without sign-in.
    certificate : ServerCertificate, optional
        With which to speak TLS. Without it this is plain HTTP, for loopback and for a proxy.
    proxy : str, optional
        Addresses or networks, separated by commas, of the proxy that speaks TLS in front of this: where its
        ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed. `FLAAS_PUBLIC_URL` says what it is reached at.
    ca_fingerprint : str, optional
        What launched machines pin, in place of `FLAAS_CA_FINGERPRINT`.

    Raises
    ------
    InvalidInput
        ``tls-required``: plain HTTP would leave this machine; ``bad-proxy``: `proxy` is no address or network.
    Unreachable
        Code ``address-in-use``: the address cannot be listened at.
    """
    settings = Settings.from_environment(database_url)
    if ca_fingerprint is not None:
        settings = dataclasses.replace(settings, ca_fingerprint=ca_fingerprint)
    require_tls(host, certificate is not None, proxy, settings.public_url)
    listener = listen(host, port)
    scheme = "http" if certificate is None else "https"
    app = create_app(settings)
    server = _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=_END_SECONDS,
            server_header=False,
            ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
            proxy_headers=certificate is None or proxy is not None,
            forwarded_allow_ips=proxy,
            log_config=None,  # the process has its log set up
            lifespan="on",
        ),
        app.state.hosted,
        lambda: ready(_url(listener, scheme)) if ready is not None else None,
        metrics,
        certificate,
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

    def __init__(
        self,
        config: uvicorn.Config,
        hosted: Hosted,
        ready: Callable[[], None],
        metrics: str | None = None,
        certificate: ServerCertificate | None = None,
    ) -> None:
        super().__init__(config)
        self._hosted = hosted
        self._ready = ready
        self._metrics = metrics
        self._certificate = certificate
        self._following: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        if self._metrics is None:
            await super().serve(sockets)
            return
        async with exposed(self._metrics, self._hosted.metrics.exposed, self._health) as url:
            logger.info("metrics at %s/metrics", url)
            await super().serve(sockets)

    def _health(self) -> tuple[bool, dict[str, str]]:
        """Tell whether requests are answered; whether the data base does is a metric, no reason to restart this."""
        well = self.started and not self.should_exit
        return well, {"status": "ok" if well else "starting" if not self.started else "ending"}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._certificate is not None:
            self._following = asyncio.create_task(self._certificate.follow())
            again = functools.partial(self._certificate.reload, force=True)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal, and return from `run`: uvicorn would raise the signal once more."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hosted.log.close()
        if self._following is not None:
            self._following.cancel()
        await super().shutdown(sockets)


def require_tls(host: str, tls: bool, proxy: str | None, public_url: str | None) -> None:
    """Check that no plain HTTP leaves this machine but to the proxy that speaks TLS in front; see `serve`."""
    if public_url is not None and public_url.startswith("http:") and not is_loopback(public_url):
        raise InvalidInput(
            f"FLAAS_PUBLIC_URL is {public_url}: callers would send their tokens unencrypted.",
            code="tls-required",
            hint="Give the https:// address that callers use.",
        )
    if proxy is not None:
        for each in proxy.split(","):
            try:
                ipaddress.ip_network(each.strip())
            except ValueError as error:
                raise InvalidInput(
                    f"{each.strip()!r} is no address or network of a proxy.",
                    code="bad-proxy",
                    hint="Give --behind-proxy 10.1.2.3, or a network such as 10.0.0.0/8; several with commas.",
                ) from error
        if public_url is None:
            raise InvalidInput(
                "Behind a proxy the API has to know the address that callers use: nodes sign for it.",
                code="tls-required",
                hint="Set FLAAS_PUBLIC_URL=https://….",
            )
    elif not tls and not is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}"):
        raise InvalidInput(
            f"The API would speak plain HTTP at {host}, where tokens can be read on the way.",
            code="tls-required",
            hint="Give --tls-cert FILE and --tls-key FILE; or --tls-private, a certificate authority of one's own, for "
            "trying out; or --behind-proxy ADDRESS with FLAAS_PUBLIC_URL=https://… where a proxy speaks TLS in front.",
        )


def _url(listener: socket.socket, scheme: str) -> str:
    address: tuple[Any, ...] = listener.getsockname()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}"
