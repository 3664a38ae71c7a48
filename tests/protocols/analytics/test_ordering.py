"""Counts in the parts of an interval of keys: the same as by sorting, wherever its focus lies."""

from __future__ import annotations

import numpy as np
import pytest

from flaas_jupyter.protocols.analytics.ordering import LAST_KEY, PARTS, ROOT, count_parts, keys_of, parts_of

RNG = np.random.default_rng(8)
VALUES = np.r_[RNG.normal(size=300), RNG.normal(0, 1e-9, 50), -(10.0 ** RNG.uniform(-300, 300, 50)), 0.0, -0.0, np.inf]
KEYS = keys_of(VALUES)


def by_sorting(interval):
    """Count with a binary search for each border among the sorted keys."""
    keys = np.sort(KEYS)
    borders = parts_of(interval)
    places = [int(np.searchsorted(keys, np.uint64(b))) if b <= LAST_KEY else keys.size for b in borders]
    counts = np.zeros(PARTS + 2, np.int64)
    counts[0], counts[-1] = places[0], keys.size - places[-1]
    counts[1 : len(places)] = np.diff(places)
    return counts


def intervals():
    """Return intervals of every kind: all of the line, narrow ones, foci at both ends, in the middle, of one key."""
    found = [ROOT]
    ordered = np.sort(KEYS)
    for _ in range(60):
        first, focus, end, last = (int(each) for each in np.sort(RNG.choice(ordered, 4, replace=False)))
        found += [
            (first, last, focus, end), (first, last, first, end), (first, last, focus, last),
            (first, last, first, last), (first, last, focus, focus),
            (focus, focus, focus, focus), (first, first + 3, first, first + 3),
        ]  # fmt: skip
    return [*found, (0, LAST_KEY, int(ordered[5]), LAST_KEY), (0, LAST_KEY, 0, int(ordered[-5]))]


def test_counts_are_those_of_sorted_keys():
    for interval in intervals():
        counts = count_parts(KEYS, interval)
        assert counts.tolist() == by_sorting(interval).tolist(), interval
        assert counts.sum() == KEYS.size


@pytest.mark.parametrize("count", [0, 1])
def test_few_keys(count):
    assert count_parts(KEYS[:count], ROOT).sum() == count
