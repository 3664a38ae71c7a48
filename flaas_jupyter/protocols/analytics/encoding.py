"""Sums of a statistic as integers: reals in fixed point, wide enough to need no range, cut in three windows.

A real is the nearest multiple of 2^-64, written as ``w0 2^-64 + w1 2^-4 + w2 2^56`` with w0 and w1 of 60 bits, each
with the sign of the real. Windows are summed as they are (`protocols.secure_aggregation.encode_integers`), and what the
sums carry over is put right when they are read; so no member's magnitude has to be known, and the sum of what was
encoded is exact. Each member's rounding is at most 2^-65.

Nothing here refuses: a refusal that depends on what one member's rows add up to would tell about these rows, to whoever
chooses what is added up. What a row adds is limited instead, by `VALUE_LIMIT`, which is the same for all data: values
at or beyond it count as missing, and centres lie below it, so that 2^26 squares of differences fit in.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOWS = 3
REAL_LIMIT = 2.0**116
"""A member's sum is below this in magnitude, 8.3e34; what is not is encoded as the largest that is."""
VALUE_LIMIT = 2.0**44
"""What a row adds up is below this in magnitude, 1.8e13."""
RESOLUTION = 2.0**-64

_BITS = 60
_UNITS = (2.0**-64, 2.0**-4, 2.0**56)
_LARGEST = float(np.nextafter(REAL_LIMIT, 0.0))


def to_windows(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the windows of reals.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        What is not below `REAL_LIMIT` in magnitude counts as the largest that is, NaN as 0: kinds see to it that there
        is no such value, and this is the wall behind them.

    Returns
    -------
    ndarray of int64, shape (n, 3)
    """
    values = np.nan_to_num(values, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    sizes = np.minimum(np.abs(values), _LARGEST)
    # A negative value has the windows of its size, negated: adding 2^56 to it would round it.
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


def limited(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with those at or beyond `VALUE_LIMIT` as missing, NaN."""
    with np.errstate(invalid="ignore"):
        beyond = np.abs(values) >= VALUE_LIMIT
    return np.where(beyond, np.nan, values) if beyond.any() else values


def saturated(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values clipped to less than `VALUE_LIMIT` in magnitude; NaN as the largest.

    For figures of a model that whoever asks has chosen: dropping its rows would let them choose rows.
    """
    largest = VALUE_LIMIT - 1
    return np.clip(np.nan_to_num(values, nan=largest, posinf=largest, neginf=-largest), -largest, largest)
