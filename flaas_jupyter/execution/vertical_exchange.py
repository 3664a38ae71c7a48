"""A line between the parties of a vertical run over the mesh: what `training.vertical` calls an `Exchange`.

A message goes as one ``vertical/send`` request, whose answer says that the receiver has taken it. Each side numbers
what it sends to the other, so that a request which is repeated after a broken connection counts once. A receiver
answers only when there is room for what it was sent: who sends faster than the other works waits (back-pressure).
Nobody but the parties of the run gets a word in, and a party that is lost ends the line with a reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed, NotFound, Unreachable
from ..training.vertical.exchange import Tensors

log = logging.getLogger(__name__)

SEND, ALIVE = "vertical/send", "vertical/alive"
MESSAGE_LIMIT = 1 << 30
"""Bytes of tensors of one message: 30 million blinded ids, or embeddings of 4 million rows by 64."""
INBOX_LIMIT = 256 << 20
"""Bytes that may lie unread from one party; one message may always."""
LONGEST_KIND = 64
RETRY = 0.2

Post = Callable[[str, Message, float | None], Awaitable[Message]]
"""Sends a request to a node: its id, the request, seconds that it may take (None: as long as the node lives)."""
Received = tuple[dict[str, Any], dict[str, NDArray[Any]]]


class MeshExchange:
    """One party's end of a line.

    Parameters
    ----------
    line : str
        Names the line: the run, or one prediction of it.
    me : str
        This party's name.
    nodes : mapping of str to str
        Names of all parties, the label holder first, and the ids of their nodes.
    post : callable
        Sends a request over the mesh.
    patience : float
        Seconds for which a party that does not answer is asked again before it counts as lost.
    """

    def __init__(self, line: str, me: str, nodes: Mapping[str, str], post: Post, patience: float) -> None:
        self.line = line
        self.bytes_sent = self.bytes_received = 0
        self._me, self._nodes = me, dict(nodes)
        self._names = {node: party for party, node in nodes.items()}
        self._post, self._patience = post, patience
        self._error: FlaasError | None = None
        self._inbox: defaultdict[tuple[str, str], deque[tuple[int, Received]]] = defaultdict(deque)
        self._unread: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._sending: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changed = asyncio.Event()
        self._looking: dict[str, asyncio.Task[None]] = {}

    # ---- what the party's program uses ------------------------------------------------------------------------------

    @property
    def me(self) -> str:
        """The name of this party."""
        return self._me

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties, the label holder first."""
        return tuple(self._nodes)

    @property
    def is_open(self) -> bool:
        """Whether nothing has ended the line."""
        return self._error is None

    @property
    def label_holder(self) -> str:
        """The party that holds the labels."""
        return self.parties[0]

    async def send(self, party: str, kind: str, body: dict[str, Any], tensors: Tensors) -> None:
        """Send a message; returns when `party` has taken it.

        Raises
        ------
        FlaasError
            The line has failed: a party was lost or has given up.
        """
        self._require_open()
        node = self._node(party)
        async with self._sending[party]:
            number = self._sent[party] + 1
            message = Message(SEND, {"line": self.line, "number": number, "kind": kind, "body": body}, dict(tensors))
            await self.while_open(self._deliver(party, node, message))
            self._sent[party] = number
            self.bytes_sent += message.nbytes

    async def receive(self, party: str, kind: str) -> Received:
        """Wait for the next message of a kind from `party`; raises as `send`."""
        self._node(party)
        queue = self._inbox[party, kind]
        while not queue:
            self._require_open()
            await self._changed.wait()
        size, received = queue.popleft()
        self._unread[party] -= size
        self._notify()
        return received

    # ---- what the node tells the line -------------------------------------------------------------------------------

    async def take(self, node_id: str, message: Message) -> Message:
        """Take a message of another party, once there is room for it.

        Raises
        ------
        NotAllowed
            Code ``not-a-party``.
        InvalidInput
            Code ``bad-message``: not numbered, or of no kind.
        FlaasError
            The line has failed.
        """
        party = self.party_of(node_id)
        number, kind, body = message.body.get("number"), message.body.get("kind"), message.body.get("body")
        if (
            type(number) is not int
            or not isinstance(kind, str)
            or len(kind) > LONGEST_KIND
            or not isinstance(body, dict)
        ):
            raise InvalidInput(f"A message of {party} has no number, kind or body.", code="bad-message")
        size = message.nbytes
        while self._unread[party] and self._unread[party] + size > INBOX_LIMIT and number == self._taken[party] + 1:
            self._require_open()
            await self._changed.wait()
        self._require_open()
        if number <= self._taken[party]:
            return Message("ok")  # it was taken, and the answer was lost
        if number != self._taken[party] + 1:
            raise Conflict(
                f"Message {number} of {party} came after {self._taken[party]}: one was lost.", code="message-lost"
            )
        self._taken[party] = number
        self._unread[party] += size
        self.bytes_received += size
        self._inbox[party, kind].append((size, (body, message.tensors)))
        self._notify()
        return Message("ok")

    def party_of(self, node_id: str) -> str:
        """Return the name of the party that a node is; `NotAllowed` (code ``not-a-party``) if it is none."""
        party = self._names.get(node_id)
        if party is None or party == self._me:
            raise NotAllowed(f"Node {node_id[:12]} is no other party of {self.line}.", code="not-a-party")
        return party

    def fail(self, error: FlaasError) -> None:
        """End the line: everybody who waits on it hears why. The first reason counts."""
        if self._error is None:
            self._error = error
            self._notify()

    def lost(self, node_id: str) -> None:
        """The connection with a node is gone: look whether the party is still there, and end the line if not."""
        party = self._names.get(node_id)
        if party is None or party == self._me or self._error is not None:
            return
        known = self._looking.get(party)
        if known is None or known.done():
            self._looking[party] = asyncio.create_task(self._look(party))

    async def while_open(self, work: Awaitable[Any]) -> None:
        """Await `work`, and give it up with the reason when the line fails meanwhile."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                self._require_open()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait((task, changed), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        finally:
            task.cancel()
        await task

    def close(self) -> None:
        """Stop looking after the parties."""
        for task in self._looking.values():
            task.cancel()

    # ---- inside -----------------------------------------------------------------------------------------------------

    async def _deliver(self, party: str, node: str, message: Message) -> None:
        deadline = asyncio.get_running_loop().time() + self._patience
        while True:
            try:
                await self._post(node, message, None)
                return
            except Unreachable as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise self._gone(party, error) from error
                await asyncio.sleep(RETRY)
            except NotFound as error:
                raise self._gone(party, error) from error

    async def _look(self, party: str) -> None:
        try:
            await self._ask_alive(party)
        except FlaasError as error:
            log.warning("%s: %s", self.line, error)
            self.fail(error)

    async def _ask_alive(self, party: str) -> None:
        """Ask until the party answers that it has its end of the line; it may not know of it yet."""
        deadline = asyncio.get_running_loop().time() + self._patience
        while True:
            try:
                await self._post(self._node(party), Message(ALIVE, {"line": self.line}), self._patience)
                return
            except (Unreachable, NotFound) as error:
                restarted = isinstance(error, NotFound) and self._taken[party] > 0
                if restarted or asyncio.get_running_loop().time() > deadline:
                    raise self._gone(party, error) from error
            await asyncio.sleep(RETRY)

    def _gone(self, party: str, error: FlaasError) -> Aborted:
        return Aborted(
            f"Party {party} was lost: {error.message}",
            code="party-lost",
            hint=f"A vertical run needs all its parties to the end. Check {party} and start a new run.",
            party=party,
        )

    def _node(self, party: str) -> str:
        if party not in self._nodes or party == self._me:
            raise InvalidInput(
                f"{party!r} is no other party; there are {', '.join(self._nodes)}.", code="unknown-party"
            )
        return self._nodes[party]

    def _require_open(self) -> None:
        if self._error is not None:
            raise self._error

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
