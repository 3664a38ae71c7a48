"""The parts of a `VerticalModel` as they are trained, made for one federation's columns."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from .errors import InvalidInput
from .plan import TrainingPlan
from .protocols.tenseal_library import tenseal
from .training.vertical.label_side import OWN, input_names
from .training.vertical.linear_he import require_linear
from .training.vertical.plan import Mode, VerticalPlan, weights_digest
from .training.vertical.state import PartyState
from .vertical_federation import VerticalFederation, VerticalOutcome

if TYPE_CHECKING:
    from .verticalmodel import VerticalModel

MOST_COMPONENTS = 32
"""Principal components, at most, of a party for which mode ``oneway`` was given no bottom."""


class Parts:
    """The parts as they are trained: made for one federation's columns, sharing the user's layers and weights."""

    def __init__(self, model: VerticalModel, federation: VerticalFederation, compiling: dict[str, Any]) -> None:
        self.columns, self.compiling = dict(federation.columns), compiling
        self.parties = _ordered(federation, model.bottoms)
        holder, others = self.parties[0], self.parties[1:]
        if model.mode == "linear_he":
            tenseal()
        self.encoders: dict[str, Any] = {}
        self.widths: dict[str, int] = {}
        self.models: dict[str, keras.Model] = {}
        for party in others:
            self._bottom(model, party)
        own_width = len(self.columns[holder])
        inputs = [
            keras.Input((width,), name=name)
            for name, width in zip(
                input_names(bool(own_width), len(others)),
                [*([own_width] if own_width else []), *(self.widths[party] for party in others)],
                strict=True,
            )
        ]
        sides = list(inputs)
        own = model.bottoms.get(holder)
        if isinstance(own, int):
            raise bad(f"the label holder {holder!r} has {own} for a bottom; it takes a Keras model or None")
        if own is not None and not own_width:
            raise bad(f"the label holder {holder!r} has a bottom and no columns")
        if model.mode == "linear_he":
            if own is not None:
                require_linear(own, holder)
            if own_width:
                sides[0] = (own or _linear(own_width, "own_score"))(sides[0])
            # Keras has no layer of a bias alone: this one's input is always 0.
            nothing = keras.layers.Rescaling(0.0, name="nothing")(sides[0])
            intercept = keras.layers.Dense(1, kernel_initializer="zeros", name="intercept")(nothing)
            total = keras.layers.Add(name="sum")([*sides, intercept])
            self._label_model(inputs, keras.layers.Activation(_activation(compiling["loss"]), name="score")(total))
        else:
            if own is not None:
                _require_input(own, own_width, holder)
                sides[0] = own(sides[0])
            joined = keras.layers.Concatenate(name="side_by_side")(sides) if len(sides) > 1 else sides[0]
            assert model.top is not None
            wanted, given = model.top.inputs[0].shape[-1], joined.shape[-1]
            if wanted is not None and wanted != given:
                raise InvalidInput(
                    f"The top takes rows of {wanted} numbers; {_sum_of(self, sides, holder, others, own)} = {given}.",
                    code="top-does-not-fit",
                    hint=f"Give it keras.Input(({given},)).",
                )
            self._label_model(inputs, model.top(joined))
        self.models[holder] = self._label
        self.callback_model = self._joint(model.mode)

    def _label_model(self, inputs: list[Any], output: Any) -> None:
        self._label = keras.Model(inputs, output, name="label_holder")
        self._label.compile(**clone(self.compiling))

    def _bottom(self, model: VerticalModel, party: str) -> None:
        given, columns = model.bottoms.get(party), len(self.columns[party])
        if model.mode == "linear_he":
            bottom = given or _linear(columns, f"score_{len(self.models) + 1}")
            require_linear(bottom, party)
        elif given is None or isinstance(given, int):
            if model.mode != "oneway":
                raise InvalidInput(
                    f"Party {party!r} has no bottom.",
                    code="missing-bottom",
                    hint=f"Give it one: bottoms={{{party!r}: keras.Sequential([keras.Input(({columns},)), ...])}}.",
                )
            width = min(MOST_COMPONENTS, -(-2 * columns // 3)) if given is None else given
            self.encoders[party], self.widths[party] = "pca", width
            if width > columns:
                raise InvalidInput(
                    f"{width} principal components were asked of the {columns} columns of {party!r}.",
                    code="bottom-does-not-fit",
                    hint=f"Ask for {columns} at most.",
                )
            return
        else:
            bottom = given
        _require_input(bottom, columns, party)
        if model.mode == "oneway":
            kinds = model.encoder
            self.encoders[party] = kinds if isinstance(kinds, str) else kinds.get(party, "random")
        self.widths[party] = int(bottom.outputs[0].shape[-1])
        # A model of its own around the same layers: the user's keeps its own optimizer, or none.
        part = keras.Model(bottom.inputs[0], bottom.outputs[0], name=bottom.name)
        part.compile(clone(self.compiling)["optimizer"], "mse")
        self.models[party] = part

    def _joint(self, mode: Mode) -> keras.Model:
        """What callbacks see: all weights that are trained, and an optimizer for its learning rate."""
        joint = self._label
        if mode != "oneway":
            names = input_names(bool(self.columns[self.parties[0]]), len(self.parties) - 1)
            inputs, given = [], []
            for name, party in zip(names, self.parties if names[0] == OWN else self.parties[1:], strict=True):
                tensor = keras.Input((len(self.columns[party]),), name=name)
                inputs.append(tensor)
                given.append(tensor if name == OWN else self.models[party](tensor))
            joint = keras.Model(inputs, self._label(given), name="vertical")
            joint.compile(**clone(self.compiling))
        joint.stop_training = False
        return joint

    def plan(
        self,
        model: VerticalModel,
        federation: VerticalFederation,
        *,
        seed: int,
        epochs: int,
        batch_size: int,
        validation_split: float,
        shuffle: bool,
        minimum: int,
    ) -> VerticalPlan:
        """Write down the plan, with the digests of the weights as they are now."""
        if federation.label is None:
            raise InvalidInput(
                "This federation has no labels; it can be predicted, not trained on.",
                code="no-label",
                hint='Name their column: label=("<party>", "<column>").',
            )
        rate = self.callback_model.optimizer.learning_rate
        for part in self.models.values():
            if not has_schedule(part.optimizer):
                part.optimizer.learning_rate = float(np.asarray(keras.ops.convert_to_numpy(rate)))
        plans = {
            party: TrainingPlan.from_model(part, batch_size=batch_size, seed=None, shuffle=shuffle)
            for party, part in self.models.items()
        }
        return VerticalPlan(
            mode=model.mode,
            parties=self.parties,
            columns={party: self.columns[party] for party in self.parties},
            label=federation.label,
            models=plans,
            widths=self.widths,
            seed=seed,
            encoders=self.encoders,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=validation_split,
            shuffle=shuffle,
            standardize=model.standardize,
            minimum_intersection=minimum,
            protection=model.protection,
            starts={party: weights_digest(plans[party].vector_of(part)) for party, part in self.models.items()},
        )

    def vectors(self, plan: VerticalPlan) -> dict[str, Any]:
        """Return each party's weights as they are now."""
        return {party: plan.models[party].vector_of(part) for party, part in self.models.items()}

    def take(self, plan: VerticalPlan, weights: Mapping[str, Any]) -> None:
        """Set the parts' weights: the user's models share them."""
        for party, vector in weights.items():
            if party in self.models:
                plan.models[party].assign(self.models[party], vector)

    def go_on(self, plan: VerticalPlan, outcome: VerticalOutcome) -> None:
        """Take the weights of an earlier run for the parts that nobody but this object has a model of."""
        if plan.mode == "linear_he" and plan.columns == {party: self.columns[party] for party in self.parties}:
            self.take(plan, {party: state.tensors["weights"] for party, state in outcome.states.items()})

    def settle(self, plan: VerticalPlan, outcome: VerticalOutcome) -> VerticalOutcome:
        """Return the outcome with weights as callbacks have left them, and give encoders theirs."""
        trained = [party for party in self.models if plan.mode != "oneway" or party == plan.label_holder]
        states = dict(outcome.states)
        for party, state in outcome.states.items():
            if party in trained:
                vector = plan.models[party].vector_of(self.models[party])
                states[party] = PartyState(party, state.plan, {**state.tensors, "weights": vector})
            elif "weights" in state.tensors:
                self.take(plan, {party: state.tensors["weights"]})
        return VerticalOutcome(outcome.reports, states, outcome.run)


def has_schedule(optimizer: Any) -> bool:
    """Tell whether an optimizer's learning rate follows a schedule of its own."""
    return isinstance(getattr(optimizer, "_learning_rate", None), keras.optimizers.schedules.LearningRateSchedule)


def clone(compiling: Mapping[str, Any]) -> dict[str, Any]:
    """Optimizer, loss and metrics as new objects: Keras's belong to one model each."""
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(compiling["optimizer"]))
    return {"optimizer": optimizer, "loss": compiling["loss"], "metrics": copy.deepcopy(compiling["metrics"])}


def check_parts(bottoms: Mapping[str, Any], top: Any, mode: str) -> None:
    """Raise unless bottoms and top are what a mode takes; see `VerticalModel`."""
    if not isinstance(bottoms, Mapping):
        raise bad(f"bottoms is of type {type(bottoms).__name__}; a model by party is needed: {{'telco': model}}")
    for party, bottom in bottoms.items():
        if isinstance(bottom, int) and not isinstance(bottom, bool) and bottom > 0 and mode == "oneway":
            continue
        if bottom is not None and not isinstance(bottom, keras.Model):
            raise bad(
                f"the bottom of {party!r} is {bottom!r}; allowed are a Keras model"
                + (", a number of principal components" if mode == "oneway" else "")
                + " or None"
            )
        if isinstance(bottom, keras.Model):
            _require_flat(bottom, f"bottom of {party!r}")
    if mode == "linear_he":
        if top is not None:
            raise bad("mode='linear_he' has no top: scores are added up")
        return
    if not isinstance(top, keras.Model):
        raise bad(f"top is {top!r}; a Keras model on all bottoms' outputs side by side is needed")
    _require_flat(top, "top")


def _require_flat(part: keras.Model, what: str) -> None:
    inputs = getattr(part, "inputs", None) or []
    outputs = getattr(part, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 2 or len(outputs[0].shape) != 2:
        raise bad(f"the {what} must be a functional or sequential model from rows (columns,) to rows (width,)")


def _require_input(bottom: keras.Model, columns: int, party: str) -> None:
    wanted = bottom.inputs[0].shape[-1]
    if wanted is not None and wanted != columns:
        raise InvalidInput(
            f"The bottom of {party!r} takes {wanted} columns; the party has {columns}.",
            code="bottom-does-not-fit",
            hint=f"Give it keras.Input(({columns},)); federation.schema lists the columns.",
        )


def _ordered(federation: VerticalFederation, bottoms: Mapping[str, Any]) -> tuple[str, ...]:
    """All parties: the label holder, then the feature parties as in `bottoms`, then those that are not there."""
    unknown = [party for party in bottoms if party not in federation.parties]
    if unknown:
        raise InvalidInput(
            f"There is a bottom for {', '.join(map(repr, unknown))}; the parties are "
            f"{', '.join(map(repr, federation.parties))}.",
            code="unknown-party",
        )
    holder, *others = federation.parties
    named = [party for party in bottoms if party != holder]
    return (holder, *named, *(party for party in others if party not in bottoms))


def _sum_of(built: Parts, sides: list[Any], holder: str, others: tuple[str, ...], own: Any) -> str:
    parts = [f"{built.widths[party]} of {party!r}" for party in others]
    if built.columns[holder]:
        parts.insert(0, f"{sides[0].shape[-1]} {'of the bottom' if own is not None else 'columns'} of {holder!r}")
    return " + ".join(parts)


def _linear(columns: int, name: str) -> keras.Model:
    unit = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="unit")
    return keras.Sequential([keras.Input((columns,)), unit], name=name)


def _activation(loss: Any) -> str:
    """Logistic for cross-entropy on probabilities, linear otherwise."""
    made = keras.losses.get(loss)
    name = str(getattr(made, "name", None) or getattr(made, "__name__", ""))
    return "sigmoid" if name == "binary_crossentropy" and not getattr(made, "from_logits", False) else "linear"


def warn_of_width(plan: VerticalPlan) -> None:
    """Warn of embeddings that are as wide as the columns they are made of."""
    for party, width in plan.widths.items():
        columns = len(plan.columns[party])
        if plan.mode != "linear_he" and width >= columns:
            warnings.warn(
                f"The embedding of {party!r} has {width} numbers for a row of {columns} columns: the label holder can "
                "all but read the columns from it. Make the bottom narrower, or add noise (embedding_noise).",
                stacklevel=3,
            )


def bad(what: str) -> InvalidInput:
    """Return the error for a model that is not acceptable."""
    return InvalidInput(f"The vertical model is not acceptable: {what}.", code="bad-vertical-model")
