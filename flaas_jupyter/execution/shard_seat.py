"""A participant's second seat in a sharded round: it adds up one shard of everybody's masked vectors, and opens it.

Its first is that of any member (`participant`). Parts of vectors go from node to node; the leader passes on keys, lists
and reveals, and collects opened shards. See `flaas_jupyter.protocols.secure_aggregation.sharding`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Conflict, FlaasError, InvalidInput
from ..protocols.secure_aggregation import Advertisement, Member, Reveal, RoundSettings
from ..protocols.secure_aggregation.aggregator import ShardSum
from ..protocols.secure_aggregation.messages import Verify
from ..protocols.secure_aggregation.sharding import shards

log = logging.getLogger(__name__)

Vector = NDArray[np.uint32]
Send = Callable[[str, Message], Awaitable[Message]]
"""Sends a message to another participant."""

PART = "round/part"


class ShardSeat:
    """One round's shard at one node.

    Parameters
    ----------
    settings : RoundSettings
        Of the round.
    me : str
        This node's id.
    verify : callable
        Checks a signature of a node of the domain.
    """

    def __init__(self, settings: RoundSettings, me: str, verify: Verify) -> None:
        self._settings, self._me, self._verify = settings, me, verify
        self._advertisements: dict[str, Advertisement] = {}
        self._early: dict[str, Vector] = {}
        self._sum: ShardSum | None = None

    def keys(self, advertisements: Mapping[str, Advertisement]) -> None:
        """Take everybody's keys, which this member has checked."""
        self._advertisements = dict(advertisements)

    async def distribute(
        self,
        secure: Member,
        encoded: Vector,
        inbox: Mapping[str, bytes],
        sharers: Collection[str],
        send: Callable[[str, Vector], Awaitable[object]],
    ) -> None:
        """Mask this member's vector, and send each shard to the node that adds it up.

        A node that cannot be reached is not this member's to tell of: each node says itself what has arrived.

        Parameters
        ----------
        secure : Member
        encoded : ndarray of uint32, shape (m,)
        inbox : mapping of str to bytes
            Sealed shares for this member.
        sharers : collection of str
            Everybody who shared its keys, the same for all.
        send : callable
            ``send(node, part)``.

        Raises
        ------
        FlaasError
            Of `Member.mask_shards`; the settings or keys do not go together.
        """
        plan = shards(encoded.size, sharers)
        total = ShardSum(self._settings, plan, self._me, verify=self._verify)
        total.advertised(self._advertisements)
        total.joined(sharers)
        parts = await asyncio.to_thread(secure.mask_shards, encoded, inbox, plan)
        total.add(self._me, parts.pop(self._me))
        self._sum, early, self._early = total, self._early, {}
        for member, part in early.items():
            try:
                total.add(member, part)
            except FlaasError as error:
                log.warning("the part of node %s is not used: %s", member[:12], error)
        sent = await asyncio.gather(*(send(node, part) for node, part in parts.items()), return_exceptions=True)
        for node, answer in zip(parts, sent, strict=True):
            if isinstance(answer, FlaasError):
                log.warning("node %s did not take its part: %s", node[:12], answer)
            elif isinstance(answer, BaseException):
                raise answer

    def take(self, member: str, part: Vector) -> None:
        """Take a member's part of this shard, also before this node knows who takes part in the sum.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``, ``secagg-malformed``.
        Conflict
            ``secagg-wrong-phase``: that member's part is here already.
        """
        if self._sum is not None:
            self._sum.add(member, part)
            return
        if member not in self._settings.members:
            raise InvalidInput(
                f"Node {member[:12]} has no part in this round.", code="secagg-unknown-member", member=member
            )
        if member in self._early:
            raise Conflict(f"The part of node {member[:12]} is here already.", code="secagg-wrong-phase")
        self._early[member] = part

    @property
    def received(self) -> tuple[str, ...]:
        """Those whose parts are here."""
        return self._require_sum().received

    def open(
        self,
        survivors: Collection[str],
        signatures: Mapping[str, bytes],
        reveals: Mapping[str, Mapping[str, Reveal]],
    ) -> Vector:
        """Add up the survivors' parts and open their sum, once enough of them signed that list.

        Raises
        ------
        FlaasError
            Of `ShardSum`.
        """
        total = self._require_sum()
        total.settle(survivors)
        total.confirmed(signatures)
        return total.open(reveals)

    def _require_sum(self) -> ShardSum:
        if self._sum is None:
            raise Conflict("This node has not sent its own parts yet.", code="secagg-wrong-phase")
        return self._sum


def reveals_from(message: Message) -> dict[str, dict[str, Reveal]]:
    """Return everybody's reveals as they come with ``round/open``."""
    return {
        str(holder): {str(member): Reveal.from_dict(entry) for member, entry in given.items()}
        for holder, given in message.body["reveals"].items()
    }
