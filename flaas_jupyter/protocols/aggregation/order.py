"""The middle values of every parameter, and whose they are: what coordinate-wise rules share.

Rows are put in order by a sorting network: a fixed list of comparators, each one minimum and one maximum of two
whole rows, which NumPy runs as vector instructions without a branch (Batcher's merge exchange; Knuth, The Art of
Computer Programming, volume 3, section 5.2.2, Algorithm M). Comparators that only order values among those dropped,
or only among those kept, are left out. It beats sorting up to some dozens of clients; above, columns are sorted.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

NETWORK_ROWS = 64
"""Up to so many rows the network is quicker than a sort (measured: n = 10 five times, n = 100 slower)."""

_DROPPED, _KEPT, _ORDERED = range(3)


def _merge_exchange(rows: int) -> Iterator[tuple[int, int]]:
    top = (rows - 1).bit_length()
    p = 1 << top >> 1
    while p:
        q, r, distance = 1 << top >> 1, 0, p
        while True:
            yield from ((low, low + distance) for low in range(rows - distance) if low & p == r)
            if q == p:
                break
            distance, q, r = q - p, q // 2, p
        p //= 2


@functools.lru_cache(maxsize=128)
def _network(rows: int, first: int, last: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Return comparators (i, j, minimum needed, maximum needed) after which rows first … last-1 are the middle ones.

    Walked from the end, a wire is dropped, kept (one of the wanted, in any order), or must be in order because a
    later comparator reads it.
    """
    wires = [_KEPT if first <= row < last else _DROPPED for row in range(rows)]
    wanted = []
    for low, high in reversed(list(_merge_exchange(rows))):
        if wires[low] == wires[high] != _ORDERED:
            continue
        wanted.append((low, high, wires[low] != _DROPPED, wires[high] != _DROPPED))
        wires[low] = wires[high] = _ORDERED
    return tuple(reversed(wanted))


def middle(rows: NDArray[Any], drop: int) -> NDArray[Any]:
    """Return each column's values without its `drop` smallest and `drop` largest, see `ranked`."""
    return ranked(rows, drop, len(rows) - drop)


def ranked(rows: NDArray[Any], first: int, last: int) -> NDArray[Any]:
    """Return each column's values of the ranks `first` to `last` − 1, counted from the smallest, 0.

    Parameters
    ----------
    rows : ndarray, shape (n, b)
        Left as it is.
    first, last : int
        0 ≤ first < last ≤ n.

    Returns
    -------
    ndarray, shape (last − first, b)
        In any order.
    """
    count = len(rows)
    if last - first == count:
        return rows
    if count > NETWORK_ROWS:
        return np.sort(np.ascontiguousarray(rows.T), axis=1).T[first:last]
    wires = list(rows.copy())
    spare = np.empty_like(wires[0])
    for low, high, minimum, maximum in _network(count, first, last):
        one, other = wires[low], wires[high]
        if not maximum:
            np.minimum(one, other, out=one)
        elif not minimum:
            np.maximum(one, other, out=other)
        else:
            np.minimum(one, other, out=spare)
            np.maximum(one, other, out=other)
            wires[low], spare = spare, one
    return np.stack(wires[first:last])


def median(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return each column's median, shape (b,); of an even number, the mean of the two middle values."""
    centre: NDArray[np.float64] = middle(rows, (len(rows) - 1) // 2).mean(axis=0, dtype=np.float64)
    return centre


def kept(rows: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return how much of each row's value is among the `values` kept of its column.

    Parameters
    ----------
    rows : ndarray, shape (n, b)
    values : ndarray, shape (m, b)
        What `middle` returned for them.

    Returns
    -------
    ndarray of float64, shape (n, b)
        1 for kept, 0 for dropped; rows that are equal at the border share what is kept of them. Each column sums
        to m.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    shares: NDArray[np.float64] = ((rows >= low) & (rows <= high)).astype(np.float64)
    tied = np.flatnonzero(shares.sum(axis=0) != len(values))
    for border in (low, high):
        if tied.size:
            equal = rows[:, tied] == border[tied]
            copies = (values[:, tied] == border[tied]).sum(axis=0)
            shares[:, tied] = np.where(equal, copies / equal.sum(axis=0), shares[:, tied])
    return shares


def kept_counts(rows: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sum of `kept` over the columns, shape (n,), without its floats where no values are equal."""
    inside = (rows >= values.min(axis=0)) & (rows <= values.max(axis=0))
    counts: NDArray[np.float64] = np.count_nonzero(inside, axis=1).astype(np.float64)
    if counts.sum() != values.size:
        counts = kept(rows, values).sum(axis=1)
    return counts
