"""FedProx and the optimisers at the server."""

from __future__ import annotations

import io
import json

import numpy as np
import plain_rules as plain
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.aggregation import Needs, aggregation

OPTIMIZERS = ["fedavgm", "fedadam", "fedyogi"]


def rounds(number: int = 4, n: int = 3, p: int = 6):
    rng = np.random.default_rng(5)
    for _ in range(number):
        yield rng.normal(size=(n, p)), rng.integers(1, 9, size=n)


def test_fedprox_averages_and_tells_the_trainer_its_mu():
    rule = aggregation("fedprox")
    assert rule.proximal == 0.01
    assert aggregation("fedprox", mu=1).proximal == 1.0
    assert aggregation("fedavg").proximal == 0.0
    for updates, counts in rounds(1):
        np.testing.assert_array_equal(rule(updates, counts).weights, aggregation("fedavg")(updates, counts).weights)


@pytest.mark.parametrize(("name", "kind"), [("fedadam", "adam"), ("fedyogi", "yogi")])
@pytest.mark.parametrize("options", [{}, {"eta": 0.3, "beta1": 0.5, "beta2": 0.7, "tau": 0.1}])
def test_adaptive_optimizers_of_plain_loops(name, kind, options):
    rule = aggregation(name, **options)
    same = plain.Adaptive(kind, **{"eta": 0.01, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3, **options})
    weights = np.linspace(-1, 1, 6)
    for updates, counts in rounds():
        result = rule(updates, counts, reference=weights)
        expected = same(updates.tolist(), [float(c) for c in counts], weights.tolist())
        np.testing.assert_allclose(result.weights, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(result.contributions, counts / counts.sum())
        weights = result.weights


def test_fedavgm_carries_its_momentum():
    rule = aggregation("fedavgm", beta=0.5, eta=2.0)
    assert rule([[1.0]], [1], reference=[0.0]).weights.tolist() == [2.0]
    assert rule([[3.0]], [1], reference=[2.0]).weights.tolist() == [5.0]  # v = 0.5 · 1 + 1
    plain_average = aggregation("fedavgm", beta=0.0)
    for updates, counts in rounds():
        result = plain_average(updates, counts, reference=np.ones(6))
        np.testing.assert_allclose(result.weights, aggregation("fedavg")(updates, counts).weights)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_sum_is_all_they_need(name):
    assert aggregation(name).needs is Needs.SUM
    clear, masked = aggregation(name), aggregation(name)
    weights = np.zeros(6)
    for updates, counts in rounds():
        seen = clear(updates, counts, reference=weights)
        opened = masked([counts @ updates / counts.sum()], [counts.sum()], client_ids=["sum"], reference=weights)
        np.testing.assert_allclose(opened.weights, seen.weights, rtol=1e-9)
        weights = seen.weights


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("form", ["npz", "json"])
def test_moments_survive_a_restart(name, form):
    straight, before = aggregation(name), aggregation(name)
    weights = np.zeros(6)
    for number, (updates, counts) in enumerate(rounds()):
        if number == 2:
            state = before.state_dict()
            if form == "json":
                state = json.loads(json.dumps({key: value.tolist() for key, value in state.items()}))
            else:
                file = io.BytesIO()
                np.savez(file, **state)
                file.seek(0)
                state = dict(np.load(file))
            before = aggregation(before.name, **before.options)
            before.load_state_dict(state)
        result = straight(updates, counts, reference=weights)
        np.testing.assert_array_equal(before(updates, counts, reference=weights).weights, result.weights)
        weights = result.weights


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_state_is_a_copy(name):
    rule = aggregation(name)
    rule([[1.0]], [1], reference=[0.0])
    state = rule.state_dict()
    kept = {key: value.copy() for key, value in state.items()}
    rule([[5.0]], [1], reference=[0.0])
    assert {key: value.tolist() for key, value in state.items()} == {k: v.tolist() for k, v in kept.items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "state", [{"x": [1.0]}, {"m": [[1.0]], "v": [[1.0]]}, {"v": ["a"], "m": ["a"]}, {"m": [1.0, 2.0], "v": [1.0]}, [1]]
)
def test_a_foreign_state_is_refused(name, state):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name).load_state_dict(state)
    assert caught.value.code == "wrong-rule-state"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_another_model_is_refused(name):
    rule = aggregation(name)
    rule([[1.0, 2.0]], [1], reference=[0.0, 0.0])
    with pytest.raises(InvalidInput) as caught:
        rule([[1.0]], [1], reference=[0.0])
    assert caught.value.code == "wrong-rule-state"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_refused_round_leaves_the_moments_as_they_were(name):
    rule = aggregation(name)
    rule([[1.0], [2.0]], [1, 1], reference=[0.0])
    state = rule.state_dict()
    with pytest.raises(InvalidInput):
        rule([[1.0], [np.nan]], [1, 0], reference=[0.0])
    assert {k: v.tolist() for k, v in rule.state_dict().items()} == {k: v.tolist() for k, v in state.items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_they_need_the_reference(name):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name)([[1.0]], [1])
    assert caught.value.code == "needs-reference"


@pytest.mark.parametrize(
    ("name", "options"),
    [("fedprox", {"mu": -1}), ("fedavgm", {"beta": 1.0}), ("fedavgm", {"eta": 0})]
    + [(n, o) for n in ("fedadam", "fedyogi") for o in ({"eta": 0}, {"tau": 0.0}, {"beta1": 1}, {"beta2": -0.1})],
)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(InvalidInput) as caught:
        aggregation(name, **options)
    assert caught.value.code == "bad-aggregation-option"
