"""A budget that fills up steadily: what limits a rate, and lets short bursts pass."""

from __future__ import annotations

import time
from collections.abc import Callable


class TokenBucket:
    """Tokens that are earned at `rate` a second, up to `burst` of them; it begins full.

    Parameters
    ----------
    rate : float
        Tokens a second; 0 limits nothing.
    burst : float
        The most that are kept.
    clock : callable
        Returns seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left = burst
        self._at = clock()

    def spend(self, amount: float) -> float:
        """Spend `amount` in any case, on credit if need be; return how many seconds to wait until it is earned."""
        if not self._rate:
            return 0.0
        self._earn()
        self._left -= amount
        return max(0.0, -self._left / self._rate)

    def take(self, amount: float) -> bool:
        """Spend `amount` if it is there."""
        if not self._rate:
            return True
        self._earn()
        if self._left < amount:
            return False
        self._left -= amount
        return True

    def _earn(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
