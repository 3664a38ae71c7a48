"""How a node learns, keeps and forgets the addresses by which the outside sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from flaas_jupyter.communications import reflection
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier
from flaas_jupyter.communications.network import Network, ReflectorSite
from flaas_jupyter.communications.reflection import Reflection
from flaas_jupyter.communications.reflector import Reflector
from flaas_jupyter.errors import Unreachable

pytestmark = pytest.mark.anyio
FIRST = ReflectorSite("a" * 64, ("192.0.2.1:1",))
SECOND = ReflectorSite("b" * 64, ("192.0.2.2:1", "[2001:db8::2]:1"))


class Outside:
    """What reflectors answer, and what the endpoint is told."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], str] = {}
        self.asked: list[str] = []
        self.known: list[str] = []
        self.told = asyncio.Event()
        self.reflection = Reflection(self._ask, self._add, self._remove)

    async def _ask(self, node_id: str, addresses: Sequence[str]) -> str:
        family = "6" if addresses[0].startswith("[") else "4"
        assert all(address.startswith("[") == (family == "6") for address in addresses)
        self.asked.append(f"{node_id[0]}{family}")
        if (node_id[0], family) not in self.answers:
            raise Unreachable("nobody answers")
        return self.answers[node_id[0], family]

    async def _add(self, address: str) -> None:
        self.known.append(address)
        self.told.set()

    async def _remove(self, address: str) -> None:
        self.known.remove(address)


async def test_each_family_is_asked_for_and_the_first_answer_counts() -> None:
    outside = Outside()
    outside.answers = {("a", "4"): "198.51.100.7:5000", ("b", "4"): "9.9.9.9:9", ("b", "6"): "[2001:db8::7]:6000"}
    assert await outside.reflection.look([FIRST, SECOND])
    assert outside.reflection.addresses == ("198.51.100.7:5000", "[2001:db8::7]:6000")
    assert sorted(outside.asked) == ["a4", "b6"]


async def test_another_answers_for_one_that_is_away_and_a_changed_address_replaces_the_old() -> None:
    outside = Outside()
    outside.answers = {("b", "4"): "198.51.100.7:5000"}
    assert await outside.reflection.look([FIRST, SECOND])
    outside.answers = {("b", "4"): "198.51.100.8:5001"}
    assert await outside.reflection.look([FIRST, SECOND])
    assert outside.known == ["198.51.100.8:5001"]
    outside.answers = {}
    assert not await outside.reflection.look([FIRST, SECOND])
    assert outside.known == ["198.51.100.8:5001"], "what was seen stays while nobody answers"
    assert "b" * 12 in str(outside.reflection.problem)
    assert await outside.reflection.look([])
    assert (outside.known, outside.reflection.addresses) == ([], ())


async def test_reflectors_that_do_not_answer_are_told_of_by_family_and_when_that_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outside = Outside()
    outside.answers = {("b", "4"): "198.51.100.7:5000"}
    for _ in range(3):
        assert await outside.reflection.look([FIRST, SECOND])
    assert "[2001:db8::2]:1: nobody answers" in str(outside.reflection.problem)
    assert "192.0.2.2:1" not in str(outside.reflection.problem), "one that has answered is no problem"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "over IPv6" in caplog.text
    outside.answers = {("b", "6"): "[2001:db8::7]:6000"}
    assert await outside.reflection.look([FIRST, SECOND])
    assert len(caplog.records) == 2
    assert "over IPv4" in caplog.records[1].getMessage()
    assert "192.0.2.1:1: nobody answers; " in str(outside.reflection.problem)
    assert await outside.reflection.look([])
    assert outside.reflection.problem is None


async def test_an_answer_over_the_other_family_is_left_to_that_family() -> None:
    outside = Outside()
    outside.answers = {("b", "4"): "198.51.100.7:5000", ("b", "6"): "198.51.100.7:5000"}
    assert await outside.reflection.look([SECOND])
    assert outside.known == ["198.51.100.7:5000"]


@pytest.mark.parametrize("answer", ["", "nonsense", "node.example:1", "198.51.100.7", "198.51.100.7:0", "x" * 64])
async def test_an_answer_that_is_no_address_is_not_believed(answer: str) -> None:
    outside = Outside()
    outside.answers = {("a", "4"): answer}
    assert not await outside.reflection.look([FIRST])
    assert outside.known == []


async def test_it_is_asked_again_as_soon_as_the_machine_has_moved() -> None:
    outside = Outside()
    outside.answers = {("a", "4"): "198.51.100.7:5000"}
    running = asyncio.create_task(outside.reflection.run(lambda: [FIRST]))
    await asyncio.wait_for(outside.told.wait(), 5)
    outside.told.clear()
    outside.answers = {("a", "4"): "203.0.113.7:5000"}
    outside.reflection.moved()
    await asyncio.wait_for(outside.told.wait(), 5)
    assert outside.known == ["203.0.113.7:5000"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflection, "_EVERY", 0.02)
    outside = Outside()
    outside.answers = {("a", "4"): "198.51.100.7:5000"}
    running = asyncio.create_task(outside.reflection.run(lambda: [FIRST]))
    await asyncio.wait_for(outside.told.wait(), 5)
    outside.told.clear()
    outside.answers = {("a", "4"): "198.51.100.7:5001"}
    await asyncio.wait_for(outside.told.wait(), 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# ---- a real reflector and a real endpoint ---------------------------------------------------------------------------


@pytest.fixture
async def reflector() -> AsyncIterator[Reflector]:
    reflector = await Reflector.bind(Identity.generate(), ["127.0.0.1:0"])
    serving = asyncio.create_task(reflector.serve())
    yield reflector
    await reflector.close()
    await asyncio.gather(serving, return_exceptions=True)


async def _until(carrier: IrohCarrier, seen: tuple[str, ...]) -> None:
    async with asyncio.timeout(15):
        while carrier._reflection.addresses != seen:
            await asyncio.sleep(0.02)


async def test_the_reflector_tells_the_port_of_the_endpoint_itself(reflector: Reflector) -> None:
    addresses = tuple(address for address in reflector.addresses if address.startswith("127."))
    networks = [Network("study", reflectors=(ReflectorSite(reflector.node_id, addresses),))]
    carrier = await IrohCarrier.bind(Identity.generate(), networks=lambda: tuple(networks))
    own = next(address for address in carrier._endpoint.bound_sockets() if address.startswith("127."))
    await _until(carrier, (own,))
    assert carrier.whereabouts.addresses[0] == own
    assert len(set(carrier.whereabouts.addresses)) == len(carrier.whereabouts.addresses)
    networks.clear()
    await _until(carrier, ())
    await carrier.close()


async def test_a_reflector_with_another_key_than_the_signed_one_is_not_heard(reflector: Reflector) -> None:
    addresses = tuple(address for address in reflector.addresses if address.startswith("127."))
    networks = (Network("study", reflectors=(ReflectorSite(Identity.generate().node_id, addresses),)),)
    carrier = await IrohCarrier.bind(Identity.generate(), networks=lambda: networks)
    async with asyncio.timeout(20):
        while carrier._reflection.problem is None:
            await asyncio.sleep(0.02)
    assert carrier._reflection.addresses == ()
    await carrier.close()
