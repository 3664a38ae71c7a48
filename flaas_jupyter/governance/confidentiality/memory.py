"""Unwrapped keys in memory, each for a bounded time, so that not every field costs a call of the KMS."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

CACHE_SECONDS = 300.0
CACHED_KEYS = 4096


class UnwrappedKeys:
    """At most `CACHED_KEYS` keys by what they are wrapped as; the least recently used goes first.

    Parameters
    ----------
    seconds : float
        How long a key is kept.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, seconds: float = CACHE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def __repr__(self) -> str:
        return f"UnwrappedKeys({len(self)})"

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._keys)

    def get(self, wrapped: str) -> bytes | None:
        """Return the key that `wrapped` was unwrapped to, if that is not too long ago."""
        name = _name(wrapped)
        with self._lock:
            kept = self._keys.get(name)
            if kept is None:
                return None
            if kept[0] <= self._clock():
                del self._keys[name]
                return None
            self._keys.move_to_end(name)
            return kept[1]

    def keep(self, wrapped: str, key: bytes) -> None:
        """Keep what `wrapped` was unwrapped to, and drop what has been kept long enough."""
        now = self._clock()
        with self._lock:
            for name in [name for name, (until, _) in self._keys.items() if until <= now]:
                del self._keys[name]
            while len(self._keys) >= CACHED_KEYS:
                self._keys.popitem(last=False)
            self._keys[_name(wrapped)] = (now + self._seconds, key)


def _name(wrapped: str) -> bytes:
    return hashlib.sha256(wrapped.encode()).digest()
