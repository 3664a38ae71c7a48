"""Keras models that travel with a question: their Shapley values and their metrics on rows at hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..protocols.analytics.expressions import Columns
from ..protocols.explaining import shapley
from .arrays import Arrays
from .feature_encoding import Encoder, arrays_of, does_not_fit, dtype_of, recipe_of
from .matching import match

if TYPE_CHECKING:
    from ..plan import TrainingPlan
    from ..protocols.explaining.explanation import Explanation

Floats = NDArray[np.float64]

MAXIMUM_CALLS = 1 << 27
"""Predictions that one question may ask of one node."""
_BATCH = 1 << 15


class KerasModel:
    """A Keras model, explained by its predictions and judged by its own metrics.

    Parameters
    ----------
    plan : TrainingPlan
    weights : ndarray of shape (p,)
    output : str
        ``"margin"`` or ``"prediction"``.
    allowed_custom : collection of str, or None
        None allows what is registered in this process.
    """

    def __init__(
        self, plan: TrainingPlan, weights: NDArray[Any], output: str, allowed_custom: Collection[str] | None = ()
    ) -> None:
        import keras

        self._plan, self._lock = plan, threading.Lock()
        self._recipe = recipe_of(plan)
        allowed = tuple(keras.saving.get_custom_objects()) if allowed_custom is None else allowed_custom
        self._model = plan.build(allowed_custom=allowed)
        plan.assign(self._model, weights)
        self._output, self._to_explain = output, None
        self._judged: Any = None

    @property
    def _explained(self) -> Any:
        """The model up to what is explained."""
        if self._to_explain is None:
            self._to_explain = _to_explain(self._model, self._output)
        return self._to_explain

    # ---- Shapley values --------------------------------------------------------------------------------------------

    def shap(self, statistic: Explanation, columns: Columns) -> Floats:
        """Return the Shapley values of rows, shape (n, features, outputs).

        Raises
        ------
        InvalidInput
            ``model-does-not-fit``; ``explanation-too-large``.
        """
        assert statistic.background is not None  # Keras models have one
        names = statistic.columns
        encoder = Encoder(self._recipe, self._model, names)
        rows, reference = encoder.encode(columns), encoder.encode(statistic.background.arrays())
        weights = np.array(statistic.background.weights)
        if not len(rows):
            return np.zeros((0, len(names), statistic.outputs))

        def predict(encoded: Floats) -> Floats:
            found = _predictions(self._explained, encoder.inputs(encoded), len(encoded))
            if found.shape[1] != statistic.outputs:
                raise does_not_fit(f"it has {found.shape[1]} outputs, not {statistic.outputs}")
            return found

        with self._lock:
            if self.additive:
                matrix = _matrix_of(predict, rows.shape[1])
                return shapley.additive(rows, reference, weights, matrix, encoder.blocks)
            game = shapley.game_of(predict, rows, reference, weights, encoder.blocks)
            if not statistic.orders:
                _require_size(len(rows) * len(reference) << len(names))
                return shapley.exact(game, len(names))
            _require_size(len(rows) * len(reference) * len(names) * statistic.orders)
            return shapley.by_orders(game, shapley.orders_of(len(names), statistic.orders, statistic.seed))

    @property
    def additive(self) -> bool:
        """Whether what is explained is a sum of functions of single features."""
        return _is_affine(self._explained)

    def predict(self, names: tuple[str, ...], columns: Columns) -> Floats:
        """Return the outputs that are explained, (n, K)."""
        encoder = Encoder(self._recipe, self._model, names)
        rows = encoder.encode(columns)
        with self._lock:
            return _predictions(self._explained, encoder.inputs(rows), len(rows))

    # ---- metrics ---------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Of the metrics, the loss first."""
        return self._metrics()[0]

    @property
    def states(self) -> int:
        """How many numbers the metrics are made of."""
        return int(sum(np.prod(variable.shape, dtype=int) for variable in self._metrics()[1]))

    def judge(self, columns: Columns) -> tuple[Floats, Floats]:
        """Return the states of the metrics over all rows, and how far off each row is: see `_errors`.

        Raises
        ------
        InvalidInput
            Code ``model-does-not-fit``.
        """
        import keras

        arrays = arrays_of(self._model, self._recipe, columns)
        with self._lock:
            model, (x, y) = self._fresh(), self._match(arrays)
            model.reset_metrics()
            for start in range(0, arrays.rows, _BATCH):
                batch = keras.tree.map_structure(lambda values, at=start: values[at : at + _BATCH], (x, y))
                model.test_on_batch(*batch)
            states = [np.asarray(variable).ravel().astype(np.float64) for variable in _variables(model)]
            return np.concatenate(states), self._errors(x, y, arrays.rows)

    def _errors(self, x: Any, y: Any, count: int) -> Floats:
        """Return the Euclidean distance of each row's outputs and targets, (n,).

        Where the loss is one of classes it is 1 and that distance, or 1 and how large the outputs are where classes are
        given as numbers: nothing more than the outputs can make the loss of a row large.
        """
        import keras

        loss = json.dumps(self._plan.compiling["loss"]).lower()
        squares, targets = np.zeros(count), keras.tree.flatten(y)
        with np.errstate(all="ignore"):
            for start in range(0, count, _BATCH):
                rows = slice(start, start + _BATCH)
                inputs = keras.tree.map_structure(lambda values, at=rows: values[at], x)
                for place, output in enumerate(keras.tree.flatten(self._model(inputs, training=False))):
                    told = np.asarray(keras.ops.convert_to_numpy(output), np.float64)
                    told = told.reshape(len(told), -1)
                    wanted = np.asarray(targets[place][rows], np.float64).reshape(len(told), -1)
                    off = told - wanted if wanted.shape == told.shape and "sparse" not in loss else told
                    squares[rows] += (off**2).sum(axis=1)
        return np.sqrt(squares) + float("crossentropy" in loss or "hinge" in loss)

    def results(self, states: Floats) -> Floats:
        """Return the metrics that follow from states."""
        names, _ = self._metrics()
        with self._lock:
            model, at = self._fresh(), 0
            for variable in _variables(model):
                size = int(np.prod(variable.shape, dtype=int))
                variable.assign(states[at : at + size].reshape(variable.shape).astype(str(variable.dtype)))
                at += size
            found = _flat(model.get_metrics_result())
            model.reset_metrics()
        return np.array([found[name] for name in names], np.float64)

    def _metrics(self) -> tuple[tuple[str, ...], list[Any]]:
        with self._lock:
            model = self._fresh()
            return tuple(_flat(model.get_metrics_result())), _variables(model)

    def _fresh(self) -> Any:
        """Return the model with metrics that know their shapes, which they learn from a first batch."""
        if self._judged is None:
            import keras

            x = [
                np.zeros((1, *(size or 1 for size in tensor.shape[1:])), dtype_of(tensor))
                for tensor in self._model.inputs
            ]
            inputs = keras.tree.pack_sequence_as(self._model.input, x)
            y = keras.tree.map_structure(lambda tensor: self._example(tensor), self._model.output)
            self._model.test_on_batch(inputs, y)
            self._model.reset_metrics()
            self._judged = self._model
        return self._judged

    def _example(self, tensor: Any) -> NDArray[Any]:
        sparse = "sparse" in json.dumps(self._plan.compiling["loss"]).lower()
        shape = tensor.shape[1:-1] if sparse else tensor.shape[1:]
        return np.zeros((1, *(size or 1 for size in shape)), np.int32 if sparse else np.float32)

    def _match(self, arrays: Arrays) -> tuple[Any, Any]:
        return match(self._plan, self._model, arrays)


def _to_explain(model: Any, output: str) -> Any:
    """Return the model up to what is explained: its last sigmoid or softmax is left away for the margin."""
    import keras

    if len(model.outputs) != 1:
        raise InvalidInput(
            f"The model has {len(model.outputs)} outputs; models with one can be explained.",
            code="explain-one-output",
            hint="Make a model of the output that you want: FederatedModel(inputs, output).",
        )
    if output == "prediction":
        return model
    last = model.outputs[0]._keras_history.operation
    bent = (keras.activations.sigmoid, keras.activations.softmax)
    if isinstance(last, keras.layers.Activation | keras.layers.Softmax) or (
        isinstance(last, keras.layers.Dense) and last.activation in bent
    ):
        if isinstance(last, keras.layers.Dense):
            config = {**last.get_config(), "activation": "linear", "name": f"{last.name}_margin"}
            margin = keras.layers.Dense.from_config(config)
            made = keras.Model(model.input, margin(last.input))
            margin.set_weights(last.get_weights())
            return made
        if isinstance(last, keras.layers.Softmax) or last.activation in bent:
            return keras.Model(model.input, last.input)
    return model


def _is_affine(model: Any) -> bool:
    """Tell whether a model of one input and one output, and so a chain, is of affine layers."""
    import keras

    kinds = (
        keras.layers.InputLayer,
        keras.layers.Flatten,
        keras.layers.Reshape,
        keras.layers.Dropout,
        keras.layers.Rescaling,
        keras.layers.Normalization,
        keras.layers.BatchNormalization,
    )
    linear = keras.activations.linear
    if len(model.inputs) != 1 or "int" in str(model.inputs[0].dtype):
        return False
    return all(
        isinstance(layer, kinds)
        or (isinstance(layer, keras.layers.Dense | keras.layers.Activation) and layer.activation is linear)
        for layer in model.layers
    )


def _matrix_of(predict: Any, width: int) -> Floats:
    """Return the matrix of an affine model, (p, K)."""
    constant = predict(np.zeros((1, width)))
    matrix: Floats = predict(np.eye(width)) - constant
    return matrix


def _predictions(model: Any, inputs: Any, rows: int) -> Floats:
    """Return a model's outputs, (n, K); batches are of one size, so that nothing is compiled twice."""
    import keras

    size = min(_BATCH, 1 << max(rows - 1, 0).bit_length())
    parts = []
    for start in range(0, rows, size):
        batch = keras.tree.map_structure(lambda values, at=start: _padded(values[at : at + size], size), inputs)
        outputs = keras.ops.convert_to_numpy(model(batch, training=False))
        parts.append(outputs.reshape(len(outputs), -1)[: rows - start])
    return np.concatenate(parts).astype(np.float64)


def _padded(values: NDArray[Any], size: int) -> NDArray[Any]:
    if len(values) == size:
        return values
    return np.concatenate([values, np.repeat(values[:1], size - len(values), axis=0)])


def _variables(model: Any) -> list[Any]:
    return [variable for metric in model.metrics for variable in metric.variables]


def _flat(results: Mapping[str, Any]) -> dict[str, float]:
    from .epoch import flat_metrics

    return flat_metrics({name: np.asarray(value) for name, value in results.items()})


def _require_size(calls: int) -> None:
    if calls > MAXIMUM_CALLS:
        raise InvalidInput(
            f"The explanation takes {calls} predictions at a node; allowed are {MAXIMUM_CALLS}.",
            code="explanation-too-large",
            hint="Explain fewer rows (max_rows=...), in fewer orders (permutations=...), against a smaller "
            "background (background_size=...), or fewer features.",
        )
