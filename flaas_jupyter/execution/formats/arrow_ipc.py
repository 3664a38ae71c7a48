"""Arrow files (the IPC file format, which Feather version 2 is)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from .arrow_sizes import expanded_sizes
from .canonical import canonical_batches, canonical_schema, decoded_sizes
from .data_file import DataFile
from .limits import LIMITS


class ArrowFile:
    """The format; see the module."""

    name = "arrow"
    suffixes = (".arrow", ".feather", ".ipc")

    def schema(self, file: DataFile, texts: Sequence[str]) -> Any:
        """See `Format.schema`."""
        with file.random() as opened:
            return canonical_schema(file.shown, _opened(file, opened).schema)

    def batches(self, file: DataFile, schema: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """See `Format.batches`."""
        wanted = pa.schema([schema.field(name) for name in columns])
        with file.random() as opened, file.random() as beside:
            reader = _opened(file, opened)
            sizes = expanded_sizes(file, beside)
            expanded = next(sizes)
            try:
                for number in range(reader.num_record_batches):
                    expanded += next(sizes)
                    LIMITS.check(file.shown, file.size, expanded)
                    batch = reader.get_batch(number)
                    # Columns of nothing have no buffers; texts in dictionaries, or views, have one for many rows.
                    expanded += len(batch) + int(decoded_sizes(batch, columns).sum())
                    LIMITS.check(file.shown, file.size, expanded)
                    yield from canonical_batches(file.shown, batch, wanted, rows)
            except (pa.ArrowException, OSError) as error:
                raise file.refused(error) from error


def _opened(file: DataFile, opened: Any) -> Any:
    try:
        return pa.ipc.open_file(opened)
    except (pa.ArrowException, OSError) as error:
        raise file.refused(
            error, "Feather version 1 and Arrow streams are not read: DataFrame.to_feather(path)."
        ) from error


FORMAT = ArrowFile()
