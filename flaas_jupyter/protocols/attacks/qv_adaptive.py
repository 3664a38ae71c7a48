"""The attack tailored to FedQV, of its own evaluation: a wrong model under a believable similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..aggregation.fedqv import price
from ..aggregation.similarity import cosines_with, minmax
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
        votes = np.sqrt(price(minmax(_similarities(view)), self.theta) * view.num_examples)
        if not votes.any():
            votes = np.ones(len(view.own))
        return as_rows(-(votes / votes.sum()) @ view.own, view.own)

    def report(self, view: AttackView, crafted: Array) -> Vector:
        """Report the middle of the attackers' honest similarities; see `Attack.report`."""
        honest = _similarities(view)
        return np.full(len(crafted), (honest.min() + honest.max()) / 2)


def _similarities(view: AttackView) -> Vector:
    """Return the attackers' honest similarities, shape (f,)."""
    return cosines_with(view.own, view.reference.astype(np.float64))[0]
