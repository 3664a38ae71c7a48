"""A recipe as part of a Keras model, which then takes raw columns.

It is built of Keras's own layers and operations alone, so that it is saved, loaded and served without this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInput
from .blocks import Blocks
from .engine import FIRST
from .recipe import Recipe

if TYPE_CHECKING:
    import keras

_DIGITS = "0123456789"


class KerasEngine:
    """Keras tensors; texts are tensors of strings, empty where missing."""

    def __init__(self) -> None:
        import keras

        self.ops: Any = keras.ops
        self._layers = keras.layers

    def cast(self, block: Any, dtype: str) -> Any:
        """Return a block in another type."""
        return self.ops.cast(block, dtype)

    def join(self, blocks: Sequence[Any]) -> Any:
        """Return blocks side by side."""
        return self.ops.concatenate([self.ops.cast(block, "float64") for block in blocks], axis=1)

    def slice(self, block: Any, start: int, stop: int) -> Any:
        """Return some columns of a block."""
        return block[:, start:stop]

    def lookup(self, texts: Any, vocabulary: Sequence[str]) -> Any:
        """Return each text's place."""
        layer = self._layers.StringLookup(
            vocabulary=list(vocabulary), mask_token="", num_oov_indices=1, output_mode="int"
        )
        return self.ops.reshape(layer(texts), (-1, 1))

    def tokens(self, texts: Any, vocabulary: Sequence[str]) -> Any:
        """Return how often each token is in each text."""
        layer = self._layers.TextVectorization(vocabulary=list(vocabulary), output_mode="count")
        counts = self.ops.reshape(layer(texts), (-1, len(vocabulary) + 1))  # Keras counts unknown ones first
        return self.ops.cast(counts[:, 1:], "float64")

    def sequence(self, texts: Any, vocabulary: Sequence[str], length: int) -> Any:
        """Return the places of the first tokens."""
        layer = self._layers.TextVectorization(
            vocabulary=list(vocabulary), output_mode="int", output_sequence_length=length
        )
        return self.ops.reshape(layer(texts), (-1, length))

    def digits(self, texts: Any, length: int) -> Any:
        """Return the first characters as digits."""
        layer = self._layers.TextVectorization(
            vocabulary=list(_DIGITS),
            standardize=None,
            split="character",
            output_mode="int",
            output_sequence_length=length,
        )
        places = self.ops.reshape(layer(texts), (-1, length))
        return self.ops.where(self.ops.less(places, FIRST), -1, self.ops.subtract(places, FIRST))


def served(recipe: Recipe, model: keras.Model) -> keras.Model:
    """Return a model that takes the recipe's raw columns and answers as `model` does on what the recipe makes of them.

    Parameters
    ----------
    recipe : Recipe
    model : keras.Model
        With one input of ``len(recipe.outputs)`` columns. Its layers are shared, not copied.

    Returns
    -------
    keras.Model
        A functional model with one input for each raw column, by its name, of shape (1,): float64, or strings.

    Raises
    ------
    InvalidInput
        ``model-does-not-fit``: it has several inputs, or one of another width; ``backend-unfit``: texts need
        TensorFlow.
    """
    import keras

    width = len(recipe.outputs)
    _require_input(model, width)
    if any(kind == "text" for _, kind in recipe.inputs) and keras.backend.backend() != "tensorflow":
        raise InvalidInput(
            f"A model that takes texts needs Keras on TensorFlow; this process has {keras.backend.backend()!r}.",
            code="backend-unfit",
            hint='Set KERAS_BACKEND="tensorflow" before Keras is imported, load the model, and export it.',
        )
    raw = {
        name: keras.Input((1,), dtype="string" if kind == "text" else "float64", name=_input_name(name, place))
        for place, (name, kind) in enumerate(recipe.inputs)
    }
    blocks = Blocks(KerasEngine(), {name: (kind, raw[name]) for name, kind in recipe.inputs})
    recipe.run(blocks)
    dtype = str(model.inputs[0].dtype)
    matrix = keras.ops.cast(keras.ops.cast(blocks.take(recipe.outputs), "float32"), dtype)
    shape = tuple(model.inputs[0].shape[1:])
    if shape != (width,):
        matrix = keras.ops.reshape(matrix, (-1, *shape))
    # Not the model itself: a FederatedModel could only be loaded with this package.
    plain = keras.Model(model.inputs, model.outputs, name=f"{model.name}_trained")
    outputs = plain(matrix)
    if not isinstance(model.output, list | tuple | dict) and isinstance(outputs, list):
        (outputs,) = outputs
    return keras.Model(raw, outputs, name=f"{model.name}_served")


def _require_input(model: keras.Model, width: int) -> None:
    inputs = getattr(model, "inputs", None)
    if not inputs or len(inputs) != 1:
        raise InvalidInput(
            f"The preprocessing makes one matrix; model {model.name!r} has {len(inputs or ())} inputs.",
            code="model-does-not-fit",
        )
    size = 1
    for extent in inputs[0].shape[1:]:
        size *= extent if extent is not None else 0
    if size != width:
        raise InvalidInput(
            f"The preprocessing makes {width} columns; model {model.name!r} expects {tuple(inputs[0].shape)}.",
            code="model-does-not-fit",
            hint=f"Begin the model with keras.Input(({width},)): len(preprocessing.columns).",
            expected=list(inputs[0].shape),
            received=width,
        )


def _input_name(name: str, place: int) -> str:
    """Name of an input layer; Keras takes no slash, and the inputs go by the columns' names all the same."""
    return name if "/" not in name else f"raw_{place}"
