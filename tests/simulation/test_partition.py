"""Partitions: every row at most once, skew as asked for, the same split from the same seed."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.simulation.partition import (
    IID,
    ByColumn,
    Dirichlet,
    Explicit,
    QuantitySkew,
    Shards,
    class_indices,
    partition,
    plot_partition,
)

DIGITS = np.random.default_rng(0).integers(0, 10, 2000)
WAYS = [IID(), Dirichlet(0.5), Dirichlet(0.01, minimum=3), Shards(2), QuantitySkew(0.3, minimum=2)]


def sizes(split):
    return np.array([len(part) for part in split.parts])


def classes_held(split, y):
    return np.array([len(np.unique(y[part])) for part in split.parts])


@pytest.mark.parametrize("way", WAYS, ids=repr)
@pytest.mark.parametrize("clients", [1, 7, 100])
def test_every_row_goes_to_exactly_one_client(way, clients):
    split = way.split(DIGITS, clients, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(split.parts)), np.arange(len(DIGITS)))
    assert len(split.parts) == len(split.names) == len(set(split.names)) == clients
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in split.parts)


@pytest.mark.parametrize("way", WAYS, ids=repr)
def test_the_same_seed_gives_the_same_split_and_another_seed_another(way):
    first, again, other = (way.split(DIGITS, 20, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(one, two) for one, two in zip(first.parts, again.parts, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(first.parts, other.parts, strict=True))


def test_names_sort_as_the_clients_do():
    names = IID().split(DIGITS, 101, np.random.default_rng(0)).names
    assert names[:2] == ["client-000", "client-001"]
    assert sorted(names) == names


def test_iid_deals_out_parts_that_differ_by_one_row():
    assert sorted(set(sizes(IID().split(DIGITS[:1999], 40, np.random.default_rng(0))))) == [49, 50]


def test_dirichlet_is_skewed_by_a_small_alpha_and_even_with_a_large_one():
    even = Dirichlet(1e6).split(DIGITS, 10, np.random.default_rng(0))
    share = np.stack([np.bincount(DIGITS[part], minlength=10) for part in even.parts]) / np.bincount(DIGITS)
    np.testing.assert_allclose(share, 0.1, atol=0.01)
    skewed = Dirichlet(0.05).split(DIGITS, 10, np.random.default_rng(0))
    assert classes_held(skewed, DIGITS).mean() < 6
    assert classes_held(even, DIGITS).min() == 10


def test_dirichlet_shares_follow_the_distribution():
    shares = []
    for seed in range(200):
        split = Dirichlet(0.9, minimum=0).split(DIGITS, 5, np.random.default_rng(seed))
        shares.append([np.mean(DIGITS[part] == 3) * len(part) / (DIGITS == 3).sum() for part in split.parts])
    # A share of a symmetric Dirichlet of 5 has mean 1/5 and variance (1/5)(4/5) / (5·0.9 + 1).
    assert np.mean(shares) == pytest.approx(0.2, abs=1e-9)
    assert np.var(shares) == pytest.approx(0.16 / 5.5, rel=0.15)


@pytest.mark.parametrize("minimum", [1, 5, 20])
def test_no_client_has_fewer_rows_than_the_minimum(minimum):
    for way in (Dirichlet(0.01, minimum=minimum), QuantitySkew(0.01, minimum=minimum)):
        assert sizes(way.split(DIGITS, 100, np.random.default_rng(2))).min() == minimum


def test_the_minimum_leaves_a_split_alone_that_has_it_anyway():
    with_minimum = Dirichlet(5, minimum=10).split(DIGITS, 10, np.random.default_rng(3))
    without = Dirichlet(5, minimum=0).split(DIGITS, 10, np.random.default_rng(3))
    assert all(np.array_equal(one, two) for one, two in zip(with_minimum.parts, without.parts, strict=True))


def test_shards_give_most_clients_two_classes():
    balanced = np.repeat(np.arange(10), 200)
    split = Shards(2).split(balanced, 100, np.random.default_rng(0))
    assert set(sizes(split)) == {20}
    assert classes_held(split, balanced).max() == 2


def test_quantity_skew_leaves_the_labels_alone():
    split = QuantitySkew(0.5, minimum=100).split(DIGITS, 5, np.random.default_rng(4))
    assert sizes(split).max() > 2 * sizes(split).min()
    for part in split.parts:
        assert np.bincount(DIGITS[part], minlength=10).min() > 0.02 * len(part)


def test_one_hot_labels_split_as_the_classes_do():
    one_hot = np.eye(10, dtype=np.float32)[DIGITS]
    for way in (Dirichlet(0.5), Shards(2)):
        plain, encoded = (way.split(y, 20, np.random.default_rng(0)) for y in (DIGITS, one_hot))
        assert all(np.array_equal(one, two) for one, two in zip(plain.parts, encoded.parts, strict=True))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["dog", "cat", "dog"], [1, 0, 1]),
        (np.array([0.0, 1.0, 0.0]), [0, 1, 0]),
        (np.array([[3], [1], [3]]), [1, 0, 1]),
        (np.array([True, False]), [1, 0]),
    ],
)
def test_labels_of_any_type_are_classes(labels, expected):
    assert class_indices(labels, wanted_by="the test").tolist() == expected


@pytest.mark.parametrize(
    "target",
    [
        np.linspace(0, 1, 50),
        np.array([0.0, np.nan, 1.0]),
        np.arange(100) * 1000,
        np.array([[1, 1, 0], [0, 1, 0]]),
        np.zeros((4, 2, 2)),
        np.array([1, "a", None], dtype=object),
        [],
    ],
    ids=["fractions", "missing", "prices", "several labels", "masks", "mixed", "nothing"],
)
@pytest.mark.parametrize("way", [Dirichlet(0.5), Shards(1)], ids=repr)
def test_a_target_without_classes_is_refused(way, target):
    with pytest.raises(InvalidInput, match="needs") as refused:
        way.split(target, 2, np.random.default_rng(0))
    assert refused.value.code == "not-classes"


@pytest.mark.parametrize("way", WAYS, ids=repr)
@pytest.mark.parametrize("clients", [0, -1, 3000, 2.5, True, None])
def test_an_impossible_number_of_clients_is_refused(way, clients):
    with pytest.raises(InvalidInput) as refused:
        way.split(DIGITS, clients, np.random.default_rng(0))
    assert refused.value.code == "bad-clients"


def test_more_rows_than_there_are_cannot_be_asked_for():
    with pytest.raises(InvalidInput, match="need 2020 rows; there are 2000"):
        Dirichlet(1, minimum=101).split(DIGITS, 20, np.random.default_rng(0))
    with pytest.raises(InvalidInput) as refused:
        Shards(5).split(DIGITS, 401, np.random.default_rng(0))
    assert refused.value.hint == "Use 400 clients at most."


@pytest.mark.parametrize("make", [Dirichlet, QuantitySkew])
@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), "0.5", True])
def test_a_bad_concentration_is_refused(make, alpha):
    with pytest.raises(InvalidInput, match="alpha"):
        make(alpha)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    clients=st.integers(1, 20),
    alpha=st.floats(0.01, 100),
    minimum=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_dirichlet_keeps_its_word_or_refuses(labels, clients, alpha, minimum, seed):
    way = Dirichlet(alpha, minimum)
    if clients * minimum > len(labels):
        with pytest.raises(InvalidInput):
            way.split(labels, clients, np.random.default_rng(seed))
        return
    split = way.split(labels, clients, np.random.default_rng(seed))
    assert sorted(np.concatenate(split.parts)) == list(range(len(labels)))
    assert sizes(split).min() >= minimum


def test_ten_thousand_clients_are_divided_at_once():
    labels = np.random.default_rng(0).integers(0, 10, 60_000)
    split = Dirichlet(0.1).split(labels, 10_000, np.random.default_rng(0))
    assert sizes(split).min() >= 1
    assert sizes(split).sum() == 60_000


class TestByColumn:
    table = pd.DataFrame({"hospital": ["Madrid", "Bilbao", "Madrid", "Cádiz", "Bilbao"], "age": [1, 2, 3, 4, 5]})
    y = np.array([0, 1, 0, 1, 1])

    def test_each_value_is_a_client_named_after_it(self):
        split = ByColumn("hospital").split(self.y, None, np.random.default_rng(0), table=self.table)
        assert split.names == ["Bilbao", "Cádiz", "Madrid"]
        assert [part.tolist() for part in split.parts] == [[1, 4], [3], [0, 2]]

    def test_numbers_come_in_their_own_order(self):
        table = pd.DataFrame({"site": [10, 9, 10]})
        assert ByColumn("site").split([0, 0, 0], 2, np.random.default_rng(0), table=table).names == ["9", "10"]

    @pytest.mark.parametrize(
        ("column", "table", "clients", "code"),
        [
            ("hospital", None, None, "no-table"),
            ("town", table, None, "unknown-column"),
            ("hospital", table, 2, "bad-clients"),
            ("hospital", table.iloc[:2], None, "wrong-shape"),
            ("hospital", table.assign(hospital=["a", None, "b", "c", "d"]), None, "missing-keys"),
            ("hospital", table.assign(hospital=[1, "1", 2, 3, 4]), None, "ambiguous-clients"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, column, table, clients, code):
        with pytest.raises(InvalidInput) as refused:
            ByColumn(column).split(self.y, clients, np.random.default_rng(0), table=table)
        assert refused.value.code == code


class TestExplicit:
    def test_rows_go_where_the_list_says_and_may_be_left_out(self):
        split = partition([[4, 1], np.array([0])]).split(np.zeros(5), None, np.random.default_rng(0))
        assert [part.tolist() for part in split.parts] == [[1, 4], [0]]

    @pytest.mark.parametrize("parts", [[[0, 1], [1]], [[0, 0]], [[0], []], [[5]], [[-1]], [[0.5]], [[True]], []])
    def test_a_list_that_is_no_partition_is_refused(self, parts):
        with pytest.raises(InvalidInput) as refused:
            Explicit(parts).split(np.zeros(5), None, np.random.default_rng(0))
        assert refused.value.code == "bad-partition"

    def test_another_number_of_clients_is_refused(self):
        with pytest.raises(InvalidInput, match="lists 2"):
            Explicit([[0], [1]]).split(np.zeros(5), 3, np.random.default_rng(0))


def test_partition_resolves_names_objects_and_lists():
    assert partition("iid") == IID()
    assert partition(Shards(3)) == Shards(3)
    assert isinstance(partition([[0], [1]]), Explicit)


@pytest.mark.parametrize("value", ["dirichlet", 3, None])
def test_an_unknown_partition_is_refused(value):
    with pytest.raises(InvalidInput, match="There is no partition"):
        partition(value)


class TestPlot:
    def test_bars_stack_to_the_sizes_of_the_clients(self):
        split = Dirichlet(0.5).split(DIGITS, 12, np.random.default_rng(0))
        axes = plot_partition(DIGITS, split.parts, split.names)
        layers = [patch.get_data() for patch in axes.patches]
        assert len(layers) == 10
        np.testing.assert_array_equal(layers[-1].values, sizes(split))
        np.testing.assert_array_equal(
            layers[3].values - layers[3].baseline, [(DIGITS[part] == 3).sum() for part in split.parts]
        )
        assert [text.get_text() for text in axes.get_xticklabels()] == split.names
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [str(digit) for digit in range(10)]

    def test_a_regression_shows_sizes_only(self):
        target = np.random.default_rng(0).normal(size=100)
        split = QuantitySkew(1).split(target, 4, np.random.default_rng(0))
        axes = plot_partition(target, split.parts)
        (layer,) = [patch.get_data() for patch in axes.patches]
        np.testing.assert_array_equal(layer.values, sizes(split))
        assert axes.get_legend() is None
