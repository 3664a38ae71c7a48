"""A simulation in a process of its own, to be killed: ``python -m simulation.child ROUNDS [RUN]`` prints its progress.

With RUN it goes on with that one, and writes the weights and the report that come of it to the path given third.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import keras
import numpy as np

import flaas_jupyter as flaas
from flaas_jupyter.simulation import journal, simulated
from flaas_jupyter.simulation.executors import inside

from .conftest import classifier, rows, vector

ROUNDS = 12


def made() -> Any:
    """The federation and model of the child."""
    x, y = rows()
    model = classifier(aggregation=flaas.aggregation("fedadam", eta=0.05))
    return flaas.simulate(x, y, clients=8, seed=4), model


def fit(model: Any, federation: Any, **options: Any) -> None:
    model.fit(federation, rounds=ROUNDS, batch_size=8, clients_per_round=5, seed=9, verbose=0, **options)


class Told(keras.callbacks.Callback):
    """Prints each round, and takes its time."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        print(f"round {epoch + 1}", flush=True)
        time.sleep(0.2)


def main(resume: str | None = None, path: str = "") -> None:
    """Run it, with a checkpoint after every round."""
    journal.CHECKPOINT_SECONDS, journal._CHECKPOINT_SHARE = 0.0, 1e9
    simulated.make_executor = lambda plan, data, **_: inside(plan, data, "tensorflow", 1)
    federation, model = made()
    if resume is None:
        fit(model, federation, callbacks=[Told()])
    else:
        fit(model, federation, resume=resume)
        np.savez(path, weights=vector(model), loss=model.federated_report["loss"].to_numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
