"""Whatever is sent to a relay: it closes with a reason or goes on, keeps nothing, and serves everybody else.

Real sockets; a pair of nodes exchanges a datagram after every attempt. ``FLAAS_FUZZ_SECONDS`` (`make fuzz`) has more
tried, with other seeds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mesh_domain import Domain
from relay_client import RelayClient, answer_to, arrived, datagram
from relay_lab import Api, admission_of

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.relay import frames
from flaas_jupyter.communications.relay.limits import Limits
from flaas_jupyter.communications.relay.server import RelayServer
from flaas_jupyter.errors import InvalidInput

SECONDS = int(os.environ.get("FLAAS_FUZZ_SECONDS", "0"))
DEADLINE = 20.0
UPGRADE = (
    b"GET /relay HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: iroh-relay-v2\r\n\r\n"
)
LIMITS = Limits(strangers=10_000, handshake=2.0, connections_per_key=100, idle=3600.0)
PROTOCOL_ERRORS = {1002, 1003, 1007, 1009}


def tried(examples: int) -> Callable[[Any], Any]:
    """Try so many, or as many as fit into the time that is given for fuzzing."""
    return settings(
        max_examples=max(examples, 10 * SECONDS),
        derandomize=not SECONDS,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


class Lab:
    """A relay with its event loop in a thread, and two nodes that must always reach each other."""

    def __init__(self) -> None:
        self.said: list[logging.LogRecord] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = self.said.append  # type: ignore[method-assign]
        logging.getLogger().addHandler(handler)
        self.forget_handler = lambda: logging.getLogger().removeHandler(handler)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.member, self.a, self.b = (Identity.generate() for _ in range(3))
        self.run(self._open())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, DEADLINE), self.loop).result(DEADLINE + 5)

    async def _open(self) -> None:
        domain = Domain()
        for identity in (self.member, self.a, self.b):
            domain.admit(identity.node_id)
        admission = admission_of(Api(domain), 60.0)
        await admission.refresh()
        self.relay = RelayServer(admission, limits=LIMITS)
        await self.relay.__aenter__()
        self.pair = [await RelayClient.join(self.relay.url, identity) for identity in (self.a, self.b)]
        self.host, self.port = "127.0.0.1", int(self.relay.url.rpartition(":")[2])

    async def serves_others(self) -> None:
        sender, receiver = self.pair
        await sender.send(datagram(self.b, b"still here"))
        assert await receiver.frame() == arrived(self.a, b"still here")
        assert self.relay._exchange.memory.taken == 0
        assert len(self.relay._exchange) <= 3
        assert [record.getMessage() for record in self.said] == [], "who sends nonsense does not fill the log"

    async def stop(self) -> None:
        for client in self.pair:
            await client.leave()
        await self.relay.close()

    def close(self) -> None:
        self.run(self.stop())
        self.forget_handler()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE)
        self.loop.close()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


keys = st.sampled_from([bytes(32), b"\xff" * 32]) | st.binary(min_size=32, max_size=32)
datagrams = st.builds(
    lambda kind, key, rest: bytes([kind]) + key + rest, st.sampled_from([4, 5]), keys, st.binary(max_size=100)
)
controls = st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 255), st.binary(max_size=40))
large = st.builds(
    lambda kind, size: bytes([kind]) + bytes(size), st.sampled_from([4, 5, 9, 20]), st.integers(0, 90_000)
)
sent_frames = st.binary(max_size=200) | datagrams | controls | large


def is_sound(frame: bytes) -> bool:
    """Tell, apart from the relay's own code, whether a node may send `frame`."""
    if not frame or len(frame) > 65_537:
        return False
    least = {4: 34, 5: 36, 9: 9, 10: 9}.get(frame[0])
    if least is None:
        return frame[0] > 13
    return len(frame) == least if frame[0] in (9, 10) else len(frame) >= least


@tried(60)
@given(sent=st.lists(sent_frames, max_size=6))
def test_any_frames_of_a_member(lab: Lab, sent: list[bytes]) -> None:
    async def attempt() -> None:
        async with await RelayClient.join(lab.relay.url, lab.member) as client:
            try:
                for frame in sent:
                    await client.send(frame)
                await client.send(b"\x09" + b"the last")
            except ConnectionError:
                pass  # the relay was quicker
            closed_with = None
            while True:
                message = await client.socket.receive()
                if message.type is not aiohttp.WSMsgType.BINARY:
                    closed_with = client.socket.close_code
                    break
                if message.data == b"\x0a" + b"the last":
                    break
        if all(map(is_sound, sent)):
            assert closed_with is None
        else:
            assert closed_with in PROTOCOL_ERRORS
        await lab.serves_others()

    lab.run(attempt())


@tried(40)
@given(answer=st.binary(max_size=120) | st.integers(0, 97), cut=st.integers(0, 98))
def test_any_answer_to_the_challenge(lab: Lab, answer: bytes | int, cut: int) -> None:
    """Random bytes; or, from a number, a true answer that is wrong at that place and may be cut short."""

    async def attempt() -> None:
        async with await RelayClient.open(lab.relay.url) as client:
            true = answer_to((await client.frame())[1:], lab.member)
            if isinstance(answer, int):
                wrong = (true[:answer] + bytes([true[answer] ^ 1]) + true[answer + 1 :])[: cut or None]
            else:
                wrong = answer
            await client.send(wrong)
            frames_back, code, _ = await client.frames_until_end()
            assert [frame[0] for frame in frames_back] == [3]
            assert code == aiohttp.WSCloseCode.POLICY_VIOLATION
        await lab.serves_others()

    lab.run(attempt())


pieces = st.lists(
    st.binary(max_size=60)
    | st.sampled_from(
        [b"\x82\xfe", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x89\x80", b"\xff" * 30, b"\x00\x80"]
    )
    | st.integers(0, 255).map(lambda byte: bytes([byte, 0x80 | 5]) + bytes(9)),
    max_size=5,
)


@tried(40)
@given(
    start=st.sampled_from([UPGRADE, b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n"]), rest=pieces
)
def test_any_bytes_on_the_connection(lab: Lab, start: bytes, rest: list[bytes]) -> None:
    async def attempt() -> None:
        reader, writer = await asyncio.open_connection(lab.host, lab.port)
        try:
            writer.write(start + b"".join(rest))
            await writer.drain()
            writer.write_eof()
            taken = 0
            while piece := await reader.read(4096):
                taken += len(piece)
            assert taken < 10_000
        except ConnectionError:
            pass
        finally:
            writer.close()
        await lab.serves_others()

    lab.run(attempt())


@tried(25)
@given(cut=st.integers(0, 300), frame=sent_frames)
def test_a_node_that_vanishes_in_the_middle_of_a_frame(lab: Lab, cut: int, frame: bytes) -> None:
    async def attempt() -> None:
        client = await RelayClient.join(lab.relay.url, lab.member)
        transport = client.socket._response.connection.transport  # type: ignore[union-attr]
        header = b"\x82\xfe" + max(len(frame), 126).to_bytes(4)[2:] + bytes(4)
        transport.write((header + frame)[:cut])
        transport.abort()
        await client.session.close()
        async with asyncio.timeout(5):
            while len(lab.relay._exchange) > 2:
                await asyncio.sleep(0.005)
        await lab.serves_others()

    lab.run(attempt())


@tried(200)
@given(frame=sent_frames)
def test_what_is_read_is_what_is_sound(frame: bytes) -> None:
    if not is_sound(frame):
        with pytest.raises(InvalidInput, match="cannot be used"):
            frames.parse(frame)
        return
    read = frames.parse(frame)
    if isinstance(read, frames.Datagrams):
        out = read.from_key(b"s" * 32)
        assert (out[0], out[1:33], out[33:]) == (frame[0] + 2, b"s" * 32, frame[33:])
