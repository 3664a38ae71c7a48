"""What a format of files is: it tells the columns of one file, and reads it a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from .data_file import DataFile
from .listing import Listing

if TYPE_CHECKING:
    import pyarrow


class Format(Protocol):
    """How files of one kind are read. A new format is a module with one of these, and a line in `FORMATS`."""

    @property
    def name(self) -> str:
        """What people call it by."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the names of such files end, in lower case."""
        ...

    def schema(self, file: DataFile, texts: Sequence[str]) -> pyarrow.Schema:
        """Return the columns of a file; `texts` are read as texts where the file leaves types open.

        Raises
        ------
        InvalidInput
            See `flaas_jupyter.execution.sources.Source.schema`.
        """
        ...

    def batches(
        self, file: DataFile, schema: pyarrow.Schema, columns: Sequence[str], rows: int
    ) -> Iterator[pyarrow.RecordBatch]:
        """Yield the rows of a file that has this schema, with `columns` alone, at most `rows` at a time.

        Raises
        ------
        InvalidInput
            As `schema`.
        """
        ...


class Reader(Protocol):
    """How the files of a source become one table: tables one after the other (`Parts`), or images."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the names of its files end, in lower case."""
        ...

    def schema(self, listing: Listing) -> pyarrow.Schema:
        """Return the columns of all files together; raises as `Format.schema`, and code ``parts-differ``."""
        ...

    def batches(
        self, listing: Listing, schema: pyarrow.Schema, columns: Sequence[str], rows: int
    ) -> Iterator[pyarrow.RecordBatch]:
        """Yield the rows of all files; see `Format.batches`."""
        ...
