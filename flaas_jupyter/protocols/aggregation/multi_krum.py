"""Multi-Krum: the mean of the m models that lie closest to their nearest neighbours.

Scores as in Krum; the m = n − f − 2 models of the lowest scores are averaged, of equal scores the first.
O(n² p) time in BLAS, O(n · block + n²) memory.

Section 5 of Blanchard, El Mhamdi, Guerraoui and Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent", NeurIPS 2017.

Defends against f clients that send arbitrary values, and learns from more clients than Krum. Does not defend against
attacks that stay as close as the honest models are to each other, nor against backdoors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .checks import is_count, require_option
from .distances import squared_distances
from .krum import assumed_byzantine, scores
from .rule import Aggregated, Cohort, Needs, Rule


@dataclass
class MultiKrum(Rule):
    """Mean of the models with the smallest Krum scores.

    Parameters
    ----------
    byzantine : int, optional
        Number f of malicious clients assumed; by default the largest that the cohort allows, ⌊(n − 3) / 2⌋.
    m : int, optional
        How many models are averaged, at most all; by default n − f − 2.
    weighted : bool
        Weight the chosen models by their clients' numbers of examples.
    """

    name: ClassVar[str] = "multi_krum"
    needs: ClassVar[Needs] = Needs.UPDATES
    summary: ClassVar[str] = "Mean of the models that lie closest to their nearest neighbours."
    defends: ClassVar[str] = "Arbitrary models from fewer than half of the clients, (n − 3) / 2 at most."
    limits: ClassVar[str] = "Models crafted to lie among the honest ones pass; honest minorities are left out."

    byzantine: int | None = None
    m: int | None = None
    weighted: bool = False

    def __post_init__(self) -> None:
        for option, least in (("byzantine", 0), ("m", 1)):
            value = getattr(self, option)
            fine = value is None or is_count(value, least)
            require_option(fine, self.name, option, value, f"None or an integer of at least {least}")

    def least_models(self, malicious: int) -> int:
        """Return 2f + 3."""
        return 2 * malicious + 3

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the mean of the chosen models; a client's contribution is its weight in it."""
        byzantine = assumed_byzantine(self.byzantine, len(cohort), "Multi-Krum")
        wanted = len(cohort) - byzantine - 2 if self.m is None else self.m
        require_option(wanted <= len(cohort), self.name, "m", self.m, f"at most the number of clients, {len(cohort)}")
        score = scores(squared_distances(cohort), byzantine)
        chosen = np.argsort(score, kind="stable")[:wanted]
        contributions = np.zeros(len(cohort))
        contributions[chosen] = cohort.num_examples[chosen] if self.weighted else 1.0
        if not contributions.any():
            contributions[chosen] = 1.0  # all chosen are without examples
        contributions /= contributions.sum()
        return Aggregated(cohort.combine(contributions), contributions, {"score": score})
