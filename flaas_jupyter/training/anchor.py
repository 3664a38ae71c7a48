"""Local objectives that hold on to the global weights: a proximal term, and coordinates that must not move.

The proximal term of FedProx (Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020, equation 2) adds μ/2 ‖w − w_global‖² to the local loss, which is μ (w − w_global) added to the
gradient. It is added where every Keras trainer hands gradients over, in the optimizer's `apply`, so that it works with
every backend and every loss; the loss that is reported stays the model's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras


class Anchor:
    """Holds a model's trainable weights to those a round starts from.

    Parameters
    ----------
    model : keras.Model
        Compiled and built; its optimizer is changed for good.
    """

    def __init__(self, model: keras.Model) -> None:
        self._optimizer = _innermost(model.optimizer)
        self._variables = list(model.trainable_variables)
        add = self._optimizer.add_variable_from_reference
        # Among the optimizer's own variables they are part of the state that stateless backends carry through a step.
        self._global = [add(variable, name="global") for variable in self._variables]
        self._free = [add(variable, name="free") for variable in self._variables]
        self._mu = self._optimizer.add_variable((), name="proximal")
        self._apply = self._optimizer.apply
        self._optimizer.apply = self._anchored_apply

    def set(self, proximal: float, free: list[NDArray[np.bool_]] | None) -> None:
        """Anchor at the weights that the model has now.

        Parameters
        ----------
        proximal : float
            μ; 0 for none.
        free : list of ndarray of bool, optional
            For each trainable variable, in order, the coordinates that may change; all by default.
        """
        import keras

        self._mu.assign(proximal)
        for index, (anchor, mask, variable) in enumerate(zip(self._global, self._free, self._variables, strict=True)):
            # A copy: JAX gives buffers away, each once.
            anchor.assign(keras.ops.convert_to_numpy(variable).copy())
            mask.assign(np.ones(variable.shape, np.float32) if free is None else free[index].astype(np.float32))

    def _anchored_apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        variables = self._variables if trainable_variables is None else list(trainable_variables)
        pulled = [
            None if grad is None else grad + self._mu * (variable - anchor)
            for grad, variable, anchor in zip(grads, variables, self._global, strict=True)
        ]
        applied = self._apply(pulled, trainable_variables)
        for variable, anchor, mask in zip(variables, self._global, self._free, strict=True):
            variable.assign(anchor + mask * (variable - anchor))
        return applied


def _innermost(optimizer: Any) -> Any:
    """Return the optimizer that sees unscaled gradients, inside a `LossScaleOptimizer`."""
    return getattr(optimizer, "inner_optimizer", optimizer)
