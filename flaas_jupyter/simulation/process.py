"""An executor in a process of its own, so that clients train in another Keras backend than the notebook's.

Data, weights and results lie in files that both processes map into memory (see `shared_files`), so that only a few
numbers cross the pipe; messages are msgpack. The worker leaves when the pipe closes, whatever happened to the notebook.
"""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np

from ..errors import Aborted, FlaasError
from .shared_files import SharedFiles
from .work import ClientData, RoundOutput, RoundWork

if TYPE_CHECKING:
    from ..plan import TrainingPlan


class ProcessExecutor:
    """Passes a round's work to a worker process.

    Parameters
    ----------
    plan : TrainingPlan
    data : ClientData
    backend : str
        Keras backend of the worker.
    workers : int
        Clients trained side by side.

    Raises
    ------
    FlaasError
        What the worker's executor refused; ``worker-died`` if it ended; ``simulation-no-room``.
    """

    def __init__(self, plan: TrainingPlan, data: ClientData, backend: str, workers: int) -> None:
        self.name = backend
        self._files = SharedFiles.create()
        try:
            self._weights = self._files.array("weights", (plan.parameters,), plan.dtype)
            self._values = self._files.array("values", (1, plan.parameters), plan.dtype)
            self._pipe, self._process = _start(backend, workers, self._files)
        except BaseException:
            self._files.remove()
            raise
        self._end = weakref.finalize(self, _stop, self._process, self._pipe, self._files)
        try:
            self._ask(
                {"do": "prepare", "plan": plan.to_dict(), "backend": backend, "workers": workers} | self._share(data)
            )
        except BaseException:
            self.close()
            raise

    def _share(self, data: ClientData) -> dict[str, Any]:
        groups: dict[str, Any] = {}
        for group, arrays in (("inputs", data.arrays.inputs), ("targets", data.arrays.targets)):
            for index, (name, values) in enumerate(arrays.items()):
                self._files.save(f"{group}{index}.npy", values)
                groups.setdefault(group, []).append(name)
        self._files.save("rows.npy", np.concatenate(data.rows))
        self._files.save("sizes.npy", np.array([len(rows) for rows in data.rows]))
        return groups | {"name": data.arrays.name, "columns": list(data.arrays.columns), "salts": list(data.salts)}

    def run(self, work: RoundWork) -> RoundOutput:
        """Do one round's work."""
        return self.start(work)()

    def start(self, work: RoundWork) -> Callable[[], RoundOutput]:
        """Begin one round's work; the worker does it beside the caller."""
        rows = len(work.tasks) if work.each else work.lanes
        if len(self._values) < rows:
            self._values = self._files.array("values", (rows, len(work.weights)), self._values.dtype)
        self._weights[:] = work.weights
        if work.free is not None:
            self._files.array("free", (len(work.weights),), bool)[:] = work.free
        self._tell(
            {
                "do": "run",
                "number": work.number,
                "tasks": [[t.client, t.epochs, t.learning_rate, t.share] for t in work.tasks],
                "seed": work.seed,
                "each": work.each,
                "guarded": work.guarded,
                "proximal": work.proximal,
                "free": work.free is not None,
                "rows": len(self._values),
                "dtype": str(work.weights.dtype),
            }
        )

        def collected() -> RoundOutput:
            answer = self._hear()
            metrics = {name: np.array(values) for name, values in answer["metrics"].items()}
            # A copy: the next round's results go to the same place.
            return RoundOutput(np.array(self._values[:rows]), metrics, tuple(answer["failed"]))

        return collected

    def prepare(self, work: RoundWork) -> None:
        """Nothing can be made ready beforehand."""

    def close(self) -> None:
        """End the worker."""
        self._end()

    @property
    def alive(self) -> bool:
        """Whether it can be asked for more."""
        return self._end.alive and self._process.poll() is None

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._tell(message)
        return self._hear()

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._pipe.send_bytes(msgpack.packb(message))
        except OSError as error:
            raise self._died() from error

    def _hear(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = msgpack.unpackb(self._pipe.recv_bytes(), strict_map_key=False)
        except (EOFError, OSError) as error:
            raise self._died() from error
        except BaseException:  # an interrupt: the answer would be taken for that of the next question
            self.close()
            raise
        if "error" in answer:
            raise FlaasError.from_dict(answer["error"])
        return answer

    def _died(self) -> Aborted:
        code, told = self._process.wait(timeout=10), self._last_words()
        self.close()
        return Aborted(
            f"The worker process of the simulation ended (exit code {code}): {told}",
            code="worker-died",
            hint="The last finished round is kept; model.fit(federation, resume=...) goes on from there.",
        )

    def _last_words(self) -> str:
        log = self._files.path("log")
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        return lines[-1][:300] if lines else "it said nothing."


def _start(backend: str, workers: int, files: SharedFiles) -> tuple[Connection, subprocess.Popen[bytes]]:
    ours, theirs = Pipe()
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "FLAAS_WORKER_THREADS": str(workers),
    }
    environment.pop("PYTHONSTARTUP", None)
    with (files.folders[-1] / "log").open("wb") as log:  # on the disk: it grows
        process = subprocess.Popen(  # noqa: S603  # this interpreter and our own module
            [sys.executable, "-m", "flaas_jupyter.simulation.worker", str(theirs.fileno()), *map(str, files.folders)],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt of the notebook is not one of the worker
        )
    theirs.close()
    return ours, process


def _stop(process: subprocess.Popen[bytes], pipe: Connection, files: SharedFiles) -> None:
    pipe.close()
    process.kill()
    process.wait()
    files.remove()
