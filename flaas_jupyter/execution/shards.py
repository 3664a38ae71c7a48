"""A sharded round, as its leader sees it: every participant adds up and opens one part of the masked vectors.

Steps: begin, share (keys, as in any secure round), update (parts go from node to node), collected (what has arrived
where), survivors, unmask, open (each node opens its shard; the leader joins them). Nobody receives all vectors. Who has
shared its keys adds up a shard, so a node that is lost from then on stops the attempt, and the round is tried again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Aborted
from ..protocols.secure_aggregation import RoundSettings, SecureSum, decode_sum, encoded_length
from ..protocols.secure_aggregation.sharding import shards
from .checkpoint import digest
from .pieces import MISSING
from .round_steps import Outcome, agreed_metric_names, check_metric_names, reveals_of
from .rounds import Round


class ShardedRound(Round):
    """A round whose sum is opened in shards; see `RoundSteps` for what it is made from."""

    async def lead(self, members: list[str]) -> Outcome:
        """Lead the round with `members`.

        Raises
        ------
        Aborted
            A node is lost that adds up a shard. Nothing was revealed, unless it was lost while the sum opened.
        InvalidInput
            The run cannot go on.
        """
        begin = self._begin(members)
        settings = self._settings(begin)
        # It passes keys and shares on; what it would add up arrives nowhere as a whole.
        total = SecureSum(settings, verify=self._verify)
        inboxes = await self._exchange_keys(total, begin, members)
        sharers = sorted(inboxes)
        names = await self._distributed(inboxes, sharers)
        survivors = await self._collected(settings, sharers)
        vector = await self._opened(survivors, sharers, encoded_length(self._start.size, len(names)))
        return self._outcome(vector, survivors, names, settings)

    async def _begun(self, begin: Message, members: list[str]) -> dict[str, Message]:
        """Send each participant a piece of the weights to pass on, and the whole to those who could not gather it."""
        plan = shards(self._start.size, members)
        body = {**begin.body, "start_digest": digest(self._start)}
        others = {name: tensor for name, tensor in begin.tensors.items() if name != "weights"}

        def piece(node: str) -> Message:
            shard = plan.of(node)
            return Message(begin.type, body, {"piece": self._start[shard.start : shard.stop], **others})

        replies, errors = await self._ask_all(members, piece, self._limit)
        short = [node for node, error in errors.items() if error.code == MISSING]
        for node in errors.keys() - set(short):
            self._figures.drop(node, "begin", errors[node])
        if short:
            replies |= await self._step(short, "begin", lambda _: begin)
        return replies

    async def _distributed(self, inboxes: dict[str, Any], sharers: list[str]) -> list[str]:
        """Have everybody train, mask and send its parts; return the names of the metrics."""
        since = time.perf_counter()
        sent = await self._step(
            inboxes, "update", lambda node: self._message("round/update", inbox=inboxes[node], sharers=sharers)
        )
        sent = self._sound("update", sent, check_metric_names)
        self._require_all(sent, sharers, "trained and sent its parts")
        self._training_phase(sent, since)
        return agreed_metric_names(sent.values())

    async def _collected(self, settings: RoundSettings, sharers: list[str]) -> list[str]:
        """Return those whose parts have arrived everywhere: there is one list for all shards."""
        ask = self._message("round/collected")
        replies = await self._step(sharers, "collected", lambda _: ask)
        received = self._parsed("collected", replies, lambda reply: {str(m) for m in reply.body["received"]})
        self._require_all(received, sharers, "told what it has received")
        everywhere = set(sharers).intersection(*received.values())
        if len(everywhere) < settings.threshold:
            raise Aborted(
                f"The parts of {len(everywhere)} of {len(settings.members)} participants have arrived everywhere; "
                f"{settings.threshold} are needed. No update is revealed.",
                code="secagg-below-threshold",
                hint="Try the round again when more nodes are there.",
            )
        return sorted(everywhere)

    async def _opened(self, survivors: list[str], sharers: list[str], length: int) -> NDArray[np.uint32]:
        since = time.perf_counter()
        ask = self._message("round/survivors", survivors=survivors)
        signed = await self._step(survivors, "survivors", lambda _: ask)
        signatures = self._parsed("survivors", signed, lambda reply: reply.body["signature"])
        since = self._figures.phase("survivors", since)
        unmask = self._message("round/unmask", signatures=signatures)
        replies = await self._step(signatures, "unmask", lambda _: unmask)
        reveals = {
            node: {member: reveal.to_dict() for member, reveal in given.items()}
            for node, given in self._parsed("unmask", replies, reveals_of).items()
        }
        since = self._figures.phase("unmask", since)
        tell = self._message("round/open", survivors=survivors, signatures=signatures, reveals=reveals)
        opened = await self._step(sharers, "open", lambda _: tell)
        traffic = self._parsed("open", opened, lambda reply: (int(reply.body["sent"]), int(reply.body["received"])))
        parts = self._parsed("open", {node: opened[node] for node in traffic}, lambda reply: reply.tensors["part"])
        self._require_all(parts, sharers, "opened its shard", is_open=True)
        self._figures.shards = {
            "count": len(sharers),
            "up": max(sent for sent, _ in traffic.values()),
            "down": max(received for _, received in traffic.values()),
        }
        vector = await asyncio.to_thread(shards(length, sharers).gather, parts)
        self._figures.phase("open", since)
        return vector

    def _outcome(
        self, vector: NDArray[np.uint32], survivors: list[str], names: list[str], settings: RoundSettings
    ) -> Outcome:
        since = time.perf_counter()
        opened = decode_sum(
            vector,
            len(survivors),
            names,
            settings,
            self._start.size,
            self._terms.maximum_examples,
            shares=self._shares(None, survivors),
        )
        examples = self._checked_examples(opened, survivors)
        combined = self._combiner.of_sum(self._start, opened, examples, self._state)
        self._figures.phase("aggregate", since)
        return Outcome(combined, examples, opened.metrics)

    def _require_all(self, there: dict[str, Any], sharers: list[str], did: str, *, is_open: bool = False) -> None:
        missing = [node for node in sharers if node not in there]
        if missing:
            names = ", ".join(node[:12] for node in missing)
            raise Aborted(
                f"Of {len(sharers)} nodes that add up a shard, {len(missing)} has not {did}: {names}.",
                code="secagg-shard-lost",
                hint=f"The round is tried again {'with the same' if is_open else 'without'}. Without sharded=True it "
                "would stand a few losses.",
                members=() if is_open else missing,  # what was unmasked once can be opened for the same members only
            )
