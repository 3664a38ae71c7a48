"""What a round's models say about the clients that sent them, in subjective logic.

Every parameter is regressed on its rank among the clients (`regression`). With Pos_m and Neg_m the numbers of client
m's parameters inside (confidence ≥ δ) and outside of the bound, belief is b = κ Pos / D and uncertainty u = W / D,
D = κ Pos + (1−κ) Neg + W; the opinion of the client is R̃ = b + a u. Steps D and F of Chu et al., NDSS 2023
(arXiv 2201.13086), as far as `reputation` and `fedqv_reputation` share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .checks import is_number, require_option
from .regression import RankRegression
from .rule import Cohort, Needs, Rule
from .similarity import minmax

VARIANTS = ("paper", "released-2024")


@dataclass
class OpinionRule(Rule):
    """Base of the rules that form an opinion of each client.

    Parameters
    ----------
    lam : float
        λ of the confidence, above 0; the larger, the more is trusted.
    delta : float
        Confidence δ from which a value is inside of the bound, in [0, 1].
    kappa : float
        Weight κ of positive evidence, in [0, 1]; negative evidence has 1 − κ.
    W : float
        Weight of the prior, above 0.
    a : float
        The prior, in [0, 1].
    variant : str
        "paper", or "released-2024", which counts positive and negative evidence the other way round.
    """

    needs: ClassVar[Needs] = Needs.UPDATES
    judges_clients: ClassVar[bool] = True

    lam: float = 2.0
    delta: float = 0.1
    kappa: float = 0.3
    W: float = 2.0
    a: float = 0.5
    variant: str = "paper"

    def __post_init__(self) -> None:
        for option in ("lam", "W"):
            value = getattr(self, option)
            require_option(is_number(value, 0.0) and value > 0, self.name, option, value, "a number above 0")
        for option in ("delta", "kappa", "a"):
            value = getattr(self, option)
            require_option(is_number(value, 0.0, 1.0), self.name, option, value, "in [0, 1]")
        allowed = " or ".join(map(repr, VARIANTS))
        require_option(self.variant in VARIANTS, self.name, "variant", self.variant, allowed)

    def least_models(self, malicious: int) -> int:
        """Return 2f + 1, and no fewer than four: three have no line to be out of."""
        return max(4, 2 * malicious + 1)

    def judge(self, cohort: Cohort, prior: float) -> tuple[RankRegression, NDArray[np.float64]]:
        """Return the fitted regression and the opinion R̃ of each client, shape (n,), with `prior` for a."""
        regression = RankRegression(cohort, self.lam, type(self).__name__)

        def within(order: NDArray[np.intp], confidence: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(order[confidence >= self.delta], minlength=len(cohort)).astype(np.float64)

        inside = regression.fit(within)
        outside = cohort.updates.shape[1] - inside
        if self.variant == "released-2024":
            inside, outside = outside, inside
        return regression, opinion(inside, outside, self.kappa, self.W, prior)


def opinion(
    positive: NDArray[np.float64], negative: NDArray[np.float64], kappa: float, weight: float, prior: float
) -> NDArray[np.float64]:
    """Return R̃ = b + a u of evidence counted per client, shape (n,); `weight` is W, `prior` a."""
    believed = kappa * positive
    held: NDArray[np.float64] = (believed + prior * weight) / (believed + (1.0 - kappa) * negative + weight)
    return held


def significant(reputations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return reputations brought to [0, 1] over the clients, those below 1/M set to 0; shape (n,)."""
    scaled = minmax(reputations)
    scaled[scaled < 1.0 / len(scaled)] = 0.0
    return scaled
