"""Sums by group: the kinds ``moments`` (of columns) and ``cross`` (of pairs of columns)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from . import limits
from .counting import Grouped, counts_of, sums_of
from .encoding import VALUE_LIMIT, limited
from .noise import reach
from .policy import ReleasePolicy
from .release import Disclosed
from .statistics import Local, Opened, Table
from .suppression import withheld

_MAXIMUM_CROSSED = 100


@dataclass(frozen=True)
class Measured(Grouped):
    """Sums about a centre that everybody knows, so that no digits are lost to a mean far from zero.

    Attributes
    ----------
    about : dict of str to tuple of float
        By column: one number, or one for each group; 0 without.
    """

    about: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @staticmethod
    def read_about(data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
        """Check the centres."""
        groups = math.prod(key.size for key in common["by"])
        found: dict[str, tuple[float, ...]] = {}
        for name, given in limits.mapping(data.get("about") or {}, "about").items():
            listed = (
                limits.sequence(given, f"about of {name}", limits.MAXIMUM_CELLS)
                if isinstance(given, list | tuple)
                else [given]
            )
            if name not in common["columns"] or len(listed) not in (1, groups):
                raise limits.bad(f"about of {name!r} needs a column that is measured, and 1 or {groups} numbers")
            found[name] = tuple(limits.number(value, f"about of {name}") for value in listed)
            if common["epsilon"] is None and max(map(abs, found[name])) >= VALUE_LIMIT:
                raise InvalidInput(
                    f"about of {name!r} is not below {VALUE_LIMIT:.2g} in magnitude, as what is added up must be.",
                    code="value-out-of-range",
                    hint="Scale the column down with assign=, e.g. income / 1e9.",
                )
        return found

    def about_dict(self) -> dict[str, list[float]]:
        """Return the centres as JSON values."""
        return {name: list(values) for name, values in self.about.items()}

    def centres(self, name: str) -> NDArray[np.float64]:
        """Return the centre of each raw cell, shape (groups,); that of the mean of all in cells of no group."""
        given = np.array(self.about.get(name, (0.0,)))
        if given.size == 1:
            return np.full(self.groups, given[0])
        centres = np.full(self.groups, given.mean())
        centres[self.inner] = given
        return centres

    def reached(self, name: str) -> float:
        """Return how far a row's value can be from its centre."""
        return max(reach(self.bounds.get(name), name, about) for about in {*self.about.get(name, (0.0,))})

    def centred(self, table: Table, name: str) -> NDArray[np.float64]:
        """Return a column less its centres; NaN where missing.

        What is at or beyond `VALUE_LIMIT` counts as missing, whatever the centres are: they are the asker's choice, and
        would choose rows if it were the differences.
        """
        centres = self.centres(name)
        values = table.columns[name] if self.epsilon is not None else limited(table.columns[name])
        return values - (centres[table.labels] if (centres != centres[0]).any() else centres[0])


@dataclass(frozen=True)
class Moments(Measured):
    """Of each column and group: n, Σ (x - a) and, with `power` 2, Σ (x - a)²; over the values that are not missing.

    Attributes
    ----------
    power : int
        1 or 2.
    """

    own: ClassVar[tuple[str, ...]] = ("about", "power")

    power: int = 2

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Check centres and power."""
        power = data.get("power", 2)
        if power not in (1, 2) or isinstance(power, bool):
            raise limits.bad(f"power is {str(power)[:20]}; allowed are 1 and 2")
        if not common["columns"]:
            raise limits.bad("moments need columns")
        return {"about": cls.read_about(data, common), "power": power}

    def own_dict(self) -> dict[str, Any]:
        """Return centres and power."""
        return {"about": self.about_dict(), "power": self.power}

    @property
    def fields(self) -> tuple[str, ...]:
        """For each column: n, sum, and squares."""
        names = ("n", "sum", "squares")[: 1 + self.power]
        return tuple(f"{column}.{name}" for column in self.columns for name in names)

    @property
    def real(self) -> NDArray[np.bool_]:
        """All but n."""
        return np.tile(np.array([False, True, True])[: 1 + self.power], len(self.columns))

    @property
    def touched(self) -> int:
        """The count and every field."""
        return 1 + len(self.fields)

    def largest(self) -> NDArray[np.float64]:
        """1, the farthest distance from the centre, its square."""
        found = []
        for name in self.columns:
            far = self.reached(name)
            found += [1.0, far, far**2][: 1 + self.power]
        return np.array(found)

    def measure(self, table: Table) -> Local:
        """Add up."""
        cells = self.raw_cells
        values = np.zeros((cells, len(self.columns), 1 + self.power))
        for place, name in enumerate(self.columns):
            centred = self.centred(table, name)
            valid = ~np.isnan(centred)
            complete = bool(valid.all())
            chosen = table.matched if complete else table.matched & valid
            labels = table.labels[chosen]
            differences = centred[chosen]
            values[:, place, 0] = counts_of(labels, cells)
            values[:, place, 1] = sums_of(labels, differences, cells)
            if self.power == 2:
                values[:, place, 2] = sums_of(labels, differences**2, cells)
        counts = counts_of(table.labels[table.matched], cells)
        return Local(counts, values.reshape(cells, -1), table.matched, self.partitions(table))

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Withhold small groups, and columns of which few values, or all but a few, are there."""
        hidden = self.hidden(opened, policy)
        reasons = self.reasons(hidden, opened, policy)
        counts = opened.counts[self.inner].astype(np.float64)
        values = opened.values[self.inner].reshape(self.cells, len(self.columns), -1)
        if self.epsilon is None:
            there = opened.values.reshape(self.raw_cells, len(self.columns), -1)[:, :, 0]
            few = _few(there, opened.counts, self.shape, policy.minimum_group)
            if (few & ~hidden[:, None]).any():
                reasons.append(f"columns with fewer than {policy.minimum_group} values, or missing ones, are withheld")
            values = np.where(few[:, :, None], np.nan, values)
        told = np.where(hidden[:, None, None], np.nan, values).reshape(self.cells, -1)
        return Disclosed(np.where(hidden, np.nan, counts), told, hidden, reasons=reasons)


def _few(
    there: NDArray[np.float64], counts: NDArray[np.int64], shape: tuple[int, ...], minimum: int
) -> NDArray[np.bool_]:
    """Return what is withheld because few values are there, or missing, or totals would give such a number away.

    Parameters
    ----------
    there : ndarray of float, shape (raw cells, n)
        Values that are there, of n columns or pairs of them.
    counts : ndarray of int, shape (raw cells,)
        Rows.
    shape : tuple of int
        Groups of each key.
    minimum : int

    Returns
    -------
    ndarray of bool, shape (groups, n)
    """
    found = []
    for present in there.T.astype(np.int64):
        found.append(withheld(present, shape, minimum) | withheld(counts - present, shape, minimum))
    return np.stack(found, axis=1)


@dataclass(frozen=True)
class Cross(Measured):
    """Of each pair of columns: n, Σ x, Σ y, Σ x², Σ y², Σ xy about the centres, over rows where both are there."""

    own: ClassVar[tuple[str, ...]] = ("about",)
    _NAMES: ClassVar[tuple[str, ...]] = ("n", "x", "y", "xx", "yy", "xy")

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Check the centres."""
        if len(common["columns"]) < 2:
            raise limits.bad("cross moments need two columns or more")
        if len(common["columns"]) > _MAXIMUM_CROSSED:
            raise limits.too_large(f"it crosses {len(common['columns'])} columns; allowed are {_MAXIMUM_CROSSED}")
        return {"about": cls.read_about(data, common)}

    def own_dict(self) -> dict[str, Any]:
        """Return the centres."""
        return {"about": self.about_dict()}

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of columns, in order."""
        return tuple(combinations(self.columns, 2))

    @property
    def fields(self) -> tuple[str, ...]:
        """Six for each pair."""
        return tuple(f"{x}.{y}.{name}" for x, y in self.pairs for name in self._NAMES)

    @property
    def real(self) -> NDArray[np.bool_]:
        """All but n."""
        return np.tile(np.array([False, True, True, True, True, True]), len(self.pairs))

    @property
    def touched(self) -> int:
        """The count and every field."""
        return 1 + len(self.fields)

    def largest(self) -> NDArray[np.float64]:
        """What one row adds to each field at most."""
        far = {name: self.reached(name) for name in self.columns}
        found: list[float] = []
        for x, y in self.pairs:
            a, b = far[x], far[y]
            found += [1.0, a, b, a * a, b * b, a * b]
        return np.array(found)

    def measure(self, table: Table) -> Local:
        """Add up."""
        cells = self.raw_cells
        values = np.zeros((cells, len(self.pairs), 6))
        centred = {name: self.centred(table, name) for name in self.columns}
        counts = counts_of(table.labels[table.matched], cells)
        if cells == 1:
            together = np.column_stack([centred[name][table.matched] for name in self.columns])
            if not np.isnan(together).any():  # all pairs at once
                values[0] = self._gram(together)
                return Local(counts, values.reshape(cells, -1), table.matched, self.partitions(table))
        valid = {name: ~np.isnan(column) for name, column in centred.items()}
        for place, (first, second) in enumerate(self.pairs):
            both = valid[first] & valid[second]
            chosen = table.matched & both
            labels, x, y = table.labels[chosen], centred[first][chosen], centred[second][chosen]
            values[:, place, 0] = counts_of(labels, cells)
            for field_place, products in enumerate((x, y, x * x, y * y, x * y), start=1):
                values[:, place, field_place] = sums_of(labels, products, cells)
        return Local(counts, values.reshape(cells, -1), table.matched, self.partitions(table))

    def _gram(self, together: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fields of all pairs, shape (pairs, 6), of complete rows, shape (n, columns)."""
        products, sums = together.T @ together, together.sum(axis=0)
        i, j = np.triu_indices(len(self.columns), 1)
        squares = products.diagonal()
        rows = np.full(len(i), float(len(together)))
        return np.column_stack([rows, sums[i], sums[j], squares[i], squares[j], products[i, j]])

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Withhold small groups, and pairs of which few values, or all but a few, are there."""
        hidden = self.hidden(opened, policy)
        reasons = self.reasons(hidden, opened, policy)
        counts = opened.counts[self.inner].astype(np.float64)
        values = opened.values[self.inner].reshape(self.cells, len(self.pairs), 6)
        if self.epsilon is None:
            there = opened.values.reshape(self.raw_cells, len(self.pairs), 6)[:, :, 0]
            few = _few(there, opened.counts, self.shape, policy.minimum_group)
            if (few & ~hidden[:, None]).any():
                reasons.append(f"pairs with fewer than {policy.minimum_group} values, or missing ones, are withheld")
            values = np.where(few[:, :, None], np.nan, values)
        told = np.where(hidden[:, None, None], np.nan, values).reshape(self.cells, -1)
        return Disclosed(np.where(hidden, np.nan, counts), told, hidden, reasons=reasons)
