"""Types of columns: what a description calls them, and how their values look as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...column_kinds import durations_of
from ..formats import tensors

_NAMES = {"halffloat": "float16", "float": "float32", "double": "float64", "large_string": "string"}


def dtype_name(kind: Any) -> str:
    """Return what a description calls an Arrow type: NumPy's name for numbers, else a plain word."""
    if is_tensor(kind):
        return dtype_name(kind.value_type)
    if pa.types.is_decimal(kind):
        return "float64"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_date(kind):
        return "date"
    name = str(kind).partition("[")[0].partition("<")[0]
    return _NAMES.get(name, name)[:40]


def shape_of(kind: Any) -> list[int]:
    """Return the axes of one value; none but for tensors."""
    return [int(size) for size in kind.shape] if is_tensor(kind) else []


def is_tensor(kind: Any) -> bool:
    """Tell whether each row is an array of the same shape."""
    return isinstance(kind, pa.FixedShapeTensorType)


def is_number(kind: Any) -> bool:
    """Tell whether values are numbers or truth values."""
    kind = kind.value_type if is_tensor(kind) else kind
    checks = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(check(kind) for check in checks)


def is_whole(kind: Any) -> bool:
    """Tell whether values are whole numbers or truth values."""
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def is_text(kind: Any) -> bool:
    """Tell whether values are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def values_of(column: Any) -> NDArray[Any]:
    """Return a column as NumPy has it.

    Parameters
    ----------
    column : pyarrow.Array or pyarrow.ChunkedArray
        n rows.

    Returns
    -------
    ndarray of shape (n,), for tensors (n, …)
        Numbers in their own type, with NaN where one is missing: whole numbers and truth values that have missing ones
        are float64, decimals always are. Days and moments are ``datetime64`` with NaT; everything else is objects with
        None: texts, bytes decoded as UTF-8 and durations as texts, times of day as `datetime.time`.
    """
    kind = column.type
    if is_tensor(kind):
        return _tensors(column)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_decimal(kind) or (is_whole(kind) and column.null_count):
        column = column.cast(pa.float64())
    elif pa.types.is_time64(kind) and kind.unit == "ns":
        column = column.cast(pa.time64("us"), safe=False)  # Python's times have microseconds
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "m":
        return durations_of(values)
    return _decoded(values) if _is_bytes(kind) else values


def _is_bytes(kind: Any) -> bool:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(check(kind) for check in checks)


def _decoded(values: NDArray[Any]) -> NDArray[Any]:
    found = np.empty(values.shape, object)
    found[:] = [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in values.tolist()]
    return found


def _tensors(column: Any) -> NDArray[Any]:
    """Return tensors; one that is missing as a whole is NaN."""
    if not column.null_count:
        return tensors.to_numpy(column)
    given = tensors.to_numpy(column.drop_null())
    values = np.full((len(column), *given.shape[1:]), np.nan, np.result_type(given.dtype, np.float32))
    values[column.is_valid().to_numpy(zero_copy_only=False)] = given
    return values
