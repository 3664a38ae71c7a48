"""The worker process of a simulation: ``python -m flaas_jupyter.simulation.worker FD FOLDER …``; see `process`."""

from __future__ import annotations

import os
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from ..errors import FlaasError
from ..plan import TrainingPlan
from ..training.arrays import Arrays
from .executors import inside
from .shared_files import SharedFiles
from .work import ClientData, Executor, RoundWork, Task


def main(descriptor: int, files: SharedFiles) -> None:
    """Answer messages until the pipe closes."""
    pipe = Connection(descriptor)
    if os.environ.get("KERAS_BACKEND") == "tensorflow":
        _one_core_an_operation()
    executor: Executor | None = None
    while True:
        try:
            message = msgpack.unpackb(pipe.recv_bytes(), strict_map_key=False)
        except EOFError:
            return
        try:
            if message["do"] == "prepare":
                executor = _prepare(message, files)
                answer: dict[str, Any] = {}
            else:
                assert executor is not None  # it is prepared first
                answer = _run(executor, message, files)
        except FlaasError as error:
            answer = {"error": error.to_dict()}
        except Exception as error:
            traceback.print_exc()
            found = FlaasError(
                f"The executor failed: {type(error).__name__}: {str(error)[:500]}", code="executor-failed"
            )
            answer = {"error": found.to_dict()}
        try:
            pipe.send_bytes(msgpack.packb(answer))
        except OSError:
            return


def _one_core_an_operation() -> None:
    """With clients side by side on every core, operations that spread out would only get in each other's way."""
    import tensorflow as tf

    workers = int(os.environ["FLAAS_WORKER_THREADS"])
    if workers > 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(workers)


def _prepare(message: dict[str, Any], files: SharedFiles) -> Executor:
    groups = {
        group: {
            name: np.load(files.path(f"{group}{index}.npy"), mmap_mode="r", allow_pickle=False)
            for index, name in enumerate(message[group])
        }
        for group in ("inputs", "targets")
    }
    arrays = Arrays(message["name"], groups["inputs"], groups["targets"], tuple(message["columns"]))
    ends = np.cumsum(np.load(files.path("sizes.npy")))
    rows = np.split(np.load(files.path("rows.npy")), ends[:-1])
    data = ClientData(arrays, tuple(rows), tuple(message["salts"]))
    return inside(TrainingPlan.from_dict(message["plan"]), data, message["backend"], int(message["workers"]))


def _run(executor: Executor, message: dict[str, Any], files: SharedFiles) -> dict[str, Any]:
    weights = np.array(np.memmap(files.path("weights"), dtype=message["dtype"], mode="r"))
    free = np.memmap(files.path("free"), dtype=bool, mode="r") if message["free"] else None
    tasks = [Task(client, epochs, rate, share) for client, epochs, rate, share in message["tasks"]]
    work = RoundWork(
        message["number"],
        weights,
        tasks,
        seed=message["seed"],
        each=message["each"],
        guarded=message["guarded"],
        proximal=message["proximal"],
        free=None if free is None else np.array(free),
    )
    output = executor.run(work)
    values = np.memmap(files.path("values"), dtype=weights.dtype, mode="r+", shape=(message["rows"], len(weights)))
    for place, row in enumerate(output.values):
        values[place] = row
    return {
        "metrics": {name: numbers.tolist() for name, numbers in output.metrics.items()},
        "failed": list(output.failed),
    }


if __name__ == "__main__":
    given = SharedFiles([Path(folder) for folder in sys.argv[2:]])
    try:
        main(int(sys.argv[1]), given)
    finally:  # a notebook that was killed could not
        given.remove()
