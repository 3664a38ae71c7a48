"""Aggregation rules: the registry, what every rule refuses, and federated averaging."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flaas_jupyter.errors import Conflict, InvalidInput
from flaas_jupyter.protocols.aggregation import FedAvg, Needs, RuleRegistry, aggregation, names
from flaas_jupyter.protocols.aggregation.blocks import BLOCK_COLUMNS


def test_fedavg_of_the_definition():
    result = aggregation("fedavg")(np.array([[0.0, 2.0], [4.0, 2.0]], np.float32), [1, 3])
    np.testing.assert_array_equal(result.weights, [3.0, 2.0])
    np.testing.assert_array_equal(result.contributions, [0.25, 0.75])
    assert result.weights.dtype == np.float64


@given(
    updates=hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e6, 1e6)),
    data=st.data(),
)
def test_fedavg_equals_the_weighted_mean_term_by_term(updates, data):
    counts = data.draw(st.lists(st.integers(1, 10_000), min_size=len(updates), max_size=len(updates)))
    result = FedAvg()(updates, counts)
    expected = sum(count * row for count, row in zip(counts, updates, strict=True)) / sum(counts)
    np.testing.assert_allclose(result.weights, expected, rtol=1e-12, atol=1e-9)
    assert result.contributions.sum() == pytest.approx(1.0)


def test_fedavg_crosses_blocks_without_a_seam():
    rng = np.random.default_rng(2)
    updates = rng.normal(size=(3, 2 * BLOCK_COLUMNS + 17)).astype(np.float32)
    result = FedAvg()(updates, [5, 1, 2])
    np.testing.assert_allclose(result.weights, np.average(updates, axis=0, weights=[5, 1, 2]), atol=1e-6)


def test_fedavg_sums_in_float64():
    cancelling = np.array([[1e8], [1.0], [-1e8]], np.float32)
    assert FedAvg()(cancelling, [1, 1, 1]).weights[0] == pytest.approx(1 / 3, rel=1e-6)


def test_a_client_without_examples_contributes_nothing():
    result = FedAvg()([[1.0], [100.0]], [3, 0])
    assert result.weights.tolist() == [1.0]
    assert result.contributions.tolist() == [1.0, 0.0]


def test_a_rule_that_needs_sums_gives_the_same_for_the_sum():
    rng = np.random.default_rng(3)
    updates, counts = rng.normal(size=(4, 10)), np.array([3, 1, 4, 1])
    assert FedAvg.needs is Needs.SUM
    mean = counts @ updates / counts.sum()
    np.testing.assert_allclose(FedAvg()([mean], [counts.sum()]).weights, FedAvg()(updates, counts).weights)


def test_memory_does_not_grow_with_the_model():
    updates = np.ones((8, 1_000_000), np.float32)
    FedAvg()(updates[:, :10], np.ones(8))
    tracemalloc.start()
    result = FedAvg()(updates, np.ones(8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - result.weights.nbytes < 3 * 8 * BLOCK_COLUMNS * 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_the_names_of_the_clients(bad):
    updates = np.zeros((4, BLOCK_COLUMNS + 5), np.float32)
    updates[1, -1] = updates[3, 0] = bad
    with pytest.raises(InvalidInput) as caught:
        FedAvg()(updates, [1, 1, 1, 1], client_ids=["ana", "bea", "carl", "dora"])
    assert caught.value.code == "non-finite-update"
    assert caught.value.details["clients"] == ["bea", "dora"]
    assert "bea, dora" in caught.value.message


@pytest.mark.parametrize(
    ("updates", "counts", "options", "code"),
    [
        (np.zeros((0, 3)), [], {}, "no-updates"),
        (np.zeros(3), [1], {}, "wrong-shape"),
        ([[1.0], [1.0, 2.0]], [1, 1], {}, "wrong-shape"),
        ([["a"]], [1], {}, "wrong-shape"),
        (np.zeros((2, 3)), [1], {}, "wrong-shape"),
        (np.zeros((2, 3)), [1, -1], {}, "bad-example-counts"),
        (np.zeros((2, 3)), [0, 0], {}, "bad-example-counts"),
        (np.zeros((2, 3)), [1, np.nan], {}, "bad-example-counts"),
        (np.zeros((2, 3)), [1, 1], {"client_ids": ["a", "a"]}, "bad-client-ids"),
        (np.zeros((2, 3)), [1, 1], {"client_ids": ["a"]}, "bad-client-ids"),
        (np.zeros((2, 3)), [1, 1], {"reference": np.zeros(2)}, "wrong-shape"),
        (np.zeros((2, 3)), [1, 1], {"reference": [0, np.nan, 0]}, "non-finite-reference"),
    ],
)
def test_bad_input_is_refused_by_name(updates, counts, options, code):
    with pytest.raises(InvalidInput) as caught:
        FedAvg()(updates, counts, **options)
    assert caught.value.code == code


def test_unknown_rule_names_what_there_is():
    with pytest.raises(InvalidInput) as caught:
        aggregation("fedavgg")
    assert caught.value.code == "unknown-aggregation"
    assert "fedavg" in caught.value.message
    assert "Did you mean 'fedavg'?" in caught.value.hint


def test_unknown_option_is_refused():
    with pytest.raises(InvalidInput) as caught:
        aggregation("fedavg", byzantine=2)
    assert caught.value.code == "bad-aggregation-option"


def test_one_can_register_ones_own_rule_once():
    registry = RuleRegistry("rule", "rule", {"fedavg": FedAvg})
    registry.register("mine", FedAvg)
    assert registry.names() == ["fedavg", "mine"]
    assert isinstance(registry("mine"), FedAvg)
    with pytest.raises(Conflict):
        registry.register("mine", FedAvg)
    assert "mine" not in names()


def test_a_rule_without_memory_takes_back_its_own_state_only():
    rule = aggregation("fedavg")
    rule.load_state_dict(rule.state_dict())
    with pytest.raises(InvalidInput) as caught:
        rule.load_state_dict({"reputation": [1.0]})
    assert caught.value.code == "wrong-rule-state"
