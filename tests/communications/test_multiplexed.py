"""Streams over one connection: what an end may do to the other, and what it may not."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications import multiplexed as module
from flaas_jupyter.communications.carrier import BULK, URGENT
from flaas_jupyter.communications.multiplexed import HEADER, LARGEST, MALFORMED, MOST_STREAMS, WINDOW, Multiplexed
from flaas_jupyter.errors import Unreachable

pytestmark = pytest.mark.anyio
Raw = tuple[Multiplexed, asyncio.StreamReader, asyncio.StreamWriter]


NODE = "ab" * 32


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Multiplexed, Multiplexed]]:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Queue[Multiplexed] = asyncio.Queue()

    def accept() -> Multiplexed:
        accepted.put_nowait(Multiplexed(dialled=False, remote="ours"))
        return accepted._queue[-1]  # type: ignore[attr-defined,no-any-return]

    server = await loop.create_server(accept, "127.0.0.1", 0)
    _, ours = await loop.create_connection(
        lambda: Multiplexed(dialled=True, remote="theirs"), *server.sockets[0].getsockname()
    )
    theirs = await accepted.get()
    while theirs.transport is None:
        await asyncio.sleep(0)
    for end in (ours, theirs):
        end.start(NODE)
    for here, there in ((ours, theirs), (theirs, ours)):  # each lets the other in
        for stream in (await here.open_stream(), await _within(there.accept_stream())):
            await stream.finish()
    await _until(lambda: not ours._streams and not theirs._streams)
    yield ours, theirs
    for end in (ours, theirs):
        end.close()
        await end.gone()
    server.close()


async def _against_bare_transport() -> tuple[asyncio.Server, Multiplexed, asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Queue[Any] = asyncio.Queue()
    server = await asyncio.start_server(lambda *streams: accepted.put_nowait(streams), "127.0.0.1", 0)
    _, ours = await loop.create_connection(
        lambda: Multiplexed(dialled=True, remote="them"), *server.sockets[0].getsockname()
    )
    ours.start(NODE)
    return server, ours, *await accepted.get()


@pytest.fixture
async def raw() -> AsyncIterator[Raw]:
    """An end that keeps the rules, and the bare transport of one that need not."""
    server, ours, reader, writer = await _against_bare_transport()
    yield ours, reader, writer
    ours.close()
    await ours.gone()
    writer.close()
    server.close()


async def _read(stream: Any, size: int) -> bytes:
    view = bytearray(size)
    await stream.readinto(memoryview(view))
    return bytes(view)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def _within(work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, 10)


async def test_bytes_arrive_as_they_were_both_ways(pair: Any) -> None:
    ours, theirs = pair
    data = random.Random(1).randbytes(5 * WINDOW + 17)
    out = await ours.open_stream()

    async def echo() -> None:
        back = await theirs.accept_stream()
        for _ in range(5):
            await back.write(await _read(back, WINDOW))
        await back.write(memoryview(await _read(back, 17)))
        with pytest.raises(EOFError):
            await _read(back, 1)
        await back.finish()

    task = asyncio.create_task(echo())
    reading = asyncio.create_task(_read(out, len(data)))
    await _within(out.write(data))
    await out.finish()
    assert await _within(reading) == data
    with pytest.raises(EOFError):
        await _within(_read(out, 1))
    await _within(task)
    await _until(lambda: not ours._streams and not theirs._streams)


async def test_many_streams_at_once_and_more_than_are_allowed_wait(pair: Any) -> None:
    ours, theirs = pair
    most = 0

    async def serve() -> None:
        tasks = []
        for _ in range(400):
            stream = await theirs.accept_stream()
            nonlocal most
            most = max(most, len(theirs._streams))
            tasks.append(asyncio.create_task(answer(stream)))
        await asyncio.gather(*tasks)

    async def answer(stream: Any) -> None:
        await stream.write(await _read(stream, 3))
        await stream.finish()

    async def ask(number: int) -> None:
        stream = await ours.open_stream()
        await stream.write(b"%3d" % number)
        await stream.finish()
        assert await _read(stream, 3) == b"%3d" % number
        with pytest.raises(EOFError):
            await _read(stream, 1)

    serving = asyncio.create_task(serve())
    await asyncio.wait_for(asyncio.gather(*(ask(number) for number in range(400))), 30)
    await _within(serving)
    assert module.FIRST_STREAMS < most <= MOST_STREAMS
    await _until(lambda: not ours._streams and not theirs._streams)


async def test_who_is_not_let_in_may_open_one_stream_and_no_more(raw: Raw) -> None:
    ours, _, _ = raw
    await ours.open_stream()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ours.open_stream(), 0.1)


async def test_both_ends_open_streams(pair: Any) -> None:
    for here, there in (pair, pair[::-1]):
        stream = await here.open_stream()
        await stream.write(b"hello")
        assert await _within(_read(await _within(there.accept_stream()), 5)) == b"hello"


async def test_who_does_not_read_makes_the_writer_wait_and_no_other_stream(pair: Any) -> None:
    ours, theirs = pair
    stuck, quick = await ours.open_stream(), await ours.open_stream()
    writing = asyncio.create_task(stuck.write(bytes(3 * WINDOW)))
    unread = await _within(theirs.accept_stream())
    await _until(lambda: sum(map(len, unread._chunks)) == WINDOW)
    await quick.write(b"now")
    assert await _within(_read(await _within(theirs.accept_stream()), 3)) == b"now"
    assert not writing.done()
    assert sum(map(len, unread._chunks)) == WINDOW
    await _within(_read(unread, 3 * WINDOW))
    await _within(writing)


async def test_what_is_urgent_overtakes_bulk(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = pair
    sent: list[int] = []
    writelines = ours.transport.writelines

    def noted(parts: Any) -> None:
        parts = list(parts)
        sent.append(HEADER.unpack(parts[0])[1])
        writelines(parts)

    streams = [await ours.open_stream() for _ in range(3)]
    for stream, priority in zip(streams, (BULK, 0, URGENT), strict=True):
        await stream.prioritise(priority)
    await _until(lambda: not ours._outbox)
    ours.pause_writing()
    ours.post(module.PING, 0, 1)  # which the transport takes, and no more
    await _until(lambda: not ours._outbox)
    monkeypatch.setattr(ours, "transport", types.SimpleNamespace(**_like(ours.transport), writelines=noted))
    writes = [asyncio.create_task(stream.write(bytes(1000))) for stream in streams]
    await _until(lambda: sum(kind == module.DATA for _, _, kind, *_ in ours._outbox) == 3)
    ours.resume_writing()
    await _within(asyncio.gather(*writes))
    assert sent == [stream.number for stream in reversed(streams)]


def _like(transport: Any) -> dict[str, Any]:
    return {name: getattr(transport, name) for name in ("write", "close", "abort", "is_closing")}


async def test_what_comes_goes_straight_to_who_waits_for_it(pair: Any) -> None:
    ours, theirs = pair
    data = random.Random(2).randbytes(3 * LARGEST + 11)
    stream = await ours.open_stream()
    back = await _within(theirs.accept_stream())
    reading = asyncio.create_task(_read(back, len(data)))
    await _until(lambda: len(back._wanted) == len(data))
    writing = asyncio.create_task(stream.write(data))
    kept = 0
    while not reading.done():
        kept = max(kept, len(back._chunks))
        await asyncio.sleep(0)
    await _within(writing)
    assert reading.result() == data
    assert kept == 0


async def test_a_reader_that_gives_up_in_mid_piece_leaves_a_stream_of_no_use_and_all_others_alone(raw: Raw) -> None:
    ours, _, writer = raw
    writer.write(OPEN2 + _frame(module.DATA, 2, 1000, bytes(500)))
    stream = await _within(ours.accept_stream())
    reading = asyncio.create_task(_read(stream, 4000))
    writer.write(bytes(500) + _frame(module.DATA, 2, 1000, bytes(10)))
    await _until(lambda: stream._placed is not None)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    writer.write(bytes(990) + _frame(module.OPEN, 4) + _frame(module.DATA, 4, 2, b"ok"))
    other = await _within(ours.accept_stream())
    assert await _within(_read(other, 2)) == b"ok"
    with pytest.raises(Unreachable):
        await _within(_read(stream, 1))
    assert ours.is_open


async def test_stopping_to_read_ends_the_other_direction_only(pair: Any) -> None:
    ours, theirs = pair
    stream = await ours.open_stream()
    await stream.write(b"question")
    back = await _within(theirs.accept_stream())
    writing = asyncio.create_task(back.write(bytes(4 * WINDOW)))
    gone = asyncio.create_task(back.abandoned())
    await stream.stop_reading()
    with pytest.raises(Unreachable):
        await _within(writing)
    await _within(gone)
    with pytest.raises(Unreachable):
        await back.write(b"more")
    await stream.write(b"!")
    await stream.finish()
    assert await _within(_read(back, 9)) == b"question!"
    with pytest.raises(Unreachable):
        await _within(_read(stream, 1))
    await _until(lambda: not ours._streams and not theirs._streams)


async def test_giving_up_fails_the_far_sides_reads_and_writes(pair: Any) -> None:
    ours, theirs = pair
    stream = await ours.open_stream()
    await stream.write(b"half a")
    back = await _within(theirs.accept_stream())
    reading = asyncio.create_task(_read(back, 100))
    await stream.abandon()
    with pytest.raises(Unreachable):
        await _within(reading)
    with pytest.raises(Unreachable):
        await back.write(b"answer")
    for again in (stream.abandon, stream.stop_reading, back.abandon):
        await again()
    with pytest.raises(Unreachable):
        await stream.finish()
    assert ours.is_open
    await _until(lambda: not ours._streams and not theirs._streams)


async def test_a_write_that_is_given_up_sends_nothing_more(pair: Any) -> None:
    ours, theirs = pair
    stream = await ours.open_stream()
    writing = asyncio.create_task(stream.write(bytes(3 * WINDOW)))
    back = await _within(theirs.accept_stream())
    await _until(lambda: back._granted == 0)
    writing.cancel()
    await stream.abandon()
    with pytest.raises(Unreachable):
        await _within(_read(back, 3 * WINDOW))
    assert theirs.is_open


async def test_the_end_is_told_with_code_and_reason_and_fails_all_that_waits(pair: Any) -> None:
    ours, theirs = pair
    stream = await ours.open_stream()
    await stream.write(b"x")
    back = await _within(theirs.accept_stream())
    waiting = [
        asyncio.create_task(work)
        for work in (
            _read(back, 2),
            back.write(bytes(9 * WINDOW)),
            theirs.accept_stream(),
            _read(stream, 1),
            ours.accept_stream(),
        )
    ]
    await asyncio.sleep(0)
    ours.close(403, "no longer a member")
    closing = await _within(theirs.closed())
    assert (closing.code, closing.reason) == (403, "no longer a member")
    assert (await _within(ours.closed())).code is None
    for outcome in await _within(asyncio.gather(*waiting, return_exceptions=True)):
        assert isinstance(outcome, Unreachable)
    for use in (ours.open_stream(), theirs.open_stream(), stream.write(b"x"), back.finish()):
        with pytest.raises(Unreachable):
            await use
    await _within(back.abandoned())
    assert not ours.is_open
    assert not theirs.is_open


async def test_a_write_that_the_transport_does_not_take_fails_when_the_connection_ends(pair: Any) -> None:
    ours, _ = pair
    stream = await ours.open_stream()
    await _until(lambda: not ours._outbox)
    ours.pause_writing()  # as for a far side that has died: nothing more is taken
    writes = [asyncio.create_task(stream.write(b"x")) for _ in range(2)]
    await _until(lambda: ours._sending is not None)
    ours.close(408, "nothing heard")
    for write in writes:
        with pytest.raises(Unreachable):
            await _within(write)


async def test_a_far_side_that_ends_twice_over_can_still_be_cut(raw: Raw) -> None:
    ours, _, writer = raw
    writer.write(_frame(module.CLOSE, 403, 0))
    writer.write_eof()
    closing = await _within(ours.closed())
    assert (closing.code, closing.reason) == (403, "")
    await _within(ours.gone())
    assert ours._gone.done()


async def test_a_transport_that_breaks_is_a_loss_without_code(raw: Raw) -> None:
    ours, _reader, writer = raw
    stream = await ours.open_stream()
    writer.transport.abort()
    closing = await _within(ours.closed())
    assert closing.code is None
    with pytest.raises(Unreachable, match="lost"):
        await stream.write(b"x")


async def test_the_round_trip_is_measured(pair: Any) -> None:
    await _until(lambda: all(end.path.rtt is not None for end in pair))
    assert all(0 < end.path.rtt < 5 and end.path.kind == "tls" for end in pair)


def _frame(kind: int, number: int = 0, value: int = 0, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, number, value) + payload


OPEN2 = _frame(module.OPEN, 2)
BROKEN = {
    "an unknown frame": _frame(77),
    "a piece that is too large": OPEN2 + _frame(module.DATA, 2, LARGEST + 1),
    "a stream that nobody opened": _frame(module.DATA, 2, 1, b"x"),
    "a stream of ours": _frame(module.DATA, 1, 1, b"x"),
    "a number out of turn": _frame(module.OPEN, 4),
    "a number of ours": _frame(module.OPEN, 1),
    "the same number twice": OPEN2 + OPEN2,
    "more streams than allowed": b"".join(_frame(module.OPEN, 2 * n) for n in range(1, module.FIRST_STREAMS + 2)),
    "more than there is room for": OPEN2
    + _frame(module.DATA, 2, LARGEST, bytes(LARGEST)) * 2
    + _frame(module.DATA, 2, 1, b"x"),
    "data after the end": OPEN2 + _frame(module.FIN, 2) + _frame(module.DATA, 2, 1, b"x"),
    "two ends": OPEN2 + _frame(module.FIN, 2) + _frame(module.RESET, 2),
    "many small pieces": OPEN2 + _frame(module.DATA, 2, 1, b"x") * (module.MOST_PIECES + 1),
    "credit beyond the window": OPEN2 + _frame(module.CREDIT, 2, 1),
    "credit for a stream to come": _frame(module.CREDIT, 2, 1),
    "too many streams granted": _frame(module.STREAMS, 0, MOST_STREAMS),
    "a long reason": _frame(module.CLOSE, 403, 1 << 20),
}


@pytest.mark.parametrize("frames", BROKEN.values(), ids=BROKEN)
async def test_who_breaks_the_rules_is_told_and_cut_off(raw: Raw, frames: bytes) -> None:
    ours, reader, writer = raw
    writer.write(frames)
    await _within(ours.closed())
    answer = await _within(reader.read())
    at = next(i for i in range(len(answer)) if HEADER.unpack_from(answer, i)[:2] == (module.CLOSE, MALFORMED))
    assert HEADER.unpack_from(answer, at)[2] == len(answer) - at - HEADER.size > 10


async def test_who_opens_and_drops_streams_without_end_is_not_kept_in_memory(raw: Raw) -> None:
    ours, _, writer = raw
    for n in range(1, module.FIRST_STREAMS + 1):
        writer.write(_frame(module.OPEN, 2 * n) + _frame(module.RESET, 2 * n) + _frame(module.STOP, 2 * n))
    await _until(lambda: ours._opened.qsize() == module.FIRST_STREAMS)
    assert ours.is_open, "they are over, and still count until somebody has taken them"
    writer.write(_frame(module.OPEN, 2 * module.FIRST_STREAMS + 2))
    await _within(ours.closed())


async def test_who_asks_for_answers_and_reads_none_is_cut_off(raw: Raw) -> None:
    ours, _reader, writer = raw
    for transport, option in ((ours.transport, socket.SO_SNDBUF), (writer.transport, socket.SO_RCVBUF)):
        assert transport is not None
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 4096)
    writer.transport.set_write_buffer_limits(high=1 << 30)
    writer.transport.pause_reading()
    writer.write(_frame(module.PING, 0, 7) * 80_000)
    closing = await asyncio.wait_for(ours.closed(), 60)
    assert "does not read" in closing.reason
    assert not ours._outbox


FRAMES = st.builds(
    lambda kind, number, value, payload: _frame(kind, number, value) + payload,
    st.integers(0, 11), st.integers(0, 20) | st.integers(0, 2**32 - 1),
    st.integers(0, 64) | st.integers(0, 2**32 - 1), st.binary(max_size=64),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FRAMES | st.binary(max_size=200), max_size=30))
def test_garbage_ends_in_a_close_with_a_reason_and_holds_little(frames: list[bytes]) -> None:
    async def attack() -> None:
        server, ours, _, writer = await _against_bare_transport()
        writer.write(b"".join(frames))
        writer.write_eof()
        while ours.is_open:
            try:
                stream = await asyncio.wait_for(ours.accept_stream(), 10)
            except Unreachable:
                break
            assert sum(map(len, stream._chunks)) <= WINDOW
        closing = await asyncio.wait_for(ours.closed(), 10)
        assert closing.reason or closing.code is not None
        assert not ours._streams
        await ours.gone()
        writer.close()
        server.close()

    asyncio.run(attack())


async def test_a_far_side_that_reads_nothing_does_not_hold_up_the_end(raw: Raw, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "LINGER", 0.2)
    ours, _, writer = raw
    writer.write(_frame(module.STREAMS, 0, MOST_STREAMS - module.FIRST_STREAMS))
    await _until(lambda: ours._may_open == MOST_STREAMS)
    writer.transport.pause_reading()
    for _ in range(4):
        stream = await ours.open_stream()
        asyncio.create_task(stream.write(os.urandom(WINDOW))).add_done_callback(lambda task: task.exception())
    await asyncio.sleep(0)
    ours.close(403, "enough")
    await asyncio.wait_for(ours.gone(), 5)
