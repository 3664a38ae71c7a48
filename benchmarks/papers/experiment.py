"""One run of the papers' setting and its figures, on whichever backend Keras has."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import flaas_jupyter as flaas

from . import data, grid

CLIENTS, CLIENTS_PER_ROUND, ROUNDS, LOCAL_EPOCHS, BATCH_SIZE = 100, 10, 100, 5, 10
LAST = 10  # rounds that the reported figures are a mean over


def network(features: int, rule: grid.Choice, seed: int) -> flaas.FederatedModel:
    """Return the compiled network, 784-64-10 for images: 50,890 parameters, equal for every rule."""
    keras.utils.clear_session(free_memory=True)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((features,))
    hidden = keras.layers.Dense(64, activation="relu")(inputs)
    outputs = keras.layers.Dense(10, activation="softmax")(hidden)
    model = flaas.FederatedModel(inputs, outputs, aggregation=flaas.aggregation(rule.name, **rule.options))
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.5),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def train(cell: grid.Cell, split: data.Split, rounds: int = ROUNDS) -> Any:
    """Run one cell and return its report, one row a round."""
    attack = grid.ATTACKS[cell.attack]
    federation = flaas.simulate(
        split.x,
        split.y,
        clients=CLIENTS,
        partition=flaas.Dirichlet(0.9),
        seed=cell.seed,
        attack=flaas.attacks.attack(attack.name, fraction=cell.fraction, **attack.options) if attack else None,
        journal=False,
    )
    model = network(split.x.shape[1], grid.RULES[cell.rule], cell.seed)
    model.fit(
        federation,
        rounds=rounds,
        clients_per_round=CLIENTS_PER_ROUND,
        local_epochs=LOCAL_EPOCHS,
        batch_size=BATCH_SIZE,
        validation_data=(split.x_test, split.y_test),
        validation_freq=1,
        seed=cell.seed,
        verbose=0,
    )
    return model.federated_report


def measure(report: Any) -> dict[str, float | None]:
    """Return mean and spread over the last rounds."""
    accuracy = np.asarray(report["val_accuracy"][-LAST:], float)
    success = report["val_attack_success_rate"][-LAST:] if "val_attack_success_rate" in report.columns else None
    return {
        "accuracy": round(float(accuracy.mean()), 4),
        "accuracy_spread": round(float(accuracy.std()), 4),
        "asr": None if success is None else round(float(np.mean(success)), 4),
    }
