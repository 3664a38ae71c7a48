"""One type for the same values, whatever file they come from, and the checks that every table must pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ...errors import InvalidInput
from .limits import LIMITS
from .refusals import unreadable

_SHOWN = 5


def canonical_type(kind: Any) -> Any:
    """Return the type that stands for `kind`: plain texts, bytes and values.

    A column of nothing and decimal numbers are ``double``; lists of one length are tensors of one axis.
    """
    if pa.types.is_dictionary(kind):
        return canonical_type(kind.value_type)
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
        ``duplicate-columns``; ``unnamed-column``; ``too-many-columns``.
    """
    if len(names) > LIMITS.columns:
        raise InvalidInput(
            f"{shown} has {len(names)} columns; allowed are {LIMITS.columns}.",
            code="too-many-columns",
            hint="Write them as one array: np.savez(path, x=..., y=...).",
        )
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
