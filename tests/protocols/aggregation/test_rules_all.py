"""What holds for every rule: order of clients, translation, scale, blocks, threads, memory, one client, NaN."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.aggregation import aggregation, blocks, names

ALL = names()
STATEFUL = ["fedadam", "fedavgm", "fedqv", "fedqv_reputation", "fedyogi", "foolsgold", "reputation"]
COMPARING = {"fedqv", "fedqv_reputation", "fltrust", "krum", "multi_krum", "reputation", "residual"}
# FedQV's cosine is with the weights themselves, Adam's step does not grow with its gradient, FoolsGold's rounding of
# clones does not either; the line fitted by the regression has a constant 10⁻⁷ in its scale.
TRANSLATED = [name for name in ALL if name not in {"fedqv", "fedqv_reputation"}]
SCALED = [name for name in TRANSLATED if name not in {"fedadam", "fedyogi", "geometric_median"}]


def make(name: str, **options: object):
    return aggregation(name, **({"trusted": "c0"} if name == "fltrust" else {}), **options)


def cohort(seed: int = 0, n: int = 7, p: int = 60):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=p)
    updates = reference + rng.normal(size=(n, p)) * rng.uniform(0.5, 2, size=(n, 1)) + 0.5 * rng.normal(size=p)
    return updates, rng.integers(1, 9, size=n), [f"c{i}" for i in range(n)], reference


def test_there_are_seventeen():
    assert len(ALL) == 17


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
@pytest.mark.parametrize("name", ALL)
def test_the_order_of_clients_does_not_matter(name, seed):
    updates, counts, ids, reference = cohort(seed)
    order = np.random.default_rng(seed).permutation(len(ids))
    straight, shuffled = make(name), make(name)
    for _ in range(2):
        one = straight(updates, counts, client_ids=ids, reference=reference)
        two = shuffled(updates[order], counts[order], client_ids=[ids[i] for i in order], reference=reference)
        np.testing.assert_allclose(two.weights, one.weights, atol=1e-9)
        np.testing.assert_allclose(two.contributions, one.contributions[order], atol=1e-9)
        for key, column in one.columns.items():
            np.testing.assert_allclose(two.columns[key], column[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_constant_added_to_all_is_added_to_the_result(name):
    updates, counts, ids, reference = cohort()
    shift = np.linspace(-100, 100, updates.shape[1])
    here = make(name)(updates, counts, client_ids=ids, reference=reference)
    there = make(name)(updates + shift, counts, client_ids=ids, reference=reference + shift)
    np.testing.assert_allclose(there.weights, here.weights + shift, atol=1e-7)
    np.testing.assert_allclose(there.contributions, here.contributions, atol=1e-7)


@pytest.mark.parametrize("factor", [1e-2, 1e3])
@pytest.mark.parametrize("name", SCALED)
def test_a_factor_on_all_is_a_factor_on_the_result(name, factor):
    updates, counts, ids, reference = cohort()
    one = make(name)(updates, counts, client_ids=ids, reference=reference)
    many = make(name)(factor * updates, counts, client_ids=ids, reference=factor * reference)
    np.testing.assert_allclose(many.weights, factor * one.weights, rtol=1e-3)
    np.testing.assert_allclose(many.contributions, one.contributions, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_contributions_sum_to_one_and_are_no_less_than_zero(name):
    updates, counts, ids, reference = cohort(n=9)
    result = make(name)(updates, counts, client_ids=ids, reference=reference)
    assert result.contributions.shape == (9,)
    assert result.contributions.min() >= 0
    assert result.contributions.sum() == pytest.approx(1.0)
    assert result.weights.dtype == np.float64
    assert all(column.shape == (9,) for column in result.columns.values())


@pytest.mark.parametrize("name", ALL)
def test_neither_blocks_nor_threads_change_the_result(name, monkeypatch):
    updates, counts, ids, reference = cohort(p=3000)
    whole = make(name)(updates, counts, client_ids=ids, reference=reference)
    monkeypatch.setattr(blocks, "BLOCK_COLUMNS", 111)
    pieces = make(name)(updates, counts, client_ids=ids, reference=reference)
    np.testing.assert_allclose(pieces.weights, whole.weights, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(pieces.contributions, whole.contributions, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(blocks, "_WORTH_THREADS", 0)
    monkeypatch.setattr(blocks, "THREADS", 3)
    threaded = make(name)(updates, counts, client_ids=ids, reference=reference)
    np.testing.assert_array_equal(threaded.weights, pieces.weights)
    np.testing.assert_array_equal(threaded.contributions, pieces.contributions)


@pytest.mark.parametrize("name", ALL)
def test_the_updates_are_left_as_they_were(name):
    updates, counts, ids, reference = cohort()
    copies = updates.copy(), reference.copy()
    result = make(name)(updates, counts, client_ids=ids, reference=reference)
    result.weights[:] = 0
    np.testing.assert_array_equal(updates, copies[0])
    np.testing.assert_array_equal(reference, copies[1])


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.float16])
@pytest.mark.parametrize("name", ALL)
def test_any_real_type_will_do(name, dtype):
    updates, counts, ids, reference = cohort(p=20)
    given_type = (updates * 100).astype(dtype)
    start = reference * 100
    result = make(name)(given_type, counts, client_ids=ids, reference=start)
    expected = make(name)(given_type.astype(np.float64), counts, client_ids=ids, reference=start)
    np.testing.assert_allclose(result.weights, expected.weights, rtol=2e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("name", sorted(set(ALL) - COMPARING))
def test_one_client_is_returned(name):
    client, reference = [[3.0, -1.0, 2.0]], [1.0, 1.0, 1.0]
    result = make(name)(client, [5], client_ids=["c0"], reference=reference)
    assert result.contributions.tolist() == [1.0]
    if name not in {"fedadam", "fedyogi"}:  # which go a step of their own length towards it
        np.testing.assert_allclose(result.weights, client[0])


@pytest.mark.parametrize("name", sorted(COMPARING))
def test_one_client_is_refused_where_clients_are_compared(name):
    with pytest.raises(InvalidInput) as caught:
        make(name)([[3.0, -1.0, 2.0]], [5], client_ids=["c0"], reference=[1.0, 1.0, 1.0])
    assert caught.value.code == "too-few-clients"


@pytest.mark.parametrize("examples", [[1] * 7, [0, 1, 1, 1, 1, 1, 1]])
@pytest.mark.parametrize("name", ALL)
def test_clients_with_nan_are_refused_by_name_and_change_no_state(name, examples):
    updates, _, ids, reference = cohort()
    updates[0, 5], updates[4, 59] = np.nan, -np.inf
    rule = make(name)
    before = repr(rule.state_dict())
    with pytest.raises(InvalidInput) as caught:
        rule(updates, examples, client_ids=ids, reference=reference)
    assert caught.value.code == "non-finite-update"
    assert caught.value.details["clients"] == ["c0", "c4"]
    assert repr(rule.state_dict()) == before


@pytest.mark.parametrize("name", ALL)
def test_options_make_the_rule_again(name):
    rule = make(name)
    options = json.loads(json.dumps(rule.options))
    again = aggregation(name, **options)
    assert again == rule
    assert again.name == name
    with pytest.raises(InvalidInput) as caught:
        aggregation(name, no_such_option=1)
    assert caught.value.code == "bad-aggregation-option"


@pytest.mark.parametrize("name", STATEFUL)
def test_state_goes_through_json_and_on_as_if_nothing_had_happened(name):
    straight, stopped = make(name), make(name)
    for number in range(4):
        updates, counts, _, reference = cohort(number)
        ids = ["c0", *(f"c{i}" for i in 1 + np.random.default_rng(number).permutation(9)[:6])]
        if number == 2:
            plain = json.dumps(stopped.state_dict(), default=lambda array: array.tolist())
            stopped = make(name)
            stopped.load_state_dict(json.loads(plain))
        expected = straight(updates, counts, client_ids=ids, reference=reference)
        result = stopped(updates, counts, client_ids=ids, reference=reference)
        np.testing.assert_array_equal(result.weights, expected.weights)
    assert straight.state_dict()


@pytest.mark.parametrize("name", STATEFUL)
def test_clients_that_do_not_take_part_keep_their_state(name):
    rule = make(name)
    updates, counts, ids, reference = cohort()
    rule(updates, counts, client_ids=ids, reference=reference)
    before = rule.state_dict()
    rule(updates, counts, client_ids=[f"other{i}" for i in range(7)], reference=reference)
    after = rule.state_dict()
    for key in before.keys() & {"budgets", "opinions"}:
        assert {client: after[key][client] for client in ids} == before[key]
    if "clients" in before:
        np.testing.assert_array_equal(after["histories"][:7], before["histories"])


@pytest.mark.parametrize("name", sorted(set(ALL) - set(STATEFUL)))
def test_rules_without_memory_have_no_state(name):
    rule = make(name)
    updates, counts, ids, reference = cohort()
    rule(updates, counts, client_ids=ids, reference=reference)
    assert rule.state_dict() == {}
    with pytest.raises(InvalidInput) as caught:
        rule.load_state_dict({"budgets": {}})
    assert caught.value.code == "wrong-rule-state"


@pytest.mark.parametrize("name", sorted(set(ALL) - {"foolsgold"}))
def test_memory_does_not_grow_with_clients_times_parameters(name):
    rng = np.random.default_rng(0)
    updates = rng.standard_normal((30, 150_000), dtype=np.float32)
    reference = updates[0].astype(np.float64)
    ids = [f"c{i}" for i in range(30)]
    make(name)(updates[:, :100], np.ones(30), client_ids=ids, reference=reference[:100])
    tracemalloc.start()
    make(name)(updates, np.ones(30), client_ids=ids, reference=reference)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    vectors = 8 * reference.nbytes  # what depends on p alone: moments, lines, the result
    assert peak < vectors + 2 * blocks.THREADS * 6 * 8 * blocks.BLOCK_VALUES
