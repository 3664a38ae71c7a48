"""Differential privacy of a statistic: every node adds its share of discrete Gaussian noise before masking.

The unit of privacy is a row, added or removed. One row changes at most `Statistic.touched` numbers of the vector, each
by at most its *largest* contribution, which the bounds decide. With noise of standard deviation σ_i = Δ_i √(t / 2ρ) on
each of the t numbers, the vector is ρ-zCDP (Bun and Steinke, TCC 2016; the discrete Gaussian has the same ρ: Canonne,
Kamath and Steinke, NeurIPS 2020). For ε and δ, ρ is the largest with ρ + 2 √(ρ ln 1/δ) <= ε.

Reals are sent in units of Δ / 1024, so that a sensitivity is 1024 units, and one more for the rounding of each node's
sum. No node knows the noise of the others; with T members left in the sum and c of them taking theirs away, the
variance is still at least σ² (`flaas_jupyter.protocols.privacy.discrete.share_sigma`). Sums of discrete Gaussians are
not exactly discrete Gaussian; the difference is bounded by Kairouz, Liu and Steinke (ICML 2021), theorem 1, and is
below 10^-12 for the σ of at least 1 used here.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import limits

if TYPE_CHECKING:
    from .statistics import Statistic

DELTA = 1e-6
"""δ of every statistic with differential privacy."""
COLLUDING = 1
"""Members that may take their own noise away together without the sum having less than was promised."""
_STEPS = 1024


def rho_of(epsilon: float, delta: float = DELTA) -> float:
    """Return the largest ρ whose zCDP gives (ε, δ): (√(ln 1/δ + ε) - √(ln 1/δ))²."""
    log = math.log(1 / delta)
    return (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2


def epsilon_of(rho: float, delta: float = DELTA) -> float:
    """Return ε of ρ-zCDP at δ: ρ + 2 √(ρ ln 1/δ)."""
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


def unit(largest: float) -> float:
    """Return what 1 in the vector means for a real to which one row adds at most `largest`."""
    return largest / _STEPS


def sigma(statistic: Statistic) -> float:
    """Return the standard deviation of the noise on a count."""
    assert statistic.epsilon is not None  # asked of statistics with differential privacy only
    return math.sqrt(statistic.touched / (2 * rho_of(statistic.epsilon)))


def shares(statistic: Statistic, members: int, threshold: int, key: bytes) -> NDArray[np.int64]:
    """Return one member's share of the noise; see `Statistic.noise`."""
    vector = np.zeros(statistic.length, np.int64)
    if statistic.epsilon is None:
        return vector
    from ..privacy.discrete import discrete_gaussian, share_sigma

    own = share_sigma(sigma(statistic), threshold, _taken(members, threshold))
    reals = int(statistic.real.sum()) * statistic.raw_cells
    counts = vector.size - 2 - reals
    vector[2 : 2 + counts] = discrete_gaussian(counts, own, _key(key, b"counts"))
    if reals:
        vector[2 + counts :] = discrete_gaussian(reals, own * (_STEPS + 1), _key(key, b"reals"))
    return vector


def half_widths(statistic: Statistic, members: int) -> NDArray[np.float64]:
    """Return what counts and fields are off by at most with 95 % probability, shape (1 + fields,).

    Parameters
    ----------
    statistic : Statistic
        With differential privacy.
    members : int
        Nodes in the sum, each of which has added its share.
    """
    from ..secure_aggregation import default_threshold

    threshold = default_threshold(members)
    left = threshold - _taken(members, threshold)
    spread = 1.96 * sigma(statistic) * math.sqrt(members / left)
    widths = np.full(1 + len(statistic.fields), spread)
    widths[1:][statistic.real] *= statistic.largest()[statistic.real] * (_STEPS + 1) / _STEPS
    return widths


def reach(bounds: tuple[float, float] | None, column: str, about: float = 0.0) -> float:
    """Return the largest distance from `about` within a column's bounds.

    Raises
    ------
    InvalidInput
        Code ``bad-statistic``: it has none.
    """
    if bounds is None:
        raise limits.bad(
            f"column {column!r} needs bounds: the noise must hide the largest value that a row may have",
            f'For example bounds={{"{column}": (0, 120)}}; values outside are clipped to them.',
        )
    return max(abs(bounds[0] - about), abs(bounds[1] - about))


def _taken(members: int, threshold: int) -> int:
    """How many members' noise is not counted on: at most all but one of those that are there for sure."""
    return min(COLLUDING, threshold - 1, members - 1)


def _key(key: bytes, purpose: bytes) -> bytes:
    return hashlib.sha256(b"flaas/analytics/noise\0" + purpose + b"\0" + key).digest()
