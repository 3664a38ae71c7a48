"""Group mode and large cohorts of secure aggregation in simulations."""

from __future__ import annotations

import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.simulation.rounds import SimulatedTraining

from .conftest import classifier, fitted, rows, vector


@pytest.fixture
def trained(monkeypatch):
    """The clients' weights of each round, as they were trained."""
    seen = []
    train = SimulatedTraining._train

    def watch(self, current, tasks, **options):
        output = train(self, current, tasks, **options)
        seen.append({str(task.client): np.array(row) for task, row in zip(tasks, output.values, strict=True)})
        return output

    monkeypatch.setattr(SimulatedTraining, "_train", watch)
    return seen


@pytest.mark.parametrize(("rule", "clients"), [("median", 10), ("krum", 16), ("reputation", 12)])
def test_a_round_in_groups_is_the_rule_on_the_groups_means(rule, clients, federation, trained):
    model = classifier(aggregation=rule, secure_aggregation=True)
    start = vector(model).astype("float64")
    made = federation(clients=clients)
    weights = fitted(model, made, rounds=1)
    report = model.federated_report
    groups: dict[float, list[str]] = {}
    for client, group in report["group"].iloc[0].items():
        groups.setdefault(group, []).append(client)
    assert (report["groups"].iloc[0], report["groups_void"].iloc[0]) == (clients // 3, 0)
    assert report["group_size"].iloc[0] == 3
    updates = {made.names[client]: row.astype("float64") for client, row in trained[0].items()}
    sizes = dict(zip(made.clients["name"], made.sizes.tolist(), strict=True))
    totals = [sum(sizes[c] for c in members) for _, members in sorted(groups.items())]
    means = [
        sum(sizes[c] * updates[c] for c in members) / total
        for (_, members), total in zip(sorted(groups.items()), totals, strict=True)
    ]
    plain = flaas.aggregation(rule)(np.stack(means), totals, reference=start)
    np.testing.assert_allclose(weights, plain.weights, atol=report["error_bound"].iloc[0] + 1e-6)
    weight = report["weights"].iloc[0]
    assert sum(weight.values()) == pytest.approx(1.0)
    for (_, members), contribution in zip(sorted(groups.items()), plain.contributions, strict=True):
        assert sum(weight[c] for c in members) == pytest.approx(contribution, abs=1e-3)


@pytest.mark.long
def test_the_same_seed_gives_the_same_groups(federation):
    made, groups = federation(clients=9), []
    for seed in (5, 5, 6):
        model = classifier(aggregation="median", secure_aggregation=True)
        fitted(model, made, rounds=1, seed=seed)
        groups.append(model.federated_report["group"].iloc[0])
    assert groups[0] == groups[1] != groups[2]


def test_krum_in_groups_of_three_survives_one_attacker_of_fifteen(federation):
    x, y = rows(300)
    attack = flaas.attacks.SignFlip(fraction=1 / 15, scale=40.0)
    masked = flaas.SecureAggregation(clip=1e4)
    accuracy = {}
    for rule in ("fedavg", "krum"):
        model = classifier(aggregation=rule, secure_aggregation=masked, learning_rate=0.5)
        attacked = federation(x, y, clients=15, attack=attack)
        assert attacked.malicious.sum() == 1
        fitted(model, attacked, rounds=3)
        accuracy[rule] = model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
        if rule == "krum":
            (bad,) = attacked.attackers
            assert all(weights[bad] == 0 for weights in model.federated_report["weights"])
    assert accuracy["krum"] > 0.85
    assert accuracy["krum"] > accuracy["fedavg"] + 0.1


def test_a_group_that_loses_a_client_is_void_and_the_round_keeps_to_its_bound(federation):
    model = classifier(aggregation="median", secure_aggregation=True)
    fitted(model, federation(clients=16, behaviour=flaas.Behaviour(dropout=0.12)), rounds=4)
    report = model.federated_report
    assert (report["groups"] >= 3).all()
    assert (report["groups_void"] > 0).any()
    assert (report["clients"] + report["dropped"] == 16).all()


@pytest.mark.parametrize(("rule", "clients", "needed"), [("median", 8, 9), ("krum", 14, 15)])
def test_too_few_clients_for_groups_are_refused_before_training(rule, clients, needed, federation, trained):
    with pytest.raises(InvalidInput, match=f"{rule}.*N ≥ {needed}.*N = {clients}") as caught:
        fitted(classifier(aggregation=rule, secure_aggregation=True), federation(clients=clients))
    assert caught.value.details["reason"] == "SECAGG_INCOMPATIBLE_AGGREGATOR"
    assert trained == []


def test_group_mode_is_told(federation, capsys):
    model = classifier(aggregation="reputation", secure_aggregation=flaas.SecureAggregation(group_size=4))
    model.fit(federation(clients=16), rounds=1, batch_size=8, seed=5, verbose=2)
    told = capsys.readouterr().out
    assert "group mode: privacy is one of 4" in told
    assert "Experimental" in told
    assert model.federated_report["groups"].iloc[0] == 4
    assert (model.federated_report.by_client("group").iloc[0].value_counts() == 4).all()


@pytest.mark.long
def test_two_hundred_clients_mask_their_updates(federation):
    x, y = rows(400)
    secure = classifier(secure_aggregation=True)
    made = federation(x, y, clients=200)
    weights = fitted(secure, made, rounds=1)
    bound = secure.federated_report["error_bound"].iloc[0]
    assert 0 < bound < 1e-3
    np.testing.assert_allclose(weights, fitted(classifier(), made, rounds=1), atol=bound + 1e-6)
    assert (secure.federated_report["clients"] == 200).all()


def test_a_sharded_sum_is_the_sum(federation):
    sharded = classifier(secure_aggregation=flaas.SecureAggregation(sharded=True))
    made = federation()
    one = fitted(sharded, made, rounds=1)
    assert sharded.federated_report["shards"].iloc[0] == 8
    # 8 clients send 7/8 of the weights and of the masked vector, and one opened part.
    assert sharded.federated_report["node_bytes_up"].iloc[0] <= 4 * len(one) * (2 * 7 + 1) / 8
    np.testing.assert_array_equal(one, fitted(classifier(secure_aggregation=True), made, rounds=1))
    for refused in ({"aggregation": "fedqv"}, {"aggregation": "median"}):
        with pytest.raises(InvalidInput) as caught:
            classifier(secure_aggregation=flaas.SecureAggregation(sharded=True), **refused)
        assert caught.value.code == "secagg-not-sharded"


def test_a_rule_with_clean_data_of_the_aggregators_own_runs_in_groups_too(federation):
    x, y = rows(160)
    model = classifier(aggregation="fltrust", secure_aggregation=True)
    fitted(model, federation(x, y, clients=9, root=(x[:20], y[:20])), rounds=1)
    assert model.federated_report["groups"].iloc[0] == 3
    assert "trust" in model.federated_report.client_columns
