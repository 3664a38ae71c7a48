"""A simulated federation computes what real nodes compute on the same data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flaas_jupyter as flaas

from .conftest import FEATURES, Fit


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))


def model(**options: Any) -> Any:
    """A network in which shuffling and drop-out matter."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((FEATURES,))
    net = keras.layers.Dropout(0.4)(keras.layers.Dense(5, activation="tanh")(inputs))
    made = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(net), **options)
    made.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    return made


@pytest.mark.parametrize(
    "aggregation", ["fedavg", *(pytest.param(name, marks=pytest.mark.long) for name in ("median", "fedprox"))]
)
def test_a_simulation_gives_the_weights_and_metrics_of_real_nodes(three, aggregation):
    federation, data = three
    rule = flaas.aggregation("fedprox", mu=0.5) if aggregation == "fedprox" else aggregation
    options = {"rounds": 3, "local_epochs": 2, "batch_size": 16, "seed": 11}
    real = Fit(federation, model(aggregation=rule), **options).done()
    clients = [data.arrays(name) for name in ("north", "south", "west")]
    simulated = model(aggregation=rule)
    with_tensorflow = flaas.simulate(clients=clients, backend="tensorflow")
    simulated.fit(with_tensorflow, verbose=0, **options)
    with_tensorflow.close()
    for ours, theirs in zip(simulated.get_weights(), real.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for metric in ("loss", "accuracy"):
        np.testing.assert_allclose(
            simulated.federated_report[metric], real.federated_report[metric], atol=1e-5, err_msg=metric
        )
