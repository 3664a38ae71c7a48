"""The frame: exact on the way through, and a clean error for anything else."""

from __future__ import annotations

import asyncio
import struct
import tracemalloc
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgpack
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flaas_jupyter.communications.wire import (
    CHUNK,
    DTYPES,
    HEADER_LIMIT,
    MAGIC,
    Buffer,
    Message,
    decode,
    encode,
    pieces,
)
from flaas_jupyter.errors import InvalidInput

T = TypeVar("T")


class Memory:
    """A frame in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    async def readinto(self, view: memoryview) -> None:
        part = self.data[self.at : self.at + len(view)]
        if len(part) < len(view):
            raise EOFError
        view[:] = part
        self.at += len(view)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for but a hash; one that waits fails the test instead of hanging."""
    return asyncio.run(asyncio.wait_for(work, 30))


def frame(message: Message) -> bytes:
    return b"".join(at_once(encode(message)))


def read(data: bytes, limit: int = 1 << 20) -> Message:
    return at_once(decode(Memory(data), limit))


def handmade(header: object, tensors: bytes = b"") -> bytes:
    packed = header if isinstance(header, bytes) else msgpack.packb(header)
    return struct.pack(">5sI", MAGIC, len(packed)) + packed + tensors


def header(**changes: Any) -> dict[str, Any]:
    plain = {"type": "t", "body": {}, "tensors": [], "digest": blake3(b"").digest()}
    return {**plain, **changes}


def code(data: bytes, limit: int = 1 << 20) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(data, limit)
    return caught.value.code


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
messages = st.builds(
    Message,
    st.text(min_size=1, max_size=20),
    st.dictionaries(st.text(max_size=8), plain_values, max_size=4),
    st.dictionaries(st.text(max_size=8), arrays, max_size=4),
)


@given(messages)
def test_what_goes_in_comes_out(message: Message) -> None:
    back = read(frame(message))
    assert (back.type, back.body) == (message.type, message.body)
    assert list(back.tensors) == list(message.tensors)
    for name, array in message.tensors.items():
        got = back.tensors[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert got.tobytes() == array.tobytes()
        assert got.flags.aligned
        assert got.flags.writeable


@settings(max_examples=400)
@given(messages, st.data())
def test_a_changed_or_cut_frame_is_refused_or_the_same_message(message: Message, data: st.DataObject) -> None:
    good = frame(message)
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.none() | st.integers(0, 255))
    bad = good[:at] if byte is None else good[:at] + bytes([byte]) + good[at + 1 :]
    try:
        back = read(bad)
    except InvalidInput as error:
        refusal = error.code
    else:
        refusal = ""
    assert refusal in ("", "bad-frame", "frame-too-large")
    if not refusal:
        assert [a.tobytes() for a in back.tensors.values()] == [a.tobytes() for a in message.tensors.values()]


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    assert code(noise) in ("bad-frame", "frame-too-large")


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_a_noisy_header_is_refused(noise: bytes) -> None:
    assert code(handmade(noise)) in ("bad-frame", "frame-too-large")


@given(st.lists(st.integers(0, 3 * CHUNK // 2), max_size=6))
@settings(max_examples=25, deadline=None)
def test_pieces_keep_every_byte_in_order(sizes: list[int]) -> None:
    buffers: list[Buffer] = [np.random.default_rng(n).bytes(size) for n, size in enumerate(sizes)]
    cut = list(pieces(buffers))
    assert b"".join(cut) == b"".join(buffers)
    assert all(0 < len(piece) <= CHUNK for piece in cut)


def test_tensors_are_not_copied_on_the_way_out() -> None:
    array = np.arange(1 << 18, dtype=np.float32)
    (view,) = (part for part in at_once(encode(Message("t", {}, {"w": array}))) if isinstance(part, memoryview))
    assert np.shares_memory(np.frombuffer(view, np.uint8), array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(10)[::-2],
        np.arange(4, dtype=">i4"),
        np.array(3.5),
        np.asfortranarray(np.ones((2, 3), np.float16)),
    ],
)
def test_any_layout_of_memory_goes_through(array: np.ndarray[Any, Any]) -> None:
    got = read(frame(Message("t", {}, {"w": array}))).tensors["w"]
    np.testing.assert_array_equal(got, array)
    assert got.shape == array.shape


@pytest.mark.parametrize("array", [np.array([None]), np.array(["a"]), np.ones(1, complex), np.zeros(1, "M8[s]")])
def test_a_dtype_off_the_list_is_refused_at_the_sender(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InvalidInput, match="dtype"):
        at_once(encode(Message("t", {}, {"w": array})))


@pytest.mark.parametrize("body", [{"x": object()}, {1: "x"}, {"x": {2: 3}}, {"x": 1 << 70}, {"x": {1, 2}}])
def test_a_body_that_is_not_plain_data_is_refused_at_the_sender(body: dict[Any, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        at_once(encode(Message("t", body)))
    assert caught.value.code == "bad-frame"


@pytest.mark.parametrize(
    "bad",
    [
        header(more=1),
        header(type=""),
        header(type="t" * 65),
        header(type=b"t"),
        header(body=[]),
        header(body={b"x": 1}),
        header(body={"x": msgpack.ExtType(5, b"")}),
        header(body={"x": msgpack.Timestamp(1)}),
        header(digest=b"short"),
        header(digest="0" * 64),
        header(tensors={}),
        header(tensors=[["w", "<f4"]]),
        header(tensors=[["w", "O", [1]]]),
        header(tensors=[["w", ">f4", [1]]]),
        header(tensors=[["w", ["<f4"], [1]]]),
        header(tensors=[["w", "<f4", [-1]]]),
        header(tensors=[["w", "<f4", [1.0]]]),
        header(tensors=[["w", "<f4", [True]]]),
        header(tensors=[["w", "<f4", [1] * 33]]),
        header(tensors=[["w", "<f4", [0]], ["w", "<f4", [0]]]),
        header(tensors=[[1, "<f4", [0]]]),
        [],
        None,
        b"\xc1",
        b"\x91" * 100_000,
    ],
    ids=str,
)
def test_a_forged_header_is_refused(bad: object) -> None:
    assert code(handmade(bad)) == "bad-frame"


def test_a_wrong_digest_is_refused() -> None:
    forged = header(tensors=[["w", "|u1", [3]]], digest=blake3(b"abc").digest())
    assert read(handmade(forged, b"abc")).tensors["w"].tobytes() == b"abc"
    assert code(handmade(forged, b"abd")) == "bad-frame"


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">5sI", MAGIC, HEADER_LIMIT + 1),
        struct.pack(">5sI", MAGIC, 2**32 - 1),
        handmade(header(tensors=[["w", "<f8", [1 << 40]]])),
        handmade(header(tensors=[["w", "<f8", [1 << 32, 1 << 32]]])),
        handmade(header(tensors=[["w", "<f8", [0, 1 << 62]]])),
        handmade(header(tensors=[["w", "<f8", [2**64 - 1] * 32]])),
        handmade(header(tensors=[[str(n), "|u1", [1 << 19]] for n in range(3)])),
    ],
)
def test_what_is_too_large_is_refused_before_memory_is_taken(data: bytes) -> None:
    tracemalloc.start()
    try:
        assert code(data) == "frame-too-large"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_limit_may_depend_on_the_type() -> None:
    data = frame(Message("small", {}, {"w": np.zeros(8)}))
    assert at_once(decode(Memory(data), {"small": 64}.__getitem__)).nbytes == 64
    with pytest.raises(InvalidInput, match="'small'"):
        at_once(decode(Memory(data), {"small": 63}.__getitem__))


def test_large_tensors_go_through_in_chunks() -> None:
    array = np.random.default_rng(0).standard_normal(3 * CHUNK // 8 + 5)
    message = Message("t", {}, {"odd": np.ones(3, np.int8), "w": array})
    data = b"".join(asyncio.run(encode(message)))
    np.testing.assert_array_equal(read(data, 4 * CHUNK).tensors["w"], array)
