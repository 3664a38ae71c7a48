"""Noise that nobody adds alone: each member adds a share of it before masking, and the opened sum carries the whole.

Kairouz, Liu and Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation",
ICML 2021 (arXiv 2102.06387). Members clip what they contribute, round it to integers (`round_within`), add a share of
discrete Gaussian noise (`share_sigma`) and mask it. Whoever opens the sum, together with c members who subtract their
own noise, sees it with noise of variance σ² at least, as long as T members' vectors are in it.

**Accounting.** A sum of discrete Gaussians is not quite a discrete Gaussian. With n honest shares of standard deviation
s, τ = 10 Σ_{j=1}^{n-1} exp(-2π² s² j / (j + 1)) bounds how far their sum is from one, and adding it to integers of
sensitivity Δ₂ (L2) and Δ₁ (L1) in d dimensions is ρ-zCDP (Bun and Steinke, TCC 2016) with

    ρ = ½ min{ Δ₂² / (n s²) + 2 τ Δ₁ / (√n s) + τ² d,  (Δ₂ / (√n s) + τ √d)² },

from the paper's theorem 1 and the proof of it. From s = 3 on τ is below 10^-36 and the noise is as good as one Gaussian
of variance n s². Adding up k releases adds up their ρ, and `epsilon_of` turns the sum into (ε, δ).
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .discrete import discrete_gaussian, share_sigma

BETA = math.exp(-0.5)
"""Bound on the bias of conditional rounding: each attempt satisfies the norm bound with probability 1 - β at least."""

_ATTEMPTS = 1000


def rounded_norm(norm: float, dimensions: int, beta: float = BETA) -> float:
    """Return the L2 norm that conditional rounding to integers keeps to: theorem 1 of the paper, with γ = 1.

    min{ norm² + d/4 + sqrt(2 ln(1/β)) (norm + √d / 2),  (norm + √d)² } ^ ½

    Parameters
    ----------
    norm : float
        Bound on the L2 norm before rounding, in units of the integer grid.
    dimensions : int
        d.
    beta : float
        β, between 0 and 1.
    """
    root = math.sqrt(dimensions)
    likely = norm**2 + dimensions / 4 + math.sqrt(2 * math.log(1 / beta)) * (norm + root / 2)
    return math.sqrt(min(likely, (norm + root) ** 2))


def round_within(
    values: NDArray[np.float64], norm: float, rng: np.random.Generator, *, beta: float = BETA
) -> NDArray[np.int64]:
    """Round reals to integers at random, each up or down by its fraction, again and again until the norm bound holds.

    Parameters
    ----------
    values : ndarray of float64, shape (d,)
        In units of the integer grid, of L2 norm `norm` at most.
    norm : float
        The bound from which `rounded_norm` follows; the sensitivity that the noise was made for.
    rng : numpy Generator
        For the rounding.
    beta : float
        As for `rounded_norm`.

    Returns
    -------
    ndarray of int64, shape (d,)
        Of L2 norm ``rounded_norm(norm, d)`` at most, whatever the values.

    Raises
    ------
    InvalidInput
        ``bad-noise``: the values are longer than `norm`, not finite, or too large for integers of 64 bits.
    """
    length = float(np.linalg.norm(values)) if values.size else 0.0
    if not length <= norm * (1 + 1e-12) or norm >= 2.0**53:  # NaN is not
        raise InvalidInput(
            f"The values to be rounded have norm {length!r}; allowed is {norm!r}, below 2^53.",
            code="bad-noise",
            hint="Clip them first.",
        )
    bound = rounded_norm(norm, values.size, beta) ** 2
    floor = np.floor(values)
    fraction = values - floor
    for _ in range(_ATTEMPTS):
        rounded = floor + (rng.random(values.size) < fraction)
        if float(rounded @ rounded) <= bound:
            return rounded.astype(np.int64)
    # 1,000 attempts with β = e^-½ fail by themselves once in 10^217; the nearest integers towards 0 always fit.
    return np.trunc(values).astype(np.int64)


@dataclass(frozen=True)
class DistributedNoise:
    """Noise of a sum, made of the members' shares.

    Parameters
    ----------
    sigma : float
        Standard deviation of what those who look at the sum do not know of it, in units of the integer grid.
    threshold : int
        T: at least so many members' vectors are in a sum that is opened.
    colluding : int
        c: so many of them may subtract their own noise.

    Raises
    ------
    InvalidInput
        ``bad-noise``.
    """

    sigma: float
    threshold: int
    colluding: int = 0

    def __post_init__(self) -> None:
        share_sigma(self.sigma, self.threshold, self.colluding)

    @property
    def share(self) -> float:
        """Standard deviation of one member's share."""
        return share_sigma(self.sigma, self.threshold, self.colluding)

    def draw(self, dimensions: int, key: bytes | None = None) -> NDArray[np.int64]:
        """Return one member's share of the noise.

        Parameters
        ----------
        dimensions : int
        key : bytes, optional
            32 bytes, for tests; fresh from the operating system by default.
        """
        return discrete_gaussian(dimensions, self.share, key or secrets.token_bytes(32))

    def rho(self, sensitivity: float, dimensions: int, *, l1_sensitivity: float | None = None) -> float:
        """Return ρ of zero-concentrated differential privacy that one release of the sum costs.

        Parameters
        ----------
        sensitivity : float
            Δ₂: how far one record (or one member, as privacy is promised to) moves the sum of integers, in L2 norm.
        dimensions : int
            d.
        l1_sensitivity : float, optional
            Δ₁; √d Δ₂ by default, and never more than Δ₂² for integers.
        """
        n = self.threshold - self.colluding
        scaled = sensitivity / self.sigma
        manhattan = min(math.sqrt(dimensions) * sensitivity, sensitivity**2)
        if l1_sensitivity is not None:
            manhattan = min(manhattan, l1_sensitivity)
        tau = sum_gap(self.share, n)
        first = scaled**2 + 2 * tau * manhattan / self.sigma + tau**2 * dimensions
        return 0.5 * min(first, (scaled + tau * math.sqrt(dimensions)) ** 2)


def sum_gap(sigma: float, shares: int) -> float:
    """Return τ = 10 Σ_{j=1}^{n-1} exp(-2π² σ² j / (j + 1)), how far n shares are from one discrete Gaussian."""
    return 10 * sum(math.exp(-2 * math.pi**2 * sigma**2 * j / (j + 1)) for j in range(1, shares))


def epsilon_of(rho: float, delta: float) -> float:
    """Return ε for which ρ-zCDP implies (ε, δ)-differential privacy.

    The least over α > 1 of α ρ + ln(1 - 1/α) - (ln δ + ln α) / (α - 1): Canonne, Kamath and Steinke, NeurIPS 2020,
    proposition 12.

    Parameters
    ----------
    rho : float
        From 0 on.
    delta : float
        Between 0 and 1.
    """
    if rho == 0:
        return 0.0

    def bound(log_excess: float) -> float:
        alpha = 1 + math.exp(log_excess)
        return alpha * rho + math.log1p(-1 / alpha) - (math.log(delta) + math.log(alpha)) / (alpha - 1)

    # Any α gives a valid bound; a fine grid of them is within a thousandth of the least.
    guess = 0.5 * math.log(math.log(1 / delta) / rho)
    return max(0.0, min(bound(guess + step / 200) for step in range(-1200, 1201)))


def rho_for(epsilon: float, delta: float) -> float:
    """Return the largest ρ, to a millionth, whose `epsilon_of` is at most ε.

    Parameters
    ----------
    epsilon : float
        Above 0.
    delta : float
        Between 0 and 1.
    """
    low, high = 0.0, epsilon + 1.0
    while epsilon_of(high, delta) <= epsilon:
        high *= 2
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(middle, delta) <= epsilon else (low, middle)
    return low


def sigma_for(rho: float, sensitivity: float) -> float:
    """Return σ with which a release costs ρ, where shares are 3 or more wide so that τ is nothing: Δ₂ / sqrt(2ρ)."""
    return sensitivity / math.sqrt(2 * rho)
