"""One type for the same values, whatever file they come from, and the checks that every table must pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...errors import InvalidInput
from .limits import LIMITS
from .refusals import unreadable

_SHOWN = 5


def canonical_type(kind: Any) -> Any:
    """Return the type that stands for `kind`: plain texts, bytes and values.

    A column of nothing and decimal numbers are ``double``; lists of one length are tensors of one axis; of other
    extension types what they are stored as.
    """
    if pa.types.is_dictionary(kind):
        return canonical_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.FixedShapeTensorType):
        return canonical_type(kind.storage_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_fixed_size_list(kind) and pa.types.is_primitive(kind.value_type):
        return pa.fixed_shape_tensor(kind.value_type, (kind.list_size,))
    return kind


def canonical_schema(shown: str, schema: Any) -> Any:
    """Return a schema in canonical types, without the index of pandas, after checking its names.

    Raises
    ------
    InvalidInput
        ``duplicate-columns``; ``unnamed-column``; ``too-many-columns``; ``unreadable-data``: lists or structures.
    """
    hidden = _pandas_index(schema)
    for field in schema:
        if field.name not in hidden:
            _require_values(shown, field)
    fields = [
        pa.field(field.name, canonical_type(field.type), metadata=field.metadata)
        for field in schema
        if field.name not in hidden
    ]
    require_names(shown, [field.name for field in fields])
    for field in fields:
        if pa.types.is_nested(field.type):
            raise nested(shown, field.name)
    return pa.schema(fields)


def _require_values(shown: str, field: Any) -> None:
    """Refuse spans of time and of numbers, which are stored as something else: numbers since 1970, pairs."""
    told = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode(errors="replace")
    kind = getattr(field.type, "extension_name", told)
    if kind in ("pandas.period", "pandas.interval"):
        raise unreadable(
            shown,
            f"column {field.name!r} holds {kind.removeprefix('pandas.')}s of pandas",
            "Write texts (column.astype(str)), or moments and numbers: column.dt.start_time, column.array.left.",
        )


def nested(shown: str, column: str) -> InvalidInput:
    """Return the refusal of a column of lists or structures, code ``unreadable-data``."""
    return unreadable(
        shown, f"column {column!r} holds lists or objects", "Write single values, or arrays of one shape as npz."
    )


def require_names(shown: str, names: Sequence[str]) -> None:
    """Refuse names that do not tell columns apart, and more columns than a table may have.

    Raises
    ------
    InvalidInput
        ``duplicate-columns``; ``unnamed-column``; ``bad-column-name``; ``too-many-columns``.
    """
    require_width(shown, len(names))
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise InvalidInput(
            f"{shown} has columns of the same name: {', '.join(duplicates[:_SHOWN])}.", code="duplicate-columns"
        )
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise InvalidInput(
                f"Column {number} of {shown} has no name.",
                code="unnamed-column",
                hint="If it is a table's index, write the file without: DataFrame.to_csv(path, index=False).",
            )
        if len(name) > LIMITS.name:
            raise InvalidInput(
                f"The name of column {number} of {shown}, {name[:80]!r}…, has {len(name)} signs; allowed are "
                f"{LIMITS.name}.",
                code="bad-column-name",
                hint="Write a first line with the names of the columns, and a line for each row.",
            )
        if not name.isprintable():
            raise InvalidInput(
                f"The name of column {number} of {shown}, {name[:80]!r}, has signs in it that cannot be printed.",
                code="bad-column-name",
                hint="Names are told to others and shown: rename the column.",
            )


def require_width(shown: str, columns: int) -> None:
    """Refuse more columns than a table may have, code ``too-many-columns``."""
    if columns > LIMITS.columns:
        raise InvalidInput(
            f"{shown} has {columns} columns; allowed are {LIMITS.columns}.",
            code="too-many-columns",
            hint="Write them as one array: np.savez(path, x=..., y=...).",
        )


def canonical_batches(shown: str, batch: Any, schema: Any, rows: int) -> Iterator[Any]:
    """Yield a batch as `canonical_batch` returns it, in pieces of at most `rows` and `LIMITS.piece` bytes of texts.

    A long text that a file has once, and names in each row, is not in memory more often than that.

    Raises
    ------
    InvalidInput
        Code ``expands-too-much``: the texts of one row are too large.
    pyarrow.ArrowInvalid
        A column does not fit its type.
    """
    sizes = decoded_sizes(batch, schema.names)
    if int(sizes.max(initial=0)) * min(rows, len(batch)) <= LIMITS.piece:
        for start in range(0, len(batch), rows):
            yield canonical_batch(batch.slice(start, rows), schema)
        return
    LIMITS.check_row(shown, int(sizes.max()))
    ends = np.cumsum(sizes)
    start, before = 0, 0
    while start < len(batch):
        fitting = int(np.searchsorted(ends, before + LIMITS.piece, side="right"))
        end = min(max(fitting, start + 1), start + rows)
        yield canonical_batch(batch.slice(start, end - start), schema)
        start, before = end, int(ends[end - 1])


def decoded_sizes(batch: Any, names: Sequence[str]) -> NDArray[np.int64]:
    """Return how many bytes each row's values are that a file may have once and name often, shape (rows,)."""
    sizes = np.zeros(len(batch), np.int64)
    for name in names:
        column = batch.column(name)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_dictionary(column.type):
            lengths = _lengths(column.dictionary)
            indices = column.indices.fill_null(0) if len(lengths) else column.indices.slice(0, 0)
            if len(indices):
                sizes += lengths.take(indices.to_numpy(zero_copy_only=False), mode="clip")
        elif pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
            sizes += _lengths(column)
    return sizes


def _lengths(values: Any) -> NDArray[np.int64]:
    """Return the bytes of each value, 0 for missing ones."""
    kind = values.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        views = np.frombuffer(values.buffers()[1], np.int32)[values.offset * 4 :][: len(values) * 4]
        return np.where(np.asarray(values.is_valid()), views[::4].astype(np.int64), 0)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _numpy(pc.binary_length(values))
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _numpy(pc.binary_length(values))
    return np.full(len(values), 16, np.int64)  # numbers and times


def _numpy(lengths: Any) -> NDArray[np.int64]:
    found: NDArray[np.int64] = lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def canonical_batch(batch: Any, schema: Any) -> Any:
    """Return the columns of `schema` from a batch that has them, in its types.

    Raises
    ------
    pyarrow.ArrowInvalid
        A column does not fit its type.
    """
    arrays = [_cast(batch.column(field.name), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(array: Any, kind: Any) -> Any:
    if array.type == kind:
        return array
    if isinstance(array, pa.ExtensionArray) and not isinstance(kind, pa.FixedShapeTensorType):
        return _cast(array.storage, kind)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if isinstance(kind, pa.FixedShapeTensorType):
        return pa.ExtensionArray.from_storage(kind, array.cast(kind.storage_type))
    return array.cast(kind)


def _pandas_index(schema: Any) -> set[str]:
    """Names of columns that pandas wrote for a table's index, which are no columns of the table."""
    described = schema.pandas_metadata or {}
    names = {column.get("field_name") for column in described.get("columns", []) if column.get("name") is None}
    return {name for name in described.get("index_columns", []) if isinstance(name, str) and name in names}


def unified_type(first: Any, second: Any) -> Any | None:
    """Return the type that holds the values of both, None if there is none but text.

    Whole numbers and decimals meet in ``double``, dates and times in the finer one; nothing meets anything.
    """
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    numbers = (pa.types.is_integer, pa.types.is_floating)
    if all(any(of(kind) for of in numbers) for kind in (first, second)):
        return _unified_number(first, second)
    if all(pa.types.is_timestamp(kind) for kind in (first, second)) and first.tz == second.tz:
        units = ["s", "ms", "us", "ns"]
        return first if units.index(first.unit) >= units.index(second.unit) else second
    for date, other in ((first, second), (second, first)):
        if pa.types.is_date(date) and pa.types.is_timestamp(other) and other.tz is None:
            return other
    return None


def _unified_number(first: Any, second: Any) -> Any:
    if pa.types.is_integer(first) and pa.types.is_integer(second):
        signed = pa.types.is_signed_integer(first) == pa.types.is_signed_integer(second)
        if signed:
            return first if first.bit_width >= second.bit_width else second
        return pa.int64()
    if pa.types.is_floating(first) and pa.types.is_floating(second):
        return first if first.bit_width >= second.bit_width else second
    return pa.float64()
