"""The range in which values are summed, over the rounds of a run.

A round in which values were clipped makes the next one's range wider. With few bits a value the range decides how
coarse they are, so there it also follows the sums down while training settles: to what the largest value of the last
opened mean, which the aggregator knows anyway, says of single ones. Each time that this was too narrow it leaves twice
the room from then on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GROWTH = 4.0
"""After a round in which values were clipped, the next one allows this many times the range."""

ROOM = 2.0
"""Room that is left at first: of n updates that have nothing in common, the mean is √n times smaller than each."""

_FALL = 16.0  # at most, from one round to the next: a quiet round says little about the one after it


@dataclass
class SumRange:
    """How the range of a run's first round is to be multiplied.

    Parameters
    ----------
    factor : float
        Of the present round.
    follows : bool
        Whether values have few bits, so that the range follows the sums down.
    room : float
        How many times √n the largest value of a mean single ones are allowed to be.
    """

    factor: float = 1.0
    follows: bool = False
    room: float = ROOM

    def after(self, clipped: int, peak: float, clip: float, summed: int) -> None:
        """Take in what a round has come to.

        Parameters
        ----------
        clipped : int
            Values beyond the range.
        peak : float
            Largest magnitude of the opened mean.
        clip : float
            The round's range, which `factor` is part of.
        summed : int
            n, updates in a mean.
        """
        if clipped:
            self.factor *= GROWTH
            self.room *= 2.0
        elif self.follows and peak:
            self.factor *= min(1.0, max(self.room * math.sqrt(summed) * peak / clip, 1.0 / _FALL))
