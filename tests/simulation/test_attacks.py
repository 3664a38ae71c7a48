"""Every registered attack works in a simulation by its name, and does to the federation what it is said to do."""

from __future__ import annotations

import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols import attacks

from .conftest import classifier, fitted, image_classifier, images, rows, vector

TARGETED = {
    "backdoor": {"target": 1, "size": 2},
    "model_replacement": {"target": 1, "size": 2},
    "neurotoxin": {"target": 1, "size": 2},
    "label_flip": {"source": 0, "target": 1},
}


def attack(name: str, fraction: float = 0.5):
    return attacks.attack(name, fraction=fraction, **TARGETED.get(name, {}))


@pytest.mark.parametrize("rule", ["fedavg", "fedqv"])
@pytest.mark.parametrize("name", attacks.names())
def test_every_attack_runs_in_a_simulation_by_its_name(name, rule, federation):
    x, y = images()
    attacked = federation(x, y, attack=attack(name))
    assert attacked.malicious.sum() == 4
    harmed = fitted(image_classifier(aggregation=rule), attacked)
    assert np.isfinite(harmed).all()
    if not (name == "qv_adaptive" and rule == "fedavg"):
        assert not np.allclose(harmed, fitted(image_classifier(aggregation=rule), federation(x, y)))


@pytest.mark.parametrize("name", attacks.names())
def test_an_attack_may_have_all_clients(name, federation):
    x, y = images()
    weights = fitted(image_classifier(), federation(x, y, attack=attack(name, fraction=1.0)), rounds=2)
    assert np.isfinite(weights).all()


def test_the_malicious_are_the_same_for_a_seed_and_others_for_another(federation):
    def malicious(seed):
        return np.flatnonzero(federation(attack=attacks.attack("sign_flip"), clients=20, seed=seed).malicious).tolist()

    assert malicious(1) == malicious(1)
    assert malicious(1) != malicious(2)


def test_poisoned_rows_reach_the_malicious_only(federation):
    x, y = rows()
    clean, poisoned = federation(x, y), federation(x, y, attack=attack("label_flip"))
    for client in range(8):
        labels = [each.data.arrays.targets[""][each.data.rows[client]] for each in (clean, poisoned)]
        assert np.array_equal(*labels) != poisoned.malicious[client] or (labels[0] == 1).all()
    assert np.array_equal(poisoned.data.arrays.targets[""][: len(y)], y)


def test_neurotoxin_moves_only_the_coordinates_it_is_free_to_move(federation):
    x, y = images()
    seen = []

    class Spy(flaas.attacks.Neurotoxin):
        def craft(self, view):
            if view.previous is not None:
                seen.append((self.mask(view.reference, view.previous), view.own - view.reference))
            return super().craft(view)

    fitted(image_classifier(), federation(x, y, attack=Spy(fraction=0.25, target=1, size=2, top=0.3)))
    assert len(seen) == 2
    for free, moved in seen:
        assert free is not None
        assert 0 < free.sum() < free.size
        assert not moved[:, ~free].any()
        assert moved[:, free].any()


def test_attackers_are_told_in_clients_and_in_the_report(federation):
    model = classifier()
    attacked = federation(attack=attacks.attack("sign_flip", fraction=0.25))
    fitted(model, attacked)
    names = attacked.clients["name"][attacked.clients["attacker"]].tolist()
    assert len(names) == 2
    assert model.federated_report.attrs["attackers"] == names


def test_success_of_a_targeted_attack_is_measured_with_validation_data(federation):
    x, y = images()
    model = image_classifier()
    fitted(model, federation(x, y, attack=attack("backdoor")), rounds=4, validation_data=images(seed=1))
    rates = model.federated_report["val_attack_success_rate"]
    assert rates.between(0, 1).all()
    assert "val_source_accuracy" in model.federated_report


def test_an_attack_on_data_with_several_inputs_is_refused(federation):
    x, y = rows()
    with pytest.raises(InvalidInput) as caught:
        federation({"a": x, "b": x}, y, attack=attack("label_flip"))
    assert caught.value.code == "attack-needs-one-array"


def test_crafted_updates_are_clipped_under_central_privacy(federation):
    """Whatever attackers send moves the mean no further than clip / clients each."""
    privacy = flaas.DifferentialPrivacy(1e7, 1e-5, clip=0.5, noise_multiplier=1e-3)
    model = classifier(privacy=privacy)
    before = vector(model)
    moved = fitted(model, federation(attack=attacks.attack("gaussian", fraction=1.0, sigma=100.0)), rounds=1) - before
    assert np.linalg.norm(moved) <= 0.5 + 0.01


def test_an_attacker_that_fails_does_not_spoil_what_others_craft_under_privacy(federation):
    x, y = rows()
    x = x.copy()
    parts = np.array_split(np.arange(160), 8)
    x[parts[0]] *= 1e30
    privacy = flaas.DifferentialPrivacy(100, 1e-5, clip=1.0, noise_multiplier=1.0)
    model = classifier(privacy=privacy, activation="linear", learning_rate=10.0)
    attacked = federation(
        x, y, clients=None, partition=list(parts), attack=attacks.attack("min_max", fraction=0.25), seed=3
    )
    assert not attacked.malicious[0]
    fitted(model, attacked, rounds=1, local_epochs=3)
    assert model.federated_report["left_out"].iloc[0] == {attacked.clients["name"][0]: "update"}
