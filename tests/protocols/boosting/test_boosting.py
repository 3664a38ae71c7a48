"""Boosting from sums: the same trees however rows are divided, small cells merged, hostile steps refused."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import FlaasError, InvalidInput
from flaas_jupyter.protocols.analytics import statistics
from flaas_jupyter.protocols.boosting import (
    Bins,
    Booster,
    Ensemble,
    HoldOut,
    Layout,
    Recipe,
    Rules,
    Sums,
    Tree,
    TreeEdges,
    TreeHistogram,
    find_edges,
    loss_named,
    merge_small,
)

RULES = Rules(l2=1.0, min_gain=0.0, min_samples_leaf=5, min_child_weight=1e-3)


def answers(nodes, minimum=1, seen=None):
    """Return an `Ask` that adds up what several nodes compute, as integers."""

    def ask(question):
        question = type(question).parse(question.to_dict())
        total = sum(question.encode(question.local(columns)) for columns in nodes)
        counts, values, suppressed = question.merged(*question.decode(total), minimum)
        if seen is not None:
            seen.append((counts, suppressed))
        return Sums(counts, values, suppressed)

    return ask


def table(rows=400, seed=0, classes=2, missing=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    x[:, 3] = rng.integers(0, 3, rows)
    score = x[:, 0] + np.where(x[:, 1] > 0.3, 1.5, -0.5) * (x[:, 3] == 1) + 0.3 * rng.normal(size=rows)
    y = np.digitize(score, np.quantile(score, np.arange(1, classes) / classes)) if classes else score
    x[rng.random(x.shape) < missing] = np.nan
    return {**{f"f{i}": x[:, i].copy() for i in range(4)}, "y": y.astype(float)}


def divided(columns, parts, seed=1):
    """Divide rows at random among so many nodes, some of which may have few or none."""
    owner = np.random.default_rng(seed).integers(0, parts, len(columns["y"]))
    return [{name: values[owner == part] for name, values in columns.items()} for part in range(parts)]


def edges_of(columns, bins=16):
    levels = np.linspace(0, 1, bins + 1)[1:-1]
    return Bins({n: np.unique(np.nanquantile(v, levels)) for n, v in columns.items() if n != "y"})


def recipe(loss, outputs, **changes):
    exponent = 3 if loss == "squared" else 0
    base = Recipe(
        loss_named(loss), outputs, 6, 0.3, 3, RULES, exponent=exponent, score_exponent=exponent, max_features=0.75
    )
    return dataclasses.replace(base, **changes)


TASKS = [("logistic", 1, 2), ("softmax", 3, 3), ("squared", 1, 0)]


# ---- the oracle: pooled rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("minimum", [1, 10])
@pytest.mark.parametrize(("loss", "outputs", "classes"), TASKS)
def test_trees_are_the_same_to_the_bit_however_rows_are_divided(loss, outputs, classes, minimum):
    columns = table(classes=classes)
    bins = edges_of(columns)
    grown = [
        Booster(answers(nodes, minimum), bins, "y", recipe(loss, outputs)).run()
        for nodes in ([columns], divided(columns, 3), divided(columns, 7, seed=2))
    ]
    pooled, *federated = [each.ensemble.to_dict(statistics=True) for each in grown]
    assert pooled["iterations"]
    assert all(each == pooled for each in federated)
    assert all(each.train_loss == grown[0].train_loss for each in grown)


@pytest.mark.parametrize(("loss", "outputs", "classes"), TASKS)
def test_each_split_is_the_best_of_a_search_over_rows(loss, outputs, classes):
    """A search written for single rows, without histograms, finds the same first tree."""
    columns = table(classes=classes)
    bins = edges_of(columns)
    found = Booster(
        answers([columns]), bins, "y", recipe(loss, outputs, iterations=1, max_depth=2, max_features=1.0)
    ).run()
    codes, y = bins.codes(columns), columns["y"]
    base = found.ensemble.reals(found.ensemble.first(0).start(len(y)))
    g, h = loss_named(loss).gradients(base, y)
    for output, tree in enumerate(found.ensemble.iterations[0]):
        hessian = np.ones(len(y)) if h is None else h[output]
        at = np.zeros(len(y), int)
        for node in np.flatnonzero(tree.feature >= 0):
            rows = np.flatnonzero(at == node)
            expected, gain = exhaustive(codes[:, rows], bins.sizes, g[output][rows], hessian[rows])
            assert tree.gain[node] == pytest.approx(gain, rel=1e-4)
            f = tree.feature[node]
            assert (f, tree.bin[node]) in expected
            missing = codes[f] == bins.sizes[f]
            left = np.where(missing, tree.missing_left[node], codes[f] <= tree.bin[node])
            at[rows] = np.where(left[rows], tree.left[node], tree.left[node] + 1)


def exhaustive(codes, sizes, g, h):
    """Return the (feature, bin) of largest gain, with those as good but for rounding, and the gain."""
    quality = lambda mask: g[mask].sum() ** 2 / (h[mask].sum() + RULES.l2)  # noqa: E731
    everything = np.ones(codes.shape[1], bool)
    gains = {}
    for feature, size in enumerate(sizes):
        missing = codes[feature] == size
        for b in range(size - 1):
            for side in (False, True):
                left = (codes[feature] <= b) | (missing & side)
                if min(left.sum(), (~left).sum()) < RULES.min_samples_leaf:
                    continue
                gain = (quality(left) + quality(~left) - quality(everything)) / 2
                gains[feature, b] = max(gain, gains.get((feature, b), 0.0))
    best = max(gains.values())
    return {place for place, gain in gains.items() if gain > best * (1 - 1e-4)}, best


def test_the_order_and_the_grouping_of_rows_change_no_sum():
    columns = table(classes=0)
    bins = edges_of(columns)
    tree = Tree.stump()
    ensemble = Ensemble(3, (12345,))
    question = TreeHistogram(bins, "y", loss_named("squared"), 1, ensemble, (tree,), ((0, 0),), (0, 1, 2, 3), 3)
    whole = question.encode(question.local(columns))
    order = np.random.default_rng(0).permutation(len(columns["y"]))
    shuffled = {name: values[order] for name, values in columns.items()}
    assert np.array_equal(whole, question.encode(question.local(shuffled)))
    parts = sum(question.encode(question.local(part)) for part in divided(columns, 5))
    assert np.array_equal(whole, parts)


def test_scores_remembered_from_the_step_before_are_the_scores_computed_anew():
    columns = table()
    bins = edges_of(columns)
    ensemble = Booster(answers([columns]), bins, "y", recipe("logistic", 1)).run().ensemble
    fresh = {name: values.copy() for name, values in columns.items()}
    for prefix in (ensemble.first(2), ensemble, ensemble.first(4), ensemble.first(0)):
        question = TreeHistogram(bins, "y", loss_named("logistic"), 1, prefix, (Tree.stump(),), ((0, 0),), (0, 1), 0)
        remembered = question.encode(question.local(columns))
        assert np.array_equal(remembered, question.encode(question.local({**fresh, "f0": fresh["f0"].copy()})))


# ---- missing values, one class, held-out rows -----------------------------------------------------------------------


def test_missing_values_go_where_they_gain():
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    absent = rng.random(600) < 0.3
    y = np.where(absent, 1.0, x > 0.5)  # what is missing is like what is large
    columns = {"f": np.where(absent, np.nan, x), "y": y}
    tree = Booster(answers([columns]), edges_of(columns), "y", recipe("logistic", 1, iterations=1, max_depth=1)).run()
    assert not tree.ensemble.iterations[0][0].missing_left[0]
    columns["y"] = np.where(absent, 0.0, x > 0.5)
    tree = Booster(answers([columns]), edges_of(columns), "y", recipe("logistic", 1, iterations=1, max_depth=1)).run()
    assert tree.ensemble.iterations[0][0].missing_left[0]


def test_a_value_can_stand_for_a_missing_one():
    columns = table()
    bins = edges_of(columns)
    marked = {name: np.where(np.isnan(values), -999.0, values) for name, values in columns.items()}
    other = Bins(bins.to_dict(), missing=-999.0)
    assert np.array_equal(bins.codes(columns), other.codes(marked))


def test_a_node_with_rows_of_one_class_only_takes_part():
    columns = table()
    nodes = [{n: v[columns["y"] == label] for n, v in columns.items()} for label in (0, 1)]
    bins = edges_of(columns)
    pooled = Booster(answers([columns]), bins, "y", recipe("logistic", 1)).run()
    assert (
        Booster(answers(nodes), bins, "y", recipe("logistic", 1)).run().ensemble.to_dict() == pooled.ensemble.to_dict()
    )


def test_one_class_in_all_is_refused():
    columns = table() | {"y": np.ones(400)}
    with pytest.raises(InvalidInput) as refused:
        Booster(answers(divided(columns, 3)), edges_of(columns), "y", recipe("logistic", 1)).run()
    assert refused.value.code == "boosting-one-class"


def test_held_out_rows_are_about_as_many_as_asked_and_are_not_trained_on():
    held = HoldOut(0.2, 7).chosen(10_000)
    assert 0.18 < held.mean() < 0.22
    assert not np.array_equal(held, HoldOut(0.2, 8).chosen(10_000))
    columns = table(rows=1000)
    bins = edges_of(columns)
    made = recipe("logistic", 1, hold_out=HoldOut(0.2, 7))
    found = Booster(answers([columns]), bins, "y", made).run()
    assert found.rows == 1000 - HoldOut(0.2, 7).chosen(1000).sum()
    kept = {n: v[~HoldOut(0.2, 7).chosen(1000)] for n, v in columns.items()}
    without = Booster(answers([kept]), bins, "y", recipe("logistic", 1)).run()
    assert found.ensemble.to_dict() == without.ensemble.to_dict()


def test_it_ends_when_the_validation_loss_no_longer_improves():
    rng = np.random.default_rng(0)
    columns = {"f": rng.normal(size=500), "y": rng.integers(0, 2, 500).astype(float)}  # nothing to learn
    made = recipe("logistic", 1, iterations=60, hold_out=HoldOut(0.3, 1), patience=3)
    found = Booster(answers([columns]), edges_of(columns), "y", made).run()
    assert len(found.validation_loss) < 20
    assert len(found.ensemble.iterations) == max(int(np.argmin(found.validation_loss)), 1)


def test_class_weights_make_a_rare_class_count_as_much():
    columns = table(rows=2000)
    keep = (columns["y"] == 0) | (np.random.default_rng(0).random(2000) < 0.1)
    columns = {n: v[keep] for n, v in columns.items()}
    bins = edges_of(columns)
    shares = []
    for weight in (None, "balanced"):
        model = Booster(answers([columns]), bins, "y", recipe("logistic", 1, class_weight=weight)).run().ensemble
        scores = model.reals(model.add(model.start(keep.sum()), bins.codes(columns), bins.sizes))
        shares.append((scores[0] > 0).mean())
    assert shares[1] > 2 * shares[0]


# ---- edges ----------------------------------------------------------------------------------------------------------


def asked_edges(columns, max_bins=16, minimum=1, parts=3):
    ask = answers(divided({**columns, "y": np.zeros(len(next(iter(columns.values()))))}, parts), minimum)

    def by_column(boundaries):
        question = TreeEdges(dict(boundaries))
        sums = ask(question)
        return question.by_column(sums.counts, sums.suppressed)

    return find_edges(list(columns), by_column, max_bins)


def test_edges_divide_rows_into_bins_of_about_equal_size():
    rng = np.random.default_rng(0)
    columns = {
        "normal": rng.normal(size=4000),
        "skewed": np.exp(3 * rng.normal(size=4000)),
        "far": 1e6 + rng.normal(size=4000),
        "small": 1e-4 * rng.random(4000) - 5e-5,
    }
    edges, ranges = asked_edges(columns)
    for name in ("normal", "skewed"):
        counts = np.bincount(np.searchsorted(edges[name], columns[name], side="right"))
        assert len(counts) == 16
        assert counts.max() < 1.7 * 4000 / 16
        assert ranges[name][0] <= columns[name].min()
        assert columns[name].max() < ranges[name][1]
    assert len(edges["far"]) >= 3
    assert len(edges["small"]) >= 8


def test_few_values_get_a_bin_each():
    rng = np.random.default_rng(1)
    columns = {"flag": rng.integers(0, 2, 300).astype(float), "level": rng.integers(-2, 4, 300).astype(float)}
    for minimum in (1, 10):
        edges, _ = asked_edges(columns, minimum=minimum)
        for name, values in columns.items():
            codes = np.searchsorted(edges[name], values, side="right")
            assert len(np.unique(codes)) == len(np.unique(values)) == len(edges[name]) + 1


def test_a_column_of_one_value_and_one_of_none_have_no_edges():
    columns = {"same": np.full(100, 3.0), "none": np.full(100, np.nan)}
    edges, ranges = asked_edges(columns)
    assert len(edges["same"]) == len(edges["none"]) == 0
    assert np.isnan(ranges["none"]).all()


def test_edges_are_the_same_however_rows_are_divided():
    columns = {"f": np.random.default_rng(0).normal(size=1000)}
    one, many = (asked_edges(columns, minimum=10, parts=parts)[0]["f"] for parts in (1, 6))
    assert np.array_equal(one, many)


# ---- what is told ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.floats(0.0, 1.0),
)
def test_no_cell_told_is_of_few_rows_and_sums_stay(minimum, sizes, seed, empty):
    rng = np.random.default_rng(seed)
    layout = Layout(tuple(size + 1 for size in sizes))
    rows = rng.integers(0, 120)
    counts = np.zeros((1, layout.cells), np.int64)
    counts[0, 0], start = rows, 1
    for size in sizes:
        share = rng.random(size + 1) * (rng.random(size + 1) > empty) + 1e-9
        counts[0, start : start + size + 1] = rng.multinomial(rows, share / share.sum())
        start += size + 1
    values = counts[..., None] * 7
    told = merge_small(counts, values, layout, minimum)
    assert not ((told.counts > 0) & (told.counts < minimum)).any()
    assert np.array_equal(told.values, told.counts[..., None] * 7)  # rows take their sums with them
    assert not told.counts[told.merged].any()
    start = 1
    for size in sizes:
        block = slice(start, start + size + 1)
        assert told.counts[0, block].sum() == (rows if rows >= minimum else 0)
        # A bin told covers itself and the merged ones before it: cumulated counts agree where one ends.
        behind = np.cumsum(counts[0, block][:-1])
        for b in np.flatnonzero(~told.merged[0, block][:-1])[:-1]:
            assert np.cumsum(told.counts[0, block][:-1])[b] == behind[b] or rows < minimum
        start += size + 1


def test_nothing_is_told_where_few_rows_are_held_out():
    columns = table(rows=1000)
    fractions = {}
    for fraction in (0.005, 0.05):
        document = a_step(hold_out={"fraction": fraction, "seed": 0})
        question = TreeHistogram.parse(document)
        counts, values, suppressed = question.merged(*question.decode(question.encode(question.local(columns))), 10)
        fractions[fraction] = HoldOut(fraction, 0).chosen(1000).sum(), suppressed.all(), counts.any() or values.any()
    assert 0 < fractions[0.005][0] < 10 <= fractions[0.05][0]
    assert fractions[0.005][1:] == (True, False)
    assert fractions[0.05][1:] == (False, True)


def test_every_leaf_has_rows_enough():
    columns = table(rows=300)
    seen = []
    found = Booster(answers(divided(columns, 3), minimum=25, seen=seen), edges_of(columns), "y", recipe("logistic", 1))
    ensemble = found.run().ensemble
    assert not any(((counts > 0) & (counts < 25)).any() for counts, _ in seen)
    codes, sizes = edges_of(columns).codes(columns), edges_of(columns).sizes
    for (tree,) in ensemble.iterations:
        counts = np.bincount(tree.leaf_of(codes, sizes), minlength=len(tree))
        assert counts[tree.leaves].min() >= 25
        assert np.array_equal(counts[tree.leaves], tree.rows[tree.leaves])


# ---- what is refused ------------------------------------------------------------------------------------------------


@functools.cache
def step_as_json():
    columns = table()
    bins = edges_of(columns)
    ensemble = Booster(answers([columns]), bins, "y", recipe("logistic", 1, iterations=2)).run().ensemble
    question = TreeHistogram(bins, "y", loss_named("logistic"), 1, ensemble, (Tree.stump(),), ((0, 0),), (0, 2), 0)
    return json.dumps(question.to_dict())


def a_step(**changes):
    return {**json.loads(step_as_json()), **changes}


def test_a_step_survives_its_json():
    document = a_step()
    assert TreeHistogram.parse(document).to_dict() == document


def spoilt(path, value):
    document = a_step()
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        (["kind"], "histogram", "boosting-bad-statistic"),
        (["v"], 2, "boosting-bad-statistic"),
        (["program"], "import os", "boosting-bad-statistic"),
        (["names"], ["f0", "f0", "f1", "f2"], "boosting-bad-statistic"),
        (["names"], ["y", "f0", "f1", "f2"], "boosting-bad-statistic"),
        (["edges", 0], [1.0, 1.0], "boosting-bad-edges"),
        (["edges", 0], [float("nan")], "boosting-bad-edges"),
        (["edges", 0], list(range(400)), "boosting-bad-edges"),
        (["edges", 0], "0", "boosting-bad-edges"),
        (["target"], "f0", "boosting-bad-statistic"),
        (["loss"], "__import__", "boosting-unknown-loss"),
        (["outputs"], 2, "boosting-bad-statistic"),
        (["exponent"], 10**6, "boosting-bad-tree"),
        (["exponent"], True, "boosting-bad-tree"),
        (["offset"], float("inf"), "boosting-bad-statistic"),
        (["weights"], [1.0, -1.0], "boosting-bad-statistic"),
        (["weights"], [1.0], "boosting-bad-statistic"),
        (["hold_out"], {"fraction": 0.9, "seed": 0}, "boosting-bad-statistic"),
        (["hold_out"], {"fraction": 0.1, "seed": -1}, "boosting-bad-statistic"),
        (["nodes"], [[0, 1]], "boosting-bad-statistic"),
        (["nodes"], [[1, 0]], "boosting-bad-statistic"),
        (["nodes"], [[0, 0], [0, 0]], "boosting-bad-statistic"),
        (["features"], [9], "boosting-bad-statistic"),
        (["features"], [0, 0], "boosting-bad-statistic"),
        (["ensemble"], None, "boosting-bad-tree"),
        (["ensemble", "base"], [1 << 60], "boosting-bad-tree"),
        (["ensemble", "base"], [1 << 200], "boosting-bad-tree"),
        (["ensemble", "iterations"], [[]], "boosting-bad-tree"),
        (["ensemble", "iterations", 0, 0, "left"], [0] * 3, "boosting-bad-tree"),
        (["ensemble", "iterations", 0, 0, "left", 0], 0, "boosting-bad-tree"),
        (["ensemble", "iterations", 0, 0, "feature", 0], 99, "boosting-bad-tree"),
        (["ensemble", "iterations", 0, 0, "bin", 0], 99, "boosting-bad-tree"),
        (["ensemble", "iterations", 0, 0, "value", -1], 1 << 50, "boosting-bad-tree"),
        (["ensemble", "iterations", 0, 0, "value", -1], 0.5, "boosting-bad-tree"),
        (["growing"], [], "boosting-bad-statistic"),
    ],
)
def test_a_step_that_is_not_in_order_is_refused(path, value, code):
    with pytest.raises(InvalidInput) as refused:
        TreeHistogram.parse(spoilt(path, value))
    assert refused.value.code == code


@pytest.mark.parametrize("document", [None, [], "x", {}, {"kind": "tree_histogram", "v": 1, "ask": "histogram"}])
def test_what_is_no_step_is_refused(document):
    with pytest.raises(InvalidInput):
        TreeHistogram.parse(document)


def test_a_tree_too_deep_and_a_step_too_large_are_refused():
    depth = 13
    deep = {
        "feature": [0 if node % 2 == 0 and node < 2 * depth else -1 for node in range(2 * depth + 1)],
        "bin": [0] * (2 * depth + 1),
        "missing_left": [0] * (2 * depth + 1),
        "left": [node + 1 if node % 2 == 0 and node < 2 * depth else -1 for node in range(2 * depth + 1)],
        "value": [0] * (2 * depth + 1),
    }
    # Each split's right child splits again.
    with pytest.raises(InvalidInput, match="deep"):
        Tree.from_dict(deep, np.array([16]))
    document = a_step()
    document["growing"] = [dict(document["ensemble"]["iterations"][0][0])]
    many = {f"f{i}": np.linspace(0, 1, 254).tolist() for i in range(3000)}
    with pytest.raises(InvalidInput) as refused:
        TreeHistogram.parse(
            a_step(
                names=list(many),
                edges=list(many.values()),
                features=list(range(3000)),
                ensemble={"exponent": 0, "base": [0], "iterations": []},
            )
        )
    assert refused.value.code == "boosting-too-large"


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0.5, 1], [-1, 0, 1]])
def test_a_target_of_other_classes_is_refused(labels):
    columns = table(rows=3, missing=0.0) | {"y": np.array(labels, float)}
    question = TreeHistogram.parse(a_step())
    with pytest.raises(InvalidInput) as refused:
        question.local(columns)
    assert refused.value.code == "boosting-bad-target"


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(InvalidInput, match="'f3'"):
        TreeHistogram.parse(a_step()).local({n: v for n, v in table().items() if n != "f3"})


def test_a_sum_that_no_rows_make_is_refused():
    question = TreeHistogram.parse(a_step())
    total = question.encode(question.local(table()))
    with pytest.raises(InvalidInput, match="not those of rows"):
        question.decode(-total)
    with pytest.raises(InvalidInput, match="numbers"):
        question.decode(total[:-1])


JUNK = [None, True, -1, 2**70, 0.5, float("nan"), float("inf"), "", "x", [], {}, [1], [[1]], {"a": 1}, [None]]


def places(part, path=()):
    yield path
    inner = part.items() if isinstance(part, dict) else enumerate(part[:4]) if isinstance(part, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def test_whatever_is_put_into_a_step_it_is_computed_or_refused_with_a_code():
    columns, document = table(rows=40), a_step()
    rng = np.random.default_rng(0)
    found = [path for path in places(document) if path]
    for number in rng.integers(0, len(found), 300).tolist():
        changed = spoilt(found[number], JUNK[int(rng.integers(len(JUNK)))])
        try:
            statistic = statistics.parse(changed)
            statistic.decode(statistic.encode(statistic.local(columns)))
        except FlaasError as error:
            assert error.code  # noqa: PT017 - that nothing else is raised is what is tested
