"""A model as it travels with a question: arrays that nodes read with suspicion, and what is asked about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..protocols.explaining import Background, ModelReference, digest_of
from ..training.prediction import model_of
from ..training.tree_prediction import TreeModel

if TYPE_CHECKING:
    import keras

    from ..boosting.estimator import Boosting
    from ..training.keras_prediction import KerasModel
    from ..training.preprocessing import Recipe

LIMIT = 60 << 20
"""Bytes that a model may take."""


@dataclass(frozen=True)
class Travelling:
    """A model as it travels.

    Attributes
    ----------
    kind : str
        ``"keras"`` or ``"boosting"``.
    tensors : dict of str to ndarray
    outputs : tuple of str
        Names of its outputs: what it gives for a row.
    features : tuple of str or None
        The columns that it takes; None for all features of the data set.
    texts : dict of str to tuple of str
        Columns of text among them, and the values that the model knows.
    name : str
    codes : dict of str to tuple of float
        Columns of numbers that the model takes as categories, and those that it knows.
    """

    kind: str
    tensors: dict[str, NDArray[Any]]
    outputs: tuple[str, ...]
    features: tuple[str, ...] | None
    texts: Mapping[str, tuple[str, ...]]
    name: str
    codes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def reference(self, output: str) -> ModelReference:
        """Return what questions call it.

        Raises
        ------
        InvalidInput
            Code ``explanation-too-large``: it has more bytes than can go with a question.
        """
        size = sum(array.nbytes for array in self.tensors.values())
        if size > LIMIT:
            raise InvalidInput(
                f"Model {self.name!r} takes {size >> 20} MiB; with a question can go {LIMIT >> 20} MiB.",
                code="explanation-too-large",
                hint="Explain a smaller model.",
            )
        return ModelReference(self.kind, self._digest, output, len(self.outputs))

    @cached_property
    def _digest(self) -> str:
        return digest_of(self.tensors)

    def at_hand(self, output: str) -> KerasModel | TreeModel:
        """Return the model as nodes have it."""
        return model_of(self.reference(output), self.tensors, None)

    def is_additive(self, output: str) -> bool:
        """Tell whether what is explained is a sum of functions of single features."""
        model = self.at_hand(output)
        return not isinstance(model, TreeModel) and model.additive

    def base_values(self, output: str, background: Background | None) -> NDArray[np.float64]:
        """Return what SHAP values are counted from, shape (outputs,)."""
        model = self.at_hand(output)
        if isinstance(model, TreeModel):
            return model.base_values
        assert background is not None  # Keras models have one
        names = tuple(background.columns)
        return np.asarray(np.array(background.weights) @ model.predict(names, background.arrays()))


def keras_model(model: keras.Model, recipe: Recipe | None = None) -> Travelling:
    """Return a Keras model as it travels.

    Parameters
    ----------
    model : keras.Model
        Functional; compiled, if it is to be evaluated.
    recipe : Recipe, optional
        The fitted preprocessing that makes its inputs of raw columns.

    Raises
    ------
    InvalidInput
        ``explain-one-output``; the codes of `TrainingPlan.from_model`.
    """
    import keras

    from ..plan import TrainingPlan

    if len(model.outputs) != 1:
        raise InvalidInput(
            f"Model {model.name!r} has {len(model.outputs)} outputs; models with one can be explained.",
            code="explain-one-output",
            hint="Make a model of the output that you want: FederatedModel(inputs, output).",
        )
    compiled = model
    if not getattr(model, "compiled", False) or model.optimizer is None or getattr(model, "loss", None) is None:
        compiled = keras.Model(model.input, model.output, name=model.name)
        compiled.compile("sgd", "mse")  # plans say how a model is trained; nothing is trained here
    plan = TrainingPlan.from_model(compiled, preprocessing=None if recipe is None else recipe.to_dict())
    size = int(np.prod([axis or 1 for axis in model.outputs[0].shape[1:]], dtype=int))
    outputs = (str(model.output_names[0]),) if size == 1 else tuple(f"class {place}" for place in range(size))
    return Travelling(
        "keras",
        {"plan": _octets(plan.to_dict()), "weights": plan.vector_of(compiled)},
        outputs,
        None if recipe is None else tuple(name for name, _ in recipe.inputs),
        {} if recipe is None else _texts_of(recipe),
        model.name,
        {} if recipe is None else _codes_of(recipe),
    )


def boosted_trees(estimator: Boosting, target: str) -> Travelling:
    """Return boosted trees as they travel.

    Parameters
    ----------
    estimator : FederatedBoostingClassifier or FederatedBoostingRegressor
        Trained.
    target : str
        Column that it predicts.

    Raises
    ------
    InvalidInput
        Code ``boosting-not-fitted``.
    """
    document, outputs = estimator.to_explain(target)
    return Travelling(
        "boosting", {"trees": _octets(document)}, outputs, tuple(estimator.features_), {}, type(estimator).__name__
    )


def _texts_of(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the columns of text that a preprocessing takes, and the categories that it knows of each."""
    from ..training.preprocessing.onehot import OneHotEncoded

    found: dict[str, tuple[str, ...]] = {name: () for name, kind in recipe.inputs if kind == "text"}
    for step in recipe.steps:
        if isinstance(step, OneHotEncoded):
            for name, categories in zip(step.names, step.categories, strict=True):
                if name in found:
                    found[name] = tuple(str(category) for category in categories)
    return found


def _codes_of(recipe: Recipe) -> dict[str, tuple[float, ...]]:
    """Return the columns of numbers that a preprocessing takes as categories, and those that it knows of each."""
    from ..training.preprocessing.onehot import OneHotEncoded

    return {
        name: tuple(float(category) for category in categories)
        for step in recipe.steps
        if isinstance(step, OneHotEncoded)
        for name, categories in zip(step.names, step.categories, strict=True)
        if not isinstance(categories[0], str)
    }


def _octets(document: Mapping[str, Any]) -> NDArray[np.uint8]:
    raw = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()  # the order of features counts
    return np.frombuffer(raw, np.uint8)
