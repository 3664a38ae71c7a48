"""Random-k: k coordinates drawn anew in each round, the same for all clients, with error feedback.

As all clients send the same coordinates, these need not be sent, and the vectors of k values can be added up under
masks or compared by a robust rule as whole updates can: what top-k cannot give. Konečný et al., "Federated Learning:
Strategies for Improving Communication Efficiency", 2016 (arXiv 1610.05492, section 2, "random mask"), with the error
feedback of Stich, Cordonnier and Jaggi (NeurIPS 2018), in place of scaling by p / k.

The coordinates are those of the k smallest of p 64-bit numbers of PCG64 (its stream is fixed for good, other than what
NumPy draws from it), seeded with the SHA-256 of `common`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .compressor import Tensors, Update, malformed, require_tensors
from .sparse import Sparse


@dataclass
class RandomK(Sparse):
    """Coordinates that are drawn for each round, the same for all; the rest waits at the clients for later rounds."""

    name: ClassVar[str] = "randomk"
    summary: ClassVar[str] = "Coordinates drawn for each round, the same for all; the rest waits for later rounds."

    @property
    def summable(self) -> bool:
        """Sums of the same coordinates can be taken under masks."""
        return True

    def coordinates(self, parameters: int, common: bytes) -> NDArray[np.intp]:
        """Return the round's coordinates, ascending."""
        seed = int.from_bytes(hashlib.sha256(b"flaas/random-k/1" + common).digest(), "big")
        drawn = np.random.PCG64(seed).random_raw(parameters)
        count = self.count(parameters)
        return np.sort(np.argpartition(drawn, count - 1)[:count])

    def encode(self, update: Update, rng: np.random.Generator, common: bytes) -> Tensors:
        """Return the values of the round's coordinates."""
        return {"values": update[self.coordinates(update.size, common)].astype("<f4")}

    def decode(self, tensors: Mapping[str, NDArray[Any]], parameters: int, common: bytes) -> Update:
        """Return the update, 0 where nothing was sent."""
        require_tensors(tensors, values=("<f4", (self.count(parameters),)))
        if not np.isfinite(tensors["values"]).all():
            raise malformed("it holds what is no finite number")
        update = np.zeros(parameters)
        update[self.coordinates(parameters, common)] = tensors["values"]
        return update
