"""How far one node's rows are from those of all nodes: one number for a column, by a released histogram.

The distance is the square root of the Jensen-Shannon divergence in bits (Endres and Schindelin, IEEE Transactions on
Information Theory 49, 2003): a metric, 0 for the same distribution and 1 for distributions with nothing in common.

It is computed where the rows are, between the node's own counts and the histogram that was released of all nodes, whose
bins are first put together to a few with about as many rows each, so few that the node would have 2k in each if it were
like the others. Of these, the ones in which it has fewer than k rows count as empty. So the number depends on nothing
but groups of at least k rows of the node; and it is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .release import Released

DECIMALS = 2
_BINS = 10


def jensen_shannon(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the distance of two distributions, 0 to 1.

    Parameters
    ----------
    first, second : ndarray of float64, shape (bins,)
        Counts or shares from 0 on, each with a sum above 0.
    """
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    divergence = 0.0
    for each in (p, q):
        there = each > 0
        divergence += 0.5 * float((each[there] * np.log2(each[there] / middle[there])).sum())
    return math.sqrt(min(1.0, max(0.0, divergence)))


def distances(own: NDArray[np.int64], released: Released, bins: Sequence[int], minimum: int) -> list[float | None]:
    """Return the distance of each column of a histogram, rounded; None where there is none to tell.

    Parameters
    ----------
    own : ndarray of int64, shape (Σ (bins + 1),)
        A node's own counts, as `Histogram.measure` has them: each column's bins, and its missing values.
    released : Released
        Of the same histogram, of Σ bins cells.
    bins : sequence of int
        Cells of each column, those outside the edges included.
    minimum : int
        k.
    """
    found: list[float | None] = []
    first = at = 0
    for width in bins:
        found.append(_distance(own[first : first + width], released, at, minimum))
        first, at = first + width + 1, at + width
    return found


def _distance(own: NDArray[np.int64], released: Released, at: int, minimum: int) -> float | None:
    cells = _cells(released, at, at + len(own))
    bins = min(_BINS, int(own.sum()) // (2 * minimum))
    if cells is None or bins < 2:
        return None
    rows = np.array([count for _, _, count in cells])
    if rows.sum() <= 0:
        return None
    # The bin that the middle of each cell falls into, if all rows stood in line.
    bin_of = np.minimum((bins * (np.cumsum(rows) - rows / 2) / rows.sum()).astype(int), bins - 1)
    own_rows = np.array([own[start - at : stop - at].sum() for start, stop, _ in cells], np.float64)
    mine, total = (np.bincount(bin_of, each, bins).astype(np.float64) for each in (own_rows, rows))
    mine[mine < minimum] = 0.0
    return None if mine.sum() < minimum else round(jensen_shannon(mine, total), DECIMALS)


def _cells(released: Released, first: int, last: int) -> list[tuple[int, int, float]] | None:
    """Return the cells from `first` to before `last`, merged ones as one: start, stop, rows; None if withheld."""
    spans = {span.start: span for span in released.spans}
    cells: list[tuple[int, int, float]] = []
    place = first
    while place < last:
        span = spans.get(place)
        start, place = place, place + 1 if span is None else span.stop
        if not start < place <= last:  # of another histogram than this one
            return None
        rows = float(released.counts[start]) if span is None else float(span.rows)
        if math.isnan(rows):
            return None
        cells.append((start, place, rows))
    return cells
