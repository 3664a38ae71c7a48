"""What a class of rows that look alike must be, to be released."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_ALMOST = 1e-12


@dataclass(frozen=True)
class Requirement:
    """k-anonymity, and l-diversity of each sensitive attribute by itself.

    Parameters
    ----------
    k : int
        Rows at least.
    l : float, optional
        Values of each sensitive attribute at least; None for no such requirement.
    diversity : str
        ``"distinct"``: l different values. ``"entropy"``: e to the entropy of the values is l (Machanavajjhala et al.
        2007, definition 4.1), so that no few of them prevail.
    sensitive : mapping of str to ndarray of int, shape (n,)
        Each sensitive attribute's value in each row, as a number from 0 on.
    """

    k: int
    l: float | None = None  # noqa: E741 - the literature's name
    diversity: str = "distinct"
    sensitive: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def holds(self, rows: NDArray[np.int64]) -> bool:
        """Tell whether the rows with these numbers may be a class."""
        if len(rows) < self.k:
            return False
        return self.l is None or all(
            self.achieved(codes[rows]) >= self.l - _ALMOST for codes in self.sensitive.values()
        )

    def achieved(self, codes: NDArray[np.int64]) -> float:
        """Return the l that a class with these sensitive values has."""
        counts = np.bincount(codes)
        counts = counts[counts > 0]
        if self.diversity == "distinct":
            return float(len(counts))
        shares = counts / counts.sum()
        return math.exp(-float(shares @ np.log(shares)))
