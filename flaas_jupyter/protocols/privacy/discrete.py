"""Integer noise that is drawn exactly: discrete Gaussian and discrete Laplace, from a keystream.

Floating-point noise has gaps by which the noiseless value may be told (Mironov, CCS 2012), and cannot be added modulo
2^32. These draws are integers made of AES-256-CTR blocks by comparison with thresholds of 128 bits:

* **Discrete Gaussian**, Pr[x] ~ exp(-x² / 2σ²) (Canonne, Kamath and Steinke, NeurIPS 2020). Up to σ = 256 by inversion
  of a table that ends at 13 σ; the total variation distance of a draw is below 2^-110. For larger σ as 32 a + b with a
  of (σ² - 64²)^½ / 32 and b of 64: completing the square in Pr[32 a + b = x] leaves the sum of a Gaussian of standard
  deviation above 1.9 over the integers, the same for all x but for a factor of 1 ± 2 exp(-2π² 1.9²) = 1 ± 2^-101.
* **Discrete Laplace**, Pr[x] ~ exp(-|x| / scale): the difference of two geometric numbers, of which each binary digit
  is an independent coin (the digit of 2^j is 1 with the odds exp(-2^j / scale) : 1).

A key makes one vector: drawn with the same key and parameters, it is the same again.
"""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from ...errors import InvalidInput

TABLE_SIGMA = 256
"""Up to this parameter a draw is one look-up."""

LARGEST_SIGMA = 2.0**57
"""Above it a draw might not fit in 64 bits."""

_FINE_SIGMA = 64
_FACTOR = 32
_TAIL = 13  # standard deviations; exp(-13² / 2) is 2^-121
_BLOCK = 1 << 16
_HIGH = 1 << 64


def discrete_gaussian(n: int, sigma: float, key: bytes) -> NDArray[np.int64]:
    """Return `n` independent draws of the discrete Gaussian with parameter σ.

    Parameters
    ----------
    n : int
    sigma : float
        Above 0, up to 2^57. From about 1 on it is the standard deviation; below that, the standard deviation is less.
    key : bytes
        32 bytes, fresh for each vector.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    InvalidInput
        ``bad-noise``: the number, σ or key is not acceptable.
    """
    _require(n, sigma, key, "sigma", LARGEST_SIGMA)
    return _gaussian(n, float(sigma), key, 0)


def discrete_laplace(n: int, scale: float, key: bytes) -> NDArray[np.int64]:
    """Return `n` independent draws of the discrete Laplace distribution; ε-private for integers of sensitivity ε scale.

    Parameters
    ----------
    n : int
    scale : float
        Above 0, up to 2^55. The variance is 2 q / (1 - q)² with q = exp(-1 / scale).
    key : bytes
        32 bytes, fresh for each vector.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    InvalidInput
        ``bad-noise``.
    """
    _require(n, scale, key, "scale", 2.0**55)
    draws = np.zeros(n, dtype=np.int64)
    for sign, first in ((1, 0), (-1, 64)):
        for digit, threshold in enumerate(_digits(float(scale))):
            table = _split([threshold])
            draws += (sign << digit) * _invert(n, table, key, first + digit)
    return draws


def share_sigma(sigma: float, threshold: int, colluding: int) -> float:
    """Return the standard deviation of each member's share of noise: σ / sqrt(T - c).

    Of at least T members' shares in a sum, c at most are known to those who look at it; what is left has a variance of
    σ² or more.

    Parameters
    ----------
    sigma : float
        That the noise of the sum must have for those who look at it.
    threshold : int
        T, how many members' vectors are in a sum that is opened.
    colluding : int
        c, how many of them subtract their own noise.

    Raises
    ------
    InvalidInput
        ``bad-noise``: nobody is left, or σ is not above 0.
    """
    if not 0 <= colluding < threshold or not (math.isfinite(sigma) and sigma > 0):
        raise InvalidInput(
            f"Noise of {sigma!r} cannot be shared among {threshold} members of whom {colluding} collude; "
            "it must be above 0, and somebody must not collude.",
            code="bad-noise",
        )
    return sigma / math.sqrt(threshold - colluding)


def _gaussian(n: int, sigma: float, key: bytes, stream: int) -> NDArray[np.int64]:
    if sigma <= TABLE_SIGMA:
        middle, table = _gaussian_table(sigma)
        return _invert(n, table, key, stream) - middle
    coarse = _gaussian(n, math.sqrt((sigma - _FINE_SIGMA) * (sigma + _FINE_SIGMA)) / _FACTOR, key, stream + 1)
    coarse *= _FACTOR
    coarse += _gaussian(n, _FINE_SIGMA, key, stream)
    return coarse


_Table = tuple[NDArray[np.uint64], NDArray[np.uint64]]


@lru_cache(maxsize=32)
def _gaussian_table(sigma: float) -> tuple[int, _Table]:
    """Return (number of the value 0, cumulative probabilities times 2^128)."""
    most = math.ceil(_TAIL * sigma) + 1
    with decimal.localcontext(prec=60):
        spread = 2 * Decimal(sigma) ** 2
        half = [(-(Decimal(x) ** 2) / spread).exp() for x in range(most + 1)]
        weights = [*half[:0:-1], *half]
        total, below, thresholds = sum(weights), Decimal(0), []
        for weight in weights[:-1]:
            below += weight
            thresholds.append(min(int(below / total * (1 << 128)), (1 << 128) - 1))
    return most, _split(thresholds)


@lru_cache(maxsize=32)
def _digits(scale: float) -> tuple[int, ...]:
    """Return, for each binary digit of a geometric number, the probability of a 0 times 2^128."""
    thresholds: list[int] = []
    with decimal.localcontext(prec=60):
        while True:
            odds = (-Decimal(1 << len(thresholds)) / Decimal(scale)).exp()
            if odds < Decimal(2) ** -128:
                return tuple(thresholds)
            thresholds.append(int((1 << 128) / (1 + odds)))


def _split(thresholds: list[int]) -> _Table:
    return (
        np.array([threshold // _HIGH for threshold in thresholds], dtype=np.uint64),
        np.array([threshold % _HIGH for threshold in thresholds], dtype=np.uint64),
    )


def _invert(n: int, table: _Table, key: bytes, stream: int) -> NDArray[np.int64]:
    """Return how many thresholds are at most a uniform number of 128 bits, n times.

    The lower 64 bits decide only where the upper ones equal a threshold's, so they are made for these draws alone.
    """
    highs, lows = table
    counts = np.empty(n, dtype=np.int64)
    upper = _keystream(key, 2 * stream, 0)
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        words = np.frombuffer(upper.update(bytes(8 * size)), dtype="<u8")
        found = np.searchsorted(highs, words, side="right")
        for tie in np.flatnonzero((found > 0) & (highs[found - 1] == words)):
            low = int.from_bytes(_keystream(key, 2 * stream + 1, start + int(tie)).update(bytes(8)), "little")
            first = int(np.searchsorted(highs, words[tie], side="left"))
            found[tie] = first + int(np.count_nonzero(lows[first : found[tie]] <= np.uint64(low)))
        counts[start : start + size] = found
    return counts


def _keystream(key: bytes, stream: int, place: int) -> CipherContext:
    """Return a stream of its own from the block `place` on."""
    counter = (stream << 96) + place
    return Cipher(algorithms.AES256(key), modes.CTR(counter.to_bytes(16, "big"))).encryptor()


def _require(n: int, parameter: float, key: bytes, name: str, largest: float) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise InvalidInput(f"The number of draws is {n!r}; it must be an integer from 0 on.", code="bad-noise")
    if not isinstance(parameter, int | float) or not 0 < parameter <= largest:
        raise InvalidInput(
            f"{name} is {parameter!r}; it must be above 0 and at most 2^{int(math.log2(largest))}.", code="bad-noise"
        )
    if not isinstance(key, bytes) or len(key) != 32:
        raise InvalidInput("The key of noise must be 32 bytes.", code="bad-noise")
