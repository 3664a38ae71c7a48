"""Quasi-identifiers: how wide a region is in each, how it is cut, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .hierarchy import ROOT, Hierarchy

Rows = NDArray[np.int64]
Holds = Callable[[Rows], bool]

SHOWN = 8
"""A set of more values than these is told as "*"."""


class Attribute(Protocol):
    """A quasi-identifier of n rows."""

    name: str

    def width(self, rows: Rows) -> float:
        """Return how much is lost when these rows are told as one: 0 for one value, 1 for everything (NCP)."""

    def cut(self, rows: Rows, holds: Holds) -> list[Rows]:
        """Return the rows in two or more parts, or all in one part where they cannot be told apart."""

    def told(self, rows: Rows) -> Any:
        """Return what is told of these rows."""


class Ordered:
    """Numbers or times, told as intervals.

    Parameters
    ----------
    name : str
    values : ndarray of float64, shape (n,)
        NaN where missing.
    shown : callable
        (lowest, highest) of a region to what is told of it; both are the same where all values are.
    absent : object
        What is told where all values are missing.
    """

    def __init__(
        self, name: str, values: NDArray[np.float64], shown: Callable[[float, float], Any], absent: Any = None
    ) -> None:
        self.name, self._values, self._shown, self._absent = name, values, shown, absent
        present = values[~np.isnan(values)]
        self._range = float(present.max() - present.min()) if present.size else 0.0

    def width(self, rows: Rows) -> float:
        """Return (highest - lowest) as a share of the range of all rows; 1 where only some values are missing."""
        values = self._values[rows]
        missing = np.isnan(values)
        if missing.all():
            return 0.0
        if missing.any():
            return 1.0
        return float(values.max() - values.min()) / self._range if self._range else 0.0

    def cut(self, rows: Rows, holds: Holds) -> list[Rows]:
        """Cut at the median; missing values from others first."""
        values = self._values[rows]
        missing = np.isnan(values)
        if missing.any():
            return [part for part in (rows[~missing], rows[missing]) if part.size]
        middle = np.median(values)
        left = values <= middle if middle < values.max() else values < middle
        return [part for part in (rows[left], rows[~left]) if part.size]

    def told(self, rows: Rows) -> Any:
        """Return the interval."""
        values = self._values[rows]
        missing = np.isnan(values)
        if missing.all():
            return self._absent
        return ROOT if missing.any() else self._shown(float(values.min()), float(values.max()))


class Categorical:
    """Values without an order, told as sets or as ancestors in a hierarchy.

    Parameters
    ----------
    name : str
    codes : ndarray of int, shape (n,)
        Numbers of `values`.
    values : sequence of str
    hierarchy : Hierarchy, optional
    originals : sequence, optional
        What is told of one value; `values` by default.
    """

    def __init__(
        self,
        name: str,
        codes: NDArray[np.int64],
        values: Sequence[str],
        hierarchy: Hierarchy | None = None,
        originals: Sequence[Any] | None = None,
    ) -> None:
        self.name, self._codes, self._values, self._hierarchy = name, codes, list(values), hierarchy
        self._originals = list(values if originals is None else originals)

    def _present(self, rows: Rows) -> list[int]:
        found: list[int] = np.unique(self._codes[rows]).tolist()
        return found

    def width(self, rows: Rows) -> float:
        """Return the share of all values that the set or the ancestor stands for; 0 for a single value."""
        present = self._present(rows)
        if len(present) == 1:
            return 0.0
        if self._hierarchy is None:
            return 1.0 if len(present) > SHOWN else len(present) / len(self._values)
        node = self._hierarchy.common(self._values[code] for code in present)
        return self._hierarchy.leaves_under(node) / self._hierarchy.leaves_under(ROOT)

    def cut(self, rows: Rows, holds: Holds) -> list[Rows]:
        """Cut by the children of the lowest common ancestor; without hierarchy the values in two halves."""
        present = self._present(rows)
        if len(present) == 1:
            return [rows]
        codes = self._codes[rows]
        if self._hierarchy is None:
            counts = np.array([np.count_nonzero(codes == code) for code in present]).cumsum()
            last = int(np.abs(2 * counts[:-1] - counts[-1]).argmin())
            left = codes <= present[last]
            return [rows[left], rows[~left]]
        node = self._hierarchy.common(self._values[code] for code in present)
        child_of = {code: self._hierarchy.below(node, self._values[code]) for code in present}
        parts = []
        for child in dict.fromkeys(child_of.values()):
            members = [code for code in present if child_of[code] == child]
            parts.append(rows[np.isin(codes, members)])
        return _with_small_ones_together(parts, holds)

    def told(self, rows: Rows) -> Any:
        """Return the value, the ancestor, or the set in braces."""
        present = self._present(rows)
        if len(present) == 1:
            return self._originals[present[0]]
        values = [self._values[code] for code in present]
        if self._hierarchy is not None:
            return self._hierarchy.common(values)
        if len(values) == len(self._values) or len(values) > SHOWN:
            return ROOT
        return "{" + ", ".join(values) + "}"


def _with_small_ones_together(parts: list[Rows], holds: Holds) -> list[Rows]:
    """Join the parts that may not stand alone; what is told of them together is their common ancestor."""
    fine = [part for part in parts if holds(part)]
    small = [part for part in parts if not holds(part)]
    if not small or not fine:
        return parts
    rest = np.concatenate(small)
    if holds(rest):
        return [*fine, rest]
    fine.sort(key=len)
    together = np.concatenate([fine[0], rest])
    return [*fine[1:], together] if len(fine) > 1 and holds(together) else parts
