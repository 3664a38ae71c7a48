"""Masks: AES-256-CTR keystreams read as little-endian uint32, added to a vector modulo 2^32.

A mask is never held whole. The vector is walked in blocks that stay in the processor's second-level cache,
and each block takes the next piece of every keystream through one small buffer; so masking needs no memory
that grows with vector or members, and reads and writes the vector itself only once. The cipher and numpy both
let go of the interpreter's lock. A key is used for one mask only, which is why the counter may start at zero;
the counter also leads to any place of a mask directly, so that blocks of a vector can come one at a time and in
any order.
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


class Masks:
    """The masks of some keys, to be applied to a vector block by block.

    Blocks that follow each other cost no more than the vector at once; a jump costs a few microseconds a key.

    Parameters
    ----------
    add, subtract : iterable of bytes
        AES-256 keys.
    """

    def __init__(self, add: Iterable[bytes] = (), subtract: Iterable[bytes] = ()) -> None:
        self._keys = [(key, np.add) for key in add] + [(key, np.subtract) for key in subtract]
        self._streams: list[tuple[CipherContext, np.ufunc]] = []
        self._place = -1
        # update_into wants a cipher block of room beyond its output.
        self._buffer = bytearray(BLOCK_BYTES + _CIPHER_BLOCK)

    def apply(self, block: Vector, offset: int = 0) -> None:
        """Apply the masks to a part of the vector, in place, modulo 2^32.

        Parameters
        ----------
        block : ndarray of uint32, shape (m,)
            Contiguous; changed in place.
        offset : int
            Place of its first value in the vector.
        """
        if offset != self._place:
            self._streams = [(_keystream(key, offset), combine) for key, combine in self._keys]
        buffer = self._buffer
        piece = np.frombuffer(buffer, dtype="<u4")
        for start in range(0, block.size, BLOCK_BYTES // 4):
            part = block[start : start + BLOCK_BYTES // 4]
            zeros, mask = _ZEROS[: part.nbytes], piece[: part.size]
            for cipher, combine in self._streams:
                cipher.update_into(zeros, buffer)
                combine(part, mask, out=part)
        self._place = offset + block.size


def apply_masks(vector: Vector, *, add: Iterable[bytes] = (), subtract: Iterable[bytes] = (), offset: int = 0) -> None:
    """Add the masks of the 32-byte keys `add` to `vector`, and subtract those of `subtract`, in place.

    Parameters
    ----------
    vector : ndarray of uint32, shape (m,)
        Contiguous; changed in place, modulo 2^32.
    add, subtract : iterable of bytes
        AES-256 keys.
    offset : int
        Place of the vector's first value in the masks.
    """
    Masks(add, subtract).apply(vector, offset)


def _keystream(key: bytes, offset: int) -> CipherContext:
    block, skip = divmod(4 * offset, _CIPHER_BLOCK)
    cipher = Cipher(algorithms.AES256(key), modes.CTR(block.to_bytes(_CIPHER_BLOCK, "big"))).encryptor()
    if skip:
        cipher.update(bytes(skip))
    return cipher
