"""How large the record batches of an Arrow file are once they are expanded, told before anything is.

Arrow expands a batch as a whole. What it will come to stands before each compressed buffer (Arrow columnar format,
"IPC: Compressed Buffers"): 8 bytes, little-endian, -1 for one that is not compressed. Where the buffers are is told by
metadata in flatbuffers, of which a few fields are read here; Arrow checks the rest when it reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .data_file import DataFile
from .refusals import unreadable

_TAIL = struct.Struct("<i6s")
_MAGIC = b"ARROW1"
_BLOCK = np.dtype([("offset", "<i8"), ("metadata", "<i4"), ("", "<i4"), ("body", "<i8")])
_BUFFER = np.dtype([("offset", "<i8"), ("length", "<i8")])
# Numbers of fields in Arrow's File.fbs and Message.fbs.
_DICTIONARIES, _BATCHES = 2, 3
_VERSION, _HEADER_TYPE, _HEADER, _CUSTOM = 0, 1, 2, 4
_DATA = 1
_BUFFERS, _COMPRESSION = 2, 3
_DICTIONARY_BATCH, _V5 = 2, 4


@dataclass(frozen=True)
class _Table:
    """A table of a flatbuffer; raises `struct.error` or `ValueError` where it is damaged."""

    data: bytes
    place: int

    @classmethod
    def root(cls, data: bytes, start: int = 0) -> _Table:
        return cls(data, start + _read("<I", data, start))

    def field(self, number: int) -> int | None:
        """Return where a field is, None if it is left out."""
        table = self.place - _read("<i", self.data, self.place)
        entry = 4 + 2 * number
        if entry + 2 > _read("<H", self.data, table):
            return None
        offset = _read("<H", self.data, table + entry)
        return self.place + offset if offset else None

    def number(self, number: int, kind: str) -> int:
        place = self.field(number)
        return 0 if place is None else _read(kind, self.data, place)

    def table(self, number: int) -> _Table:
        place = self.field(number)
        if place is None:
            raise ValueError("a table is missing")
        return _Table.root(self.data, place)

    def structs(self, number: int, kind: np.dtype[Any]) -> list[Any]:
        place = self.field(number)
        if place is None:
            return []
        start = place + _read("<I", self.data, place)
        count = _read("<I", self.data, start)
        entries: list[Any] = np.frombuffer(self.data, kind, count, start + 4).tolist() if count else []
        return entries


def expanded_sizes(file: DataFile, opened: Any) -> Iterator[int]:
    """Yield the bytes of all dictionaries together, and then those of each record batch.

    Parameters
    ----------
    file : DataFile
        For messages.
    opened : pyarrow.NativeFile
        The file, which is one of Arrow's.

    Raises
    ------
    InvalidInput
        Code ``unreadable-data``.
    """
    try:
        size = opened.size()
        length, magic = _TAIL.unpack(opened.read_at(_TAIL.size, size - _TAIL.size))
        if magic != _MAGIC or not 0 < length <= size - _TAIL.size:
            raise ValueError("no footer")
        footer = _Table.root(opened.read_at(length, size - _TAIL.size - length))
        yield sum(_size(opened, *block) for block in footer.structs(_DICTIONARIES, _BLOCK))
        for block in footer.structs(_BATCHES, _BLOCK):
            yield _size(opened, *block)
    except (struct.error, ValueError, OverflowError) as error:
        raise unreadable(file.shown, "its metadata are damaged") from error


def _size(opened: Any, offset: int, metadata: int, _: int, __: int) -> int:
    """Bytes of one batch, expanded."""
    if offset < 0 or not 0 < metadata <= opened.size() - offset:
        raise ValueError("outside of the file")
    data = opened.read_at(metadata, offset)
    message = _Table.root(data, 8 if data[:4] == b"\xff\xff\xff\xff" else 4)
    batch = message.table(_HEADER)
    if message.number(_HEADER_TYPE, "<B") == _DICTIONARY_BATCH:
        batch = batch.table(_DATA)
    buffers = [(start, length) for start, length in batch.structs(_BUFFERS, _BUFFER) if length > 0]
    # Before version 5 of the metadata, compression was said in what anybody may add to a message.
    older = message.number(_VERSION, "<h") < _V5 and message.field(_CUSTOM) is not None
    if batch.field(_COMPRESSION) is None and not older:
        return sum(length for _, length in buffers)
    end = max((start + length for start, length in buffers), default=0)
    if any(start < 0 for start, _ in buffers) or end > opened.size() - offset - metadata:
        raise ValueError("outside of the file")
    body = opened.read_at(end, offset + metadata)  # in one piece: a store is asked once
    return sum(_expanded(body, start, length) for start, length in buffers)


def _expanded(body: bytes, start: int, length: int) -> int:
    stated = _read("<q", body, start) if length >= 8 else -1
    return max(length, stated)


def _read(kind: str, data: bytes, place: int) -> int:
    if place < 0:
        raise ValueError("outside of the metadata")
    value: int = struct.unpack_from(kind, data, place)[0]
    return value
