"""One client's part of a round: train the plan's model on the node's rows, from the weights given.

Clients of federated averaging are stateless (McMahan et al. 2017, algorithm 1): every round starts from the global
weights with a fresh optimizer. The model is built and compiled once; a round resets variables and never recompiles.
Shuffling and drop-out depend on the plan's seed, the node and the round only, so that a round that is repeated gives
the same update. Weights that are not trained, such as the moving statistics of batch normalisation, are part of the
result and are averaged with the rest.

On TensorFlow many batches run in one call of a traced loop: Keras's ``fit`` builds a data pipeline in each call, which
on small data costs twenty times the training itself. Other backends use ``fit``.
"""

from __future__ import annotations

import math
import secrets
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Aborted, InvalidInput
from ..plan import TrainingPlan, weights_by_path
from .datasets import Arrays
from .matching import match

if TYPE_CHECKING:
    import keras

SHUFFLING, RANDOM_LAYERS = 0, 1
BURST_SECONDS = 0.05
"""How long one call of the traced loop should take at most: how soon training can be stopped."""

Stop = Callable[[], bool]
Epoch = Callable[[NDArray[np.int64], Stop], dict[str, float]]


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
    """

    weights: NDArray[Any]
    examples: int
    metrics: dict[str, float]
    seconds: float


class Trainer:
    """Trains one plan on one data set, round after round.

    Parameters
    ----------
    plan : TrainingPlan
    arrays : Arrays
        The data set, see `Dataset.load`.
    allowed_custom : collection of str
        The owner's `allow_layers`.
    salt : str, optional
        Makes this node's shuffling its own. By default a checksum of the data, which is the same after a restart.

    Attributes
    ----------
    examples : int
        Rows of the data set.

    Raises
    ------
    InvalidInput
        ``model-does-not-fit`` and the codes of `TrainingPlan.build`.
    NotAllowed
        Code ``custom-layer``.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        arrays: Arrays,
        *,
        allowed_custom: Collection[str] = (),
        salt: str | None = None,
    ) -> None:
        import keras

        self.plan = plan
        self.examples = arrays.rows
        self._model = plan.build(allowed_custom=allowed_custom)
        x, y = match(plan, self._model, arrays)
        self._entropy = (
            secrets.randbits(63) if plan.seed is None else plan.seed,
            _checksum(arrays) if salt is None else zlib.crc32(salt.encode()),
        )
        self._model.optimizer.build(self._model.trainable_variables)
        self._fresh = [(v, keras.ops.convert_to_numpy(v)) for v in self._model.optimizer.variables]
        self._schedule = _schedule(plan)
        weights = {id(v) for v in weights_by_path(self._model).values()}
        self._random_states = [
            v for v in self._model.non_trainable_variables if id(v) not in weights and v.name == "seed_generator_state"
        ]
        make = _graph_epoch if keras.backend.backend() == "tensorflow" else _keras_epoch
        self._run_epoch: Epoch = make(self._model, x, y, plan.batch_size)

    def train(
        self,
        weights: NDArray[Any],
        *,
        round_number: int,
        learning_rate: float | None = None,
        should_stop: Stop = lambda: False,
    ) -> LocalResult:
        """Train for the plan's local epochs.

        Parameters
        ----------
        weights : ndarray of shape (p,)
            The global weights to start from.
        round_number : int
            From 1; part of the seed, and what a learning-rate schedule goes by: the rate is constant within a round,
            and is the schedule's after as many steps as this node has made in earlier rounds.
        learning_rate : float, optional
            In place of the plan's.
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
        self.plan.assign(self._model, weights)
        self._reset(round_number, learning_rate)
        metrics: dict[str, float] = {}
        for epoch in range(self.plan.local_epochs):
            metrics = self._run_epoch(self._order(round_number, epoch), should_stop)
            if not math.isfinite(metrics["loss"]):
                raise _non_finite("loss", round_number, epoch)
        # Replaces the weights by their moving average if the optimizer keeps one.
        self._model.optimizer.finalize_variable_values(self._model.trainable_variables)
        result = self.plan.vector_of(self._model)
        if not np.isfinite(result).all():
            raise _non_finite("weights", round_number, self.plan.local_epochs - 1)
        return LocalResult(result, self.examples, metrics, time.perf_counter() - started)

    def _reset(self, round_number: int, learning_rate: float | None) -> None:
        for variable, value in self._fresh:
            variable.assign(value)
        if learning_rate is None and self._schedule is not None:
            batches = math.ceil(self.examples / self.plan.batch_size)
            learning_rate = self._schedule((round_number - 1) * self.plan.local_epochs * batches)
        if learning_rate is not None:
            self._model.optimizer.learning_rate = learning_rate
        for index, state in enumerate(self._random_states):
            # Seeds are unsigned on some backends and signed on others.
            seed = self._words(RANDOM_LAYERS, round_number, index)[0] & 0x7FFFFFFF
            state.assign(np.array([seed, 0], dtype=str(state.dtype)))

    def _order(self, round_number: int, epoch: int) -> NDArray[np.int64]:
        if not self.plan.shuffle:
            return np.arange(self.examples, dtype=np.int64)
        rng = np.random.default_rng(self._words(SHUFFLING, round_number, epoch))
        return rng.permutation(self.examples)

    def _words(self, *purpose: int) -> NDArray[np.uint32]:
        return np.random.SeedSequence([*self._entropy, *purpose]).generate_state(4).astype(np.uint32)


def _graph_epoch(model: keras.Model, x: Any, y: Any, batch_size: int) -> Epoch:
    """TensorFlow: one traced loop over batches, called for as many batches as take about `BURST_SECONDS`."""
    import keras
    import tensorflow as tf

    data = keras.tree.map_structure(tf.convert_to_tensor, (x, y))
    rows = int(keras.tree.flatten(data)[0].shape[0])
    batch = min(batch_size, rows)

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
    traced(tf.zeros([rows], tf.int64), nothing, nothing)  # traces and optimises now, rather than in the first round
    burst = batch

    def run(order: NDArray[np.int64], should_stop: Stop) -> dict[str, float]:
        nonlocal burst
        model.reset_metrics()
        order, at, logs = tf.constant(order), 0, {}
        while at < rows:
            if should_stop():
                raise _stopped()
            started = time.perf_counter()
            end = min(at + burst, rows)
            logs = traced(order, tf.constant(at, tf.int64), tf.constant(end, tf.int64))
            fits = BURST_SECONDS / (time.perf_counter() - started)
            burst = min(batch * max(1, int(burst / batch * min(fits, 8.0))), batch * math.ceil(rows / batch))
            at = end
        return _flat(logs)

    return run


def _keras_epoch(model: keras.Model, x: Any, y: Any, batch_size: int) -> Epoch:
    """Any backend: Keras's own ``fit``, on rows put in order beforehand."""
    import keras

    def run(order: NDArray[np.int64], should_stop: Stop) -> dict[str, float]:
        class StopBetweenBatches(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                if should_stop():
                    raise _stopped()

        ordered = keras.tree.map_structure(lambda values: values[order], (x, y))
        callbacks = [StopBetweenBatches()]
        history = model.fit(*ordered, batch_size=batch_size, shuffle=False, verbose=0, callbacks=callbacks).history
        return _flat({name: values[-1] for name, values in history.items()})

    return run


def _flat(logs: dict[str, Any]) -> dict[str, float]:
    """Metrics as numbers by name; one of several values (an F-score per class) becomes ``name_0``, ``name_1`` …."""
    flat: dict[str, float] = {}
    for name, value in logs.items():
        array = np.asarray(value, dtype=np.float64)
        if array.ndim == 0:
            flat[name] = float(array)
        else:
            flat |= {f"{name}_{i}": float(entry) for i, entry in enumerate(array.ravel())}
    return flat


def _schedule(plan: TrainingPlan) -> Callable[[int], float] | None:
    import keras

    config = plan.learning_rate_schedule
    if config is None:
        return None
    schedule = keras.optimizers.schedules.deserialize(config)
    return lambda step: float(keras.ops.convert_to_numpy(schedule(step)))


def _checksum(arrays: Arrays) -> int:
    total = 0
    for group in (arrays.inputs, arrays.targets):
        for name in sorted(group):
            total = zlib.crc32(np.ascontiguousarray(group[name]).data, total)
    return total


def _stopped() -> Aborted:
    return Aborted("Training was stopped before the end of the round.", code="training-stopped")


def _non_finite(what: str, round_number: int, epoch: int) -> InvalidInput:
    return InvalidInput(
        f"The {what} became NaN or infinite in local epoch {epoch + 1} of round {round_number}.",
        code="non-finite-update",
        hint="Lower the learning rate, clip gradients (optimizer clipnorm=1.0), or scale the inputs.",
        round=round_number,
    )
