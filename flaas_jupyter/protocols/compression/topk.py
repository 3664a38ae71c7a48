"""Top-k: the k coordinates of largest magnitude, with error feedback.

Stich, Cordonnier and Jaggi, "Sparsified SGD with Memory", NeurIPS 2018. Every client sends other coordinates, eight
bytes for each: that pays where fewer than half of them are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .compressor import Tensors, Update, malformed, require_tensors
from .sparse import Sparse


@dataclass
class TopK(Sparse):
    """The coordinates of largest magnitude; the rest waits at the client for later rounds."""

    name: ClassVar[str] = "topk"
    summary: ClassVar[str] = "The coordinates of largest magnitude; the rest waits at the client for later rounds."
    comparable: ClassVar[bool] = False

    def encode(self, update: Update, rng: np.random.Generator, common: bytes) -> Tensors:
        """Return the coordinates, ascending, and their values."""
        count = self.count(update.size)
        kept = np.sort(np.argpartition(np.abs(update), update.size - count)[update.size - count :])
        return {"coordinates": kept.astype("<u4"), "values": update[kept].astype("<f4")}

    def decode(self, tensors: Mapping[str, NDArray[Any]], parameters: int, common: bytes) -> Update:
        """Return the update, 0 where nothing was sent."""
        count = self.count(parameters)
        require_tensors(tensors, coordinates=("<u4", (count,)), values=("<f4", (count,)))
        places, values = tensors["coordinates"], tensors["values"]
        if int(places[-1]) >= parameters or not (places[1:] > places[:-1]).all():
            raise malformed(f"its coordinates do not ascend within {parameters}")
        if not np.isfinite(values).all():
            raise malformed("it holds what is no finite number")
        update = np.zeros(parameters)
        update[places] = values
        return update
