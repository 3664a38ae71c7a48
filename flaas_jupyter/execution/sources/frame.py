"""Objects of a notebook as a source: tables of pandas and Arrow, dictionaries of arrays, ``(x, y)``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import InvalidInput
from ..formats import tensors
from ..formats.canonical import canonical_batch, canonical_schema, require_names
from .file_source import require_columns
from .source import ROWS, Source


@dataclass
class FrameSource:
    """A table in memory as a `Source`; `write` makes a file of it.

    Parameters
    ----------
    table : pyarrow.Table
        Its rows.
    """

    table: Any = field(repr=False)
    kind: str = "frame"
    url: str = "frame:"

    def stamp(self) -> str:
        """See `Source.stamp`."""
        digest = hashlib.sha256()
        with pa.ipc.new_stream(_Digesting(digest), self.schema()) as writer:
            for batch in self.batches():
                writer.write_batch(batch)
        return digest.hexdigest()

    def schema(self) -> Any:
        """See `Source.schema`."""
        return canonical_schema("The object", self.table.schema)

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[Any]:
        """See `Source.batches`."""
        schema = self.schema()
        wanted = schema.names if columns is None else list(columns)
        require_columns("The object", schema, wanted)
        chosen = pa.schema([schema.field(name) for name in wanted])
        for batch in self.table.to_batches(max_chunksize=rows):
            yield canonical_batch(batch, chosen)


class _Digesting:
    """A file that is only digested."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self._size = 0

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""


def table_of(value: Any) -> FrameSource:
    """Return an object of a notebook as a source.

    Parameters
    ----------
    value : DataFrame, pyarrow.Table, pyarrow.RecordBatch, mapping of str to array, structured array, or tuple (x, y)
        A table; the index of a DataFrame is no column of it. Arrays have shape (n, …): those of a mapping are columns
        of its names, those of a tuple become ``x`` and ``y``.

    Raises
    ------
    InvalidInput
        Code ``bad-source``: something else, or arrays of different lengths; ``duplicate-columns``; ``unnamed-column``.
    """
    if isinstance(value, pa.RecordBatch):
        value = pa.Table.from_batches([value])
    if isinstance(value, pa.Table):
        return FrameSource(value)
    if isinstance(value, tuple) and len(value) == 2:
        value = {"x": value[0], "y": value[1]}
    if isinstance(value, np.ndarray) and value.dtype.names:
        value = {name: value[name] for name in value.dtype.names}
    if isinstance(value, Mapping):
        arrays = {str(name): _array(str(name), array) for name, array in value.items()}
        _require_rows(arrays)
        return FrameSource(pa.table({name: _column(name, array) for name, array in arrays.items()}))
    if hasattr(value, "columns") and hasattr(value, "to_parquet"):
        if getattr(value.columns, "nlevels", 1) > 1:
            raise InvalidInput(
                f"The columns of the table have names of {value.columns.nlevels} levels; allowed is 1.",
                code="bad-source",
                hint="Join them: table.columns = ['_'.join(map(str, name)) for name in table.columns].",
            )
        renamed = value.rename(columns=str)
        require_names("The object", list(renamed.columns))
        try:
            return FrameSource(pa.Table.from_pandas(renamed, preserve_index=False).replace_schema_metadata(None))
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            for name in renamed.columns:
                _column(name, renamed[name])
            raise _mixed(None) from None  # what Arrow says has values in it
    hint = "Give a path, a URL, a DataFrame, an Arrow table, a dictionary of arrays, or (x, y)."
    if isinstance(value, np.ndarray):
        hint = f"Name its columns: pandas.DataFrame(array, columns=[...]). {hint}"
    raise InvalidInput(f"A {type(value).__name__} is no data.", code="bad-source", hint=hint)


def _array(name: str, values: Any) -> Any:
    try:
        return np.asarray(values)
    except (ValueError, TypeError):
        raise _mixed(name) from None


def _column(name: str, values: Any) -> Any:
    """Return values as an Arrow column, code ``bad-source`` if they are of no one type."""
    try:
        return tensors.from_numpy(values) if isinstance(values, np.ndarray) else pa.array(values, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        raise _mixed(name) from None


def _mixed(name: str | None) -> InvalidInput:
    return InvalidInput(
        f"The object cannot be made a table: {'a column' if name is None else f'column {name[:80]!r}'} holds values of "
        "different types, or such as no file has.",
        code="bad-source",
        hint="Give each column one type: table.astype({...}).",
    )


def _require_rows(arrays: dict[str, Any]) -> None:
    if not arrays or any(array.ndim == 0 for array in arrays.values()):
        raise InvalidInput("Give arrays with a row for each entry of the first axis.", code="bad-source")
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise InvalidInput(f"The arrays have different numbers of rows: {lengths}.", code="bad-source")


def write(source: Source, path: Path) -> None:
    """Write the rows of a source to a file of this machine: Arrow if its name ends so, Parquet otherwise.

    The file is readable by its owner alone, and appears when all of it is there.

    Raises
    ------
    FlaasError
        What the source raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    schema = source.schema()
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            made = pa.ipc.new_file if path.suffix in (".arrow", ".feather") else pa.parquet.ParquetWriter
            with made(file, schema) as writer:
                for batch in source.batches():
                    writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        raise
