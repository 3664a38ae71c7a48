"""Rounding of updates: to the nearest value that can be sent, or at random so that the mean over many is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

ROUNDINGS = ("stochastic", "nearest")


def require_rounding(compression: str, value: Any) -> None:
    """Refuse an unknown rounding; code ``bad-compression-option``."""
    if value not in ROUNDINGS:
        raise InvalidInput(
            f"The rounding of the compression {compression!r} must be one of {', '.join(ROUNDINGS)}, not {value!r}.",
            code="bad-compression-option",
        )


def stochastic(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Round to whole numbers, up with the probability of the fraction; in place."""
    values += rng.random(values.shape)
    return np.floor(values, out=values)
