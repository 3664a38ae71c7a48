"""Rows by group: the kind ``count``, and what every kind with one cell a group has in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .policy import ReleasePolicy
from .release import Disclosed
from .statistics import Local, Opened, Statistic, Table
from .suppression import withheld


def sums_of(labels: NDArray[np.int64], weights: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """Return the sum of each cell; pairwise where there is one cell, for its smaller error."""
    if cells == 1:
        return np.array([weights.sum()])
    return np.bincount(labels, weights=weights, minlength=cells).astype(np.float64)


def counts_of(labels: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """Return the rows of each cell."""
    return np.bincount(labels, minlength=cells).astype(np.int64)


class Grouped(Statistic):
    """One cell for each group."""

    @property
    def raw_cells(self) -> int:
        """One for each group, and for rows in none."""
        return self.groups

    @property
    def cells(self) -> int:
        """One for each group."""
        return math.prod(self.shape)

    def hidden(self, opened: Opened, policy: ReleasePolicy) -> NDArray[np.bool_]:
        """Return which groups are withheld, shape (cells,)."""
        if self.epsilon is not None:  # noisy counts are safe; groups that are mostly noise are worth nothing
            return opened.counts[self.inner] < policy.minimum_group
        return withheld(opened.counts, self.shape, policy.minimum_group)

    def reasons(self, hidden: NDArray[np.bool_], opened: Opened, policy: ReleasePolicy) -> list[str]:
        """Say why groups are withheld."""
        k, counts = policy.minimum_group, opened.counts[self.inner]
        found = []
        if (hidden & (counts < k)).any():
            found.append(f"groups of fewer than {k} rows are withheld")
        if (hidden & (counts >= k)).any():
            found.append("further groups are withheld, because totals would give the small ones away")
        return found

    def partitions(self, table: Table) -> tuple[NDArray[np.int64], ...]:
        """Return each row's group for the audit, if its borders can be moved."""
        if not self.movable:
            return ()
        inside = np.isin(table.labels, self.inner) & table.matched
        return (np.where(inside, table.labels, -1),)


@dataclass(frozen=True)
class Count(Grouped):
    """Rows in each group."""

    def measure(self, table: Table) -> Local:
        """Count rows."""
        cells = self.raw_cells
        counts = counts_of(table.labels[table.matched], cells)
        return Local(counts, np.zeros((cells, 0)), table.matched, self.partitions(table))

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Withhold small groups."""
        hidden = self.hidden(opened, policy)
        counts = np.where(hidden, np.nan, opened.counts[self.inner].astype(np.float64))
        return Disclosed(counts, np.zeros((self.cells, 0)), hidden, reasons=self.reasons(hidden, opened, policy))
