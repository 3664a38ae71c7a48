"""Masks: AES-256-CTR keystreams read as little-endian uint32, added to a vector modulo 2^32.

A mask is never held whole. The vector is walked in blocks that stay in the processor's second-level cache,
and each block takes the next piece of every keystream through one small buffer; so masking needs no memory
that grows with vector or members, and reads and writes the vector itself only once. The cipher and numpy both
let go of the interpreter's lock. A key is used for one mask only, which is why the counter may start at zero.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 18
_CIPHER_BLOCK = 16
_ZEROS = memoryview(bytes(BLOCK_BYTES))

Vector = NDArray[np.uint32]


def apply_masks(vector: Vector, *, add: Iterable[bytes] = (), subtract: Iterable[bytes] = ()) -> None:
    """Add the masks of the 32-byte keys `add` to `vector`, and subtract those of `subtract`, in place.

    Parameters
    ----------
    vector : ndarray of uint32, shape (m,)
        Contiguous; changed in place, modulo 2^32.
    add, subtract : iterable of bytes
        AES-256 keys.
    """
    streams = [(_encryptor(key), np.add) for key in add] + [(_encryptor(key), np.subtract) for key in subtract]
    buffer = bytearray(BLOCK_BYTES + _CIPHER_BLOCK)  # update_into wants a cipher block of room beyond its output
    piece = np.frombuffer(buffer, dtype="<u4")
    for start in range(0, vector.size, BLOCK_BYTES // 4):
        block = vector[start : start + BLOCK_BYTES // 4]
        zeros, mask = _ZEROS[: block.nbytes], piece[: block.size]
        for cipher, combine in streams:
            cipher.update_into(zeros, buffer)
            combine(block, mask, out=block)


def _encryptor(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(_CIPHER_BLOCK))).encryptor()
