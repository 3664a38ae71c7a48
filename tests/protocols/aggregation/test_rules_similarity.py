"""FLTrust and FoolsGold."""

from __future__ import annotations

import io
import json

import numpy as np
import plain_rules as plain
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.aggregation import aggregation


def test_fltrust_of_plain_loops():
    rng = np.random.default_rng(0)
    updates, reference, trusted = rng.normal(size=(6, 20)), rng.normal(size=20), rng.normal(size=20)
    result = aggregation("fltrust")(updates, np.ones(6), reference=reference, trusted=trusted)
    expected, trust = plain.fltrust(updates.tolist(), reference.tolist(), trusted.tolist())
    np.testing.assert_allclose(result.weights, expected)
    np.testing.assert_allclose(result.columns["trust"], trust, atol=1e-12)
    np.testing.assert_allclose(result.contributions, np.array(trust) / sum(trust), atol=1e-12)


def test_fltrust_takes_the_trusted_clients_update_and_does_not_average_it():
    rng = np.random.default_rng(1)
    updates, reference = rng.normal(size=(5, 20)), rng.normal(size=20)
    ids = ["a", "b", "root", "c", "d"]
    result = aggregation("fltrust", trusted="root")(updates, np.ones(5), client_ids=ids, reference=reference)
    others = np.delete(updates, 2, axis=0)
    expected = aggregation("fltrust")(others, np.ones(4), reference=reference, trusted=updates[2])
    np.testing.assert_allclose(result.weights, expected.weights)
    assert result.contributions[2] == 0


def test_fltrust_steps_by_its_learning_rate():
    updates, trusted, reference = [[3.0, 0.0], [0.0, -1.0]], [2.0, 0.0], [1.0, 0.0]
    whole = aggregation("fltrust")(updates, [1, 1], reference=reference, trusted=trusted)
    half = aggregation("fltrust", alpha=0.5)(updates, [1, 1], reference=reference, trusted=trusted)
    np.testing.assert_allclose(whole.weights, [2.0, 0.0])
    np.testing.assert_allclose(half.weights, [1.5, 0.0])


def test_fltrust_keeps_the_model_when_nobody_is_trusted():
    reference = np.array([1.0, 1.0])
    for trusted in ([2.0, 1.0], reference):
        result = aggregation("fltrust")([[0.0, 1.0], [1.0, 1.0]], [1, 1], reference=reference, trusted=trusted)
        np.testing.assert_array_equal(result.weights, reference)
        assert result.contributions.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "call", "code"),
    [
        ({}, {}, "needs-reference"),
        ({}, {"reference": [0.0]}, "needs-trusted"),
        ({"trusted": "z"}, {"reference": [0.0]}, "needs-trusted"),
        ({"trusted": "0"}, {"reference": [0.0]}, "too-few-clients"),
        ({}, {"reference": [0.0], "trusted": [np.nan]}, "non-finite-trusted"),
    ],
)
def test_fltrust_says_what_is_missing(options, call, code):
    with pytest.raises(InvalidInput) as caught:
        aggregation("fltrust", **options)([[1.0]], [1], **call)
    assert caught.value.code == code


def test_foolsgold_of_plain_loops_over_rounds_with_changing_clients():
    rng = np.random.default_rng(2)
    rule, same = aggregation("foolsgold"), plain.FoolsGold()
    weights = rng.normal(size=15)
    for _ in range(6):
        names = [f"c{i}" for i in rng.permutation(9)[:6]]
        drift = rng.normal(size=15)
        updates = weights + drift + rng.normal(size=(6, 15))
        result = rule(updates, np.ones(6), client_ids=names, reference=weights)
        expected, alphas = same(updates.tolist(), names, weights.tolist())
        np.testing.assert_allclose(result.columns["credibility"], alphas, atol=1e-9)
        np.testing.assert_allclose(result.weights, expected, atol=1e-9)
        np.testing.assert_allclose(result.contributions, np.array(alphas) / sum(alphas), atol=1e-9)
        weights = result.weights


def test_sybils_are_silenced_and_honest_clients_pardoned():
    rng = np.random.default_rng(3)
    honest = rng.normal(size=(5, 300))
    sybils = rng.normal(size=300) + 0.01 * rng.normal(size=(5, 300))
    result = aggregation("foolsgold")(np.vstack([honest, sybils]), np.ones(10), reference=np.zeros(300))
    assert result.contributions[5:].sum() == 0
    np.testing.assert_allclose(result.contributions[:5], 0.2)


def test_foolsgold_keeps_the_model_when_all_are_clones():
    result = aggregation("foolsgold")([[1.0, 2.0]] * 3, np.ones(3), reference=[0.5, 0.5])
    np.testing.assert_allclose(result.weights, [0.5, 0.5], atol=1e-12)
    assert result.contributions.tolist() == [0, 0, 0]


def test_foolsgold_compares_the_last_layer_only_when_told_so():
    rng = np.random.default_rng(4)
    updates = rng.normal(size=(4, 30))
    updates[:, :20] = 1.0  # alike outside of the last layer
    everything = aggregation("foolsgold")(updates, np.ones(4), reference=np.zeros(30))
    last = aggregation("foolsgold", columns=(20, 30))(updates, np.ones(4), reference=np.zeros(30))
    alone = aggregation("foolsgold")(updates[:, 20:], np.ones(4), reference=np.zeros(10))
    np.testing.assert_allclose(last.columns["credibility"], alone.columns["credibility"])
    assert not np.allclose(last.columns["credibility"], everything.columns["credibility"])


def test_foolsgold_returns_a_client_alone():
    result = aggregation("foolsgold")([[3.0, -1.0]], [1], reference=[1.0, 1.0])
    np.testing.assert_allclose(result.weights, [3.0, -1.0])
    assert result.contributions.tolist() == [1.0]


@pytest.mark.parametrize("form", ["json", "npz"])
def test_histories_survive_a_restart(form):
    rng = np.random.default_rng(5)
    straight, before = aggregation("foolsgold"), aggregation("foolsgold")
    for number in range(4):
        if number == 2:
            state = before.state_dict()
            if form == "json":
                state = json.loads(json.dumps({"clients": state["clients"], "histories": state["histories"].tolist()}))
            else:
                file = io.BytesIO()
                np.savez(file, **state)
                file.seek(0)
                state = dict(np.load(file))
            before = aggregation(before.name, **before.options)
            before.load_state_dict(state)
        updates, ids = rng.normal(size=(4, 9)), [f"c{i}" for i in rng.permutation(6)[:4]]
        expected = straight(updates, np.ones(4), client_ids=ids, reference=np.ones(9))
        result = before(updates, np.ones(4), client_ids=ids, reference=np.ones(9))
        np.testing.assert_array_equal(result.weights, expected.weights)


@pytest.mark.parametrize(
    "state",
    [
        {"clients": ["a"], "histories": [1.0]},
        {"clients": ["a", "a"], "histories": [[1.0], [1.0]]},
        {"clients": ["a"], "histories": [[1.0], [2.0]]},
        {"clients": 3, "histories": [[1.0]]},
        {"histories": [[1.0]]},
    ],
)
def test_a_foreign_state_is_refused(state):
    with pytest.raises(InvalidInput) as caught:
        aggregation("foolsgold").load_state_dict(state)
    assert caught.value.code == "wrong-rule-state"


def test_histories_of_another_model_are_refused():
    rule = aggregation("foolsgold")
    rule(np.eye(3), np.ones(3), reference=np.zeros(3))
    with pytest.raises(InvalidInput) as caught:
        rule(np.eye(4), np.ones(4), reference=np.zeros(4))
    assert caught.value.code == "wrong-rule-state"


@pytest.mark.parametrize("columns", [[1], [2, 2], [-1, 3], "ab", 5, [0, 1.5]])
def test_columns_must_be_a_range(columns):
    with pytest.raises(InvalidInput) as caught:
        aggregation("foolsgold", columns=columns)
    assert caught.value.code == "bad-aggregation-option"


def test_columns_must_lie_within_the_model():
    with pytest.raises(InvalidInput) as caught:
        aggregation("foolsgold", columns=[2, 9])(np.eye(3), np.ones(3), reference=np.zeros(3))
    assert caught.value.code == "bad-aggregation-option"
