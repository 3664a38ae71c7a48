"""Residual-based reweighting: clients whose parameters lie out of line count less.

Every parameter is regressed on its rank among the clients (`regression`), which gives each value a confidence and
replaces those below δ. weight_m = (S_m / max S)², S_m = Σ_n conf_{m,n} · std_n, std_n being the spread of the
confidences of parameter n; normalised to sum 1. Where all confidences are equal the clients count alike.
O(n² log² n · p) time, O(n · block + p) memory; at least four clients.

Fu, Xie, Li and Chen, "Attack-Resistant Federated Learning with Residual-based Reweighting", 2019 (arXiv 1912.11464),
with λ = 2 and δ = 0.1.

Defends against a minority whose parameters stand out, label flipping among them. Does not defend against backdoors
by many clients, nor shifts within the honest spread; remembers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .checks import is_number, require_option
from .regression import RankRegression
from .rule import Aggregated, Cohort, Needs, Rule


@dataclass
class Residual(Rule):
    """Mean of corrected models, weighted by how well their parameters are in line.

    Parameters
    ----------
    lam : float
        λ of the confidence, above 0; the larger, the more is trusted.
    delta : float
        Confidence δ below which a value is replaced, in [0, 1].
    """

    name: ClassVar[str] = "residual"
    needs: ClassVar[Needs] = Needs.UPDATES
    judges_clients: ClassVar[bool] = True
    summary: ClassVar[str] = "Corrects parameters out of line and weights clients by how well theirs are in line."
    defends: ClassVar[str] = "A minority whose parameters stand out, label flipping among them."
    limits: ClassVar[str] = "Backdoors of many clients pass; time grows with the square of the clients."

    lam: float = 2.0
    delta: float = 0.1

    def __post_init__(self) -> None:
        require_option(is_number(self.lam, 0.0) and self.lam > 0, self.name, "lam", self.lam, "a number above 0")
        require_option(is_number(self.delta, 0.0, 1.0), self.name, "delta", self.delta, "in [0, 1]")

    def least_models(self, malicious: int) -> int:
        """Return 2f + 1, and no fewer than four: three have no line to be out of."""
        return max(4, 2 * malicious + 1)

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the weighted mean of the corrected models."""
        regression = RankRegression(cohort, self.lam, "Residual-based reweighting")

        def spread(order: NDArray[np.intp], confidence: NDArray[np.float64]) -> NDArray[np.float64]:
            confidence *= confidence.std(axis=0)
            return np.bincount(order.ravel(), weights=confidence.ravel(), minlength=len(cohort)).astype(np.float64)

        evidence = regression.fit(spread)
        squared = np.square(evidence / evidence.max()) if evidence.any() else np.ones(len(cohort))
        contributions = squared / squared.sum()
        return Aggregated(regression.combine(contributions, self.delta), contributions)
