"""Activation functions of other libraries, replaced by Keras's own where they mean the same.

Keras writes a function into a model's configuration by its bare name, so that ``jax.nn.gelu`` (approximate) comes
back as Keras's ``gelu`` (exact), and anybody's own ``relu`` as Keras's. A model that travels must not change on the
way: an activation is either Keras's, one of the table below (same name, same meaning, same defaults), a registered
function, or refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import InvalidInput

if TYPE_CHECKING:
    import keras

# Left out because their defaults differ from Keras's: jax.nn.gelu and keras.ops.gelu (approximate), leaky_relu of
# jax.nn and torch (slope 0.01), softmax and log_softmax of torch (axis by rank).
_TABLE = {
    "tensorflow.nn": "elu gelu leaky_relu log_softmax relu relu6 selu sigmoid silu softmax softplus softsign swish "
    "tanh",
    "keras.ops": "celu elu glu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log_sigmoid log_softmax relu "
    "relu6 selu sigmoid silu softmax softplus softsign sparse_plus sparse_sigmoid squareplus swish tanh",
    "jax.nn": "celu elu glu hard_sigmoid hard_silu hard_swish hard_tanh log_sigmoid log_softmax mish relu relu6 selu "
    "sigmoid silu softmax softplus sparse_plus sparse_sigmoid squareplus swish tanh",
    "torch": "celu relu selu sigmoid tanh",
    "torch.nn.functional": "celu elu gelu glu mish relu relu6 selu sigmoid silu softplus softsign tanh",
}
SAME = {library: tuple(names.split()) for library, names in _TABLE.items()}
"""Library to the names that mean in it what they mean in `keras.activations`."""


def adopt(model: keras.Model) -> None:
    """Replace the activations of `model`'s layers by Keras's own, in place.

    Raises
    ------
    InvalidInput
        Code ``foreign-activation``: a layer has a function that has no equal in Keras; the message lists what may be
        used.
    """
    for layer in model._flatten_layers(include_self=False):
        for attribute, function in list(vars(layer).items()):
            if "activation" in attribute and _is_plain_function(function):
                setattr(layer, attribute, _own(function, layer.name))


def _is_plain_function(value: Any) -> bool:
    import keras

    return callable(value) and not isinstance(value, keras.Layer | type) and not hasattr(value, "get_config")


def _own(function: Callable[..., Any], layer: str) -> Callable[..., Any]:
    import keras

    name = str(getattr(function, "__name__", function))
    own: Callable[..., Any] | None = getattr(keras.activations, name, None)
    if own is function:
        return function
    if keras.saving.get_registered_name(function) in keras.saving.get_custom_objects():
        return function
    for library, names in SAME.items():
        module = _loaded(library)
        for known in names:
            if module is not None and getattr(module, known, None) is function:
                equal: Callable[..., Any] = keras.activations.get(known)
                return equal
    whole = f"{getattr(function, '__module__', None) or '?'}.{name}"
    raise InvalidInput(
        f"Layer {layer!r} has the activation {whole}, which nodes cannot rebuild: it is not Keras's own and has no "
        f"equal of the same meaning there. Allowed are the functions of keras.activations, and of tf.nn: "
        f"{', '.join(SAME['tensorflow.nn'])}.",
        code="foreign-activation",
        hint='Use one of these, e.g. activation="relu", or register your function with '
        '@keras.saving.register_keras_serializable(package="...") and ask the nodes\' owners to allow it.',
        layer=layer,
    )


def _loaded(library: str) -> Any:
    """The namespace `library` if its package has been imported; never imports it."""
    package, *rest = library.split(".")
    module: Any = sys.modules.get(package)
    for part in rest:
        module = getattr(module, part, None)
    return module
