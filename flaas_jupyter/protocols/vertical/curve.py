"""Points of Curve25519 made from ids, and blinded by secret scalars, on the X25519 of `cryptography`.

X25519 (RFC 7748) takes any 32 bytes for a u-coordinate, of a point of the curve or of its quadratic twist, and the
result is on the same of the two. Which one would be a bit about the id that survives blinding. So a digest is hashed
again until it is on the curve: u³ + 486662 u² + u is a square modulo p = 2²⁵⁵ − 19. X25519 clamps scalars to
multiples of the cofactor 8, so that results lie in the prime-order subgroup whichever point came in.

The Legendre symbol is gmpy2's where that is installed, and Python's own otherwise, eight times slower.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from numpy.typing import NDArray

from ...errors import InvalidInput

P = 2**255 - 19
_A = 486662
_DOMAIN = b"flaas-psi-x25519-v1"
SIZE = 32
"""Bytes of a point."""


def jacobi(a: int, n: int) -> int:
    """Return the Jacobi symbol (a/n) for odd n > 0; for a prime n it is the Legendre symbol: 1 for squares.

    The binary algorithm (Cohen, "A Course in Computational Algebraic Number Theory", 1.4.10).
    """
    a %= n
    result = 1
    while a:
        twos = (a & -a).bit_length() - 1
        a >>= twos
        if twos & 1 and n & 7 in (3, 5):
            result = -result
        if a & 3 == 3 and n & 3 == 3:
            result = -result
        a, n = n % a, a
    return result if n == 1 else 0


def _tester() -> tuple[str, Callable[[bytes], bool]]:
    """Return who computes Legendre symbols, and whether 32 bytes are the u-coordinate of a point of the curve."""
    try:
        gmpy2: Any = importlib.import_module("gmpy2")
    except ImportError:

        def with_python(point: bytes) -> bool:
            u = int.from_bytes(point, "little")
            return jacobi(u * (u * (u + _A) + 1), P) == 1

        return "python", with_python

    p, a, from_bytes, legendre = gmpy2.mpz(P), gmpy2.mpz(_A), gmpy2.mpz.from_bytes, gmpy2.legendre

    def with_gmpy2(point: bytes) -> bool:
        u = from_bytes(point, "little")
        return bool(legendre(u * (u * (u + a) + 1) % p, p) == 1)

    return "gmpy2", with_gmpy2


ARITHMETIC, on_curve = _tester()


def hash_to_curve(value: bytes) -> bytes:
    """Return the point that stands for `value`: 32 bytes, on the curve and not on its twist.

    SHA-512 of a domain, a counter and the value gives two candidates at a time; two are needed on average. The number
    of trials depends on the value, and is not secret from the party that holds it.
    """
    counter = 0
    while True:
        digest = hashlib.sha512(_DOMAIN + counter.to_bytes(4, "big") + value).digest()
        for half in (digest[:SIZE], digest[SIZE:]):
            point = half[:31] + bytes((half[31] & 127,))
            if on_curve(point):
                return point
        counter += 1


def blind(points: Iterable[bytes], key: X25519PrivateKey) -> bytes:
    """Return the points multiplied by a secret scalar, 32 bytes each, one after another.

    Raises
    ------
    InvalidInput
        Code ``bad-point``: one of them is of small order, which no id gives.
    """
    exchange, read = key.exchange, X25519PublicKey.from_public_bytes
    try:
        return b"".join([exchange(read(point)) for point in points])
    except ValueError as error:
        raise InvalidInput(
            "A point of the other party is of small order, which no id gives.",
            code="bad-point",
            hint="The other party does not follow the protocol.",
        ) from error


def as_points(data: bytes) -> NDArray[np.uint8]:
    """Return points one after another as an array, uint8 of shape (n, 32)."""
    return np.frombuffer(data, np.uint8).reshape(-1, SIZE)


def as_list(points: NDArray[np.uint8]) -> Sequence[bytes]:
    """Return an array of points, uint8 of shape (n, 32), as a list of 32 bytes each."""
    data = np.ascontiguousarray(points).tobytes()
    return [data[at : at + SIZE] for at in range(0, len(data), SIZE)]
