"""Small groups: which cells of a table are withheld, and which others with them.

*Primary* suppression withholds cells of 1 to k - 1 rows; that a cell is empty is told. *Complementary* suppression
withholds more where a total would give a withheld number away: along every key, the withheld rows of a line must be
none or at least k, so that taking what is released from a total, of the line or of anything coarser, never leaves fewer
than k rows. In each line that fails, the smallest cell that is released is withheld too, until no line fails (a usual
heuristic of statistical offices; Willenborg and de Waal, "Elements of Statistical Disclosure Control", 2001, chapter
4). Linear combinations of several tables are not looked through.

*Merging* is the gentler way for neighbouring bins: those of 1 to k - 1 rows become one with their neighbours, so that
everything that is told is about no row or at least k, and sums stay what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Span(NamedTuple):
    """Neighbouring cells that are told as one: from `start` to before `stop`, with so many `rows`."""

    start: int
    stop: int
    rows: int


def withheld(counts: NDArray[np.int64], sizes: Sequence[int], minimum: int) -> NDArray[np.bool_]:
    """Return which cells are withheld.

    Parameters
    ----------
    counts : ndarray of int, shape (Π (size + 1),)
        Rows of each cell of the keys, the last place of each key for rows in none of its groups.
    sizes : sequence of int
        Groups of each key.
    minimum : int
        k.

    Returns
    -------
    ndarray of bool, shape (Π size,)
        In the order of the groups proper.
    """
    shape = [size + 1 for size in sizes] or [1]
    table = counts.reshape(shape)
    inside = tuple(slice(0, size) for size in sizes) or (slice(None),)
    hidden = np.ones(table.shape, bool)
    hidden[inside] = False
    open_cells = ~hidden
    hidden |= (table > 0) & (table < minimum)
    if sizes:
        while _hide_more(table, hidden, open_cells, minimum):
            pass
    return hidden[inside].reshape(-1)


def _hide_more(
    table: NDArray[np.int64], hidden: NDArray[np.bool_], open_cells: NDArray[np.bool_], minimum: int
) -> bool:
    """Withhold one cell more in each line that would be given away; return whether there was one."""
    changed = False
    for axis in range(table.ndim):
        left = np.where(hidden, table, 0).sum(axis=axis, keepdims=True)
        candidates = open_cells & ~hidden & (table > 0)
        failing = (left > 0) & (left < minimum) & candidates.any(axis=axis, keepdims=True)
        if not failing.any():
            continue
        price = np.where(candidates, table, np.iinfo(np.int64).max)
        smallest = np.expand_dims(price.argmin(axis=axis), axis)
        chosen = np.zeros(table.shape, bool)
        np.put_along_axis(chosen, smallest, True, axis=axis)
        hidden |= chosen & failing
        changed = True
    return changed


def merge(counts: NDArray[np.int64], minimum: int) -> list[Span]:
    """Return the spans that neighbouring cells become, each of no row or at least `minimum`.

    Parameters
    ----------
    counts : ndarray of int, shape (n,)
        No row, or at least `minimum`, in all.
    minimum : int
        k.

    Returns
    -------
    list of Span
        They cover all cells, in order; a cell that is large enough stays alone unless a small one has no other
        neighbour.
    """
    places = np.flatnonzero(counts).tolist()
    spans: list[Span] = []
    gathered: Span | None = None
    for place in places:
        cell = Span(place, place + 1, int(counts[place]))
        if cell.rows >= minimum and gathered is not None:
            spans.append(gathered)
            gathered = None
        gathered = cell if gathered is None else _both(gathered, cell)
        if gathered.rows >= minimum:
            spans.append(gathered)
            gathered = None
    if gathered is not None:
        spans.append(gathered)
    joined = _join_small(spans, minimum)
    covered = {place for span in joined for place in range(span.start, span.stop)}
    empty = [Span(place, place + 1, 0) for place in range(len(counts)) if place not in covered]
    return sorted([*joined, *empty])


def _join_small(spans: list[Span], minimum: int) -> list[Span]:
    """Join each span of too few rows, of which no two are neighbours, with the smaller of its neighbours."""
    joined: list[Span] = []
    carried: Span | None = None
    for place, span in enumerate(spans):
        if carried is not None:
            span, carried = _both(carried, span), None
        if span.rows >= minimum:
            joined.append(span)
            continue
        after = spans[place + 1].rows if place + 1 < len(spans) else None
        if joined and (after is None or joined[-1].rows <= after):
            joined[-1] = _both(joined[-1], span)
        else:
            carried = span
    if carried is not None:
        joined.append(carried)
    return joined


def _both(first: Span, second: Span) -> Span:
    return Span(first.start, second.stop, first.rows + second.rows)
