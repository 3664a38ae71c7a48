"""The upper half of a float32 (bfloat16): 8 bits of mantissa with the whole range of exponents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .compressor import Lossy, Tensors, Update, malformed, require_tensors
from .rounding import require_rounding

_LARGEST = np.uint32(0x7F7F0000).view(np.float32)  # finite, and so is what it is rounded to


@dataclass
class BFloat16(Lossy):
    """The upper half of a float32: half the bytes, 8 bits of mantissa, no scale.

    Parameters
    ----------
    rounding : str
        "stochastic", whose mean over clients and rounds is exact, or "nearest".
    """

    name: ClassVar[str] = "bfloat16"
    summary: ClassVar[str] = "The upper half of a float32: 8 bits of mantissa."

    rounding: str = "stochastic"

    def __post_init__(self) -> None:
        require_rounding(self.name, self.rounding)

    def encode(self, update: Update, rng: np.random.Generator, common: bytes) -> Tensors:
        """Return the upper halves; a bit of the lower one is carried at random, or to the nearest even."""
        bits = np.clip(update, -_LARGEST, _LARGEST).astype("<f4").view("<u4")
        if self.rounding == "stochastic":
            carry = rng.integers(0, 1 << 16, bits.size, dtype=np.uint32)
        else:
            carry = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return {"values": ((bits + carry) >> np.uint32(16)).astype("<u2")}

    def decode(self, tensors: Mapping[str, NDArray[Any]], parameters: int, common: bytes) -> Update:
        """Return the update."""
        require_tensors(tensors, values=("<u2", (parameters,)))
        values = (tensors["values"].astype("<u4") << np.uint32(16)).view("<f4").astype(np.float64)
        if not np.isfinite(values).all():
            raise malformed("it holds what is no finite number")
        return values
