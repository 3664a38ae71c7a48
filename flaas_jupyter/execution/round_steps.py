"""What every kind of round is made of: whom to ask, what to note, how a step is taken.

The kinds are `rounds` (in the clear, and one secure sum), `groups` (a secure sum for each group) and `shards` (a secure
sum of which every participant opens a part).
"""

from __future__ import annotations

import functools
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import FlaasError, InvalidInput
from ..observability import traces
from ..protocols.compression import Compressor
from ..protocols.secure_aggregation import Advertisement, Reveal, RoundSettings, unpack
from . import rule_state
from .checkpoint import digest
from .combining import Combined, Combiner
from .node_metrics import DROPPED
from .participant import Verify, common_bytes, round_settings
from .rule_state import State
from .sound import take_what_is_sound

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
    clip: float = 0.0
    error_bound: float | None = None
    peak: float = 0.0
    """Largest magnitude of an opened mean."""

    groups: dict[str, int] | None = None
    """In group mode: their size, how many were formed, and how many could be opened."""

    shards: dict[str, int] | None = None
    """Of a sharded sum: their count, and the most bytes that one node has sent and received since the round began."""

    update_bytes: int = 0
    """Bytes of the updates, as they came."""

    compression_error: float | None = None
    """What the updates have lost by compression: see `flaas_jupyter.federation.report_frame`."""

    def drop_if_there(self, node: str, phase: str, error: FlaasError) -> None:
        """Note that a participant is out of the round, unless that was noted before."""
        if all(dropped["node"] != node for dropped in self.dropped):
            self.drop(node, phase, error)

    def drop(self, node: str, phase: str, error: FlaasError) -> None:
        """Note that a participant is out of the round."""
        log.warning("%s dropped out of the round at %s: %s", node[:12], phase, error)
        self.dropped.append({"node": node, "phase": phase, "reason": str(error)})
        DROPPED.labels(phase).inc()

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
    compressor : Compressor or None
        How the plan has updates compressed.
    counted : dict of str to int
        The last round that each participant was counted in, for compressions with error feedback.
    """

    number: int
    attempt: int
    clip: float
    rows: dict[str, int]
    learning_rate: float | None
    compressor: Compressor | None = None
    counted: Mapping[str, int] = field(default_factory=dict)

    @property
    def maximum_examples(self) -> int:
        """Rows of the largest data set."""
        return max(self.rows.values())


class RoundSteps(ABC):
    """One attempt at one round of a run; a subclass leads it.

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

    @abstractmethod
    async def lead(self, members: list[str]) -> Outcome:
        """Lead the round with `members`.

        Raises
        ------
        Aborted
            Too few are left; the round may be tried again.
        InvalidInput
            The run cannot go on: the rule cannot work with what was sent.
        """

    # ---- compression ------------------------------------------------------------------------------------------------

    def _settings(self, begin: Message) -> RoundSettings:
        bits = None if self._terms.compressor is None else self._terms.compressor.value_bits
        return round_settings(self._domain, begin.body, digest(self._start), bits)

    @functools.cached_property
    def _common(self) -> bytes:
        return common_bytes(self._terms.number, digest(self._start))

    @functools.cached_property
    def _coordinates(self) -> NDArray[np.intp] | None:
        """What a secure sum is of, where that is not everything."""
        compressor = self._terms.compressor
        return None if compressor is None else compressor.coordinates(self._start.size, self._common)

    @property
    def _values(self) -> int:
        """Number of values in a secure sum."""
        return self._start.size if self._coordinates is None else self._coordinates.size

    def _masked_of(self, reply: Message, settings: RoundSettings) -> NDArray[Any]:
        """Return a member's masked vector, or refuse a reply without."""
        self._figures.update_bytes += reply.nbytes
        names = {"masked"} if settings.bits is None else {"scalars", "packed"}
        if not names <= set(reply.tensors):
            raise _no_answer("update")
        check_metric_names(reply)
        if settings.bits is None:
            return reply.tensors["masked"]
        return unpack(reply.tensors["scalars"], reply.tensors["packed"], self._values, settings)

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
            "group_size": self._run.get("group_size"),
            "sharded": self._run.get("sharded"),
            "rule": values,
        }
        if terms.compressor is not None and terms.compressor.remembers:
            body["counted"] = {node: terms.counted[node] for node in members if node in terms.counted}
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
        with traces.span(f"round {phase}", flaas_phase=phase):
            replies, errors = await self._ask_all(nodes, message, self._limit, take)
        for node, error in errors.items():
            self._figures.drop(node, phase, error)
        return replies

    def _parsed(self, phase: str, replies: dict[str, Message], parse: Callable[[Message], R]) -> dict[str, R]:
        """Return what `parse` makes of each reply; whoever sent what is none is out of this round."""
        parsed = {}
        for node, reply in replies.items():
            try:
                parsed[node] = parse(reply)
            except (LookupError, TypeError, ValueError, AttributeError) as error:  # InvalidInput is a ValueError
                told = error if isinstance(error, InvalidInput) else _no_answer(phase)
                self._figures.drop(node, phase, told)
        return parsed

    def _sound(self, phase: str, replies: dict[str, Message], check: Callable[[Message], None]) -> dict[str, Message]:
        """Return the replies that pass `check`; whoever sent another is out of this round."""

        def checked(reply: Message) -> Message:
            check(reply)
            return reply

        return self._parsed(phase, replies, checked)

    def _training_phase(self, replies: Mapping[str, Message], since: float) -> float:
        """Split the wait for updates in the slowest participant's training and masking, and the rest."""
        train, mask = _slowest(replies, "train_seconds"), _slowest(replies, "mask_seconds")
        now = time.perf_counter()
        self._figures.seconds["train"] = train
        self._figures.seconds["mask"] = mask
        self._figures.seconds["transfer"] = max(0.0, now - since - train - mask)
        return now

    def _take_what_is_sound(self, take: Callable[[dict[str, Any]], R], entries: dict[str, Any], phase: str) -> R:
        """Hand `entries` to `take`; whoever's is at fault is left out of the round and of `entries`."""
        return take_what_is_sound(take, entries, phase, self._figures.drop)


def reveals_of(reply: Message) -> dict[str, Reveal]:
    """Return the shares that one holder gave out, by member."""
    return {member: Reveal.from_dict(entry) for member, entry in reply.body["reveals"].items()}


def advertisement_of(reply: Message) -> Advertisement:
    """Return the keys that a member answered with."""
    return Advertisement.from_dict(reply.body["advertisement"])


def _slowest(replies: Mapping[str, Message], name: str) -> float:
    """Return the longest duration that is told under `name`; what is no number does not count, for it is a figure."""
    told = [reply.body.get(name) for reply in replies.values()]
    return max((seconds for seconds in told if isinstance(seconds, float) and math.isfinite(seconds)), default=0.0)


def _no_answer(phase: str) -> InvalidInput:
    return InvalidInput(f"What it answered at {phase} is not what was asked for.", code="secagg-malformed")


def check_metric_names(reply: Message) -> None:
    """Refuse a reply that does not name the metrics in it, with code ``secagg-malformed``."""
    names = reply.body.get("metric_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _no_answer("update")


def agreed_metric_names(replies: Iterable[Message]) -> list[str]:
    """Return the names of the metrics that all participants report, or refuse with code ``different-metrics``."""
    names = {tuple(reply.body["metric_names"]) for reply in replies}
    if len(names) > 1:
        raise InvalidInput(f"Participants report different metrics: {sorted(names)}.", code="different-metrics")
    return list(next(iter(names), ()))
