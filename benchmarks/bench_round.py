"""Round overhead: what a round of the demo costs beyond its training time, as the notebook sees it.

Three node processes, secure aggregation, callbacks in the notebook, everything over real sockets. The baseline is the
training itself: the slowest participant's local epochs in the same round.
"""

from __future__ import annotations

import statistics
import time

import keras
import pytest

from flaas_jupyter.demo import breast_cancer
from flaas_jupyter.demo.local import local_federation
from flaas_jupyter.demo.run import BATCH_SIZE, LOCAL_EPOCHS, model

ROUNDS = 30


class Clock(keras.callbacks.Callback):
    """Notes when each round was done."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_epoch_end(self, epoch, logs=None):
        self.times.append(time.perf_counter())


@pytest.mark.parametrize("secure", [True, False], ids=["secure", "plain"])
def test_round_overhead(benchmark, tmp_path, secure):
    files = breast_cancer.load().write(tmp_path / "data")
    datasets = {name: {breast_cancer.DATASET: path} for name, path in files.items()}
    with local_federation(tmp_path / "federation", datasets, breast_cancer.TARGET) as federation:
        network, clock = model(secure), Clock()
        with federation.connect() as session:
            connected = session.project(federation.project).federation(dataset=breast_cancer.DATASET)

            def train() -> None:
                network.fit(
                    connected,
                    rounds=ROUNDS,
                    local_epochs=LOCAL_EPOCHS,
                    batch_size=BATCH_SIZE,
                    callbacks=[clock],
                    verbose=0,
                )

            benchmark.pedantic(train, rounds=1, iterations=1)
    # The first rounds compile; a round's wall time is from one result in the notebook to the next.
    walls = [later - earlier for earlier, later in zip(clock.times[2:], clock.times[3:], strict=False)]
    training = list(network.federated_report.seconds_train[3:])
    overheads = [wall - train for wall, train in zip(walls, training, strict=True)]
    benchmark.extra_info["round_seconds"] = statistics.median(walls)
    benchmark.extra_info["training_seconds"] = statistics.median(training)
    benchmark.extra_info["overhead_seconds"] = statistics.median(overheads)
    benchmark.extra_info["ratio"] = statistics.median(walls) / statistics.median(training)
    benchmark.extra_info["baseline"] = "training time of the slowest participant in the same round"
    for phase in ("begin", "share", "transfer", "mask", "survivors", "unmask", "aggregate"):
        if f"seconds_{phase}" in network.federated_report:
            benchmark.extra_info[f"{phase}_seconds"] = float(network.federated_report[f"seconds_{phase}"][3:].median())
