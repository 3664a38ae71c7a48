"""Shamir's secret sharing over the prime field of 2^521 - 1.

Shamir, "How to Share a Secret", Communications of the ACM 22 (1979): the secret is a random polynomial's
value at 0, a share its value at the holder's abscissa 1, 2, …; any `threshold` shares determine it and fewer
say nothing. The Mersenne prime holds 32-byte keys in one element. Python's integers do not run in constant
time; a timing observer would have to sit on the machine that holds the secret.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence

PRIME = (1 << 521) - 1
SHARE_BYTES = 66
SECRET_BYTES = 32


def split(secret: bytes, holders: int, threshold: int) -> list[int]:
    """Return the shares of `secret` (32 bytes) for the abscissas 1 … `holders`."""
    return deal(secret, range(1, holders + 1), threshold)


def deal(secret: bytes, abscissas: Sequence[int], threshold: int) -> list[int]:
    """Return the shares of `secret` (32 bytes) at `abscissas`, distinct and from 1; any `threshold` of them open it."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(abscissas):
        raise ValueError(f"{len(secret)} bytes, {len(abscissas)} holders and threshold {threshold} do not go together")
    polynomial = [int.from_bytes(secret, "big"), *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    return [_evaluate(polynomial, x) for x in abscissas]


def lagrange_at_zero(abscissas: Sequence[int]) -> list[int]:
    """Return the factors whose scalar product with the shares at distinct `abscissas` is the secret.

    They depend on the holders only, so one call serves all secrets that the same holders open. The factor of x is the
    product of all abscissas, over x times the product of its distances from the others; one inversion serves all
    (Montgomery's trick).
    """
    product = math.prod(abscissas)
    bottoms = [x * math.prod(other - x for other in abscissas if other != x) % PRIME for x in abscissas]
    before = [1]
    for bottom in bottoms:
        before.append(before[-1] * bottom % PRIME)
    inverse = pow(before[-1], -1, PRIME)
    factors = []
    for bottom, head in zip(reversed(bottoms), reversed(before[:-1]), strict=True):
        factors.append(product * inverse * head % PRIME)
        inverse = inverse * bottom % PRIME
    return factors[::-1]


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
    for place, coefficient in enumerate(reversed(polynomial)):
        value = value * x + coefficient
        if place % 24 == 23:  # abscissas are small, and a division costs more than a few longer products
            value %= PRIME
    return value % PRIME
