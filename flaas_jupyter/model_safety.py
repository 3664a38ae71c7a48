"""What may stand in a model's description before Keras is let near it.

Keras turns names in a configuration into classes and calls them, and some of its own layers run code or open files
that the configuration brings along. A node therefore reads the whole configuration first, as plain JSON, and
refuses it unless every object in it is one of Keras's own or a registered one that the node's owner allows. Nothing
is imported, and nothing is looked up by a name from outside, before that.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Collection, Iterator
from typing import Any

from .errors import InvalidInput, NotAllowed

MAX_BYTES = 2 << 20
"""Of a plan as JSON; the mesh carries 4 MiB of it at most."""
MAX_DEPTH = 100
MAX_VALUES = 500_000

_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__slice__", "__ellipsis__"}
_UNSAFE = {
    "Lambda": "carries Python code",
    "__lambda__": "carries Python code",
    "__typespec__": "names a TensorFlow class",
    "TFSMLayer": "loads a program from a file",
    "TorchModuleWrapper": "carries a pickled PyTorch module",
    "JaxLayer": "carries a Python function",
    "FlaxLayer": "carries a Python function",
}
_MODELS = {
    ("keras", "Sequential"),
    ("keras.models", "Sequential"),
    ("keras.src.models.functional", "Functional"),
    ("keras", "DTypePolicy"),
}
_FUNCTION_NAMESPACES = ("activations", "losses", "metrics", "initializers", "regularizers", "constraints")


def check_size(value: Any, what: str) -> None:
    """Refuse JSON that is nested too deep or holds too many values, without recursion.

    Raises
    ------
    InvalidInput
        Code ``plan-too-large``.
    """
    pending, seen = [(1, value)], 0
    while pending:
        depth, item = pending.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_VALUES:
            limit = f"{MAX_DEPTH} levels" if depth > MAX_DEPTH else f"{MAX_VALUES:,} values"
            raise InvalidInput(f"The {what} has more than {limit}.", code="plan-too-large")
        if isinstance(item, dict):
            pending += [(depth + 1, child) for child in item.values()]
        elif isinstance(item, list | tuple):
            pending += [(depth + 1, child) for child in item]


def import_allowed(allowed: Collection[str]) -> frozenset[str]:
    """Return the registered names in the owner's `allow_layers`, and import the modules named with them.

    Parameters
    ----------
    allowed : collection of str
        ``"package>Layer"``, or ``"module:package>Layer"`` where importing ``module`` registers the layer.

    Raises
    ------
    InvalidInput
        Code ``custom-layer-missing``: a module cannot be imported here.
    """
    names = set()
    for entry in allowed:
        module, _, name = entry.rpartition(":")
        names.add(name)
        if module:
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise InvalidInput(
                    f"allow_layers in node.toml names the module {module!r}, which cannot be imported: {error}.",
                    code="custom-layer-missing",
                    hint="The node's owner installs the module in the node's environment.",
                ) from error
    return frozenset(names)


def check_objects(config: Any, allowed: Collection[str] | None) -> None:
    """Refuse a configuration that holds anything but Keras's own objects and allowed registered ones.

    Parameters
    ----------
    config : JSON value
        A model's or a compile configuration, as serialised by Keras.
    allowed : collection of str, or None
        Registered names the owner allows (``"package>Layer"``). None allows whatever is registered in this process:
        for the notebook, which refuses only what no node can take.

    Raises
    ------
    NotAllowed
        Code ``custom-layer``: the message names the layer and says what the node's owner may do.
    InvalidInput
        ``custom-layer-missing``: allowed, but its code is not there; ``bad-model``: not a Keras configuration.
    """
    import keras

    registered = keras.saving.get_custom_objects()
    for where, value in _walk(config):
        if isinstance(value, str):
            # A string may stand for a registered function, e.g. as an activation.
            if value in registered:
                _check_custom(where, value, allowed, registered)
        elif "class_name" in value:
            _check_object(where, value, allowed, registered)


def is_builtin_function(name: str) -> bool:
    """Tell whether Keras finds a function of its own under `name`."""
    import keras

    return name not in ("get", "serialize", "deserialize") and any(
        isinstance(getattr(getattr(keras, space), name, None), types.FunctionType) for space in _FUNCTION_NAMESPACES
    )


def _walk(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield every dictionary and string with the name of the object it stands in."""
    pending = [("the model", config)]
    while pending:
        where, item = pending.pop()
        if isinstance(item, dict):
            inner = item.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            if "class_name" in item and isinstance(name, str):
                where = f"{name[:80]!r}"
            yield where, item
            pending += [(where, child) for child in item.values()]
        elif isinstance(item, list | tuple):
            pending += [(where, child) for child in item]
        elif isinstance(item, str):
            yield where, item


def _check_object(where: str, item: dict[str, Any], allowed: Collection[str] | None, registered: Any) -> None:
    name, module, key = item["class_name"], item.get("module"), item.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(key, str | None):
        raise _bad(where, "names a class by something that is not text")
    if name in _VALUES:
        return
    if name in _UNSAFE:
        raise NotAllowed(
            f"{where} in the model is a {name}, which {_UNSAFE[name]}; no node runs what it is sent.",
            code="custom-layer",
            hint="Write it with keras.ops in the model's graph, or as a registered layer that the nodes' owners "
            "install and list in allow_layers of node.toml.",
            layer=where,
            class_name=name,
        )
    if name == "function":
        function = item.get("config")
        if not isinstance(function, str):
            raise _bad(where, "names a function by something that is not text")
        if function in registered or not is_builtin_function(function):
            _check_custom(where, function, allowed, registered)
        return
    if not _is_builtin_class(module, name) or key not in (None, name):
        _check_custom(where, key or name, allowed, registered)
        return
    inner = item.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        raise NotAllowed(
            f"{where} in the model reads its vocabulary from a file; a node opens no file that it is told of.",
            code="custom-layer",
            hint="Pass the vocabulary as a list.",
            layer=where,
            class_name=name,
        )


def _check_custom(where: str, name: str, allowed: Collection[str] | None, registered: Any) -> None:
    if allowed is not None and name not in allowed:
        raise NotAllowed(
            f"{where} in the model uses {name[:120]!r}, which is not Keras's own and not allowed on this node.",
            code="custom-layer",
            hint=f'The node\'s owner may install its code and add "{name[:120]}" to allow_layers in node.toml.',
            layer=where,
            registered_name=name[:120],
        )
    if name in registered:
        return
    if allowed is None:
        raise NotAllowed(
            f"{where} in the model uses {name[:120]!r}, which is not Keras's own and not registered, so that no node "
            "can load it.",
            code="custom-layer",
            hint="Use a layer or function of Keras, or register it with "
            '@keras.saving.register_keras_serializable(package="...") and ask the nodes\' owners to allow it.',
            layer=where,
            registered_name=name[:120],
        )
    raise InvalidInput(
        f"{where} in the model uses {name[:120]!r}, which is allowed on this node but not installed.",
        code="custom-layer-missing",
        hint=f'The node\'s owner lists it with its module: allow_layers = ["module:{name[:120]}"].',
    )


def _is_builtin_class(module: str | None, name: str) -> bool:
    import keras

    if module is None:
        return False
    if (module, name) in _MODELS:
        return True
    bases = {
        "keras.layers": keras.Layer,
        "keras.losses": keras.Loss,
        "keras.metrics": keras.Metric,
        "keras.optimizers": keras.Optimizer,
        "keras.optimizers.schedules": keras.optimizers.schedules.LearningRateSchedule,
        "keras.initializers": keras.Initializer,
        "keras.regularizers": keras.Regularizer,
        "keras.constraints": keras.constraints.Constraint,
        "keras.dtype_policies": keras.DTypePolicy,
        "keras.random": keras.random.SeedGenerator,
    }
    if module in bases:
        found = getattr(sys.modules.get(module), name, None)
        return isinstance(found, type) and issubclass(found, bases[module])
    if module.startswith("keras.src.ops."):
        # Operations in a functional graph (x + y, keras.ops.*) are written with the module they are defined in.
        found = getattr(sys.modules.get(module), name, None)
        return isinstance(found, type) and issubclass(found, keras.Operation) and found.__module__ == module
    return False


def _bad(where: str, what: str) -> InvalidInput:
    return InvalidInput(f"{where} in the model {what}.", code="bad-model")
