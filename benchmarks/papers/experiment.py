"""One run of the papers' setting and its figures, on whichever backend Keras has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import flaas_jupyter as flaas

from . import data, grid

LAST = 10  # rounds that the reported figures are a mean over


@dataclass(frozen=True)
class Setting:
    """How one data set is divided and trained on."""

    network: Callable[[keras.KerasTensor], keras.KerasTensor]
    clients: int
    clients_per_round: int
    rounds: int
    local_epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    backend: str = "auto"


def perceptron(x: keras.KerasTensor) -> keras.KerasTensor:
    """784-64-10 for images: 50,890 parameters."""
    hidden = keras.layers.Dense(64, activation="relu")(x)
    return keras.layers.Dense(10, activation="softmax")(hidden)


def urlnet(x: keras.KerasTensor) -> keras.KerasTensor:
    """1000-256-32-6 with dropout, as in the code of the NDSS 2023 paper: 264,678 parameters."""
    for units in (256, 32):
        x = keras.layers.Activation("relu")(keras.layers.Dropout(0.5)(keras.layers.Dense(units)(x)))
    return keras.layers.Dense(6, activation="softmax")(x)


def small_cnn(x: keras.KerasTensor) -> keras.KerasTensor:
    """Two convolutions and two dense layers: 136,874 parameters."""
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(2)(x)
    hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
    return keras.layers.Dense(10, activation="softmax")(hidden)


_IMAGES = Setting(perceptron, 100, 10, 100, 5, 10, 0.01, 0.5)
SETTINGS = {
    "mnist": _IMAGES,
    "fashion-mnist": _IMAGES,
    "sensitive-topics": Setting(urlnet, 10, 10, 50, 5, 64, 0.5, 0.5),
    "cifar10": Setting(small_cnn, 10, 10, 30, 3, 32, 0.02, 0.9, "tensorflow"),
}


def model_of(setting: Setting, shape: tuple[int, ...], rule: grid.Choice, seed: int) -> flaas.FederatedModel:
    """Return the compiled network, equal for every rule."""
    keras.utils.clear_session(free_memory=True)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape)
    aggregation = flaas.aggregation(rule.name, **rule.options)
    model = flaas.FederatedModel(inputs, setting.network(inputs), aggregation=aggregation)
    model.compile(
        optimizer=keras.optimizers.SGD(setting.learning_rate, momentum=setting.momentum),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def train(cell: grid.Cell, split: data.Split, rounds: int | None = None) -> Any:
    """Run one cell and return its report, one row a round."""
    attack, setting = cell.attack_choice, SETTINGS[cell.dataset]
    federation = flaas.simulate(
        split.x,
        split.y,
        clients=setting.clients,
        partition=flaas.Dirichlet(0.9),
        seed=cell.seed,
        attack=flaas.attacks.attack(attack.name, fraction=cell.fraction, **attack.options) if attack else None,
        backend=setting.backend,
        journal=False,
    )
    model = model_of(setting, split.x.shape[1:], grid.RULES[cell.rule], cell.seed)
    model.fit(
        federation,
        rounds=rounds or setting.rounds,
        clients_per_round=setting.clients_per_round,
        local_epochs=setting.local_epochs,
        batch_size=setting.batch_size,
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
