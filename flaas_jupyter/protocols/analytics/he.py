"""Sums by homomorphic encryption: the same integers as under masks, encrypted under one key.

BFV (Brakerski, CRYPTO 2012; Fan and Vercauteren, ePrint 2012/144) as Microsoft SEAL has it, through TenSEAL. A *key
holder*, who is not the releaser, makes a key pair for one sum; members encrypt their limbs; the releaser adds the
ciphertexts; the key holder decrypts the sum and nothing else. BFV is exact: what is decrypted is the sum of the limbs,
the same number that opened masks give.

Degree 4096 with SEAL's moduli of 109 bits in all has 128 bits of security by the table of homomorphicencryption.org;
the plain modulus is a prime of 29 bits that is 1 modulo 8192, so that 4096 numbers go into one ciphertext and the sum
of 1,000 limbs of 16 bits does not wrap. Additions use ten bits of the noise that may grow; no products are taken.

Needs the extra ``he``, and says so when it is missing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..tenseal_library import tenseal as _tenseal

DEGREE = 4096
PLAIN_MODULUS = 268_460_033
MAXIMUM_MEMBERS = 1000
LIMB = 1 << 16
MAXIMUM_LENGTH = 6 << 20
"""Limbs of one vector."""

_CIPHERTEXT_BYTES = 1 << 18
_CONTEXT_BYTES = 1 << 20
_COUNT = struct.Struct(">I")

Vector = NDArray[np.uint32]


@dataclass(frozen=True)
class Key:
    """A key pair for one sum; its secret half never leaves this object.

    Attributes
    ----------
    public : bytes
        What members encrypt with, about 130 kB.
    members : int
        How many may be in the sum.
    """

    public: bytes = field(repr=False)
    members: int
    _context: Any = field(repr=False)


def make_key(members: int) -> Key:
    """Make a fresh key pair for the sum of up to `members` vectors.

    Raises
    ------
    InvalidInput
        ``missing-extra``; ``he-too-many-members``.
    """
    if not 1 <= members <= MAXIMUM_MEMBERS:
        raise InvalidInput(
            f"A sum by homomorphic encryption has 1 to {MAXIMUM_MEMBERS} members, not {members}.",
            code="he-too-many-members",
            hint='Use via="mpc".',
        )
    context = _fresh()
    public = context.serialize(
        save_public_key=True, save_secret_key=False, save_galois_keys=False, save_relin_keys=False
    )
    return Key(bytes(public), members, context)


def encrypt(public: bytes, vector: Vector) -> bytes:
    """Encrypt a vector of limbs.

    Parameters
    ----------
    public : bytes
        `Key.public`.
    vector : ndarray of uint32, shape (n,)
        Each below 2^16.

    Returns
    -------
    bytes
        About 88 kB for each 4096 limbs.

    Raises
    ------
    InvalidInput
        ``missing-extra``; ``wrong-shape``; ``he-malformed``: `public` is not such a key.
    """
    if not isinstance(vector, np.ndarray) or vector.dtype != np.uint32 or vector.ndim != 1:
        raise InvalidInput("Limbs to be encrypted must be a row of uint32.", code="wrong-shape")
    if vector.size > MAXIMUM_LENGTH or int(vector.max(initial=0)) >= LIMB:
        raise InvalidInput(
            f"A vector to be encrypted has up to {MAXIMUM_LENGTH} limbs, each below 2^16.", code="wrong-shape"
        )
    tenseal, context = _tenseal(), _context_from(public)
    pieces = []
    for start in range(0, vector.size, DEGREE):
        encrypted = tenseal.bfv_vector(context, vector[start : start + DEGREE].tolist())
        pieces.append(bytes(encrypted.serialize()))
    return _framed(pieces)


def add(public: bytes, ciphertexts: Sequence[bytes]) -> bytes:
    """Add ciphertexts of vectors of one length.

    Raises
    ------
    InvalidInput
        ``missing-extra``; ``he-malformed``: one is not a ciphertext, or of another length than the rest.
    """
    context = _context_from(public)
    listed = [_pieces(ciphertext) for ciphertext in ciphertexts]
    if not listed or len({len(pieces) for pieces in listed}) != 1:
        raise _malformed("the ciphertexts are of different lengths, or there are none")
    sums = []
    for together in zip(*listed, strict=True):
        total = _read(context, together[0])
        for piece in together[1:]:
            other = _read(context, piece)
            if other.size() != total.size():
                raise _malformed("the ciphertexts are of different lengths")
            total += other
        sums.append(bytes(total.serialize()))
    return _framed(sums)


def decrypt(key: Key, ciphertext: bytes, length: int) -> Vector:
    """Decrypt a sum.

    Parameters
    ----------
    key : Key
    ciphertext : bytes
        What `add` returned.
    length : int
        Limbs of the vectors.

    Returns
    -------
    ndarray of uint32, shape (length,)

    Raises
    ------
    InvalidInput
        Code ``he-malformed``: it is no ciphertext of this key and length, or not the sum of that many limbs.
    """
    values: list[int] = []
    for piece in _pieces(ciphertext):
        values.extend(_read(key._context, piece).decrypt())
    found = np.array(values, np.int64)
    if found.size != length or (found.size and not 0 <= int(found.min()) <= int(found.max()) < key.members * LIMB):
        raise _malformed("it does not decrypt to the sum of that many vectors of limbs")
    return found.astype(np.uint32)


def _context_from(public: bytes) -> Any:
    """The public half of a key, whose parameters are ours."""
    tenseal = _tenseal()
    if not isinstance(public, bytes) or not 0 < len(public) <= _CONTEXT_BYTES:
        raise _malformed("the key is not bytes, or too long")
    try:
        context = tenseal.context_from(public)
        parameters = _parameters(context)
    except Exception as error:  # TenSEAL raises whatever C++ or its protocol buffers do
        raise _malformed(f"the key cannot be read ({type(error).__name__})") from error
    if parameters != _own_parameters() or context.has_secret_key() or not context.has_public_key():
        raise _malformed("the key has other parameters than this release uses, or is no public key")
    return context


def _fresh() -> Any:
    tenseal = _tenseal()
    return tenseal.context(tenseal.SCHEME_TYPE.BFV, poly_modulus_degree=DEGREE, plain_modulus=PLAIN_MODULUS)


def _parameters(context: Any) -> tuple[int, ...]:
    """SEAL's digest of scheme, degree and both moduli."""
    return tuple(context.seal_context().data.key_parms_id())


@lru_cache(maxsize=1)
def _own_parameters() -> tuple[int, ...]:
    return _parameters(_fresh())


def _read(context: Any, piece: bytes) -> Any:
    try:
        return _tenseal().bfv_vector_from(context, piece)
    except Exception as error:  # as above
        raise _malformed(f"a ciphertext cannot be read ({type(error).__name__})") from error


def _framed(pieces: Sequence[bytes]) -> bytes:
    return b"".join([_COUNT.pack(len(pieces)), *(_COUNT.pack(len(piece)) + piece for piece in pieces)])


def _pieces(data: bytes) -> list[bytes]:
    if not isinstance(data, bytes) or len(data) < _COUNT.size:
        raise _malformed("a ciphertext is too short")
    (count,) = _COUNT.unpack_from(data)
    if count > MAXIMUM_LENGTH // DEGREE + 1:
        raise _malformed("a ciphertext has too many pieces")
    at, pieces = _COUNT.size, []
    for _ in range(count):
        if at + _COUNT.size > len(data):
            raise _malformed("a ciphertext is cut off")
        (size,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        if size > _CIPHERTEXT_BYTES or at + size > len(data):
            raise _malformed("a ciphertext is cut off")
        pieces.append(data[at : at + size])
        at += size
    if at != len(data):
        raise _malformed("a ciphertext has more bytes than it says")
    return pieces


def _malformed(why: str) -> InvalidInput:
    return InvalidInput(f"This is not homomorphic encryption as it should be: {why}.", code="he-malformed")
