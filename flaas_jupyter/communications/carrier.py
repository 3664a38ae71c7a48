"""What the mesh needs of a transport: authenticated connections by public key that carry many streams.

A carrier proves to each end the other's Ed25519 key before it hands out a connection, keeps the bytes from
everybody else, and lets a stream be abandoned alone. QUIC does all three (`iroh_carrier`); TLS 1.3 with
pinned keys can.

Every operation raises `Unreachable` when the stream or connection is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .wire import Buffer

NORMAL, REFUSED, SUPERSEDED, SILENT = 0, 403, 409, 408
"""Codes with which one end closes a connection or abandons a stream."""


@dataclass(frozen=True)
class Closing:
    """Why a connection ended; `code` is None when it was lost rather than closed by the far side."""

    code: int | None
    reason: str


class Stream(Protocol):
    """One ordered stream of bytes in each direction."""

    async def write(self, data: Buffer) -> None:
        """Send `data`; returns when the transport has taken it."""

    async def finish(self) -> None:
        """Say that nothing more will be written."""

    async def readinto(self, view: memoryview) -> None:
        """Fill all of `view`; `EOFError` if the far side finished before."""

    async def stop_reading(self) -> None:
        """Give up what the far side still writes: its writes fail, ours go on. Never raises."""

    async def abandoned(self) -> None:
        """Return when the far side will read no more; may be cancelled at any time."""

    async def abandon(self) -> None:
        """Give up both directions at once; the far side's reads and writes fail. Never raises."""


class Connection(Protocol):
    """A live connection with one authenticated peer."""

    @property
    def node_id(self) -> str:
        """The key that the far side proved, 64 hex digits."""

    @property
    def is_open(self) -> bool:
        """Tell whether the connection still stands."""

    async def open_stream(self) -> Stream:
        """Open a stream; waits while the far side allows no more at once."""

    async def accept_stream(self) -> Stream:
        """Return the next stream that the far side opened."""

    async def closed(self) -> Closing:
        """Wait for the end of the connection and tell why."""

    def close(self, code: int, reason: str) -> None:
        """End the connection: all that waits on it fails at once, and the far side is told why."""


class Carrier(Protocol):
    """A transport bound to this node's key."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this node can be dialled, ``ip:port``, for its directory record."""

    async def dial(self, node_id: str, addresses: Sequence[str]) -> Connection:
        """Connect to the holder of `node_id` at one of `addresses`; nobody else can answer."""

    async def accept(self) -> Connection:
        """Return the next connection that a peer opened, with its key proved."""

    async def close(self) -> None:
        """End all connections and free the sockets."""
