"""Exact sums: signed integers, and reals in fixed point, cut in limbs that can be added modulo 2^32 under masks.

An integer is a two's complement number of 96 bits, cut in `LIMBS` limbs of `LIMB_BITS` bits, the lowest first. Limbs
of up to 1,000 members add up to less than 2^26, so no sum of limbs wraps; and the sum of the limbs, each at its place,
is the sum of the integers modulo 2^96. Of N members each integer's magnitude stays below 2^(95 - ceil(log2 N)), so that
the sum keeps its sign. A real is the nearest multiple of 2^-32, as such an integer.

In a vector the limbs of one number stand together: ``[number 0: limbs 0 … 5, number 1: limbs 0 … 5, …]``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .settings import RoundSettings

LIMBS = 6
LIMB_BITS = 16
FRACTION_BITS = 32

_LIMB_MASK = (1 << LIMB_BITS) - 1
_HALF_BITS = LIMBS * LIMB_BITS // 2  # a number is worked on in two halves of 48 bits, each in 64
_HALF_MASK = (1 << _HALF_BITS) - 1
_HALF_LIMBS = LIMBS // 2

Vector = NDArray[np.uint32]


def integer_limit(members: int) -> int:
    """Return what the magnitude of each of `members` summed integers is below: 2^(95 - ceil(log2 N)).

    2^89 for 64 members, 2^86 for 512, 2^85 for 1,000.
    """
    return 1 << (LIMBS * LIMB_BITS - 1 - (members - 1).bit_length())


def real_limit(members: int) -> float:
    """Return what the magnitude of each of `members` summed reals is below: 2^(63 - ceil(log2 N))."""
    return float(integer_limit(members) >> FRACTION_BITS)


def real_error_bound(summed: int, magnitude: float = 0.0) -> float:
    """Return what a sum of reals is off by at most: n 2^-33 for rounding, and half a digit of float64.

    Parameters
    ----------
    summed : int
        n, the number of members in the sum.
    magnitude : float
        Of the opened sum.
    """
    return summed * 2.0 ** -(FRACTION_BITS + 1) + abs(magnitude) * 2.0**-53


def encode_integers(values: NDArray[Any] | Sequence[int], settings: RoundSettings) -> Vector:
    """Encode a vector of signed integers for an exact sum.

    Parameters
    ----------
    values : ndarray of integers or of object, or sequence of int, shape (n,)
        Each below `integer_limit` in magnitude. An int64 array takes the fast path; an object array or a sequence of
        Python integers may hold longer ones.
    settings : RoundSettings
        Of the round; its number of members sets the limit.

    Returns
    -------
    ndarray of uint32, shape (6 n,)

    Raises
    ------
    InvalidInput
        ``wrong-shape``: not one-dimensional, or not integers; ``secagg-value-out-of-range``.
    """
    array = values if isinstance(values, np.ndarray) else np.array([*values, None], dtype=object)[:-1]
    if array.ndim != 1 or array.dtype.kind not in "iuO":
        raise InvalidInput(
            f"Values to be summed exactly must be a row of integers, not {array.dtype} of shape {array.shape}.",
            code="wrong-shape",
            hint="Use encode_reals for floats.",
        )
    if array.dtype.kind == "i" or (array.dtype.kind == "u" and array.dtype.itemsize < 8):
        return _widened(array.astype("<i8"))
    try:
        numbers = np.frompyfunc(operator.index, 1, 1)(array)
    except TypeError as error:
        raise InvalidInput(
            f"Values to be summed exactly must be integers: {error}.",
            code="wrong-shape",
            hint="Use encode_reals for floats.",
        ) from error
    limit = integer_limit(len(settings.members))
    if numbers.size and not (-limit < numbers.min() and numbers.max() < limit):
        _refuse(numbers[np.abs(numbers).argmax()], limit, len(settings.members))
    return _to_limbs((numbers & _HALF_MASK).astype(np.int64), (numbers >> _HALF_BITS).astype(np.int64))


def decode_integers(total: Vector, settings: RoundSettings, *, summed: int | None = None) -> NDArray[Any]:
    """Read the opened sum of vectors that `encode_integers` made.

    Parameters
    ----------
    total : ndarray of uint32, shape (6 n,)
        What `SecureSum.open` returned, or a part of it that begins with a number's first limb.
    settings : RoundSettings
        Of the round.
    summed : int, optional
        How many members' vectors are in the sum; all by default.

    Returns
    -------
    ndarray of int64, shape (n,)
        Exact; an array of Python integers (dtype object) if one of the sums needs more than 64 bits.

    Raises
    ------
    InvalidInput
        ``wrong-shape``; ``secagg-implausible-sum``: so many members' limbs cannot add up to this.
    """
    low, high = _from_limbs(total, settings, summed)
    if high.size and (high.min() < -(1 << 15) or high.max() >= 1 << 15):
        long: NDArray[Any] = high.astype(object) * (1 << _HALF_BITS) + low.astype(object)
        return long
    return (high << _HALF_BITS) | low


def encode_reals(values: NDArray[np.floating], settings: RoundSettings) -> Vector:
    """Encode a vector of reals for a sum that is exact but for each real's rounding to a multiple of 2^-32.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Finite, each below `real_limit` in magnitude.
    settings : RoundSettings
        Of the round.

    Returns
    -------
    ndarray of uint32, shape (6 n,)

    Raises
    ------
    InvalidInput
        ``wrong-shape``; ``secagg-value-out-of-range``, also for NaN and infinity.
    """
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind != "f":
        raise InvalidInput("Reals to be summed must be a one-dimensional array of floats.", code="wrong-shape")
    reals = values.astype(np.float64, copy=False)
    limit = real_limit(len(settings.members))
    largest = np.abs(reals).max(initial=0.0)
    if not largest < limit:  # NaN is not
        _refuse(float(largest), int(limit), len(settings.members))
    # Every step is exact but the rounding: scaling is by powers of two, and both halves have less than 53 bits.
    fixed = np.rint(reals * 2.0**FRACTION_BITS)
    high = np.floor(fixed * 2.0**-_HALF_BITS)
    low = fixed - high * 2.0**_HALF_BITS
    return _to_limbs(low.astype(np.int64), high.astype(np.int64))


def decode_reals(total: Vector, settings: RoundSettings, *, summed: int | None = None) -> NDArray[np.float64]:
    """Read the opened sum of vectors that `encode_reals` made: float64 nearest to the exact sum of what was encoded.

    Parameters
    ----------
    total, settings, summed
        As for `decode_integers`.

    Returns
    -------
    ndarray of float64, shape (n,)
        Off from the sum of the reals by at most `real_error_bound`.

    Raises
    ------
    InvalidInput
        As `decode_integers`.
    """
    low, high = _from_limbs(total, settings, summed)
    # Both terms are exact in float64, so this rounds once.
    sums: NDArray[np.float64] = high.astype(np.float64) * 2.0**_HALF_BITS + low.astype(np.float64)
    return sums * 2.0**-FRACTION_BITS


def _to_limbs(low: NDArray[np.int64], high: NDArray[np.int64]) -> Vector:
    """Return the limbs of high 2^48 + low, with 0 <= low < 2^48."""
    limbs = np.empty((low.size, LIMBS), dtype=np.uint32)
    for place in range(_HALF_LIMBS):
        limbs[:, place] = (low >> (LIMB_BITS * place)) & _LIMB_MASK
        limbs[:, _HALF_LIMBS + place] = (high >> (LIMB_BITS * place)) & _LIMB_MASK
    return limbs.reshape(-1)


def _widened(numbers: NDArray[np.int64]) -> Vector:
    """Return the limbs of little-endian integers of 64 bits: their four halves of words, and their sign twice."""
    limbs = np.empty((numbers.size, LIMBS), dtype=np.uint32)
    limbs[:, :4] = numbers.view("<u2").reshape(-1, 4)
    limbs[:, 4:] = (numbers >> 63).view("<u2").reshape(-1, 4)[:, :2]
    return limbs.reshape(-1)


def _from_limbs(
    total: Vector, settings: RoundSettings, summed: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (low, high) with high 2^48 + low the signed sums and 0 <= low < 2^48."""
    members = len(settings.members) if summed is None else summed
    if not isinstance(total, np.ndarray) or total.dtype != np.uint32 or total.ndim != 1 or total.size % LIMBS:
        raise InvalidInput(
            f"A sum of integers is a row of uint32, {LIMBS} for each; got {getattr(total, 'dtype', type(total))} "
            f"of shape {getattr(total, 'shape', None)}.",
            code="wrong-shape",
        )
    if not 1 <= members <= len(settings.members) or int(total.max(initial=0)) > members * _LIMB_MASK:
        raise InvalidInput(
            f"No {members} vectors add up to the sum that was opened.",
            code="secagg-implausible-sum",
            hint="A member encoded with other settings than the rest; the round's result is discarded.",
        )
    limbs = total.reshape(-1, LIMBS)
    low, high = (
        sum(
            (limbs[:, first + place].astype(np.int64) << (LIMB_BITS * place) for place in range(_HALF_LIMBS)),
            np.zeros(len(limbs), np.int64),
        )
        for first in (0, _HALF_LIMBS)
    )
    high += low >> _HALF_BITS
    high &= _HALF_MASK
    high -= (high >> (_HALF_BITS - 1)) << _HALF_BITS  # the sign of two's complement
    return low & _HALF_MASK, high


def _refuse(value: float, limit: int, members: int) -> None:
    raise InvalidInput(
        f"A value to be summed is {value!r}; among {members} members its magnitude must be below "
        f"2^{limit.bit_length() - 1}.",
        code="secagg-value-out-of-range",
        hint="Scale the column down, or clip it to bounds.",
    )
