"""Residual-based reweighting, reputation, and voting with reputation."""

from __future__ import annotations

import json

import numpy as np
import plain_rules as plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.aggregation import aggregation, blocks

REGRESSING = ["residual", "reputation", "fedqv_reputation"]


def shifted(honest: int = 7, attackers: int = 3, p: int = 500, sigmas: float = 5.0, seed: int = 0) -> np.ndarray:
    """Models of honest clients, then of attackers shifted by so many of their standard deviations."""
    updates = np.random.default_rng(seed).normal(size=(honest + attackers, p))
    updates[honest:] += sigmas
    return updates


# Distinct values: equal ones may be ranked in either order.
cohorts = st.tuples(st.integers(4, 8), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=st.floats(-10, 10, width=32), unique=True)
)


@settings(max_examples=60)
@given(cohorts)
def test_residual_of_plain_loops(updates):
    result = aggregation("residual")(updates, np.ones(len(updates)))
    if not 0 < result.contributions.max() < 1:  # all confidences are equal: nothing to compare
        return
    rows = updates.tolist()
    if any(np.ptp(column) > 1e-9 for column in np.transpose(plain.regress(rows, 2.0)[0])):
        expected, weights = plain.residual(rows, 2.0, 0.1)
        np.testing.assert_allclose(result.contributions, np.array(weights) / sum(weights), atol=1e-6)
        np.testing.assert_allclose(result.weights, expected, atol=1e-5)
    else:
        np.testing.assert_allclose(result.contributions, np.full(len(rows), 1 / len(rows)))


@pytest.mark.parametrize("n", [4, 5, 6, 7, 10])
@pytest.mark.parametrize(("lam", "delta"), [(2.0, 0.1), (1.0, 0.5), (2.0, 0.0), (0.5, 0.9)])
def test_residual_of_plain_loops_for_any_bound(n, lam, delta):
    updates = np.random.default_rng(n).standard_t(2, size=(n, 40))
    result = aggregation("residual", lam=lam, delta=delta)(updates, np.ones(n))
    expected, weights = plain.residual(updates.tolist(), lam, delta)
    np.testing.assert_allclose(result.contributions, np.array(weights) / sum(weights))
    np.testing.assert_allclose(result.weights, expected, atol=1e-9)


@pytest.mark.parametrize("n", [4, 7, 10])
def test_reputation_of_plain_loops_over_rounds_with_changing_clients(n):
    rng = np.random.default_rng(n)
    ours, same = aggregation("reputation", s=3), plain.Reputations(s=3)
    for _ in range(6):
        names = [f"c{i}" for i in rng.permutation(n + 3)[:n]]
        updates = rng.standard_t(2, size=(n, 30))
        result = ours(updates, np.ones(n), client_ids=names)
        expected, weights, reputations = same(updates.tolist(), names)
        np.testing.assert_allclose(result.columns["reputation"], reputations)
        np.testing.assert_allclose(result.contributions, np.array(weights) / sum(weights))
        np.testing.assert_allclose(result.weights, expected, atol=1e-9)


@pytest.mark.parametrize("n", [4, 8, 10])
def test_voting_with_reputation_of_plain_loops(n):
    rng = np.random.default_rng(n)
    ours, same = aggregation("fedqv_reputation", budget=5.0), plain.VotingWithReputation(budget=5.0)
    reference = rng.normal(size=30)
    for _ in range(8):
        names = [f"c{i}" for i in rng.permutation(2 * n)[:n]]
        updates, counts = reference + rng.standard_t(2, size=(n, 30)), rng.integers(1, 9, size=n)
        result = ours(updates, counts, client_ids=names, reference=reference)
        expected, votes, reputation = same(updates.tolist(), counts.tolist(), names, reference.tolist())
        np.testing.assert_allclose(result.columns["reputation"], reputation)
        np.testing.assert_allclose(result.columns["votes"], votes, atol=1e-9)
        np.testing.assert_allclose(result.weights, expected, atol=1e-9)
    assert ours.state_dict()["budgets"] == pytest.approx(same.left)
    assert 0.0 in same.left.values()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", REGRESSING)
def test_an_outlier_loses(name, seed):
    updates = shifted(seed=seed)
    reference = np.full(500, 10.0)
    result = aggregation(name)(updates, np.ones(10), reference=reference)
    assert result.contributions[7:].sum() < 0.15
    if "reputation" in result.columns:
        assert result.columns["reputation"][:7].min() > result.columns["reputation"][7:].max()


@pytest.mark.parametrize("seed", range(3))
def test_as_released_an_outlier_gains(seed):
    updates = shifted(seed=seed)
    result = aggregation("reputation", variant="released-2024")(updates, np.ones(10))
    assert result.columns["reputation"][:7].max() < result.columns["reputation"][7:].min()
    assert result.contributions[7:].sum() > 0.9
    voting = aggregation("fedqv_reputation", variant="released-2024", on_silence="average")
    budgets = voting(updates, np.ones(10), reference=np.full(500, 10.0)).columns["budget"]
    assert budgets[:7].max() < budgets[7:].max()


def test_as_released_the_past_hardly_counts():
    released = aggregation("reputation", variant="released-2024")
    released(shifted(), np.ones(10))
    second = np.random.default_rng(9).normal(size=(10, 500))
    result = released(second, np.ones(10))
    np.testing.assert_allclose(result.columns["reputation"], result.columns["opinion"], atol=1e-4)


def test_a_wider_bound_separates_less():
    def gap(delta: float) -> float:
        opinion = aggregation("reputation", delta=delta)(shifted(), np.ones(10)).columns["opinion"]
        return opinion[:7].min() - opinion[7:].max()

    assert gap(0.5) > 3 * gap(0.1) > 0


def test_reputation_is_lost_slowly_and_comes_back():
    rule = aggregation("reputation", s=2)
    ids = [str(i) for i in range(10)]
    bad, good = shifted(7, 3), np.random.default_rng(3).normal(size=(10, 500))
    first = rule(bad, np.ones(10), client_ids=ids).columns["reputation"][9]
    second = rule(good, np.ones(10), client_ids=ids)
    third = rule(good, np.ones(10), client_ids=ids)
    assert first < second.columns["reputation"][9] < third.columns["reputation"][9]
    np.testing.assert_allclose(third.columns["reputation"], third.columns["opinion"])  # a window of two rounds


def test_an_outlier_is_expelled_for_good():
    rng = np.random.default_rng(0)
    rule, reference, ids = aggregation("fedqv_reputation"), np.full(500, 10.0), [f"c{i}" for i in range(10)]
    rule(shifted(), np.ones(10), client_ids=ids, reference=reference)
    expelled = [name for name, left in rule.state_dict()["budgets"].items() if left == 0]
    assert expelled
    assert set(expelled) <= set(ids[7:])
    again = aggregation(rule.name, **rule.options)
    again.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    for _ in range(3):
        result = again(rng.normal(size=(10, 500)), np.ones(10), client_ids=ids, reference=reference)
        votes, reputation = (dict(zip(ids, result.columns[key], strict=True)) for key in ("votes", "reputation"))
        for name in expelled:  # a reward of at most 1 credit is all that it can ever spend
            assert votes[name] <= (1.0 if reputation[name] > 0.9 else 0.0)


@pytest.mark.parametrize("name", REGRESSING)
def test_clients_that_nothing_tells_apart_count_alike(name):
    updates = np.repeat([[1.0, 2.0, 3.0]], 5, axis=0)
    result = aggregation(name, **({"on_silence": "average"} if name == "fedqv_reputation" else {}))(
        updates, np.ones(5), reference=np.ones(3)
    )
    np.testing.assert_allclose(result.weights, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(result.contributions, np.full(5, 0.2))
    if "budget" in result.columns:
        assert (result.columns["budget"] == 30).all()


@pytest.mark.parametrize("name", REGRESSING)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_clients_are_refused(name, n):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name)(np.ones((n, 3)), np.ones(n), reference=np.ones(3))
    assert caught.value.code == "too-few-clients"


@pytest.mark.parametrize("form", ["json", "arrays"])
def test_reputations_survive_a_restart(form):
    straight, before = aggregation("reputation"), aggregation("reputation")
    for seed in range(4):
        if seed == 2:
            state = before.state_dict()
            if form == "json":
                state = json.loads(json.dumps(state))
            else:
                state = {"opinions": {key: np.array(value) for key, value in state["opinions"].items()}}
            before = aggregation(before.name, **before.options)
            before.load_state_dict(state)
        updates = shifted(seed=seed)
        expected = straight(updates, np.ones(10)).weights
        np.testing.assert_array_equal(before(updates, np.ones(10)).weights, expected)


@pytest.mark.parametrize("state", [{"opinions": {"a": [2.0]}}, {"opinions": {"a": 1.0}}, {"opinions": []}, {"x": {}}])
def test_a_foreign_state_is_refused(state):
    with pytest.raises(InvalidInput) as caught:
        aggregation("reputation").load_state_dict(state)
    assert caught.value.code == "wrong-rule-state"


def test_evidence_counts_every_block(monkeypatch):
    updates = np.random.default_rng(5).standard_t(2, size=(6, 5000))
    whole = aggregation("reputation")(updates, np.ones(6))
    monkeypatch.setattr(blocks, "BLOCK_COLUMNS", 700)
    pieces = aggregation("reputation")(updates, np.ones(6))
    np.testing.assert_array_equal(pieces.columns["opinion"], whole.columns["opinion"])
    np.testing.assert_allclose(pieces.weights, whole.weights)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (name, options)
        for name in ("reputation", "fedqv_reputation")
        for options in ({"lam": 0}, {"delta": 1.1}, {"kappa": -1}, {"W": 0}, {"a": 2}, {"variant": "fixed"})
    ]
    + [("reputation", {"z": -1}), ("reputation", {"s": 0}), ("fedqv_reputation", {"reward": 2})]
    + [("residual", {"lam": 0}), ("residual", {"delta": -1})],
)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name, **options)
    assert caught.value.code == "bad-aggregation-option"
