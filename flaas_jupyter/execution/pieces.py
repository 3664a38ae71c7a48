"""How the weights of a sharded round come to all participants: each gets one piece from the leader and passes it on.

So the leader sends the model once in all and not to everybody, and every participant sends and receives (n - 1)/n of it
(scatter and all-gather). Whoever lacks a piece after a while, because a participant is lost, says so and gets the whole
from the leader; what was put together is held against the digest that the leader has told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Aborted, FlaasError, InvalidInput
from ..protocols.secure_aggregation.sharding import shards
from .checkpoint import digest
from .shard_seat import Send

log = logging.getLogger(__name__)

PIECE = "round/piece"
MISSING = "pieces-missing"

PATIENCE = 20.0
"""Seconds without a new piece after which a participant asks for the whole, on top of what they take at `SLOWEST`."""

SLOWEST = 1 << 20
"""Bytes a second."""

Attempt = tuple[int, int, int]
"""Term, round and attempt."""


class Pieces:
    """The pieces of the newest round's weights at one participant.

    Parameters
    ----------
    me : str
        This node's id.
    participants : collection of str
        Who may send pieces.
    parameters : int
        p, of the whole model.
    dtype : dtype
        Of its weights.
    patience : float
        See `PATIENCE`.
    """

    def __init__(
        self,
        me: str,
        participants: Collection[str],
        parameters: int,
        dtype: np.dtype[Any],
        patience: float = PATIENCE,
    ) -> None:
        self._me, self._participants, self._dtype = me, frozenset(participants), dtype
        self._parameters, self._patience = parameters, patience
        self._attempt: Attempt = (0, 0, 0)
        self._held: dict[str, tuple[Attempt, NDArray[Any]]] = {}
        """Of each participant the newest piece only, so that none can crowd out another's."""
        self._arrived = asyncio.Event()

    def take(self, sender: str, message: Message) -> None:
        """Take another participant's piece, also before the round has begun here.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``, ``secagg-malformed``.
        """
        piece = message.tensors.get("piece")
        if sender not in self._participants:
            raise InvalidInput(f"Node {sender[:12]} has no part in this run.", code="secagg-unknown-member")
        if piece is None or piece.dtype != self._dtype or piece.ndim != 1 or piece.size > self._parameters:
            raise InvalidInput("The message brings no piece of the weights.", code="secagg-malformed")
        self._held[sender] = _attempt(message), piece
        self._arrived.set()

    async def gather(self, message: Message, send: Send) -> NDArray[Any]:
        """Pass this node's piece on, and return the whole when all others' are here.

        Parameters
        ----------
        message : Message
            ``round/begin`` with a piece in place of the weights.
        send : callable
            To another participant.

        Raises
        ------
        Aborted
            `MISSING`: a piece did not come, or what came is not what the leader has told of. ``round-over``: another
            round has begun here meanwhile.
        """
        body = message.body
        members = [str(member) for member in body["members"]]
        plan, attempt = shards(self._parameters, members), _attempt(message)
        self._attempt, own = attempt, message.tensors["piece"]
        self._held[self._me] = attempt, own
        where = {name: body[name] for name in ("run", "term", "round", "attempt")}
        passed_on = asyncio.gather(
            *(send(node, Message(PIECE, where, {"piece": own})) for node in members if node != self._me),
            return_exceptions=True,
        )
        wait = self._patience + own.nbytes * len(members) / SLOWEST
        while missing := [node for node in members if self._piece(node, attempt) is None]:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._arrived.wait()
            except TimeoutError:
                raise _missing(f"{len(missing)} of {len(members)} pieces did not come") from None
        for answer in await passed_on:
            if isinstance(answer, FlaasError):
                log.warning("a piece of the weights was not taken: %s", answer)
        if self._attempt != attempt:
            raise Aborted("Another round has begun here since.", code="round-over")
        pieces = [self._piece(shard.aggregator, attempt) for shard in plan.shards]
        self._held = {node: held for node, held in self._held.items() if held[0] > attempt}
        sound = [p for p, shard in zip(pieces, plan.shards, strict=True) if p is not None and p.size == shard.length]
        if len(sound) < len(members):
            raise _missing("a piece has another length than it should")
        weights: NDArray[Any] = np.concatenate(sound)
        if await asyncio.to_thread(digest, weights) != body["start_digest"]:
            raise _missing("the pieces do not make up the weights that the leader told of")
        return weights

    def _piece(self, node: str, attempt: Attempt) -> NDArray[Any] | None:
        held = self._held.get(node)
        return held[1] if held is not None and held[0] == attempt else None


def _attempt(message: Message) -> Attempt:
    body = message.body
    return int(body["term"]), int(body["round"]), int(body["attempt"])


def _missing(why: str) -> Aborted:
    return Aborted(f"The weights could not be put together: {why}.", code=MISSING, hint="The leader sends them whole.")
