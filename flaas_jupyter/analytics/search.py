"""Order statistics step by step: minimum, maximum and quantiles by counts in an ever smaller part of the number line.

Each step asks for the counts in 254 parts of what a value is known to lie in, for all columns, groups and quantiles at
once (statistic kind ``order``); after at most nine steps the value is known to its last bit, or a few more as far as
the release policy goes. No range is needed, and nothing of the data is told but the values themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..protocols.analytics.ordering import MAXIMUM_LEVELS, ROOT, Interval, numbers_of
from ..protocols.analytics.release import Released

_INTERVALS = 600
"""That one step counts in, about 4 MB of a node's vector."""


class Found(NamedTuple):
    """Quantiles of columns by group.

    Attributes
    ----------
    values : ndarray of float64, shape (columns, groups, quantiles)
        NaN where withheld, or where there are no values.
    errors : ndarray of float64, same shape
        What each is off by at most; 0 where it is exact.
    hidden : ndarray of bool, same shape
        What is withheld.
    releases : list of Released
        Of the steps.
    """

    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    releases: list[Released]


class _End:
    """One of the two rows that a quantile lies between."""

    def __init__(self, column: int, group: int, quantile: float, upper: bool) -> None:
        self.column, self.group, self.quantile, self.upper = column, group, quantile, upper
        self.path: list[Interval] = []
        self.rows = math.nan
        self.done = self.withheld = False

    def target(self) -> list[Any]:
        return [self.column, self.group, self.quantile, self.upper, [list(interval) for interval in self.path]]

    def take(self, rows: float, values: Sequence[float]) -> None:
        """Go on from what was released."""
        self.done, self.withheld = True, math.isnan(rows)
        if self.withheld or rows == 0:
            return
        halves = [int(value) for value in values]
        first, last, focus, end = ((halves[place] << 32) | halves[place + 1] for place in (0, 2, 4, 6))
        self.rows = rows
        self.path.append((first, last, focus, end))
        self.done = bool(halves[8]) or len(self.path) >= MAXIMUM_LEVELS

    @property
    def bracket(self) -> tuple[float, float]:
        """The numbers it is known to be among."""
        return (math.nan, math.nan) if math.isnan(self.rows) else numbers_of(*self.path[-1][:2])


def search(step: Callable[[dict[str, Any]], Released], columns: int, groups: int, quantiles: Sequence[float]) -> Found:
    """Find quantiles, all columns and groups at once.

    Parameters
    ----------
    step : callable
        Asks for an ``order`` statistic with these targets.
    columns, groups : int
    quantiles : sequence of float
        0 to 1; between two rows they are interpolated linearly, as pandas does.
    """
    ends: dict[tuple[int, int, float, bool], _End] = {}
    for column in range(columns):
        for group in range(groups):
            for quantile in quantiles:
                for upper in (False, True):
                    ends.setdefault((column, group, quantile, upper), _End(column, group, quantile, upper))
    releases = []
    pending = list(ends.values())
    while pending:
        for batch in _batches(pending):
            released = step({"targets": [end.target() for end in batch]})
            releases.append(released)
            for end, rows, values in zip(batch, released.counts.tolist(), released.values.tolist(), strict=True):
                end.take(rows, values)
        pending = [end for end in pending if not end.done]
    shape = columns, groups, len(quantiles)
    found, errors, hidden = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape, bool)
    for column, group, place in np.ndindex(shape):
        quantile = quantiles[place]
        below, above = (ends[column, group, quantile, upper] for upper in (False, True))
        found[column, group, place], errors[column, group, place] = _between(below, above, quantile)
        hidden[column, group, place] = below.withheld or above.withheld
    return Found(found, errors, hidden, releases)


def _batches(pending: Sequence[_End]) -> list[list[_End]]:
    """Divide targets so that no statistic counts in more than `_INTERVALS` intervals, shared ones once."""
    batches: list[list[_End]] = [[]]
    counted: set[tuple[int, int, Interval]] = set()
    for end in pending:
        own = {(end.column, end.group, interval) for interval in (ROOT, *end.path)}
        if batches[-1] and len(counted | own) > _INTERVALS:
            batches.append([])
            counted = set()
        batches[-1].append(end)
        counted |= own
    return batches


def _between(below: _End, above: _End, quantile: float) -> tuple[float, float]:
    """Interpolate, and say what the result is off by."""
    if math.isnan(below.rows) or math.isnan(above.rows):
        return math.nan, 0.0
    index = quantile * (below.rows - 1)
    part = index - math.floor(index)
    low = _mix(below.bracket[0], above.bracket[0], part)
    high = _mix(below.bracket[1], above.bracket[1], part)
    if low == high:
        return low, 0.0
    if math.isinf(low) or math.isinf(high):  # known from one side only
        known = high if math.isinf(low) else low
        return (known if math.isfinite(known) else math.nan), math.inf
    middle = low + (high - low) / 2
    return middle, max(middle - low, high - middle)


def _mix(first: float, second: float, part: float) -> float:
    """Return the number that lies `part` of the way; as numpy interpolates, from the nearer end."""
    if part == 0 or first == second:
        return first
    difference = second - first
    return second - difference * (1 - part) if part >= 0.5 else first + difference * part
