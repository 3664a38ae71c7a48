"""Run the tables' cells that are not done yet: `make papers`, QUICK=1 for the main claims only.

Each finished cell is appended to .bench/papers/cells.jsonl at once, so an interrupted run goes on where it was. Several
processes can share the work: `python -m benchmarks.papers.run --part 0/2` and `--part 1/2`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import flaas_jupyter as flaas

from . import data, grid

FINISHED = Path(__file__).resolve().parents[2] / ".bench" / "papers" / "cells.jsonl"
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


def finished() -> dict[str, dict[str, Any]]:
    """Return the results so far by the cells' keys."""
    if not FINISHED.exists():
        return {}
    lines = [json.loads(line) for line in FINISHED.read_text().splitlines() if line]
    return {line["key"]: line["result"] for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK") == "1")
    parser.add_argument("--part", default="0/1", help="which share of the cells: number/of how many")
    options = parser.parse_args()
    part, parts = (int(each) for each in options.part.split("/"))
    done = finished()
    todo = [cell for cell in grid.cells(options.quick) if cell.key not in done][part::parts]
    FINISHED.parent.mkdir(parents=True, exist_ok=True)
    splits: dict[str, data.Split] = {}
    for number, cell in enumerate(todo, 1):
        started = time.perf_counter()
        split = splits.setdefault(cell.dataset, data.load(cell.dataset))
        result = cell.settings | measure(train(cell, split))
        with FINISHED.open("a") as file:
            file.write(json.dumps({"key": cell.key, "result": result}) + "\n")
        success = "" if result["asr"] is None else f", attack succeeds {result['asr']:.1%}"
        print(
            f"{number}/{len(todo)} {cell.dataset} · {cell.rule} · {cell.attack} {cell.fraction:.0%} · seed {cell.seed}"
            f": {result['accuracy']:.1%} ± {result['accuracy_spread']:.1%}{success} "
            f"({time.perf_counter() - started:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
