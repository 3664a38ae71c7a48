"""Gaussian attack: noise in place of learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .attack import Array, Attack, AttackView, require_choice, require_number


@dataclass(frozen=True)
class Gaussian(Attack):
    """Sends the trained weights plus noise, w + N(0, σ²) on every weight.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise, above 0.
    variant : str
        ``"paper"``, or ``"released"``: FedQV's code cuts the noise to whole numbers towards 0, which leaves 68 % of
        the weights as they are for σ = 1.
    """

    sigma: float = 1.0
    variant: str = "paper"

    name: ClassVar[str] = "gaussian"
    knowledge: ClassVar[str] = "nothing more"
    measured_by: ClassVar[str] = "loss of accuracy"
    paper: ClassVar[str] = "Blanchard et al., NeurIPS 2017; Fang et al., USENIX Security 2020, section 4.1"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.sigma, "sigma", 0, above=True)
        require_choice(self.variant, "variant", ("paper", "released"))

    def craft(self, view: AttackView) -> Array:
        """Add independent noise to each malicious client's weights; see `Attack.craft`."""
        noise = view.rng.normal(0, self.sigma, view.own.shape)
        return (view.own + (np.trunc(noise) if self.variant == "released" else noise)).astype(view.own.dtype)
