"""The content hash of a table: SHA-256 over names, types and values, whatever file or place they come from.

Equal values of equal types give equal hashes, in CSV or Parquet, compressed or not, in many batches or few, as pandas
or a data base wrote them. What is hashed of each column, little-endian, as one stream over all rows:

- numbers and times: their bytes, with 0 where a value is missing; truth values a byte each; tensors row-major.
- texts and bytes: the values one after the other; their lengths in a second stream, as 64-bit integers.
- the places of missing values, counted from 0, in a third stream. NaN is a missing number: files without nulls write
  missing numbers so.

The hash of the table is that of its columns' names, types and streams, in order. Rows in another order are another
version: training by a seed takes them in order.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .kinds import is_tensor, shape_of, values_of

_DOMAIN = b"flaas/contents/1"


class ColumnHash:
    """The hash of one column, a batch at a time. Not to be used in two threads at once.

    Parameters
    ----------
    kind : pyarrow.DataType
    """

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._rows = 0
        self._values, self._lengths, self._missing = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def update(self, array: Any, values: NDArray[Any] | None = None) -> None:
        """Take the next rows.

        Parameters
        ----------
        array : pyarrow.Array
            Of the column's type.
        values : ndarray, optional
            What `kinds.values_of` gives for it, if that is known already.
        """
        start, self._rows = self._rows, self._rows + len(array)
        if is_tensor(array.type) or pa.types.is_floating(array.type):
            values = values_of(array) if values is None else values
            self._numbers(values.reshape(-1), start * int(np.prod(values.shape[1:])))
        elif _has_lengths(array.type):
            self._variable(array, start)
        else:
            if array.null_count:
                self._places(array.is_null().to_numpy(zero_copy_only=False), start)
            self._values.update(_fixed(array))

    def digest(self) -> list[str]:
        """Return the hashes of the three streams, as hexadecimal digits."""
        return [stream.hexdigest() for stream in (self._values, self._lengths, self._missing)]

    def _numbers(self, values: NDArray[Any], start: int) -> None:
        if values.dtype.kind == "f" and len(values) and np.isnan(values.min()):
            missing = np.isnan(values)
            self._places(missing, start)
            values = np.where(missing, values.dtype.type(0), values)
        self._values.update(_bytes(values))

    def _places(self, missing: NDArray[np.bool_], start: int) -> None:
        self._missing.update(_bytes(np.flatnonzero(missing).astype(np.int64) + start))

    def _variable(self, array: Any, start: int) -> None:
        if array.null_count:
            self._places(array.is_null().to_numpy(zero_copy_only=False), start)
            array = array.fill_null("" if pa.types.is_string(array.type) else b"")
        if len(array) == 0:
            return
        wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
        _, offsets_buffer, data = array.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)
        offsets = offsets[array.offset : array.offset + len(array) + 1]
        self._lengths.update(_bytes(np.diff(offsets).astype(np.int64)))
        if data is not None:
            self._values.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])


def version_of(schema: Any, hashes: Sequence[ColumnHash], rows: int) -> str:
    """Return the content hash of a table, 64 hexadecimal digits.

    Parameters
    ----------
    schema : pyarrow.Schema
    hashes : sequence of ColumnHash
        One for each column, in order, having taken all rows.
    rows : int
    """
    columns = [
        [field.name, canonical_name(field.type), shape_of(field.type), *hashed.digest()]
        for field, hashed in zip(schema, hashes, strict=True)
    ]
    document = json.dumps([rows, columns], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(_DOMAIN + document.encode()).hexdigest()


def canonical_name(kind: Any) -> str:
    """Return one name for types that hold the same values: ``string`` for both sizes of texts."""
    if is_tensor(kind):
        return f"tensor of {kind.value_type}"
    return {"large_string": "string", "large_binary": "binary"}.get(str(kind), str(kind))


def _has_lengths(kind: Any) -> bool:
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(check(kind) for check in checks)


def _fixed(array: Any) -> memoryview:
    """Return whole numbers, truth values and times, 0 where one is missing; values of other types as lines of text."""
    kind = array.type
    if pa.types.is_boolean(kind):
        return _bytes(array.fill_null(False).to_numpy(zero_copy_only=False).view(np.uint8))
    if pa.types.is_temporal(kind):
        array = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if pa.types.is_integer(array.type):
        return _bytes((array.fill_null(0) if array.null_count else array).to_numpy(zero_copy_only=False))
    lines = (json.dumps(value, default=str, ensure_ascii=False) + "\n" for value in array.to_pylist())
    return memoryview("".join(lines).encode())


def _bytes(values: NDArray[Any]) -> memoryview:
    values = np.ascontiguousarray(values)
    if sys.byteorder == "big":
        values = values.astype(values.dtype.newbyteorder("<"))
    return values.data
