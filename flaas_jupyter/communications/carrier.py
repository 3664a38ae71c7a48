"""What the mesh needs of a transport: authenticated connections by public key that carry many streams.

A carrier proves to each end the other's Ed25519 key before it hands out a connection, keeps the bytes from
everybody else, and lets a stream be abandoned alone. QUIC does all three (`iroh_carrier`); TLS 1.3 does the first two,
and frames over it the third (`tls_carrier`).

Every operation raises `Unreachable` when the stream or connection is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from .wire import Buffer

NORMAL, REFUSED, SUPERSEDED, SILENT = 0, 403, 409, 408
"""Codes with which one end closes a connection or abandons a stream."""


@dataclass(frozen=True)
class Whereabouts:
    """Where a node can be reached, as its directory record says.

    Parameters
    ----------
    addresses : tuple of str
        ``ip:port`` or ``[ip6]:port`` of QUIC over UDP.
    tls : tuple of str
        The same of TLS over TCP.
    relays : tuple of str
        URLs of the relays at which it waits.
    """

    addresses: tuple[str, ...] = ()
    tls: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.tls or self.relays)

    def __str__(self) -> str:
        return ", ".join((*self.addresses, *self.tls, *self.relays)) or "no address"


@dataclass(frozen=True)
class Way:
    """One way in which a peer may be reached.

    Parameters
    ----------
    kind : str
        ``direct``, ``relay`` or ``tls``, as of `Path`.
    remote : str
        The address, or the relay's URL.
    problem : str, optional
        What stands in its way, or has last time; None for nothing that is known.
    """

    kind: Literal["direct", "relay", "tls"]
    remote: str
    problem: str | None = None


@dataclass(frozen=True)
class Path:
    """How a live connection runs now.

    Parameters
    ----------
    kind : str
        ``direct`` (QUIC over UDP), ``relay``, or ``tls`` (over TCP, directly).
    remote : str
        The peer's address, or the relay's URL.
    rtt : float, optional
        Round trip in seconds, as the transport measures it.
    """

    kind: Literal["direct", "relay", "tls"]
    remote: str
    rtt: float | None


@dataclass(frozen=True)
class Closing:
    """Why a connection ended; `code` is None when it was lost rather than closed by the far side."""

    code: int | None
    reason: str


BULK, URGENT = -1, 1
"""Priorities of a stream beside the usual one, 0."""


class Stream(Protocol):
    """One ordered stream of bytes in each direction."""

    async def prioritise(self, priority: int) -> None:
        """Say how urgent is what is written from now on; a transport that knows no priorities does nothing."""

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

    @property
    def path(self) -> Path | None:
        """How the connection runs now; it may change while it lives. None while there is no way known."""

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
    def whereabouts(self) -> Whereabouts:
        """Where this node can be reached, for its directory record."""

    @property
    def is_open(self) -> bool:
        """Tell whether peers can connect; false once it is closed, and should it have failed."""

    async def moved(self) -> None:
        """Return once `whereabouts` has changed since the last time that this returned."""

    def ways(self, whereabouts: Whereabouts) -> tuple[Way, ...]:
        """Return the ways that `dial` knows, and what stands in those that it does not take."""

    async def dial(self, node_id: str, whereabouts: Whereabouts) -> Connection:
        """Connect to the holder of `node_id` in whichever way works first; nobody else can answer."""

    async def accept(self) -> Connection:
        """Return the next connection that a peer opened, with its key proved."""

    async def close(self) -> None:
        """End all connections and free the sockets."""
