"""Federated averaging: the mean of the clients' models, weighted by their numbers of examples.

w ← Σ (n_k / n) w_k. O(n·p) time in one walk over the updates, O(p) memory.

Algorithm 1 of McMahan, Moore, Ramage, Hampson and Agüera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017.

Defends against nothing: one client that sends large weights, or claims many examples, moves the mean anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .rule import Aggregated, Cohort, Needs, Rule


@dataclass
class FedAvg(Rule):
    """Mean of the models, each weighted by its client's share of the examples; summed in float64."""

    name: ClassVar[str] = "fedavg"
    needs: ClassVar[Needs] = Needs.SUM
    summary: ClassVar[str] = "Mean of the models, weighted by the clients' numbers of examples."
    defends: ClassVar[str] = "Nothing."
    limits: ClassVar[str] = "One malicious client can move the mean anywhere."

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return Σ (n_k / n) w_k; a client's contribution is its n_k / n."""
        return Aggregated(cohort.mean(), cohort.shares)
