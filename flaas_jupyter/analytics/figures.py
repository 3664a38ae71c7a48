"""Figures by group and column, and how they follow from sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_EPS = 2.0**-52


class Table(NamedTuple):
    """A figure by group and column, shape (groups, columns): values, errors, and what was withheld."""

    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    hidden: NDArray[np.bool_]


@dataclass(frozen=True)
class Moments:
    """Sums of columns by group, shape (groups, columns), about a centre."""

    n: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64] | None
    about: NDArray[np.float64]
    errors: tuple[NDArray[np.float64], ...]
    hidden: NDArray[np.bool_]
    private: bool

    @property
    def count(self) -> Table:
        """Values that are not missing."""
        return Table(self.n, self.errors[0], self.hidden)

    @property
    def sum(self) -> Table:
        """Σ x."""
        total = np.where(self.n == 0, 0.0, self.first + self.n * self.about)
        errors = self.errors[1] + self.errors[0] * np.abs(self.about) + np.abs(total) * _EPS
        return Table(total, errors, self.hidden)

    @property
    def mean(self) -> Table:
        """Σ x / n."""
        with np.errstate(invalid="ignore", divide="ignore"):
            centred = self.first / self._n()
            mean = centred + self.about
            errors = (self.errors[1] + np.abs(centred) * self.errors[0]) / self._n() + np.abs(mean) * _EPS
        return Table(mean, errors, self.hidden)

    def var(self, ddof: int) -> Table:
        """(Σ (x - a)² - (Σ (x - a))² / n) / (n - ddof)."""
        assert self.second is not None  # whoever asks for it has had squares summed
        n = self._n()
        with np.errstate(invalid="ignore", divide="ignore"):
            centred = self.first / n
            freedom = np.where(n > ddof, n - ddof, np.nan)
            var = np.maximum(self.second - self.first * centred, 0.0) / freedom
            errors = (
                self.errors[2] + 2 * np.abs(centred) * self.errors[1] + (centred**2 + var) * self.errors[0]
            ) / freedom + var * 4 * _EPS
        return Table(var, errors, self.hidden)

    def std(self, ddof: int) -> Table:
        """The root of the variance."""
        var = self.var(ddof)
        std = np.sqrt(var.values)
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.where(std > 0, var.errors / (2 * std), np.sqrt(var.errors))
        return Table(std, errors, self.hidden)

    def _n(self) -> NDArray[np.float64]:
        return np.where(self.n > 0, self.n, np.nan)


def largest(table: Table) -> float:
    """Return what no figure of a table is off by."""
    known = np.where(np.isnan(table.values), 0.0, table.errors)
    return float(np.max(known, initial=0.0))
