"""Coverage-guided fuzzing (atheris, libFuzzer) of what strangers and peers can send: `make fuzz`.

``python tests/fuzz/fuzz.py TARGET [libFuzzer options]``, e.g. ``-max_total_time=60 -rss_limit_mb=2048``. A target may
answer only with a value or with an error of ours; whatever else is raised, and memory beyond the limit, is a finding,
which libFuzzer leaves in a file ``crash-…`` to be run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import atheris

with atheris.instrument_imports(include=["flaas_jupyter", "msgpack"]):
    from flaas_jupyter.communications import multiplexed, wire
    from flaas_jupyter.communications.relay import frames, handshake
    from flaas_jupyter.errors import InvalidInput, NotAuthenticated, Unreachable

TENSOR_LIMIT = 1 << 20
CHALLENGE = bytes(handshake.CHALLENGE_BYTES)


LOOP = asyncio.new_event_loop()


class Sent(asyncio.Transport):
    """A transport that takes everything at once, and counts it."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: Any) -> None:
        self.size += len(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Bytes:
    """A stream that has everything already, so that nothing ever waits."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    async def readinto(self, view: memoryview) -> None:
        if len(view) > len(self._left):
            raise EOFError
        view[:], self._left = self._left[: len(view)], self._left[len(view) :]


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that waits for nothing but a hash."""
    return LOOP.run_until_complete(asyncio.wait_for(work, 10))


def messages(data: bytes) -> None:
    """A frame of the mesh: what is taken in holds no more than allowed, and means the same when it is sent on."""
    try:
        message = finished(wire.decode(Bytes(data), TENSOR_LIMIT))
    except InvalidInput:
        return
    assert message.nbytes <= TENSOR_LIMIT
    again = b"".join(finished(wire.encode(message)))
    once_more = finished(wire.decode(Bytes(again), TENSOR_LIMIT))
    assert once_more.type == message.type
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in once_more.tensors.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in message.tensors.items()
    }


def headers(data: bytes) -> None:
    """The same with a good preamble around the fuzzer's bytes, so that it gets to the header soon."""
    messages(wire.MAGIC + len(data).to_bytes(4) + data)


def relay_frames(data: bytes) -> None:
    """A frame of the relay protocol: what is passed on is as long as what came, from the key that sent it."""
    try:
        frame = frames.parse(data)
    except InvalidInput:
        return
    if isinstance(frame, frames.Datagrams):
        source = bytes(range(32))
        out = frame.from_key(source)
        assert len(out) == len(data) <= frames.FRAME_LIMIT
        assert out[0] == data[0] + 2
        assert out[1:33] == source
        assert out[33:] == data[33:]


def relay_handshake(data: bytes) -> None:
    """An answer to a challenge: nobody gets in without a key's signature."""
    try:
        handshake.authenticate(CHALLENGE, data)
    except NotAuthenticated:
        return
    raise AssertionError("a signature was guessed")


def streams(data: bytes) -> None:
    """Frames of streams over TLS, of a peer that dialled: it is cut off with a reason, and holds little here."""
    LOOP.run_until_complete(_streams(data))


async def _streams(data: bytes) -> None:
    sent = Sent()
    connection = multiplexed.Multiplexed(dialled=False, remote="fuzz")
    connection.connection_made(sent)
    connection.start("ab" * 32)
    left = memoryview(data)
    while left:
        room = connection.get_buffer(-1)
        taken = min(len(room), len(left))
        room[:taken], left = left[:taken], left[taken:]
        connection.buffer_updated(taken)
    connection.eof_received()
    connection.connection_lost(None)
    held = []
    with contextlib.suppress(Unreachable):
        while True:
            held.append(await connection.accept_stream())
    assert len(held) <= multiplexed.MOST_STREAMS + len(data) // multiplexed.HEADER.size
    closing = await connection.closed()
    assert closing.reason or closing.code is not None
    assert sent.size <= 2 * len(data) + 4096, "more is sent than was asked for"
    await connection.gone()


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (messages, headers, relay_frames, relay_handshake, streams)
}

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    asyncio.set_event_loop(LOOP)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
