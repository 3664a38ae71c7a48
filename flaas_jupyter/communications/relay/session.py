"""One connection of one node: what waits for it, in order, within its bounds, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Final

from aiohttp import WSCloseCode, web

from ..token_bucket import TokenBucket
from ..transports import cut
from .limits import Limits, Memory

CLOSING_SECONDS: Final = 2.0


class Session:
    """A node's connection, after its handshake.

    Parameters
    ----------
    key : bytes
        The 32-byte key that the node has proved.
    socket : WebSocketResponse
        Its WebSocket.
    transport : asyncio.Transport
        What is below, to be cut when the node takes nothing any more.
    domains : frozenset of str
        In which it may send and receive.
    bucket : TokenBucket
        What it may send, together with the key's other connections.
    limits : Limits
        Of its queue.
    memory : Memory
        What all queues share.
    """

    def __init__(
        self,
        key: bytes,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        domains: frozenset[str],
        bucket: TokenBucket,
        limits: Limits,
        memory: Memory,
    ) -> None:
        self.key = key
        self.node_id = key.hex()
        self.version = str(socket.ws_protocol)
        self.domains = domains
        self.bucket = bucket
        self.correspondents: set[bytes] = set()
        """Keys to which it has sent: they are told when it leaves."""
        self.heard = self.pinged = time.monotonic()
        self.ending: str | None = None
        """Why the relay closes it, once it does."""
        self._socket, self._transport = socket, transport
        self._limits, self._memory = limits, memory
        self._waiting: deque[bytes] = deque()
        self._queued = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._sending_since: float | None = None

    def offer(self, frame: bytes) -> bool:
        """Queue `frame`; False, and it is forgotten, if there is no room for it or the connection ends."""
        size = len(frame)
        if self.ending or self._queued + size > self._limits.queue or not self._memory.take(size):
            return False
        self._queued += size
        self._waiting.append(frame)
        self._emptied.clear()
        self._filled.set()
        return True

    async def write(self) -> None:
        """Send what waits, until the connection is lost or this is cancelled."""
        with contextlib.suppress(ConnectionError):
            while True:
                await self._filled.wait()
                while self._waiting:
                    self._sending_since = time.monotonic()
                    frame = self._waiting.popleft()
                    try:
                        await self._socket.send_bytes(frame)
                    finally:
                        self._queued -= len(frame)
                        self._memory.give_back(len(frame))
                self._sending_since = None
                self._filled.clear()
                self._emptied.set()

    async def drained(self) -> None:
        """Wait until nothing waits."""
        await self._emptied.wait()

    def is_stalled(self, now: float) -> bool:
        """Tell whether the node has taken nothing of what waits for it for too long."""
        return self._sending_since is not None and now - self._sending_since > self._limits.stalled

    async def close(self, code: WSCloseCode, outcome: str, reason: str) -> None:
        """Tell the node why and end the connection; one that does not answer is cut.

        Parameters
        ----------
        code : WSCloseCode
            RFC 6455, section 7.4.1.
        outcome : str
            For the counters.
        reason : str
            For people, up to 123 bytes.
        """
        if self.ending:
            return
        self.ending = outcome
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._socket.close(code=code, message=reason.encode()[:123])
        cut(self._transport)

    def cut(self, outcome: str) -> None:
        """End the connection at once: a node that takes nothing cannot be told why."""
        self.ending = self.ending or outcome
        cut(self._transport)

    def forget(self) -> None:
        """Give back the memory of what still waits; nothing is sent any more."""
        self.ending = self.ending or "left"
        left = sum(map(len, self._waiting))  # without the frame that is being sent: `write` gives that back
        self._waiting.clear()
        self._queued -= left
        self._memory.give_back(left)
        self._emptied.set()
