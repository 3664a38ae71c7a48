"""What one node, and all nodes together, may take of a relay."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import InvalidInput
from ..token_bucket import TokenBucket
from .frames import FRAME_LIMIT

MIB = 1 << 20
SLOWEST_RATE = 128 << 10


@dataclass(frozen=True)
class Limits:
    """Limits of a relay; the defaults suit one process on one core.

    Parameters
    ----------
    rate : float
        Bytes a second that a key may send, over all its connections; 0 for no limit. A node that sends more is read
        more slowly.
    connections : int
        Connections of all keys together.
    connections_per_key : int
        Beyond these the key's oldest is closed: it is most likely one that the node has lost without telling us.
    strangers : int
        Connections that have not proved a key yet.
    queue : int
        Bytes that wait for one connection. What comes for one that is full is dropped, as a full router would do.
    memory : int
        Bytes that wait for all connections together.
    handshake : float
        Seconds from the TCP connection to the proved key.
    idle : float
        Seconds of silence after which a node is pinged; after twice as many its connection is closed.
    stalled : float
        Seconds for which a connection may take nothing of what waits for it.
    """

    rate: float = 64 * MIB
    connections: int = 1000
    connections_per_key: int = 4
    strangers: int = 4096
    queue: int = 4 * MIB
    memory: int = 256 * MIB
    handshake: float = 10.0
    idle: float = 15.0
    stalled: float = 10.0

    def __post_init__(self) -> None:
        if self.rate and not SLOWEST_RATE <= self.rate < math.inf:
            raise InvalidInput(
                f"A rate of {self.rate / MIB:g} MiB/s is none that can be kept.",
                code="bad-limit",
                hint=f"Allow at least {SLOWEST_RATE / MIB:g} MiB/s, or 0 for no limit.",
            )
        if self.queue < FRAME_LIMIT:
            raise InvalidInput(
                f"A queue of {self.queue} bytes does not hold one frame.",
                code="bad-limit",
                hint=f"Allow at least {FRAME_LIMIT} bytes.",
            )

    def bucket(self) -> TokenBucket:
        """Return a new key's budget of bytes; a quarter of a second's worth may come at once, at least 1 MiB."""
        return TokenBucket(self.rate, max(self.rate / 4, float(MIB)))


class Memory:
    """How many bytes wait in all queues together, and whether more may."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, amount: int) -> bool:
        """Take `amount` bytes if they are to be had."""
        if self.taken + amount > self._limit:
            return False
        self.taken += amount
        return True

    def give_back(self, amount: int) -> None:
        """Return `amount` bytes that were taken."""
        self.taken -= amount
