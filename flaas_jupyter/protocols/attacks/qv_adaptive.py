"""The attack tailored to FedQV, of its own evaluation: a wrong model under a believable similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .attack import Array, Attack, AttackView, Vector, as_rows, require_number


@dataclass(frozen=True)
class QVAdaptive(Attack):
    """Sends the negated FedQV aggregate of the attackers' models, and reports equal, mid-range similarities for it.

    FedQV has the clients report the cosine between their model and the global one, and mutes the most and the least
    similar. The attackers aggregate their own trained models by FedQV's votes √((1 − ln s̄) n), negate the weights, and
    all report the similarity that is nearest to all of their honest ones at once (min-max): the middle of their range,
    which the benign clients' range is likely to hold. Where fewer than three attackers or equal similarities leave
    nobody with a vote, their plain mean is negated.

    Parameters
    ----------
    theta : float
        FedQV's threshold: normalised similarities s̄ outside (θ, 1 − θ) have no vote; from 0 and below 0.5.
    """

    theta: float = 0.2

    name: ClassVar[str] = "qv_adaptive"
    knowledge: ClassVar[str] = "own data of all attackers together; that the rule is FedQV, and θ"
    measured_by: ClassVar[str] = "loss of accuracy; the attackers' share of the votes"
    paper: ClassVar[str] = "Chu et al. (FedQV), SIGMETRICS 2024, adaptive attack"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.theta, "theta", 0, 0.5 - 1e-9)

    def craft(self, view: AttackView) -> Array:
        """Negate what FedQV would make of the attackers' models; see `Attack.craft`."""
        votes = fedqv_votes(_cosines(view.own, view.reference), np.asarray(view.num_examples, np.float64), self.theta)
        if not votes.any():
            votes = np.ones(len(view.own))
        return as_rows(-(votes / votes.sum()) @ view.own, view.own)

    def report(self, view: AttackView, crafted: Array) -> Vector:
        """Report the middle of the attackers' honest similarities; see `Attack.report`."""
        honest = _cosines(view.own, view.reference)
        return np.full(len(crafted), (honest.min() + honest.max()) / 2)


def fedqv_votes(similarities: Vector, num_examples: Vector, theta: float) -> Vector:
    """Return FedQV's votes before budgets, √((1 − ln s̄) n) for θ < s̄ < 1 − θ, else 0, with s̄ the min-max of s."""
    spread = similarities.max() - similarities.min()
    normalised = (similarities - similarities.min()) / spread if spread > 0 else np.zeros_like(similarities)
    heard = (theta < normalised) & (normalised < 1 - theta)
    credits_ = np.where(heard, 1 - np.log(np.where(heard, normalised, 1)), 0)
    return np.sqrt(credits_ * num_examples)


def _cosines(rows: Array, direction: Array) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1) * np.linalg.norm(direction.astype(np.float64))
    dots = rows @ direction.astype(np.float64)
    return np.asarray(np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0), dtype=np.float64)
