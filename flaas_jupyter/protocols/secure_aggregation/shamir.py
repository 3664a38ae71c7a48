"""Shamir's secret sharing over the prime field of 2^521 - 1.

Shamir, "How to Share a Secret", Communications of the ACM 22 (1979): the secret is a random polynomial's
value at 0, a share its value at the holder's abscissa 1, 2, …; any `threshold` shares determine it and fewer
say nothing. The Mersenne prime holds 32-byte keys in one element. Python's integers do not run in constant
time; a timing observer would have to sit on the machine that holds the secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

PRIME = (1 << 521) - 1
SHARE_BYTES = 66
SECRET_BYTES = 32


def split(secret: bytes, holders: int, threshold: int) -> list[int]:
    """Return the shares of `secret` (32 bytes) for the abscissas 1 … `holders`."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= holders:
        raise ValueError(f"{len(secret)} bytes, {holders} holders and threshold {threshold} do not go together")
    polynomial = [int.from_bytes(secret, "big"), *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    return [_evaluate(polynomial, x) for x in range(1, holders + 1)]


def lagrange_at_zero(abscissas: Sequence[int]) -> list[int]:
    """Return the factors whose scalar product with the shares at distinct `abscissas` is the secret.

    They depend on the holders only, so one call serves all secrets that the same holders open.
    """
    factors = []
    for i in abscissas:
        numerator = denominator = 1
        for j in abscissas:
            if j != i:
                numerator = numerator * j % PRIME
                denominator = denominator * (j - i) % PRIME
        factors.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return factors


def combine(factors: Sequence[int], shares: Sequence[int]) -> bytes:
    """Return the 32-byte secret of `shares`, given in the order of the factors' abscissas.

    Raises
    ------
    ValueError
        The value is longer than 32 bytes: a share is wrong, or there are too few. A wrong share need not show
        in this way; whoever must know compares the secret with something that was said of it beforehand.
    """
    value = sum(factor * share for factor, share in zip(factors, shares, strict=True)) % PRIME
    if value >> (8 * SECRET_BYTES):
        raise ValueError("these shares do not belong to one secret")
    return value.to_bytes(SECRET_BYTES, "big")


def join(shares: Mapping[int, int]) -> bytes:
    """Return the 32-byte secret of `shares`, a mapping of abscissa to share; see `combine`."""
    return combine(lagrange_at_zero(list(shares)), list(shares.values()))


def to_bytes(share: int) -> bytes:
    """Return a share as its 66 bytes, big-endian."""
    return share.to_bytes(SHARE_BYTES, "big")


def from_bytes(data: bytes) -> int:
    """Return the share in 66 bytes.

    Raises
    ------
    ValueError
        Not 66 bytes, or not an element of the field.
    """
    value = int.from_bytes(data, "big")
    if len(data) != SHARE_BYTES or value >= PRIME:
        raise ValueError("not an element of the field of 2^521 - 1")
    return value


def _evaluate(polynomial: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % PRIME
    return value
