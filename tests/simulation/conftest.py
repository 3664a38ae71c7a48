"""Small federations for fast tests: most train in this process, some in the worker process that notebooks use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.simulation import simulated
from flaas_jupyter.simulation.executors import inside

FEATURES = 6


def rows(count: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two classes that a line nearly separates."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, FEATURES)).astype("float32")
    y = (x @ np.linspace(-1, 1, FEATURES) + rng.normal(0, 0.3, count) > 0).astype("int32")
    return x, y


def classifier(
    *,
    optimizer: Any = None,
    learning_rate: float = 0.1,
    dropout: float = 0.0,
    hidden: int = 4,
    activation: str = "tanh",
    **options: Any,
) -> flaas.FederatedModel:
    """A small network for `rows`, the same weights and names every time."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    inputs = keras.Input((FEATURES,))
    net = keras.layers.Dense(hidden, activation=activation)(inputs)
    if dropout:
        net = keras.layers.Dropout(dropout)(net)
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(net), **options)
    model.compile(optimizer or keras.optimizers.SGD(learning_rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def images(count: int = 120, classes: int = 4, side: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a few classes, told apart by their brightness in a corner."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count).astype("int32")
    x = rng.uniform(0, 0.3, (count, side, side, 1)).astype("float32")
    x[:, :3, :3, 0] += (y / classes)[:, None, None]
    return x, y


def image_classifier(classes: int = 4, side: int = 6, **options: Any) -> flaas.FederatedModel:
    """A softmax regression for `images`."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((side, side, 1))
    outputs = keras.layers.Dense(classes, activation="softmax")(keras.layers.Flatten()(inputs))
    model = flaas.FederatedModel(inputs, outputs, **options)
    model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def vector(model: keras.Model) -> np.ndarray:
    """All weights of a model, one after another."""
    return np.concatenate([np.ravel(weights) for weights in model.get_weights()])


def fitted(model: flaas.FederatedModel, federation: Any, **options: Any) -> np.ndarray:
    """The weights after training, without a word."""
    model.fit(federation, **{"rounds": 3, "batch_size": 8, "seed": 5, "verbose": 0} | options)
    return vector(model)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the simulations of these tests have compiled."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FLAAS_HOME of the test's own, but for compiled programs."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "programs").symlink_to(programs)
    monkeypatch.setenv("FLAAS_HOME", str(folder))
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let federations train in this process: rules, attacks and reports do not depend on where."""
    monkeypatch.setattr(
        simulated, "make_executor", lambda plan, data, *, backend, workers: inside(plan, data, "tensorflow", 1)
    )


@pytest.fixture
def federation(here: None) -> Iterator[Callable[..., Any]]:
    """Make federations on `rows` in this process; they are closed after the test."""
    made = []

    def make(x: Any = None, y: Any = None, **options: Any) -> Any:
        if x is None and not isinstance(options.get("clients"), list):
            x, y = rows()
        made.append(flaas.simulate(x, y, **{"clients": 8} | options))
        return made[-1]

    yield make
    for each in made:
        each.close()
