"""Does this model fit this data set? Asked before training, answered in the developer's words.

The answer goes to the notebook, so it speaks of shapes, names of columns and numbers of classes, all of which are in
the data set's public description, and never of values. Where the owner withholds the names it does not tell these
either (`named=False`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..plan import TrainingPlan
from .arrays import Arrays, Mapped, pieces

if TYPE_CHECKING:
    import keras

_SHOWN = 5
_QUANTITY = 'Use loss="mse" or the like.'


def match(plan: TrainingPlan, model: keras.Model, arrays: Arrays, *, named: bool = True) -> tuple[Any, Any]:
    """Return the arrays as `model` takes them: inputs and targets, each an array, a list or a dictionary.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that `model` was built from.
    model : keras.Model
    arrays : Arrays
        Named inputs and targets go to the input and output layers of the same names; a data set with one unnamed
        array goes to a model with one input or output.
    named : bool
        Whether errors may tell the names of columns and arrays.

    Raises
    ------
    InvalidInput
        Code ``model-does-not-fit``: the message has what the model expects and what the data set has.
    """
    inputs = _ends(plan.model["input_layers"])
    outputs = _ends(plan.model["output_layers"])
    fail = _Failure(arrays.name, named)
    x = _named(arrays.inputs, [name for _, name in inputs], "input", "x", fail)
    y = _named(arrays.targets, [name for _, name in outputs], "output", "y", fail)
    losses = _losses(plan.compiling["loss"], outputs)
    ready_x = {
        name: _input(name, tensor, x[name], arrays, fail)
        for (_, name), tensor in zip(inputs, model.inputs, strict=True)
    }
    ready_y = {
        name: _output(name, tuple(tensor.shape), y[name], losses.get(name, ""), arrays.streamed, fail)
        for (_, name), tensor in zip(outputs, model.outputs, strict=True)
    }
    _check_embeddings(model, ready_x, fail)
    return _shaped(plan.model["input_layers"], inputs, ready_x), _shaped(plan.model["output_layers"], outputs, ready_y)


class _Failure:
    """Makes the error, in one form."""

    def __init__(self, dataset: str, named: bool) -> None:
        self._dataset, self.named = dataset, named

    def __call__(self, what: str, hint: str = "", **details: Any) -> InvalidInput:
        return InvalidInput(
            f"The model does not fit data set {self._dataset!r}: {what}.",
            code="model-does-not-fit",
            hint=hint or "federation.schema in the notebook shows the data set's columns.",
            **details,
        )


def _is_leaf(end: Any) -> bool:
    return isinstance(end, list) and len(end) == 3 and isinstance(end[0], str)


def _ends(config: Any) -> list[tuple[str, str]]:
    """(key, layer name) of the model's inputs or outputs, in the order of ``model.inputs`` or ``model.outputs``."""
    if _is_leaf(config):
        return [("", config[0])]
    if isinstance(config, dict):
        # Keras flattens dictionaries by sorted keys.
        return [(key, _only(config[key])) for key in sorted(config)]
    return [(str(index), _only(end)) for index, end in enumerate(config)]


def _only(end: Any) -> str:
    if not _is_leaf(end):
        raise InvalidInput("Inputs and outputs nested in one another are not supported.", code="bad-model")
    return str(end[0])


def _shaped(config: Any, ends: list[tuple[str, str]], values: dict[str, Any]) -> Any:
    if _is_leaf(config):
        return values[ends[0][1]]
    if isinstance(config, dict):
        return {key: values[name] for key, name in ends}
    return [values[name] for _, name in ends]


def _named(
    arrays: dict[str, NDArray[Any]], names: list[str], kind: str, letter: str, fail: _Failure
) -> dict[str, NDArray[Any]]:
    if len(names) == 1 and len(arrays) == 1 and (set(arrays) & {"", names[0]}):
        return {names[0]: next(iter(arrays.values()))}
    if set(arrays) != set(names):
        has = ", ".join(f"{letter}_{name}" if name else letter for name in sorted(arrays))
        if not fail.named:
            has = f"{len(arrays)}, whose names its owner withholds"
        raise fail(
            f"the model has the {kind}s {', '.join(names)}; the data set has {has}",
            f"Name the {kind} layers like the arrays of the data set ({letter}_<name>), one for each.",
            expected=names,
            received=sorted(arrays) if fail.named else len(arrays),
        )
    return arrays


def _input(name: str, tensor: Any, array: NDArray[Any], arrays: Arrays, fail: _Failure) -> Any:
    expected, received = tuple(tensor.shape), (None, *array.shape[1:])
    # Keras itself adds or removes a last axis of 1.
    if not _compatible(_squeezed(expected), _squeezed(received)):
        if arrays.columns and "" in arrays.inputs:
            shown = ", ".join(arrays.columns[:_SHOWN]) + (", …" if len(arrays.columns) > _SHOWN else "")
            has = f"the data set has {len(arrays.columns)} features" + (f": {shown}" if fail.named else "")
        else:
            has = f"the data set has {_text(received)}"
        sides = {"expected": _text(expected), "received": _text(received)}
        raise fail(f"input {name!r} expects {_text(expected)}; {has}", **sides)
    if tensor.dtype == "string":
        raise fail(f"input {name!r} expects text; the data set has numbers ({array.dtype})")
    dtype = np.dtype("float32" if tensor.dtype == "bfloat16" else tensor.dtype)  # NumPy has no bfloat16
    if dtype.kind in "iu" and _has_fractions(array):
        raise fail(f"input {name!r} expects integers ({dtype}); the data set has fractions ({array.dtype})")
    with np.errstate(over="ignore"):
        if dtype.kind == "f" and not all(np.isfinite(piece.astype(dtype, copy=False)).all() for piece in pieces(array)):
            raise fail(f"the data exceed the range of input {name!r}, {dtype}", "Use a wider dtype, or scale the data.")
        if arrays.streamed:
            return Mapped(array, dtype, _known(expected[1:]) or array.shape[1:])
        cast = np.ascontiguousarray(array, dtype)
    return cast.reshape(len(cast), *expected[1:]) if None not in expected[1:] else cast


def _output(
    name: str, shape: tuple[int | None, ...], array: NDArray[Any], loss: str, streamed: bool, fail: _Failure
) -> Any:
    units = shape[-1] if len(shape) > 1 else 1
    if loss.startswith("sparsecategorical"):
        if _has_fractions(array):
            raise fail(f"the loss of output {name!r} needs classes 0 to K-1; the target is a quantity", _QUANTITY)
        if not _compatible(_squeezed(shape[:-1]), _squeezed((None, *array.shape[1:]))):
            raise fail(
                f"output {name!r} of shape {_text(shape)} needs one class each; the target has {_text(_rows(array))}"
            )
        count = int(array.max()) + 1
        if array.min() < 0 or (units is not None and count > units):
            raise fail(
                f"its labels are 0..{count - 1}, and output {name!r} has {units} units", f"Give it {count} units."
            )
        if streamed:
            return Mapped(array, np.dtype(np.int32), array.shape[1 : len(shape) - 1])
        return array.astype(np.int32).reshape(len(array), *array.shape[1 : len(shape) - 1])
    if loss.startswith("binary") and ((array < 0).any() or (array > 1).any()):
        if array.dtype.kind == "f":
            raise fail(f"the loss of output {name!r} needs labels 0 and 1; the target is a quantity", _QUANTITY)
        count = int(array.max()) + 1
        raise fail(
            f"its labels are 0..{count - 1}, and the loss of output {name!r}, which has {units} "
            f"unit{'s' if units != 1 else ''}, knows 0 and 1 only",
            f'Use Dense({count}, activation="softmax") and loss="sparse_categorical_crossentropy".',
        )
    if not _compatible(_squeezed(shape), _squeezed(_rows(array))):
        integers = array.ndim == 1 and array.dtype.kind in "iu" and loss.startswith("categorical")
        raise fail(
            f"output {name!r} has shape {_text(shape)}; the target has {_text(_rows(array))}",
            'For integer labels use loss="sparse_categorical_crossentropy".' if integers else "",
            expected=_text(shape),
            received=_text(_rows(array)),
        )
    if streamed:
        wanted = array.dtype if array.dtype.kind == "f" else np.dtype(np.float32)
        return Mapped(array, wanted, _known(shape[1:]) or array.shape[1:])
    values = array.astype(np.float32) if array.dtype.kind != "f" else array
    return values.reshape(len(values), *shape[1:]) if None not in shape[1:] else values


def _known(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return a shape whose axes are all known; nothing if one is not."""
    axes = tuple(size for size in shape if size is not None)
    return axes if len(axes) == len(shape) else ()


def _has_fractions(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f" and any((piece != np.trunc(piece)).any() for piece in pieces(array))


def _check_embeddings(model: keras.Model, x: dict[str, NDArray[Any]], fail: _Failure) -> None:
    """TensorFlow would stop in the middle of training, JAX would silently take another row of the table."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            values = x.get(getattr(layer.input, "name", ""))
            if values is not None and (values.min() < 0 or values.max() >= layer.input_dim):
                raise fail(
                    f"layer {layer.name!r} has {layer.input_dim} entries, and the data have indices outside 0 to "
                    f"{layer.input_dim - 1}",
                    "Give the Embedding a larger input_dim.",
                )


def _losses(loss: Any, outputs: list[tuple[str, str]]) -> dict[str, str]:
    """Output name to the loss's name in small letters without underscores."""
    if isinstance(loss, list):
        return {name: _loss_name(entry) for (_, name), entry in zip(outputs, loss, strict=False)}
    if isinstance(loss, dict) and "class_name" not in loss:
        return {name: _loss_name(loss.get(key, loss.get(name))) for key, name in outputs}
    return {name: _loss_name(loss) for _, name in outputs}


def _loss_name(loss: Any) -> str:
    if isinstance(loss, dict):
        loss = loss.get("config") if loss.get("class_name") == "function" else loss.get("class_name")
    name = str(loss or "").rpartition(">")[2].lower().replace("_", "")
    return {"bce": "binarycrossentropy"}.get(name, name)


def _rows(array: NDArray[Any]) -> tuple[int | None, ...]:
    return (None, *array.shape[1:])


def _squeezed(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape


def _compatible(expected: tuple[int | None, ...], received: tuple[int | None, ...]) -> bool:
    same: Callable[[int | None, int | None], bool] = lambda e, r: e is None or r is None or e == r  # noqa: E731
    return len(expected) == len(received) and all(map(same, expected, received))


def _text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
