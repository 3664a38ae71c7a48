"""The training plan: what is trained and how one client trains it, as plain data that travels.

A plan is the model's architecture and compile configuration as Keras writes them, with the local settings and the
list of the model's weights. A notebook makes it, nodes build the model from it after reading it with suspicion
(`flaas_jupyter.model_safety`). Its digest names it: a run is created for one plan and nodes take no other.

Weights travel as one vector. Its order is the plan's list of weights, which are known by path, not by position and not
by Keras's ``variable.path`` alone: that one depends on how a layer came to be built (in a rebuilt model
``bidirectional/forward_lstm/lstm_cell/kernel`` becomes ``forward_lstm/lstm_cell/kernel``) and on names that
Keras counts up within a process. Here a path is the layer's name in the configuration, of nested models too, and the
place within the layer. Batch normalisation's moving statistics are among the weights and averaged with the rest; what a
`Normalization` layer has adapted to is not, it is preprocessing and part of the architecture.

Reading or sending a plan needs no Keras; making and building one does.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import json
import math
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import model_safety
from .errors import InvalidInput

if TYPE_CHECKING:
    import keras

VERSION = 1
_MODEL_KEYS = {"name", "trainable", "layers", "input_layers", "output_layers"}
_COMPILE_KEYS = {"optimizer", "loss", "loss_weights", "metrics", "weighted_metrics"}
_DTYPES = ("float16", "bfloat16", "float32", "float64")
_COUNTED = re.compile(r"_\d+$")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LATER = ("preprocessing", "columns", "compression")
"""Parts that a plan has only where there is something in them: plans of before have none."""


@dataclass(frozen=True)
class WeightSpec:
    """One weight of the model.

    Parameters
    ----------
    path : str
        Layer names and place in the layer, e.g. ``"encoder/dense_1/kernel"``.
    shape : tuple of int
    dtype : str
        ``float16``, ``bfloat16``, ``float32`` or ``float64``.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of its coordinates."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained and how one client trains it.

    Parameters
    ----------
    model : dict
        Keras's configuration of a functional model.
    compiling : dict
        ``optimizer``, ``loss``, ``loss_weights``, ``metrics``, ``weighted_metrics`` as Keras serialises them.
    weights : tuple of WeightSpec
        Every weight, in the order of the vector.
    local_epochs : int
        Passes over the local data in one round.
    batch_size : int
        Rows per step; a larger one than there are rows is one step per epoch.
    seed : int, optional
        Seed of shuffling and drop-out; without one every node draws its own.
    shuffle : bool
        Whether the rows are shuffled before each epoch.
    preprocessing : dict, optional
        What every client makes of its raw columns first, as JSON values (`training.preprocessing.Recipe`).
    columns : str, optional
        SHA-256 of the columns that the run was made for (`columns_digest`): a data set whose schema has changed since
        takes no part.
    compression : dict, optional
        How clients compress their updates: ``{"name", "options"}`` of a registered compression, JSON values.
    """

    model: dict[str, Any]
    compiling: dict[str, Any]
    weights: tuple[WeightSpec, ...]
    local_epochs: int = 1
    batch_size: int = 32
    seed: int | None = None
    shuffle: bool = True
    preprocessing: dict[str, Any] | None = None
    columns: str | None = None
    compression: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("local_epochs", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInput(f"{name} must be a positive integer, not {value!r}.", code="bad-plan")
        if self.seed is not None and (
            isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 63
        ):
            raise InvalidInput(f"seed must be an integer from 0 on or None, not {self.seed!r}.", code="bad-plan")
        if not isinstance(self.shuffle, bool):
            raise InvalidInput(f"shuffle must be true or false, not {self.shuffle!r}.", code="bad-plan")
        if self.preprocessing is not None and not isinstance(self.preprocessing, dict):
            raise InvalidInput("preprocessing must be a recipe as JSON values, or None.", code="bad-plan")
        if self.columns is not None and not (isinstance(self.columns, str) and _DIGEST.fullmatch(self.columns)):
            raise InvalidInput("columns must be a SHA-256 digest, or None.", code="bad-plan")
        if self.compression is not None and (
            not isinstance(self.compression, dict) or set(self.compression) != {"name", "options"}
        ):
            raise InvalidInput("compression must be {name, options}, or None.", code="bad-plan")

    # ---- making -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_model(
        cls,
        model: keras.Model,
        *,
        local_epochs: int = 1,
        batch_size: int = 32,
        seed: int | None = None,
        shuffle: bool = True,
        preprocessing: dict[str, Any] | None = None,
        compression: dict[str, Any] | None = None,
    ) -> TrainingPlan:
        """Write down a compiled functional or sequential model.

        The optimizer is taken as it is now (its present learning rate), without its slots: clients of a federation
        start every round afresh.

        Raises
        ------
        InvalidInput
            ``not-functional``; ``not-compiled``; ``nothing-to-train``; ``fixed-batch``; ``integer-weights``;
            ``adapted-layer``; ``bad-plan`` (settings); ``plan-too-large``.
        NotAllowed
            Code ``custom-layer``: something in the model that no node could load.
        """
        if not getattr(model, "compiled", False) or model.optimizer is None or getattr(model, "loss", None) is None:
            raise InvalidInput(
                f"Model {model.name!r} has no optimizer and loss yet.",
                code="not-compiled",
                hint='Call model.compile(optimizer=..., loss=..., metrics=["accuracy"]) first.',
            )
        with _without_tensorflow():
            architecture, compiling = _architecture(model), _compile_config(model)
        plan = cls(
            model=architecture,
            compiling=compiling,
            weights=tuple(_spec(path, variable) for path, variable in weights_by_path(model).items()),
            local_epochs=local_epochs,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            preprocessing=preprocessing,
            compression=compression,
        )
        if not model.trainable_weights:
            raise InvalidInput(f"Model {model.name!r} has no trainable weights.", code="nothing-to-train")
        model_safety.check_size(plan.to_dict(), "training plan")
        _check_bytes(plan._canonical)
        model_safety.check_objects(plan.model, allowed=None)
        model_safety.check_objects(plan.compiling, allowed=None)
        return plan

    @classmethod
    def from_dict(cls, data: Any) -> TrainingPlan:
        """Read a plan that came over the mesh or from disk; nothing of Keras is touched.

        Raises
        ------
        InvalidInput
            ``bad-plan``: not a plan of this version; ``plan-too-large``.
        """
        model_safety.check_size(data, "training plan")
        wanted = {"version", "model", "compile", "weights", "local_epochs", "batch_size", "seed", "shuffle"}
        if not isinstance(data, dict) or set(data) - set(_LATER) != wanted:
            raise _bad_plan(f"it must have exactly {', '.join(sorted(wanted))}")
        if data["version"] != VERSION:
            raise InvalidInput(
                f"The training plan is of version {data['version']!r}; this installation reads version {VERSION}.",
                code="bad-plan",
                hint="Use the same version of flaas_jupyter in notebook and nodes.",
            )
        model, compiling = data["model"], data["compile"]
        if not isinstance(model, dict) or set(model) != _MODEL_KEYS:
            raise _bad_plan("its model is not the configuration of a functional Keras model")
        if not isinstance(compiling, dict) or set(compiling) != _COMPILE_KEYS:
            raise _bad_plan(f"its compile part must have exactly {', '.join(sorted(_COMPILE_KEYS))}")
        plan = cls(
            model=model,
            compiling=compiling,
            weights=_read_specs(data["weights"]),
            local_epochs=data["local_epochs"],
            batch_size=data["batch_size"],
            seed=data["seed"],
            shuffle=data["shuffle"],
            **{name: data[name] for name in _LATER if name in data},
        )
        _check_bytes(plan._canonical)
        return plan

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "version": VERSION,
            "model": self.model,
            "compile": self.compiling,
            "weights": [[spec.path, list(spec.shape), spec.dtype] for spec in self.weights],
            "local_epochs": self.local_epochs,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            **{name: value for name in _LATER if (value := getattr(self, name)) is not None},
        }

    @functools.cached_property
    def _canonical(self) -> bytes:
        try:
            return json.dumps(
                self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
            ).encode()
        except (TypeError, ValueError) as error:
            raise _bad_plan(f"it cannot be written as JSON ({error})") from error

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the plan as canonical JSON (sorted keys, no spaces, UTF-8), 64 hex digits."""
        return hashlib.sha256(self._canonical).hexdigest()

    @functools.cached_property
    def parameters(self) -> int:
        """Length p of the weight vector."""
        return sum(spec.size for spec in self.weights)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the weight vector: float64 if any weight is, else float32, which holds the smaller ones exactly."""
        return np.dtype("float64" if any(spec.dtype == "float64" for spec in self.weights) else "float32")

    @property
    def learning_rate_schedule(self) -> dict[str, Any] | None:
        """The optimizer's `LearningRateSchedule`, serialised, if it has one."""
        rate = _optimizer_settings(self.compiling).get("learning_rate")
        return rate if isinstance(rate, dict) else None

    # ---- building ---------------------------------------------------------------------------------------------------

    def build(self, *, allowed_custom: Collection[str] = ()) -> keras.Model:
        """Build and compile the model.

        A learning-rate schedule is replaced by the constant it starts with: whoever trains sets the rate of each
        round, see `learning_rate_schedule`.

        Parameters
        ----------
        allowed_custom : collection of str
            The owner's `allow_layers`: registered names, with or without the module that registers them.

        Raises
        ------
        NotAllowed
            Code ``custom-layer``: the plan holds something else than Keras's own objects and allowed ones.
        InvalidInput
            ``bad-model``: Keras cannot build it; ``model-mismatch``: what it builds has other weights than the plan;
            ``custom-layer-missing``.
        """
        import keras

        allowed = model_safety.import_allowed(allowed_custom)
        model_safety.check_objects(self.model, allowed)
        model_safety.check_objects(self.compiling, allowed)
        compiling = copy.deepcopy(self.compiling)
        schedule = self.learning_rate_schedule
        try:
            if schedule is not None:
                first = keras.saving.deserialize_keras_object(copy.deepcopy(schedule))(0)
                _optimizer_settings(compiling)["learning_rate"] = float(keras.ops.convert_to_numpy(first))
            model = keras.Model.from_config(copy.deepcopy(self.model))
            built = {path: _spec(path, variable) for path, variable in weights_by_path(model).items()}
            model.compile_from_config(compiling)
        except InvalidInput:
            raise
        except Exception as error:  # Keras raises whatever the configuration provokes
            raise InvalidInput(
                f"Keras {keras.__version__} cannot build the model of the plan: {str(error).strip()[:500]}",
                code="bad-model",
                hint="Use the same version of Keras in the notebook and on the nodes.",
            ) from error
        for spec in self.weights:
            if built.pop(spec.path, None) != spec:
                raise self._mismatch(spec.path)
        if built:
            raise self._mismatch(next(iter(built)))
        return model

    def _mismatch(self, path: str) -> InvalidInput:
        return InvalidInput(
            f"The model built from the plan differs from the plan in the weight {path!r}.",
            code="model-mismatch",
            hint="Use the same versions of Keras and of custom layers in the notebook and on the nodes.",
        )

    # ---- weights as one vector --------------------------------------------------------------------------------------

    def vector_of(self, model: keras.Model) -> NDArray[Any]:
        """Return `model`'s weights as one vector.

        Returns
        -------
        ndarray of shape (p,) and `dtype`

        Raises
        ------
        InvalidInput
            Code ``other-model``: `model` has not the plan's weights.
        """
        variables = self.variables(model)
        vector = np.empty(self.parameters, self.dtype)
        for spec, part, variable in zip(self.weights, self.parts(), variables, strict=True):
            vector[part] = np.asarray(variable).reshape(spec.size)
        return vector

    def assign(self, model: keras.Model, vector: NDArray[Any]) -> None:
        """Set `model`'s weights from a vector of shape (p,).

        Raises
        ------
        InvalidInput
            ``other-model``; ``wrong-weights``: another shape.
        """
        if vector.shape != (self.parameters,):
            raise InvalidInput(
                f"The weights have shape {vector.shape}; the plan has ({self.parameters},).", code="wrong-weights"
            )
        variables = self.variables(model)
        for spec, part, variable in zip(self.weights, self.parts(), variables, strict=True):
            variable.assign(vector[part].reshape(spec.shape))

    def parts(self) -> list[slice]:
        """Return where each weight is in the vector, in the order of `weights`."""
        ends = np.cumsum([spec.size for spec in self.weights]).tolist()
        return [slice(end - spec.size, end) for spec, end in zip(self.weights, ends, strict=True)]

    def variables(self, model: keras.Model) -> list[keras.Variable]:
        """Return `model`'s variables in the order of `weights`.

        Raises
        ------
        InvalidInput
            Code ``other-model``: `model` has not the plan's weights.
        """
        found = weights_by_path(model)
        expected = {spec.path: spec.shape for spec in self.weights}
        if {path: tuple(variable.shape) for path, variable in found.items()} != expected:
            differ = sorted(found.keys() ^ expected.keys()) or ["of other shapes"]
            raise InvalidInput(
                f"Model {model.name!r} is not the model of the plan; weights that differ: {', '.join(differ[:5])}.",
                code="other-model",
            )
        return [found[spec.path] for spec in self.weights]


def columns_digest(description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the columns of a data set's description: names, types and order, and the target."""
    described = {name: description.get(name) for name in ("features", "target")}
    text = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Keep Keras from importing TensorFlow, with another backend, only to see that an object is none of its types.

    For each object that it writes down Keras asks whether TensorFlow is there, which costs seconds and hundreds of
    megabytes wherever it is installed.
    """
    from keras.src.utils import module_utils

    lazy: Any = getattr(module_utils, "tensorflow", None)
    if "tensorflow" in sys.modules or getattr(lazy, "_available", True) is not None:
        yield
        return
    lazy._available = False
    try:
        yield
    finally:
        lazy._available = None


def weights_by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """Return every weight of a functional or sequential model, shared ones once.

    The same architecture gives the same paths in the same order in every process; see the module's docstring.
    """
    found: dict[str, keras.Variable] = {}
    seen: set[int] = set()
    _collect(model, "", found, seen)
    loose = [variable.path for variable in model.weights if id(variable) not in seen]
    if loose:
        raise InvalidInput(
            f"The weight {loose[0]!r} belongs to the model itself and to none of its layers.",
            code="not-functional",
            hint="Put it into a layer; nodes rebuild models from their layers.",
        )
    return found


def _collect(model: keras.Model, prefix: str, found: dict[str, keras.Variable], seen: set[int]) -> None:
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _collect(layer, f"{prefix}{layer.name}/", found, seen)
            continue
        if isinstance(layer, keras.layers.Normalization):
            seen.update(id(variable) for variable in layer.weights)  # see _settle
            continue
        for variable in layer.weights:
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            path = stem = f"{prefix}{layer.name}/{_place(layer.name, variable)}"
            count = 0
            while path in found:
                count += 1
                path = f"{stem}_{count}"
            found[path] = variable


def _place(layer: str, variable: keras.Variable) -> str:
    """Where in `layer` the variable is: names of inner layers without the numbers that Keras counts up."""
    _, inside, rest = f"/{variable.path}".rpartition(f"/{layer}/")
    *inner, name = (rest if inside else variable.path).split("/")
    return "/".join([*(_COUNTED.sub("", part) for part in inner), name])


def _spec(path: str, variable: keras.Variable) -> WeightSpec:
    dtype = str(variable.dtype)
    if dtype not in _DTYPES:
        raise InvalidInput(
            f"The weight {path!r} is of dtype {dtype}; a federation averages weights, and the average of integers is "
            f"none. Allowed are {', '.join(_DTYPES)}.",
            code="integer-weights",
            hint='Make it dtype="float32", or keep counters out of the weights.',
        )
    return WeightSpec(path, tuple(int(n) for n in variable.shape), dtype)


def _architecture(model: keras.Model) -> dict[str, Any]:
    import keras

    try:
        if isinstance(model, keras.Sequential):
            ends = (model.inputs[0], model.outputs[0])
        else:
            ends = (model.input, model.output)
        # Through Keras's own class: a subclass or a Sequential writes something else, or more.
        config: dict[str, Any] = keras.Model(*ends, name=model.name).get_config()
    except (AttributeError, ValueError, TypeError) as error:
        raise InvalidInput(
            f"Model {model.name!r} is not a functional Keras model, or one of its layers has no get_config(): {error}",
            code="not-functional",
            hint="Build it from keras.Input and layers: FederatedModel(inputs=..., outputs=...).",
        ) from error
    config["trainable"] = model.trainable
    _settle(model, config)
    for tensor in model.inputs:
        if tensor.shape[0] is not None:
            raise InvalidInput(
                f"Input {tensor.name!r} has the fixed batch size {tensor.shape[0]}; nodes have other numbers of rows.",
                code="fixed-batch",
                hint="Use keras.Input(shape=...) without batch_size.",
            )
    plain: dict[str, Any] = _json(_plain(config))
    return plain


def _settle(model: keras.Model, config: dict[str, Any]) -> None:
    """Write into `config` what preprocessing layers have adapted to, which Keras keeps beside it.

    A `Normalization` computes its constants when it is built or adapted, not when its variables are assigned: given as
    weights they would have no effect in a rebuilt model.
    """
    import keras

    layers = {layer.name: layer for layer in model.layers}
    for entry in config["layers"]:
        settings = entry["config"]
        layer = layers.get(settings.get("name"))
        if isinstance(layer, keras.Model) and "layers" in settings:
            _settle(layer, settings)
        elif isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            settings["mean"] = np.asarray(layer.adapt_mean).tolist()
            settings["variance"] = np.asarray(layer.adapt_variance).tolist()
        elif hasattr(layer, "get_vocabulary") and settings.get("vocabulary") is None:
            raise InvalidInput(
                f"Layer {settings.get('name')!r} has learned its vocabulary by adapt(), which cannot be sent.",
                code="adapted-layer",
                hint="Make it with the vocabulary: vocabulary=layer.get_vocabulary(include_special_tokens=False).",
            )


def _plain(value: Any) -> Any:
    """`value` with every nested FederatedModel written as the plain Keras model that it is."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(item) for key, item in value.items() if key != "compile_config"}
    if plain.get("registered_name") == "flaas_jupyter>FederatedModel":
        graph = {key: item for key, item in plain["config"].items() if key in _MODEL_KEYS}
        plain |= {"module": "keras.src.models.functional", "class_name": "Functional", "config": graph}
        plain["registered_name"] = "Functional"
    return plain


def _compile_config(model: keras.Model) -> dict[str, Any]:
    import keras

    _refuse_disguised(model.loss)
    config = {key: model.get_compile_config().get(key) for key in _COMPILE_KEYS}
    config["optimizer"] = keras.optimizers.serialize(model.optimizer)
    plain: dict[str, Any] = _json(config)
    return plain


def _refuse_disguised(loss: Any) -> None:
    """A function of one's own that has the name of one of Keras's would come back as Keras's."""
    import keras

    for function in keras.tree.flatten(loss):
        name = getattr(function, "__name__", "")
        own = getattr(function, "__module__", "") or ""
        if callable(function) and model_safety.is_builtin_function(name) and not own.startswith("keras."):
            raise InvalidInput(
                f"The loss {own}.{name} has the name of one of Keras's own, which nodes would use in its place.",
                code="disguised-loss",
                hint="Give it another name and register it, or use Keras's.",
            )


def _optimizer_settings(compiling: dict[str, Any]) -> dict[str, Any]:
    """The optimizer's own settings, also inside a `LossScaleOptimizer`."""
    config: Any = compiling["optimizer"]
    while isinstance(config, dict) and isinstance(config.get("config"), dict):
        settings: dict[str, Any] = config["config"]
        if "inner_optimizer" not in settings:
            return settings
        config = settings["inner_optimizer"]
    return {}


def _json(value: Any) -> Any:
    """`value` as it looks after it has travelled: tuples are lists, keys are text."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"The model's configuration cannot be written as JSON: {error}.",
            code="not-functional",
            hint="get_config() of custom layers must return numbers, text, lists and dictionaries.",
        ) from error


def _read_specs(data: Any) -> tuple[WeightSpec, ...]:
    specs = []
    for entry in data if isinstance(data, list) else [None]:
        match entry:
            case [str(path), [*shape], str(dtype)] if (
                path and dtype in _DTYPES and all(type(n) is int and 0 <= n < 1 << 40 for n in shape)
            ):
                specs.append(WeightSpec(path, tuple(shape), dtype))
            case _:
                raise _bad_plan("its weights must be a list of [path, shape, dtype]")
    if not specs or len({spec.path for spec in specs}) != len(specs):
        raise _bad_plan("its weights must be at least one, each listed once")
    return tuple(specs)


def _check_bytes(canonical: bytes) -> None:
    if len(canonical) > model_safety.MAX_BYTES:
        raise InvalidInput(
            f"The training plan takes {len(canonical):,} bytes; allowed are {model_safety.MAX_BYTES:,}.",
            code="plan-too-large",
            hint="Large constants belong into weights, not into the configuration.",
        )


def _bad_plan(what: str) -> InvalidInput:
    return InvalidInput(f"The training plan is not acceptable: {what}.", code="bad-plan")
