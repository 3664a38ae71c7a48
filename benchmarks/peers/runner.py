"""What every peer's script shares: its arguments, time stamps of rounds, and the one line of JSON it prints."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import workload
from workload import Weights, Workload

FIFTY = 50


class Rounds:
    """How many rounds to train, and when each one's new global model was there."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.stamps: list[float] = []

    def finished(self) -> None:
        """Note that a round's global model is there: computed, not only asked for."""
        self.stamps.append(time.monotonic())


Trainer = Callable[[Workload, Rounds], Weights]


def measure(train: Trainer, packages: Sequence[str]) -> None:
    """Train as the command line says, and print the figures.

    `--started` is the monotonic clock when the process was started, so that start-up includes Python's own and the
    imports. The rate is over all rounds after the warm-up together, and so includes what comes up now and then only.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", type=Path, help="folder written by workload.prepare")
    parser.add_argument("--rounds", type=int, default=FIFTY)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--started", type=float, default=time.monotonic())
    parser.add_argument("--weights", type=Path, help="where to save the final weights")
    options = parser.parse_args()

    work, rounds = workload.load(options.workload), Rounds(options.rounds)
    weights = train(work, rounds)
    stamps = rounds.stamps
    if len(stamps) != options.rounds:
        raise SystemExit(f"{len(stamps)} rounds have finished, {options.rounds} were asked for")
    if options.weights:
        workload.save_weights(options.weights, weights)
    steady = len(stamps) - options.warmup
    print(
        json.dumps(
            {
                "workload": work.spec.name,
                "rounds": len(stamps),
                "rounds_per_second": steady / (stamps[-1] - stamps[options.warmup - 1]),
                "startup_seconds": stamps[0] - options.started,
                "fifty_seconds": stamps[FIFTY - 1] - options.started if len(stamps) >= FIFTY else None,
                "checksum": workload.checksum(weights),
                "versions": {name: metadata.version(name) for name in packages} | {"python": platform.python_version()},
            }
        ),
        file=sys.__stdout__,
        flush=True,
    )
