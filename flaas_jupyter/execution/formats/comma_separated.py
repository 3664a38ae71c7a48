"""CSV (RFC 4180): UTF-8, commas, the first record names the columns; ``.csv.gz`` is the same, compressed.

``.tsv`` has tabs for commas.

A file is read twice: once to find for each column the type that holds all of its values (Arrow's reader looks at the
beginning alone), and then in these types. Empty values and the usual signs for nothing (NA, NaN, null …) are missing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv

from ...errors import InvalidInput
from .blocks import first_record, text_blocks
from .canonical import canonical_type, require_names, unified_type
from .data_file import DataFile
from .refusals import unreadable

_MISSING = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
]  # fmt: skip
_TRUE, _FALSE = ["True", "TRUE", "true"], ["False", "FALSE", "false"]
# Arrow parses a piece of a block at a time, in parallel; with very many columns pieces must not be tiny tables.
_PIECE, _WIDE_PIECE, _WIDE = 1 << 20, 8 << 20, 2_000


@dataclass(frozen=True)
class CommaSeparated:
    """The format; see the module.

    Parameters
    ----------
    name : str
    suffixes : tuple of str
    delimiter : str
        What stands between values.
    """

    name: str = "csv"
    suffixes: tuple[str, ...] = (".csv", ".csv.gz")
    delimiter: str = ","

    def schema(self, file: DataFile, texts: Sequence[str]) -> Any:
        """See `Format.schema`."""
        kinds: dict[str, Any] = {}
        fixed = {name: pa.string() for name in texts}
        names: list[str] = []
        before = 0
        for names, body in _bodies(file, self.delimiter):
            if not kinds:
                require_names(file.shown, names)
                kinds = {name: fixed.get(name, pa.null()) for name in names}
            decided = {name: kind for name, kind in kinds.items() if pa.types.is_string(kind)}
            table = _parsed(file, names, body, before, decided, delimiter=self.delimiter)
            before += len(table)
            for field in table.schema:
                found = pa.string() if pa.types.is_binary(field.type) else field.type
                kinds[field.name] = unified_type(kinds[field.name], found) or pa.string()
        if not names:
            raise InvalidInput(f"{file.shown} has no columns.", code="empty-data")
        return pa.schema([(name, canonical_type(kind)) for name, kind in kinds.items()])

    def batches(self, file: DataFile, schema: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """See `Format.batches`."""
        kinds = {field.name: field.type for field in schema}
        before = 0
        for names, body in _bodies(file, self.delimiter):
            table = _parsed(file, names, body, before, kinds, only=columns, delimiter=self.delimiter)
            before += len(table)
            yield from table.select(list(columns)).to_batches(max_chunksize=rows)


def _bodies(file: DataFile, delimiter: str) -> Iterator[tuple[list[str], bytes]]:
    """Yield the names of the columns with the records of each block."""
    names: list[str] = []
    for block in text_blocks(file, quotes=True):
        body = block
        while not names and body:  # blank lines may come first
            cut = first_record(body)
            names, body = _names(file, body[:cut].decode(), delimiter), body[cut:]
        yield names, body


def _names(file: DataFile, record: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter), [])
    except csv.Error as error:
        raise unreadable(
            file.shown,
            f"its first record, of {len(record)} signs, is no list of names of columns",
            "Write a first line with names, and a line for each row.",
        ) from error


def _parsed(
    file: DataFile,
    names: list[str],
    body: bytes,
    before: int,
    kinds: dict[str, Any],
    only: Sequence[str] | None = None,
    *,
    delimiter: str,
) -> Any:
    quoted = b'"' in body
    piece = _WIDE_PIECE if len(names) > _WIDE else _PIECE
    convert = pa.csv.ConvertOptions(
        column_types=kinds,
        null_values=_MISSING,
        strings_can_be_null=True,
        true_values=_TRUE,
        false_values=_FALSE,
        include_columns=None if only is None else list(only),
    )
    parse = pa.csv.ParseOptions(newlines_in_values=quoted, delimiter=delimiter)
    read = pa.csv.ReadOptions(column_names=names, block_size=piece)
    if not body.strip():
        return pa.table({name: pa.nulls(0, kinds.get(name, pa.null())) for name in (names if only is None else only)})
    while True:
        try:
            return pa.csv.read_csv(pa.BufferReader(body), read, parse, convert)
        except pa.ArrowInvalid as error:
            # A record that straddles two pieces of the block; what is longer than a block has been refused before.
            if "straddling" in str(error) and read.block_size <= len(body):
                read.block_size = len(body) + 1
                continue
            raise _refused(file, names, body, before, error, delimiter) from None  # its message has values in it


def _refused(
    file: DataFile, names: list[str], body: bytes, before: int, error: Exception, delimiter: str
) -> InvalidInput:
    """Say which row is wrong; Arrow's own message has the row's values in it."""
    text = str(error)
    ragged = re.search(r"Expected (\d+) columns, got (\d+)", text)
    if ragged is not None:
        row = before + _ragged_row(body, len(names), delimiter)
        return unreadable(
            file.shown,
            f"row {row} has {ragged[2]} values, the header {ragged[1]}; rows count from 1 after the header",
            "Values with commas in them must be in double quotes; numbers take a point, not a comma."
            if delimiter == ","
            else "Values with tabs in them must be in double quotes.",
        )
    return unreadable(file.shown, "it is damaged, or changed while it was read")


def _ragged_row(body: bytes, width: int, delimiter: str) -> int:
    reader = csv.reader(io.StringIO(body.decode(errors="replace"), newline=""), delimiter=delimiter)
    count = 0
    try:
        for record in reader:
            if record:
                count += 1
                if len(record) != width:
                    break
    except csv.Error:
        count += 1
    return count


FORMAT = CommaSeparated()
TABS = CommaSeparated("tsv", (".tsv", ".tsv.gz"), "\t")
