"""IEEE half precision: 11 bits of mantissa, and a common power of two that keeps the largest value in range.

A half has five bits of exponent only, too few for updates of 1e-8 beside some of 10. So all values are scaled by one
power of two, which is exact, that brings the largest to just under 2^15; what lies 2^39 times lower becomes 0 (or, with
stochastic rounding, the smallest half now and then).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .compressor import Lossy, Tensors, Update, malformed, require_tensors
from .rounding import require_rounding

_TOP = 15  # 2^15 is finite as a half, and so is what it is rounded to
_EXPONENTS = 1100  # of any float64


@dataclass
class Float16(Lossy):
    """Half precision, with a common scale: half the bytes of float32.

    Parameters
    ----------
    rounding : str
        "stochastic", whose mean over clients and rounds is exact, or "nearest".
    """

    name: ClassVar[str] = "float16"
    summary: ClassVar[str] = "Half precision: 11 bits of mantissa, one scale for all values."

    rounding: str = "stochastic"

    def __post_init__(self) -> None:
        require_rounding(self.name, self.rounding)

    def encode(self, update: Update, rng: np.random.Generator, common: bytes) -> Tensors:
        """Return the halves and their common exponent."""
        peak = float(np.abs(update).max(initial=0.0))
        exponent = math.frexp(peak)[1] - _TOP if peak else 0
        scaled = np.ldexp(update, -exponent)
        halves = scaled.astype(np.float16)
        if self.rounding == "stochastic":
            halves = _rounded(scaled, halves, rng)
        return {"values": halves, "exponent": np.array(exponent, np.int32)}

    def decode(self, tensors: Mapping[str, NDArray[Any]], parameters: int, common: bytes) -> Update:
        """Return the update."""
        require_tensors(tensors, values=("<f2", (parameters,)), exponent=("<i4", ()))
        exponent = int(tensors["exponent"])
        if abs(exponent) > _EXPONENTS or not np.isfinite(tensors["values"]).all():
            raise malformed("it holds what is no finite number")
        update: Update = np.ldexp(tensors["values"].astype(np.float64), exponent)
        return update


def _rounded(exact: Update, nearest: NDArray[np.float16], rng: np.random.Generator) -> NDArray[np.float16]:
    """Move some of the nearest halves to the neighbour beyond the exact value, so that the expectation is exact."""
    off = exact - nearest
    away = np.where(off > 0, np.float16(np.inf), np.float16(-np.inf))
    neighbour = np.nextafter(nearest, away)
    gap = np.abs(neighbour.astype(np.float64) - nearest)
    moved: NDArray[np.float16] = np.where(rng.random(exact.size) * gap < np.abs(off), neighbour, nearest)
    return moved
