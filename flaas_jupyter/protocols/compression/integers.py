"""Integers of 8 or 16 bits with a scale for each block, rounded stochastically.

QSGD (Alistarh, Grubic, Li, Tomioka and Vojnovic, "QSGD: Communication-Efficient SGD via Gradient Quantization and
Encoding", NeurIPS 2017) with the blocks ("buckets") and the maximum norm of its section 4: of a block with the largest
magnitude s, x becomes round(L x / s), L = 127 or 32,767, up or down at random so that the expectation is x. No value
is off by more than s / L.

Under secure aggregation the blocks' scales would have to be known to all before the sum: there the quantiser of the sum
itself works with so many bits (`secure_aggregation.encoding`), in one range for all values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .compressor import Lossy, Tensors, Update, malformed, require_tensors
from .rounding import stochastic


@dataclass
class Integers(Lossy):
    """Whole numbers with a scale for each block.

    Parameters
    ----------
    block : int
        Values that share a scale of four bytes, from 16 on.
    """

    dtype: ClassVar[str]

    block: int = 1024

    def __post_init__(self) -> None:
        if isinstance(self.block, bool) or not isinstance(self.block, int) or not 16 <= self.block <= 1 << 24:
            raise InvalidInput(
                f"The block of the compression {self.name!r} must be a whole number from 16 to 2^24, "
                f"not {self.block!r}.",
                code="bad-compression-option",
            )

    def encode(self, update: Update, rng: np.random.Generator, common: bytes) -> Tensors:
        """Return the integers and the blocks' scales."""
        blocks = self._in_blocks(update)
        # Rounded up, so that no value of the block is beyond its scale.
        scales = np.nextafter(np.abs(blocks).max(axis=1).astype("<f4"), np.float32(np.inf))
        levels = float(np.iinfo(self.dtype).max)
        whole = stochastic(blocks * (levels / scales.astype(np.float64))[:, None], rng)
        np.clip(whole, -levels, levels, out=whole)
        return {"values": whole.reshape(-1)[: update.size].astype(self.dtype), "scales": scales}

    def decode(self, tensors: Mapping[str, NDArray[Any]], parameters: int, common: bytes) -> Update:
        """Return the update."""
        count = -(-parameters // self.block)
        require_tensors(tensors, values=(self.dtype, (parameters,)), scales=("<f4", (count,)))
        if not np.isfinite(tensors["scales"]).all() or (tensors["scales"] < 0).any():
            raise malformed("a scale is not a finite number from 0 on")
        scales = tensors["scales"].astype(np.float64)  # warns of a signalling NaN, so not before
        blocks = self._in_blocks(tensors["values"].astype(np.float64))
        blocks *= (scales / float(np.iinfo(self.dtype).max))[:, None]
        return blocks.reshape(-1)[:parameters]

    def _in_blocks(self, values: Update) -> Update:
        return np.pad(values, (0, -values.size % self.block)).reshape(-1, self.block)
