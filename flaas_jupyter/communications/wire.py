"""The frame: one message of a header and raw tensors, with every limit checked before allocation.

``FLAS`` ``0x01`` | uint32 big-endian header length | msgpack header | tensors, little-endian, C order, in
header order. The header is ``{"type", "body", "tensors": [[name, dtype, shape], ...], "digest"}``, where
the digest is the BLAKE3 of the tensors' bytes. There is no pickle and no msgpack extension type: a frame
can hold data only.

Tensors are not copied on the way out, and on the way in they are views into one buffer that the socket
filled.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import msgpack
import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ..errors import InvalidInput

MAGIC = b"FLAS\x01"
HEADER_LIMIT = 4 << 20
CHUNK = 1 << 20
DIGEST_SIZE = 32
LONGEST_TYPE = 64
"""Characters of a message's type."""

DTYPES = ("|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8")
"""NumPy's names of what may cross: booleans, integers of 8 to 64 bits, floats of 16 to 64 bits."""

_HASHERS = max(1, min(4, os.cpu_count() or 1))
_PREAMBLE = struct.Struct(">5sI")
_MAX_DIMENSIONS = 32
_SMALL = 64 << 10  # buffers below this are joined: one write costs more than copying them

Array = npt.NDArray[Any]
Buffer = bytes | memoryview


@dataclass(frozen=True, eq=False)
class Message:
    """What one node says to another.

    Parameters
    ----------
    type : str
        Name of the message, e.g. ``"round/begin"``; at most 64 characters.
    body : dict
        JSON values and bytes; with the tensors' names and shapes at most 4 MiB.
    tensors : dict of str to ndarray
        Booleans, integers of 8 to 64 bits, floats of 16 to 64 bits, of any shape. They are sent as they are
        at the time of sending: leave them alone until the call returns.
    digest : bytes, optional
        BLAKE3 of all bytes of the tensors, in order, where it is known: one that has come has it, and to one that
        is sent with it none is computed. The far side compares it.
    """

    type: str
    body: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)
    digest: bytes | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(array.nbytes for array in self.tensors.values())


class Payload:
    """The tensors of a message laid end to end, in ranges of which they are sent one by one.

    Nothing is copied before a range is asked for: leave the tensors alone as long.

    Parameters
    ----------
    tensors : dict of str to ndarray
        As of a `Message`.

    Raises
    ------
    InvalidInput
        Code ``bad-frame``: a dtype that cannot cross.
    """

    def __init__(self, tensors: dict[str, Array]) -> None:
        arrays = {name: _wire_array(name, array) for name, array in tensors.items()}
        self.specs = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
        self._views = [array.reshape(-1).view(np.uint8) for array in arrays.values() if array.size]
        self._ends = list(itertools.accumulate(view.size for view in self._views))
        self.size = self._ends[-1] if self._ends else 0

    async def digests(self, step: int) -> list[bytes]:
        """Return the BLAKE3 of each range of `step` bytes, made on several processors."""

        def some(starts: Sequence[int]) -> list[bytes]:
            ranges = (self.range(start, min(start + step, self.size)) for start in starts)
            return [blake3(part.data).digest() for part in ranges]

        starts = range(0, self.size, step)
        if len(starts) < 2:
            return some(starts)
        share = -(-len(starts) // _HASHERS)
        parts = [starts[first : first + share] for first in range(0, len(starts), share)]
        loop = asyncio.get_running_loop()
        made = await asyncio.gather(*(loop.run_in_executor(_hashers(), some, part) for part in parts))
        return [digest for part in made for digest in part]

    def range(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Return the bytes from `start` to `stop`: a view where they are of one tensor."""
        found = []
        for view, end in zip(self._views, self._ends, strict=True):
            begin = end - view.size
            if begin < stop and start < end:
                found.append(view[max(start - begin, 0) : stop - begin])
        return found[0] if len(found) == 1 else np.concatenate(found)


def tensors_of(payload: npt.NDArray[np.uint8], specs: object) -> dict[str, Array]:
    """Return the tensors that lie end to end in `payload`, as views where they are aligned.

    Raises
    ------
    InvalidInput
        Code ``bad-frame``: `specs`, which came over the network, do not describe so many bytes.
    """
    if not isinstance(specs, list):
        raise _bad("its tensors are not a list")
    parsed = [_parse_spec(entry) for entry in specs]
    if len({spec.name for spec in parsed}) != len(parsed) or sum(spec.nbytes for spec in parsed) != payload.size:
        raise _bad("its tensors are not those that were sent before it")
    return dict(_tensors(payload, parsed))


class Reader(Protocol):
    """Where a frame comes from."""

    async def readinto(self, view: memoryview) -> None:
        """Fill all of `view`; raises `EOFError` on an early end, `Unreachable` if the stream is lost."""


async def encode(message: Message) -> list[Buffer]:
    """Return the frame of `message` as buffers to be written one after the other.

    Raises
    ------
    InvalidInput
        Code ``bad-frame``: a tensor of a dtype that cannot cross, or a body that is not plain data;
        ``frame-too-large``: a header of more than 4 MiB.
    """
    arrays = {name: _wire_array(name, array) for name, array in message.tensors.items()}
    views = [array.reshape(-1).view(np.uint8).data for array in arrays.values() if array.size]
    header = {
        "type": message.type,
        "body": message.body,
        "tensors": [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()],
        "digest": message.digest or await _digest(views),
    }
    try:
        packed = msgpack.packb(header, use_bin_type=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _bad(f"the body of {message.type!r} is not plain data: {error}") from error
    if len(packed) > HEADER_LIMIT:
        raise _too_large("header", len(packed), HEADER_LIMIT)
    _parse_header(packed, limit=message.nbytes)  # what we send, the far side must be able to read
    return [_PREAMBLE.pack(MAGIC, len(packed)) + packed, *views]


Place = Callable[[str, dict[str, Any], int], "npt.NDArray[np.uint8] | None"]
"""Given type, body and bytes of a message, returns where its tensors are to be put, or None for memory of their own."""


async def decode(reader: Reader, limit: int | Callable[[str], int], place: Place | None = None) -> Message:
    """Read one frame.

    Parameters
    ----------
    reader : Reader
        The stream, at the start of a frame.
    limit : int, or function of the message's type that returns one
        Bytes that all tensors together may have. Nothing of more than this, or of more than 4 MiB of
        header, is ever allocated.
    place : Place, optional
        Saves a copy of what has a place already. What is put there may be anything until this returns.

    Raises
    ------
    InvalidInput
        Code ``bad-frame``: truncated, corrupt, or of another version; ``frame-too-large``: beyond the limit.
    Unreachable
        The stream was lost.
    """
    try:
        preamble = await _read(reader, _PREAMBLE.size)
        magic, length = _PREAMBLE.unpack(preamble)
        if magic != MAGIC:
            raise _bad(f"it starts with {magic!r}, not with {MAGIC!r}")
        if length > HEADER_LIMIT:
            raise _too_large("header", length, HEADER_LIMIT)
        header, specs = _parse_header(bytes(await _read(reader, length)), limit)
        size = sum(spec.nbytes for spec in specs)
        payload = place(header["type"], header["body"], size) if place is not None and size else None
        if payload is None:
            payload = np.empty(size, np.uint8)  # committed as bytes arrive, not before
        digest = await _fill(reader, payload)
    except EOFError as error:
        raise _bad("it ends before its time") from error
    if digest != header["digest"]:
        raise _bad("its tensors are not what the sender hashed")
    return Message(header["type"], header["body"], dict(_tensors(payload, specs)), digest)


def pieces(buffers: Sequence[Buffer]) -> Iterator[Buffer]:
    """Cut and join `buffers` to quick writes: small neighbours joined, large ones in pieces of 1 MiB."""
    small: list[Buffer] = []
    held = 0
    for buffer in filter(len, buffers):
        if len(buffer) < _SMALL and held + len(buffer) <= CHUNK:
            small.append(buffer)
            held += len(buffer)
            continue
        if small:
            yield b"".join(small)
            small, held = [], 0
        view = memoryview(buffer)
        yield from (view[start : start + CHUNK] for start in range(0, len(view), CHUNK))
    if small:
        yield b"".join(small)


@dataclass(frozen=True)
class _Spec:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _parse_header(packed: bytes, limit: int | Callable[[str], int]) -> tuple[dict[str, Any], list[_Spec]]:
    try:
        header = msgpack.unpackb(packed, raw=False, strict_map_key=True, max_ext_len=0)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise _bad(f"its header is not msgpack ({type(error).__name__})") from error
    if not isinstance(header, dict) or set(header) != {"type", "body", "tensors", "digest"}:
        raise _bad("its header has not the four fields of version 1")
    kind, body, tensors, digest = header["type"], header["body"], header["tensors"], header["digest"]
    if not isinstance(kind, str) or not 0 < len(kind) <= LONGEST_TYPE:
        raise _bad(f"its type is not a text of 1 to {LONGEST_TYPE} characters")
    if not isinstance(body, dict) or not _is_plain(body):
        raise _bad("its body is not an object of plain data")
    if not isinstance(digest, bytes) or len(digest) != DIGEST_SIZE:
        raise _bad("its digest is not a BLAKE3 of 32 bytes")
    if not isinstance(tensors, list):
        raise _bad("its tensors are not a list")
    specs = [_parse_spec(entry) for entry in tensors]
    if len({spec.name for spec in specs}) != len(specs):
        raise _bad("two of its tensors have the same name")
    total, most = sum(spec.nbytes for spec in specs), limit(kind) if callable(limit) else limit
    if total > most:
        raise _too_large(f"tensors of {kind!r}", total, most)
    return header, specs


def _parse_spec(entry: object) -> _Spec:
    if not isinstance(entry, list) or len(entry) != 3:
        raise _bad("a tensor is not described by name, dtype and shape")
    name, code, shape = entry
    if not isinstance(name, str) or not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise _bad(f"a tensor's name is not a text, or its shape not a list of at most {_MAX_DIMENSIONS}")
    if code not in DTYPES:
        raise _bad(f"tensor {name[:80]!r} has dtype {str(code)[:20]!r}; allowed are {', '.join(DTYPES)}")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise _bad(f"tensor {name[:80]!r} has a shape that is not of whole numbers")
    if math.prod(max(side, 1) for side in shape) >= 1 << 59:
        raise _too_large(f"shape of tensor {name[:80]!r}", math.prod(shape), 1 << 59)
    return _Spec(name, np.dtype(code), tuple(shape))


def _is_plain(body: dict[str, Any]) -> bool:
    """Tell whether `body` holds JSON values and bytes only, with texts as keys (msgpack can say more)."""
    left: list[Any] = [body]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                return False
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif value is not None and not isinstance(value, (bool, int, float, str, bytes)):
            return False
    return True


def _wire_array(name: str, array: Array) -> Array:
    """Return `array` little-endian and in C order: itself, if it is so already, as it nearly always is."""
    little = array.dtype.newbyteorder("<")
    if little.str not in DTYPES:
        raise _bad(f"tensor {name[:80]!r} has dtype {array.dtype}; allowed are {', '.join(DTYPES)}")
    return np.asarray(array, dtype=little, order="C")


async def _digest(views: Sequence[memoryview]) -> bytes:
    def compute() -> bytes:
        digest = blake3()
        for view in views:
            digest.update(view)
        return digest.digest()

    if sum(map(len, views)) <= CHUNK:
        return compute()
    # It lets go of the interpreter: the event loop runs on.
    return await asyncio.get_running_loop().run_in_executor(_hashers(), compute)


async def _read(reader: Reader, size: int) -> bytearray:
    buffer = bytearray(size)
    if size:
        await reader.readinto(memoryview(buffer))
    return buffer


async def _fill(reader: Reader, payload: npt.NDArray[np.uint8]) -> bytes:
    """Read `payload` chunk by chunk and return its BLAKE3."""
    digest = blake3()
    view = payload.data
    for start in range(0, len(view), CHUNK):
        chunk = view[start : start + CHUNK]
        await reader.readinto(chunk)
        digest.update(chunk)  # quicker than another thread would wake up
    return digest.digest()


@cache
def _hashers() -> ThreadPoolExecutor:
    """Return threads that do nothing but hash: the loop's own may be busy for long."""
    return ThreadPoolExecutor(_HASHERS, "flaas-hash")


def _tensors(payload: npt.NDArray[np.uint8], specs: list[_Spec]) -> Iterator[tuple[str, Array]]:
    offset = 0
    for spec in specs:
        raw = payload[offset : offset + spec.nbytes]
        aligned = raw if offset % spec.dtype.alignment == 0 else raw.copy()
        yield spec.name, aligned.view(spec.dtype).reshape(spec.shape)
        offset += spec.nbytes


def _bad(what: str) -> InvalidInput:
    return InvalidInput(
        f"The message cannot be used: {what}.",
        code="bad-frame",
        hint="Both nodes need compatible versions; if they have, the message was damaged or forged.",
    )


def _too_large(what: str, size: int, limit: int) -> InvalidInput:
    return InvalidInput(
        f"The message is too large: {what} of {size} bytes, allowed are {limit}.",
        code="frame-too-large",
        hint="Both nodes need the same plan; a larger model needs a larger limit at the receiving node.",
    )
