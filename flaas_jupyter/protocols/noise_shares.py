"""Distributed differential privacy inside a secure sum: what each member adds to its encoded update before masking.

A member's share is discrete Gaussian noise on the integers of the encoding (`secure_aggregation.encoding`), added
modulo 2^32. The opened sum then carries noise whose standard deviation is σ = z C at least for whoever opens it, also
together with as many colluding members as the secure sum stands, who may subtract their own shares. The accounting is
that of `privacy.distributed`; it takes shares of at least `LEAST_STEPS` steps of the fixed point, which is checked, and
updates whose norm after rounding is C at most, for which members clip by √p steps shorter (`rounding_norm`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .privacy import PrivacyPlan
from .privacy.discrete import discrete_gaussian, share_sigma
from .secure_aggregation import RoundSettings, default_threshold
from .secure_aggregation.encoding import step

LEAST_STEPS = 3.0
"""Standard deviation of a share, in steps, from which on a sum of shares is as good as one Gaussian."""

_ROOM = 9.0
"""Standard deviations of noise that the range has room for: a sum runs over once in 10^18 coordinates."""


def colluding(members: int) -> int:
    """Return c: how many of N members may subtract their own shares: 2T - N - 1, at least two staying honest."""
    threshold = default_threshold(members)
    return max(0, min(2 * threshold - members - 1, threshold - 2))


def share_of(plan: PrivacyPlan, members: int) -> float:
    """Return the standard deviation of one member's share, in units of the update: σ / √(T - c)."""
    return share_sigma(plan.sigma, default_threshold(members), colluding(members))


def range_for(plan: PrivacyPlan, members: int) -> float:
    """Return the range of a coordinate that leaves the sum room for the noise of all shares."""
    return float(plan.privacy.clip) + _ROOM * share_of(plan, members) / math.sqrt(default_threshold(members))


def share_in_steps(plan: PrivacyPlan, settings: RoundSettings) -> float:
    """Return the standard deviation of one member's share in steps of the fixed point.

    Raises
    ------
    InvalidInput
        Code ``noise-too-small``: below `LEAST_STEPS`, where the accounting does not hold.
    """
    members = len(settings.members)
    steps = share_of(plan, members) / step(settings.clip, members)
    if steps < LEAST_STEPS:
        raise InvalidInput(
            f"A share of the noise is {steps:.3g} steps of the fixed point wide; the accounting of distributed "
            f"differential privacy takes {LEAST_STEPS:g} at least.",
            code="noise-too-small",
            hint="The range of updates that was told is too wide for this budget. Do not trust this aggregator.",
        )
    return steps


def add_share(encoded: NDArray[np.uint32], parameters: int, steps: float, key: bytes) -> None:
    """Add one member's share of the noise to its encoded update, in place.

    Parameters
    ----------
    encoded : ndarray of uint32, shape (m,)
        From `encode_update` with a share of 1.
    parameters : int
        p: the last so many values are the update's.
    steps : float
        From `share_in_steps`.
    key : bytes
        32 bytes: fresh for a round, and the same when it is tried again.
    """
    noise = discrete_gaussian(parameters, steps, key)
    values = encoded[encoded.size - parameters :]
    np.add(values, noise.astype(np.uint32), out=values)  # modulo 2^32
