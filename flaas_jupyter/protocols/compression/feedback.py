"""The memory of error feedback at one client: what it has not sent yet, and whether its last message counted.

A residual is settled one round late. What a round has left becomes the residual when the aggregator says, at the
beginning of another round, that the client was counted in it; a round that was given up, tried again or went on without
the client leaves the residual as it was, and its update is lost as it is without compression.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Residual = NDArray[Any]


class ErrorFeedback:
    """What one client has not sent yet.

    Parameters
    ----------
    residual : ndarray of shape (p,), optional
        As it was left; None stands for zeros.
    pending : (int, ndarray), optional
        The round that was sent for last, and what it leaves if it counted.
    """

    def __init__(self, residual: Residual | None = None, pending: tuple[int, Residual] | None = None) -> None:
        self._residual, self._pending = residual, pending

    def carried(self, number: int, counted: int | None) -> Residual | None:
        """Return the residual with which round `number` begins.

        Parameters
        ----------
        number : int
            Of the round that begins, or begins again.
        counted : int or None
            The last round that the client was counted in, as the aggregator says; None for none.
        """
        if self._pending is not None and self._pending[0] < number:
            if self._pending[0] == counted:
                self._residual = self._pending[1]
            self._pending = None
        return self._residual

    def sent(self, number: int, residual: Residual) -> None:
        """Keep what round `number` leaves if it counts."""
        self._pending = number, residual

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it, to be saved."""
        arrays = {} if self._residual is None else {"residual": self._residual}
        if self._pending is not None:
            arrays |= {"round": np.array(self._pending[0], np.int64), "pending": self._pending[1]}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> ErrorFeedback:
        """Rebuild it from `to_arrays`."""
        pending = (int(arrays["round"]), arrays["pending"]) if "round" in arrays else None
        return cls(arrays.get("residual"), pending)
