"""A step of a query as the releaser leads it: one sum over the members, opened as a whole, and what of it may be told.

The releaser is one of the nodes that are asked. It sees masked vectors (or ciphertexts) and the sum of all, and hands
on what the strictest of the members' owners lets through. Who is lost on the way is left out if enough are left; who
refuses, for a reason of its owner's, ends the step, so that an answer is never one over those who happened to agree.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed, NotAuthenticated, Unreachable
from ..protocols.secure_aggregation import Advertisement, Reveal, RoundSettings, SecureSum, decode_integers
from .query_request import QueryStep
from .query_session import Verify, key_holder, settings_of
from .sound import take_what_is_sound

if TYPE_CHECKING:
    from ..protocols.analytics.release import Released
    from ..protocols.analytics.statistics import Statistic

log = logging.getLogger(__name__)

R = TypeVar("R")
Ask = Callable[[str, Message, float], Awaitable[Message]]
"""Node id, request, seconds."""
ATTEMPTS = 3
_ARRAYS = ("counts", "values", "suppressed")
"""Of `Released`, what goes as tensors."""
_LOST = (Unreachable, Aborted)
_ANSWERED_OTHERWISE = frozenset({"unknown-message", "peer-failed", "secagg-wrong-phase", "query-over"})
"""Codes of a node that fails rather than refuses."""
_BAD_SHARE = frozenset({"secagg-bad-share", "secagg-bad-key"})
"""Codes by which a member names another whose keys or shares are no good; nothing was opened by then."""


@dataclass
class Figures:
    """How a step went."""

    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)
    dropped: list[dict[str, str]] = field(default_factory=list)
    attempts: int = 0

    def phase(self, name: str, since: float) -> float:
        """Add the time since `since` to a phase; return the present time."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since
        return now


class _LeftOut(Exception):
    def __init__(self, members: Iterable[str], why: FlaasError) -> None:
        super().__init__(str(why))
        self.members, self.why = frozenset(members), why


class QueryRelease:
    """One step, led to its answer.

    Parameters
    ----------
    step : QueryStep
        Verified.
    statistic : Statistic
        That it asks for.
    names : mapping of str to str
        What people call each member.
    ask : Ask
        Sends a request to a node.
    verify : callable
        Checks a signature of a node of the project.
    limit : float
        Seconds that a node has for one answer.
    tensors : mapping of str to ndarray, optional
        What goes to the members with the step: the model that it is about.
    ready : callable, optional
        Returns the statistic with that model, when the sum is opened; `statistic` by default.
    """

    def __init__(
        self,
        step: QueryStep,
        statistic: Statistic,
        *,
        names: Mapping[str, str],
        ask: Ask,
        verify: Verify,
        limit: float,
        tensors: Mapping[str, NDArray[Any]] | None = None,
        ready: Callable[[], Statistic] | None = None,
    ) -> None:
        self._tensors, self._ready = dict(tensors or {}), ready
        self._step, self._statistic = step, statistic
        self._names, self._ask, self._verify, self._limit = names, ask, verify, limit
        self._figures = Figures()
        self._policies: dict[str, dict[str, Any]] = {}

    async def run(self) -> Message:
        """Lead the step, with fewer members if some are lost; return the answer, see `released_of`.

        Raises
        ------
        NotAllowed, InvalidInput
            A member refuses; the message names it, and code and hint are its own.
        Aborted
            Code ``query-too-few-nodes``: not enough are left. Nothing was opened.
        """
        present = self._step.members
        for _ in range(ATTEMPTS):
            self._figures.attempts += 1
            try:
                return await self._attempt(present)
            except _LeftOut as left_out:
                present = tuple(member for member in present if member not in left_out.members)
                if len(present) < self._step.threshold or self._step.releaser not in present:
                    raise self._too_few(len(present)) from left_out
                log.warning("query %s: another attempt without %s", self._step.query, self._called(left_out.members))
        raise self._too_few(len(present))

    async def _attempt(self, present: tuple[str, ...]) -> Message:
        settings = settings_of(self._step, present, self._figures.attempts)
        since = time.perf_counter()
        asked = self._message("query/begin", step=self._step.document, present=list(present))
        begin = Message(asked.type, asked.body, self._tensors)
        begun = await self._phase(present, "begin", lambda _: begin)
        self._policies = {node: dict(reply.body.get("policy") or {}) for node, reply in begun.items()}
        self._figures.phase("begin", since)
        by = self._by_masks if self._step.via == "mpc" else self._by_encryption
        total, survivors = await by(settings, begun)
        since = time.perf_counter()
        answer = await asyncio.to_thread(self._release, settings, total, survivors)
        self._figures.phase("release", since)
        return answer

    # ---- by secure sums -----------------------------------------------------------------------------------------

    async def _by_masks(
        self, settings: RoundSettings, begun: dict[str, Message]
    ) -> tuple[NDArray[np.uint32], list[str]]:
        total = SecureSum(settings, verify=self._verify)
        since = time.perf_counter()
        advertised = {node: Advertisement.from_dict(reply.body["advertisement"]) for node, reply in begun.items()}
        take_what_is_sound(total.advertised, advertised, "begin", self._drop)
        entries = {node: advertisement.to_dict() for node, advertisement in advertised.items()}
        share = self._message("query/share", advertisements=entries)
        sealed = await self._phase(advertised, "share", lambda _: share)
        inboxes = take_what_is_sound(
            total.shared, {node: reply.body["shares"] for node, reply in sealed.items()}, "share", self._drop
        )
        since = self._figures.phase("share", since)
        await self._phase(
            inboxes,
            "masked",
            lambda node: self._message("query/masked", inbox=inboxes[node]),
            lambda node, reply: total.add(node, reply.tensors["masked"]),
        )
        since = self._figures.phase("masked", since)
        survivors = list(total.survivors)
        signatures = await self._signatures(survivors)
        total.confirmed(signatures)
        since = self._figures.phase("survivors", since)
        unmask = self._message("query/unmask", signatures=signatures)
        opened = await self._phase(signatures, "unmask", lambda _: unmask)
        reveals = {
            node: {member: Reveal.from_dict(entry) for member, entry in reply.body["reveals"].items()}
            for node, reply in opened.items()
        }
        vector = await asyncio.to_thread(total.open, reveals)
        self._figures.phase("unmask", since)
        return vector, survivors

    # ---- by homomorphic encryption ------------------------------------------------------------------------------

    async def _by_encryption(
        self, settings: RoundSettings, begun: dict[str, Message]
    ) -> tuple[NDArray[np.uint32], list[str]]:
        from ..protocols.analytics import he

        holder = key_holder(settings.members, self._step.releaser)
        since = time.perf_counter()
        made = await self._phase([holder], "key", lambda _: self._message("query/key"))
        if holder not in made:
            raise _LeftOut([holder], _gone("The key holder"))
        public, signature = made[holder].tensors["public"], made[holder].body["signature"]
        since = self._figures.phase("share", since)
        parts: dict[str, bytes] = {}
        lengths: set[int] = set()

        def take(node: str, reply: Message) -> None:
            lengths.add(int(reply.body["length"]))
            parts[node] = reply.tensors["ciphertext"].tobytes()

        body = {**self._message("query/encrypt", signature=signature).body}
        await self._phase(begun, "masked", lambda _: Message("query/encrypt", body, {"public": public}), take)
        survivors = sorted(parts)
        if len(survivors) < settings.threshold:
            raise self._too_few(len(survivors))
        if len(lengths) != 1:
            raise InvalidInput("Members have encrypted vectors of different lengths.", code="secagg-malformed")
        ciphertext = await asyncio.to_thread(he.add, public.tobytes(), [parts[node] for node in survivors])
        since = self._figures.phase("masked", since)
        signatures = await self._signatures(survivors)
        since = self._figures.phase("survivors", since)
        ask = self._message("query/decrypt", survivors=survivors, signatures=signatures, length=lengths.pop())
        tensors = {"ciphertext": np.frombuffer(ciphertext, np.uint8)}
        opened = await self._phase([holder], "unmask", lambda _: Message("query/decrypt", ask.body, tensors))
        if holder not in opened:
            raise self._too_few(len(survivors) - 1)
        total: NDArray[np.uint32] = opened[holder].tensors["sum"]
        self._figures.phase("unmask", since)
        return total, survivors

    # ---- both ---------------------------------------------------------------------------------------------------

    async def _signatures(self, survivors: list[str]) -> dict[str, Any]:
        ask = self._message("query/survivors", survivors=survivors)
        signed = await self._phase(survivors, "survivors", lambda _: ask)
        return {node: reply.body["signature"] for node, reply in signed.items()}

    def _release(self, settings: RoundSettings, total: NDArray[np.uint32], survivors: list[str]) -> Message:
        from ..protocols.analytics import ReleasePolicy, release

        numbers = decode_integers(total, settings, summed=len(survivors))
        statistic = self._statistic if self._ready is None else self._ready()
        opened = statistic.decode(numbers)
        policy = ReleasePolicy.strictest(ReleasePolicy.from_dict(each) for each in self._policies.values())
        released = release.release(opened, statistic, policy, tuple(survivors))
        about = {name: value for name, value in released.to_dict().items() if name not in _ARRAYS}
        body = {
            "released": about,
            "nodes": survivors,
            "dropped": self._figures.dropped,
            "attempts": self._figures.attempts,
            "seconds": {name: round(value, 6) for name, value in self._figures.seconds.items()},
        }
        tensors = {"counts": released.counts, "values": released.values}
        return Message("ok", body, {**tensors, "suppressed": released.suppressed.astype(np.uint8)})

    async def _phase(
        self,
        nodes: Iterable[str],
        phase: str,
        message: Callable[[str], Message],
        take: Callable[[str, Message], object] | None = None,
    ) -> dict[str, Message]:
        """Ask `nodes` at once; those that are lost are out, and if one refuses, the step is over."""
        replies: dict[str, Message] = {}
        refusals: dict[str, FlaasError] = {}
        faults: dict[str, FlaasError] = {}

        async def one(node: str) -> None:
            try:
                reply = await self._ask(node, message(node), self._limit)
                if take is not None:
                    take(node, reply)
                replies[node] = reply
            except FlaasError as error:
                blamed = error.details.get("member")
                if isinstance(error, _LOST) or error.code in _ANSWERED_OTHERWISE:
                    self._drop(node, phase, error)
                elif error.code in _BAD_SHARE and blamed in self._step.members and phase == "masked":
                    faults[str(blamed)] = error
                else:
                    refusals[node] = error
            except (KeyError, TypeError, ValueError) as error:
                self._drop(node, phase, InvalidInput(f"It answered {error!r}.", code="secagg-malformed"))

        listed = list(nodes)
        async with asyncio.TaskGroup() as group:
            for node in listed:
                group.create_task(one(node))
        if refusals:
            raise self._refused(refusals)
        if faults:
            for node, error in faults.items():
                self._drop(node, phase, error)
            raise _LeftOut(faults, next(iter(faults.values())))
        if phase != "key" and len(replies) < self._step.threshold and len(listed) > 1:
            raise self._too_few(len(replies))
        return replies

    def _drop(self, node: str, phase: str, error: FlaasError) -> None:
        log.warning("query %s: %s is out at %s: %s", self._step.query, self._called([node]), phase, error)
        self._figures.dropped.append({"node": node, "phase": phase, "reason": error.message, "code": error.code})

    def _message(self, kind: str, **body: Any) -> Message:
        where = {"query": self._step.query, "number": self._step.step, "attempt": self._figures.attempts}
        return Message(kind, {**where, **body})

    def _called(self, nodes: Iterable[str]) -> str:
        return ", ".join(self._names.get(node, node[:12]) for node in sorted(nodes))

    def _refused(self, refusals: Mapping[str, FlaasError]) -> FlaasError:
        first = min(refusals, key=lambda node: self._names.get(node, node))
        error = refusals[first]
        others = self._called(node for node in refusals if node != first)
        kind = type(error) if isinstance(error, NotAllowed | InvalidInput | NotAuthenticated | Conflict) else NotAllowed
        refused = kind(
            f"{self._called([first])} refuses: {error.message}" + (f" So do: {others}." if others else ""),
            code=error.code,
            hint=error.hint,
        )
        refused.details = {**error.details, "node": first, "nodes": sorted(refusals)}
        return refused

    def _too_few(self, left: int) -> Aborted:
        lost = "; ".join(
            f"{self._called([entry['node']])} at {entry['phase']}: {entry['reason']}" for entry in self._figures.dropped
        )
        return Aborted(
            f"Of {len(self._step.members)} nodes {left} are left, {self._step.threshold} are needed. Lost: "
            f"{lost or 'none'}. Nothing was opened.",
            code="query-too-few-nodes",
            hint="Ask again when they are back; `federation.clients` shows who is online.",
            needed=self._step.threshold,
            left=left,
        )


def _gone(who: str) -> Unreachable:
    return Unreachable(f"{who} did not answer.", code="peer-lost")


def released_of(answer: Message) -> Released:
    """Return what an answer of `QueryRelease` tells.

    Raises
    ------
    InvalidInput
        Code ``bad-release``: it is no such answer.
    """
    from ..protocols.analytics.release import Released

    arrays = {name: answer.tensors[name].tolist() for name in _ARRAYS if name in answer.tensors}
    about = answer.body.get("released")
    return Released.from_dict({**about, **arrays} if isinstance(about, dict) else about)
