"""Federated averaging: the mean of the clients' models, weighted by their numbers of examples.

Algorithm 1 of McMahan, Moore, Ramage, Hampson and Agüera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017: w ← Σ (n_k / n) w_k.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .rule import Aggregated, Cohort, Needs, Rule


class FedAvg(Rule):
    """Mean of the models, each weighted by its client's share of the examples; summed in float64."""

    needs: ClassVar[Needs] = Needs.SUM

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return Σ (n_k / n) w_k; a client's contribution is its n_k / n."""
        shares = cohort.num_examples / cohort.num_examples.sum()
        weights = np.empty(cohort.updates.shape[1], dtype=np.float64)
        for block in cohort.blocks():
            np.matmul(shares, cohort.updates[:, block], out=weights[block])  # float64, since the shares are
        return Aggregated(weights, shares)
