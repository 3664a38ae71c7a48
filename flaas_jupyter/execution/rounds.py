"""One attempt at one round, as the aggregator leads it: what is asked of whom, in which order.

A round in the clear takes two steps (begin, update), one under secure aggregation five, and six where the rule gives
votes: between shares and updates the participants report the number that their votes are made of. Nothing here changes
the run: the `Outcome` is the aggregator's to keep or to discard.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Aborted, InvalidInput
from ..protocols.aggregation import Ballot, Needs
from ..protocols.secure_aggregation import OpenedSum, RoundSettings, SecureSum, Votes, decode_sum
from .round_steps import (
    Outcome,
    RoundLog,
    RoundSteps,
    Terms,
    advertisement_of,
    agreed_metric_names,
    reveals_of,
)

__all__ = ["Outcome", "Round", "RoundLog", "Terms"]


class Round(RoundSteps):
    """A round in the clear, or with one secure sum; see `RoundSteps` for what it is made from."""

    async def lead(self, members: list[str]) -> Outcome:
        """Lead the round with `members`.

        Raises
        ------
        Aborted
            Too few are left; nothing was revealed and the round may be tried again.
        InvalidInput
            The run cannot go on: the rule cannot work with what was sent.
        """
        if self._run["secure_aggregation"]:
            return await self._secure(members)
        return await self._plain(members)

    # ---- in the clear -----------------------------------------------------------------------------------------------

    async def _plain(self, members: list[str]) -> Outcome:
        since = time.perf_counter()
        begin = self._begin(members)
        begun = await self._step(members, "begin", lambda _: begin)
        since = self._figures.phase("begin", since)
        replies = await self._step(begun, "update", lambda _: self._message("round/update"))
        self._figures.update_bytes = sum(reply.nbytes for reply in replies.values())
        replies = await asyncio.to_thread(self._restored, replies)
        replies = self._sound("update", replies, self._check_update)
        if not replies:
            raise Aborted("No participant handed over an update.", code="no-updates")
        since = self._training_phase(replies, since)
        examples = {node: int(reply.body["examples"]) for node, reply in replies.items()}
        updates = {node: reply.tensors["update"] for node, reply in replies.items()}
        combined = await asyncio.to_thread(self._combiner.of_updates, self._start, updates, examples, self._state)
        metrics = _weighted_metrics({node: reply.body["metrics"] for node, reply in replies.items()}, examples)
        if all("error" in reply.body for reply in replies.values()):
            errors = {node: {"error": reply.body["error"]} for node, reply in replies.items()}
            self._figures.compression_error = _weighted_metrics(errors, examples)["error"]
        self._figures.phase("aggregate", since)
        return Outcome(combined, examples, metrics)

    def _restored(self, replies: dict[str, Message]) -> dict[str, Message]:
        """Return the replies with weights in place of compressed updates; whose cannot be read is out of the round."""
        compressor = self._terms.compressor
        if compressor is None:
            return replies

        def restored(reply: Message) -> Message:
            weights = compressor.restore(reply.tensors, self._start, common=self._common)
            return Message(reply.type, reply.body, {"update": weights})

        return self._parsed("update", replies, restored)

    def _check_update(self, reply: Message) -> None:
        update, examples, error = reply.tensors["update"], reply.body["examples"], reply.body.get("error", 0.0)
        if not all(isinstance(value, float | int) for value in reply.body["metrics"].values()):
            raise InvalidInput("Its metrics are not numbers.", code="wrong-metrics")
        if not isinstance(error, float) or not math.isfinite(error):
            raise InvalidInput(f"It says that compression has cost {error!r}.", code="bad-compressed-update")
        if update.shape != self._start.shape or update.dtype.kind != "f":
            raise InvalidInput(
                f"An update must be {self._start.size} floats, not {update.dtype} of shape {update.shape}.",
                code="wrong-weights",
            )
        if not np.isfinite(update).all():
            raise InvalidInput(
                "The update holds NaN or infinite values.",
                code="non-finite-update",
                hint="Lower the learning rate or clip gradients (optimizer clipnorm=...).",
            )
        if not isinstance(examples, int) or not 0 < examples <= self._terms.maximum_examples:
            raise InvalidInput(
                f"It says to have trained on {examples!r} rows; the data sets described have up to "
                f"{self._terms.maximum_examples}.",
                code="wrong-row-count",
            )

    # ---- under secure aggregation -----------------------------------------------------------------------------------

    async def _secure(self, members: list[str]) -> Outcome:
        begin = self._begin(members)
        settings = self._settings(begin)
        total = SecureSum(settings, verify=self._verify)
        inboxes = await self._exchange_keys(total, begin, members)
        votes: Votes | None = None
        ballot: Ballot | None = None
        since = time.perf_counter()
        if self._combiner.needs is Needs.SCALARS:
            scalars = await self._scalars(inboxes)
            ballot, given = self._combiner.ballot(scalars, self._terms.rows, self._state)
            votes = self._hiding_votes(settings, given)
            if votes is None:
                self._figures.phase("train", since)
                return self._silent(given, ballot)
            total.announce(votes)
        masked = await self._masked(total, inboxes, votes, settings)
        names = agreed_metric_names(masked.values())
        since = self._training_phase(masked, since)
        survivors = list(total.survivors)
        vector = await self._open(total, survivors)
        since = time.perf_counter()
        opened = decode_sum(
            vector,
            len(survivors),
            names,
            settings,
            self._values,
            self._terms.maximum_examples,
            shares=self._shares(votes, survivors),
        ).at(self._coordinates, self._start.size)
        examples = self._checked_examples(opened, survivors)
        if votes is not None and ballot is not None:
            combined = self._combiner.of_votes(self._start, opened, votes, ballot, survivors, self._state)
        else:
            combined = self._combiner.of_sum(self._start, opened, examples, self._state)
        self._figures.phase("aggregate", since)
        return Outcome(combined, examples, opened.metrics)

    async def _exchange_keys(self, total: SecureSum, begin: Message, members: list[str]) -> dict[str, Any]:
        """Begin the round; return what each participant needs to know of the others' keys."""
        since = time.perf_counter()
        keys = await self._begun(begin, members)
        advertised = self._parsed("begin", keys, advertisement_of)
        self._take_what_is_sound(total.advertised, advertised, "begin")
        since = self._figures.phase("begin", since)
        entries = {node: advertisement.to_dict() for node, advertisement in advertised.items()}
        share = self._message("round/share", advertisements=entries)
        sealed = await self._step(advertised, "share", lambda _: share)
        shares = self._parsed("share", sealed, lambda reply: reply.body["shares"])
        inboxes = self._take_what_is_sound(total.shared, shares, "share")
        self._figures.phase("share", since)
        return inboxes

    async def _begun(self, begin: Message, members: list[str]) -> dict[str, Message]:
        return await self._step(members, "begin", lambda _: begin)

    async def _scalars(self, nodes: Iterable[str]) -> dict[str, float]:
        replies = await self._step(nodes, "scalar", lambda _: self._message("round/scalar"))
        replies = self._sound("scalar", replies, _check_scalar)
        if not replies:
            raise Aborted("No participant reported its number.", code="no-updates")
        return {node: float(reply.body["scalar"]) for node, reply in replies.items()}

    def _hiding_votes(self, settings: RoundSettings, given: Mapping[str, float]) -> Votes | None:
        """Return the votes as shares; None where nobody has one, or too few have for the sum to hide each of them."""
        if not any(given.values()):
            return None
        votes = Votes.of(given)
        try:
            votes.require_hiding(settings, given)
        except Aborted as too_few:
            for node in (node for node, vote in given.items() if vote > 0):
                self._figures.drop(node, "votes", too_few)
            return None
        return votes

    def _silent(self, given: Mapping[str, float], ballot: Ballot) -> Outcome:
        """Keep the model, without anybody's update. Votes that could not be used are not charged for."""
        unused = any(given.values())
        combined = self._combiner.of_silence(self._start, sorted(given), ballot, self._state, settled=not unused)
        return Outcome(combined, {node: self._terms.rows[node] for node in given}, {})

    async def _masked(
        self, total: SecureSum, inboxes: Mapping[str, Any], votes: Votes | None, settings: RoundSettings
    ) -> dict[str, Message]:
        shares: dict[str, Any] = {} if votes is None else {"votes": dict(votes.shares)}
        return await self._step(
            inboxes if votes is None else votes.shares,
            "update",
            lambda node: self._message("round/update", inbox=inboxes[node], **shares),
            lambda node, reply: total.add(node, self._masked_of(reply, settings)),
        )

    async def _open(self, total: SecureSum, survivors: list[str]) -> NDArray[np.uint32]:
        since = time.perf_counter()
        ask = self._message("round/survivors", survivors=survivors)
        signed = await self._step(survivors, "survivors", lambda _: ask)
        signatures = self._parsed("survivors", signed, lambda reply: reply.body["signature"])
        total.confirmed(signatures)
        since = self._figures.phase("survivors", since)
        unmask = self._message("round/unmask", signatures=signatures)
        opened = await self._step(signatures, "unmask", lambda _: unmask)
        reveals = self._parsed("unmask", opened, reveals_of)
        since = self._figures.phase("unmask", since)
        vector = await asyncio.to_thread(total.open, reveals)
        self._figures.phase("aggregate", since)
        return vector

    def _checked_examples(self, opened: OpenedSum, survivors: Iterable[str]) -> dict[str, int]:
        """Note what the sum says of itself; return the rows of each survivor, which add up to those of the sum."""
        self._figures.clipped, self._figures.error_bound = opened.clipped, opened.error_bound
        self._figures.peak = opened.peak
        examples = {node: self._terms.rows[node] for node in survivors}
        if sum(examples.values()) != opened.examples:
            raise InvalidInput(
                f"The survivors trained on {opened.examples} rows together; their descriptions say "
                f"{sum(examples.values())}.",
                code="wrong-row-count",
                hint="A data set changed after it was described: restart that node so that it describes it again.",
            )
        return examples

    def _shares(self, votes: Votes | None, survivors: list[str]) -> float | None:
        """The summed shares of the survivors, where they are not those of their examples."""
        if votes is not None:
            return sum(votes.shares[node] for node in survivors)
        return float(len(survivors)) if self._combiner.weights_equally else None


def _check_scalar(reply: Message) -> None:
    scalar = reply.body["scalar"]
    if not isinstance(scalar, float) or not math.isfinite(scalar):
        raise InvalidInput(f"It reported {scalar!r}, which is no number.", code="non-finite-update")


def _weighted_metrics(metrics: Mapping[str, Mapping[str, float]], examples: Mapping[str, int]) -> dict[str, float]:
    total = sum(examples.values())
    names = sorted(set.intersection(*map(set, metrics.values())))  # a mean is of all who take part
    return {name: sum(metrics[n][name] * examples[n] for n in examples) / total for name in names}
