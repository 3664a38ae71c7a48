"""Numbers in order: a search for order statistics that needs no range and tells nothing about few rows.

Floats of 64 bits are in the order of unsigned integers once the sign is dealt with: their *keys*. A search begins with
the interval of all keys and divides it in 254 parts. Parts of 1 to k - 1 rows become one with their neighbours
(`suppression.merge`), and the search goes on in the span that the wanted rank falls into. Each span has at least k
rows, and what it becomes depends on nothing but the rows; so whatever ranks are asked for, all that can be learned is
one nested partition whose parts have at least k rows. With k = 1 a search ends at the value.

Where a span is one large part with small ones beside it, dividing it evenly again would find the same. Its *focus* is
that part, and is what is divided next; what lies beside the focus stays one part on each side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .suppression import merge

PARTS = 256
MAXIMUM_LEVELS = 16
"""After so many divisions a search ends where it is; a value by itself is found after nine."""
LAST_KEY = (1 << 64) - 1

Interval = tuple[int, int, int, int]
"""First and last key; first and last key of the focus, within it."""

ROOT: Interval = (0, LAST_KEY, 0, LAST_KEY)
_SIGN = np.uint64(1 << 63)


def keys_of(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return unsigned integers in the order of `values`, which are not NaN; both zeros are one."""
    words = (values + 0.0).view(np.uint64)
    return np.where(words & _SIGN, ~words, words | _SIGN)


def number_of(key: int) -> float:
    """Return the number that has a key."""
    word = key ^ int(_SIGN) if key & int(_SIGN) else key ^ LAST_KEY
    return float(np.array(word, np.uint64).view(np.float64))


def numbers_of(first: int, last: int) -> tuple[float, float]:
    """Return the smallest and the largest number of an interval; infinite where it reaches beyond all numbers."""
    low, high = number_of(first), number_of(last)
    return (-np.inf if np.isnan(low) else low), (np.inf if np.isnan(high) else high)


def parts_of(interval: Interval) -> list[int]:
    """Return the first keys of the parts of an interval, and the key after the last part."""
    first, last, focus, end = interval
    width = -(-(end - focus + 1) // (PARTS - 2))
    beside = [first] if first < focus else []
    beyond = [end + 1] if end < last else []
    return [*beside, *range(focus, end + 1, width), *beyond, last + 1]


def within(keys: NDArray[np.uint64], interval: Interval) -> tuple[NDArray[np.uint64], int, int]:
    """Return the keys of an interval, and how many are below and above it."""
    first, last = np.uint64(interval[0]), np.uint64(interval[1])
    if interval[:2] == ROOT[:2]:
        return keys, 0, 0
    chosen = keys[(keys >= first) & (keys <= last)]
    below = int(np.count_nonzero(keys < first))
    return chosen, below, keys.size - below - chosen.size


def count_parts(keys: NDArray[np.uint64], interval: Interval) -> NDArray[np.int64]:
    """Return the rows below an interval, in each of its parts, and above it.

    Parameters
    ----------
    keys : ndarray of uint64, shape (n,)
        From `keys_of`, in any order: of millions of rows a count takes a fraction of what sorting does.
    interval : Interval

    Returns
    -------
    ndarray of int64, shape (258,)
        Parts that there are fewer of are followed by zeros.
    """
    borders = parts_of(interval)
    chosen, below, above = within(keys, interval)
    focus, end = interval[2], interval[3]
    beside = int(interval[0] < focus)
    width = np.uint64(-(-(end - focus + 1) // (PARTS - 2)))
    # Parts but for those beside the focus are equally wide, and so found by a division.
    places = ((np.maximum(chosen, np.uint64(focus)) - np.uint64(focus)) // width).astype(np.int64) + beside
    if beside:
        places[chosen < np.uint64(focus)] = 0
    if end < interval[1]:
        places[chosen > np.uint64(end)] = len(borders) - 2
    counts = np.zeros(PARTS + 2, np.int64)
    counts[0], counts[-1] = below, above
    counts[1 : len(borders)] = np.bincount(places, minlength=len(borders) - 1)
    return counts


def follow(counts: NDArray[np.int64], interval: Interval, rank: int, least: int) -> tuple[Interval, bool] | None:
    """Return the span of an interval that a rank falls into, and whether the search ends there.

    Parameters
    ----------
    counts : ndarray of int, shape (258,)
        As `count_parts` returns them; at least `least` rows inside.
    interval : Interval
    rank : int
        0 for the smallest of all rows.
    least : int
        k.

    Returns
    -------
    (Interval, bool) or None
        None if the rank is not inside.
    """
    borders = parts_of(interval)
    inside = counts[1 : len(borders)]
    left = rank - int(counts[0])
    if left < 0:
        return None
    spans = [span for span in merge(inside, least) if span.rows]
    for span in spans:
        if left >= span.rows:
            left -= span.rows
            continue
        first, last = borders[span.start], borders[span.stop] - 1
        large = [place for place in range(span.start, span.stop) if inside[place] >= least]
        if len(large) != 1:  # none: it has fallen apart as far as it can
            return (first, last, first, last), first == last or not large
        focus = borders[large[0]], borders[large[0] + 1] - 1
        return (first, last, *focus), focus[0] == focus[1]
    return None
