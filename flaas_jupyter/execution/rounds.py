"""One attempt at one round, as the aggregator leads it: what is asked of whom, in which order.

A round in the clear takes two steps (begin, update), one under secure aggregation five, and six where the rule gives
votes: between shares and updates the participants report the number that their votes are made of. Nothing here changes
the run: the `Outcome` is the aggregator's to keep or to discard.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Aborted, FlaasError, InvalidInput, NotAuthenticated
from ..protocols.aggregation import Ballot, Needs
from ..protocols.secure_aggregation import Advertisement, Reveal, RoundSettings, SecureSum, Votes, decode_sum
from . import rule_state
from .checkpoint import digest
from .combining import Combined, Combiner
from .participant import Verify, round_settings
from .rule_state import State

log = logging.getLogger(__name__)

R = TypeVar("R")


class AskAll(Protocol):
    """Asks nodes at once; returns replies and errors by node."""

    async def __call__(
        self,
        nodes: Iterable[str],
        message: Callable[[str], Message],
        limit: float,
        take: Callable[[str, Message], object] | None = None,
    ) -> tuple[dict[str, Message], dict[str, FlaasError]]:
        """Ask; `limit` is in seconds, `take` is called with each reply and may refuse it."""


@dataclass
class RoundLog:
    """Figures of the round under way, for its report."""

    began: float = field(default_factory=time.perf_counter)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    seconds: dict[str, float] = field(default_factory=dict)
    dropped: list[dict[str, str]] = field(default_factory=list)
    clipped: int = 0
    error_bound: float | None = None

    def drop(self, node: str, phase: str, error: FlaasError) -> None:
        """Note that a participant is out of the round."""
        log.warning("%s dropped out of the round at %s: %s", node[:12], phase, error)
        self.dropped.append({"node": node, "phase": phase, "reason": str(error)})

    def phase(self, name: str, since: float) -> float:
        """Add the time since `since` to a phase; return the present time."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since
        return now


@dataclass(frozen=True)
class Outcome:
    """What a round came to.

    Parameters
    ----------
    combined : Combined
        The new weights, and what the rule says of each participant.
    examples : dict of str to int
        Rows that each participant trained on.
    metrics : dict of str to float
        Averages over the participants by their examples; empty with differential privacy.
    """

    combined: Combined
    examples: dict[str, int]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Terms:
    """What a round is about, beside its members: told to every participant when it begins.

    Parameters
    ----------
    number, attempt : int
        Which round, and which attempt at it.
    clip : float
        Range of a coordinate under secure aggregation.
    rows : dict of str to int
        Rows of each participant's data set, as it is described.
    learning_rate : float or None
        In place of the plan's.
    """

    number: int
    attempt: int
    clip: float
    rows: dict[str, int]
    learning_rate: float | None

    @property
    def maximum_examples(self) -> int:
        """Rows of the largest data set."""
        return max(self.rows.values())


class Round:
    """One attempt at one round of a run.

    Parameters
    ----------
    run : dict
        The run, as the coordination API describes it.
    domain : str
        The project's domain.
    terms : Terms
    start : ndarray, shape (p,)
        The global weights.
    state : dict
        What the rule remembers.
    combiner : Combiner
        Makes the new weights.
    ask_all : AskAll
        Sends requests to participants.
    limit : float
        Seconds that a participant has for one answer.
    verify : callable
        Checks a signature of a node of the domain.
    figures : RoundLog
        Where it is told how the round goes.
    """

    def __init__(
        self,
        run: Mapping[str, Any],
        *,
        domain: str,
        terms: Terms,
        start: NDArray[Any],
        state: State,
        combiner: Combiner,
        ask_all: AskAll,
        limit: float,
        verify: Verify,
        figures: RoundLog,
    ) -> None:
        self._run, self._domain, self._terms = run, domain, terms
        self._start, self._state, self._combiner = start, state, combiner
        self._ask_all, self._limit, self._verify = ask_all, limit, verify
        self._figures = figures

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
        replies = self._sound("update", replies, self._check_update)
        if not replies:
            raise Aborted("No participant handed over an update.", code="no-updates")
        since = self._training_phase(replies, since)
        examples = {node: int(reply.body["examples"]) for node, reply in replies.items()}
        updates = {node: reply.tensors["update"] for node, reply in replies.items()}
        combined = await asyncio.to_thread(self._combiner.of_updates, self._start, updates, examples, self._state)
        metrics = _weighted_metrics({node: reply.body["metrics"] for node, reply in replies.items()}, examples)
        self._figures.phase("aggregate", since)
        return Outcome(combined, examples, metrics)

    def _check_update(self, reply: Message) -> None:
        update, examples = reply.tensors["update"], reply.body["examples"]
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
        settings = round_settings(self._domain, begin.body, digest(self._start))
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
        masked = await self._masked(total, inboxes, votes)
        names = _agreed_metric_names(masked.values())
        since = self._training_phase(masked, since)
        survivors = list(total.survivors)
        vector = await self._open(total, survivors)
        since = time.perf_counter()
        opened = decode_sum(
            vector,
            len(survivors),
            names,
            settings,
            self._start.size,
            self._terms.maximum_examples,
            shares=self._shares(votes, survivors),
        )
        self._figures.clipped, self._figures.error_bound = opened.clipped, opened.error_bound
        examples = {node: self._terms.rows[node] for node in survivors}
        if sum(examples.values()) != opened.examples:
            raise InvalidInput(
                f"The survivors trained on {opened.examples} rows together; their descriptions say "
                f"{sum(examples.values())}.",
                code="wrong-row-count",
                hint="A data set changed after it was described: restart that node so that it describes it again.",
            )
        if votes is not None and ballot is not None:
            combined = self._combiner.of_votes(self._start, opened, votes, ballot, survivors, self._state)
        else:
            combined = self._combiner.of_sum(self._start, opened, examples, self._state)
        self._figures.phase("aggregate", since)
        return Outcome(combined, examples, opened.metrics)

    async def _exchange_keys(self, total: SecureSum, begin: Message, members: list[str]) -> dict[str, Any]:
        """Begin the round; return what each participant needs to know of the others' keys."""
        since = time.perf_counter()
        keys = await self._step(members, "begin", lambda _: begin)
        advertised = {node: Advertisement.from_dict(reply.body["advertisement"]) for node, reply in keys.items()}
        self._take_what_is_sound(total.advertised, advertised, "begin")
        since = self._figures.phase("begin", since)
        entries = {node: advertisement.to_dict() for node, advertisement in advertised.items()}
        share = self._message("round/share", advertisements=entries)
        sealed = await self._step(advertised, "share", lambda _: share)
        shares = {node: reply.body["shares"] for node, reply in sealed.items()}
        inboxes = self._take_what_is_sound(total.shared, shares, "share")
        self._figures.phase("share", since)
        return inboxes

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

    async def _masked(self, total: SecureSum, inboxes: Mapping[str, Any], votes: Votes | None) -> dict[str, Message]:
        shares: dict[str, Any] = {} if votes is None else {"votes": dict(votes.shares)}
        return await self._step(
            inboxes if votes is None else votes.shares,
            "update",
            lambda node: self._message("round/update", inbox=inboxes[node], **shares),
            lambda node, reply: total.add(node, reply.tensors["masked"]),
        )

    async def _open(self, total: SecureSum, survivors: list[str]) -> NDArray[np.uint32]:
        since = time.perf_counter()
        ask = self._message("round/survivors", survivors=survivors)
        signed = await self._step(survivors, "survivors", lambda _: ask)
        signatures = {node: reply.body["signature"] for node, reply in signed.items()}
        total.confirmed(signatures)
        since = self._figures.phase("survivors", since)
        unmask = self._message("round/unmask", signatures=signatures)
        opened = await self._step(signatures, "unmask", lambda _: unmask)
        reveals = {
            node: {member: Reveal.from_dict(entry) for member, entry in reply.body["reveals"].items()}
            for node, reply in opened.items()
        }
        since = self._figures.phase("unmask", since)
        vector = await asyncio.to_thread(total.open, reveals)
        self._figures.phase("aggregate", since)
        return vector

    def _shares(self, votes: Votes | None, survivors: list[str]) -> float | None:
        """The summed shares of the survivors, where they are not those of their examples."""
        if votes is not None:
            return sum(votes.shares[node] for node in survivors)
        return float(len(survivors)) if self._combiner.weights_equally else None

    def _take_what_is_sound(self, take: Callable[[dict[str, Any]], R], entries: dict[str, Any], phase: str) -> R:
        """Hand `entries` to `take`; whoever's is at fault is left out of the round and of `entries`."""
        while True:
            try:
                return take(entries)
            except (InvalidInput, NotAuthenticated) as error:
                member = error.details.get("member")
                if member not in entries:
                    raise Aborted(f"The {phase} phase failed: {error.message}", code=error.code) from error
                del entries[member]
                self._figures.drop(member, phase, error)

    # ---- asking -----------------------------------------------------------------------------------------------------

    def _begin(self, members: list[str]) -> Message:
        terms = self._terms
        values, arrays = rule_state.to_message(self._state if rule_state.travels(self._state) else None)
        body = {
            "run": self._run["id"],
            "term": self._run["term"],
            "round": terms.number,
            "attempt": terms.attempt,
            "members": members,
            "clip": terms.clip,
            "maximum_examples": terms.maximum_examples,
            "learning_rate": terms.learning_rate,
            "plan": self._run["model_digest"],
            "aggregation": self._run["aggregation"],
            "aggregation_options": self._run["aggregation_options"],
            "privacy": self._run["privacy"],
            "rule": values,
        }
        return Message("round/begin", body, {"weights": self._start, **arrays})

    def _message(self, kind: str, **body: Any) -> Message:
        where = {"run": self._run["id"], "round": self._terms.number, "attempt": self._terms.attempt}
        return Message(kind, {**where, **body})

    async def _step(
        self,
        nodes: Iterable[str],
        phase: str,
        message: Callable[[str], Message],
        take: Callable[[str, Message], object] | None = None,
    ) -> dict[str, Message]:
        """Ask `nodes` at once; whoever cannot answer is out of this round and the report says at which phase."""
        replies, errors = await self._ask_all(nodes, message, self._limit, take)
        for node, error in errors.items():
            self._figures.drop(node, phase, error)
        return replies

    def _sound(self, phase: str, replies: dict[str, Message], check: Callable[[Message], None]) -> dict[str, Message]:
        """Return the replies that pass `check`; whoever sent another is out of this round."""
        sound = {}
        for node, reply in replies.items():
            try:
                check(reply)
                sound[node] = reply
            except InvalidInput as error:
                self._figures.drop(node, phase, error)
        return sound

    def _training_phase(self, replies: Mapping[str, Message], since: float) -> float:
        """Split the wait for updates in the slowest participant's training and masking, and the rest."""
        train = max((float(reply.body["train_seconds"]) for reply in replies.values()), default=0.0)
        mask = max((float(reply.body.get("mask_seconds", 0.0)) for reply in replies.values()), default=0.0)
        now = time.perf_counter()
        self._figures.seconds["train"] = train
        self._figures.seconds["mask"] = mask
        self._figures.seconds["transfer"] = max(0.0, now - since - train - mask)
        return now


def _check_scalar(reply: Message) -> None:
    scalar = reply.body["scalar"]
    if not isinstance(scalar, float) or not math.isfinite(scalar):
        raise InvalidInput(f"It reported {scalar!r}, which is no number.", code="non-finite-update")


def _weighted_metrics(metrics: Mapping[str, Mapping[str, float]], examples: Mapping[str, int]) -> dict[str, float]:
    total = sum(examples.values())
    names = sorted({name for each in metrics.values() for name in each})
    return {name: sum(metrics[n][name] * examples[n] for n in examples) / total for name in names}


def _agreed_metric_names(replies: Iterable[Message]) -> list[str]:
    names = {tuple(reply.body["metric_names"]) for reply in replies}
    if len(names) > 1:
        raise InvalidInput(f"Participants report different metrics: {sorted(names)}.", code="different-metrics")
    return list(next(iter(names), ()))
