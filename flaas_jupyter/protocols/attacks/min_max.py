"""The Min-Max and Min-Sum attacks of Shejwalkar and Houmansadr, NDSS 2021: as far as may go unnoticed.

The attackers send mean − γ p, the benign mean moved against a direction p, with the largest γ whose distances to the
benign models stay within those among the benign models. The paper searches γ by halving; the condition is quadratic in
γ, so that the largest one is had in closed form here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .attack import Array, Attack, AttackView, as_rows, require_choice
from .geometry import products, squared_distances

DIRECTIONS = ("unit", "std", "sign")


@dataclass(frozen=True)
class MinMax(Attack):
    """Sends mean − γ p, not farther from any benign model than the two farthest benign models from each other.

    γ is the largest with max_i ‖w − w_i‖ ≤ max_{i,j} ‖w_i − w_j‖ over the benign models.

    Parameters
    ----------
    direction : str
        p, from the benign updates: ``"unit"``, their mean divided by its norm; ``"std"``, their standard deviation in
        each coordinate; ``"sign"``, the sign of their mean.
    """

    direction: str = "std"

    name: ClassVar[str] = "min_max"
    knowledge: ClassVar[str] = "all benign models of the round; not the rule"
    measured_by: ClassVar[str] = "loss of accuracy"
    paper: ClassVar[str] = "Shejwalkar and Houmansadr, NDSS 2021"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(self.direction, "direction", DIRECTIONS)

    def craft(self, view: AttackView) -> Array:
        """Go as far as the farthest pair permits; see `Attack.craft`."""
        mean, push = _mean_and_push(view, self.direction)
        gram, along, length = products(view.honest, mean, push)
        room = squared_distances(gram).max() - gram.diagonal()
        # ‖d_i‖² + 2γ⟨d_i,p⟩ + γ²‖p‖² ≤ D² for d_i = w_i − mean: the smallest of the larger roots, none of them negative
        roots = np.sqrt(along**2 + length * np.maximum(room, 0)) - along
        gamma = float(roots.min()) / length if length else 0.0
        return as_rows(mean - gamma * push, view.own)


@dataclass(frozen=True)
class MinSum(Attack):
    """Sends mean − γ p, whose squared distances to the benign models sum to no more than any benign model's do.

    γ is the largest with Σ_i ‖w − w_i‖² ≤ max_i Σ_j ‖w_i − w_j‖² over the benign models.

    Parameters
    ----------
    direction : str
        p, from the benign updates: ``"unit"``, their mean divided by its norm; ``"std"``, their standard deviation in
        each coordinate; ``"sign"``, the sign of their mean.
    """

    direction: str = "std"

    name: ClassVar[str] = "min_sum"
    knowledge: ClassVar[str] = "all benign models of the round; not the rule"
    measured_by: ClassVar[str] = "loss of accuracy"
    paper: ClassVar[str] = "Shejwalkar and Houmansadr, NDSS 2021"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(self.direction, "direction", DIRECTIONS)

    def craft(self, view: AttackView) -> Array:
        """Go as far as the most distant benign model's sum permits; see `Attack.craft`."""
        mean, push = _mean_and_push(view, self.direction)
        gram, _, length = products(view.honest, mean, push)
        # Σ‖d_i‖² + 2γ⟨Σd_i,p⟩ + mγ²‖p‖² ≤ S, and Σd_i = 0
        room = squared_distances(gram).sum(axis=1).max() - gram.trace()
        gamma = math.sqrt(max(room, 0) / (len(gram) * length)) if length else 0.0
        return as_rows(mean - gamma * push, view.own)


def _mean_and_push(view: AttackView, direction: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean: NDArray[np.float64] = view.honest.mean(axis=0, dtype=np.float64)
    update = mean - view.reference
    if direction == "std":
        return mean, view.honest.std(axis=0, dtype=np.float64)
    if direction == "sign":
        return mean, np.sign(update)
    return mean, update / (np.linalg.norm(update) or 1.0)
