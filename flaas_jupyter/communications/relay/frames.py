"""The frames of iroh's relay protocol: one WebSocket message each, the type in its first byte.

Types are QUIC variable-length integers (RFC 9000, section 16); all that are defined fit in one byte. A type that is
not known here belongs to a later version and is ignored; one that only relays send is an error. What a datagram
frame carries is sealed and passed on as it is, so only its outline is checked: a receiver would drop its connection
to us over a frame that it cannot read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ...errors import InvalidInput

VERSION_2, VERSION_1 = "iroh-relay-v2", "iroh-relay-v1"
VERSIONS = (VERSION_2, VERSION_1)
"""WebSocket subprotocols, the preferred one first."""
KEY_BYTES = 32
FRAME_LIMIT = 1 + (64 << 10)
"""Bytes of the largest frame, its type included; receivers refuse larger ones."""

_PAYLOAD = 8
_TIMES = struct.Struct(">II")
_SHORTEST_DATAGRAM, _SHORTEST_BATCH = 1, 3  # ECN; ECN and the size of a segment


class Kind(IntEnum):
    """Types of frames."""

    CHALLENGE = 0
    AUTHENTICATION = 1
    ACCEPTED = 2
    DENIED = 3
    TO_KEY = 4
    BATCH_TO_KEY = 5
    FROM_KEY = 6
    BATCH_FROM_KEY = 7
    GONE = 8
    PING = 9
    PONG = 10
    HEALTH = 11
    RESTARTING = 12
    STATUS = 13


@dataclass(frozen=True, slots=True)
class Datagrams:
    """One datagram or several for the node with key `destination`; `sealed` is not for us to read."""

    destination: bytes
    is_batch: bool
    sealed: memoryview

    def from_key(self, source: bytes) -> bytes:
        """Return the frame that tells the receiver who sent it."""
        kind = _BATCH_FROM_KEY if self.is_batch else _FROM_KEY
        return b"".join((kind, source, self.sealed))


@dataclass(frozen=True, slots=True)
class Ping:
    """A question whether we are there; it is answered with the same 8 bytes."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping of ours."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame of a later version of the protocol."""


_FROM_KEY, _BATCH_FROM_KEY = bytes([Kind.FROM_KEY]), bytes([Kind.BATCH_FROM_KEY])
_UNKNOWN = Unknown()


def parse(frame: bytes) -> Datagrams | Ping | Pong | Unknown:
    """Read a frame that a node has sent after the handshake.

    Raises
    ------
    InvalidInput
        Code ``bad-relay-frame``: empty, too short, too long, or of a type that nodes do not send.
    """
    if not frame:
        raise _bad("it is empty")
    if len(frame) > FRAME_LIMIT:
        raise _bad(f"it has {len(frame)} bytes, allowed are {FRAME_LIMIT}")
    kind, rest = frame[0], len(frame) - 1
    if kind in (Kind.TO_KEY, Kind.BATCH_TO_KEY):
        is_batch = kind == Kind.BATCH_TO_KEY
        if rest < KEY_BYTES + (_SHORTEST_BATCH if is_batch else _SHORTEST_DATAGRAM):
            raise _bad("its datagrams are cut short")
        return Datagrams(frame[1 : 1 + KEY_BYTES], is_batch, memoryview(frame)[1 + KEY_BYTES :])
    if kind in (Kind.PING, Kind.PONG):
        if rest != _PAYLOAD:
            raise _bad(f"a ping or pong has {_PAYLOAD} bytes, not {rest}")
        return Ping(frame[1:]) if kind == Kind.PING else Pong(frame[1:])
    if kind <= Kind.STATUS:
        raise _bad(f"nodes do not send frames of type {kind} here")
    return _UNKNOWN


def challenge(nonce: bytes) -> bytes:
    """Return the first frame of a connection."""
    return bytes([Kind.CHALLENGE]) + nonce


def accepted() -> bytes:
    """Return the frame that ends the handshake well."""
    return bytes([Kind.ACCEPTED])


def denied(reason: str) -> bytes:
    """Return the frame that ends the handshake badly; `reason` is cut at 127 bytes."""
    text = reason.encode()[:127].decode(errors="ignore").encode()
    return bytes([Kind.DENIED, len(text)]) + text


def gone(key: bytes) -> bytes:
    """Return the frame that tells that `key`, which had sent something, is not connected any more."""
    return bytes([Kind.GONE]) + key


def ping(payload: bytes) -> bytes:
    """Return a ping with 8 bytes."""
    return bytes([Kind.PING]) + payload


def pong(payload: bytes) -> bytes:
    """Return the answer to a ping."""
    return bytes([Kind.PONG]) + payload


def restarting(reconnect_in: float, try_for: float) -> bytes:
    """Return the frame that announces a restart.

    Parameters
    ----------
    reconnect_in, try_for : float
        Seconds to wait before connecting again, and for how long to try.
    """
    return bytes([Kind.RESTARTING]) + _TIMES.pack(round(reconnect_in * 1000), round(try_for * 1000))


def replaced(version: str) -> bytes:
    """Return the frame that tells that another connection of the same key gets its packets now."""
    if version == VERSION_1:
        return bytes([Kind.HEALTH]) + b"another endpoint has connected with the same key"
    return bytes([Kind.STATUS, 1])


def restored(version: str) -> bytes | None:
    """Return the frame that tells that this connection gets its key's packets again; version 1 has none."""
    return None if version == VERSION_1 else bytes([Kind.STATUS, 0])


def _bad(what: str) -> InvalidInput:
    return InvalidInput(
        f"The frame cannot be used: {what}.",
        code="bad-relay-frame",
        hint="The node needs iroh 1.x; if it has that, something else is talking to the relay.",
    )
