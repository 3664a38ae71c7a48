"""The rungs of the dial ladder between real meshes on this machine: direct, relay, another relay, at a signal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from blocked_udp import block_udp
from mesh_domain import DOMAIN, Domain
from relay_lab import StartRelay, eventually

from flaas_jupyter.communications.carrier import Whereabouts
from flaas_jupyter.communications.directory import Directory, Peer
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.network import Network, RelaySite
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import Conflict, Unreachable

pytestmark = pytest.mark.anyio


async def echo(peer: Peer, message: Message) -> Message:
    return Message("echo", message.body, message.tensors)


@dataclass
class Member:
    """A mesh, what it is told of the network, and how it is found."""

    mesh: Mesh
    carrier: IrohCarrier
    identity: Identity
    directory: Directory
    networks: list[Network]
    signals: list[str] = field(default_factory=list)

    @property
    def path(self) -> Any:
        status = next(each for each in self.mesh.status() if each.path is not None)
        return status.path


Join = Callable[..., Awaitable[Member]]


@pytest.fixture
async def join(domain: Domain) -> AsyncIterator[Join]:
    """Join the mesh of `domain`; the records of all are published whenever somebody calls."""
    members: list[Member] = []

    async def refresh() -> None:
        for member in members:
            if member.mesh.whereabouts:
                domain.publish(member.identity, member.mesh.whereabouts, sequence=time.time_ns() // 1000)
        for member in members:
            member.directory.update(domain.listing())

    async def join(
        network: Network | None = None,
        *,
        settings: MeshSettings | None = None,
        blocked: bool = False,
        signal: Callable[[str], Awaitable[None]] | None = None,
    ) -> Member:
        identity = Identity.generate()
        domain.admit(identity.node_id)
        networks = [network] if network else []
        carrier = await IrohCarrier.bind(identity, settings, lambda: tuple(networks))
        if blocked:
            block_udp(carrier._endpoint)
        directory = domain.directory()
        handlers = {"echo": Route(echo, limit=1 << 30)}
        mesh = await Mesh.open(
            identity, directory, carrier=carrier, handlers=handlers, refresh=refresh, peer_timeout=4.0, signal=signal
        )
        members.append(Member(mesh, carrier, identity, directory, networks))
        if network and network.relays:
            await eventually(lambda: bool(mesh.whereabouts.relays))
        await refresh()
        return members[-1]

    yield join
    for member in members:
        await member.mesh.close()
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith(("mesh", "iroh", "shim"))]
    assert not left, "closed meshes leave nothing running"


def network_of(*urls: str, direct: Any = "prefer", serial: int = 1) -> Network:
    return Network(DOMAIN, tuple(RelaySite(f"r{i}", url) for i, url in enumerate(urls)), direct=direct, serial=serial)


async def exchange(caller: Member, called: Member, size: int = 1000) -> float:
    """Call, once more if the connection proves to be lost, and return how long it took."""
    began = time.monotonic()
    values = np.arange(size, dtype="f4")
    message = Message("echo", {}, {"x": values})
    try:
        reply = await caller.mesh.call(called.mesh.node_id, message, timeout=40, limit=1 << 30)
    except Unreachable as error:
        if error.code != "peer-lost":
            raise
        reply = await caller.mesh.call(called.mesh.node_id, message, timeout=40, limit=1 << 30)
    assert np.array_equal(reply.tensors["x"], values)
    return time.monotonic() - began


async def test_where_udp_is_blocked_the_relay_carries_and_is_named(
    domain: Domain, join: Join, start_relay: StartRelay
) -> None:
    relay = await start_relay(domain)
    ours, theirs = [await join(network_of(relay.url), blocked=True) for _ in range(2)]
    await exchange(ours, theirs, 1 << 20)
    assert (ours.path.kind, ours.path.remote) == ("relay", relay.url)
    assert (theirs.path.kind, theirs.path.remote) == ("relay", relay.url)
    status = ours.mesh.status()[0]
    assert status.bytes_sent > 1 << 22
    assert status.throughput > 1e5


async def test_where_udp_passes_the_direct_path_is_taken(domain: Domain, join: Join, start_relay: StartRelay) -> None:
    relay = await start_relay(domain)
    ours, theirs = [await join(network_of(relay.url)) for _ in range(2)]
    await exchange(ours, theirs)
    await eventually(lambda: ours.path.kind == "direct")
    assert ours.path.remote in theirs.mesh.whereabouts.addresses
    assert ours.path.rtt < 1


async def test_a_relay_that_is_killed_is_replaced_by_another_and_may_come_back(
    domain: Domain, join: Join, start_relay: StartRelay
) -> None:
    relays = {relay.url: relay for relay in [await start_relay(domain) for _ in range(2)]}
    network = network_of(*relays)
    ours, theirs = [await join(network, blocked=True) for _ in range(2)]
    await exchange(ours, theirs)
    dead = ours.path.remote
    other = next(url for url in relays if url != dead)
    port = int(dead.rpartition(":")[2])
    await relays[dead].close()
    await eventually(lambda: theirs.mesh.whereabouts.relays == (other,), 15)
    assert await exchange(ours, theirs) < 15
    assert ours.path.remote == other
    problem = next(way.problem for way in ours.carrier.ways(Whereabouts(relays=(dead,))))
    assert "cannot be reached" in problem
    # The other one goes, and the first is back.
    await start_relay(domain, port=port)
    await eventually(lambda: not theirs.carrier._away, 15)
    await relays[other].close()
    await eventually(lambda: theirs.mesh.whereabouts.relays == (dead,), 15)
    assert await exchange(ours, theirs) < 15
    assert ours.path.remote == dead


async def test_relays_come_and_go_with_the_network_document(
    domain: Domain, join: Join, start_relay: StartRelay
) -> None:
    first, second = await start_relay(domain), await start_relay(domain)
    ours, theirs = [await join(network_of(first.url), blocked=True) for _ in range(2)]
    await exchange(ours, theirs)
    for member in (ours, theirs):
        moved = asyncio.create_task(member.mesh.moved())
        member.networks[:] = [network_of(second.url, serial=2)]
        await asyncio.wait_for(moved, 10)
        await eventually(lambda member=member: member.mesh.whereabouts.relays == (second.url,))
    await first.close()
    assert await exchange(ours, theirs) < 15
    assert ours.path.remote == second.url
    for member in (ours, theirs):
        member.networks.clear()
        await eventually(lambda member=member: member.mesh.whereabouts.relays == ())


async def test_never_direct_means_that_no_address_is_told_dialled_or_bound(
    domain: Domain, join: Join, start_relay: StartRelay
) -> None:
    relay = await start_relay(domain)
    everywhere = MeshSettings(listen=("0.0.0.0:0",))
    network = network_of(relay.url, direct="never")
    hidden = await join(network, settings=everywhere, blocked=True)
    assert hidden.mesh.whereabouts == Whereabouts(relays=(relay.url,))
    bound = {address.rpartition(":")[0] for address in hidden.carrier._endpoint.bound_sockets()}
    assert bound <= {"127.0.0.1", "[::1]"}
    open_one = await join(network_of(relay.url), settings=everywhere)
    assert open_one.mesh.whereabouts.addresses
    ways = hidden.carrier.ways(open_one.mesh.whereabouts)
    assert all("never" in way.problem for way in ways if way.kind == "direct")
    await exchange(hidden, open_one)
    assert hidden.path.kind == "relay"
    with pytest.raises(Unreachable, match="no way"):
        await hidden.carrier.dial(open_one.mesh.node_id, Whereabouts(addresses=open_one.mesh.whereabouts.addresses))


async def test_a_node_may_be_stricter_than_its_domain_and_follows_it_while_it_runs(
    domain: Domain, join: Join, start_relay: StartRelay
) -> None:
    relay = await start_relay(domain)
    shy = await join(network_of(relay.url), settings=MeshSettings(direct="never"))
    assert shy.mesh.whereabouts.addresses == ()
    bold = await join(network_of(relay.url))
    assert bold.mesh.whereabouts.addresses
    bold.networks[:] = [network_of(relay.url, direct="never", serial=2)]
    await eventually(lambda: bold.mesh.whereabouts == Whereabouts(relays=(relay.url,)))
    await exchange(shy, bold)
    bold.networks[:] = [network_of(relay.url, direct="only", serial=3)]
    await eventually(lambda: bool(bold.mesh.whereabouts.addresses) and not bold.mesh.whereabouts.relays)
    with pytest.raises(Unreachable) as caught:
        await exchange(bold, shy)
    assert f'by the relay {relay.url}: this side uses no relays (direct = "only")' in caught.value.message


async def test_without_a_relay_in_common_the_peer_is_asked_to_dial_back(domain: Domain, join: Join) -> None:
    asked: list[str] = []

    async def signal(node_id: str) -> None:
        asked.append(node_id)
        theirs.mesh.dial_back(ours.mesh.node_id)

    theirs = await join()
    ours = await join(signal=signal)
    # Their address is one where nobody answers, as that of a NAT which has not heard of us.
    domain.publish(theirs.identity, Whereabouts(("127.0.0.1:9",)), sequence=1 << 52)
    ours.directory.update(domain.listing())
    assert await exchange(ours, theirs) < 3
    assert asked == [theirs.mesh.node_id]
    theirs.mesh.dial_back(ours.mesh.node_id)
    assert not theirs.mesh._dials, "nothing is done while the peer is heard"


async def test_what_cannot_be_reached_is_told_rung_by_rung(domain: Domain, join: Join) -> None:
    async def signal(node_id: str) -> None:
        raise Conflict("clinic-b is offline.", code="node-offline")

    nobody = Identity.generate()
    domain.admit(nobody.node_id)
    ours = await join(signal=signal)
    ours.networks[:] = [network_of("http://127.0.0.1:9")]
    await eventually(lambda: bool(ours.carrier._shims))
    here = Whereabouts(("127.0.0.1:9",), (), ("http://127.0.0.1:9", "https://elsewhere.example"))
    await eventually(lambda: ours.carrier.ways(here)[1].problem is not None)
    domain.publish(nobody, here)
    with pytest.raises(Unreachable) as caught:
        await ours.mesh.call(nobody.node_id, Message("echo"))
    error = caught.value
    assert error.code == "peer-unreachable"
    for told in (
        "directly at 127.0.0.1:9: no answer within 4 s",
        "by the relay http://127.0.0.1:9: The relay http://127.0.0.1:9 cannot be reached",
        "by the relay https://elsewhere.example: this side does not know this relay",
        "it could not be asked to dial back: clinic-b is offline",
    ):
        assert told in error.message
    assert [way["kind"] for way in error.details["ways"]] == ["direct", "relay", "relay"]
    assert "needs a relay" in error.hint


async def test_a_stranger_is_not_dialled_back(domain: Domain, join: Join, caplog: pytest.LogCaptureFixture) -> None:
    ours = await join()
    caplog.set_level("INFO")
    ours.mesh.dial_back(Identity.generate().node_id)
    await eventually(lambda: "could not be dialled back" in caplog.text)
    assert "is not a member" in caplog.text
