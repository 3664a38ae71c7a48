"""``model.fit(federation, …)``: rounds of a federation as epochs of Keras.

Callbacks run in the notebook, once per round, on the newest global weights: `EarlyStopping`, `ModelCheckpoint`,
`CSVLogger`, `TensorBoard` and learning-rate schedules do what they do in any Keras program. What they decide (stop,
another learning rate) goes back to the federation as the verdict on the round.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from .errors import InvalidInput
from .federation import Federation, RoundResult, RoundsDone, RunOptions, Training
from .observability import traces
from .plan import TrainingPlan
from .protocols.aggregation import Rule, aggregation

if TYPE_CHECKING:
    from .federatedmodel import FederatedModel
    from .preprocessing import Preprocessing
    from .report import FederatedReport
    from .training.preprocessing import Recipe


VALIDATION_BATCH = 256
"""Rows of one validation step at least."""


class RoundPrinter(keras.callbacks.Callback):  # type: ignore[misc]
    """One line a round on standard output."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self._rounds = rounds
        self.report: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Print the round's metrics, participants and time."""
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        clients = len(self.report.get("clients", []))
        dropped = len(self.report.get("dropped", []))
        seconds = self.report.get("seconds", {}).get("total", 0.0)
        nodes = f"{clients} nodes" + (f" ({dropped} dropped)" if dropped else "")
        width = len(str(self._rounds))
        print(f"Round {epoch + 1:>{width}}/{self._rounds}  {metrics}  {nodes}  {seconds:.2f} s")
        sys.stdout.flush()


class RoundBar(keras.callbacks.Callback):  # type: ignore[misc]
    """A progress bar over rounds, for runs whose rounds are too quick to print."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self._bar = keras.utils.Progbar(rounds, unit_name="round", interval=0.1)
        self.report: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Move on by a round; the figures are this round's."""
        logs = logs or {}
        self._bar.stateful_metrics = set(logs)
        self._bar.update(epoch + 1, list(logs.items()), finalize=False)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """End the bar's line, also where the run has ended early."""
        if self._bar._seen_so_far:
            self._bar.update(self._bar._seen_so_far, finalize=True)


@traces.spanned("fit")
def federated_fit(
    model: FederatedModel,
    federation: Federation,
    *,
    rounds: int,
    local_epochs: int,
    batch_size: int,
    clients_per_round: int | None,
    minimum_nodes: int | None,
    validation_data: Any,
    callbacks: Sequence[keras.callbacks.Callback],
    seed: int | None,
    verbose: int,
    resume: str | None,
    run_name: str | None = None,
    validation_freq: int = 1,
    shuffle: bool = True,
    preprocessing: Preprocessing | None = None,
) -> keras.callbacks.History:
    """Fit `model` on `federation`; see `FederatedModel.fit`."""
    recipe = _recipe(preprocessing, federation)
    if recipe is not None:
        validation_data = _prepared(recipe, validation_data)
        prepared = getattr(federation, "prepared", None)
        if prepared is not None:  # a simulation's rows are here
            federation = prepared(recipe)
    plan = TrainingPlan.from_model(
        model,
        local_epochs=local_epochs,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        preprocessing=None if recipe is None else recipe.to_dict(),
        compression=None if model.compression is None else model.compression.to_dict(),
    )
    secure = model.secure_aggregation
    options = RunOptions(
        rounds=rounds,
        aggregation=model.aggregation_name,
        aggregation_options=model.aggregation_options,
        privacy=model.privacy,
        secure_aggregation=secure is not None,
        clip=RunOptions.clip if secure is None else secure.clip,
        group_size=model.group_size,
        sharded=secure is not None and secure.sharded,
        clients_per_round=clients_per_round,
        minimum_nodes=minimum_nodes,
        seed=seed,
        name=run_name or model.name,
    )
    start = plan.vector_of(model)
    training = federation.resume(resume, plan, start) if resume else federation.train(plan, start, options)
    rounds = training.rounds
    simulated = hasattr(federation, "attack_test")
    if verbose and model.group_size is not None:
        _tell_group_mode(model)
    printer = RoundBar(rounds) if simulated and verbose == 1 else RoundPrinter(rounds)
    validate = _Validation(model, federation, validation_data, batch_size, validation_freq, rounds)
    history = keras.callbacks.CallbackList(
        [*callbacks, *([printer] if verbose else [])],
        add_history=True,
        add_progbar=False,
        model=model,
        epochs=rounds,
        steps=1,
        verbose=verbose,
    )
    try:
        _rounds(model, plan, training, history, printer, validate, federation)
    except BaseException as error:
        # Real nodes go on without a notebook, whose callback has failed; a simulation ends with it, and can be resumed.
        if simulated or isinstance(error, KeyboardInterrupt):
            training.cancel()
        raise
    result: keras.callbacks.History = model.history
    result.version = getattr(training, "version", None)
    return result


def _recipe(preprocessing: Any, federation: Any) -> Recipe | None:
    """Return the recipe of a fit; a preprocessing that is not fitted yet is fitted on the federation."""
    given = preprocessing if preprocessing is not None else getattr(federation, "preprocessing", None)
    if given is None:
        return None
    from .preprocessing import Preprocessing

    if not isinstance(given, Preprocessing):
        raise InvalidInput(
            f"preprocessing must be a flaas.Preprocessing, not {type(given).__name__}.",
            code="bad-setting",
            hint='For example flaas.Preprocessing(flaas.Impute("age"), flaas.Scale("age")).',
        )
    return (given if given.is_fitted else given.fit(federation)).recipe


def _prepared(recipe: Recipe, data: Any) -> Any:
    """Return validation data as the model takes them, if they are raw columns."""
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        return data
    if not (isinstance(data[0], Mapping) or hasattr(data[0], "columns")):
        return data
    from .training.preprocessing.values import columns_of

    return recipe.apply(columns_of(data[0])), *data[1:]


def _tell_group_mode(model: FederatedModel) -> None:
    rule = model.aggregation if isinstance(model.aggregation, Rule) else aggregation(model.aggregation)
    experimental = (
        " Experimental: what the rule finds of a group is credited to all its members." if rule.judges_clients else ""
    )
    print(
        f"group mode: privacy is one of {model.group_size}. The rule {model.aggregation_name} sees the means of groups "
        f"of {model.group_size} or more clients, drawn at random each round.{experimental}"
    )


def _rounds(
    model: FederatedModel,
    plan: TrainingPlan,
    training: Training,
    callbacks: Any,
    printer: RoundPrinter | RoundBar,
    validate: Callable[[int], dict[str, float]],
    federation: Federation,
) -> None:
    reports: list[dict[str, Any]] = []
    logs: dict[str, float] = {}
    model.stop_training = False
    learning_rate = _learning_rate(model)
    callbacks.on_train_begin()
    number = 0
    try:
        while True:
            callbacks.on_epoch_begin(number)
            changed = _learning_rate(model)
            told = changed if changed != learning_rate else None
            learning_rate = changed
            result = training.next(stop=model.stop_training, learning_rate=told)
            if result is None:
                break
            number = result.number
            plan.assign(model, result.weights)
            reports.append(result.report)
            _warn_of_clipping(result)
            measured = {} if result.replayed else validate(number)
            training.evaluated(number, measured)
            result.report["metrics"] = logs = {**result.metrics, **measured}
            printer.report = result.report
            callbacks.on_epoch_end(number - 1, logs)
    finally:
        model.rounds_done = _RoundsOfRun(
            reports,
            federation.names,
            getattr(federation, "attackers", []),
            version=getattr(training, "version", None),
        )
        callbacks.on_train_end(logs)


class _RoundsOfRun(RoundsDone):
    """With the id of the model version that the run has made, as ``federated_report.attrs["model"]``.

    Parameters
    ----------
    *done
        As of `RoundsDone`.
    version : str or None
        The id; None where nobody keeps versions, as in a simulation.
    """

    def __init__(self, *done: Any, version: str | None) -> None:
        super().__init__(*done)
        self.version = version

    @functools.cached_property
    def table(self) -> FederatedReport:
        """The table; see `report_frame`."""
        table = super().table
        if self.version is not None:
            table.attrs["model"] = self.version
        return table


def _learning_rate(model: FederatedModel) -> float | None:
    """The optimizer's present rate; None where a schedule in the optimizer decides it."""
    optimizer = model.optimizer
    if isinstance(getattr(optimizer, "_learning_rate", None), keras.optimizers.schedules.LearningRateSchedule):
        return None
    return float(np.asarray(keras.ops.convert_to_numpy(optimizer.learning_rate)))


class _Validation:
    """Measures the global weights in this process, after every so many rounds and after the last.

    In a simulation under attack, how far the attack has come is measured as well (`metrics.attack_metrics`).
    """

    def __init__(
        self, model: FederatedModel, federation: Federation, data: Any, batch_size: int, every: int, rounds: int
    ) -> None:
        self._model, self._data = model, data
        # Small batches are for training; here they would only take longer.
        self._batch_size = max(batch_size, VALIDATION_BATCH)
        self._every, self._rounds = every, rounds
        # A tf.data.Dataset, PyDataset or torch loader brings its own batches.
        self._arrays = isinstance(data, tuple) and len(data) in (2, 3)
        attack_test = getattr(federation, "attack_test", None)
        self._attacked = attack_test(*data[:2]) if attack_test is not None and self._arrays else None

    def __call__(self, number: int) -> dict[str, float]:
        if self._data is None or (number % self._every and number != self._rounds):
            return {}
        if not self._arrays:
            found = self._model.evaluate(self._data, verbose=0, return_dict=True)
        else:
            x, y, *weights = self._data
            found = self._model.evaluate(
                x,
                y,
                sample_weight=weights[0] if weights else None,
                batch_size=self._batch_size,
                verbose=0,
                return_dict=True,
            )
        measured = {f"val_{name}": float(value) for name, value in found.items()}
        if self._attacked is not None:
            from .metrics import attack_metrics

            predict = lambda x: self._model.predict(x, batch_size=self._batch_size, verbose=0)  # noqa: E731
            measured |= attack_metrics(predict, self._attacked)
        return measured


def _warn_of_clipping(result: RoundResult) -> None:
    clipped = int(result.report.get("clipped", 0))
    # With few bits a value the range follows the sums down until a few are clipped: that is told in the report alone.
    if clipped and not result.report.get("compression"):
        warnings.warn(
            f"Round {result.number}: {clipped} coordinates of updates were beyond the range of secure aggregation and "
            "were clipped; the next round allows a wider one. Scale the inputs, or pass "
            "secure_aggregation=flaas.SecureAggregation(clip=...) with a larger clip.",
            stacklevel=4,
        )
