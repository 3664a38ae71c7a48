"""Events as server-sent events (WHATWG HTML, section 9.2), to whoever holds a connection open.

One reader per process follows the sequence of events and hands each to the subscriptions that it concerns; it is woken
by commits of this process, and looks by itself once a second for those of others. A subscription first reads what it
has missed from the data base; what the reader hands over meanwhile is told apart by its number. FastAPI's own
`EventSourceResponse` notices that a caller has gone when it next writes; here the connection is listened to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import events, hal
from .database import Database
from .events import Event

logger = logging.getLogger(__name__)

_BACKLOG = 10_000
_PAGE = 500


class Subscription:
    """Events of one scope as they happen, until `close`."""

    def __init__(self, scope: events.Scope) -> None:
        self.scope = scope
        self.overrun = False
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def offer(self, event: Event) -> None:
        """Hand over `event` if it is in the scope; a subscriber that is too slow is cut off, and may resume."""
        if self._queue.qsize() >= _BACKLOG:
            self.overrun = True
            self.close()
        elif event in self.scope:
            self._queue.put_nowait(event)

    def close(self) -> None:
        """End the subscription after what has happened so far."""
        self._queue.put_nowait(None)

    async def next(self) -> Event | None:
        """Return the next event; None at the end."""
        return await self._queue.get()


class EventLog:
    """The reader.

    Parameters
    ----------
    database : Database
        Where events are.
    poll : float
        Seconds between looks for events of other processes.
    """

    def __init__(self, database: Database, poll: float) -> None:
        self._database = database
        self._poll = poll
        self._subscriptions: set[Subscription] = set()
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def subscribe(self, scope: events.Scope) -> Subscription:
        """Return a subscription to `scope`; `unsubscribe` it."""
        subscription = Subscription(scope)
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.close()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hand nothing over any more."""
        self._subscriptions.discard(subscription)

    @property
    def followers(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscriptions)

    async def run(self) -> None:
        """Read and hand over for ever."""
        self._loop = asyncio.get_running_loop()
        position: int | None = None
        while True:
            self._woken.clear()
            try:
                position, found = await self._database.run(self._read, position)
            except Exception:
                logger.exception("events could not be read")
                found = []
            for event in found:
                for subscription in self._subscriptions:
                    subscription.offer(event)
            if len(found) < _PAGE:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the result.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll):
                        await self._woken.wait()

    def wake(self) -> None:
        """Have the reader look now; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    def close(self) -> None:
        """End all subscriptions, and those to come: the process shuts down."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    async def follow(self, subscription: Subscription, after: int, keepalive: float) -> AsyncIterator[bytes]:
        """Yield the stream's bytes: the events after number `after`, and comments while there are none."""
        yield b": connected\n\n"
        last = after
        async for event in self._missed(subscription.scope, last):
            last = event.id
            yield _encode(event)
        while True:
            try:
                async with asyncio.timeout(keepalive):
                    following = await subscription.next()
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if following is None:
                break
            if following.id > last:
                last = following.id
                yield _encode(following)
        if not subscription.overrun:  # the reason for the end (the node was removed) may not be handed over yet
            async for event in self._missed(subscription.scope, last):
                yield _encode(event)

    async def _missed(self, scope: events.Scope, after: int) -> AsyncIterator[Event]:
        def page() -> list[Event]:
            with self._database.reading() as session:
                return events.read(session, after, scope, _PAGE)

        while True:
            found = await self._database.run(page)
            for event in found:
                if event in scope:
                    yield event
            if len(found) < _PAGE:
                return
            after = found[-1].id

    def _read(self, position: int | None) -> tuple[int, list[Event]]:
        with self._database.reading() as session:
            if position is None:
                return events.newest(session), []
            found = events.read(session, position, limit=_PAGE)
            return (found[-1].id if found else position), found


class EventStream(Response):
    """An answer that goes on until either side ends it.

    Parameters
    ----------
    chunks : async iterator of bytes
        What to send.
    left : coroutine function, optional
        Called at once when the caller has gone, and not when it was this side that ended the stream.
    ended : callable, optional
        Called however the stream ended.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        *,
        left: Callable[[], Awaitable[None]] | None = None,
        ended: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"})
        del self.headers["Content-Length"]
        self._chunks = chunks
        self._left = left
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the caller goes or the chunks end."""
        gone = asyncio.create_task(_until_disconnected(receive))
        sending = asyncio.create_task(self._send_all(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
            # After the last chunk the server reports a disconnection too; that one was this side's doing.
            has_left = not sending.done() or isinstance(sending.exception(), OSError)
        finally:
            gone.cancel()
            sending.cancel()
            outcomes = await asyncio.gather(gone, sending, return_exceptions=True)
            if self._ended is not None:
                self._ended()
        if has_left and self._left is not None:
            await self._left()
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def show(event: Event) -> dict[str, Any]:
    """Return `event` as JSON values."""
    return {
        "id": event.id,
        "type": event.type,
        "time": hal.instant(event.time),
        "project": event.project,
        "run": event.run,
        "node": event.node,
        "data": event.data,
    }


def _encode(event: Event) -> bytes:
    # json.dumps escapes line ends: the data is one line.
    data = json.dumps(show(event), separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n".encode()


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
