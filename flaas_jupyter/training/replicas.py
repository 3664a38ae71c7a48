"""A client trains one copy of its model, in one process.

On TensorFlow, Keras's optimizers have the distribution strategy add up the gradients of all copies, also where there is
one. TensorFlow registers a gradient for that sum, under a name of its own and to the end of the process, and with it
the traced program: a node would keep 15 MB of every run of a network of four layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def without_replicas(optimizer: keras.optimizers.Optimizer) -> None:
    """Have `optimizer` take gradients as they are; before its steps are traced."""
    for each in (optimizer, getattr(optimizer, "inner_optimizer", optimizer)):
        if hasattr(each, "_all_reduce_sum_gradients"):
            each._all_reduce_sum_gradients = _as_they_are


def _as_they_are(gradients_and_variables: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return gradients_and_variables
