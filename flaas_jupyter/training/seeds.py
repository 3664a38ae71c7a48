"""What is random in a client's local training, from a seed and the client alone.

Shuffling and drop-out depend on the plan's seed, the client and the round only, so that a round that is repeated
gives the same update, wherever it runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHUFFLING, _RANDOM_LAYERS = 0, 1


@dataclass(frozen=True)
class ClientSeeds:
    """The random numbers of one client.

    Parameters
    ----------
    seed : int
        The plan's.
    salt : int
        Makes the client's numbers its own, e.g. `Arrays.checksum` of its rows.
    """

    seed: int
    salt: int

    def order(self, round_number: int, epoch: int, rows: int) -> NDArray[np.int64]:
        """Return a permutation of ``range(rows)``: the order of the rows in one local epoch."""
        return self.shuffling(round_number, epoch).permutation(rows)

    def shuffling(self, round_number: int, epoch: int) -> np.random.Generator:
        """Return what the order of the rows in one local epoch is drawn from."""
        return np.random.default_rng(self._words(_SHUFFLING, round_number, epoch))

    def random_state(self, round_number: int, index: int) -> int:
        """Return the seed of the model's `index`-th random layer in a round, below 2^31."""
        # Seeds are unsigned on some backends and signed on others.
        return int(self._words(_RANDOM_LAYERS, round_number, index)[0]) & 0x7FFFFFFF

    def _words(self, *purpose: int) -> NDArray[np.uint32]:
        return np.random.SeedSequence([self.seed, self.salt, *purpose]).generate_state(4).astype(np.uint32)
