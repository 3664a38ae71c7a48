"""Columns of a data set as a model takes them, and which of its inputs each column becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..protocols.analytics.expressions import Columns
from .arrays import Arrays, canonical_target

if TYPE_CHECKING:
    import keras

    from ..plan import TrainingPlan
    from .preprocessing import Recipe

Floats = NDArray[np.float64]

ASKED = "of the question"
"""What the rows of a question are called where the data set's name is not known."""


class Encoder:
    """Features as one matrix, and this as the inputs of a model.

    With preprocessing the matrix is what it makes of raw columns; `blocks` says which of its columns each raw one
    becomes, so that a feature is taken from a row, or from the background, as a whole.
    """

    def __init__(self, recipe: Recipe | None, model: Any, names: tuple[str, ...]) -> None:
        self._recipe, self._model, self._names = recipe, model, names
        self.blocks = [np.array([place]) for place in range(len(names))]
        if recipe is not None:
            self.blocks = _blocks_of(recipe, names)

    def encode(self, columns: Columns) -> Floats:
        """Return the features, (n, p)."""
        if self._recipe is not None:
            return self._recipe.apply({name: np.asarray(columns[name]) for name in self._names}).astype(np.float64)
        _require_numbers(self._names, columns)
        return np.column_stack([np.asarray(columns[name], np.float64) for name in self._names])

    def inputs(self, encoded: Floats) -> Any:
        """Return encoded rows as the model's inputs."""
        import keras

        tensors = list(self._model.inputs)
        parts = [(tensors[0], encoded)]
        if len(tensors) > 1:
            places = [_columns_of(tensor.name, self._names) for tensor in tensors]
            parts = [(tensor, encoded[:, place]) for tensor, place in zip(tensors, places, strict=True)]
        arrays = []
        for tensor, part in parts:
            wanted = tensor.shape[1:]
            sizes = [part.shape[1] if size is None else int(size) for size in wanted]
            if int(np.prod(sizes, dtype=int)) != part.shape[1] or (None in wanted and len(wanted) > 1):
                raise does_not_fit(f"it takes {tuple(wanted)} in a row, and there are {part.shape[1]} features")
            arrays.append(part.reshape(len(part), *sizes).astype(dtype_of(tensor)))
        return keras.tree.pack_sequence_as(self._model.input, arrays)


def arrays_of(model: keras.Model, recipe: Recipe | None, columns: Columns) -> Arrays:
    """Return columns as a data set is trained on: features float32, labels int32, quantities float32.

    Parameters
    ----------
    model : keras.Model
        That they are for.
    recipe : Recipe or None
        Its preprocessing.
    columns : mapping of str to ndarray, shape (n,)
        Features, and the target last.
    """
    *features, target = columns
    values = canonical_target(np.asarray(columns[target]))
    if recipe is not None:
        made = recipe.apply({name: np.asarray(columns[name]) for name in features})
        return Arrays(ASKED, {"": made}, {"": values}, recipe.outputs)
    _require_numbers(features, columns)
    bases: dict[str, list[str]] = {}
    for name in features:
        bases.setdefault(_base(name), []).append(name)
    if len(model.inputs) > 1:
        inputs = {
            base.removeprefix("x_"): np.column_stack([np.asarray(columns[name], np.float32) for name in own])
            for base, own in bases.items()
        }
        shapes = {tensor.name: tensor.shape[1:] for tensor in model.inputs}
        inputs = {name: _shaped(array, shapes.get(name, ())) for name, array in inputs.items()}
    else:
        stacked = np.column_stack([np.asarray(columns[name], np.float32) for name in features])
        inputs = {"": _shaped(stacked, model.inputs[0].shape[1:])}
    return Arrays(ASKED, inputs, {"": values}, tuple(features))


def recipe_of(plan: TrainingPlan) -> Recipe | None:
    """Return a plan's preprocessing, if it has one.

    Raises
    ------
    InvalidInput
        Code ``explain-mapping``: nodes call columns otherwise.
    """
    if plan.preprocessing is None:
        return None
    from .preprocessing import Recipe

    recipe = Recipe.from_dict(plan.preprocessing)
    if recipe.mapping is not None:
        raise InvalidInput(
            "The model's preprocessing maps columns that nodes call otherwise; such a model cannot be asked about.",
            code="explain-mapping",
            hint="Rename the columns at the nodes and register the data sets again; then train without a mapping.",
        )
    return recipe


def _blocks_of(recipe: Recipe, names: tuple[str, ...]) -> list[NDArray[np.int64]]:
    """Return which columns of the matrix each raw column becomes, by following empty columns through the steps."""
    from .preprocessing.blocks import Blocks
    from .preprocessing.engine import ArrayEngine

    if tuple(name for name, _ in recipe.inputs) != names:
        raise does_not_fit("its preprocessing takes other columns than are asked about")
    origins = {name: name for name in names}

    class Followed(Blocks):
        def _insert(self, after: str, made: Any, block: Any) -> None:
            super()._insert(after, made, block)
            origins.update(dict.fromkeys(made, origins[after]))

    empty = {name: (kind, np.empty((0, 1), object if kind == "text" else np.float64)) for name, kind in recipe.inputs}
    recipe.run(Followed(ArrayEngine(), empty))
    return [np.flatnonzero([origins[output] == name for output in recipe.outputs]) for name in names]


def _require_numbers(names: Sequence[str], columns: Columns) -> None:
    for name in names:
        kind = np.asarray(columns[name]).dtype.kind
        if kind not in "biuf":
            what = "a date" if kind == "M" else "text"
            raise does_not_fit(f"column {name!r} is {what}, and the model has no preprocessing for it")


def _shaped(array: NDArray[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return flat rows in the shape of an input, if they fill it; what does not fit is told when it is matched."""
    if not shape and array.shape[1] == 1:
        return array[:, 0]
    if None in shape or int(np.prod([size or 1 for size in shape], dtype=int)) != array.shape[1]:
        return array
    return array.reshape(len(array), *[int(size or 1) for size in shape])


def _columns_of(tensor: str, names: tuple[str, ...]) -> list[int]:
    found = [place for place, name in enumerate(names) if _base(name) in (tensor, f"x_{tensor}")]
    if not found:
        raise does_not_fit(f"it has an input {tensor!r}, and the data have no column of that name")
    return found


def _base(name: str) -> str:
    return name[: name.rindex("[")] if name.endswith("]") and "[" in name else name


def dtype_of(tensor: Any) -> str:
    """Return the type of arrays for an input; NumPy has no bfloat16."""
    return "float32" if tensor.dtype == "bfloat16" else str(tensor.dtype)


def does_not_fit(why: str) -> InvalidInput:
    """Return the error for a model that is not for these data."""
    return InvalidInput(
        f"The model does not fit the data: {why}.",
        code="model-does-not-fit",
        hint="federation.schema in the notebook shows the data set's columns.",
    )
