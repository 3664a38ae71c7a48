"""The local model poisoning attacks on trimmed mean and median of Fang et al., USENIX Security 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .attack import Array, Attack, AttackView, as_rows, require_choice, require_number

RELEASED_TRIM = 0.4


@dataclass(frozen=True)
class TrimAttack(Attack):
    """Sends, coordinate by coordinate, values just beyond the benign ones, on the side they move away from.

    ``"full"`` knows all benign models. Where their mean goes up, it sends values below their minimum, drawn uniformly
    from [min / b, min] if min > 0, else [b · min, min]; where it goes down, values above their maximum, from
    [max, b · max] if max > 0, else [max, max / b]. Coordinates whose mean stands still keep it.

    ``"partial"`` knows the attackers' own trained models only: with mean μ and standard deviation σ of their updates,
    it sends w_global + μ − sign(μ) · σ · (3 + U(0, 1)). A single attacker has no σ and sends what it trained.

    Parameters
    ----------
    b : float
        How far beyond, above 1.
    variant : str
        ``"full"``, ``"partial"``, or the cruder forms of FedQV's code, in which every attacker sends the negation of
        the weights' trimmed mean (ratio 0.4 at each end, ``"released"``) or median (``"released-median"``) over all
        models, theirs included.
    """

    b: float = 2.0
    variant: str = "full"

    name: ClassVar[str] = "trim_attack"
    knowledge: ClassVar[str] = "all benign models of the round (full); own data (partial)"
    measured_by: ClassVar[str] = "loss of accuracy"
    paper: ClassVar[str] = "Fang et al., USENIX Security 2020, sections 3.3 and 3.4"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.b, "b", 1, above=True)
        require_choice(self.variant, "variant", ("full", "partial", "released", "released-median"))

    def craft(self, view: AttackView) -> Array:
        """Make up values beyond the benign ones; see `Attack.craft`."""
        if self.variant == "partial":
            return _from_own(view)
        if self.variant == "full":
            return _beyond_benign(view, self.b)
        everybody = np.concatenate([view.honest, view.own])
        centre = _trimmed_mean(everybody) if self.variant == "released" else np.median(everybody, axis=0)
        return as_rows(-centre, view.own)


def _beyond_benign(view: AttackView, b: float) -> Array:
    mean = view.honest.mean(axis=0, dtype=np.float64)
    low, high = view.honest.min(axis=0).astype(np.float64), view.honest.max(axis=0).astype(np.float64)
    direction = np.sign(mean - view.reference)
    nearer = np.where(direction > 0, low, high)
    outwards = np.where(direction > 0, low < 0, high > 0)  # whether growing in size leads away from the benign values
    farther = np.where(outwards, b * nearer, nearer / b)
    drawn = nearer + view.rng.random(view.own.shape) * (farther - nearer)
    return np.asarray(np.where(direction == 0, mean, drawn), dtype=view.own.dtype)


def _from_own(view: AttackView) -> Array:
    if len(view.own) == 1:
        return view.own
    updates = view.own.astype(np.float64) - view.reference
    mean, deviation = updates.mean(axis=0), updates.std(axis=0)
    push = np.sign(mean) * deviation * (3 + view.rng.random(view.own.shape))
    return np.asarray(view.reference + mean - push).astype(view.own.dtype)


def _trimmed_mean(models: Array) -> NDArray[np.float64]:
    cut = int(RELEASED_TRIM * len(models))
    ordered = np.sort(models, axis=0)
    kept: NDArray[np.float64] = ordered[cut : len(models) - cut].mean(axis=0, dtype=np.float64)
    return kept
