"""Neurotoxin: a backdoor hidden in the weights that the others hardly change, so that it lasts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .attack import Array, AttackView, require_number
from .backdoor import Backdoor


@dataclass(frozen=True)
class Neurotoxin(Backdoor):
    """Trains a backdoor in the weights outside the top `top` share by size of the last global change.

    The last change, w^{t−1} − w^{t−2}, stands for what benign clients are about to change; in the first round nothing
    is masked. The paper takes the top share of every layer; here it is that of the whole model, which needs no
    knowledge of layers.

    Parameters
    ----------
    top : float
        Share of the weights left alone, from 0 and below 1; the paper's mask ratio is 1 − top = 0.95.
    norm : float, optional
        Bound on the L2 norm of the update sent, as the paper's attackers keep to a server's norm clipping.
    """

    top: float = 0.05
    norm: float | None = None

    name: ClassVar[str] = "neurotoxin"
    knowledge: ClassVar[str] = "the last two global models"
    paper: ClassVar[str] = "Zhang et al., ICML 2022"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.top, "top", 0, 1 - 1e-9)
        if self.norm is not None:
            require_number(self.norm, "norm", 0, above=True)

    def mask(self, reference: Array, previous: Array | None) -> NDArray[np.bool_] | None:
        """Allow the weights that changed least in the last round; see `Attack.mask`."""
        untouched = math.ceil(self.top * len(reference))
        if previous is None or not untouched:
            return None
        change = np.abs(reference.astype(np.float64) - previous)
        allowed = np.ones(len(reference), dtype=bool)
        allowed[np.argpartition(change, -untouched)[-untouched:]] = False
        return allowed

    def craft(self, view: AttackView) -> Array:
        """Keep to the mask, whatever the trainer did, and to the norm; see `Attack.craft`."""
        update = view.own.astype(np.float64) - view.reference
        allowed = self.mask(view.reference, view.previous)
        if allowed is not None:
            update *= allowed
        if self.norm is not None:
            lengths = np.linalg.norm(update, axis=1, keepdims=True)
            update *= np.minimum(1, self.norm / np.maximum(lengths, np.finfo(np.float64).tiny))
        return np.asarray(view.reference + update).astype(view.own.dtype)
