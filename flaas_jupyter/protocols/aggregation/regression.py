"""Robust regression of every parameter on its rank among the clients: who is out of line, and by how much.

The clients' values of one parameter, in order y_(0) ≤ … ≤ y_(M−1) (equal ones in the order of the rows), are fitted
against x = 0 … M−1:

- slope β₁ = median_i median_{j≠i} (y_(i) − y_(j)) / (i − j), intercept β₀ = median(y) − β₁ (M−1)/2 (repeated median);
- residual r = y − (β₀ + β₁ x), scale τ = 1.4826 (1 + 5/(M−1)) median|r| + 10⁻⁷, that median without the least |r|;
- e = r / τ; leverage h = 1/M + (x − x̄)² / Σ (x − x̄)²; confidence √(1−h)/e · clip(e / √(1−h), ±Z), Z = λ √(2/M): 1
  for small residuals, towards 0 for outliers.

Values whose confidence is below δ are replaced by the line's.

O(M² log² M · p) time, the repeated median's; O(M · block) memory and the fitted lines, three vectors of p. Fu, Xie, Li
and Chen, "Attack-Resistant Federated Learning with Residual-based Reweighting", 2019 (arXiv 1912.11464), section 4;
steps A to C of Chu et al., NDSS 2023 (arXiv 2201.13086).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .order import median, ranked
from .rule import Cohort

LEAST_CLIENTS = 4


class RankRegression:
    """The lines through one cohort's parameters.

    Parameters
    ----------
    cohort : Cohort
        Of at least four clients.
    lam : float
        λ of the confidence; the larger, the more is trusted.
    rule : str
        Who asks, for the error's message.

    Raises
    ------
    InvalidInput
        Code ``too-few-clients``.
    """

    def __init__(self, cohort: Cohort, lam: float, rule: str) -> None:
        cohort.require_clients(LEAST_CLIENTS, rule, "to tell who is out of line")
        self._cohort = cohort
        clients, parameters = cohort.updates.shape
        self._slope, self._intercept, self._scale = (np.empty(parameters) for _ in range(3))
        self._ranks = np.arange(clients, dtype=np.float64)[:, None]
        centred = self._ranks - self._ranks.mean()
        leverage = 1.0 / clients + centred**2 / (centred**2).sum()
        self._trusted = lam * np.sqrt(2.0 / clients) * np.sqrt(1.0 - leverage)

    def fit(
        self, evidence: Callable[[NDArray[np.intp], NDArray[np.float64]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Fit the lines and return the sum of what `evidence` finds about each client, shape (M,).

        `evidence` is called for every block with the client at each rank and the confidence at each rank, both
        (M, b), by several threads at once; it may overwrite the confidence.
        """

        def fit_block(block: slice) -> NDArray[np.float64]:
            order, ordered = _in_order(self._cohort.updates[:, block])
            slope = _repeated_median(ordered)
            self._slope[block] = slope
            self._intercept[block] = median(ordered) - slope * (len(ordered) - 1) / 2
            residuals = self._residuals(ordered, block)
            self._scale[block] = _scale(residuals)
            residuals /= self._scale[block]
            confidence = np.ones_like(residuals)
            np.divide(self._trusted, residuals, out=confidence, where=residuals > self._trusted)
            return evidence(order, confidence)

        return sum(self._cohort.each_block(fit_block), start=np.zeros(len(self._cohort)))

    def combine(self, weights: NDArray[np.float64], delta: float) -> NDArray[np.float64]:
        """Return Σ weights_m ỹ_m, shape (p,), ỹ being the models with values of confidence below δ replaced."""
        combined = np.empty(self._cohort.updates.shape[1])

        def combine_block(block: slice) -> None:
            order, ordered = _in_order(self._cohort.updates[:, block])
            # conf < δ says that |e| > Z √(1−h) / δ, for δ ≤ 1
            limits = self._trusted * (self._scale[block] / delta) if delta > 0 else np.inf
            corrected = np.where(self._residuals(ordered, block) > limits, self._line(block), ordered)
            combined[block] = np.einsum("ij,ij->j", weights[order], corrected)

        for _ in self._cohort.each_block(combine_block):
            pass
        return combined

    def _line(self, block: slice) -> NDArray[np.float64]:
        return self._intercept[block] + self._slope[block] * self._ranks

    def _residuals(self, ordered: NDArray[Any], block: slice) -> NDArray[np.float64]:
        residuals = ordered - self._line(block)
        return np.abs(residuals, out=residuals)


def _in_order(rows: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Return which row is at each rank of each column, and the values in order."""
    columns = np.ascontiguousarray(rows.T)
    order = np.argsort(columns, axis=1)
    ordered = np.take_along_axis(columns, order, axis=1)
    # The fast sort orders equal values as it likes; the few columns that have some are sorted again.
    tied = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    order[tied] = np.argsort(columns[tied], axis=1, kind="stable")
    return np.ascontiguousarray(order.T), np.ascontiguousarray(ordered.T)


def _repeated_median(ordered: NDArray[Any]) -> NDArray[np.float64]:
    """Return β₁ of each column, shape (b,)."""
    clients = len(ordered)
    # Differences of float32 are as precise as float32 itself, and half the work of float64.
    values = ordered if ordered.dtype == np.float32 else ordered.astype(np.float64, copy=False)
    medians = np.empty(values.shape)
    slopes = np.empty((clients - 1, values.shape[1]), values.dtype)
    steps = np.arange(clients)[:, None]
    for rank in range(clients):
        np.subtract(values[:rank], values[rank], out=slopes[:rank])
        np.subtract(values[rank + 1 :], values[rank], out=slopes[rank:])
        slopes /= np.delete(steps - rank, rank, axis=0).astype(values.dtype)
        medians[rank] = median(slopes)
    return median(medians)


def _scale(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return τ of each column, shape (b,), from the absolute residuals."""
    clients = len(residuals)
    beside = (clients - 2) // 2  # how many of the M − 1 larger residuals lie on either side of their median
    middle = ranked(residuals, 1 + beside, clients - beside).mean(axis=0)
    scale: NDArray[np.float64] = 1.4826 * (1.0 + 5.0 / (clients - 1)) * middle + 1e-7
    return scale
