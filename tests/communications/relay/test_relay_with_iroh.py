"""The nodes' real endpoints over our relay, with every other way between them blocked."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from blocked_udp import block_udp
from mesh_domain import Domain
from relay_lab import StartRelay, eventually

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_endpoint import LOOPBACK, bind_endpoint, iroh

pytestmark = pytest.mark.anyio

ALPN = b"test/1"
CHUNK = 256 << 10
Join = Callable[..., Awaitable[Any]]


@pytest.fixture
async def join(domain: Domain) -> AsyncIterator[Join]:
    """Open an endpoint that has nothing but relays, as a member of `domain`."""
    endpoints: list[Any] = []

    async def join(*relays: str, identity: Identity | None = None) -> Any:
        identity = identity or Identity.generate()
        endpoint = await bind_endpoint(identity, LOOPBACK, [ALPN], list(relays))
        endpoints.append(endpoint)
        block_udp(endpoint)
        domain.admit(identity.node_id)
        return endpoint

    yield join
    for endpoint in endpoints:
        await endpoint.close()


async def connect(caller: Any, called: Any, relay_url: str) -> tuple[Any, Any]:
    """Return both ends of a connection by way of the relay."""

    async def accept() -> Any:
        return await (await (await called.accept_next()).accept()).connect()

    target = iroh().EndpointAddr(called.id(), relay_url, [])
    async with asyncio.timeout(20):
        accepting = asyncio.create_task(accept())
        return await caller.connect(target, ALPN), await accepting


class Transfer:
    """Random bytes on their way over one stream, with a count of those that have come."""

    def __init__(self, size: int) -> None:
        self.data = random.Random(size).randbytes(size)
        self.arrived = 0

    async def run(self, sender: Any, receiver: Any) -> None:
        """Send everything, and compare what arrives with it."""
        await asyncio.gather(self._send(sender), self._take(receiver))

    async def _send(self, connection: Any) -> None:
        stream = await connection.open_uni()
        for start in range(0, len(self.data), CHUNK):
            await stream.write_all(self.data[start : start + CHUNK])
        await stream.finish()

    async def _take(self, connection: Any) -> None:
        stream, digest = await connection.accept_uni(), hashlib.sha256()
        while self.arrived < len(self.data):
            piece = bytes(await stream.read(CHUNK))
            assert piece, "the stream ended early"
            digest.update(piece)
            self.arrived += len(piece)
        assert digest.digest() == hashlib.sha256(self.data).digest()


def only_relay(connection: Any) -> str:
    """Return the URL of the relay that the connection goes by."""
    selected = [path for path in connection.paths() if path.is_selected]
    assert [path.is_relay for path in selected] == [True]
    return str(selected[0].remote_addr).rstrip("/")


async def test_two_nodes_that_only_reach_the_relay_exchange_data(
    start_relay: StartRelay, domain: Domain, join: Join
) -> None:
    relay = await start_relay(domain)
    a, b = await join(relay.url), await join(relay.url)
    async with asyncio.timeout(30):
        await asyncio.gather(a.online(), b.online())
        there, here = await connect(a, b, relay.url)
        await Transfer(8 << 20).run(there, here)
        await Transfer(2 << 20).run(here, there)
    assert only_relay(there) == relay.url
    assert b"flaas_relay_connections 2.0" in relay.counters.render()


async def test_a_transfer_survives_a_restart_of_the_relay(start_relay: StartRelay, domain: Domain, join: Join) -> None:
    relay = await start_relay(domain)
    port = int(relay.url.rpartition(":")[2])
    a, b = await join(relay.url), await join(relay.url)
    async with asyncio.timeout(60):
        await asyncio.gather(a.online(), b.online())
        there, here = await connect(a, b, relay.url)
        transfer = Transfer(24 << 20)
        running = asyncio.create_task(transfer.run(there, here))
        await eventually(lambda: transfer.arrived > 2 << 20)
        await relay.close()
        assert transfer.arrived < len(transfer.data)
        again = await start_relay(domain, port=port)
        await running
    assert only_relay(there) == again.url
    assert there.close_reason() is None


async def test_with_two_relays_the_other_one_takes_over(start_relay: StartRelay, domain: Domain, join: Join) -> None:
    first, second = await start_relay(domain), await start_relay(domain)
    a, b = await join(first.url, second.url), await join(first.url, second.url)
    async with asyncio.timeout(60):
        await asyncio.gather(a.online(), b.online())
        home = str(b.addr().relay_url()).rstrip("/")
        there, here = await connect(a, b, home)
        await Transfer(1 << 20).run(there, here)
        lost, left = (first, second) if home == first.url else (second, first)
        await lost.close()
        for connection in (there, here):  # what goes over a lost relay would be tried there for a long time
            connection.close(0, b"")
        for endpoint in (a, b):
            await endpoint.remove_relay(lost.url)
        while str(b.addr().relay_url()).rstrip("/") != left.url:
            await asyncio.sleep(0.1)
        there, here = await connect(a, b, left.url)
        await Transfer(1 << 20).run(there, here)
    assert only_relay(there) == left.url


async def test_a_revoked_node_reaches_nobody_any_more(start_relay: StartRelay, domain: Domain, join: Join) -> None:
    relay = await start_relay(domain)
    a, b = await join(relay.url), await join(relay.url)
    async with asyncio.timeout(30):
        await asyncio.gather(a.online(), b.online())
        there, here = await connect(a, b, relay.url)
        await Transfer(1 << 20).run(there, here)
        del domain.memberships[bytes(a.id().to_bytes()).hex()]
        await eventually(lambda: len(relay._exchange) == 1)
        stream = await there.open_uni()
        await stream.write_all(b"x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.accept_uni(), 2)


async def test_a_stranger_does_not_come_online(start_relay: StartRelay, domain: Domain) -> None:
    relay = await start_relay(domain)
    endpoint = await bind_endpoint(Identity.generate(), LOOPBACK, [ALPN], [relay.url])
    try:
        await eventually(lambda: b'refused_total{reason="unknown-peer"}' in relay.counters.render())
        assert len(relay._exchange) == 0
    finally:
        await endpoint.close()
