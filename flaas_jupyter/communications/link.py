"""One live connection with a peer: calls both ways, and a pulse that tells a quiet peer from a dead one.

QUIC notices a killed process only after its idle time, half a minute. So both ends write a beat on a
control stream, and a peer of which nothing was heard for `timeout` seconds is given up with all that waits
for it. The control stream opens with a greeting that names the *instance*, a random number per process: the
same key in another instance is a restarted node, in the same instance it is a second connection (two nodes
that dialled each other at once).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ..errors import FlaasError, InvalidInput, NotAllowed, Unreachable
from .carrier import NORMAL, REFUSED, SILENT, URGENT, Connection, Path, Stream
from .wire import Buffer, Message, decode, encode, pieces

_GREETING = struct.Struct(">5s16sI")  # magic, instance, the sender's timeout in milliseconds
_MAGIC = b"FLAH\x01"
_BEATS_PER_TIMEOUT = 5
_QUICKEST_BEAT = 0.02
_BULK, _LEAST_MEASURED = 1 << 14, 1 << 20
"""Bytes in one piece from which on it counts as bulk, and in a burst from which on its rate tells something."""
_PAUSE, _RECENT = 0.5, 60.0
"""Seconds without bulk that end a burst, and for which the largest burst stands for the throughput."""

Answer = Callable[["Link", Stream], Awaitable[None]]


class Traffic:
    """Bytes of frames and beats that have gone to a peer and come from it, and how quickly."""

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self._bursts = (_Bursts(), _Bursts())

    @property
    def throughput(self) -> float | None:
        """Bytes a second of the largest recent transfer in either direction; None before there was one."""
        _, rate = max(bursts.largest() for bursts in self._bursts)
        return rate or None

    def sent(self, size: int, began: float) -> None:
        """Count `size` bytes that the transport has taken since `began` (`time.monotonic`)."""
        self.bytes_sent += size
        self._bursts[0].add(size, began)

    def received(self, size: int, began: float) -> None:
        """Count `size` bytes that have come since `began`."""
        self.bytes_received += size
        self._bursts[1].add(size, began)


class _Bursts:
    """How quickly bytes go in one direction while many go, over however many streams.

    A burst ends with a pause. Its first bytes are not counted: they may have waited for us.
    """

    def __init__(self) -> None:
        self._began = self._last = -_PAUSE
        self._bytes = 0
        self._best = (0, 0.0)
        self._until = 0.0

    def add(self, size: int, began: float) -> None:
        if size < _BULK:
            return
        now = time.monotonic()
        if began - self._last > _PAUSE:
            self._began, self._bytes = now, 0
        else:
            self._bytes += size
        self._last = now
        if self._bytes >= _LEAST_MEASURED and (self._bytes >= self._best[0] or now > self._until):
            self._best = self._bytes, self._bytes / max(now - self._began, 1e-6)
            self._until = now + _RECENT

    def largest(self) -> tuple[int, float]:
        return self._best


@dataclass(frozen=True)
class Greeting:
    """What an end tells of itself: its process, and after how many seconds of silence it gives a peer up."""

    instance: bytes
    timeout: float

    @classmethod
    def new(cls, timeout: float) -> Greeting:
        """Make the greeting of this process."""
        return cls(secrets.token_bytes(16), timeout)

    async def send(self, stream: Stream) -> None:
        """Write the greeting."""
        await stream.write(_GREETING.pack(_MAGIC, self.instance, round(self.timeout * 1000)))

    @classmethod
    async def receive(cls, stream: Stream) -> Greeting:
        """Read the far side's greeting; `InvalidInput` with code ``bad-greeting`` if it is none."""
        raw = bytearray(_GREETING.size)
        try:
            await stream.readinto(memoryview(raw))
        except EOFError as error:
            raise _bad_greeting() from error
        magic, instance, milliseconds = _GREETING.unpack(raw)
        if magic != _MAGIC or not milliseconds:
            raise _bad_greeting()
        return cls(instance, milliseconds / 1000)


class Link:
    """A connection over which both ends have greeted each other; make it with `dialled` or `accepted`.

    Parameters
    ----------
    connection : Connection
        Authenticated; this link closes it.
    control : Stream
        The stream of the greetings, for the beats.
    ours, theirs : Greeting
        The two greetings.
    outgoing : bool
        Whether this end dialled.
    traffic : Traffic
        Counters to add to.
    """

    def __init__(
        self,
        connection: Connection,
        control: Stream,
        ours: Greeting,
        theirs: Greeting,
        *,
        outgoing: bool,
        traffic: Traffic,
    ) -> None:
        self.node_id = connection.node_id
        self.instance = theirs.instance
        self.outgoing = outgoing
        self._connection = connection
        self._traffic = traffic
        self._timeout = ours.timeout
        self._interval = max(min(ours.timeout, theirs.timeout) / _BEATS_PER_TIMEOUT, _QUICKEST_BEAT)
        self._heard = time.monotonic()
        self._control: Stream = _Metered(control, self)

    @classmethod
    async def dialled(cls, connection: Connection, ours: Greeting, traffic: Traffic) -> Link:
        """Greet first, and wait until the far side lets us in.

        Raises
        ------
        NotAllowed
            Code ``refused-by-peer``: the far side does not accept this node.
        Unreachable
            The connection was lost.
        """
        try:
            control = await connection.open_stream()
            await control.prioritise(URGENT)
            await ours.send(control)
            theirs = await Greeting.receive(control)
        except Unreachable:
            closing = await connection.closed()
            if closing.code == REFUSED:
                raise NotAllowed(
                    f"{connection.node_id} refuses this node: {closing.reason}.",
                    code="refused-by-peer",
                    hint="Check that this node's membership is in force, and both machines' clocks.",
                    node=connection.node_id,
                    reason=closing.reason,
                ) from None
            raise
        return cls(connection, control, ours, theirs, outgoing=True, traffic=traffic)

    @classmethod
    async def accepted(cls, connection: Connection, ours: Greeting, traffic: Traffic) -> Link:
        """Answer the greeting of a peer that was let in."""
        control = await connection.accept_stream()
        await control.prioritise(URGENT)
        theirs = await Greeting.receive(control)
        await ours.send(control)
        return cls(connection, control, ours, theirs, outgoing=False, traffic=traffic)

    @property
    def is_open(self) -> bool:
        """Tell whether the connection still stands."""
        return self._connection.is_open

    @property
    def path(self) -> Path | None:
        """How the connection runs now."""
        return self._connection.path

    def close(self, code: int = NORMAL, reason: str = "closed") -> None:
        """End the connection; `run` returns, and all calls over it fail."""
        self._connection.close(code, reason)

    async def run(self, answer: Answer, allowed: Callable[[], None], concurrency: int) -> None:
        """Serve the far side until the connection ends; then nothing of it is left running.

        Parameters
        ----------
        answer : coroutine function of (Link, Stream)
            Answers one request.
        allowed : function
            Raises `NotAllowed` once the peer may not be connected any more; asked with every beat.
        concurrency : int
            Requests of the far side that are answered at once; further ones wait at the far side.
        """
        requests: set[asyncio.Task[None]] = set()
        try:
            await _until_first(
                self._connection.closed(),
                self._beat(),
                self._listen(),
                self._watch(allowed),
                self._serve(answer, concurrency, requests),
            )
        finally:
            self.close()
            for task in requests:
                task.cancel()
            await asyncio.gather(*requests, return_exceptions=True)

    async def call(self, message: Message, limit: int, priority: int = 0) -> Message:
        """Send a request and return the reply; see `Mesh.call`."""
        buffers = await encode(message)
        try:
            stream = _Metered(await self._connection.open_stream(), self)
            try:
                if priority:
                    await stream.prioritise(priority)
                # A far side that will not read on says why in its reply.
                with contextlib.suppress(Unreachable):
                    await write_frame(stream, buffers)
                reply = await decode(stream, limit)
            except BaseException:
                await stream.abandon()
                raise
        except Unreachable as error:
            raise self._lost() from error
        return unwrap(reply)

    def _lost(self) -> Unreachable:
        if self.is_open:
            return Unreachable(
                f"{self.node_id} dropped the call.",
                code="call-dropped",
                hint="It stopped this work or is shutting down; its log says more.",
                node=self.node_id,
            )
        return Unreachable(
            f"The connection to {self.node_id} was lost.",
            code="peer-lost",
            hint="The node stopped, was restarted or left the network; the call can be made again.",
            node=self.node_id,
        )

    @property
    def silence(self) -> float:
        """Seconds since the peer was heard."""
        return time.monotonic() - self._heard

    def heard(self) -> None:
        """Take note that the peer lives."""
        self._heard = time.monotonic()

    async def _beat(self) -> None:
        while True:
            await self._control.write(b"\x00")
            await asyncio.sleep(self._interval)

    async def _listen(self) -> None:
        beat = memoryview(bytearray(1))
        while True:
            await self._control.readinto(beat)

    async def _watch(self, allowed: Callable[[], None]) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(self._interval)
            now = time.monotonic()
            if now - before > self._timeout / 2:
                self._heard = now  # it was this process that slept: first read what has come meanwhile
            if now - self._heard > self._timeout:
                self.close(SILENT, f"nothing heard for {self._timeout} s")
                return
            try:
                allowed()
            except NotAllowed as error:
                self.close(REFUSED, error.code)
                return

    async def _serve(self, answer: Answer, concurrency: int, requests: set[asyncio.Task[None]]) -> None:
        free = asyncio.Semaphore(concurrency)

        async def one(stream: Stream) -> None:
            try:
                await answer(self, stream)
            finally:
                free.release()

        while True:
            await free.acquire()
            stream = _Metered(await self._connection.accept_stream(), self)
            task = asyncio.create_task(one(stream), name=f"mesh-request-{self.node_id[:8]}")
            requests.add(task)
            task.add_done_callback(requests.discard)


def unwrap(reply: Message) -> Message:
    """Return `reply`, or raise the error that it carries."""
    if reply.type == "error":
        raise FlaasError.from_dict(reply.body)
    return reply


async def write_frame(stream: Stream, buffers: list[Buffer]) -> None:
    """Write a frame and finish the stream."""
    for piece in pieces(buffers):
        await stream.write(piece)
    await stream.finish()


class _Metered:
    """A stream that counts its bytes and takes what arrives as a sign of life."""

    def __init__(self, stream: Stream, link: Link) -> None:
        self._stream, self._link, self._traffic = stream, link, link._traffic
        self.finish = stream.finish
        self.prioritise = stream.prioritise
        self.stop_reading = stream.stop_reading
        self.abandoned = stream.abandoned
        self.abandon = stream.abandon

    async def write(self, data: Buffer) -> None:
        began = time.monotonic()
        await self._stream.write(data)
        self._traffic.sent(len(data), began)

    async def readinto(self, view: memoryview) -> None:
        began = time.monotonic()
        await self._stream.readinto(view)
        self._traffic.received(len(view), began)
        self._link.heard()


async def _until_first(*parts: Coroutine[Any, Any, Any]) -> None:
    """Run `parts` until one of them ends, in whatever way; then end the others. Only a defect is raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, (FlaasError, EOFError)):
            raise outcome


def _bad_greeting() -> InvalidInput:
    return InvalidInput(
        "The far side did not greet as a node of this version does.",
        code="bad-greeting",
        hint="Both nodes need compatible versions of flaas_jupyter.",
    )
