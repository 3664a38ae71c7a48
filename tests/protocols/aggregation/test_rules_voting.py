"""FedQV: credits, budgets and votes; and what it shares with the secure round."""

from __future__ import annotations

import json
import math

import numpy as np
import plain_rules as plain
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.aggregation import FedQV, Needs, ScalarRule, aggregation


def votes_of(rule, scalars, examples=None):
    examples = np.ones(len(scalars)) if examples is None else examples
    return rule.ballot(np.asarray(scalars, float), np.asarray(examples, float), [str(i) for i in range(len(scalars))])


def test_credits_at_the_edges_of_the_band():
    edge = 1e-9
    ballot = votes_of(FedQV(), [0, 0.2, 0.2 + edge, 0.5, 0.8 - edge, 0.8, 1])
    np.testing.assert_allclose(
        ballot.columns["credits"], [0, 0, 2.6094379, 1 + math.log(2), 1.2231436, 0, 0], atol=1e-6
    )
    np.testing.assert_allclose(ballot.votes, np.sqrt(ballot.columns["credits"]))
    assert ballot.votes[2] == pytest.approx(1.615, abs=1e-3)
    assert ballot.votes[4] == pytest.approx(1.106, abs=1e-3)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_two_clients_or_more_are_muted_every_round(scalars):
    votes = votes_of(FedQV(theta=0.0), scalars).votes
    assert np.count_nonzero(votes) <= len(scalars) - 2


def test_influence_falls_with_similarity_within_the_band():
    votes = votes_of(FedQV(), [0, 0.3, 0.4, 0.5, 0.6, 0.7, 1]).votes
    assert (np.diff(votes[1:-1]) < 0).all()


def test_votes_grow_with_the_root_of_the_examples():
    votes = votes_of(FedQV(), [0, 0.5, 0.5, 1], [1, 4, 9, 1]).votes
    assert votes[2] / votes[1] == pytest.approx(1.5)


def test_all_equal_similarities_mute_everybody():
    assert not votes_of(FedQV(), [0.7, 0.7, 0.7]).votes.any()
    reference = [1.0, 1.0]
    updates = np.repeat([[2.0, 3.0]], 3, axis=0)
    kept = aggregation("fedqv")(updates, [1, 1, 1], reference=reference)
    assert kept.weights.tolist() == reference
    assert kept.contributions.tolist() == [0, 0, 0]
    averaged = aggregation("fedqv", on_silence="average")(updates, [1, 1, 1], reference=reference)
    np.testing.assert_allclose(averaged.weights, [2.0, 3.0])
    np.testing.assert_allclose(averaged.contributions, [1 / 3] * 3)


def test_extreme_outliers_silence_everybody():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=200)
    honest = reference + 0.01 * rng.normal(size=(7, 200))
    result = aggregation("fedqv")(np.vstack([honest, -honest[:3]]), np.ones(10), reference=reference)
    np.testing.assert_array_equal(result.weights, reference)
    assert not result.columns["votes"].any()


def test_rounds_of_plain_loops_with_changing_clients():
    rng = np.random.default_rng(4)
    rule, same = aggregation("fedqv", budget=4.0), plain.Voting(4.0, 0.2)
    weights = rng.normal(size=12)
    exhausted = False
    for _ in range(12):
        names = [f"c{i}" for i in sorted(rng.choice(9, size=6, replace=False))]
        updates, counts = weights + rng.normal(size=(6, 12)), rng.integers(1, 20, size=6)
        result = rule(updates, counts, client_ids=names, reference=weights)
        expected, votes = same(updates.tolist(), counts.tolist(), names, weights.tolist())
        np.testing.assert_allclose(result.weights, expected, atol=1e-12)
        np.testing.assert_allclose(result.columns["votes"], votes, atol=1e-9)
        if sum(votes):
            np.testing.assert_allclose(result.contributions, np.array(votes) / sum(votes), atol=1e-9)
        exhausted |= 0.0 in same.left.values()
        weights = result.weights
    assert exhausted
    assert rule.state_dict()["budgets"] == pytest.approx(same.left)


def test_a_client_without_credits_is_silent_for_ever():
    rule = aggregation("fedqv", budget=2.0)
    spent = [rule([[1.0]] * 3, [1] * 3, scalars=[0, 0.5, 1], reference=[0.0]).columns["credits"][1] for _ in range(3)]
    np.testing.assert_allclose(spent, [1 + math.log(2), 2 - 1 - math.log(2), 0])
    assert rule.state_dict() == {"budgets": {"0": 2.0, "1": 0.0, "2": 2.0}}


def test_budgets_survive_a_restart_and_absence():
    rule = aggregation("fedqv")
    reported = {"scalars": [0, 0.5, 1], "reference": [0.0]}
    rule([[1.0]] * 3, [1] * 3, client_ids=["a", "b", "c"], **reported)
    again = aggregation(rule.name, **rule.options)
    again.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    again([[1.0]] * 3, [1] * 3, client_ids=["c", "a", "d"], **reported)
    left = again.state_dict()["budgets"]
    cost = 1 + math.log(2)
    assert left == pytest.approx({"a": 30 - cost, "b": 30 - cost, "c": 30, "d": 30})


def test_muted_clients_can_be_charged_too():
    rule = aggregation("fedqv", charge_muted=True)
    rule([[1.0]] * 4, [1] * 4, scalars=[0, 0.1, 0.5, 1], reference=[0.0])
    left = rule.state_dict()["budgets"]
    expected = {"0": 0.0, "1": 30 + math.log(0.1) - 1, "2": 30 - 1 - math.log(2), "3": 29.0}
    assert left == pytest.approx(expected)


def test_it_is_a_rule_of_sums_and_scalars():
    rule = aggregation("fedqv")
    assert isinstance(rule, ScalarRule)
    assert rule.needs is Needs.SCALARS
    update, reference = np.array([3.0, 4.0], np.float32), np.array([4.0, 3.0])
    assert rule.scalar(update, reference) == pytest.approx(24 / 25)
    assert rule.scalar(update, np.zeros(2)) == 0.0


def test_reported_scalars_give_the_same_as_computed_ones():
    rng = np.random.default_rng(1)
    updates, reference = rng.normal(size=(6, 50)), rng.normal(size=50)
    computed = aggregation("fedqv")(updates, np.ones(6), reference=reference)
    rule = aggregation("fedqv")
    reported = [rule.scalar(update, reference) for update in updates]
    result = rule(updates, np.ones(6), scalars=reported)  # without the reference
    np.testing.assert_allclose(result.weights, computed.weights)


def test_a_ballot_changes_nothing_until_it_is_settled_for_those_in_the_sum():
    rule = aggregation("fedqv")
    ids = ["a", "b", "c", "d"]
    ballot = rule.ballot(np.array([0, 0.4, 0.6, 1.0]), np.ones(4), ids)
    assert rule.state_dict() == {"budgets": {}}
    rule.settle(ballot, ["a", "b"])
    assert rule.state_dict()["budgets"] == pytest.approx({"a": 30.0, "b": 29 + math.log(0.4)})
    rule.settle(ballot, ["a", "b"])  # once more does not charge twice
    assert rule.state_dict()["budgets"]["b"] == pytest.approx(29 + math.log(0.4))
    with pytest.raises(InvalidInput) as caught:
        rule.settle(ballot, ["z"])
    assert caught.value.code == "bad-client-ids"


def test_the_secure_round_gives_the_same_as_the_clear_one():
    rng = np.random.default_rng(2)
    updates, counts, reference = rng.normal(size=(6, 9)), rng.integers(1, 9, size=6), rng.normal(size=9)
    ids = list("abcdef")
    clear, masked = aggregation("fedqv"), aggregation("fedqv")
    seen = clear(updates, counts, client_ids=ids, reference=reference)
    ballot = masked.ballot(np.array([masked.scalar(u, reference) for u in updates]), counts, ids)
    total = (ballot.votes[:, None] * updates).sum(axis=0)
    masked.settle(ballot, ids)
    np.testing.assert_allclose(total / ballot.votes.sum(), seen.weights)
    assert masked.state_dict() == clear.state_dict()


def test_without_reference_and_scalars_it_refuses():
    with pytest.raises(InvalidInput) as caught:
        aggregation("fedqv")([[1.0], [2.0]], [1, 1])
    assert caught.value.code == "needs-reference"


def test_a_refused_round_charges_nobody():
    rule = aggregation("fedqv")
    with pytest.raises(InvalidInput) as caught:
        rule([[1.0], [2.0]], [1, 1], scalars=[0.1, 0.9])  # all muted, and no reference to keep
    assert caught.value.code == "needs-reference"
    assert rule.state_dict() == {"budgets": {}}


def test_one_client_alone_is_refused_or_returned():
    with pytest.raises(InvalidInput) as caught:
        aggregation("fedqv")([[1.0]], [1], reference=[2.0])
    assert caught.value.code == "too-few-clients"
    assert aggregation("fedqv", on_silence="average")([[1.0]], [1], reference=[2.0]).weights.tolist() == [1.0]


@pytest.mark.parametrize(
    "options", [{"budget": 0}, {"theta": 0.5}, {"theta": -0.1}, {"on_silence": "stop"}, {"budget": float("inf")}]
)
@pytest.mark.parametrize("name", ["fedqv", "fedqv_reputation"])
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name, **options)
    assert caught.value.code == "bad-aggregation-option"


@pytest.mark.parametrize(
    "state", [{"budgets": {"a": -1}}, {"budgets": {"a": "x"}}, {"budgets": [1]}, {"other": 1}, {"budgets": {1: 1.0}}]
)
@pytest.mark.parametrize("name", ["fedqv", "fedqv_reputation"])
def test_a_foreign_state_is_refused(name, state):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name).load_state_dict(state)
    assert caught.value.code == "wrong-rule-state"
