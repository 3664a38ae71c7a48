"""Meshes of several processes: what a killed one leaves behind, and how it comes back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mesh_domain import DOMAIN, Domain, Start

from flaas_jupyter.communications.directory import Peer
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Route
from flaas_jupyter.communications.transfers import RANGE
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import Unreachable

pytestmark = pytest.mark.anyio
TIMEOUT = 3.0
"""Longer than a busy machine may keep a living process from its turn."""
SCRIPT = Path(__file__).with_name("node_process.py")


class Node:
    """A node in another process."""

    def __init__(self, process: asyncio.subprocess.Process, identity: Identity) -> None:
        self.process, self.node_id = process, identity.node_id

    async def tell(self, **order: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()

    async def hear(self, event: str) -> dict[str, Any]:
        assert self.process.stdout
        async with asyncio.timeout(30):
            said: dict[str, Any] = json.loads(await self.process.stdout.readline())
        assert said["event"] == event
        return said

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


Spawn = Callable[..., Awaitable[Node]]


@pytest.fixture
async def spawn(domain: Domain) -> AsyncIterator[Spawn]:
    nodes: list[Node] = []

    async def spawn(identity: Identity | None = None, sequence: int = 1, **order: Any) -> Node:
        identity = identity or Identity.generate()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        node = Node(process, identity)
        nodes.append(node)
        await node.tell(
            seed=identity.seed.hex(),
            domain=DOMAIN,
            domain_key=domain.key.node_id,
            sequence=sequence,
            peer_timeout=TIMEOUT,
            **order,
        )
        domain.admit(identity.node_id)
        domain.records[identity.node_id] = (await node.hear("bound"))["record"]
        return node

    yield spawn
    for node in nodes:
        if node.process.returncode is None:
            await node.kill()


async def introduce(domain: Domain, *nodes: Node) -> None:
    for node in nodes:
        await node.tell(listing=domain.listing())
        await node.hear("updated")


async def test_a_killed_process_is_noticed_in_time_and_its_calls_fail(
    domain: Domain, start: Start, spawn: Spawn
) -> None:
    node = await spawn()
    ours = await start(peer_timeout=TIMEOUT)
    await introduce(domain, node)
    lost: asyncio.Queue[str] = asyncio.Queue()
    ours.on_peer_lost(lost.put_nowait)
    calls = [asyncio.create_task(ours.call(node.node_id, Message("wait"))) for _ in range(3)]
    for _ in calls:
        await node.hear("waiting")
    killed = time.monotonic()
    await node.kill()
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
    assert time.monotonic() - killed < 2 * TIMEOUT + 1
    assert [error.code for error in outcomes if isinstance(error, Unreachable)] == ["peer-lost"] * 3
    assert await asyncio.wait_for(lost.get(), 10) == node.node_id
    with pytest.raises(Unreachable) as caught:
        await ours.call(node.node_id, Message("echo"))
    assert caught.value.code == "peer-unreachable"


async def test_a_quiet_but_living_process_is_kept(domain: Domain, start: Start, spawn: Spawn) -> None:
    node = await spawn()
    ours = await start(peer_timeout=TIMEOUT)
    await introduce(domain, node)
    lost: list[str] = []
    ours.on_peer_lost(lost.append)
    waiting = asyncio.create_task(ours.call(node.node_id, Message("wait")))
    await node.hear("waiting")
    done, _ = await asyncio.wait([waiting], timeout=3 * TIMEOUT)
    assert not done
    assert not lost
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_killed_process_that_comes_back_is_reachable_at_once(
    domain: Domain, start: Start, spawn: Spawn
) -> None:
    async def answer(peer: Peer, message: Message) -> Message:
        return Message("echo", {"to": peer.node_id})

    identity = Identity.generate()
    former = await spawn(identity)
    ours = await start({"echo": Route(answer)}, peer_timeout=60)  # silence alone would take a minute
    await introduce(domain, former)
    pending = asyncio.create_task(ours.call(identity.node_id, Message("wait")))
    await former.hear("waiting")
    await former.kill()

    again = await spawn(identity, sequence=2)
    await introduce(domain, again)
    await again.tell(call=ours.node_id)
    assert (await again.hear("reply"))["body"] == {"to": identity.node_id}
    with pytest.raises(Unreachable) as caught:
        await asyncio.wait_for(pending, 10)
    assert caught.value.code == "peer-lost"
    weights = np.arange(1000.0)
    reply = await asyncio.wait_for(ours.call(identity.node_id, Message("echo", {}, {"w": weights}), limit=8000), 10)
    np.testing.assert_array_equal(reply.tensors["w"], weights)


async def test_other_processes_notice_a_killed_one_too(domain: Domain, spawn: Spawn) -> None:
    one, other = await spawn(), await spawn()
    await introduce(domain, one, other)
    await one.tell(call=other.node_id)
    await one.hear("reply")
    await other.kill()
    assert (await one.hear("lost"))["node"] == other.node_id


@pytest.mark.parametrize("share", [0.3, 0.9])
async def test_a_process_that_is_killed_while_it_receives_goes_on_with_what_it_has(
    domain: Domain, start: Start, spawn: Spawn, tmp_path: Path, share: float
) -> None:
    """One call at the sender: it finds the restarted process and sends what that has not on its disk."""
    identity, spool = Identity.generate(), str(tmp_path / "spool")
    node = await spawn(identity, spool=spool)
    ours = await start(peer_timeout=TIMEOUT)
    await introduce(domain, node)
    weights = np.random.default_rng(0).integers(0, 1 << 32, 6 << 20, dtype=np.uint32)
    call = asyncio.create_task(ours.call(node.node_id, Message("swallow", {}, {"weights": weights})))
    async with asyncio.timeout(60):
        while ours.bytes_sent < share * weights.nbytes:
            await asyncio.sleep(0)
        await node.kill()
        assert not call.done()
        again = await spawn(identity, sequence=2, spool=spool)
        await introduce(domain, again)
        reply = await call
    assert reply.body["sha256"] == hashlib.sha256(weights.tobytes()).hexdigest()
    assert ours.bytes_sent <= weights.nbytes + 5 * RANGE, "sent twice is what was under way"
    assert list((tmp_path / "spool").iterdir()) == []
