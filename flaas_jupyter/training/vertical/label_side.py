"""The label holder's part: its own columns and what the others send, to loss and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..arrays import Arrays, canonical_target
from ..epoch import flat_metrics
from ..local import non_finite
from ..matching import match
from ..replicas import without_replicas
from .part import Part
from .scaling import Scaler
from .state import Verdict

if TYPE_CHECKING:
    import keras

OWN = "own"
"""Input of the label holder's own columns."""
EVALUATED = 4096
"""Rows evaluated at once."""


def input_names(own: bool, feature_parties: int) -> list[str]:
    """Return the names of the inputs of the label holder's model, in order."""
    return [*([OWN] if own else []), *(f"from_{number}" for number in range(1, feature_parties + 1))]


class LabelSide:
    """The label holder's model, rows and labels.

    Parameters
    ----------
    part : Part
        Of the label holder.

    Attributes
    ----------
    model : keras.Model
    scaler : Scaler
    own : list of ndarray
        The scaled own columns of the rows in common, float32 of shape (c, f); an empty list if there are none.
    labels : ndarray of shape (c, …)
        As the loss takes them.
    train, validation : int
        How many of the rows, from the first on, are trained on, and how many after these validate.

    Raises
    ------
    InvalidInput
        ``model-does-not-fit``: labels and loss, or shapes; ``global-clipnorm``; ``too-few-rows``.
    """

    def __init__(self, part: Part) -> None:
        plan = part.plan
        self._part = part
        self.model = part.build()
        self.scaler = part.scaler()
        rows = len(part.alignment.rows)
        columns = plan.columns[part.me]
        self.own = [self.scaler(part.common())] if columns else []
        self.train, self.validation = plan.split_rows(rows)
        names = input_names(bool(columns), len(plan.feature_parties))
        blank = [np.zeros((rows, plan.widths[party]), np.float32) for party in plan.feature_parties]
        label = np.asarray(part.table.label)[part.alignment.rows]
        arrays = Arrays(
            f"of {part.me}",
            dict(zip(names, [*self.own, *blank], strict=True)),
            {"": canonical_target(label)},
            columns=columns,
        )
        _, self.labels = match(plan.models[part.me], self.model, arrays)
        self.model.optimizer.build(self.model.trainable_variables)

    def inputs(self, rows: Any, embeddings: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the model's inputs for some rows, the embeddings being those of these rows."""
        return [*(own[rows] for own in self.own), *embeddings]

    def evaluate(self, embeddings: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """Return ``val_…`` on the validation rows; nothing if there are none."""
        if not self.validation:
            return {}
        rows = slice(self.train, None)
        found = evaluate(self.model, self.inputs(rows, embeddings), self.labels[rows])
        return {f"val_{name}": value for name, value in found.items()}

    def take(self, verdict: Verdict | None) -> Verdict:
        """Do here what a verdict says, and return it."""
        verdict = verdict or Verdict()
        if verdict.learning_rate is not None:
            self.model.optimizer.learning_rate = verdict.learning_rate
        return verdict

    def vector(self) -> NDArray[Any]:
        """Return the weights of this part."""
        return self._part.plan.models[self._part.me].vector_of(self.model)


class Steps:
    """Steps of training in which the gradients at the embeddings are wanted (modes ``split`` and ``linear_he``).

    Parameters
    ----------
    side : LabelSide
    """

    def __init__(self, side: LabelSide) -> None:
        import keras
        import tensorflow as tf

        model = side.model
        require_separable(model.optimizer)
        without_replicas(model.optimizer)
        self._side = side
        self._loss = keras.metrics.Mean()
        owned = len(side.own)
        variables = model.trainable_variables

        def step(inputs: list[Any], labels: Any) -> list[Any]:
            with tf.GradientTape() as tape:
                tape.watch(inputs[owned:])
                predicted = model(inputs, training=True)
                loss = model.compute_loss(x=inputs, y=labels, y_pred=predicted, training=True)
            gradients = tape.gradient(loss, [*variables, *inputs[owned:]])
            model.optimizer.apply(gradients[: len(variables)], variables)
            self._loss.update_state(loss, sample_weight=tf.shape(labels)[0])
            model.compute_metrics(inputs, labels, predicted)
            return list(gradients[len(variables) :])

        # Any number of rows: the last batch is smaller, and tracing takes longer than most epochs.
        rows = [tf.TensorSpec((None, tensor.shape[1]), tf.float32) for tensor in model.inputs]
        label = tf.TensorSpec((None, *side.labels.shape[1:]), tf.as_dtype(side.labels.dtype))
        self._step = tf.function(step, input_signature=[rows, label], autograph=False)

    def begin(self) -> None:
        """Begin an epoch."""
        self._side.model.reset_metrics()
        self._loss.reset_state()

    def __call__(self, rows: NDArray[np.int64], embeddings: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Make a step on some rows; return the gradients of the batch's loss at each party's embeddings."""
        import tensorflow as tf

        inputs = [tf.convert_to_tensor(values) for values in self._side.inputs(rows, embeddings)]
        gradients = self._step(inputs, tf.convert_to_tensor(self._side.labels[rows]))
        return [tf.convert_to_tensor(each).numpy() for each in gradients]

    def end(self, number: int) -> dict[str, float]:
        """Return loss and metrics of the epoch, from 1."""
        metrics = flat_metrics(self._side.model.get_metrics_result())
        metrics["loss"] = float(self._loss.result())
        if not np.isfinite(metrics["loss"]):
            raise non_finite("loss", number, 0)
        return metrics


def evaluate(model: keras.Model, inputs: list[NDArray[Any]], labels: NDArray[Any]) -> dict[str, float]:
    """Return loss and metrics of a model on arrays, as `keras.Model.evaluate` does.

    Without its pipeline and tracing, which for a model that is evaluated once take longer than everything else.
    """
    import keras

    model.reset_metrics()
    mean = keras.metrics.Mean()
    for at in range(0, len(labels), EVALUATED):
        x, y = [values[at : at + EVALUATED] for values in inputs], labels[at : at + EVALUATED]
        predicted = model(x, training=False)
        mean.update_state(model.compute_loss(x=x, y=y, y_pred=predicted, training=False), sample_weight=len(y))
        model.compute_metrics(x, y, predicted)
    return {**flat_metrics(model.get_metrics_result()), "loss": float(mean.result())}


def require_separable(optimizer: Any) -> None:
    """Raise if an optimizer looks at the gradients of all variables at once, which no party has."""
    if getattr(optimizer, "global_clipnorm", None) is not None:
        raise InvalidInput(
            f"The optimizer has global_clipnorm={optimizer.global_clipnorm}, the length of all gradients together; "
            "the parties' gradients are not in one place.",
            code="global-clipnorm",
            hint="Use clipnorm=... or clipvalue=..., which look at one variable at a time.",
        )


def scaled_own(scaler: Scaler, columns: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Return the label holder's own input of shape (n, f) as a list, empty if there are no columns."""
    return [scaler(columns)] if columns.shape[1] else []
