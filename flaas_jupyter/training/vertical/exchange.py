"""How the parties of a vertical run talk: messages of a few JSON values and named arrays, from one party to another.

The programs of the parties (`run_party`, `predict_party`) know this interface only. In a simulation they run in one
process over `MemoryExchange`, between real nodes over the mesh; what they compute is the same.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

Tensors = Mapping[str, NDArray[Any]]


class Exchange(Protocol):
    """One party's end of the line.

    Messages of one sender and one kind arrive in the order they were sent in; those of different kinds need not.
    """

    @property
    def me(self) -> str:
        """Name of this party."""

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties: the label holder first, then the feature parties."""

    @property
    def label_holder(self) -> str:
        """The party that holds the labels."""

    async def send(self, party: str, kind: str, body: dict[str, Any], tensors: Tensors) -> None:
        """Send a message: `body` holds JSON values, `tensors` arrays of numbers by name."""

    async def receive(self, party: str, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Wait for the next message of a kind from a party."""


@dataclass(frozen=True)
class Message:
    """What has gone over a line, for tests and for counting.

    Parameters
    ----------
    sender, receiver, kind : str
    size : int
        Bytes of the arrays and of the body as JSON.
    shapes : dict of str to tuple of int
        Of the arrays.
    """

    sender: str
    receiver: str
    kind: str
    size: int
    shapes: dict[str, tuple[int, ...]]


class MemoryExchange:
    """An end of lines that lie in this process; `connected` makes those of all parties.

    Arrays are copied, so that nobody's work changes what another has received.
    """

    def __init__(self, me: str, parties: tuple[str, ...], queues: _Queues, log: list[Message]) -> None:
        self._me, self._parties, self._queues = me, parties, queues
        self.log = log
        """All messages of all parties, in the order they were sent in."""

    @property
    def me(self) -> str:
        """Name of this party."""
        return self._me

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties, the label holder first."""
        return self._parties

    @property
    def label_holder(self) -> str:
        """The party that holds the labels."""
        return self._parties[0]

    async def send(self, party: str, kind: str, body: dict[str, Any], tensors: Tensors) -> None:
        """Put a message into the queue of `party`."""
        if party not in self._parties or party == self._me:
            raise _unknown(party, self._parties)
        text = json.dumps(body, allow_nan=False)
        copies = {name: np.array(values) for name, values in tensors.items()}
        shapes = {name: values.shape for name, values in copies.items()}
        self.log.append(Message(self._me, party, kind, message_size(text, copies), shapes))
        self._queues[self._me, party, kind].put_nowait((json.loads(text), copies))

    async def receive(self, party: str, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Take the next message of a kind from `party` out of the queue."""
        if party not in self._parties or party == self._me:
            raise _unknown(party, self._parties)
        return await self._queues[party, self._me, kind].get()


_Queues = defaultdict[tuple[str, str, str], "asyncio.Queue[tuple[dict[str, Any], dict[str, NDArray[Any]]]]"]


def connected(parties: Sequence[str]) -> dict[str, MemoryExchange]:
    """Return the ends of all parties in this process, the label holder being the first of `parties`."""
    queues: _Queues = defaultdict(asyncio.Queue)
    log: list[Message] = []
    return {party: MemoryExchange(party, tuple(parties), queues, log) for party in parties}


@dataclass
class Metered:
    """An exchange that counts what goes over it.

    Parameters
    ----------
    line : Exchange

    Attributes
    ----------
    sent, received, messages : Counter
        Bytes sent and received, and messages sent, by kind.
    """

    line: Exchange
    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)

    @property
    def me(self) -> str:
        """Name of this party."""
        return self.line.me

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties, the label holder first."""
        return self.line.parties

    @property
    def label_holder(self) -> str:
        """The party that holds the labels."""
        return self.line.label_holder

    async def send(self, party: str, kind: str, body: dict[str, Any], tensors: Tensors) -> None:
        """Send, and count."""
        await self.line.send(party, kind, body, tensors)
        self.sent[kind] += message_size(json.dumps(body), tensors)
        self.messages[kind] += 1

    async def receive(self, party: str, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Receive, and count."""
        body, tensors = await self.line.receive(party, kind)
        self.received[kind] += message_size(json.dumps(body), tensors)
        return body, tensors

    def counts(self) -> dict[str, Any]:
        """Return the counts as JSON values: ``sent``, ``received`` and ``messages`` by kind."""
        return {"sent": dict(self.sent), "received": dict(self.received), "messages": dict(self.messages)}


def message_size(text: str, tensors: Tensors) -> int:
    """Return the bytes of a message: its body as JSON and its arrays, without the framing of a carrier."""
    return len(text.encode()) + sum(values.nbytes for values in tensors.values())


def tensor(
    tensors: Tensors, name: str, shape: tuple[int | None, ...], dtype: str, *, sender: str, kind: str
) -> NDArray[Any]:
    """Return an array of a message after checking that it is what the protocol says.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Of the message.
    name : str
        Which of them.
    shape : tuple of int or None
        Where None stands, any length will do.
    dtype : str
        NumPy's name.
    sender, kind : str
        For the error.

    Raises
    ------
    InvalidInput
        Code ``bad-message``: missing, of another shape or dtype, or not finite.
    """
    values = tensors.get(name)
    if values is None:
        raise bad_message(sender, kind, f"it has no array {name!r}")
    fits = values.ndim == len(shape) and all(s is None or s == n for s, n in zip(shape, values.shape, strict=True))
    if not fits or values.dtype != np.dtype(dtype):
        raise bad_message(
            sender, kind, f"{name!r} is {values.dtype} of shape {values.shape}; the protocol has {dtype} {shape}"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise bad_message(sender, kind, f"{name!r} holds NaN or infinite values")
    return values


def bad_message(sender: str, kind: str, what: str) -> InvalidInput:
    """Return the error for a message that the protocol does not have."""
    return InvalidInput(
        f"The message {kind!r} of party {sender!r} is not acceptable: {what}.",
        code="bad-message",
        hint="All parties must run the same version of flaas_jupyter and the same plan.",
    )


def _unknown(party: str, parties: Sequence[str]) -> InvalidInput:
    return InvalidInput(
        f"{party!r} is nobody that this party talks to; the parties are {', '.join(parties)}.", code="unknown-party"
    )
