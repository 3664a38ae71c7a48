"""A masked vector in fewer bytes, where values have fewer bits than the sum has room for.

Masks are added modulo 2^32. What is below 2^m of a sum depends on what is below 2^m of its terms only, so a member may
leave the upper bits of its masked values away, and whoever adds up and unmasks leaves them away once more at the end
(`decode_sum`): the masks are as uniform modulo 2^m as modulo 2^32. m is `sum_bits`, e.g. 10 for 8-bit values of three
members. The scalars before the values need all 32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .encoding import Vector, sum_bits
from .settings import RoundSettings

_BLOCK = 1 << 16  # values, a multiple of eight; a block's bits are a byte each for a moment


def packed_size(parameters: int, settings: RoundSettings) -> int:
    """Return the bytes of so many packed values: ⌈m p / 8⌉."""
    return -(-parameters * sum_bits(settings) // 8)


def pack(masked: Vector, parameters: int, settings: RoundSettings) -> tuple[Vector, NDArray[np.uint8]]:
    """Return the scalars, and the low m bits of each value, one after the other.

    Parameters
    ----------
    masked : ndarray of uint32, shape (s + parameters,)
        From `Member.mask`.
    parameters : int
        p: the last so many are values.
    settings : RoundSettings
        Of the round.
    """
    scalars, values = masked[: masked.size - parameters], masked[masked.size - parameters :].astype("<u4")
    bits = sum_bits(settings)
    packed = np.empty(packed_size(parameters, settings), np.uint8)
    for start in range(0, parameters, _BLOCK):
        block = values[start : start + _BLOCK].view(np.uint8).reshape(-1, 4)
        low = np.unpackbits(block, axis=1, bitorder="little")[:, :bits]
        made = np.packbits(low, bitorder="little")
        packed[start * bits // 8 : start * bits // 8 + made.size] = made
    return scalars, packed


def unpack(scalars: Vector, packed: NDArray[np.uint8], parameters: int, settings: RoundSettings) -> Vector:
    """Return the vector that was packed, with zeros for the bits that were left away.

    Raises
    ------
    InvalidInput
        Code ``secagg-malformed``: not of the length that so many values have.
    """
    wanted = packed_size(parameters, settings)
    if scalars.dtype != np.uint32 or scalars.ndim != 1 or packed.dtype != np.uint8 or packed.shape != (wanted,):
        raise InvalidInput(
            f"A packed masked vector of {parameters} values has {wanted} bytes, not {packed.dtype} of shape "
            f"{packed.shape}.",
            code="secagg-malformed",
        )
    bits = sum_bits(settings)
    masked = np.empty(scalars.size + parameters, np.uint32)
    masked[: scalars.size] = scalars
    values = masked[scalars.size :]
    for start in range(0, parameters, _BLOCK):
        count = min(_BLOCK, parameters - start)
        piece = packed[start * bits // 8 : -(-(start + count) * bits // 8)]
        whole = np.zeros((count, 32), np.uint8)
        whole[:, :bits] = np.unpackbits(piece, count=count * bits, bitorder="little").reshape(count, bits)
        values[start : start + count] = np.packbits(whole, axis=1, bitorder="little").view("<u4").reshape(-1)
    return masked
