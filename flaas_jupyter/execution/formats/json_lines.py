"""JSON lines: UTF-8, one object a line, each value a number, text, truth value or null; ``.gz`` compressed.

Read twice as CSV is: once for the types that hold all values, then in these types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.json

from ...errors import InvalidInput
from .blocks import text_blocks
from .canonical import canonical_type, nested, require_names, unified_type
from .data_file import DataFile
from .refusals import unreadable


class JsonLines:
    """The format; see the module."""

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

    def schema(self, file: DataFile, texts: Sequence[str]) -> Any:
        """See `Format.schema`."""
        kinds: dict[str, Any] = {}
        for block, before in _blocks(file):
            for field in _parsed(file, block, before, None).schema:
                if pa.types.is_nested(field.type):
                    raise nested(file.shown, field.name)
                kind = unified_type(kinds.get(field.name, pa.null()), field.type)
                if kind is None:
                    raise _mixed(file, field.name)
                kinds[field.name] = kind
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
        for block, before in _blocks(file):
            table = _parsed(file, block, before, wanted)
            yield from table.select(list(columns)).to_batches(max_chunksize=rows)


def _blocks(file: DataFile) -> Iterator[tuple[bytes, int]]:
    before = 0
    for block in text_blocks(file, quotes=False):
        if block.strip():
            yield block, before
        before += block.count(b"\n")


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
            raise _refused(file, error, before) from None  # its message may have values in it


def _refused(file: DataFile, error: Exception, before: int) -> InvalidInput:
    text = str(error)
    mixed = re.search(r"Column\(/(.*?)\) changed from", text)
    if mixed is not None:
        return _mixed(file, mixed[1].partition("/")[0])
    return unreadable(
        file.shown,
        f"after line {before} there is a line that is not one JSON object",
        "One object a line: DataFrame.to_json(path, orient='records', lines=True).",
    )


def _mixed(file: DataFile, column: str) -> InvalidInput:
    return unreadable(
        file.shown,
        f"column {column!r} holds values of different types",
        "Write numbers without quotes, everywhere, or texts with quotes everywhere.",
    )


FORMAT = JsonLines()
