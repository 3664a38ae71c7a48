"""Simulated rounds against the same rounds as a plain NumPy loop, in the same run.

The loop does the arithmetic of local training and averaging, one client after the other, and nothing else: it does
not shuffle, measure or report. `ratio` is how many of our rounds fit into one of its. For the peers see `peers/`.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers import workload

pytest.importorskip("jax", reason="small models are simulated on JAX, which is not installed")
import keras

import flaas_jupyter as flaas

ROUNDS = 20
REPETITIONS = 5


def keras_model(work: workload.Workload) -> flaas.FederatedModel:
    inputs = keras.Input((workload.PIXELS,))
    hidden = keras.layers.Dense(workload.HIDDEN, activation="relu")(inputs)
    model = flaas.FederatedModel(inputs=inputs, outputs=keras.layers.Dense(workload.CLASSES, "softmax")(hidden))
    model.compile(optimizer=keras.optimizers.SGD(work.spec.learning_rate), loss="sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("name", ["W1", "W2"])
def test_rounds_over_a_numpy_loop(benchmark: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    spec = workload.SPECS[name]
    work = workload.load(workload.prepare(spec, tmp_path))
    model = keras_model(work)
    owned = [np.arange(spec.samples) + client * spec.samples for client in range(spec.clients)]
    federation = flaas.simulate(work.x, work.y, clients=spec.clients, partition=owned, journal=False)
    rounds = ROUNDS if name == "W1" else ROUNDS // 5
    loop: list[float] = []

    def fit() -> None:
        settings = {"clients_per_round": spec.per_round, "batch_size": spec.batch}
        model.fit(federation, rounds=rounds, local_epochs=1, seed=0, verbose=0, **settings)

    def setup() -> None:
        # Between two of ours stands one of the loop's: what disturbs the machine disturbs both.
        model.set_weights(work.weights)
        began = time.perf_counter()
        workload.train(work, rounds)
        loop.append(time.perf_counter() - began)

    benchmark.pedantic(fit, setup=setup, rounds=REPETITIONS, warmup_rounds=1)
    loss, _ = workload.evaluate(work, model.get_weights())
    reference, _ = workload.evaluate(work, workload.train(work, rounds))
    assert loss == pytest.approx(reference, rel=0.15)
    benchmark.extra_info["rounds_per_second"] = rounds / benchmark.stats.stats.median
    benchmark.extra_info["loop_rounds_per_second"] = rounds / statistics.median(loop)
    benchmark.extra_info["ratio"] = statistics.median(loop) / benchmark.stats.stats.median
