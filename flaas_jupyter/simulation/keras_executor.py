"""Clients trained by Keras itself, in the process's own backend: right for convolutions, recurrence and anything else.

On TensorFlow every worker is a thread with a model of its own and the traced loop that nodes use, on tensors that all
share; with two cores, two clients on a core each are quicker than one client on both. Other backends train one client
after another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..plan import TrainingPlan
from ..training.local import LocalResult, LocalTraining
from ..training.matching import match
from .threads import one_core_each
from .work import ClientData, RoundOutput, RoundWork, in_lanes, lane_of


class KerasExecutor:
    """Trains clients with `LocalTraining`, as many side by side as there are workers.

    Parameters
    ----------
    plan : TrainingPlan
    data : ClientData
    workers : int
        Threads; one is used where the backend is not TensorFlow.

    Raises
    ------
    InvalidInput, NotAllowed
        The model does not fit the data, see `match` and `TrainingPlan.build`.
    """

    alive = True

    def __init__(self, plan: TrainingPlan, data: ClientData, workers: int) -> None:
        import keras

        self.name = str(keras.backend.backend())
        self._plan, self._data = plan, data
        first = plan.build(allowed_custom=own_objects())
        x, y = match(plan, first, data.arrays)
        if self.name == "tensorflow":
            import tensorflow as tf

            x, y = keras.tree.map_structure(tf.convert_to_tensor, (x, y))
        else:
            workers = 1
        models = [first, *(plan.build(allowed_custom=own_objects()) for _ in range(workers - 1))]
        self._trainings = [LocalTraining(plan, model, x, y) for model in models]
        self._pool = one_core_each(workers)

    def run(self, work: RoundWork) -> RoundOutput:
        """Do one round's work."""
        lanes, parameters = work.lanes, len(work.weights)
        values = np.zeros((len(work.tasks) if work.each else lanes, parameters), work.weights.dtype)
        metrics: list[dict[str, float]] = [{} for _ in work.tasks]
        failed: list[int] = []
        dealt = in_lanes(len(work.tasks), lanes, len(self._trainings))

        def train(training: LocalTraining, places: list[int]) -> None:
            for place in places:
                task = work.tasks[place]
                try:
                    result = self._train(training, work, place)
                except InvalidInput as error:
                    if error.code != "non-finite-update":
                        raise
                    failed.append(place)
                    continue
                metrics[place] = result.metrics
                if work.each:
                    values[place] = result.weights
                else:
                    values[lane_of(place, lanes)] += task.share * (result.weights - work.weights)

        if len(dealt) == 1:
            train(self._trainings[0], dealt[0])
        else:
            pairs = zip(self._trainings, dealt, strict=False)
            for future in [self._pool.submit(train, training, places) for training, places in pairs]:
                future.result()
        names = list(dict.fromkeys(name for each in metrics for name in each))
        table = {name: np.array([each.get(name, np.nan) for each in metrics]) for name in names}
        return RoundOutput(values, table, tuple(sorted(failed)))

    def start(self, work: RoundWork) -> Callable[[], RoundOutput]:
        """Do one round's work when its output is asked for: Keras would share this process's Python with the caller."""
        return lambda: self.run(work)

    def _train(self, training: LocalTraining, work: RoundWork, place: int) -> LocalResult:
        task = work.tasks[place]
        return training.train(
            work.weights,
            self._data.rows[task.client],
            self._data.seeds(task.client, work.seed),
            round_number=work.number,
            epochs=task.epochs,
            learning_rate=task.learning_rate,
            proximal=work.proximal,
            free=work.free,
        )

    def prepare(self, work: RoundWork) -> None:
        """Nothing can be made ready beforehand."""

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def own_objects() -> Any:
    """Everything registered in this process is allowed: in a simulation the model's author runs it."""
    import keras

    return tuple(keras.saving.get_custom_objects())
