"""What a reflector answers, whom, and how often."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_endpoint import LOOPBACK, bind_endpoint, iroh
from flaas_jupyter.communications.reflection import ALPN, LONGEST_ANSWER
from flaas_jupyter.communications.reflector import Reflector, _asker
from flaas_jupyter.home import Home
from flaas_jupyter.relay_command import _serve_reflector

pytestmark = pytest.mark.anyio

DEADLINE = 10.0
Start = Callable[..., Awaitable[Reflector]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[tuple[Reflector, asyncio.Task[None]]] = []

    async def start(**rates: float) -> Reflector:
        reflector = await Reflector.bind(Identity.generate(), LOOPBACK, **rates)
        running.append((reflector, asyncio.create_task(reflector.serve())))
        return reflector

    yield start
    for reflector, serving in running:
        await reflector.close()
        await asyncio.wait_for(serving, DEADLINE)


@pytest.fixture
async def asker() -> AsyncIterator[Any]:
    endpoint = await bind_endpoint(Identity.generate(), LOOPBACK, [b"test"])
    yield endpoint
    await endpoint.close()


async def ask(endpoint: Any, reflector: Reflector, address: str) -> str:
    target = iroh().EndpointAddr(iroh().EndpointId.from_string(reflector.node_id), None, [address])
    async with asyncio.timeout(DEADLINE):
        connection = await endpoint.connect(target, ALPN)
        stream = await connection.accept_uni()
        answer = bytes(await stream.read_to_end(LONGEST_ANSWER)).decode()
        connection.close(0, b"")
    return answer


@pytest.mark.parametrize("family", ["127.0.0.1", "[::1]"], ids=["ip4", "ip6"])
async def test_it_tells_the_address_that_the_question_came_from(start: Start, asker: Any, family: str) -> None:
    reflector = await start()
    address = next(address for address in reflector.addresses if address.startswith(family))
    seen = await ask(asker, reflector, address)
    assert [seen] == [bound for bound in asker.bound_sockets() if bound.startswith(family)]
    assert b"flaas_reflector_answers_total 1.0" in reflector.counters.render()


async def test_it_has_the_key_of_its_home(tmp_path: Any) -> None:
    identity = Identity.load_or_create(tmp_path / "node.key")
    reflector = await Reflector.bind(identity, LOOPBACK)
    assert reflector.node_id == identity.node_id
    await reflector.close()


async def test_who_asks_too_often_is_not_answered(start: Start, asker: Any) -> None:
    reflector = await start(rate_per_address=0.02)  # a burst of one tenth: not even the first
    target = iroh().EndpointAddr(iroh().EndpointId.from_string(reflector.node_id), None, [reflector.addresses[0]])
    asking = asyncio.create_task(asker.connect(target, ALPN))
    async with asyncio.timeout(DEADLINE):
        while b'refused_total{reason="rate"}' not in reflector.counters.render():
            await asyncio.sleep(0.01)
    assert not asking.done()
    assert b"flaas_reflector_answers_total 0.0" in reflector.counters.render()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_it_speaks_nothing_else(start: Start, asker: Any) -> None:
    reflector = await start()
    target = iroh().EndpointAddr(iroh().EndpointId.from_string(reflector.node_id), None, [reflector.addresses[0]])
    with pytest.raises(iroh().IrohError):
        await asyncio.wait_for(asker.connect(target, b"flaas/mesh/1"), DEADLINE)


async def test_who_is_answered_and_does_not_leave_is_closed_soon(start: Start, asker: Any) -> None:
    reflector = await start()
    target = iroh().EndpointAddr(iroh().EndpointId.from_string(reflector.node_id), None, [reflector.addresses[0]])
    connection = await asyncio.wait_for(asker.connect(target, ALPN), DEADLINE)
    reason = await asyncio.wait_for(connection.closed(), 3.0)  # and not after the 5 s of an answer that gets stuck
    assert "closed by peer" in reason
    assert await ask(asker, reflector, reflector.addresses[0])
    async with asyncio.timeout(DEADLINE):
        while reflector._answering:
            await asyncio.sleep(0.01)
    counted = reflector.counters.render()
    assert b"flaas_reflector_answers_total 2.0" in counted
    assert b'refused_total{reason="lost"}' not in counted, "who was answered was not refused"


def test_the_process_ends_with_a_reflector_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: Reflector) -> None:
        raise RuntimeError("the core has failed")

    monkeypatch.setattr(Reflector, "serve", fail)
    with pytest.raises(RuntimeError, match="the core has failed"):
        asyncio.run(asyncio.wait_for(_serve_reflector(Home(tmp_path), LOOPBACK, None), DEADLINE))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1:5", "192.0.2.1:6", True),
        ("192.0.2.1:5", "192.0.2.2:5", False),
        ("[2001:db8::1]:5", "[2001:db8::ffff:0:0:9]:6", True),
        ("[2001:db8::1]:5", "[2001:db8:0:1::1]:5", False),
        ("[::ffff:192.0.2.1]:5", "192.0.2.1:5", True),
        ("[::ffff:192.0.2.1]:5", "[::ffff:192.0.2.2]:5", False),
    ],
)
def test_a_site_shares_a_rate_and_places(one: str, other: str, is_same: bool) -> None:
    reflector = Reflector(None, rate_per_address=0.2)  # a burst of one
    for address, refusal in ((one, None), (other, "rate" if is_same else None)):
        with reflector._place(_asker(address)) as why_not:
            assert why_not == refusal


async def test_one_asker_cannot_take_every_place(start: Start, asker: Any) -> None:
    reflector = await start(rate_per_address=1000.0)
    with contextlib.ExitStack() as held:
        for _ in range(8):
            assert held.enter_context(reflector._place("127.0.0.1")) is None
        target = iroh().EndpointAddr(iroh().EndpointId.from_string(reflector.node_id), None, [reflector.addresses[0]])
        asking = asyncio.create_task(asker.connect(target, ALPN))
        async with asyncio.timeout(DEADLINE):
            while b'refused_total{reason="busy"}' not in reflector.counters.render():
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        with reflector._place("192.0.2.1") as why_not:
            assert why_not is None
    assert await ask(asker, reflector, reflector.addresses[0])
