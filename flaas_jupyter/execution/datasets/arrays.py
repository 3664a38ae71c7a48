"""From the columns of a source to what models are trained on: a matrix of float32 and a target, or arrays as they are.

Rows come in blocks and go to a sink, which keeps them in memory or writes them to files; either way the arrays are the
same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...training.arrays import Arrays
from .kinds import is_tensor, values_of
from .registration import Registration

if TYPE_CHECKING:
    import pyarrow


class Recipe(Protocol):
    """Preprocessing that was fitted: from raw columns to a model's inputs and targets, row by row.

    Parameters
    ----------
    digest : str
        Names the recipe: equal digests give equal arrays.
    reads : tuple of str
        Raw columns that it needs.
    rows_at_once : int
        Rows that it is given at a time.
    """

    @property
    def digest(self) -> str: ...  # noqa: D102

    @property
    def reads(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def rows_at_once(self) -> int: ...  # noqa: D102

    def arrays(self, columns: Mapping[str, NDArray[Any]], target: str | None) -> Arrays:
        """Return inputs and targets of some rows, given the columns that it reads."""
        ...


class Sink(Protocol):
    """Where the rows of one array go."""

    def write(self, block: NDArray[Any]) -> None:
        """Take the next rows, of the dtype and shape of those before."""
        ...

    def close(self) -> NDArray[Any]:
        """Return all rows."""
        ...


class MemorySink:
    """Keeps rows in memory, an array of `rows` of them."""

    def __init__(self, rows: int) -> None:
        self._rows, self._at = rows, 0
        self._array: NDArray[Any] | None = None

    def write(self, block: NDArray[Any]) -> None:
        """See `Sink`."""
        if self._array is None:
            self._array = np.empty((self._rows, *block.shape[1:]), block.dtype)
        self._array[self._at : self._at + len(block)] = block
        self._at += len(block)

    def close(self) -> NDArray[Any]:
        """See `Sink`."""
        if self._array is None or self._at != self._rows:
            raise ValueError(f"{self._at} rows came, not {self._rows}")
        return self._array


def blocks_of(
    batches: Iterable[pyarrow.RecordBatch], registration: Registration, recipe: Recipe | None
) -> Iterator[Arrays]:
    """Yield the arrays of one batch after the other.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        With the columns of `columns_needed`.
    registration : Registration
        Of the data set, acceptable as it is.
    recipe : Recipe, optional
        What to make of raw columns.
    """
    for batch in batches:
        columns = {field.name: batch.column(index) for index, field in enumerate(batch.schema)}
        if recipe is not None:
            for start in range(0, batch.num_rows, recipe.rows_at_once):
                part = {name: values_of(column.slice(start, recipe.rows_at_once)) for name, column in columns.items()}
                yield recipe.arrays(part, registration.target)
        elif registration.arrays:
            yield _arrays(columns, registration)
        else:
            yield _table(columns, registration)


def columns_needed(registration: Registration, recipe: Recipe | None) -> list[str]:
    """Return which columns of the source arrays are made of, in order."""
    if recipe is not None:
        return list(dict.fromkeys(recipe.reads))
    return [*registration.feature_columns, *registration.target_columns]


def _table(columns: Mapping[str, Any], registration: Registration) -> Arrays:
    features = registration.feature_columns
    rows = len(columns[features[0]])
    x = np.empty((rows, len(features)), np.float32)
    for place, name in enumerate(features):
        x[:, place] = values_of(columns[name])
    targets = {"": _target(columns[registration.target], registration.targets[0])} if registration.target else {}
    return Arrays(registration.name, {"": x}, targets, tuple(features))


def _arrays(columns: Mapping[str, Any], registration: Registration) -> Arrays:
    inputs = {name[2:]: values_of(columns[name]) for name in registration.feature_columns}
    described = {str(entry["name"]): entry for entry in registration.targets}
    targets = {name[2:]: _target(columns[name], described[name[2:] or name]) for name in registration.target_columns}
    return Arrays(registration.name, inputs, targets)


def _target(column: Any, described: Mapping[str, Any]) -> NDArray[Any]:
    """Return labels as int32 and quantities as float32; which of them it is was seen over all rows."""
    values = values_of(column)
    if described["kind"] == "regression":
        return values.astype(np.float32, copy=False)
    wide = (described["classes"] or 0) > np.iinfo(np.int32).max
    return values.astype(np.int64 if wide else np.int32, copy=False)


def gather(blocks: Iterable[Arrays], make: Any) -> Arrays:
    """Put blocks of rows together.

    Parameters
    ----------
    blocks : iterable of Arrays
        With the same names and dtypes each.
    make : callable of str
        Returns a new `Sink` for the array of that name: ``x``, ``x_<name>``, ``y`` ….

    Raises
    ------
    ValueError
        There are no blocks, or other rows than the sink was made for.
    """
    sinks: dict[str, Any] = {}
    first: Arrays | None = None
    for block in blocks:
        first = first or block
        for letter, group in (("x", block.inputs), ("y", block.targets)):
            for name, values in group.items():
                key = f"{letter}_{name}" if name else letter
                if key not in sinks:
                    sinks[key] = make(key)
                sinks[key].write(np.ascontiguousarray(values))
    if first is None:
        raise ValueError("no rows came")
    done = {key: sink.close() for key, sink in sinks.items()}
    return Arrays(
        first.name,
        {name: done[f"x_{name}" if name else "x"] for name in first.inputs},
        {name: done[f"y_{name}" if name else "y"] for name in first.targets},
        first.columns,
    )


def columns_of(batches: Iterable[pyarrow.RecordBatch], names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return whole columns, in the types of the source; see `kinds.values_of`."""
    wanted = list(names)
    parts: dict[str, list[Any]] = {name: [] for name in wanted}
    for batch in batches:
        for name in wanted:
            parts[name].append(values_of(batch.column(batch.schema.get_field_index(name))))
    return {name: _joined(pieces) for name, pieces in parts.items()}


def _joined(pieces: list[NDArray[Any]]) -> NDArray[Any]:
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces)


__all__ = ["Arrays", "MemorySink", "Recipe", "Sink", "blocks_of", "columns_needed", "columns_of", "gather", "is_tensor"]
