"""Geometric median: the model with the least sum of distances to the clients' models (RFA).

v = argmin Σ α_k ‖v − w_k‖, found by the smoothed Weiszfeld algorithm: β_k = α_k / max(ν, ‖v − w_k‖), v ← Σ β_k w_k /
Σ β_k, from the mean. Every v is a mean of the models, so the iteration runs on its n weights and the n² inner
products of the models, without touching the models again: O(n² p) time in BLAS once, O(n²) an iteration,
O(n · block + n²) memory.

Algorithm 2 of Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", IEEE Transactions on
Signal Processing 70, 2022, with its ν = 10⁻⁶. The paper stops after a few iterations because each costs a round of
communication; here they cost next to nothing, so it runs until the point stands still.

Defends against arbitrary models from fewer than half of the clients (of their weight). Does not defend against
attacks within the honest spread, nor against backdoors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .checks import is_count, is_number, require_option
from .distances import inner_products
from .rule import Aggregated, Cohort, Needs, Rule

_STILL = 1e-10
"""A move by this part of the median distance to the models counts as standing still."""


def weiszfeld(
    products: NDArray[np.float64], alphas: NDArray[np.float64], smoothing: float, iterations: int
) -> NDArray[np.float64]:
    """Return the weights of the models in their geometric median, shape (n,), sum 1.

    Parameters
    ----------
    products : ndarray, shape (n, n)
        Inner products of the models, finite; from an origin among them, so that no digits are lost.
    alphas : ndarray, shape (n,)
        The models' weights α in the sum of distances; they sum to 1.
    smoothing : float
        ν, the least distance that is divided by.
    iterations : int
        At most so many.
    """
    squares = products.diagonal()
    weights = alphas
    for _ in range(iterations):
        along = products @ weights
        apart = np.sqrt(np.maximum(squares - 2.0 * along + weights @ along, 0.0))
        betas = alphas / np.maximum(smoothing, apart)
        betas /= betas.sum()
        move = betas - weights
        weights = betas
        if move @ products @ move <= (_STILL * np.median(apart)) ** 2:
            break
    return weights


@dataclass
class GeometricMedian(Rule):
    """The model with the least sum of distances to all.

    Parameters
    ----------
    smoothing : float
        ν, above 0.
    iterations : int
        At most so many Weiszfeld iterations; fewer when the point stands still.
    weighted : bool
        Take α_k = n_k / n instead of 1 / number of clients.
    """

    name: ClassVar[str] = "geometric_median"
    needs: ClassVar[Needs] = Needs.UPDATES
    summary: ClassVar[str] = "The model with the least sum of distances to all clients' models."
    defends: ClassVar[str] = "Arbitrary models from fewer than half of the clients."
    limits: ClassVar[str] = "Attacks within the honest spread pass."

    smoothing: float = 1e-6
    iterations: int = 1000
    weighted: bool = False

    def __post_init__(self) -> None:
        require_option(
            is_number(self.smoothing, 0.0) and self.smoothing > 0,
            self.name,
            "smoothing",
            self.smoothing,
            "a number above 0",
        )
        require_option(is_count(self.iterations, 1), self.name, "iterations", self.iterations, "an integer above 0")

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the geometric median; a client's contribution is its weight in it."""
        alphas = cohort.shares if self.weighted else np.full(len(cohort), 1.0 / len(cohort))
        products = inner_products(cohort)
        # A model beyond 1e154, whose square float64 cannot hold, has no say.
        held = np.flatnonzero(np.isfinite(products.diagonal()))
        alphas = alphas[held] / alphas[held].sum()
        contributions = np.zeros(len(cohort))
        contributions[held] = weiszfeld(products[np.ix_(held, held)], alphas, self.smoothing, self.iterations)
        return Aggregated(cohort.combine(contributions), contributions)
