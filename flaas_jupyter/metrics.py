"""How well an attack with a target succeeds, and what it costs the classes it attacks, as Keras metrics and in rounds.

The two metrics go into ``compile(metrics=[…])`` like Keras's own; on clean data they tell how many rows of a class are
taken for another. `attack_metrics` measures on what an attack
says it is about (`AttackTest`): the figures of a round's report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from .protocols.attacks import AttackTest

SUCCESS_RATE = "attack_success_rate"
SOURCE_ACCURACY = "source_accuracy"


class _ShareOfRows(keras.metrics.Metric):  # type: ignore[misc]
    """Share of chosen rows whose prediction is a hit; nothing chosen gives 0."""

    def __init__(self, name: str, threshold: float, dtype: Any) -> None:
        super().__init__(name=name, dtype=dtype)
        self.threshold = threshold
        self._hits = self.add_weight(name="hits", initializer="zeros")
        self._rows = self.add_weight(name="rows", initializer="zeros")

    def _count(self, hits: Any, rows: Any, sample_weight: Any) -> None:
        weights = ops.cast(rows, self.dtype)
        if sample_weight is not None:
            weights = weights * ops.cast(ops.reshape(sample_weight, (-1,)), self.dtype)
        self._hits.assign_add(ops.sum(weights * ops.cast(hits, self.dtype)))
        self._rows.assign_add(ops.sum(weights))

    def result(self) -> Any:
        """Return the share so far."""
        return ops.divide_no_nan(self._hits, self._rows)


@keras.saving.register_keras_serializable(package="flaas")
class AttackSuccessRate(_ShareOfRows):
    """Share of the rows of class `source` that are predicted as `target`.

    Parameters
    ----------
    target : int
        The class that the attackers want.
    source : int, optional
        True class of the rows that count; by default all classes but the target.
    threshold : float
        From where a single output means class 1: 0.5 for a sigmoid, 0 for logits.
    name, dtype
        Keras's.

    Examples
    --------
    >>> metric = AttackSuccessRate(target=2, source=1)
    >>> outputs = [[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    >>> metric.update_state([1, 1, 0], outputs)  # one of the two rows of class 1 is taken for a 2
    >>> float(metric.result())
    0.5
    """

    def __init__(
        self,
        target: int,
        source: int | None = None,
        *,
        threshold: float = 0.5,
        name: str = SUCCESS_RATE,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, threshold, dtype)
        self.target = target
        self.source = source

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the rows of a batch: labels as numbers or one-hot, predictions as outputs of the model."""
        true, predicted = _true_classes(y_true), _predicted_classes(y_pred, self.threshold)
        rows = ops.not_equal(true, self.target) if self.source is None else ops.equal(true, self.source)
        self._count(ops.equal(predicted, self.target), rows, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` makes the metric from."""
        config = {"target": self.target, "source": self.source, "threshold": self.threshold}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="flaas")
class SourceRecall(_ShareOfRows):
    """Share of the rows of class `source` that are predicted as it.

    Parameters
    ----------
    source : int
        The class under attack.
    threshold : float
        From where a single output means class 1: 0.5 for a sigmoid, 0 for logits.
    name, dtype
        Keras's.
    """

    def __init__(self, source: int, *, threshold: float = 0.5, name: str = "source_recall", dtype: Any = None) -> None:
        super().__init__(name, threshold, dtype)
        self.source = source

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the rows of a batch: labels as numbers or one-hot, predictions as outputs of the model."""
        true, predicted = _true_classes(y_true), _predicted_classes(y_pred, self.threshold)
        self._count(ops.equal(predicted, self.source), ops.equal(true, self.source), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` makes the metric from."""
        return {**super().get_config(), "source": self.source, "threshold": self.threshold}


def attack_metrics(
    predict: Callable[[NDArray[Any]], ArrayLike],
    test: AttackTest | None,
    *,
    prefix: str = "val_",
    threshold: float = 0.5,
) -> dict[str, float]:
    """Measure how far an attack has come with the global model.

    Parameters
    ----------
    predict : callable
        The model's outputs for an array of inputs, such as ``model.predict``: (n, classes) scores, or (n, 1) or (n,)
        scores of class 1.
    test : AttackTest or None
        What the attack's `tests` gave.
    prefix : str
        Put before the names.
    threshold : float
        From where a single score means class 1: 0.5 for a sigmoid, 0 for logits.

    Returns
    -------
    dict of str to float
        ``attack_success_rate``, the share of the test rows predicted as the attackers want, and ``source_accuracy``,
        the share predicted as their true class; empty if there is nothing to measure.
    """
    if test is None or not len(test.x):
        return {}
    outputs = np.asarray(predict(test.x))
    single = outputs.ndim == 1 or outputs.shape[1] == 1
    predicted = outputs.reshape(-1) > threshold if single else outputs.argmax(axis=1)
    return {
        f"{prefix}{SUCCESS_RATE}": float(np.mean(predicted == test.expected)),
        f"{prefix}{SOURCE_ACCURACY}": float(np.mean(predicted == test.source)),
    }


def _true_classes(labels: Any) -> Any:
    """Return the class of each row of numbers, shape (n,) or (n, 1), or one-hot rows."""
    labels = ops.convert_to_tensor(labels)
    one_hot = len(labels.shape) == 2 and labels.shape[1] > 1
    return ops.cast(ops.argmax(labels, axis=1) if one_hot else ops.reshape(labels, (-1,)), "int32")


def _predicted_classes(outputs: Any, threshold: float) -> Any:
    """Return the class of the largest of several outputs, or of a single one cut at `threshold`."""
    outputs = ops.convert_to_tensor(outputs)
    several = len(outputs.shape) == 2 and outputs.shape[1] > 1
    return ops.cast(ops.argmax(outputs, axis=1) if several else ops.reshape(outputs, (-1,)) > threshold, "int32")
