"""Aggregation rules and differential privacy over real nodes."""

from __future__ import annotations

import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput

from .conftest import Fit, linear_model

NODES = ("north", "south", "west")
# Full-batch steps that take a participant a second or more: long enough to be killed within.
STEPS = 400


def stepped(data, start, names, steps, learning_rate=0.1):
    """What each node makes of the weights `start` by so many full-batch steps."""
    model = linear_model(secure=False, learning_rate=learning_rate)
    trained = []
    for name in names:
        x, y = data.arrays(name)
        model.set_weights(start)
        for _ in range(steps):
            model.train_on_batch(x, y)
        trained.append(np.concatenate([array.ravel() for array in model.get_weights()]))
    return np.array(trained)


def flat(model) -> np.ndarray:
    return np.concatenate([array.ravel() for array in model.get_weights()])


def test_krum_against_one_of_three_is_refused_and_the_median_is_the_median(three):
    federation, data = three
    with pytest.raises(InvalidInput, match="n ≥ 2f \\+ 3 = 5") as caught:
        Fit(federation, linear_model(False, aggregation=flaas.aggregation("krum", byzantine=1)), rounds=1).done()
    assert caught.value.code == "too-few-clients"

    model = linear_model(False, aggregation="median")
    start = model.get_weights()
    trained = Fit(federation, model, rounds=1, local_epochs=5, batch_size=1000).done()
    wanted = np.median(stepped(data, start, NODES, 5), axis=0)
    np.testing.assert_allclose(flat(trained), wanted, atol=1e-6)


def test_the_trusted_node_is_named_by_its_name(three):
    federation, data = three
    model = linear_model(False, aggregation=flaas.aggregation("fltrust", trusted="south"))
    start, before = model.get_weights(), flat(model)
    trained = Fit(federation, model, rounds=1, local_epochs=5, batch_size=1000).done()
    made = flaas.aggregation("fltrust", trusted="south")(
        stepped(data, start, NODES, 5), [40, 25, 90], client_ids=NODES, reference=before
    )
    np.testing.assert_allclose(flat(trained), made.weights, atol=1e-5)
    nobody = linear_model(False, aggregation=flaas.aggregation("fltrust", trusted="east"))
    with pytest.raises(InvalidInput, match=r"'east'.*north, south, west"):
        Fit(federation, nobody, rounds=1).done()


def test_a_proximal_term_holds_the_clients_back(three):
    federation, _ = three
    moved = {}
    for mu in (0.0, 5.0):
        model = linear_model(True, aggregation=flaas.aggregation("fedprox", mu=mu))
        before = flat(model)
        trained = Fit(federation, model, rounds=1, local_epochs=50, batch_size=1000).done()
        moved[mu] = np.linalg.norm(flat(trained) - before)
    assert 0 < moved[5.0] < 0.3 * moved[0.0]


def voted(federation, run):
    """Votes and budgets of each round, by node."""
    with federation.connect() as session:
        rounds = session.list(f"/v1/runs/{run}/rounds", "rounds")
    return [{client["node"]: client["columns"] for client in report["clients"]} for report in rounds]


@pytest.mark.long
def test_voting_under_secure_aggregation_is_voting_in_the_clear(five):
    federation, _ = five
    weights, told, bound = [], [], 1e-5
    for secure in (False, True):
        rule = flaas.aggregation("fedqv", theta=0.02)
        fit = Fit(federation, linear_model(secure, aggregation=rule), rounds=3, local_epochs=5, batch_size=1000, seed=3)
        trained = fit.done()
        weights.append(flat(trained))
        with federation.connect() as session:
            told.append(voted(federation, str(session.project("demo").runs["id"][0])))
        bound += trained.federated_report.error_bound.sum()
    np.testing.assert_allclose(weights[1], weights[0], atol=bound)
    for plain, masked in zip(*told, strict=True):
        assert plain.keys() == masked.keys()
        assert sum(columns["votes"] > 0 for columns in masked.values()) >= 3
        for node, columns in plain.items():
            assert masked[node] == pytest.approx(columns, rel=0.05, abs=1e-4)


@pytest.mark.long
def test_budgets_outlive_the_aggregator(five):
    federation, _ = five
    rule = flaas.aggregation("fedqv", theta=0.02, budget=30.0)
    model = linear_model(True, learning_rate=0.01, aggregation=rule)
    fit = Fit(federation, model, rounds=5, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(2)
    run = fit.run_id()
    by_name = {node.node_id: name for name, node in federation.nodes.items()}
    killed = by_name[fit.session.run(run)["aggregator"]]
    federation.kill_node(killed)
    federation.start_node(killed)  # five nodes are what it takes for the votes of three to hide each other
    fit.done()
    with federation.connect() as session:
        assert session.run(run)["term"] > 1, "another node has led"
    left = {}
    rounds = voted(federation, run)
    assert len(rounds) == 5
    for voters in rounds:
        if sum(columns["votes"] > 0 for columns in voters.values()) < 3:
            continue  # not opened, and not charged for
        for node, columns in voters.items():
            assert columns["budget"] == pytest.approx(left.get(node, 30.0) - columns["credits"])
            left[node] = columns["budget"]
    assert min(left.values()) < 30 - 3, "credits of several rounds"


PRIVACY = flaas.DifferentialPrivacy(epsilon=50.0, delta=1e-3, clip=0.5)


def test_central_privacy_over_masked_sums(three):
    federation, _ = three
    model = linear_model(True, privacy=PRIVACY, aggregation="fedavgm")
    before = flat(model)
    trained = Fit(federation, model, rounds=3, local_epochs=5, batch_size=1000).done()
    report = trained.federated_report
    assert (report.clients == 3).all()
    assert {round(weight, 6) for weights in report.weights for weight in weights.values()} == {round(1 / 3, 6)}
    assert "loss" not in report.columns
    spent = list(report.epsilon)
    assert 0 < spent[0] < spent[1] < spent[2] <= 50.0 * 1.000001
    assert np.linalg.norm(flat(trained) - before) > 0


def test_local_privacy_is_the_nodes_own_noise(three):
    federation, _ = three
    local = flaas.DifferentialPrivacy(epsilon=1000.0, delta=1e-3, clip=0.5, mode="local")
    model = linear_model(True, privacy=local)
    before = flat(model)
    trained = Fit(federation, model, rounds=1, local_epochs=5, batch_size=1000).done()
    assert 0 < trained.federated_report.epsilon[1] <= 1000.0 * 1.000001
    assert np.linalg.norm(flat(trained) - before) > 0


def test_a_run_over_its_budget_sends_nothing(three):
    federation, _ = three
    with federation.connect() as session:
        before = len(session.project("demo").runs)
    tight = flaas.DifferentialPrivacy(epsilon=1.0, delta=1e-3, clip=0.5, noise_multiplier=0.5)
    with pytest.raises(InvalidInput, match="would spend") as caught:
        Fit(federation, linear_model(False, privacy=tight), rounds=10).done()
    assert caught.value.code == "privacy-budget"
    with federation.connect() as session:
        assert len(session.project("demo").runs) == before


def test_an_owner_who_requires_privacy_has_a_veto(three):
    federation, _ = three
    federation.kill_node("west")
    policy = federation.nodes["west"].home.policy
    before = policy.read_text()
    strict = before.replace('privacy = "optional"', 'privacy = "required"')
    policy.write_text(strict.replace("maximum_epsilon = inf", "maximum_epsilon = 60.0"))
    try:
        federation.start_node("west")
        federation.wait_online()
        for privacy in (None, flaas.DifferentialPrivacy(epsilon=70.0, delta=1e-3, clip=0.5)):
            with pytest.raises(flaas.errors.FlaasError, match="west") as caught:
                Fit(federation, linear_model(True, privacy=privacy), rounds=1).done()
            assert "differential privacy" in str(caught.value) or "epsilon 70" in str(caught.value)
        trained = Fit(federation, linear_model(True, privacy=PRIVACY), rounds=1, batch_size=1000).done()
        assert trained.federated_report.clients[1] == 3
    finally:
        policy.write_text(before)
        federation.kill_node("west")


@pytest.mark.long
def test_a_node_attacks_when_its_owner_says_so_and_the_median_does_not_mind(three):
    federation, data = three
    usual = federation.node_options
    federation.kill_node("south")
    federation.node_options = [*usual, "--attack", "sign_flip", "--attack-option", "scale=4"]
    try:
        federation.start_node("south")
        federation.wait_online()
        model = linear_model(False, aggregation="median")
        start, before = model.get_weights(), flat(model)
        trained = Fit(federation, model, rounds=1, local_epochs=5, batch_size=1000).done()
    finally:
        federation.node_options = usual
        federation.kill_node("south")  # the fixture starts it again, without the attack
    sent = stepped(data, start, NODES, 5)
    sent[NODES.index("south")] = before - 4 * (sent[NODES.index("south")] - before)
    np.testing.assert_allclose(flat(trained), np.median(sent, axis=0), atol=1e-6)
    assert "attacks the run by sign_flip" in federation.nodes["south"].log.read_text()
