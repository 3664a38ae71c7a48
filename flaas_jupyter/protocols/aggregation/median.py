"""Coordinate-wise median: each parameter's middle value; with an even number, the mean of the two middle ones.

O(n log² n · p) comparisons in vector instructions (a sorting network, see `order`), O(n · block) memory.

Definition 1 of Yin, Chen, Ramchandran and Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", ICML 2018.

Defends against arbitrary values from fewer than half of the clients. Does not defend against shifts within the
honest spread, repeated over rounds, and is biased when honest data differ much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .order import kept_counts, middle
from .rule import Aggregated, Cohort, Needs, Rule


@dataclass
class Median(Rule):
    """Median of each parameter.

    Parameters
    ----------
    weighted : bool
        Take the weighted median by numbers of examples: the value at which half of the examples is reached.
    """

    name: ClassVar[str] = "median"
    needs: ClassVar[Needs] = Needs.UPDATES
    summary: ClassVar[str] = "Median of each parameter over the clients."
    defends: ClassVar[str] = "Arbitrary values from fewer than half of the clients."
    limits: ClassVar[str] = "Shifts within the honest spread pass; biased when honest data differ much."

    weighted: bool = False

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the median.

        A client's contribution is the share of parameters that have its value; of two middle values each counts
        half, and clients that sent the same one share it.
        """
        parameters = cohort.updates.shape[1]
        weights = np.empty(parameters)

        def median_of_block(block: slice) -> NDArray[np.float64]:
            rows = cohort.updates[:, block]
            if self.weighted:
                weights[block], counts = _weighted_median(rows, cohort.shares)
                return counts
            values = middle(rows, (len(rows) - 1) // 2)
            weights[block] = values.mean(axis=0, dtype=np.float64)
            return kept_counts(rows, values) / len(values)

        counts = sum(cohort.each_block(median_of_block), start=np.zeros(len(cohort)))
        return Aggregated(weights, counts / parameters)


def _weighted_median(
    rows: NDArray[Any], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted medians (b,) and of how many columns each row gave the value (n,)."""
    order = np.argsort(rows, axis=0, kind="stable")
    reached = np.cumsum(shares[order], axis=0)
    half = 0.5 - 1e-12  # sums of shares are not exact
    low = (reached >= half).argmax(axis=0)
    high = (reached > 1.0 - half).argmax(axis=0)
    columns = np.arange(rows.shape[1])
    lower, upper = (rows[order[place, columns], columns].astype(np.float64) for place in (low, high))
    counts = np.zeros(len(rows))
    for value in (lower, upper):
        owners = (rows == value) * shares[:, None]
        counts += 0.5 * (owners / owners.sum(axis=0)).sum(axis=1)
    return (lower + upper) / 2, counts
