"""Group keys: which cell a row belongs to, by values or edges that are known without looking at the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import limits
from .expressions import column_name

Value = float | str | bool


@dataclass(frozen=True)
class Key:
    """One column that rows are grouped by.

    Attributes
    ----------
    column : str
        A column, or one of the derived ones.
    values : tuple of number, str or bool
        The groups: rows with exactly this value. Empty if there are edges.
    edges : tuple of float
        The groups: edges[i] <= value < edges[i + 1], the last one with its upper edge. Empty if there are values.
    """

    column: str
    values: tuple[Value, ...] = ()
    edges: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """Number of groups."""
        return len(self.values) if self.values else len(self.edges) - 1

    @property
    def ordered(self) -> bool:
        """Whether neighbouring groups may be asked for with other borders."""
        return bool(self.edges)

    def to_dict(self) -> dict[str, Any]:
        """Return the key as JSON values."""
        given = {"values": list(self.values)} if self.values else {"edges": list(self.edges)}
        return {"column": self.column, **given}

    def place(self, column: NDArray[Any]) -> NDArray[np.int64]:
        """Return each row's group; `size` for a row that is in none."""
        if self.edges:
            return bin_of(column, self.edges, outside=False)
        if isinstance(self.values[0], str):
            return _among(_texts(column), self.values)
        numbers = column.astype(np.float64, copy=False)
        return _among(numbers, [float(value) for value in self.values])


def parse_keys(data: object) -> tuple[Key, ...]:
    """Check the keys of a statistic.

    Raises
    ------
    InvalidInput
        ``bad-statistic``, ``bad-expression`` or ``statistic-too-large``.
    """
    keys = tuple(_parse_key(entry) for entry in limits.sequence(data, "by", limits.MAXIMUM_KEYS))
    if len({key.column for key in keys}) != len(keys):
        raise limits.bad("by names a column twice")
    cells = math.prod(key.size + 1 for key in keys)
    if cells > limits.MAXIMUM_CELLS:
        raise limits.too_large(f"the keys make {cells} groups; allowed are {limits.MAXIMUM_CELLS}")
    return keys


def _parse_key(data: object) -> Key:
    entry = limits.mapping(data, "an entry of by")
    limits.only(entry, ("column", "values", "edges"), "an entry of by")
    name = column_name(entry.get("column"))
    if ("values" in entry) == ("edges" in entry):
        raise limits.bad(
            f"the groups of {name!r} need either values or edges",
            "Groups must be known without looking at the data: list the values, or give edges to cut the column at.",
        )
    if "edges" in entry:
        return Key(name, edges=limits.ascending(entry["edges"], name))
    values = limits.sequence(entry["values"], f"the values of {name}", limits.MAXIMUM_VALUES)
    texts = [isinstance(value, str) and len(value) <= 256 for value in values]
    if not values or (any(texts) and not all(texts)):
        raise limits.bad(f"the values of {name!r} must be numbers or texts, at least one and not both")
    if not texts[0]:
        values = [value if isinstance(value, bool) else limits.number(value, f"a value of {name}") for value in values]
    if len(set(values)) != len(values):
        raise limits.bad(f"a value of {name!r} is listed twice")
    return Key(name, values=tuple(values))


def cells_of(keys: Sequence[Key]) -> int:
    """Return the number of cells, those of rows in no group included."""
    return math.prod(key.size + 1 for key in keys)


def label(keys: Sequence[Key], columns: Mapping[str, NDArray[Any]], rows: int) -> NDArray[np.int64]:
    """Return each row's cell: the last key's groups are neighbours."""
    labels = np.zeros(rows, np.int64)
    for key in keys:
        labels *= key.size + 1
        labels += key.place(columns[key.column])
    return labels


def bin_of(column: NDArray[Any], edges: Sequence[float], *, outside: bool) -> NDArray[np.int64]:
    """Return the bin of each value among half-open bins, the last one closed.

    Parameters
    ----------
    column : ndarray of numbers, shape (n,)
    edges : sequence of float
    outside : bool
        Whether bin 0 is below the first edge and the last one above the last edge; otherwise such rows have the
        number of bins.

    Returns
    -------
    ndarray of int64, shape (n,)
        A missing value has the number of bins.
    """
    values = np.asarray(column, np.float64)
    borders = np.asarray(edges, np.float64)
    place = _even_bins(values, borders)
    if place is None:
        place = np.searchsorted(borders, values, side="right").astype(np.int64)
    place[values == borders[-1]] = len(borders) - 1
    if outside:
        place[np.isnan(values)] = len(borders) + 1
        return place
    place -= 1
    place[(place < 0) | (place >= len(borders) - 1) | np.isnan(values)] = len(borders) - 1
    return place


def _even_bins(values: NDArray[np.float64], borders: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The places among evenly spaced borders, by one multiplication and a correction, or None if they are not even."""
    steps = np.diff(borders)
    if len(steps) < 2 or not np.allclose(steps, steps[0], rtol=1e-9, atol=0.0):
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        guess = (values - borders[0]) * (1.0 / steps[0])
        np.nan_to_num(guess, copy=False, nan=-1.0)
        np.clip(guess, -1.0, float(len(borders)), out=guess)
    place: NDArray[np.int64] = np.floor(guess).astype(np.int64) + 1  # 0 below all borders
    np.clip(place, 0, len(borders), out=place)
    extended = np.concatenate([[-np.inf], borders, [np.inf]])
    place -= values < extended[place]
    place += values >= extended[place + 1]
    np.clip(place, 0, len(borders), out=place)
    return place


def _texts(column: NDArray[Any]) -> NDArray[Any]:
    """Texts that can be ordered: a missing one as the empty text."""
    if column.dtype.kind != "O":
        return column
    return np.array(["" if value is None or value != value else str(value) for value in column.tolist()], np.str_)


def _among(column: NDArray[Any], values: Sequence[Any]) -> NDArray[np.int64]:
    order = np.argsort(np.array(values))
    ordered = np.array(values)[order]
    place = np.searchsorted(ordered, column)
    place[place == len(ordered)] = 0
    found = order[place].astype(np.int64)
    found[ordered[place] != column] = len(values)
    return found
