"""JSON lines: UTF-8, one object a line, each value a number, text, truth value or null; ``.gz`` compressed.

Read twice as CSV is: once for the types that hold all values, then in these types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from ...errors import InvalidInput
from .blocks import text_blocks
from .canonical import canonical_type, nested, require_names, require_width, unified_type
from .data_file import DataFile
from .limits import LIMITS
from .refusals import unreadable

# A line that leaves columns out has a missing value for each: as many values as lines times columns are made at a time.
_VALUES = 1 << 25
_TEXT = re.compile(rb'"([^"\\\n]*+(?:\\.[^"\\\n]*+)*+)"(\s*:)?')
_FEW = 64

_DEPTH = 32
"""Brackets within brackets of one line: Arrow's reader goes into each by recursion, and its stack is finite."""
_LINES = "One object a line: DataFrame.to_json(path, orient='records', lines=True)."


class JsonLines:
    """The format; see the module."""

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")

    def schema(self, file: DataFile, texts: Sequence[str]) -> Any:
        """See `Format.schema`."""
        kinds: dict[str, Any] = {}
        rows = 0
        for block, before in _blocks(file, None):
            table = _parsed(file, block, before, None)
            for field in table.schema:
                if pa.types.is_nested(field.type):
                    raise nested(file.shown, field.name)
                kind = unified_type(kinds.get(field.name, pa.null()), field.type)
                if kind is None:
                    raise _mixed(file, field.name)
                kinds[field.name] = kind
            require_width(file.shown, len(kinds))
            rows += len(table)
            LIMITS.check(file.shown, file.size, rows * len(kinds))
        if not kinds:
            raise InvalidInput(f"{file.shown} has no columns.", code="empty-data")
        require_names(file.shown, list(kinds))
        for name in texts:
            if name in kinds and pa.types.is_temporal(kinds[name]):  # what looks like a time is a text in JSON
                kinds[name] = pa.string()
        return pa.schema([(name, canonical_type(kind)) for name, kind in kinds.items()])

    def batches(self, file: DataFile, schema: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """See `Format.batches`."""
        wanted = pa.schema([schema.field(name) for name in columns])
        for block, before in _blocks(file, len(columns)):
            table = _parsed(file, block, before, wanted)
            yield from table.select(list(columns)).to_batches(max_chunksize=rows)


def _blocks(file: DataFile, width: int | None) -> Iterator[tuple[bytes, int]]:
    """Yield blocks of lines with the number of lines before; of `width` columns, or as many as there are names."""
    before = 0
    for block in text_blocks(file, quotes=False):
        if block.strip():
            _require_lines(file, block, before)
        for part in _parts(file, block, width):
            if part.strip():
                yield part, before
            before += part.count(b"\n")


def _parts(file: DataFile, block: bytes, width: int | None) -> Iterator[bytes]:
    objects = block.count(b"{")  # at most; Arrow also reads several in one line
    columns = _most_names(block, objects) if width is None else width
    if columns * objects <= _VALUES:
        yield block
        return
    require_width(file.shown, columns)
    most = max(1, _VALUES // columns)
    values = np.frombuffer(block, np.uint8)
    ends = np.append(np.flatnonzero(values == ord("\n")) + 1, len(block))
    counts = np.searchsorted(np.flatnonzero(values == ord("{")), ends)
    start = before = 0
    while start < len(block):
        fitting = int(np.searchsorted(counts, before + most, side="right")) - 1
        end = int(ends[fitting]) if fitting >= 0 else 0
        if end <= start:
            raise unreadable(file.shown, f"a line holds more than {most} objects", _LINES)
        yield block[start:end]
        start, before = end, int(counts[fitting])


def _most_names(block: bytes, objects: int) -> int:
    """Return how many names of columns there are in a block; more, where that is little enough and sooner told."""
    first = _names(block[: block.find(b"\n") + 1] or block)
    if len(first) <= _FEW and b"\\" not in block:  # then a name that is known stands in its quotes, and nowhere else
        known = sum(block.count(b'"' + name + b'":') for name in first)
        most = len(first) + block.count(b":") - known
        if most * objects <= _VALUES:
            return most
    return len(_names(block))


def _names(data: bytes) -> set[bytes]:
    return {text for text, colon in _TEXT.findall(data) if colon}


def _parsed(file: DataFile, block: bytes, before: int, schema: Any) -> Any:
    read = pa.json.ReadOptions(block_size=1 << 20)
    parse = pa.json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"
    )
    while True:
        try:
            return pa.json.read_json(pa.BufferReader(block), read, parse)
        except pa.ArrowInvalid as error:
            if "straddling" in str(error) and read.block_size <= len(block):
                read.block_size = len(block) + 1
                continue
            raise _refused(file, block, error, before) from None  # its message may have values in it


def _require_lines(file: DataFile, block: bytes, before: int) -> None:
    """Refuse lines that do not close what they open, and brackets too deep for Arrow's reader, before it sees them.

    Arrow may begin to read at any line, so each must be whole by itself.
    """
    values = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero((values == ord("\n")) | (values == ord("\r")))
    ends = np.append(ends, len(values))
    folded = values | 0x20  # [ and {, ] and } differ in this bit alone
    places = np.flatnonzero((folded == ord("{")) | (folded == ord("}")))
    if _flat(values, ends, places):
        return
    quotes = _unescaped(values, np.flatnonzero(values == ord('"')))
    odd = np.searchsorted(quotes, ends) % 2 != 0
    places = places[np.searchsorted(quotes, places) % 2 == 0]
    depths = np.cumsum(np.where(folded[places] == ord("{"), 1, -1), dtype=np.int64)
    after = np.concatenate([np.zeros(1, np.int64), depths])[np.searchsorted(places, ends)]
    wrong = odd | (after != 0)
    first = int(np.argmax(wrong)) if wrong.any() else len(ends)
    deep = np.flatnonzero(depths > _DEPTH)
    if len(deep) and np.searchsorted(ends, places[deep[0]]) <= first:
        line = before + block.count(b"\n", 0, int(places[deep[0]])) + 1
        raise unreadable(
            file.shown,
            f"line {line} has lists or objects more than {_DEPTH} deep in each other",
            "Write single values, or arrays of one shape as npz.",
        )
    if first < len(ends):
        raise _no_object(file, before + block.count(b"\n", 0, int(ends[first])) + 1)


def _flat(values: Any, ends: Any, places: Any) -> bool:
    """Tell whether lines have one bracket at their beginning and one at their end, so that nothing nests, quick to see.

    A text is never open at the end of such a line: Arrow's reader refuses line breaks in it.
    """
    if len(places) % 2 or not len(places):
        return False
    first, last = places[::2], places[1::2]
    starts = np.concatenate([[0], ends[:-1] + 1])
    full = starts < ends
    starts, ends = starts[full], ends[full]
    if len(starts) != len(first) or (first != starts).any() or (last != ends - 1).any():
        return False
    return bool((values[first] == ord("{")).all() and (values[last] == ord("}")).all())


def _unescaped(values: Any, quotes: Any) -> Any:
    """Return the quotes that an even number of backslashes stands before."""
    slashes = np.flatnonzero(values == ord("\\"))
    if not len(slashes) or not len(quotes):
        return quotes
    begins = np.concatenate([[True], np.diff(slashes) != 1])
    starts = np.maximum.accumulate(np.where(begins, slashes, 0))
    nearest = np.searchsorted(slashes, quotes) - 1
    adjacent = (nearest >= 0) & (slashes[nearest] == quotes - 1)
    return quotes[~(adjacent & ((quotes - starts[nearest]) % 2 == 1))]


def _refused(file: DataFile, block: bytes, error: Exception, before: int) -> InvalidInput:
    text = str(error)
    mixed = re.search(r"Column\(/(.*?)\) changed from", text)
    if mixed is not None:
        return _mixed(file, mixed[1].partition("/")[0])
    for line, record in enumerate(block.split(b"\n"), start=before + 1):
        if not record.strip():
            continue
        try:
            found = json.loads(record, object_pairs_hook=_Pairs)
        except ValueError:
            return _no_object(file, line)
        if not isinstance(found, _Pairs):
            return _no_object(file, line)
        if found.repeated:
            return unreadable(file.shown, f"line {line} has several values for one key", "Name each value once.")
    last = before + block.count(b"\n")
    return unreadable(file.shown, f"one of the lines {before + 1} to {last} is not one JSON object", _LINES)


class _Pairs:
    """An object of JSON, of which only matters whether a key stands in it, or in one of its objects, twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        inner = any(isinstance(value, _Pairs) and value.repeated for _, value in pairs)
        self.repeated: bool = inner or len({key for key, _ in pairs}) < len(pairs)


def _no_object(file: DataFile, line: int) -> InvalidInput:
    return unreadable(file.shown, f"line {line} is not one JSON object", _LINES)


def _mixed(file: DataFile, column: str) -> InvalidInput:
    return unreadable(
        file.shown,
        f"column {column!r} holds values of different types",
        "Write numbers without quotes, everywhere, or texts with quotes everywhere.",
    )


FORMAT = JsonLines()
