"""Krum: the one model that lies closest to its nearest neighbours.

score(i) = Σ ‖w_i − w_j‖² over the n − f − 2 models nearest to w_i, f the number of malicious clients assumed; the
model of the lowest score is taken, of equal scores the first. O(n² p) time in BLAS, O(n · block + n²) memory.

Section 4 of Blanchard, El Mhamdi, Guerraoui and Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent", NeurIPS 2017; its Proposition 4.2 asks for n ≥ 2f + 3.

Defends against f clients that send arbitrary values. Does not defend against attacks that stay as close as the
honest models are to each other (Krum attack, Min-Max), nor against backdoors; learns from one client a round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .checks import is_count, require_option
from .distances import squared_distances
from .rule import Aggregated, Cohort, Needs, Rule


def assumed_byzantine(byzantine: int | None, clients: int, rule: str) -> int:
    """Return f: as given, or the largest that n clients allow, ⌊(n − 3) / 2⌋.

    Raises
    ------
    InvalidInput
        Code ``too-few-clients``: n < 2f + 3.
    """
    assumed = max(0, (clients - 3) // 2) if byzantine is None else int(byzantine)
    needed = 2 * assumed + 3
    if clients < needed:
        possible = (clients - 3) // 2
        raise InvalidInput(
            f"{rule} against f = {assumed} malicious clients needs n ≥ 2f + 3 = {needed} clients; got n = {clients}.",
            code="too-few-clients",
            hint=f"Lower byzantine to {possible}, or let more clients take part."
            if possible >= 0
            else "Let more clients take part, or choose another rule.",
            clients=clients,
            byzantine=assumed,
            needed=needed,
        )
    return assumed


def scores(distances: NDArray[np.float64], byzantine: int) -> NDArray[np.float64]:
    """Return Krum's score of each client, shape (n,), from the squared distances (n, n)."""
    others = np.sort(distances + np.diag(np.full(len(distances), np.inf)), axis=1)
    score: NDArray[np.float64] = others[:, : len(distances) - byzantine - 2].sum(axis=1)
    return score


@dataclass
class Krum(Rule):
    """The model with the smallest sum of squared distances to its nearest neighbours.

    Parameters
    ----------
    byzantine : int, optional
        Number f of malicious clients assumed; by default the largest that the cohort allows, ⌊(n − 3) / 2⌋.
    """

    name: ClassVar[str] = "krum"
    needs: ClassVar[Needs] = Needs.UPDATES
    summary: ClassVar[str] = "The one model that lies closest to its nearest neighbours."
    defends: ClassVar[str] = "Arbitrary models from fewer than half of the clients, (n − 3) / 2 at most."
    limits: ClassVar[str] = "Models crafted to lie among the honest ones pass; learns from one client a round."

    byzantine: int | None = None

    def __post_init__(self) -> None:
        require_option(
            self.byzantine is None or is_count(self.byzantine),
            self.name,
            "byzantine",
            self.byzantine,
            "None or an integer of at least 0",
        )

    def least_models(self, malicious: int) -> int:
        """Return 2f + 3."""
        return 2 * malicious + 3

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the chosen client's model; its contribution is 1."""
        byzantine = assumed_byzantine(self.byzantine, len(cohort), "Krum")
        score = scores(squared_distances(cohort), byzantine)
        chosen = int(score.argmin())
        contributions = np.zeros(len(cohort))
        contributions[chosen] = 1.0
        return Aggregated(cohort.updates[chosen].astype(np.float64), contributions, {"score": score})
