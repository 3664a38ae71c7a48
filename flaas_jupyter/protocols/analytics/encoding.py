"""Sums of a statistic as integers: reals in fixed point, wide enough to need no range, cut in three windows.

A real is the nearest multiple of 2^-64, written as ``w0 2^-64 + w1 2^-16 + w2 2^32`` with w0 and w1 of 48 bits, each
with the sign of the real. Windows are summed as they are (`protocols.secure_aggregation.encode_integers`), and what the
sums carry over is put right when they are read; so no member's magnitude has to be known, and the sum of what was
encoded is exact. Each member's rounding is at most 2^-65.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

WINDOWS = 3
REAL_LIMIT = 2.0**92
"""A member's sum is below this in magnitude, 4.9e27."""
RESOLUTION = 2.0**-64

_BITS = 48
_UNITS = (2.0**-64, 2.0**-16, 2.0**32)


def to_windows(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the windows of finite reals.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Each below `REAL_LIMIT` in magnitude.

    Returns
    -------
    ndarray of int64, shape (n, 3)

    Raises
    ------
    InvalidInput
        Code ``value-out-of-range``; the value is not told.
    """
    if not np.abs(values).max(initial=0.0) < REAL_LIMIT:
        raise InvalidInput(
            "A sum at this node is not below 4.9e27 in magnitude and cannot be added up exactly.",
            code="value-out-of-range",
            hint="Scale the column down with assign=, e.g. income / 1e9.",
        )
    sizes = np.abs(values)  # a negative value has the windows of its size, negated: adding 2^32 to it would round it
    top = np.floor(sizes / _UNITS[2])
    rest = sizes - top * _UNITS[2]  # exact: both are multiples of the value's last place
    middle = np.floor(rest / _UNITS[1])
    low = np.rint((rest - middle * _UNITS[1]) / _UNITS[0])
    windows = np.stack([low, middle, top], axis=1).astype(np.int64)
    return np.where(values < 0, -1, 1)[:, None] * windows


def from_windows(windows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the reals nearest to what summed windows, shape (n, 3), add up to."""
    found = [
        float(Fraction(int(low) + (int(middle) << _BITS) + (int(top) << (2 * _BITS)), 1 << 64))
        for low, middle, top in windows
    ]
    return np.array(found, np.float64)
