"""Coordinate-wise trimmed mean: each parameter's mean without its k smallest and k largest values.

k = ⌊βn⌋; O(n log² n · p) comparisons in vector instructions (a sorting network, see `order`), O(n · block) memory.

Definition 2 of Yin, Chen, Ramchandran and Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", ICML 2018. β = 0.2 as in the experiments of Chu, Garcia-Recuero, Iordanou, Smaragdakis and
Laoutaris, NDSS 2023. With ``byzantine=f`` the rule trims k = f, as Fang et al., USENIX Security 2020, do.

Defends against up to k clients that send arbitrary values. Does not defend against k + 1 of them, nor against
shifts that stay within the honest spread (Trim attack), and is biased when honest data differ much.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .checks import is_count, is_number, require_option
from .order import kept, kept_counts, middle
from .rule import Aggregated, Cohort, Needs, Rule


@dataclass
class TrimmedMean(Rule):
    """Mean of each parameter without its extremes.

    Parameters
    ----------
    beta : float
        Share of the clients trimmed at either end, in [0, 0.5): k = ⌊βn⌋.
    byzantine : int, optional
        Trim exactly this many at either end instead; needs more than twice as many clients.
    weighted : bool
        Weight what is kept by the clients' numbers of examples.
    """

    name: ClassVar[str] = "trimmed_mean"
    needs: ClassVar[Needs] = Needs.UPDATES
    summary: ClassVar[str] = "Mean of each parameter without its largest and smallest values."
    defends: ClassVar[str] = "Arbitrary values from as many clients as are trimmed at either end."
    limits: ClassVar[str] = "Shifts within the honest spread pass; honest minorities are trimmed too."

    beta: float = 0.2
    byzantine: int | None = None
    weighted: bool = False

    def __post_init__(self) -> None:
        require_option(is_number(self.beta, 0.0) and self.beta < 0.5, self.name, "beta", self.beta, "in [0, 0.5)")
        require_option(
            self.byzantine is None or is_count(self.byzantine),
            self.name,
            "byzantine",
            self.byzantine,
            "None or an integer of at least 0",
        )

    def trimmed(self, clients: int) -> int:
        """Return how many values are dropped at either end, k."""
        if self.byzantine is None:
            return math.floor(self.beta * clients + 1e-9)  # 0.29 · 100 is 28.999… in floating point
        if clients <= 2 * self.byzantine:
            raise InvalidInput(
                f"trimmed_mean with byzantine={self.byzantine} needs at least {2 * self.byzantine + 1} clients; "
                f"got {clients}.",
                code="too-few-clients",
                hint=f"Lower byzantine to {(clients - 1) // 2} or less, or let more clients take part.",
                clients=clients,
                needed=2 * self.byzantine + 1,
            )
        return int(self.byzantine)

    def on_groups(self, groups: int) -> TrimmedMean:
        """Return the rule that trims at least the one group that a malicious client spoils."""
        least = self.trimmed(groups)
        return self if least else dataclasses.replace(self, byzantine=min(self.malicious, (groups - 1) // 2))

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the trimmed mean.

        A client's contribution is its share of all values kept, with ``weighted=True`` of their weight. Clients
        that sent the same value at the border share what is kept of it.
        """
        drop = self.trimmed(len(cohort))
        parameters = cohort.updates.shape[1]
        weights = np.empty(parameters)

        def trim_block(block: slice) -> NDArray[np.float64]:
            rows = cohort.updates[:, block]
            values = middle(rows, drop)
            if self.weighted:
                parts = _weighted(kept(rows, values), cohort.num_examples)
                weights[block] = np.einsum("ij,ij->j", parts, rows)
                shares: NDArray[np.float64] = parts.sum(axis=1)
                return shares
            weights[block] = values.mean(axis=0, dtype=np.float64)
            return kept_counts(rows, values) / len(values)

        shares = sum(cohort.each_block(trim_block), start=np.zeros(len(cohort)))
        return Aggregated(weights, shares / parameters)


def _weighted(parts: NDArray[np.float64], num_examples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each client's weight in every column's mean (n, b) from the parts kept (n, b)."""
    weighted = parts * num_examples[:, None]
    # Where all that is kept is of clients without examples, they count alike.
    weighted = np.where(weighted.any(axis=0), weighted, parts)
    normalised: NDArray[np.float64] = weighted / weighted.sum(axis=0)
    return normalised
