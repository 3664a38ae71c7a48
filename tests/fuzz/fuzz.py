"""Coverage-guided fuzzing (atheris, libFuzzer) of what strangers and peers can send: `make fuzz`.

``python tests/fuzz/fuzz.py TARGET [libFuzzer options]``, e.g. ``-max_total_time=60 -rss_limit_mb=2048``. A target may
answer only with a value or with an error of ours; whatever else is raised, and memory beyond the limit, is a finding,
which libFuzzer leaves in a file ``crash-…`` to be run again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any

import atheris

with atheris.instrument_imports(include=["flaas_jupyter", "msgpack"]):
    from flaas_jupyter.communications import wire
    from flaas_jupyter.communications.relay import frames, handshake
    from flaas_jupyter.errors import InvalidInput, NotAuthenticated

TENSOR_LIMIT = 1 << 20
CHALLENGE = bytes(handshake.CHALLENGE_BYTES)


class Bytes:
    """A stream that has everything already, so that nothing ever waits."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    async def readinto(self, view: memoryview) -> None:
        if len(view) > len(self._left):
            raise EOFError
        view[:], self._left = self._left[: len(view)], self._left[len(view) :]


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


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


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (messages, headers, relay_frames, relay_handshake)
}

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
