"""Columns of a table as preprocessing takes them: numbers with NaN, or texts with None, where a value is missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...column_kinds import column_kind, durations_of
from ...errors import InvalidInput

Kind = Literal["number", "text"]
KINDS: tuple[Kind, ...] = ("number", "text")


def kind_of_dtype(dtype: str) -> Kind:
    """Return what a column is by the name of its type; dates are texts, written as ISO 8601 has them."""
    return "number" if column_kind(dtype) == "number" else "text"


def kind_of(values: Any) -> Kind:
    """Return what a column of values is; objects are looked at one by one."""
    array = _array(values)
    if array.dtype.kind == "O":
        written = (str, bytes, timedelta)
        return "text" if any(isinstance(v, written) or hasattr(v, "isoformat") for v in array.tolist()) else "number"
    return "text" if array.dtype.kind in "USMm" else "number"


def numbers(values: Any, name: str) -> NDArray[np.float64]:
    """Return a column as float64, NaN where a value is missing or infinite.

    Raises
    ------
    InvalidInput
        Code ``recipe-does-not-fit``: it is text.
    """
    array = _array(values)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    if array.dtype.kind == "O":
        missing = missing_of(array)
        try:
            found = np.array([np.nan if gone else float(v) for v, gone in zip(array, missing, strict=True)])
        except (TypeError, ValueError):
            raise other_kind(name, "numbers", "text") from None
        array = found
    if array.dtype.kind != "f":
        found_as = {"M": "dates", "m": "durations"}.get(array.dtype.kind, "text")
        raise other_kind(name, "numbers", found_as)
    found = array.astype(np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def texts(values: Any, name: str) -> NDArray[Any]:
    """Return a column as texts, None where one is missing; an empty text is missing too.

    Raises
    ------
    InvalidInput
        Code ``recipe-does-not-fit``: it is numbers.
    """
    array = _array(values)
    if array.dtype.kind == "M":
        written = np.datetime_as_string(array.astype("datetime64[s]"), unit="s").astype(object)
        written[np.isnat(array)] = None
        return written
    if array.dtype.kind == "m":
        return durations_of(array)
    if array.dtype.kind == "f" and np.isnan(array).all():  # a column with nothing in it has no type of its own
        return np.full(array.shape, None, object)
    if array.dtype.kind not in "USO":
        raise other_kind(name, "text", "numbers")
    found = np.empty(array.shape, object)
    for place, (value, gone) in enumerate(zip(array.tolist(), missing_of(array), strict=True)):
        if gone or value == "":
            found[place] = None
        elif isinstance(value, str):
            found[place] = value
        elif isinstance(value, timedelta):
            found[place] = durations_of(np.array([value], "timedelta64[us]"))[0]
        elif hasattr(value, "isoformat"):
            found[place] = value.isoformat()
        elif isinstance(value, bytes):
            found[place] = value.decode("utf-8", "replace")
        else:
            raise other_kind(name, "text", "numbers and text mixed")
    return found


def missing_of(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are missing: None, NaN, NaT and pandas' NA."""
    if array.dtype.kind in "fMm":
        return np.asarray(np.isnan(array) if array.dtype.kind == "f" else np.isnat(array), bool)
    if array.dtype.kind != "O":
        return np.zeros(array.shape, bool)
    return np.fromiter((_is_missing(value) for value in array.tolist()), bool, len(array))


def columns_of(table: Any) -> dict[str, NDArray[Any]]:
    """Return a DataFrame, Arrow table or mapping of arrays as columns by name."""
    if isinstance(table, Mapping):
        return {str(name): _array(values) for name, values in table.items()}
    if hasattr(table, "column_names"):
        return {str(name): table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}
    if hasattr(table, "columns"):
        return {str(name): _array(table[name]) for name in table.columns}
    raise InvalidInput(
        f"Raw columns come as a DataFrame or a mapping of names to arrays, not as {type(table).__name__}.",
        code="bad-data",
    )


def _array(values: Any) -> NDArray[Any]:
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    return array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array


def _is_missing(value: Any) -> bool:
    # NaN and NaT differ from themselves; what pandas.NA says of itself is neither true nor false.
    return value is None or type(value).__name__ == "NAType" or value != value


def other_kind(name: str, wanted: str, found: str) -> InvalidInput:
    """Return the error for a column that is of another kind than the recipe was made for."""
    return InvalidInput(
        f"The preprocessing takes column {name!r} as {wanted}; it is {found} here.",
        code="recipe-does-not-fit",
        hint="Have the nodes' owners agree on the type (federation.schema_differences()), or fit it again.",
        column=name,
    )
