"""Parquet: typed columns in pages, read a page at a time.

Texts are read as the dictionaries that most files have them in, and decoded a piece at a time: a file of 600 bytes may
name one long text in each of a million rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from ...errors import InvalidInput
from .canonical import canonical_batches, canonical_schema
from .data_file import DataFile
from .limits import LIMITS

_BUFFER = 1 << 20
# A page is expanded in memory before its rows can be counted. Writers make row groups of 128 MiB to 1 GiB.
_LARGEST_CHUNK = 2 << 30
# Arrow reads these as plain texts alone, and each may have the one before in it.
_DELTA = {"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"}


class Parquet:
    """The format; see the module."""

    name = "parquet"
    suffixes = (".parquet", ".pq")

    def schema(self, file: DataFile, texts: Sequence[str]) -> Any:
        """See `Format.schema`."""
        with file.random() as opened:
            return canonical_schema(file.shown, _opened(file, opened).schema_arrow)

    def batches(self, file: DataFile, schema: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """See `Format.batches`."""
        wanted = pa.schema([schema.field(name) for name in columns])
        with file.random() as opened:
            parquet = _opened(file, opened)
            named, largest = _texts(parquet, columns)
            width = sum(_width(field.type) for field in wanted)
            LIMITS.check_row(file.shown, width)
            step = max(1, min(rows, LIMITS.row // max(1, width), LIMITS.row // max(1, largest)))
            try:
                parquet = _reader(opened, metadata=parquet.metadata, read_dictionary=named)
                for batch in parquet.iter_batches(batch_size=step, columns=list(columns)):
                    yield from canonical_batches(file.shown, batch, wanted, rows)
            except (pa.ArrowException, OSError) as error:
                raise file.refused(error) from error


def _texts(parquet: Any, columns: Sequence[str]) -> tuple[list[str], int]:
    """Return the columns that are read as dictionaries, and the bytes that a text of another may have."""
    metadata, wanted = parquet.metadata, set(columns)
    named: list[str] = []
    largest = 0
    for number in range(metadata.num_columns):
        column = metadata.schema.column(number)
        if column.path not in wanted or column.physical_type != "BYTE_ARRAY" or column.max_repetition_level:
            continue
        if column.logical_type.type == "DECIMAL":
            continue
        chunks = [metadata.row_group(group).column(number) for group in range(metadata.num_row_groups)]
        if any(not _DELTA.isdisjoint(chunk.encodings) for chunk in chunks):
            largest = max([largest, *(max(c.total_uncompressed_size, c.total_compressed_size) for c in chunks)])
        else:
            named.append(column.path)
    return named, largest


def _width(kind: Any) -> int:
    """Bytes of a value as it is decoded, texts aside."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return int(kind.storage_type.list_size) * _width(kind.value_type)
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # of no fixed width
        return 8


def _reader(opened: Any, **options: Any) -> Any:
    return pa.parquet.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False, **options)


def _opened(file: DataFile, opened: Any) -> Any:
    try:
        parquet = _reader(opened)
    except (pa.ArrowException, OSError) as error:
        raise file.refused(error) from error
    metadata = parquet.metadata
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).total_byte_size
        if size > _LARGEST_CHUNK and size > 1000 * max(file.size, 1):
            raise InvalidInput(
                f"{file.shown} has {file.size} bytes and says that a part of it expands to {size}.",
                code="expands-too-much",
                hint="Write it anew in row groups of usual size: DataFrame.to_parquet(path).",
            )
    return parquet


FORMAT = Parquet()
