"""Many streams over one ordered stream of bytes, for carriers whose transport has but one (TLS over TCP).

The frames are those that QUIC has for its streams (RFC 9000, section 19; QMux, draft-ietf-quic-qmux, carries them
over TCP too), with fields of fixed width::

    uint8 kind | uint32 number | uint32 value | payload        big-endian

    OPEN    a stream of this number: odd ones by the end that dialled, even ones by the other, each two above the last
    DATA    `value` bytes of payload, at most 256 KiB
    FIN     nothing more will be written
    RESET   the sender gives up what it still had to write
    STOP    the sender will read no more; answered by RESET
    CREDIT  `value` bytes more may be written: a stream begins with 512 KiB, and gets back what was read
    STREAMS `value` more streams may be opened: 1 at first, 128 once the far side lets us in
    PING    answered by PONG with the same value
    CLOSE   the connection ends with code `number`; a reason of `value` bytes of UTF-8, at most 1 KiB

Both credits bound what the far side can make us hold: half a MiB before it is let in, 64 MiB after, in at most 1,024
pieces a stream. What breaks these rules closes the connection with code 400 and the reason.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import secrets
import ssl
import struct
import time
from collections import deque

from ..errors import Unreachable
from .carrier import NORMAL, URGENT, Closing, Path
from .transports import cut
from .wire import Buffer

logger = logging.getLogger(__name__)

OPEN, DATA, FIN, RESET, STOP, CREDIT, STREAMS, PING, PONG, CLOSE = range(10)
HEADER = struct.Struct(">BII")
MALFORMED = 400
"""Code with which a connection is closed whose far side breaks the rules."""
LARGEST, WINDOW = 1 << 18, 1 << 19
FIRST_STREAMS, MOST_STREAMS = 1, 128
MOST_PIECES = 1 << 10
"""Pieces of one stream that are kept unread: each takes some memory beside its bytes."""
_LONGEST_REASON = 1 << 10
_MOST_WAITING = 1 << 12
"""Frames that wait to be sent; more are owed only to a far side that asks for answers and reads none."""
_AHEAD = 1 << 18
"""Bytes that the transport takes before a write waits: what is urgent waits behind them."""
LINGER, _FAREWELL = 2.0, 0.5
"""Seconds for which the transport waits for the far side to hang up, at most, and while this node waits for it."""
_PING_SECONDS = 5.0
_NOTHING = memoryview(bytearray())


class Multiplexed(asyncio.BufferedProtocol):
    """A connection with one peer, as the protocol of an asyncio transport; `start` sets it going.

    What arrives is read where it stays, and never twice: for large messages a `StreamReader`'s copies cost as much as
    the encryption.

    Parameters
    ----------
    dialled : bool
        Whether this end has opened it.
    remote : str
        The far side's address, for people.
    """

    def __init__(self, *, dialled: bool, remote: str) -> None:
        self._node_id = ""
        self.transport: asyncio.Transport | None = None
        self.tls: ssl.SSLObject | None = None
        """What the handshake came to; the transport forgets it when it closes."""
        self._remote = remote
        self._rtt: float | None = None
        self._pings: dict[int, float] = {}
        self._streams: dict[int, MultiplexedStream] = {}
        self._next = 1 if dialled else 2
        self._expected = 2 if dialled else 1
        self._may_open, self._may_be_opened = FIRST_STREAMS, FIRST_STREAMS
        self._allowed_more = asyncio.Event()
        self._opened: asyncio.Queue[MultiplexedStream] = asyncio.Queue()
        self._let_in = False
        self._outbox: list[tuple[int, int, int, int, int, Buffer, asyncio.Future[None] | None]] = []
        self._order = itertools.count()
        self._sending: asyncio.Future[None] | None = None
        self._filled, self._takes_more = asyncio.Event(), asyncio.Event()
        self._takes_more.set()
        self._header = bytearray(HEADER.size)
        self._frame: tuple[int, int] | None = None  # kind and number, while a payload is awaited
        self._target, self._arrived = memoryview(self._header), 0
        self._closing: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, node_id: str) -> None:
        """Begin to send, with a far side that has proved the key `node_id`."""
        self._node_id = node_id
        if self._closing.done():
            return
        self._tasks = [asyncio.create_task(part, name="tls-connection") for part in (self._send(), self._measure())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    # ---- what the mesh asks -------------------------------------------------------------------------------------

    @property
    def node_id(self) -> str:
        """The key that the far side proved, 64 hex digits."""
        return self._node_id

    @property
    def is_open(self) -> bool:
        """Tell whether the connection still stands."""
        return not self._closing.done()

    @property
    def path(self) -> Path | None:
        """Where the connection leads."""
        return Path("tls", self._remote, self._rtt)

    async def open_stream(self) -> MultiplexedStream:
        """Open a stream; waits while the far side allows no more."""
        while not self._may_open:
            self.require_open()
            self._allowed_more.clear()
            await self._allowed_more.wait()
        self.require_open()
        self._may_open -= 1
        stream = MultiplexedStream(self, self._next)
        self._streams[self._next] = stream
        self._next += 2
        self.post(OPEN, stream.number)
        return stream

    async def accept_stream(self) -> MultiplexedStream:
        """Return the next stream that the far side opened."""
        getting = asyncio.ensure_future(self._opened.get())
        try:
            await asyncio.wait((getting, self._closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            getting.cancel()
        if not getting.done() or getting.cancelled():
            self.require_open()
        stream = getting.result()
        stream.is_accepted = True
        if not self._let_in:
            self._let_in = True
            self._allow(MOST_STREAMS - FIRST_STREAMS)
        self.release(stream)
        return stream

    async def closed(self) -> Closing:
        """Wait for the end of the connection."""
        return await asyncio.shield(self._closing)

    def close(self, code: int = NORMAL, reason: str = "closed") -> None:
        """End the connection at once, and tell the far side why.

        The transport stays for a moment, until the far side hangs up: TCP would otherwise answer what is still under
        way with a reset, and that would overtake the reason.
        """
        if self._end(Closing(None, reason)) and self.transport is not None:
            words = reason.encode()[:_LONGEST_REASON]
            if not self.transport.is_closing():
                self.transport.write(HEADER.pack(CLOSE, code, len(words)) + words)
            asyncio.get_running_loop().call_later(LINGER, cut, self.transport)

    async def gone(self, *, within: float = _FAREWELL) -> None:
        """Return once the socket is free, after `close`; the far side has so many seconds to hang up."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.transport is not None:
            await asyncio.wait((self._gone,), timeout=within)
            cut(self.transport)
            await asyncio.wait((self._gone,), timeout=_FAREWELL)

    # ---- what its streams ask -----------------------------------------------------------------------------------

    def require_open(self) -> None:
        """Raise `Unreachable` once the connection has ended."""
        if self._closing.done():
            raise Unreachable(f"The connection is lost: {self._closing.result().reason}.", code="stream-lost")

    def post(self, kind: int, number: int, value: int = 0, priority: int = URGENT) -> None:
        """Have a frame without payload sent."""
        self._put(kind, number, value, priority, b"", None)

    async def send(self, number: int, payload: Buffer, priority: int) -> None:
        """Send data; returns when the transport has taken it."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(DATA, number, len(payload), priority, payload, taken)
        await taken

    def release(self, stream: MultiplexedStream) -> None:
        """Forget a stream that both ends are done with; the far side may then open another in its place."""
        if not (stream.is_over and stream.is_accepted) or self._streams.pop(stream.number, None) is None:
            return
        if not self._is_ours(stream.number):
            self._allow(1)

    def _is_ours(self, number: int) -> bool:
        return number % 2 == self._next % 2

    def _allow(self, streams: int) -> None:
        self._may_be_opened += streams
        self.post(STREAMS, 0, streams)

    def _put(
        self, kind: int, number: int, value: int, priority: int, payload: Buffer, taken: asyncio.Future[None] | None
    ) -> None:
        if self._closing.done():
            if taken is not None:
                self.require_open()
            return
        if len(self._outbox) >= _MOST_WAITING:
            self.close(MALFORMED, "the far side asks for answers and does not read them")
            if taken is not None:
                self.require_open()
            return
        heapq.heappush(self._outbox, (-priority, next(self._order), kind, number, value, payload, taken))
        self._filled.set()

    # ---- what the transport asks --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, once the far side has finished its handshake."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.tls = transport.get_extra_info("ssl_object")
        transport.set_write_buffer_limits(high=_AHEAD)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where what arrives next belongs."""
        return self._target[self._arrived :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of what has arrived there."""
        self._arrived = 0 if self._closing.done() else self._arrived + nbytes  # after the end nothing is kept
        if self._arrived < len(self._target):
            return
        try:
            self._arrive()
        except _BrokenRulesError as error:
            self.close(MALFORMED, str(error))

    def eof_received(self) -> None:
        """Take note that the far side has hung up."""
        self._lose(Closing(None, "the far side ended the transport"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the transport is gone."""
        self._lose(Closing(None, f"the far side ended the transport{f': {exc}' if exc else ''}"))
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        """Take note that the transport has enough to send."""
        self._takes_more.clear()

    def resume_writing(self) -> None:
        """Take note that it takes more."""
        self._takes_more.set()

    # ---- frames -------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        assert self.transport is not None
        while True:
            while not self._outbox:
                self._filled.clear()
                await self._filled.wait()
            _, _, kind, number, value, payload, taken = heapq.heappop(self._outbox)
            if taken is not None and taken.cancelled():
                continue  # whoever wrote it has given the stream up
            header = HEADER.pack(kind, number, value)
            if payload:
                self.transport.writelines((header, payload))
            else:
                self.transport.write(header)
            self._sending = taken
            await self._takes_more.wait()
            self._sending = None
            if taken is not None and not taken.done():
                taken.set_result(None)

    def _arrive(self) -> None:
        """Take a header, or the payload that belongs to the one before."""
        if self._frame is None:
            kind, number, value = HEADER.unpack(self._header)
            place: memoryview | None = None
            if kind == DATA:
                size = _within(value, LARGEST, "a piece")
                place = self._stream(number).place(size)
            elif kind == CLOSE:
                size = _within(value, _LONGEST_REASON, "a reason")
            else:
                self._take(kind, number, value)
                size = 0
            if size:
                self._frame = kind, number
                self._target = memoryview(bytearray(size)) if place is None else place
            elif kind == CLOSE:
                self._lose(Closing(number, ""))
            self._arrived = 0
            return
        (kind, number), payload = self._frame, self._target
        self._frame, self._target, self._arrived = None, memoryview(self._header), 0
        if kind == DATA:
            self._stream(number).received(payload)
        else:
            self._lose(Closing(number, str(payload, "utf-8", "replace")))

    def _take(self, kind: int, number: int, value: int) -> None:
        if kind == OPEN:
            self._admit(number)
        elif kind == STREAMS:
            self._may_open = _within(self._may_open + value, MOST_STREAMS, "the number of streams")
            self._allowed_more.set()
        elif kind == PING:
            self.post(PONG, 0, value)
        elif kind == PONG:
            if (sent := self._pings.pop(value, None)) is not None:
                self._rtt = time.monotonic() - sent
        elif kind not in (FIN, RESET, STOP, CREDIT):
            raise _BrokenRulesError(f"there is no frame of kind {kind}")
        elif number in self._streams or not self._was(number):
            self._stream(number).told(kind, value)
        # What is said of a stream that is over here was sent before that was known there.

    def _admit(self, number: int) -> None:
        if number != self._expected:
            raise _BrokenRulesError(f"stream {number} is opened, not {self._expected}")
        if not self._may_be_opened:
            raise _BrokenRulesError("more streams are opened than allowed")
        self._expected += 2
        self._may_be_opened -= 1
        stream = MultiplexedStream(self, number)
        stream.is_accepted = False
        self._streams[number] = stream
        self._opened.put_nowait(stream)

    def _was(self, number: int) -> bool:
        return 0 < number < (self._next if self._is_ours(number) else self._expected)

    def _stream(self, number: int) -> MultiplexedStream:
        stream = self._streams.get(number)
        if stream is None:
            raise _BrokenRulesError(f"there is no stream {number}")
        return stream

    async def _measure(self) -> None:
        while self.is_open:
            token = secrets.randbits(32)
            self._pings = {token: time.monotonic()}
            self.post(PING, 0, token)
            await asyncio.sleep(_PING_SECONDS)

    # ---- the end ------------------------------------------------------------------------------------------------

    def _end(self, closing: Closing) -> bool:
        """End it here: all that waits fails. False if it has ended before."""
        if self._closing.done():
            return False
        self._closing.set_result(closing)
        self._target, self._arrived = memoryview(bytearray(_AHEAD)), 0
        for taken in (self._sending, *(entry[-1] for entry in self._outbox)):
            if taken is not None and not taken.done():
                taken.set_exception(Unreachable(f"The connection is lost: {closing.reason}.", code="stream-lost"))
        self._outbox.clear()
        self._allowed_more.set()
        for stream in self._streams.values():
            stream.lost()
        self._streams.clear()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        return True

    def _lose(self, closing: Closing) -> None:
        """End it, as the far side has, and hang up."""
        self._end(closing)
        self._hang_up()

    def _hang_up(self) -> None:
        """Close the transport once it has sent what it has taken; cut it if the far side does not read."""
        self._takes_more.set()
        if self.transport is not None:
            if not self.transport.is_closing():  # closed twice, a transport can not be aborted any more
                self.transport.close()
            asyncio.get_running_loop().call_later(LINGER, cut, self.transport)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, OSError):
            logger.error("a connection's task failed", exc_info=error)
        self._lose(Closing(None, f"the transport failed: {error}"))


class MultiplexedStream:
    """One stream of a `Multiplexed` connection."""

    def __init__(self, connection: Multiplexed, number: int) -> None:
        self.number = number
        self.is_accepted = True
        self._connection = connection
        self._priority = self._least = 0
        self._credit = self._granted = WINDOW
        self._may_write, self._may_read = asyncio.Event(), asyncio.Event()
        self._stopped = asyncio.Event()
        self._is_written = self._is_reset = False
        self._chunks: deque[memoryview] = deque()
        self._wanted = _NOTHING
        self._placed: memoryview | None = None
        self._owed = 0
        self._is_deaf = False
        self._has_ended = self._was_reset = False

    @property
    def is_over(self) -> bool:
        """Tell whether neither end will write any more."""
        return self._is_written and (self._has_ended or self._was_reset)

    async def prioritise(self, priority: int) -> None:
        """Have what is more urgent sent first."""
        self._priority, self._least = priority, min(priority, self._least)

    async def write(self, data: Buffer) -> None:
        """Send `data`."""
        view = memoryview(data).cast("B")
        while view:
            await self._room()
            piece = view[: min(self._credit, LARGEST)]
            self._credit -= len(piece)
            await self._connection.send(self.number, piece, self._priority)
            view = view[len(piece) :]

    async def finish(self) -> None:
        """Say that nothing more will be written."""
        self._require_writable()
        self._is_written = True
        self._connection.post(FIN, self.number, priority=self._least)  # behind all data
        self._connection.release(self)

    async def readinto(self, view: memoryview) -> None:
        """Fill all of `view`."""
        self._wanted = view
        try:
            while self._wanted:
                if self._chunks:
                    self._copy(self._chunks.popleft())
                    continue
                self._connection.require_open()
                if self._was_reset or self._is_deaf:
                    raise Unreachable("The stream is lost: it was given up.", code="stream-lost")
                if self._has_ended:
                    raise EOFError
                self._may_read.clear()
                await self._may_read.wait()
        except asyncio.CancelledError:
            if self._placed is not None:  # what is on its way went to who no longer waits: the stream has a hole
                await self.stop_reading()
            raise
        finally:
            self._wanted = _NOTHING

    def _copy(self, chunk: memoryview) -> None:
        taken = min(len(chunk), len(self._wanted))
        self._wanted[:taken] = chunk[:taken]
        if taken < len(chunk):
            self._chunks.appendleft(chunk[taken:])
        self._advance(taken)

    def _advance(self, taken: int) -> None:
        self._wanted = self._wanted[taken:]
        self._repay(taken)

    async def stop_reading(self) -> None:
        """Give up what the far side still writes."""
        if self._is_deaf or self._has_ended or self._was_reset:
            return
        self._is_deaf = True
        self._chunks.clear()
        self._may_read.set()
        self._connection.post(STOP, self.number)

    async def abandoned(self) -> None:
        """Return when the far side will read no more."""
        await self._stopped.wait()

    async def abandon(self) -> None:
        """Give up both directions."""
        await self.stop_reading()
        self._reset()

    # ---- what the connection tells ------------------------------------------------------------------------------

    def place(self, size: int) -> memoryview | None:
        """Return where the next `size` bytes belong, if somebody waits for them; None to have them kept."""
        if self._has_ended or self._was_reset:
            raise _BrokenRulesError(f"stream {self.number} goes on after its end")
        self._granted -= size
        if self._granted < 0:
            raise _BrokenRulesError(f"more is written to stream {self.number} than it has room for")
        if self._chunks or self._is_deaf or not size or size > len(self._wanted):
            return None
        self._placed = self._wanted[:size]
        return self._placed

    def received(self, payload: memoryview) -> None:
        """Take what has come: to where it was to be placed, or to be kept until it is read."""
        placed, self._placed = self._placed, None
        if self._is_deaf:
            return
        if payload is placed:
            self._advance(len(payload))
        elif len(self._chunks) < MOST_PIECES:
            self._chunks.append(payload)
        else:
            raise _BrokenRulesError(f"stream {self.number} comes in pieces that are too small")
        self._may_read.set()

    def told(self, kind: int, value: int) -> None:
        """Take note of what the far side says of this stream."""
        if kind == CREDIT:
            self._credit = _within(self._credit + value, WINDOW, "the credit")
            self._may_write.set()
        elif kind == STOP:
            self._stopped.set()
            self._reset()
        elif self._has_ended or self._was_reset:
            raise _BrokenRulesError(f"stream {self.number} ends twice")
        else:
            self._has_ended, self._was_reset = kind == FIN, kind == RESET
            if self._was_reset:
                self._chunks.clear()
            self._may_read.set()
            self._connection.release(self)

    def lost(self) -> None:
        """Wake all that waits: the connection has ended."""
        self._chunks.clear()
        for event in (self._may_write, self._may_read, self._stopped):
            event.set()

    async def _room(self) -> None:
        while True:
            self._require_writable()
            if self._credit:
                return
            self._may_write.clear()
            await self._may_write.wait()

    def _require_writable(self) -> None:
        self._connection.require_open()
        if self._is_reset or self._is_written:
            raise Unreachable("The stream is lost: it is read no more.", code="stream-lost")

    def _reset(self) -> None:
        if not self._is_written:
            self._is_written = self._is_reset = True
            self._may_write.set()
            self._connection.post(RESET, self.number, priority=self._least)
        self._connection.release(self)

    def _repay(self, size: int) -> None:
        """Let the far side write as much again as was read, in large steps."""
        self._owed += size
        if self._owed >= WINDOW // 2 and not (self._has_ended or self._was_reset):
            self._granted += self._owed
            self._connection.post(CREDIT, self.number, self._owed)
            self._owed = 0


class _BrokenRulesError(Exception):
    """The far side breaks the rules of the frames."""


def _within(value: int, most: int, what: str) -> int:
    if value > most:
        raise _BrokenRulesError(f"{what} is {value}, more than {most}")
    return value
