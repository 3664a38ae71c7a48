"""What top-k and random-k have in common: how many coordinates are sent, and error feedback for the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ...errors import InvalidInput
from .compressor import Lossy


@dataclass
class Sparse(Lossy):
    """Some coordinates of the update; the rest waits in the client's residual.

    Parameters
    ----------
    fraction : float
        Of the coordinates, above 0 and at most 1; at least one is sent.
    """

    remembers: ClassVar[bool] = True

    fraction: float = 0.01

    def __post_init__(self) -> None:
        number = self.fraction
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0.0 < number <= 1.0:
            raise InvalidInput(
                f"The fraction of the compression {self.name!r} must be a number above 0 and at most 1, "
                f"not {number!r}.",
                code="bad-compression-option",
            )

    def count(self, parameters: int) -> int:
        """Return k, how many of `parameters` coordinates are sent."""
        return min(parameters, max(1, math.ceil(self.fraction * parameters)))
