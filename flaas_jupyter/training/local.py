"""One client's part of a round: train the plan's model on the client's rows, from the weights given.

Clients of federated averaging are stateless (McMahan et al. 2017, algorithm 1): every round starts from the global
weights with a fresh optimizer. The model is built and compiled once; a round resets variables and never recompiles.
Weights that are not trained, such as the moving statistics of batch normalisation, are part of the result and are
averaged with the rest.

On TensorFlow many batches run in one call of a traced loop: Keras's ``fit`` builds a data pipeline in each call, which
on small data costs twenty times the training itself. Other backends use ``fit``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..plan import TrainingPlan, weights_by_path
from . import streaming
from .anchor import Anchor
from .epoch import BURST_SECONDS, Epoch, Stop, flat_metrics, stopped
from .replicas import without_replicas
from .seeds import ClientSeeds

if TYPE_CHECKING:
    import keras

Rows = NDArray[np.int64] | range


@dataclass(frozen=True)
class LocalResult:
    """What one round of local training gives.

    Parameters
    ----------
    weights : ndarray of shape (p,)
        The weights after training, in the plan's order and dtype.
    examples : int
        Rows trained on: the client's weight in federated averaging.
    metrics : dict of str to float
        Loss and metrics over the last local epoch.
    seconds : float
        Wall time.
    reported : float or None
        What the client says of its update, where a rule asks for a number and it lies (`red_team`).
    """

    weights: NDArray[Any]
    examples: int
    metrics: dict[str, float]
    seconds: float
    reported: float | None = None


class LocalTraining:
    """Trains one plan on rows of one data set, as often as asked.

    Parameters
    ----------
    plan : TrainingPlan
    model : keras.Model
        What ``plan.build()`` gave; belongs to this object from now on.
    x, y : array, or list or dict of arrays
        What `match` gave: the data as the model takes them. Tensors of the backend are taken as they are.
    """

    def __init__(self, plan: TrainingPlan, model: keras.Model, x: Any, y: Any) -> None:
        import keras

        self.plan = plan
        self._model = model
        self._data = (x, y)
        self._window = streaming.window_rows(x, y) if streaming.is_streamed(x, y) else None
        model.optimizer.build(model.trainable_variables)
        without_replicas(model.optimizer)
        self._fresh = [(v, keras.ops.convert_to_numpy(v)) for v in model.optimizer.variables]
        self._schedule = learning_rate_schedule(plan)
        self._random_states = random_states(model)
        self._anchor: Anchor | None = None
        self._run_epoch = self._trace()

    def _trace(self) -> Epoch:
        import keras

        on_tensorflow = keras.backend.backend() == "tensorflow"
        if self._window is not None:
            stream = streaming.graph_epoch if on_tensorflow else streaming.keras_epoch
            return stream(self._model, *self._data, self.plan.batch_size)
        make = graph_epoch if on_tensorflow else _keras_epoch
        return make(self._model, *self._data, self.plan.batch_size)

    def train(
        self,
        weights: NDArray[Any],
        rows: Rows,
        seeds: ClientSeeds,
        *,
        round_number: int,
        epochs: int | None = None,
        learning_rate: float | None = None,
        proximal: float = 0.0,
        free: NDArray[np.bool_] | None = None,
        should_stop: Stop = lambda: False,
    ) -> LocalResult:
        """Train on some rows.

        Parameters
        ----------
        weights : ndarray of shape (p,)
            The global weights to start from.
        rows : ndarray of int64, shape (n,), or range
            Indices of the client's rows.
        seeds : ClientSeeds
            The client's random numbers.
        round_number : int
            From 1; part of the seed, and what a learning-rate schedule goes by: the rate is constant within a round,
            and is the schedule's after as many steps as this client has made in earlier rounds.
        epochs : int, optional
            In place of the plan's local epochs.
        learning_rate : float, optional
            In place of the plan's.
        proximal : float
            μ of the proximal term that holds the weights to the global ones, see `Anchor`.
        free : ndarray of bool, shape (p,), optional
            Coordinates that may change; all by default.
        should_stop : callable
            Asked between batches (on TensorFlow between bursts of batches of 50 ms); true ends the training.

        Raises
        ------
        Aborted
            Code ``training-stopped``.
        InvalidInput
            ``non-finite-update``: loss or weights became NaN or infinite; ``wrong-weights``.
        """
        started = time.perf_counter()
        epochs = self.plan.local_epochs if epochs is None else epochs
        self.plan.assign(self._model, weights)
        self._reset(len(rows), seeds, round_number, learning_rate)
        if proximal or free is not None:
            self._hold(proximal, free)
        elif self._anchor is not None:
            self._anchor.set(0.0, None)
        metrics: dict[str, float] = {}
        for epoch in range(epochs):
            metrics = self._run_epoch(self._order(rows, seeds, round_number, epoch), should_stop)
            if not math.isfinite(metrics["loss"]):
                raise non_finite("loss", round_number, epoch)
        # Replaces the weights by their moving average if the optimizer keeps one.
        self._model.optimizer.finalize_variable_values(self._model.trainable_variables)
        result = self.plan.vector_of(self._model)
        if not np.isfinite(result).all():
            raise non_finite("weights", round_number, epochs - 1)
        return LocalResult(result, len(rows), metrics, time.perf_counter() - started)

    def _order(self, rows: Rows, seeds: ClientSeeds, round_number: int, epoch: int) -> Any:
        """Return the client's rows in the order of an epoch; of streamed ones an iterator over windows of them."""
        if self._window is None:
            order = seeds.order(round_number, epoch, len(rows)) if self.plan.shuffle else np.arange(len(rows))
            return np.asarray(rows)[order]
        if self.plan.shuffle:
            windows = streaming.in_blocks(seeds.shuffling(round_number, epoch), len(rows), self._window)
        else:
            windows = streaming.in_order(len(rows), self._window)
        return windows if rows == range(len(rows)) else (np.asarray(rows)[window] for window in windows)

    def _reset(self, rows: int, seeds: ClientSeeds, round_number: int, learning_rate: float | None) -> None:
        for variable, value in self._fresh:
            variable.assign(value)
        if learning_rate is None and self._schedule is not None:
            batches = math.ceil(rows / self.plan.batch_size)
            learning_rate = self._schedule((round_number - 1) * self.plan.local_epochs * batches)
        if learning_rate is not None:
            self._model.optimizer.learning_rate = learning_rate
        for index, state in enumerate(self._random_states):
            state.assign(np.array([seeds.random_state(round_number, index), 0], dtype=str(state.dtype)))

    def _hold(self, proximal: float, free: NDArray[np.bool_] | None) -> None:
        if self._anchor is None:
            self._anchor = Anchor(self._model)
            self._run_epoch = self._trace()  # what was traced before knows nothing of it
        parts = None
        if free is not None:
            at = {id(v): part for v, part in zip(self.plan.variables(self._model), self.plan.parts(), strict=True)}
            parts = [free[at[id(v)]].reshape(v.shape) for v in self._model.trainable_variables]
        self._anchor.set(proximal, parts)


def random_states(model: keras.Model) -> list[keras.Variable]:
    """Return the states of `model`'s random layers, in a fixed order."""
    weights = {id(v) for v in weights_by_path(model).values()}
    return [v for v in model.non_trainable_variables if id(v) not in weights and v.name == "seed_generator_state"]


def learning_rate_schedule(plan: TrainingPlan) -> Callable[[int], float] | None:
    """Return the plan's learning-rate schedule as a function of the step, if it has one."""
    import keras

    config = plan.learning_rate_schedule
    if config is None:
        return None
    schedule = keras.optimizers.schedules.deserialize(config)
    return lambda step: float(keras.ops.convert_to_numpy(schedule(step)))


def graph_epoch(model: keras.Model, x: Any, y: Any, batch_size: int) -> Epoch:
    """TensorFlow: one traced loop over batches, called for as many batches as take about `BURST_SECONDS`."""
    import keras
    import tensorflow as tf

    data = keras.tree.map_structure(tf.convert_to_tensor, (x, y))
    batch = min(batch_size, int(keras.tree.flatten(data)[0].shape[0]))

    def steps(order: Any, start: Any, stop: Any) -> Any:
        def step(at: Any) -> Any:
            picked = order[at : at + batch]
            model.train_step(keras.tree.map_structure(lambda values: tf.gather(values, picked), data))
            return at + batch

        tf.while_loop(lambda at: at < stop, step, [start], parallel_iterations=1)
        return model.get_metrics_result()

    index = tf.TensorSpec([], tf.int64)
    traced = tf.function(steps, input_signature=[tf.TensorSpec([None], tf.int64), index, index], autograph=False)
    nothing = tf.constant(0, tf.int64)
    traced(tf.zeros([batch], tf.int64), nothing, nothing)  # traces and optimises now, rather than in the first round
    burst = batch

    def run(order: NDArray[np.int64], should_stop: Stop) -> dict[str, float]:
        nonlocal burst
        model.reset_metrics()
        rows, at, logs = len(order), 0, {}
        order = tf.constant(order, tf.int64)
        while at < rows:
            if should_stop():
                raise stopped()
            started = time.perf_counter()
            end = min(at + burst, rows)
            logs = traced(order, tf.constant(at, tf.int64), tf.constant(end, tf.int64))
            fits = BURST_SECONDS / (time.perf_counter() - started)
            burst = min(batch * max(1, int(burst / batch * min(fits, 8.0))), batch * math.ceil(rows / batch))
            at = end
        return flat_metrics(logs)

    return run


def _keras_epoch(model: keras.Model, x: Any, y: Any, batch_size: int) -> Epoch:
    """Any backend: Keras's own ``fit``, on rows put in order beforehand."""
    import keras

    def run(order: NDArray[np.int64], should_stop: Stop) -> dict[str, float]:
        class StopBetweenBatches(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                if should_stop():
                    raise stopped()

        ordered = keras.tree.map_structure(lambda values: values[order], (x, y))
        callbacks = [StopBetweenBatches()]
        history = model.fit(*ordered, batch_size=batch_size, shuffle=False, verbose=0, callbacks=callbacks).history
        return flat_metrics({name: values[-1] for name, values in history.items()})

    return run


def non_finite(what: str, round_number: int, epoch: int) -> InvalidInput:
    """Return the error for a training that has run away."""
    return InvalidInput(
        f"The {what} became NaN or infinite in local epoch {epoch + 1} of round {round_number}.",
        code="non-finite-update",
        hint="Lower the learning rate, clip gradients (optimizer clipnorm=1.0), or scale the inputs.",
        round=round_number,
    )
