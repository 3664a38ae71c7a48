"""The distance of one node's rows from those of all: against SciPy, and what is never told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from flaas_jupyter.protocols.analytics import ReleasePolicy, release, statistics
from flaas_jupyter.protocols.analytics.drift import distances, jensen_shannon
from flaas_jupyter.protocols.analytics.suppression import Span

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("bins", [2, 7, 40])
def test_it_is_scipys_in_bits(bins):
    first, second = RNG.integers(0, 50, bins).astype(float) + 1, RNG.integers(0, 50, bins).astype(float)
    assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second, 2))
    assert jensen_shannon(first, first) == 0
    apart = np.eye(2)
    assert jensen_shannon(apart[0], apart[1]) == pytest.approx(1.0)


def released_of(parts, minimum=10, columns=("a", "b")):
    """Return the histogram, each node's own counts, and what is released of all."""
    histogram = statistics.parse(
        {"kind": "histogram", "columns": list(columns), "edges": {name: [-2.0, -1, 0, 1, 2] for name in columns}}
    )
    locals_ = [histogram.local(part) for part in parts]
    opened = histogram.decode(sum(histogram.encode(local) for local in locals_))
    told = release.release(opened, histogram, ReleasePolicy(minimum_group=minimum), len(parts))
    return histogram, [local.counts for local in locals_], told


def rows(count, shift):
    return {"a": RNG.normal(shift, 1.0, count), "b": RNG.normal(0.0, 1.0, count)}


def test_a_node_of_other_rows_is_farther_and_only_in_the_column_that_differs():
    histogram, own, told = released_of([rows(400, 1.5), rows(400, 0.0), rows(400, 0.0)])
    found = [distances(counts, told, histogram.bins, 10) for counts in own]
    assert found[0][0] > found[1][0] > 0
    assert all(each[1] < 0.1 for each in found)
    assert all(round(value, 2) == value for each in found for value in each)


def test_few_rows_have_no_distance_and_what_is_withheld_has_none():
    few, many = rows(8, 0.0), rows(200, 0.0)
    histogram, own, told = released_of([few, many, many])
    assert distances(own[0], told, histogram.bins, 10) == [None, None]
    histogram, own, told = released_of([rows(2, 0.0), rows(2, 0.0), rows(2, 0.0)])
    assert distances(own[0], told, histogram.bins, 1) == [None, None]


def test_one_row_in_a_bin_of_its_own_does_not_show():
    """The node's bins of fewer than k rows become one with their neighbours before anything is computed."""
    base = rows(300, 0.0)
    base["a"] = np.clip(base["a"], -0.9, 0.9)
    other = {name: column.copy() for name, column in base.items()}
    other["a"][0] = 1.5  # into a bin where the node has no other row
    base["a"][0] = 0.5
    far = {"a": RNG.uniform(-2, 2, 300), "b": RNG.normal(size=300)}
    found = []
    for mine in (base, other):
        histogram, own, told = released_of([mine, far, far])
        found.append(distances(own[0], told, histogram.bins, 10)[0])
    assert found[0] == pytest.approx(found[1], abs=0.011)


@pytest.mark.parametrize("spans", [[(0, 0, 400)], [(1, 0, 400)], [(0, 99, 400)], [(0, 3, 400), (3, 1, 400)]])
def test_spans_that_lead_nowhere_have_no_distance_and_come_to_an_end(spans):
    histogram, own, told = released_of([rows(400, 0.0)] * 3)
    altered = replace(told, spans=tuple(Span(*span) for span in spans))
    assert distances(own[0], altered, histogram.bins, 10)[0] is None
