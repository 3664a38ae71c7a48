"""``flaas relay`` and ``flaas reflector``: what helps nodes to reach each other, as services of their own.

A relay is a member of the projects that it serves, with the role ``relay``: its home is made and joined like a
node's. A reflector only needs a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import resource
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import InvalidInput
from .home import Home
from .terminal import log_format, metrics_address, told
from .tls_options import server_certificate, tls_options

if TYPE_CHECKING:
    from .communications.relay.limits import Limits
    from .communications.server_certificate import ServerCertificate

logger = logging.getLogger(__name__)

_OTHER_FILES = 256  # the log, the certificate, connections to the API and to the metrics


@click.group()
def relay() -> None:
    """A relay: it carries sealed packets between nodes that cannot reach each other directly."""


@relay.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8443, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@tls_options
@click.option(
    "--max-rate", default=64.0, show_default=True, help="MiB a second that a node may send over it; 0: no limit."
)
@click.option("--max-connections", default=1000, show_default=True, type=click.IntRange(min=1))
@metrics_address
@log_format
@told
def relay_serve(
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_private: bool,
    tls_names: tuple[str, ...],
    max_rate: float,
    max_connections: int,
    metrics: str | None,
    log_format: str | None,
) -> None:
    """Serve the projects that this home has joined, until SIGTERM. Without TLS it is for this machine only."""
    from .communications.trust import is_loopback
    from .observability import logs

    logs.configure(log_format)
    _require_installed("aiohttp", "blake3", "prometheus_client")
    limits = _limits(max_rate, max_connections)
    certificate, fingerprint = server_certificate(host, tls_cert, tls_key, tls_private, tls_names)
    if certificate is None and not is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}"):
        raise InvalidInput(
            f"The relay would speak plain HTTP at {host}.",
            code="tls-required",
            hint="Give --tls-cert FILE and --tls-key FILE; or --tls-private, a certificate authority of one's own, for "
            "trying out.",
        )
    if fingerprint:
        click.echo(f"Its certificate authority: {Home.default().tls / 'ca.pem'} ({fingerprint})", err=True)
    asyncio.run(_serve_relay(Home.default(), host, port, certificate, limits, metrics))


@click.group()
def reflector() -> None:
    """A reflector: it tells nodes by which address the outside sees them."""


@reflector.command("serve")
@click.option(
    "--listen",
    multiple=True,
    default=["127.0.0.1:0"],
    show_default=True,
    help="UDP address, e.g. 0.0.0.0:41642, one for IPv4 and one for IPv6.",
)
@metrics_address
@log_format
@told
def reflector_serve(listen: tuple[str, ...], metrics: str | None, log_format: str | None) -> None:
    """Answer until SIGTERM. The key is that of this home; it is made if there is none."""
    from .observability import logs

    logs.configure(log_format)
    _require_installed("iroh", "prometheus_client")
    from .communications.mesh_settings import require_addresses

    require_addresses("--listen", listen)
    asyncio.run(_serve_reflector(Home.default(), listen, metrics))


def _require_installed(*packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise InvalidInput(
            f"This needs {' and '.join(missing)}, which is not installed.",
            code="not-installed",
            hint="Run `pip install 'flaas_jupyter[relay]'`.",
        )


def _limits(max_rate: float, max_connections: int) -> Limits:
    from .communications.relay.limits import MIB, Limits

    return Limits(rate=max_rate * MIB, connections=max_connections)


async def _serve_relay(
    home: Home, host: str, port: int, certificate: ServerCertificate | None, limits: Limits, metrics: str | None
) -> None:
    from .communications.coordinator import Coordinator, NodeKey
    from .communications.directory import Directory
    from .communications.identity import Identity
    from .communications.relay.admission import Admission
    from .communications.relay.server import RelayServer
    from .communications.trust import Trust
    from .execution.enrolment import Enrolment

    enrolment = Enrolment.load(home.enrolment)
    if not enrolment.projects:
        raise InvalidInput(
            "This relay has joined no project, so nobody may use it.",
            code="not-joined",
            hint="Join with `flaas node join`, and have its key signed with `flaas domain sign --role relay`.",
        )
    identity = Identity.load_or_create(home.key)
    directories = [
        Directory(project, key, home.domain_statements(project, key)) for project, key in enrolment.projects.items()
    ]
    _allow_files(limits.connections + limits.strangers + _OTHER_FILES)
    async with contextlib.AsyncExitStack() as stack:
        stopped = _stopped()
        coordinator = await stack.enter_async_context(
            Coordinator(enrolment.url, NodeKey(identity), trust=Trust.of(home, enrolment.url))
        )
        admission = Admission(directories, coordinator)
        server = await stack.enter_async_context(
            RelayServer(admission, host, port, tls=certificate.context if certificate else None, limits=limits)
        )
        if certificate is not None:
            await stack.enter_async_context(_renewed(certificate))
        await stack.enter_async_context(_told(metrics, server.counters.render, lambda: server.health))
        click.echo(f"Relaying at {server.url}")
        await stopped.wait()
        logger.info("stopping: nodes are told to come back")


def _allow_files(count: int) -> None:
    """Let this process have so many files and sockets open, as far as the system's hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve_reflector(home: Home, listen: tuple[str, ...], metrics: str | None) -> None:
    from .communications.identity import Identity
    from .communications.reflector import Reflector

    stopped = _stopped()
    reflector = await Reflector.bind(Identity.load_or_create(home.key), listen)
    serving, stopping = asyncio.create_task(reflector.serve()), asyncio.create_task(stopped.wait())
    try:
        async with _told(metrics, reflector.counters.render, lambda: (not serving.done(), {"status": "ok"})):
            click.echo(f"Reflecting as {reflector.node_id} at {', '.join(reflector.addresses)}")
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await reflector.close()
        await serving


def _stopped() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


@contextlib.asynccontextmanager
async def _renewed(certificate: ServerCertificate) -> AsyncIterator[None]:
    """Take up renewed certificate files within the block, at once on SIGHUP."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: certificate.reload(force=True))
    following = asyncio.create_task(certificate.follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@contextlib.asynccontextmanager
async def _told(
    listen: str | None, metrics: Callable[[], bytes], health: Callable[[], tuple[bool, dict[str, Any]]]
) -> AsyncIterator[None]:
    """Serve metrics and health at `listen` within the block, if that is asked for."""
    from .observability.exposition import exposed

    async def rendered() -> bytes:
        return metrics()

    if listen is None:
        yield
        return
    async with exposed(listen, rendered, health) as url:
        click.echo(f"Metrics at {url}/metrics", err=True)
        yield
