"""A run as its aggregator leads it: gather participants, run rounds, publish results, end.

The aggregator is one of the participating nodes, elected by the coordination API. It leads over the mesh and only
reports to the API, so that a run goes on while the API is away. With secure aggregation it sees masked vectors and
their opened sum, never one participant's update.

The notebook follows the run by asking for "the round after k"; asking for the next one is its verdict on the last
(go on, stop, another learning rate), which is how Keras callbacks steer a federated run round by round. A notebook
that has gone is not waited for.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed, Unreachable
from ..observability import traces
from ..plan import TrainingPlan
from ..protocols import combination
from ..protocols.compression import Compressor
from ..protocols.groups import DRAWS
from ..protocols.secure_aggregation import SumRange
from . import rule_state
from .checkpoint import Checkpoint, CheckpointStore, digest
from .combining import Combiner
from .groups import GroupRound
from .node_metrics import ROUND_SECONDS, ROUNDS
from .participant import Verify
from .reporter import Reporter
from .round_steps import Outcome, RoundLog, RoundSteps, Terms
from .rounds import Round
from .rule_state import State
from .shards import ShardedRound
from .timing import Timing

log = logging.getLogger(__name__)

DEFAULT_CLIP = 8.0

Ask = Callable[[str, Message, float], Awaitable[Message]]
"""Sends a request to a participant: node id, message, limit in seconds."""


@dataclass
class _Seat:
    """A participant's place at the aggregator's table."""

    rows: int
    joined: bool = False
    prepared: bool = False
    error: FlaasError | None = None


class Aggregator:
    """Leads one run.

    Parameters
    ----------
    run : dict
        The run as the coordination API describes it; `update` brings a newer description.
    domain : str
        The project's domain.
    my_id : str
        This node's id.
    verify : callable
        Checks a signature of a node of the domain.
    ask : callable
        Sends a request to a participant (also to this node itself).
    traffic : callable
        Bytes sent and received over the mesh so far.
    reporter : Reporter
        Carries reports to the coordination API, in order, whenever it can be reached.
    checkpoints : CheckpointStore
        Where the run's newest weights are kept.
    timing : Timing
        How long to wait for what.
    """

    def __init__(
        self,
        run: dict[str, Any],
        *,
        domain: str,
        my_id: str,
        verify: Verify,
        ask: Ask,
        traffic: Callable[[], tuple[int, int]],
        reporter: Reporter,
        checkpoints: CheckpointStore,
        timing: Timing,
    ) -> None:
        self.run = run
        self.state = "gathering"
        self.reason: FlaasError | None = None
        self._domain, self._my_id = domain, my_id
        self._verify, self._ask_one, self._traffic = verify, ask, traffic
        self._reporter, self._checkpoints, self._timing = reporter, checkpoints, timing
        self._seats: dict[str, _Seat] = {}
        self._plan: TrainingPlan | None = None
        self._weights: NDArray[Any] | None = None
        self._rule_state: State = {}
        self._combiner: Combiner | None = None
        self._least = 1
        self._reports: list[dict[str, Any]] = []
        self._clip, self._range = float(run["clip"] or DEFAULT_CLIP), SumRange()
        self._compressor: Compressor | None = None
        self._attempt = 0
        self._sat_out: frozenset[str] = frozenset()
        self._verdict = 0
        self._stop_asked = False
        self._learning_rate: float | None = None
        self._follower_attached = False
        self._finished = asyncio.Event()
        self._changed = asyncio.Event()
        self._unsaved: Checkpoint | None = None
        self._saving: asyncio.Task[None] | None = None
        self._trace: str | None = None
        self.update(run)

    # ---- what the node tells the aggregator -------------------------------------------------------------------

    def update(self, run: dict[str, Any]) -> None:
        """Take over a newer description of the run: who takes part, and whether it is paused."""
        self.run = run
        if run.get("state") == "gathering" and self.state == "running":
            # It was paused and resumed while a round went on, of which the API has not heard since.
            self._post_state("running", None)
        for entry in run["participants"]:
            seat = self._seats.setdefault(entry["node"], _Seat(int(entry["rows"])))
            if entry["state"] in ("refused", "failed") and seat.error is None:
                seat.error = FlaasError.from_dict(entry["reason"] or {})
        self._notify()

    async def join(self, node_id: str, message: Message) -> Message:
        """Seat a participant that has connected; one that returns takes part from the next round on."""
        seat = self._seats.get(node_id)
        if seat is None or self._entry(node_id)["state"] != "accepted":
            raise NotAllowed(
                f"Node {node_id[:12]} is not a participant of run {self.run['id']}.", code="not-a-participant"
            )
        seat.joined, seat.prepared = True, False
        self._notify()
        return Message("ok")

    def lost(self, node_id: str) -> None:
        """A peer has gone; if it was the notebook, the run goes on without it."""
        if node_id in self._seats:
            self._seats[node_id].joined = self._seats[node_id].prepared = False
        if node_id == self.run["submitter"]:
            self._follower_attached = False
        self._notify()

    async def submit(self, node_id: str, message: Message) -> Message:
        """Take the plan and the weights to start from, from the notebook that created the run and from nobody else."""
        self._only_submitter(node_id)
        # After a change of aggregator the notebook may hold the result of a round that no participant has.
        plan, weights, state = self._handed_over(message)
        self._trace = traces.traceparent()
        self._take_newer(plan, weights, list(message.body["reports"]), state or {})
        self._follower_attached = True
        self._notify()
        return Message("ok")

    async def follow(self, node_id: str, message: Message) -> Message:
        """Answer with what came after round ``after``, as soon as there is something; the question is a verdict."""
        self._only_submitter(node_id)
        after = int(message.body["after"])
        behind = self._weights is None or after > len(self._reports)
        if behind and not self._finished.is_set():
            raise Conflict("The aggregator has no plan of this run yet, or older weights.", code="no-plan")
        self._follower_attached = True
        if message.body.get("learning_rate") is not None:  # None: as it was
            self._learning_rate = float(message.body["learning_rate"])
        self._stop_asked = self._stop_asked or bool(message.body.get("stop"))
        self._verdict = max(self._verdict, after)
        self._notify()
        told = message.body.get("told")  # a notebook of before is told of rounds only

        def is_news() -> bool:
            if len(self._reports) > after or self._finished.is_set():
                return True
            return told is not None and (self.state == "paused") != (told == "paused")

        try:
            await self._until(is_news, None)
        except asyncio.CancelledError:
            self._follower_attached = False
            self._notify()
            raise
        body: dict[str, Any] = {
            "state": self.state,
            "round": len(self._reports),
            "reports": self._reports[after:],
            "reason": self.run["reason"] if self.state == "paused" else self.reason and self.reason.to_dict(),
            "ended": self._finished.is_set(),
        }
        if message.body.get("plan") and self._plan is not None:
            body["plan"] = self._plan.to_dict()
        body["rule"], tensors = rule_state.to_message(self._rule_state)
        if self._weights is not None:
            tensors["weights"] = self._weights
        return Message("ok", body, tensors)

    def cancel(self, state: str, reason: FlaasError | None) -> None:
        """The API ended the run, or gave it to another aggregator: tell whoever follows."""
        self.state, self.reason = state, reason
        self._finished.set()
        self._notify()

    def restore(self, saved: Checkpoint) -> None:
        """Be the ended run that `saved` is, for a notebook that comes back for its weights."""
        self._take_newer(TrainingPlan.from_dict(saved.plan), saved.weights, saved.reports, saved.rule_state)
        reason = self.run["reason"]
        self.cancel(saved.state, FlaasError.from_dict(reason) if reason else None)

    # ---- leading ----------------------------------------------------------------------------------------------

    async def lead(self) -> None:
        """Lead the run to its end. Cancelling the task leaves the newest checkpoint behind."""
        try:
            await self._make_combiner()
            await self._start_point()
            self._make_compressor()
            with traces.span("run", parent=self._trace, flaas_run=self.run["id"]):
                await self._until(lambda: self._assembled() or not self._enough_able(), self._timing.assembly)
                await self._rounds()
            await self._report_state("finishing")
            await self._end("completed", None)
        except FlaasError as error:
            log.error("run %s failed: %s", self.run["id"], error)
            await self._end("failed", error)
        except Exception:
            log.exception("run %s failed", self.run["id"])
            unexpected = FlaasError(
                "The aggregator failed unexpectedly.",
                code="internal",
                hint="Its operator finds the reason in the node's log.",
            )
            await self._end("failed", unexpected)

    async def _make_combiner(self) -> None:
        """Make the rule, and find out before anybody trains whether it can do with those who take part."""
        self._combiner = await asyncio.to_thread(Combiner, self.run)
        able = [node for node, seat in self._seats.items() if seat.error is None]
        most = self.run["clients_per_round"]
        self._least = await asyncio.to_thread(self._combiner.least_clients, able, most)

    def _make_compressor(self) -> None:
        """Make what the plan has updates compressed by; participants have asked the same before they agreed to it."""
        assert self._plan is not None  # by _start_point
        self._compressor = combination.make_compressor(self._plan.compression)
        self._range.follows = self._compressor is not None and self._compressor.value_bits is not None

    async def _start_point(self) -> None:
        """Find plan and weights: own checkpoint, another participant's newest, else the notebook's hand-over."""
        saved = await asyncio.to_thread(self._checkpoints.load, self.run["id"])
        if saved is not None:
            self._take_newer(TrainingPlan.from_dict(saved.plan), saved.weights, saved.reports, saved.rule_state)
        recovered = True
        if int(self.run["term"]) > 1:
            # Others may have led since this node did.
            await self._until(self._assembled, self._timing.assembly)
            recovered = await self._recover_from_participants()
        if await self._patiently(lambda: self._weights is not None, self._timing.patience):
            return
        if not recovered:
            raise Aborted(
                f"What the aggregation rule {self.run['aggregation']!r} remembers of the rounds so far was lost with "
                "the aggregator, and no notebook has handed it over again.",
                code="rule-state-lost",
                hint="Start a new run from the last weights, and keep the notebook's kernel alive: it has that memory.",
            )
        raise Aborted(
            f"No notebook handed over the model within {self._timing.patience:g} s.",
            code="no-plan",
            hint="Start the run again and keep the notebook's kernel alive until the first round.",
        )

    async def _recover_from_participants(self) -> bool:
        """Take the newest weights that participants hold; False if what the rule remembers with them is lost."""
        status = Message("run/status", {"run": self.run["id"], "weights": False})
        replies, _ = await self._ask_all(self._present(), lambda _: status, self._timing.peer)
        told = {node: reply.body.get("round") for node, reply in replies.items() if reply.body.get("known")}
        most = int(self.run["rounds"])
        rounds = {node: done for node, done in told.items() if isinstance(done, int) and 0 <= done <= most}
        newest = max(rounds.values(), default=-1)
        if newest < 0 or (self._weights is not None and newest <= len(self._reports)):
            return True
        status = Message("run/status", {"run": self.run["id"], "weights": True})
        for node in sorted(node for node, done in rounds.items() if done == newest):
            replies, _ = await self._ask_all([node], lambda _: status, self._timing.assembly)
            if node not in replies or replies[node].body.get("round") != newest:
                continue
            try:
                plan, weights, state = self._handed_over(replies[node])
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                log.warning("what %s holds of the run cannot be used: %s", node, error)
                continue
            if state is None:
                return False
            self._take_newer(plan, weights, [{"number": number} for number in range(1, newest + 1)], state)
            break
        return True

    def _handed_over(self, message: Message) -> tuple[TrainingPlan, NDArray[Any], State | None]:
        """Return the plan, the weights and the rule's state that a message has; refuse those of another run."""
        plan = TrainingPlan.from_dict(message.body["plan"])
        if plan.digest != self.run["model_digest"]:
            raise InvalidInput("The plan is not the one the run was created for.", code="wrong-plan")
        weights = message.tensors["weights"]
        if weights.shape != (plan.parameters,) or not np.isfinite(weights).all():
            raise InvalidInput(
                f"Weights must be finite and of shape ({plan.parameters},); got shape {weights.shape}.",
                code="wrong-weights",
            )
        return plan, weights, rule_state.from_message(message.body["rule"], message.tensors)

    def _take_newer(
        self, plan: TrainingPlan, weights: NDArray[Any], reports: list[dict[str, Any]], state: State
    ) -> None:
        """Start from these weights, unless those at hand are the result of as many rounds."""
        if self._weights is None or len(reports) > len(self._reports):
            self._plan, self._weights, self._reports, self._rule_state = plan, weights, reports, state
            self._notify()

    async def _rounds(self) -> None:
        while len(self._reports) < int(self.run["rounds"]) and not self._stop_asked:
            if self._paused:
                await self._while_paused()
                continue
            with traces.span("round", flaas_run=self.run["id"]):
                done = await self._attempt_round()
            if done:
                self._attempt, self._sat_out = 0, frozenset()
                await self._await_verdict()

    async def _attempt_round(self) -> bool:
        """Gather participants and lead one attempt at the next round; tell whether it came to something."""
        with traces.span("gather"):
            cohort = await self._gather()
        await self._report_state("running")
        figures = RoundLog()
        before = self._traffic()
        self._attempt += 1
        number = len(self._reports) + 1
        traces.note(flaas_round=number, flaas_attempt=self._attempt, flaas_participants=len(cohort))
        try:
            outcome = await self._round(number, figures, len(cohort)).lead(cohort)
            await self._keep(number, outcome, figures, before)
        except (Aborted, Unreachable) as error:
            log.warning("round %d, attempt %d given up: %s", number, self._attempt, error)
            traces.note(error_type=error.code)
            ROUNDS.labels("given-up").inc()
            await self._after_abort(error)
            return False
        return True

    def _round(self, number: int, figures: RoundLog, members: int) -> RoundSteps:
        assert self._weights is not None  # by _start_point
        assert self._combiner is not None
        figures.clip = (self._combiner.range_for(members) or self._clip) * self._range.factor
        rows = {node: seat.rows for node, seat in self._seats.items()}
        terms = Terms(number, self._attempt, figures.clip, rows, self._learning_rate, self._compressor, self._counted())
        kind = GroupRound if self._combiner.in_groups else ShardedRound if self.run.get("sharded") else Round
        return kind(
            self.run,
            domain=self._domain,
            terms=terms,
            start=self._weights,
            state=self._rule_state,
            combiner=self._combiner,
            ask_all=self._ask_all,
            limit=self._timing.round,
            verify=self._verify,
            figures=figures,
        )

    async def _keep(self, number: int, outcome: Outcome, figures: RoundLog, before: tuple[int, int]) -> None:
        """Make a round's outcome the run's present state: weights, what the rule remembers, and the report at once."""
        assert self._weights is not None
        assert self._combiner is not None
        combined = outcome.combined
        if not np.isfinite(combined.weights).all():
            raise InvalidInput(
                f"The weights after round {number} hold NaN or infinite values.",
                code="non-finite-update",
                hint="Lower the learning rate or clip gradients (optimizer clipnorm=...).",
            )
        weights = combined.weights.astype(self._weights.dtype)
        known_by = await asyncio.to_thread(digest, weights)
        if len(self._reports) != number - 1:
            return  # the notebook handed over a newer result meanwhile
        self._weights, self._rule_state = weights, combined.state
        figures.seconds["total"] = time.perf_counter() - figures.began
        sent, received = self._traffic()
        report = {
            "number": number,
            "term": int(self.run["term"]),
            "started": figures.started,
            "seconds": {name: round(value, 6) for name, value in figures.seconds.items()},
            "bytes": {"up": received - before[1], "down": sent - before[0]},
            "metrics": outcome.metrics,
            "clients": [
                {
                    "node": node,
                    "examples": examples,
                    "weight": combined.contributions.get(node, 0.0),
                    "columns": combined.columns.get(node, {}),
                }
                for node, examples in sorted(outcome.examples.items())
            ],
            "dropped": figures.dropped,
            "clipped": figures.clipped,
            "error_bound": figures.error_bound,
            "groups": figures.groups,
            "shards": figures.shards,
            "compression": self._compression(figures, len(outcome.examples)),
            "epsilon": self._combiner.epsilon(number),
            "digest": known_by,
        }
        self._reports.append(report)
        ROUNDS.labels("completed").inc()
        for phase, seconds in figures.seconds.items():
            ROUND_SECONDS.labels(phase).inc(seconds)
        self._reporter.put(f"/v1/runs/{self.run['id']}/rounds/{number}", report)
        self._save()
        summed = len(outcome.examples) if figures.groups is None else figures.groups["size"]
        self._range.after(figures.clipped, figures.peak, figures.clip, summed)
        self._notify()

    def _counted(self) -> dict[str, int]:
        """Return the last round that each participant was counted in; of rounds that another has led, all.

        Whoever trained for the newest of those was most likely counted in it: what it sent would else be sent twice.
        """
        counted: dict[str, int] = {}
        for report in self._reports:
            nodes = [client["node"] for client in report["clients"]] if "clients" in report else list(self._seats)
            counted |= dict.fromkeys(nodes, int(report["number"]))
        return counted

    def _compression(self, figures: RoundLog, updates: int) -> dict[str, Any] | None:
        if self._compressor is None:
            return None
        assert self._weights is not None  # since the first round
        return {
            "name": self._compressor.name,
            "bytes": figures.update_bytes,
            "plain": updates * self._weights.nbytes,
            "error": figures.compression_error,
        }

    # ---- participants -----------------------------------------------------------------------------------------

    async def _gather(self) -> list[str]:
        """Return the participants of the next round, once enough of them are there, connected and prepared."""
        deadline = time.monotonic() + self._timing.patience
        while True:
            if self._paused:
                await self._while_paused()
                deadline = time.monotonic() + self._timing.patience
            await self._prepare_newcomers()
            ready = [node for node in self._present() if self._seats[node].prepared and node not in self._sat_out]
            if len(ready) >= self._needed() and self._indispensable <= set(ready):
                return self._sample(ready)
            self._fail_if_hopeless()
            await self._report_state("gathering")
            left = deadline - time.monotonic()
            if left <= 0:
                away = [self._entry(n)["name"] for n, s in self._seats.items() if not s.joined and s.error is None]
                why = (
                    f" for its aggregation rule, {self.run['aggregation']},"
                    if self._least == self._needed() > 1
                    else ""
                )
                raise Aborted(
                    f"The run needs {self._needed()} participants{why} and waited {self._timing.patience:g} s; "
                    f"{len(ready)} are there, away: {', '.join(sorted(away)) or 'none'}.",
                    code="too-few-nodes",
                    hint="Start the missing nodes (`flaas node run`) and start the run again from the last weights.",
                )
            await self._until(functools.partial(self._attendance_changed, set(self._present())), min(left, 1.0))

    def _attendance_changed(self, seen: set[str]) -> bool:
        return set(self._present()) != seen

    async def _prepare_newcomers(self) -> None:
        assert self._plan is not None
        newcomers = [node for node in self._present() if not self._seats[node].prepared]
        body = {"run": self.run["id"], "term": self.run["term"], "plan": self._plan.to_dict()}
        prepared, _ = await self._ask_all(newcomers, lambda _: Message("run/prepare", body), self._timing.preparation)
        for node in prepared:
            self._seats[node].prepared = True

    def _present(self) -> list[str]:
        return [node for node, seat in self._seats.items() if seat.joined and seat.error is None]

    def _assembled(self) -> bool:
        """Whether everybody is there who has accepted and is online."""
        expected = [
            entry["node"]
            for entry in self.run["participants"]
            if entry["state"] == "accepted" and entry["online"] and self._seats[entry["node"]].error is None
        ]
        return len(self._present()) >= self._needed() and set(expected) <= set(self._present())

    def _needed(self) -> int:
        return max(self._least, int(self.run["minimum_nodes"] or (3 if self.run["secure_aggregation"] else 1)))

    @property
    def _indispensable(self) -> frozenset[str]:
        return self._combiner.indispensable if self._combiner is not None else frozenset()

    def _enough_able(self) -> bool:
        able = {node for node, seat in self._seats.items() if seat.error is None}
        return len(able) >= self._needed() and self._indispensable <= able

    def _fail_if_hopeless(self) -> None:
        if self._enough_able():
            return
        able = [node for node, seat in self._seats.items() if seat.error is None]
        errors = {self._entry(node)["name"]: seat.error for node, seat in self._seats.items() if seat.error}
        first = next(iter(errors.values()))
        told = "; ".join(f"{name}: {error.message}" for name, error in sorted(errors.items()))
        raise InvalidInput(
            f"The run needs {self._needed()} participants and {len(able)} can take part. {told}",
            code=first.code if len({error.code for error in errors.values()}) == 1 else "too-few-nodes",
            hint=first.hint,
        )

    def _sample(self, ready: list[str]) -> list[str]:
        """Draw the round's participants; those whom the rule cannot do without are always among them."""
        wanted = self.run["clients_per_round"]
        if wanted is None or int(wanted) >= len(ready):
            return sorted(ready)
        rng = np.random.default_rng([int(self.run["seed"] or 0), len(self._reports)])
        others = sorted(set(ready) - self._indispensable)
        drawn = rng.choice(others, size=int(wanted) - len(self._indispensable), replace=False)
        return sorted([*self._indispensable, *(str(node) for node in drawn)])

    def _entry(self, node_id: str) -> dict[str, Any]:
        found: dict[str, Any] = next(e for e in self.run["participants"] if e["node"] == node_id)
        return found

    # ---- asking -----------------------------------------------------------------------------------------------

    async def _ask_all(
        self,
        nodes: Iterable[str],
        message: Callable[[str], Message],
        limit: float,
        take: Callable[[str, Message], object] | None = None,
    ) -> tuple[dict[str, Message], dict[str, FlaasError]]:
        replies: dict[str, Message] = {}
        errors: dict[str, FlaasError] = {}

        async def one(node: str) -> None:
            try:
                reply = await self._ask_one(node, message(node), limit)
                if take is not None:
                    take(node, reply)
                replies[node] = reply
            except FlaasError as error:
                errors[node] = error
                self._note(node, error)

        await asyncio.gather(*(one(node) for node in nodes))
        return replies, errors

    def _note(self, node: str, error: FlaasError) -> None:
        """A peer that is away may come back; one that says no, or whose data are unfit, is out of the run."""
        if isinstance(error, Unreachable):
            self.lost(node)
        elif isinstance(error, InvalidInput | NotAllowed):
            self._seats[node].error = error
        elif error.code == "not-prepared":
            self._seats[node].prepared = False

    async def _after_abort(self, error: FlaasError) -> None:
        # Who has withheld or changed its seed, or its part of a shard, is out of this round: with it none would end.
        self._sat_out |= frozenset(str(node) for node in error.details.get("members", ()))
        limit = DRAWS
        if self._attempt >= limit:
            raise Aborted(
                f"Round {len(self._reports) + 1} was given up {limit} times; last: {error.message}",
                code=error.code,
                hint=error.hint,
            )

    # ---- reporting --------------------------------------------------------------------------------------------

    async def _await_verdict(self) -> None:
        """Wait until the notebook has seen the round, for as long as it is there."""
        seen = len(self._reports)
        await self._until(lambda: not self._follower_attached or self._verdict >= seen, None)

    async def _report_state(self, state: str) -> None:
        if state == self.state:
            return
        self.state = state
        self._post_state(state, None)

    def _post_state(self, state: str, reason: dict[str, Any] | None) -> None:
        body = {"to": state, "term": int(self.run["term"]), "reason": reason}
        self._reporter.post(f"/v1/runs/{self.run['id']}/transitions", body)

    async def _end(self, state: str, error: FlaasError | None) -> None:
        if self._finished.is_set():
            return
        self.state, self.reason = state, error
        reason = error.to_dict() if error else None
        self._save()
        self._post_state(state, reason)
        # Whoever asks the API right after the notebook has its result should find the run ended there too.
        await self._reporter.flush(limit=5.0)
        if self._saving is not None:
            await self._saving
        self._finished.set()
        self._notify()
        body = {"run": self.run["id"], "state": state, "reason": reason}
        others = [node for node in self._present() if node != self._my_id]
        await self._ask_all(others, lambda _: Message("run/end", body), self._timing.peer)

    def _save(self) -> None:
        """Write a checkpoint in the background; when rounds are quicker than the disk, only the newest is written."""
        if self._plan is None or self._weights is None:
            return
        self._unsaved = Checkpoint(
            self._plan.to_dict(),
            self._weights,
            len(self._reports),
            list(self._reports),
            self.state,
            self._rule_state,
        )
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._write_checkpoints())

    async def _write_checkpoints(self) -> None:
        while (checkpoint := self._unsaved) is not None:
            self._unsaved = None
            try:
                await asyncio.to_thread(self._checkpoints.save, str(self.run["id"]), checkpoint)
            except OSError as error:
                log.error("checkpoint of run %s cannot be written: %s", self.run["id"], error)

    def _only_submitter(self, node_id: str) -> None:
        if node_id != self.run["submitter"]:
            raise NotAllowed(
                "Only the notebook that created the run may hand over or follow its weights.",
                code="not-the-submitter",
            )

    # ---- waiting ----------------------------------------------------------------------------------------------

    @property
    def _paused(self) -> bool:
        return bool(self.run.get("state") == "paused")

    async def _while_paused(self) -> None:
        """Wait until the run goes on; the API has it as gathering then."""
        log.info("run %s is paused after round %d", self.run["id"], len(self._reports))
        self.state = "paused"
        self._notify()
        await self._until(lambda: not self._paused, None)
        self.state = "gathering"
        self._notify()
        log.info("run %s goes on", self.run["id"])

    async def _patiently(self, true: Callable[[], bool], limit: float) -> bool:
        """As `_until`; the limit begins anew when a pause is over."""
        while not await self._until(lambda: true() or self._paused, limit) or not true():
            if not self._paused:
                return False
            await self._until(lambda: not self._paused, None)
        return True

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, true: Callable[[], bool], limit: float | None) -> bool:
        """Wait until `true()`, at most `limit` seconds (None: without end); tell whether it came true."""
        try:
            async with asyncio.timeout(limit):
                while not true():
                    await self._changed.wait()
        except TimeoutError:
            return true()
        return True
