"""Parquet: typed columns in pages, read a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from ...errors import InvalidInput
from .canonical import canonical_batch, canonical_schema
from .data_file import DataFile

_BUFFER = 1 << 20
# A page is expanded in memory before its rows can be counted. Writers make row groups of 128 MiB to 1 GiB.
_LARGEST_CHUNK = 2 << 30


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
            try:
                for batch in parquet.iter_batches(batch_size=rows, columns=list(columns)):
                    yield canonical_batch(batch, wanted)
            except (pa.ArrowException, OSError) as error:
                raise file.refused(error) from error


def _opened(file: DataFile, opened: Any) -> Any:
    try:
        parquet = pa.parquet.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False)
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
