"""Shapley values against their definition, backgrounds against what they are drawn from, and what is told of sums."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.protocols.analytics import ReleasePolicy, release, statistics
from flaas_jupyter.protocols.analytics.audit import QueryAudit
from flaas_jupyter.protocols.boosting import Bins, Ensemble
from flaas_jupyter.protocols.boosting.trees import Tree
from flaas_jupyter.protocols.explaining import (
    Background,
    Explanation,
    Marginal,
    ModelReference,
    digest_of,
    draw,
    told_bins,
)
from flaas_jupyter.protocols.explaining.shapley import additive, by_orders, exact, game_of, orders_of
from flaas_jupyter.protocols.explaining.tree_shap import expected_scores, tree_shap

NAMES = ("a", "b", "c")
SHA = "0" * 64


def by_definition(worth, features):
    """Shapley values of a game by the formula of Shapley (1953): worth takes a tuple of features."""
    found = []
    for j in range(features):
        others = [i for i in range(features) if i != j]
        total = 0.0
        for size in range(features):
            weight = math.factorial(size) * math.factorial(features - size - 1) / math.factorial(features)
            for coalition in itertools.combinations(others, size):
                total = total + weight * (worth((*coalition, j)) - worth(coalition))
        found.append(total)
    return np.stack(found, axis=1)


def curved(x):
    """Interactions of two and three features; two outputs."""
    return np.column_stack([x[:, 0] * x[:, 1] + np.sin(x[:, 2]) * x[:, 0], x.prod(axis=1)])


def setting(seed=0, width=3, rows=7, size=5):
    rng = np.random.default_rng(seed)
    weights = rng.random(size)
    return rng.normal(size=(rows, width)), rng.normal(size=(size, width)), weights / weights.sum()


def test_enumeration_is_the_definition_and_all_orders_are_too():
    x, background, weights = setting()
    blocks = [np.array([place]) for place in range(3)]

    def worth(coalition):
        mixed = np.repeat(background[None], len(x), axis=0)
        mixed[:, :, list(coalition)] = x[:, None, list(coalition)]
        return np.einsum("m,nmk->nk", weights, curved(mixed.reshape(-1, 3)).reshape(len(x), -1, 2))

    game = game_of(curved, x, background, weights, blocks)
    wanted = by_definition(worth, 3)
    np.testing.assert_allclose(exact(game, 3), wanted, atol=1e-12)
    every = np.array(list(itertools.permutations(range(3))))
    np.testing.assert_allclose(by_orders(game, every), wanted, atol=1e-12)
    some = by_orders(game, orders_of(3, 2, seed=1))
    np.testing.assert_allclose(some.sum(axis=1), curved(x) - weights @ curved(background), atol=1e-12)


def test_features_that_became_several_columns_are_taken_as_a_whole():
    x, background, weights = setting(width=4)
    blocks = [np.array([0]), np.array([1, 2]), np.array([3])]
    predict = lambda rows: (rows[:, 1] * rows[:, 2] + rows[:, 0])[:, None]  # noqa: E731
    found = exact(game_of(predict, x, background, weights, blocks), 3)
    np.testing.assert_allclose(found[:, 1, 0], x[:, 1] * x[:, 2] - weights @ (background[:, 1] * background[:, 2]))
    np.testing.assert_allclose(found[:, 2, 0], 0.0, atol=1e-12)


def test_additive_models_are_exact_without_any_coalition():
    x, background, weights = setting()
    matrix = np.array([[2.0], [-1.0], [0.5]])
    blocks = [np.array([place]) for place in range(3)]
    wanted = exact(game_of(lambda rows: rows @ matrix + 3.0, x, background, weights, blocks), 3)
    np.testing.assert_allclose(additive(x, background, weights, matrix, blocks), wanted, atol=1e-12)


# ---- trees ----------------------------------------------------------------------------------------------------------


def tree(feature, bin_, left, value, rows, missing_left=()):
    count = len(feature)
    flags = np.zeros(count, bool)
    flags[list(missing_left)] = True
    return Tree(
        np.array(feature, np.int32),
        np.array(bin_, np.int32),
        flags,
        np.array(left, np.int32),
        np.array(value, np.int64) << 32,
        np.zeros(count),
        np.array(rows, np.int64),
    )


def forest():
    """Two trees: one asks about a feature twice on one way, one sends missing values left."""
    first = tree(
        [0, 1, 0, -1, -1, -1, -1], [1, 0, 2, -1, -1, -1, -1], [1, 3, 5, -1, -1, -1, -1], [0, 0, 0, 1, -2, 3, 5],
        [100, 60, 40, 25, 35, 10, 30],
    )  # fmt: skip
    second = tree([2, -1, -1], [0, -1, -1], [1, -1, -1], [0, -3, 4], [100, 70, 30], missing_left=[0])
    return Ensemble(0, (7 << 32,), ((first,), (second,)))


def path_dependent(ensemble, codes, sizes, coalition):
    """Expected score by algorithm 1 of Lundberg et al. (2020), row by row."""

    def below(each, node, row):
        feature = int(each.feature[node])
        if feature < 0:
            return float(each.value[node]) / 2**32
        left = int(each.left[node])
        if feature in coalition:
            code = codes[feature, row]
            goes_left = each.missing_left[node] if code == sizes[feature] else code <= each.bin[node]
            return below(each, left if goes_left else left + 1, row)
        rows = each.rows[left : left + 2]
        return (rows[0] * below(each, left, row) + rows[1] * below(each, left + 1, row)) / rows.sum()

    base = ensemble.base[0] / 2**32
    return np.array(
        [base + sum(below(trees[0], 0, row) for trees in ensemble.iterations) for row in range(codes.shape[1])]
    )


def test_trees_are_explained_by_the_rows_that_they_were_grown_on():
    bins = Bins({"a": [0.0, 1.0, 2.0], "b": [0.5], "c": [0.0]})
    rng = np.random.default_rng(5)
    columns = {"a": rng.normal(1, 1, 40), "b": rng.random(40), "c": rng.normal(size=40)}
    columns["c"][:5] = np.nan
    codes, ensemble = bins.codes(columns), forest()
    found = tree_shap(ensemble, codes, bins.sizes)[:, :, 0]
    wanted = by_definition(lambda coalition: path_dependent(ensemble, codes, bins.sizes, coalition), 3)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    scores = ensemble.reals(ensemble.add(ensemble.start(40), codes, bins.sizes))[0]
    np.testing.assert_allclose(found.sum(axis=1) + expected_scores(ensemble)[0], scores, atol=1e-12)


def test_trees_that_do_not_know_their_rows_are_refused():
    stump = tree([0, -1, -1], [0, -1, -1], [1, -1, -1], [0, 1, 2], [0, 0, 0])
    with pytest.raises(InvalidInput, match="how many rows") as caught:
        tree_shap(Ensemble(0, (0,), ((stump,),)), np.zeros((1, 3), np.uint8), np.array([2]))
    assert caught.value.code == "boosting-no-rows"


# ---- the background -------------------------------------------------------------------------------------------------


def test_a_background_has_the_means_that_were_released_and_their_correlations():
    wide = Marginal((0.0, 1.0, 2.0, 9.0), (40.0, 30.0, 20.0, 10.0), 1.6)
    flag = Marginal((0.0, 1.0), (70.0, 30.0), 0.3)
    text = Marginal(("x", "y", None), (50.0, 30.0, 20.0))
    correlation = np.array([[1.0, 0.8, np.nan], [0.8, 1.0, np.nan], [np.nan, np.nan, 1.0]])
    drawn = draw({"wide": wide, "flag": flag, "text": text}, 64, 3, correlation)
    assert drawn.mean("wide") == pytest.approx(1.6, abs=1e-12)
    assert drawn.mean("flag") == pytest.approx(0.3, abs=1e-12)
    assert sum(drawn.weights) == pytest.approx(1.0)
    assert min(drawn.weights) >= 0
    together = np.corrcoef(drawn.columns["wide"], drawn.columns["flag"])[0, 1]
    assert 0.5 < together < 0.95
    assert {value: drawn.columns["text"].count(value) for value in ("x", "y", None)} == {"x": 32, "y": 19, None: 13}
    assert draw({"wide": wide}, 16, 3) == draw({"wide": wide}, 16, 3)
    assert Background.parse(drawn.to_dict(), ("wide", "flag", "text")) == drawn


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [0.5, 0.6]},
        {"weights": []},
        {"columns": {"a": [1.0, 2.0]}},
        {"columns": {"a": [1.0, 2.0], "b": [1.0]}},
        {"columns": {"a": [1.0, math.inf], "b": [1.0, 2.0]}},
    ],
)
def test_a_background_that_is_none_is_refused(change):
    fine = {"columns": {"a": [1.0, 2.0], "b": [3.0, 4.0]}, "weights": [0.5, 0.5]}
    Background.parse(fine, ("a", "b"))
    with pytest.raises(InvalidInput):
        Background.parse({**fine, **change}, ("a", "b"))


# ---- what is told ---------------------------------------------------------------------------------------------------


class Fixed:
    """An explainer whose values are given."""

    def __init__(self, values):
        self.values = np.asarray(values, np.float64)[:, :, None]

    def shap(self, statistic, columns):
        return self.values[: len(columns[statistic.columns[0]])]


def explanation(names=("a",), edges=(0.0, 10.0, 20.0), **more):
    bins = [{"name": name, "edges": list(edges)} for name in names]
    background = {"columns": {name: [0.0] for name in names}, "weights": [1.0]}
    document = {
        "v": 1,
        "kind": "explanation",
        "columns": list(names),
        "model": ModelReference("keras", SHA).to_dict(),
        "background": background,
        "bins": bins,
        **more,
    }
    return statistics.parse(document)


def told(statistic, columns, values, k=10):
    bound = replace(statistic, explainer=Fixed(values))
    local = bound.local(columns)
    opened = bound.decode(bound.encode(local).astype(object))
    return release.release(opened, bound, ReleasePolicy(minimum_group=k), ["n1", "n2", "n3"])


def test_bins_of_few_rows_are_told_together_and_nothing_of_them_follows_by_subtraction():
    column = np.concatenate([np.full(30, 5.0), np.full(4, 15.0), np.full(12, 25.0)])
    values = np.arange(46.0)[:, None] + 1
    released = told(explanation(), {"a": column}, values)
    assert released.counts[0] == 46
    assert released.values[0, 2] == values.sum()
    (bins,) = explanation().bins
    found = [
        (first, stop, released.counts[at]) for first, stop, at in told_bins(bins, 0, released.counts, released.spans)
    ]
    assert found == [(1, 2, 30.0), (2, 4, 16.0)]
    assert any("together" in reason for reason in released.reasons)


def test_few_missing_values_are_withheld_with_a_bin_beside_them():
    column = np.concatenate([np.full(30, 5.0), np.full(12, 15.0), np.full(3, np.nan)])
    released = told(explanation(), {"a": column}, np.ones((45, 1)))
    assert released.counts[0] == 45
    told_rows = np.nansum(released.counts[1:])
    assert told_rows == 30, "45 less this is 15 rows, and not 3"


def test_a_figure_that_one_row_makes_up_most_of_is_withheld():
    column = np.full(40, 5.0)
    values = np.full((40, 1), 0.01)
    values[7] = 50.0
    released = told(explanation(), {"a": column}, values)
    assert np.isnan(released.values[0, 1:]).all()
    assert np.isnan(released.values[2, 1:]).all(), "nor in the bin that the row is in"
    assert not np.nansum(released.values[:, 1:])
    assert any("a few rows" in reason for reason in released.reasons)
    assert not np.isnan(told(explanation(), {"a": column}, np.ones((40, 1))).values[0, 2])


@pytest.mark.parametrize(("rows", "is_told"), [(3, False), (9, False), (10, True), (40, True)])
def test_a_figure_is_of_k_rows_that_count(rows, is_told):
    values = np.zeros((40, 1))
    values[:rows] = 2.0
    released = told(explanation(), {"a": np.full(40, 5.0)}, values)
    assert np.isnan(released.values[0, 1]) != is_told
    assert np.isnan(released.values[2, 1]) != is_told, "nor in the bin that the rows are in"


def test_bins_in_which_few_rows_count_are_told_with_their_neighbours():
    column = np.repeat([5.0, 15.0], [30, 30])
    values = np.ones((60, 1))
    values[:24] = 1e-3
    released = told(explanation(), {"a": column}, values)
    assert released.counts[2] == 60
    assert released.values[2, 2] == pytest.approx(36 + 24e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300, 1e30])
def test_what_a_model_makes_of_one_row_does_not_make_a_node_refuse(value):
    values = np.ones((40, 1))
    values[7] = value
    released = told(explanation(), {"a": np.where(np.arange(40) == 9, 1e300, 5.0)}, values)
    assert released.counts[0] == 40
    assert np.isnan(released.values[0, 1])


def test_a_condition_that_few_rows_meet_has_no_answer():
    where = {"op": "gt", "args": [{"column": "a"}, {"value": 40}]}
    released = told(explanation(where=where), {"a": np.arange(45.0)}, np.ones((45, 1)))
    assert released.suppressed.all()


def test_the_query_audit_sees_the_bins():
    bound = explanation()
    column = np.arange(60.0)
    before = replace(bound, explainer=Fixed(np.ones((60, 1)))).local({"a": column})
    moved = replace(explanation(edges=(0.0, 12.0, 20.0)), explainer=Fixed(np.ones((60, 1)))).local({"a": column})
    audit = QueryAudit(10)
    audit.require(before)
    audit.record(before)
    audit.require(before)
    with pytest.raises(NotAllowed) as caught:
        audit.require(moved)
    assert caught.value.code == "query-differs-by-few"


def test_rows_are_drawn_by_lot_only_where_there_are_many():
    statistic = explanation(rows=10)
    few = replace(statistic, explainer=Fixed(np.ones((40, 1)))).local({"a": np.arange(40.0)})
    many = replace(statistic, explainer=Fixed(np.ones((41, 1)))).local({"a": np.arange(41.0)})
    assert (few.rows.sum(), many.rows.sum()) == (40, 10)
    assert many.counts[0] == 10


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": {"kind": "pickle", "sha256": SHA, "output": "margin", "outputs": 1}}, "bad-statistic"),
        ({"model": {"kind": "keras", "sha256": "xyz", "output": "margin", "outputs": 1}}, "bad-statistic"),
        ({"model": {"kind": "keras", "sha256": SHA, "output": "margin", "outputs": 10**6}}, "bad-statistic"),
        ({"background": None}, "bad-statistic"),
        ({"orders": 3}, "bad-statistic"),
        ({"orders": 10**6}, "bad-statistic"),
        ({"rows": 0}, "bad-statistic"),
        ({"bins": [{"name": "b", "edges": [0, 1]}]}, "bad-statistic"),
        ({"bins": [{"name": "a", "edges": [1, 0]}]}, "bad-statistic"),
        ({"bins": [{"name": "a", "edges": [0, 1], "values": ["x"]}]}, "bad-statistic"),
        ({"by": [{"column": "a", "values": [1]}]}, "bad-statistic"),
        ({"code": "import os"}, "bad-statistic"),
        ({"epsilon": 1.0}, "bad-statistic"),
    ],
)
def test_questions_that_are_none_are_refused(change, code):
    document = {**explanation().to_dict(), **change}
    with pytest.raises(InvalidInput) as caught:
        statistics.parse(document)
    assert caught.value.code == code


def test_a_question_is_what_its_json_says():
    statistic = explanation(("a", "b"), orders=4, seed=9, rows=50)
    assert isinstance(statistic, Explanation)
    again = statistics.parse(statistic.to_dict())
    assert again == statistic
    assert again.digest == statistic.digest


def test_a_model_is_known_by_the_digest_of_what_travels():
    tensors = {"weights": np.arange(4.0), "plan": np.frombuffer(b"{}", np.uint8)}
    reference = ModelReference("keras", digest_of(tensors))
    reference.require(dict(reversed(tensors.items())))
    with pytest.raises(NotAllowed) as caught:
        reference.require({**tensors, "weights": np.arange(4.0) + 1e-9})
    assert caught.value.code == "model-altered"
    with pytest.raises(InvalidInput) as missing:
        reference.require({})
    assert missing.value.code == "model-missing"
