"""Large messages in ranges: over several streams at once, and only what is missing after a connection was lost.

A message with more than `SINGLE_FRAME` bytes of tensors does not travel as one frame. Its tensors are a *transfer*:
bytes end to end, cut in ranges of `RANGE`, each a frame of its own with its own digest, some of them under way at once.
A transfer is named by the digest of its content and purpose: whoever sends the same again, after a lost connection or
as another process, is told what has already arrived. The caller drives both ways:

* A large *request* is pushed. ``transfer/offer`` says what is to come and is answered with what is missing, which
  ``transfer/range`` brings; ``transfer/deliver`` has the request itself, without tensors, and is answered as it would
  be. Role and size limit are those of the request's own type, checked with the offer, before anything is allocated.
* A large *reply* is parked under a random name. What is sent is ``transfer/parked``, which says what there is; the
  caller asks for it with ``transfer/fetch``, range by range, and says ``transfer/done``.

The digest of the whole is the BLAKE3 of those of its ranges, end to end: each byte is hashed once at either end, and
what differs anywhere is found out when the last range is there. At most so many ranges are under way as there are
streams, which is the window (4, or 8 from 32 MiB on), and they are less urgent than all other messages.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ..errors import FlaasError, InvalidInput, NotFound, Unreachable
from .arrivals import KEPT, Arrival, Arrivals, digest_of
from .wire import LONGEST_TYPE, Message, Payload, tensors_of

log = logging.getLogger(__name__)

SINGLE_FRAME = 4 << 20
"""Bytes of tensors up to which a message travels as one frame."""

RANGE = 2 << 20
"""Bytes of a range; the last one of a transfer may be shorter."""

STALL = 60.0
"""Seconds without a new range, reconnecting included, after which a transfer is given up."""

PARKED = 300.0
"""Seconds for which a reply waits to be fetched, since it was last asked for."""

PARKED_BYTES = 8 << 30
"""Bytes of all replies that wait; the one that nobody has asked for the longest goes first."""

OFFER, PART, DELIVER = "transfer/offer", "transfer/range", "transfer/deliver"
REPLY, FETCH, DONE = "transfer/parked", "transfer/fetch", "transfer/done"
_MANY = 32 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_TRIES = 3  # of a transfer that arrived damaged, or that the peer has forgotten in between


class Ask(Protocol):
    """Sends one frame and returns the one that answers it."""

    async def __call__(self, node_id: str, message: Message, limit: int) -> Message:
        """Ask; `limit` is in bytes of tensors. Raises `Unreachable` when the connection is lost."""


class Require(Protocol):
    """Says what a type of request may carry from a peer."""

    def __call__(self, node_id: str, kind: str) -> int:
        """Return the limit in bytes; raises for a type that is not answered, or not to this peer."""


Answer = Callable[[str, Message], Awaitable[Message]]
"""Answers a request of a peer, as if it had come in one frame."""


class Transfers:
    """The transfers of one mesh, in both directions.

    Parameters
    ----------
    ask : Ask
    require : Require
    answer : Answer
    folder : Path, optional
        Where requests that are arriving are kept, so that a restarted process goes on with them; in memory without.
    stall : float
        See `STALL`.
    """

    def __init__(
        self, ask: Ask, require: Require, answer: Answer, *, folder: Path | None = None, stall: float = STALL
    ) -> None:
        self._ask, self._require, self._answer = ask, require, answer
        self._stall = stall
        self._arrivals = Arrivals(folder)
        self._parked: dict[tuple[str, str], _Parked] = {}
        self._handlers: dict[str, Answer] = {
            OFFER: self._offered, PART: self._arrived, DELIVER: self._delivered, FETCH: self._fetched, DONE: self._done,
        }  # fmt: skip

    def close(self) -> None:
        """Let go of everything; what is kept in files stays for the next process."""
        self._parked.clear()
        self._arrivals.close()

    # ---- calling ----------------------------------------------------------------------------------------------------

    async def call(self, node_id: str, message: Message, limit: int) -> Message:
        """Send a request of any size and return its reply; see `Mesh.call`.

        Raises
        ------
        Unreachable
            Also code ``transfer-stalled``: nothing has arrived for `stall` seconds, however often it was tried.
        InvalidInput
            ``frame-too-large``: the request or its reply has more bytes than its type allows;
            ``transfer-damaged``: what arrived is not what was sent, three times over.
        """
        if message.nbytes <= SINGLE_FRAME:
            reply = await self._ask(node_id, message, limit)
        else:
            reply = await self._push(node_id, message, limit)
        return await self._pull(node_id, reply, limit) if reply.type == REPLY else reply

    async def _push(self, node_id: str, message: Message, limit: int) -> Message:
        payload = Payload(message.tensors)
        digests = await payload.digests(RANGE)
        digest = digest_of(digests)
        transfer = transfer_id(message.type, payload.size, digest)
        offer = Message(OFFER, {"id": transfer, "type": message.type, "size": payload.size, "digest": digest})
        deliver = Message(
            DELIVER, {"id": transfer, "type": message.type, "body": message.body, "tensors": payload.specs}
        )

        async def missing() -> list[int]:
            (runs,) = _fields(await self._ask(node_id, offer, 0), "missing")
            return _expanded(runs, _count(payload.size))

        async def send(index: int) -> None:
            start = index * RANGE
            part = payload.range(start, min(start + RANGE, payload.size))
            body = {"id": transfer, "index": index}
            await self._ask(node_id, Message(PART, body, {"range": part}, digests[index]), 0)

        for left in reversed(range(_TRIES)):
            try:
                await self._until_complete(node_id, payload.size, missing, send)
                return await self._ask(node_id, deliver, limit)
            except FlaasError as error:
                if error.code not in (_UNKNOWN, _DAMAGED) or not left:
                    raise
                log.warning("a transfer to %s begins anew: %s", node_id, error)
        raise AssertionError

    async def _pull(self, node_id: str, parked: Message, limit: int) -> Message:
        names = ("id", "type", "body", "tensors", "size", "digest")
        transfer, kind, body, specs, size, digest = _fields(parked, *names)
        if not isinstance(kind, str) or not 1 <= len(kind) <= LONGEST_TYPE or not isinstance(body, dict):
            raise InvalidInput("A reply has a type and an object as its body.", code="bad-frame")
        if type(size) is not int or not 0 <= size <= limit:
            raise _too_large(kind, size, limit)
        for left in reversed(range(_TRIES)):
            arrival = Arrival.in_memory(size, digest, RANGE)

            async def missing(arrival: Arrival = arrival) -> list[int]:
                return arrival.missing()

            async def fetch(index: int, arrival: Arrival = arrival) -> None:
                reply = await self._ask(node_id, Message(FETCH, {"id": transfer, "index": index}), RANGE)
                arrival.take(index, reply.tensors.get("range"), reply.digest)

            await self._until_complete(node_id, size, missing, fetch)
            try:
                payload = await arrival.whole()
                break
            except InvalidInput:
                if not left:
                    raise
        try:
            await self._ask(node_id, Message(DONE, {"id": transfer}), 0)
        except FlaasError as error:
            log.info("%s was not told that its reply has arrived: %s", node_id, error)
        return Message(kind, body, tensors_of(payload, specs))

    async def _until_complete(
        self,
        node_id: str,
        size: int,
        missing: Callable[[], Coroutine[Any, Any, list[int]]],
        move: Callable[[int], Coroutine[Any, Any, None]],
    ) -> None:
        """Move what is missing, over several streams, and what is then missing after a lost connection."""
        heard, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                left = await missing()
                if not left:
                    return
                queue = iter(left)

                async def worker(queue: Any = queue) -> None:
                    nonlocal heard, pause
                    for index in queue:
                        await move(index)
                        heard, pause = time.monotonic(), _FIRST_PAUSE

                await _all_or_none(worker() for _ in range(min(_streams(size), len(left))))
            except Unreachable as error:
                if error.code == "mesh-closed":
                    raise
                if time.monotonic() - heard > self._stall:
                    raise Unreachable(
                        f"The transfer with {node_id} stands still for {self._stall:g} s: {error.message}",
                        code="transfer-stalled",
                        hint="Its node or the network is away; what has arrived is kept there for a while.",
                        node=node_id,
                    ) from error
                log.info("a transfer with %s goes on when it is reached again: %s", node_id, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    # ---- answering --------------------------------------------------------------------------------------------------

    def limit_of(self, kind: str) -> int | None:
        """Return the bytes that a request of a transfer may carry; None for other types."""
        return None if kind not in self._handlers else RANGE if kind == PART else 0

    def placing(self, node_id: str) -> Placing:
        """Return what gives a message of `node_id` that is arriving its place, see `wire.decode`."""
        return Placing(self._arrivals, node_id)

    async def answer(self, node_id: str, request: Message) -> Message:
        """Answer a request of one of the transfers' own types."""
        return await self._handlers[request.type](node_id, request)

    async def park(self, node_id: str, reply: Message) -> Message:
        """Return a reply as it is sent: itself, or in place of a large one what there is to fetch."""
        if reply.nbytes <= SINGLE_FRAME:
            return reply
        payload = Payload(reply.tensors)
        digests = await payload.digests(RANGE)
        transfer = secrets.token_hex(16)  # of this one call: the same may be parked for another of the peer's processes
        self._parked[node_id, transfer] = _Parked(payload, digests)
        self._forget_parked(keep=(node_id, transfer))
        asyncio.get_running_loop().call_later(PARKED + 1.0, self._forget_parked)
        return Message(
            REPLY,
            {
                "id": transfer,
                "type": reply.type,
                "body": reply.body,
                "tensors": payload.specs,
                "size": payload.size,
                "digest": digest_of(digests),
            },
        )

    async def _offered(self, node_id: str, request: Message) -> Message:
        transfer, kind, size, digest = _fields(request, "id", "type", "size", "digest")
        limit = self._require(node_id, str(kind))
        if not isinstance(size, int) or not SINGLE_FRAME < size <= limit:
            raise _too_large(str(kind), size, limit)
        if transfer != transfer_id(kind, size, digest):
            raise InvalidInput("A transfer is named by its content.", code="bad-frame")
        arrival = await self._arrivals.open(node_id, transfer, size, digest, RANGE)
        asyncio.get_running_loop().call_later(KEPT + 1.0, self._arrivals.forget)
        return Message("ok", {"missing": _runs(arrival.missing())})

    async def _arrived(self, node_id: str, request: Message) -> Message:
        transfer, index = _fields(request, "id", "index")
        arrival = self._arrivals.get(node_id, transfer)
        if arrival is None:
            raise _unknown()
        arrival.take(index, request.tensors.get("range"), request.digest)
        return Message("ok")

    async def _delivered(self, node_id: str, request: Message) -> Message:
        transfer, kind, body, specs = _fields(request, "id", "type", "body", "tensors")
        arrival = self._arrivals.get(node_id, transfer)
        if arrival is None or arrival.missing():
            raise _unknown()
        limit = self._require(node_id, str(kind))
        if arrival.size > limit or transfer != transfer_id(kind, arrival.size, arrival.digest):
            raise _too_large(str(kind), arrival.size, limit)
        if not isinstance(body, dict):
            raise InvalidInput("The body of a request is an object.", code="bad-frame")
        try:
            payload = await arrival.whole()
        except InvalidInput:
            self._arrivals.drop(node_id, transfer)
            raise
        reply = await self._answer(node_id, Message(kind, body, tensors_of(payload, specs)))
        # Whoever is cancelled before, because its caller was lost, keeps it: the caller may come back and ask again.
        self._arrivals.drop(node_id, transfer)
        return reply

    async def _fetched(self, node_id: str, request: Message) -> Message:
        transfer, index = _fields(request, "id", "index")
        parked = self._parked.get((node_id, str(transfer)))
        if parked is None:
            raise _unknown()
        size = parked.payload.size
        if type(index) is not int or not 0 <= index < _count(size):
            raise InvalidInput(f"A transfer of {size} bytes has no range {index!r}.", code="bad-frame")
        parked.asked = time.monotonic()
        part = parked.payload.range(index * RANGE, min(index * RANGE + RANGE, size))
        return Message("ok", {}, {"range": part}, parked.digests[index])

    async def _done(self, node_id: str, request: Message) -> Message:
        self._parked.pop((node_id, str(_fields(request, "id")[0])), None)
        self._forget_parked()
        return Message("ok")

    def _forget_parked(self, keep: tuple[str, str] | None = None) -> None:
        """Drop replies that nobody has asked for in a while, and the oldest beyond the budget."""
        now, held = time.monotonic(), sum(parked.payload.size for parked in self._parked.values())
        for key, parked in sorted(self._parked.items(), key=lambda entry: entry[1].asked):
            if key != keep and (now - parked.asked > PARKED or held > PARKED_BYTES):
                del self._parked[key]
                held -= parked.payload.size


class Placing:
    """Where the tensors of one message belong: a range has its place in the transfer. Call `release` in the end."""

    def __init__(self, arrivals: Arrivals, node_id: str) -> None:
        self._arrivals, self._node_id = arrivals, node_id
        self._held: tuple[Arrival, int, npt.NDArray[np.uint8]] | None = None

    def __call__(self, kind: str, body: dict[str, Any], size: int) -> npt.NDArray[np.uint8] | None:
        """Return the place, if it is a range of a transfer and nobody else is filling it; see `wire.Place`."""
        arrival = self._arrivals.get(self._node_id, body.get("id")) if kind == PART else None
        index = body.get("index")
        place = None if arrival is None else arrival.place(index, size)
        if arrival is not None and place is not None:
            assert type(index) is int
            self._held = arrival, index, place
        return place

    def release(self) -> None:
        """Let go of the place: the message is answered, or will not come."""
        if self._held is not None:
            arrival, index, place = self._held
            arrival.release(index, place)
            self._held = None


class _Parked:
    """A reply that waits to be fetched."""

    def __init__(self, payload: Payload, digests: list[bytes]) -> None:
        self.payload, self.digests = payload, digests
        self.asked = time.monotonic()


_UNKNOWN, _DAMAGED = "unknown-transfer", "transfer-damaged"


def transfer_id(kind: object, size: object, digest: object) -> str:
    """Return the name of a transfer: BLAKE3 of its purpose (a message type), its size and the digest of the whole."""
    if not isinstance(kind, str) or type(size) is not int or not isinstance(digest, bytes) or len(digest) != 32:
        raise InvalidInput("A transfer has a type, a size and a digest of 32 bytes.", code="bad-frame")
    return blake3(b"flaas/transfer/1\0%s\0%d\0%s" % (kind.encode(), size, digest)).hexdigest()


def _fields(message: Message, *names: str) -> list[Any]:
    if not set(names) <= set(message.body):
        raise InvalidInput(f"{message.type!r} must have {', '.join(names)}.", code="bad-frame")
    return [message.body[name] for name in names]


def _streams(size: int) -> int:
    return 4 if size < _MANY else 8


def _count(size: int) -> int:
    return -(-size // RANGE)


def _runs(indexes: list[int]) -> list[list[int]]:
    """Return ascending indexes as [first, beyond the last] of each run."""
    edges = np.flatnonzero(np.diff(indexes) != 1) + 1 if indexes else np.array([], np.int64)
    starts = [0, *edges.tolist()] if indexes else []
    stops = [*edges.tolist(), len(indexes)] if indexes else []
    return [[indexes[a], indexes[b - 1] + 1] for a, b in zip(starts, stops, strict=True)]


def _expanded(runs: object, count: int) -> list[int]:
    if not isinstance(runs, list) or len(runs) > count:
        raise InvalidInput("What is missing of a transfer is told in runs.", code="bad-frame")
    indexes: list[int] = []
    for run in runs:
        if not isinstance(run, list) or len(run) != 2 or not all(type(n) is int for n in run):
            raise InvalidInput("What is missing of a transfer is told in runs.", code="bad-frame")
        if not (indexes[-1] if indexes else -1) < run[0] < run[1] <= count:
            raise InvalidInput(f"A transfer has no ranges {run}.", code="bad-frame")
        indexes.extend(range(*run))
    return indexes


async def _all_or_none(work: Any) -> None:
    """Await all; the first that fails ends the others, and is what is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _unknown() -> NotFound:
    return NotFound(
        "This node knows nothing of that transfer, or not all of it.",
        code=_UNKNOWN,
        hint="It was restarted, or the transfer was left for too long: it begins anew.",
    )


def _too_large(kind: str, size: object, limit: int) -> InvalidInput:
    return InvalidInput(
        f"The message is too large: tensors of {kind[:64]!r} of {size} bytes, allowed are {limit}.",
        code="frame-too-large",
        hint="Both nodes need the same plan; a larger model needs a larger limit at the receiving node.",
    )
