"""``flaas demo``: three hospitals train one model, and what it is worth beside the alternatives."""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import breast_cancer
from .local import LocalFederation

if TYPE_CHECKING:
    from ..federatedmodel import FederatedModel

ROUNDS = 40
LOCAL_EPOCHS = 2
BATCH_SIZE = 16
SEED = 7


def model(secure_aggregation: bool = True) -> FederatedModel:
    """The design's example network (its illustration 6), for 30 features."""
    import keras
    from keras import layers
    from tensorflow import nn

    from .. import federatedmodel

    keras.utils.set_random_seed(SEED)
    # Keras 3 prefers `shape`; the design's example says `input_shape`, and both work.
    warnings.filterwarnings("ignore", "Argument `input_shape` is deprecated")
    input_layer = layers.InputLayer(input_shape=(30,))
    net = layers.Dense(12, activation=nn.relu)(input_layer.output)
    net = layers.Dropout(0.5)(net)
    net = layers.Dense(1, activation=nn.sigmoid)(net)
    network = federatedmodel.FederatedModel(
        inputs=input_layer.output, outputs=net, secure_aggregation=secure_aggregation, name="biopsies"
    )
    network.compile(optimizer=keras.optimizers.SGD(0.3), loss="binary_crossentropy", metrics=["accuracy"])
    return network


def run_demo(
    rounds: int | None = None, report: Path | None = None, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Run the demo in a temporary folder; nothing of it is left.

    Parameters
    ----------
    rounds : int, optional
        Rounds of the federated training; the comparisons train for as many epochs.
    report : Path, optional
        Where to write the figures as JSON.
    say : callable
        Receives each line of progress.

    Returns
    -------
    dict
        ``accuracy`` (federated, centralised, local by node), ``seconds`` by phase, ``bytes`` (mesh, api), ``rounds``,
        ``nodes``.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rounds = rounds or ROUNDS
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def phase(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name] = now - clock
        clock = now

    split = breast_cancer.load()
    with tempfile.TemporaryDirectory(prefix="flaas-demo-") as folder:
        files = split.write(Path(folder) / "data")
        say("Three hospitals with unequal, differently distributed patients:")
        for name, table in split.hospitals.items():
            say(f"  {name:<10} {len(table):>4} biopsies, {table[breast_cancer.TARGET].mean():>4.0%} malignant")
        federation = LocalFederation(Path(folder) / "federation")
        try:
            datasets = {name: {breast_cancer.DATASET: path} for name, path in files.items()}
            federation.start(datasets, breast_cancer.TARGET)
            network = model()
            federation.wait_online()
            phase("start")
            say(f"Coordination API at {federation.url}; nodes: {', '.join(federation.nodes)}.\n")
            say("Training across the nodes with secure aggregation:")
            with federation.connect() as session:
                connected = session.project(federation.project).federation(dataset=breast_cancer.DATASET)
                network.fit(connected, rounds=rounds, local_epochs=LOCAL_EPOCHS, batch_size=BATCH_SIZE, seed=SEED)
                figures = network.federated_report
                assert figures is not None  # fit has returned
                moved = {"mesh": int(figures.bytes_up.sum() + figures.bytes_down.sum()) + session.traffic["mesh"]}
            moved["api"] = int(
                sum(
                    value
                    for name, value in federation.metrics().items()
                    if name.startswith("flaas_api_body_bytes_total")
                )
            )
            phase("federated")
        finally:
            federation.stop()
    accuracy = _compare(network, split, rounds, say)
    phase("comparison")
    overhead = figures.seconds_total - figures.seconds_train
    seconds |= {
        "training_per_round": float(figures.seconds_train.median()),
        "round_overhead": float(overhead.median()),
    }
    result = {
        "accuracy": accuracy,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "bytes": moved,
        "rounds": len(figures),
        "nodes": len(split.hospitals),
    }
    _tell(result, say)
    if report is not None:
        report.write_text(json.dumps(result, indent=2))
    return result


def _compare(
    network: FederatedModel, split: breast_cancer.Split, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Accuracy on the common test set: federated, pooled, each hospital alone, all for as many epochs."""
    import pandas as pd

    say("\nTraining the same model on the pooled data, and at each hospital alone, for comparison …")
    x_test, y_test = breast_cancer.arrays(split.test)

    def score(trained: FederatedModel) -> float:
        return float(trained.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"])

    def train_on(table: pd.DataFrame) -> float:
        alone = model()
        x, y = breast_cancer.arrays(table)
        alone.fit(x, y, epochs=rounds * LOCAL_EPOCHS, batch_size=BATCH_SIZE, verbose=0)
        return score(alone)

    return {
        "federated": score(network),
        "centralised": train_on(pd.concat(split.hospitals.values(), ignore_index=True)),
        "local": {name: train_on(table) for name, table in split.hospitals.items()},
    }


def _tell(result: dict[str, Any], say: Callable[[str], None]) -> None:
    accuracy, seconds, moved = result["accuracy"], result["seconds"], result["bytes"]
    rows = [
        ("federated, secure aggregation", accuracy["federated"]),
        ("centralised (data pooled)", accuracy["centralised"]),
        *((f"{name} alone", value) for name, value in accuracy["local"].items()),
    ]
    say("\nAccuracy on patients nobody trained on")
    for name, value in rows:
        say(f"  {name:<32} {value:7.2%}")
    say("\nSeconds")
    for name, value in seconds.items():
        say(f"  {name.replace('_', ' '):<32} {value:7.2f}")
    say("\nBytes")
    say(f"  {'over the mesh':<32} {moved['mesh']:>12,}")
    say(f"  {'through the coordination API':<32} {moved['api']:>12,}   (no data, no weights)")
