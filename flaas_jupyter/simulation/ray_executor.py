"""Clients trained on a Ray cluster: an actor for each core, the same numbers as in one process.

Actors hold the data through Ray's object store (once a machine) and train whole lanes (see `work`), so that how many
there are changes no result. The cluster is the one this process is connected to or finds; it is never started here.
Ray moves arguments by its own serialisation, pickle among it: connect to clusters that you trust.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Aborted, FlaasError, InvalidInput
from .work import MOST_LANES, ClientData, RoundOutput, RoundWork, lanes_of

if TYPE_CHECKING:
    from ..plan import TrainingPlan


class LaneWorker:
    """What an actor is: an executor with one worker, for lanes of a round."""

    def __init__(self, plan: dict[str, Any], data: ClientData, backend: str) -> None:
        from ..plan import TrainingPlan
        from .executors import inside

        self._executor = inside(TrainingPlan.from_dict(plan), data, backend, 1)

    def run(self, works: list[RoundWork]) -> list[RoundOutput]:
        """Train lanes, one after another."""
        return [self._executor.run(work) for work in works]


class RayExecutor:
    """Deals out a round's lanes to actors on a Ray cluster.

    Parameters
    ----------
    plan : TrainingPlan
    data : ClientData
    backend : str
        Keras backend of the actors.

    Raises
    ------
    InvalidInput
        Code ``no-ray-cluster``; and what the actors' executors refuse.
    """

    alive = True

    def __init__(self, plan: TrainingPlan, data: ClientData, backend: str) -> None:
        import ray

        self.name = f"ray ({backend})"
        self._ray = ray
        _connect(ray)
        workers = max(1, min(MOST_LANES, int(ray.cluster_resources().get("CPU", 1))))
        make = ray.remote(num_cpus=1, runtime_env={"env_vars": {"KERAS_BACKEND": backend, "PJRT_NPROC": "1"}})(
            LaneWorker
        )
        shared = ray.put(data)
        self._actors = [make.remote(plan.to_dict(), shared, backend) for _ in range(workers)]
        self._answers([actor.run.remote([]) for actor in self._actors])

    def run(self, work: RoundWork) -> RoundOutput:
        """Do one round's work."""
        lanes, workers = work.lanes, min(len(self._actors), work.lanes)
        places = [list(range(lane, len(work.tasks), lanes)) for lane in range(lanes)]
        pending = [
            actor.run.remote(
                [work.of_lane([work.tasks[place] for place in places[lane]]) for lane in lanes_of(k, lanes, workers)]
            )
            for k, actor in enumerate(self._actors[:workers])
        ]
        outputs = [output for found in self._answers(pending) for output in found]
        order = np.argsort(np.concatenate(places))
        metrics = {
            name: np.concatenate([output.metrics[name] for output in outputs])[order] for name in outputs[0].metrics
        }
        failed = [places[lane][place] for lane, output in enumerate(outputs) for place in output.failed]
        rows = [row for output in outputs for row in output.values]
        values = np.stack([rows[place] for place in order]) if work.each else rows
        return RoundOutput(values, metrics, tuple(sorted(failed)))

    def start(self, work: RoundWork) -> Callable[[], RoundOutput]:
        """Do one round's work when its output is asked for."""
        return lambda: self.run(work)

    def _answers(self, pending: list[Any]) -> list[Any]:
        try:
            found: list[Any] = self._ray.get(pending)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.as_instanceof_cause()
            if isinstance(cause, FlaasError):
                raise FlaasError.from_dict(cause.to_dict()) from error
            raise
        except self._ray.exceptions.RayError as error:
            raise Aborted(
                f"A worker of the Ray cluster was lost: {str(error).splitlines()[0][:300]}",
                code="worker-died",
                hint="The last finished round is kept; model.fit(federation, resume=...) goes on from there.",
            ) from error
        return found

    def prepare(self, work: RoundWork) -> None:
        """Nothing can be made ready beforehand."""

    def close(self) -> None:
        """End the actors; the cluster stays."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()


def _connect(ray: Any) -> None:
    if ray.is_initialized():
        return
    try:
        ray.init(address="auto", log_to_driver=False)
    except ConnectionError as error:
        raise InvalidInput(
            'backend="ray" found no Ray cluster.',
            code="no-ray-cluster",
            hint="Connect first: ray.init(address=...) for a cluster, ray.init() for this machine.",
        ) from error
