"""Short attempts at the ways out of a network: UDP to reflectors, and a WebSocket to relays. Nothing else is asked.

They go the same ways as the mesh (the same endpoint, shim, proxy and trust), so that what they find is what the mesh
would meet.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Unreachable
from . import reflection
from .carrier import Whereabouts
from .identity import Identity
from .iroh_endpoint import bind_endpoint, iroh, losses
from .network import ReflectorSite, RelaySite
from .shim import Proxy, Shim
from .signed_fields import is_address
from .tls_carrier import TlsCarrier
from .trust import Trust

ANSWER_SECONDS = 6.0
_LONGEST_STATUS = 512


@dataclass(frozen=True)
class Echo:
    """What asking a reflector has come to.

    Parameters
    ----------
    reflector : str
        Its key.
    address : str
        Where it was asked, ``ip:port``; the first of several.
    seen : str, optional
        By which ``ip:port`` the outside sees this machine; None if no answer came.
    seconds : float
        Until the answer came, or was not waited for any longer.
    """

    reflector: str
    address: str
    seen: str | None
    seconds: float


async def echoes(identity: Identity, listen: Sequence[str], sites: Sequence[ReflectorSite]) -> list[Echo]:
    """Ask every reflector, over IPv4 and IPv6 where it has both, from one UDP port each, and wait at most 6 s.

    Raises
    ------
    InvalidInput
        ``no-mesh``: iroh is not installed; ``cannot-listen``.
    """
    found = await asyncio.gather(*(_echoes(identity, listen, sites, six) for six in (False, True)))
    return [echo for family in found for echo in family]


async def _echoes(identity: Identity, listen: Sequence[str], sites: Sequence[ReflectorSite], six: bool) -> list[Echo]:
    """Ask over one family alone: an endpoint that knew addresses of both might have its answer over the other."""
    asked = [(site.node_id, [each for each in site.addresses if each.startswith("[") == six]) for site in sites]
    asked = [(node_id, addresses) for node_id, addresses in asked if addresses]
    if not asked:
        return []
    endpoint = await bind_endpoint(identity, listen, [])
    try:
        return list(await asyncio.gather(*(_echo(endpoint, node_id, addresses) for node_id, addresses in asked)))
    finally:
        await endpoint.close()


async def _echo(endpoint: Any, node_id: str, addresses: list[str]) -> Echo:
    since = time.monotonic()
    seen: str | None = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS), losses("no answer"):
            target = iroh().EndpointAddr(iroh().EndpointId.from_string(node_id), None, addresses)
            connection = await endpoint.connect(target, reflection.ALPN)
            try:
                stream = await connection.accept_uni()
                told = bytes(await stream.read_to_end(reflection.LONGEST_ANSWER)).decode("ascii", "replace")
            finally:
                connection.close(0, b"")
        seen = told if is_address(told) else None
    except (Unreachable, TimeoutError, EOFError):
        pass
    return Echo(node_id, addresses[0], seen, time.monotonic() - since)


def local_ip(towards: str) -> str | None:
    """Return the IP address from which packets to ``ip:port`` leave this machine; None if none would. Sends nothing."""
    host, _, port = towards.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host.strip("[]"), int(port)))
            return str(probe.getsockname()[0])
    except OSError:
        return None


async def reach_relay(site: RelaySite, trust: Trust, proxy: Proxy | None) -> float:
    """Connect to a relay as the mesh does, and have it open a WebSocket; return the seconds that took.

    Raises
    ------
    Unreachable
        Those of `shim.Shim.reach`; ``no-websocket``: it, or what stands between, answers and opens none.
    """
    since = time.monotonic()
    shim = await Shim.open(site.url, trust, proxy)
    try:
        await shim.reach()
        status = await _websocket(int(shim.url.rpartition(":")[2]))
        if shim.problem is not None:
            raise shim.problem
    finally:
        await shim.close()
    if status != 101:
        raise Unreachable(
            f"{site.url} is reached, and no WebSocket is opened there ({status or 'no answer'}).",
            code="no-websocket",
            hint="A proxy or firewall that inspects HTTPS takes WebSockets out: have it let this address pass as it "
            "is. If it is not the relay that answers there, its address is wrong.",
            status=status,
        )
    return time.monotonic() - since


async def reach_own_tls(identity: Identity, address: str) -> float:
    """Connect over TLS to this machine's own node at ``ip:port``; return the seconds that took.

    Raises
    ------
    Unreachable
        Code ``no-way``: nobody answers there, or another key than `identity`'s.
    """
    since = time.monotonic()
    carrier = await TlsCarrier.bind(identity)
    try:
        await carrier.dial(identity.node_id, Whereabouts(tls=(address,)))
        return time.monotonic() - since
    finally:
        await carrier.close()


async def reach_tcp(addresses: Sequence[str]) -> float | None:
    """Connect to any of these ``ip:port``, say nothing, and return the seconds that took; None if none answers."""

    async def connect(address: str) -> float:
        since, (host, _, port) = time.monotonic(), address.rpartition(":")
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
        return time.monotonic() - since

    answers = await asyncio.gather(*map(connect, addresses), return_exceptions=True)
    return min((answer for answer in answers if isinstance(answer, float)), default=None)


async def _websocket(port: int) -> int:
    """Ask for the relay's WebSocket (RFC 6455, section 4.1); return the status of the answer, 0 without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        lines = [
            "GET /relay HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Protocol: iroh-relay-v2, iroh-relay-v1",
        ]
        writer.write("\r\n".join((*lines, "", "")).encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await reader.readline()
        words = line[:_LONGEST_STATUS].split()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    except (OSError, TimeoutError, ValueError):
        return 0
    finally:
        writer.close()
