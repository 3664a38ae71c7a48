"""Text files as blocks of whole records: UTF-8 checked, gzip expanded within limits, memory of one block.

A record ends at a line break outside quotes. In RFC 4180 quotes inside a quoted value are doubled, so a line break is
outside exactly where an even number of quotes stands before it.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .data_file import DataFile
from .limits import LIMITS, Limits
from .refusals import unreadable

BLOCK = 16 << 20
_CHUNK = 1 << 20
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAVE = "Save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW."


def text_blocks(file: DataFile, *, quotes: bool, limits: Limits = LIMITS, block: int = BLOCK) -> Iterator[bytes]:
    """Yield the text of a file in blocks that end with whole records.

    Parameters
    ----------
    file : DataFile
        UTF-8 text, with or without a byte order mark; if its name ends in ``.gz``, compressed.
    quotes : bool
        Whether a line break between double quotes does not end a record.

    Raises
    ------
    InvalidInput
        ``unreadable-data``; ``expands-too-much``.
    """
    pending, place = b"", 0
    for chunk in _sized(_expanded(file, limits), block):
        data = pending + chunk
        if place == 0:
            if data.startswith(_UTF_16):
                raise unreadable(file.shown, "it is UTF-16 text, not UTF-8", "Save it as UTF-8.")
            data = data.removeprefix(codecs.BOM_UTF8)
        cut = _last_end(data, quotes)
        if cut == 0 and len(data) > limits.line:
            raise unreadable(
                file.shown,
                f"a record is longer than {limits.line >> 20} MiB" + (" or a quote is never closed" if quotes else ""),
            )
        if cut:
            yield _utf8(file, data[:cut], place)
            place += cut
        pending = data[cut:]
    if pending:
        yield _utf8(file, pending.removeprefix(codecs.BOM_UTF8) if place == 0 else pending, place)


def first_record(data: bytes) -> int:
    """Return the length of the first record with its line break, quotes heeded; all of `data` if it is one."""
    end = data.find(b"\n")
    while end >= 0 and data.count(b'"', 0, end) % 2:
        end = data.find(b"\n", end + 1)
    return len(data) if end < 0 else end + 1


def _last_end(data: bytes, quotes: bool) -> int:
    """Length of the whole records at the beginning of `data`."""
    end = data.rfind(b"\n")
    if not quotes or end < 0 or data.count(b'"', 0, end) % 2 == 0:
        return end + 1
    values = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(values == ord("\n"))
    outside = ends[np.searchsorted(np.flatnonzero(values == ord('"')), ends) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def _utf8(file: DataFile, data: bytes, place: int) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise unreadable(file.shown, f"it is not UTF-8 text (byte {place + error.start})", _SAVE) from error
    if b"\x00" in data:
        raise unreadable(file.shown, f"it is no text: there is a zero byte ({place + data.index(0)})")
    return data


def _sized(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    held: list[bytes] = []
    length = 0
    for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        if length >= size:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)


def _expanded(file: DataFile, limits: Limits) -> Iterator[bytes]:
    with file.stream() as stream:
        try:
            if file.path.lower().endswith(".gz"):
                yield from _gunzipped(file, stream, limits)
            else:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except zlib.error as error:
            raise unreadable(file.shown, "it is no gzip file, or a damaged one") from error
        except OSError as error:
            raise file.refused(error) from error


def _gunzipped(file: DataFile, stream: Any, limits: Limits) -> Iterator[bytes]:
    """Expand gzip (RFC 1952) members one after the other, refusing what expands too much while it is read."""
    stored = expanded = 0
    machine, held, ended = zlib.decompressobj(wbits=31), b"", False
    while True:
        if not held:
            held = stream.read(_CHUNK)
            stored += len(held)
            ended = not held
        data = machine.decompress(held, _CHUNK)
        expanded += len(data)
        limits.check(file.shown, stored, expanded)
        if data:
            yield data
        held = machine.unconsumed_tail
        if machine.eof:
            held = machine.unused_data.lstrip(b"\x00") or stream.read(_CHUNK).lstrip(b"\x00")
            if not held:
                return
            machine = zlib.decompressobj(wbits=31)
        elif ended and not data:
            raise unreadable(file.shown, "it ends in the middle of its compressed data")
