"""Median, trimmed mean, Krum family, geometric median and norm clipping against plain loops, and their limits."""

from __future__ import annotations

import numpy as np
import plain_rules as plain
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.aggregation import aggregation
from flaas_jupyter.protocols.aggregation.distances import squared_distances
from flaas_jupyter.protocols.aggregation.order import NETWORK_ROWS, middle
from flaas_jupyter.protocols.aggregation.rule import Cohort


def cohorts(least: int = 1, most: int = 9) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(least, most), st.integers(1, 5))
    return hnp.arrays(np.float64, shapes, elements=st.integers(-50, 50).map(lambda value: value / 4))


def normal(n: int, p: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, p))


@given(cohorts())
def test_median_of_plain_loops(updates):
    result = aggregation("median")(updates, np.ones(len(updates)))
    np.testing.assert_allclose(result.weights, plain.median(updates.tolist()), atol=1e-12)
    assert result.contributions.sum() == pytest.approx(1.0)


@given(cohorts(), st.floats(0, 0.49))
def test_trimmed_mean_of_plain_loops(updates, beta):
    result = aggregation("trimmed_mean", beta=beta)(updates, np.ones(len(updates)))
    expected = plain.trimmed_mean(updates.tolist(), int(beta * len(updates) + 1e-9))
    np.testing.assert_allclose(result.weights, expected, atol=1e-12)
    assert result.contributions.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("n", [*range(1, 18), 31, 40, NETWORK_ROWS, NETWORK_ROWS + 1, 100])
def test_any_number_of_clients_is_put_in_order(n):
    updates = normal(n, 50).astype(np.float32)
    untouched = updates.copy()
    ordered = np.sort(updates, axis=0)
    for drop in range((n + 1) // 2):
        np.testing.assert_array_equal(np.sort(middle(updates, drop), axis=0), ordered[drop : n - drop])
    np.testing.assert_array_equal(updates, untouched)


def test_the_median_in_float32_is_exact():
    updates = normal(7, 1000).astype(np.float32)
    result = aggregation("median")(updates, np.ones(7))
    np.testing.assert_array_equal(result.weights, np.median(updates, axis=0).astype(np.float64))


def test_a_clients_contribution_to_the_median_is_its_share_of_the_parameters():
    updates = [[1.0, 9.0, 5.0], [2.0, 2.0, 2.0], [3.0, 1.0, 2.0]]
    result = aggregation("median")(updates, [1, 1, 1])
    assert result.weights.tolist() == [2.0, 2.0, 2.0]
    np.testing.assert_allclose(result.contributions, [0, (1 + 1 + 0.5) / 3, 0.5 / 3])


def test_clients_that_sent_the_same_share_what_is_kept_of_it():
    updates = [[1.0], [1.0], [1.0], [5.0], [9.0]]
    result = aggregation("trimmed_mean", beta=0.2)(updates, np.ones(5))
    assert result.weights[0] == pytest.approx((1 + 1 + 5) / 3)
    np.testing.assert_allclose(result.contributions, [2 / 9, 2 / 9, 2 / 9, 1 / 3, 0])


def test_trimmed_mean_drops_the_floor_of_beta_n():
    updates = np.arange(100.0)[:, None]
    assert aggregation("trimmed_mean", beta=0.29).trimmed(100) == 29
    assert aggregation("trimmed_mean").trimmed(9) == 1
    result = aggregation("trimmed_mean", byzantine=49)(updates, np.ones(100))
    assert result.weights.tolist() == [49.5]
    assert np.flatnonzero(result.contributions).tolist() == [49, 50]


def test_weighted_median_is_where_half_of_the_examples_is_reached():
    updates = [[1.0], [2.0], [3.0]]
    weighted = aggregation("median", weighted=True)
    assert weighted(updates, [1, 1, 8]).weights.tolist() == [3.0]
    assert weighted(updates, [1, 1, 2]).weights.tolist() == [2.5]
    assert weighted(updates, [1, 1, 2]).contributions.tolist() == [0, 0.5, 0.5]
    assert aggregation("median")(updates, [1, 1, 8]).weights.tolist() == [2.0]


@given(cohorts(1, 7), st.data())
def test_weighted_median_is_the_median_of_a_client_per_example(updates, data):
    counts = data.draw(st.lists(st.integers(0, 4), min_size=len(updates), max_size=len(updates)).filter(any))
    result = aggregation("median", weighted=True)(updates, counts)
    repeated = np.repeat(updates, counts, axis=0)
    np.testing.assert_allclose(result.weights, plain.median(repeated.tolist()))
    assert result.contributions.sum() == pytest.approx(1.0)


def test_weighted_trimmed_mean_weights_what_is_kept():
    updates = [[0.0], [1.0], [2.0], [100.0]]
    result = aggregation("trimmed_mean", byzantine=1, weighted=True)(updates, [50, 1, 3, 50])
    assert result.weights[0] == pytest.approx(1.75)
    np.testing.assert_allclose(result.contributions, [0, 0.25, 0.75, 0])
    nobody = aggregation("trimmed_mean", byzantine=1, weighted=True)(updates, [50, 0, 0, 50])
    assert nobody.weights[0] == pytest.approx(1.5)


@given(cohorts(3), st.data())
def test_krum_and_multi_krum_of_plain_loops(updates, data):
    f = data.draw(st.integers(0, (len(updates) - 3) // 2))
    rows = updates.tolist()
    result = aggregation("krum", byzantine=f)(updates, np.ones(len(updates)))
    np.testing.assert_allclose(result.columns["score"], plain.krum_scores(rows, f), rtol=1e-9, atol=1e-9)
    chosen = int(result.contributions.argmax())
    assert plain.krum_scores(rows, f)[chosen] == pytest.approx(min(plain.krum_scores(rows, f)))
    np.testing.assert_array_equal(result.weights, updates[chosen])
    many = aggregation("multi_krum", byzantine=f)(updates, np.ones(len(updates)))
    assert np.count_nonzero(many.contributions) == len(updates) - f - 2
    assert many.contributions.sum() == pytest.approx(1.0)


def test_multi_krum_averages_the_best():
    updates = normal(9, 30)
    for f in range(4):
        result = aggregation("multi_krum", byzantine=f)(updates, np.ones(9))
        np.testing.assert_allclose(result.weights, plain.multi_krum(updates.tolist(), f))
    result = aggregation("multi_krum", byzantine=2, m=1)(updates, np.ones(9))
    np.testing.assert_allclose(result.weights, plain.krum(updates.tolist(), 2))
    weighted = aggregation("multi_krum", byzantine=2, weighted=True)(updates, np.arange(1, 10))
    chosen = np.flatnonzero(weighted.contributions)
    np.testing.assert_allclose(weighted.weights, np.average(updates[chosen], axis=0, weights=chosen + 1))


def test_of_equal_scores_krum_takes_the_first():
    result = aggregation("krum", byzantine=0)([[0.0], [1.0], [9.0], [10.0]], np.ones(4))
    assert result.contributions.tolist() == [0, 1, 0, 0] or result.columns["score"][0] != result.columns["score"][1]
    assert aggregation("krum")([[0.0], [1.0], [5.0]], np.ones(3)).contributions.tolist() == [1, 0, 0]


@pytest.mark.parametrize(("n", "f"), [(3, 0), (4, 0), (5, 1), (10, 3), (23, 10)])
def test_krum_assumes_the_most_malicious_clients_that_the_cohort_allows(n, f):
    updates = normal(n, 8)
    by_default, explicit = (aggregation("krum", byzantine=each)(updates, np.ones(n)) for each in (None, f))
    np.testing.assert_array_equal(by_default.columns["score"], explicit.columns["score"])
    with pytest.raises(InvalidInput) as caught:
        aggregation("krum", byzantine=f + 1)(updates, np.ones(n))
    assert caught.value.code == "too-few-clients"
    assert f"f = {f + 1}" in caught.value.message
    assert f"n = {n}" in caught.value.message
    assert f"2f + 3 = {2 * f + 5}" in caught.value.message


@pytest.mark.parametrize("name", ["krum", "multi_krum"])
@pytest.mark.parametrize("n", [1, 2])
def test_krum_refuses_fewer_than_three(name, n):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name)(normal(n, 3), np.ones(n))
    assert caught.value.code == "too-few-clients"


@pytest.mark.parametrize("reference", [False, True])
def test_distances_survive_a_large_constant_and_a_huge_client(reference):
    near = 1e-3 * normal(6, 3000)
    far = near + 1e5
    start = far[0] * 0 + 1e5 if reference else None
    for huge in (0, 3):
        updates = far.copy()
        updates[huge] = 1e9
        distances = squared_distances(Cohort(updates, np.ones(6), tuple("abcdef"), start))
        for i, j in plain.pairs(6):
            expected = ((updates[i] - updates[j]) ** 2).sum()
            assert distances[i, j] == distances[j, i] == pytest.approx(expected, rel=1e-8)


def test_distances_of_weights_whose_squares_overflow():
    updates = normal(5, 10)
    updates[0] = 1e200
    result = aggregation("krum", byzantine=1)(updates, np.ones(5))
    expected = 1 + plain.krum_scores(updates[1:].tolist(), 0).index(min(plain.krum_scores(updates[1:].tolist(), 0)))
    assert result.contributions.argmax() == expected
    median = aggregation("geometric_median")(updates, np.ones(5))
    assert np.abs(median.weights).max() < 10
    assert median.contributions[0] == 0


def test_the_distances_of_clones_are_zero():
    updates = np.repeat(normal(3, 500), 3, axis=0).astype(np.float32)
    distances = squared_distances(Cohort(updates, np.ones(9), tuple("abcdefghi"), None))
    assert distances[0, 1] == distances[3, 5] == distances[7, 8] == 0
    assert (distances > 0).sum() == 54


@given(cohorts(1, 6))
def test_no_other_point_is_nearer_to_all_than_the_geometric_median(updates):
    result = aggregation("geometric_median")(updates, np.ones(len(updates)))
    rows = updates.tolist()
    best = plain.sum_of_distances(result.weights.tolist(), rows)
    for row in [*rows, plain.mean(rows), plain.median(rows)]:
        # The last steps towards a median that is one of several clones are ever smaller.
        assert best <= 1.002 * plain.sum_of_distances(row, rows) + 1e-5
    assert result.contributions.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_geometric_median_of_plain_loops(weighted):
    updates, counts = normal(7, 5), [3, 1, 4, 1, 5, 9, 2]
    result = aggregation("geometric_median", weighted=weighted)(updates, counts)
    expected = plain.geometric_median(updates.tolist(), [float(c) for c in counts] if weighted else None)
    np.testing.assert_allclose(result.weights, expected, atol=1e-7)


def test_geometric_median_of_a_triangle_is_its_fermat_point():
    triangle = [[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]]
    np.testing.assert_allclose(
        aggregation("geometric_median")(triangle, np.ones(3)).weights, [0.5, np.sqrt(3) / 6], atol=1e-9
    )


@pytest.mark.parametrize("outlier", [1e3, 1e9, 1e30])
@pytest.mark.parametrize("place", [0, 4])
def test_geometric_median_holds_against_an_outlier_of_any_size(outlier, place):
    updates = normal(7, 40)
    updates[place] = outlier
    honest = np.delete(updates, place, axis=0)
    result = aggregation("geometric_median")(updates, np.ones(7))
    assert np.linalg.norm(result.weights - honest.mean(axis=0)) < 2 * np.linalg.norm(honest, axis=1).max()


@given(cohorts(1, 6), st.floats(0.1, 30), st.data())
def test_norm_clipping_of_plain_loops(updates, clip, data):
    reference = data.draw(hnp.arrays(np.float64, updates.shape[1], elements=st.floats(-5, 5)))
    counts = data.draw(st.lists(st.integers(1, 9), min_size=len(updates), max_size=len(updates)))
    for weighted, weights in ((True, counts), (False, [1] * len(updates))):
        rule = aggregation("norm_clipping", clip=clip, weighted=weighted)
        result = rule(updates, counts, reference=reference)
        expected = plain.norm_clipping(updates.tolist(), reference.tolist(), clip, [float(w) for w in weights])
        np.testing.assert_allclose(result.weights, expected, atol=1e-9)
        assert result.contributions.sum() == pytest.approx(1.0)


def test_norm_clipping_clips_to_the_median_norm_by_default():
    reference = np.zeros(2)
    result = aggregation("norm_clipping")([[1.0, 0.0], [0.0, 2.0], [0.0, -50.0]], [1, 1, 1], reference=reference)
    np.testing.assert_allclose(result.weights, [1 / 3, 0.0], atol=1e-15)
    np.testing.assert_allclose(result.columns["norm"], [1, 2, 50])
    np.testing.assert_allclose(result.columns["scale"], [1, 1, 0.04])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("trimmed_mean", {"beta": 0.5}),
        ("trimmed_mean", {"beta": -0.1}),
        ("trimmed_mean", {"byzantine": -1}),
        ("krum", {"byzantine": -1}),
        ("krum", {"byzantine": 1.5}),
        ("multi_krum", {"m": 0}),
        ("geometric_median", {"smoothing": 0}),
        ("geometric_median", {"iterations": 0}),
        ("norm_clipping", {"clip": 0}),
        ("norm_clipping", {"clip": float("nan")}),
    ],
)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name, **options)
    assert caught.value.code == "bad-aggregation-option"
    assert next(iter(options)) in caught.value.message


def test_more_trimmed_than_there_are_is_refused():
    with pytest.raises(InvalidInput) as caught:
        aggregation("trimmed_mean", byzantine=2)(normal(4, 2), np.ones(4))
    assert caught.value.code == "too-few-clients"
    with pytest.raises(InvalidInput) as caught:
        aggregation("multi_krum", m=6)(normal(5, 2), np.ones(5))
    assert caught.value.code == "bad-aggregation-option"
