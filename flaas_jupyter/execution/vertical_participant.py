"""A vertical run as one party lives it: get the plan, align, train its part, keep it. The label holder leads.

The programs of the parties are `training.vertical`'s; here is what lies around them: whom the plan comes from and what
it must be, what becomes of the run when a party is lost, what the coordination API and the notebook are told. The
parts of the model stay where they were trained.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..communications.wire import Message
from ..errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed, Unreachable
from ..protocols.vertical.ids import canonical_ids
from ..protocols.vertical.leakage import leakage_statement
from ..training.vertical.exchange import Metered
from ..training.vertical.plan import VerticalPlan
from .reporter import Reporter
from .timing import Timing
from .vertical_exchange import MeshExchange, Post
from .vertical_policy import SPLIT, Place, require_plan
from .vertical_store import KeptRun, VerticalStore

if TYPE_CHECKING:
    from ..training.vertical.alignment import Alignment
    from ..training.vertical.state import PartyResult, Round, Verdict
    from ..training.vertical.table import PartyTable
    from .datasets import Dataset
    from .policy import Policy

log = logging.getLogger(__name__)

PREPARE, BEGIN, DONE, FAILED, END = (f"vertical/{step}" for step in ("prepare", "begin", "done", "failed", "end"))
ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Station:
    """What a node lends to its vertical runs.

    Parameters
    ----------
    node_id : str
    policy : Policy
        The owner's.
    post : callable
        Sends a request over the mesh.
    reporter : Reporter
        Carries reports to the coordination API.
    executor : Executor
        Runs Keras, for all runs of the node in turn.
    store : VerticalStore
        Where parts of models are kept.
    timing : Timing
        How long to wait for what.
    """

    node_id: str
    policy: Policy
    post: Post
    reporter: Reporter
    executor: Executor
    store: VerticalStore
    timing: Timing

    async def offload(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the node's Keras thread."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)


class VerticalRun:
    """One vertical run at one of its parties.

    Parameters
    ----------
    run : dict
        As the coordination API tells of it; `update` brings a newer description.
    place : Place
        This node's.
    dataset : Dataset
        What it brings.
    station : Station
        What the node lends.
    """

    def __init__(self, run: dict[str, Any], place: Place, dataset: Dataset, station: Station) -> None:
        self.run, self.place = run, place
        self.state = "gathering"
        self.reason: FlaasError | None = None
        self.reports: list[dict[str, Any]] = []
        self.report: dict[str, Any] = {"phase": "alignment", "statement": statement(str(run["mode"]))}
        """How the run stands, as the coordination API is told."""
        self.party_reports: dict[str, dict[str, Any]] = {}
        """At the label holder, once all have trained: each party's own report, for the developer."""
        self.line = MeshExchange(str(run["id"]), place.party, place.nodes, station.post, patience=station.timing.peer)
        self._dataset, self._station = dataset, station
        self.plan: VerticalPlan | None = None
        self._starts: dict[str, NDArray[Any]] = {}
        self._begun = False
        self._done: dict[str, dict[str, Any]] = {}
        self._follower_attached, self._stop_asked = False, False
        self._learning_rate: float | None = None
        self._verdict = 0
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the run is over, as far as this party knows."""
        return self.state in ENDED

    # ---- what the node tells ----------------------------------------------------------------------------------------

    def update(self, run: dict[str, Any]) -> None:
        """Take over a newer description of the run; begin to lead it once it is certain that this node does."""
        self.run = run
        if self.place.leads and run["aggregator"] == self._station.node_id and self._task is None:
            log.info("run %s: this node holds the label and leads", run["id"])
            self._task = asyncio.create_task(self._take_part(self._lead()))
        if self.place.leads and run["state"] == "gathering" and self.state == "running":
            self._move("running")  # it was paused and resumed while an epoch went on
        self._notify()

    def lost(self, node_id: str) -> None:
        """A peer has gone: a party, without which the run ends, or the notebook, without which it goes on."""
        if node_id == self.run["submitter"]:
            self._follower_attached = False
            self._notify()
        if not self.ended:
            self.line.lost(node_id)

    def end(self, state: str, reason: FlaasError | None) -> None:
        """The run has ended elsewhere: by a person, by the API, or by another party."""
        if self.ended:
            return
        self.state, self.reason = state, reason
        log.info("run %s is over: %s%s", self.run["id"], state, "" if reason is None else f": {reason.message}")
        self.line.fail(
            reason or Aborted(f"Run {self.run['id']} is {state}.", code=f"run-{state}", hint="Start a new run.")
        )
        self._notify()
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop all that is under way here."""
        self.line.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ---- what the notebook asks the label holder --------------------------------------------------------------------

    async def submit(self, node_id: str, message: Message) -> Message:
        """Take the plan, and the weights that each party's part starts from, from the notebook that made the run."""
        self._only_submitter(node_id)
        self._require_leading()
        plan = VerticalPlan.from_dict(message.body.get("plan"))
        require_plan(self._station.policy, self.run, self.place, plan)
        starts = {name.removeprefix("start/"): values for name, values in message.tensors.items()}
        if set(starts) != set(plan.starts):
            raise InvalidInput(
                f"Starting weights came for {sorted(starts)}; the plan names those of {sorted(plan.starts)}.",
                code="wrong-weights",
                hint="Start the run again from the notebook.",
            )
        if self.plan is None:
            self.plan, self._starts = plan, starts
        self._follower_attached = True
        self._notify()
        return Message("ok")

    async def follow(self, node_id: str, message: Message) -> Message:
        """Answer with what came after round ``after``, as soon as there is something; the question is a verdict."""
        self._only_submitter(node_id)
        self._require_leading()
        if self.plan is None and not self.ended:
            raise Conflict("The label holder has no plan of this run yet.", code="no-plan")
        after = int(message.body["after"])
        self._follower_attached = True
        if message.body.get("learning_rate") is not None:
            self._learning_rate = float(message.body["learning_rate"])
        self._stop_asked = self._stop_asked or bool(message.body.get("stop"))
        self._verdict = max(self._verdict, after)
        self._notify()
        told, phase = message.body.get("told"), message.body.get("phase")

        def is_news() -> bool:
            news = len(self.reports) > after or self.ended or self.report["phase"] != phase
            return news or (self._paused != (told == "paused"))

        try:
            await self._until(is_news)
        except asyncio.CancelledError:
            self._follower_attached = False
            self._notify()
            raise
        return self.told(after)

    def told(self, after: int) -> Message:
        """Return what a follower is told."""
        paused = self._paused and not self.ended
        reason = self.run["reason"] if paused else self.reason and self.reason.to_dict()
        body = {
            "state": "paused" if paused else self.state,
            "round": len(self.reports),
            "reports": self.reports[after:],
            "report": self.report,
            "parties": self.party_reports,
            "reason": reason,
            "ended": self.ended,
        }
        return Message("ok", body)

    # ---- what the label holder asks the other parties ---------------------------------------------------------------

    async def prepare(self, node_id: str, message: Message) -> Message:
        """Take the plan from the label holder, after checking that it is what the developer has signed."""
        self._only_leader(node_id)
        plan = VerticalPlan.from_dict(message.body.get("plan"))
        require_plan(self._station.policy, self.run, self.place, plan)
        self.plan = plan
        self._starts = {name.removeprefix("start/"): values for name, values in message.tensors.items()}
        return Message("ok")

    async def begin(self, node_id: str, message: Message) -> Message:
        """Begin; the other parties are prepared."""
        self._only_leader(node_id)
        if self.plan is None:
            raise Conflict("This node has not been given the plan of the run.", code="not-prepared")
        if self._task is None:
            self.state = "running"
            self._task = asyncio.create_task(self._take_part(self._follow_leader()))
        return Message("ok")

    async def note_done(self, node_id: str, message: Message) -> Message:
        """At the label holder: another party has trained and kept its part."""
        party = self.line.party_of(node_id)
        report = message.body.get("report")
        if not self.place.leads or not isinstance(report, dict):
            raise InvalidInput(f"{party} reports to the wrong party, or nothing.", code="bad-message")
        self._done[party] = report
        self._notify()
        return Message("ok")

    async def note_end(self, node_id: str, message: Message) -> Message:
        """At the other parties: the label holder tells how the run has ended."""
        self._only_leader(node_id)
        reason = message.body.get("reason")
        state = str(message.body.get("state"))
        if state not in ENDED:
            raise InvalidInput(f"{state[:40]!r} is no end of a run.", code="bad-message")
        self.end(state, FlaasError.from_dict(reason) if isinstance(reason, dict) else None)
        return Message("ok")

    # ---- taking part ------------------------------------------------------------------------------------------------

    async def _take_part(self, work: Awaitable[None]) -> None:
        try:
            await work
        except FlaasError as error:
            await self._give_up(error)
        except Exception:
            log.exception("run %s failed", self.run["id"])
            unexpected = FlaasError(
                f"Party {self.place.party} failed unexpectedly.",
                code="internal",
                hint="Its operator finds the reason in the node's log.",
            )
            await self._give_up(unexpected)

    async def _lead(self) -> None:
        plan = await self._submitted()
        self._say_statement()
        await self._ask_others(PREPARE, plan=plan.to_dict())
        self._move("running")
        await self._ask_others(BEGIN)
        result, aligned = await self._program()
        others = [party for party in self.place.nodes if party != self.place.party]
        await self.line.while_open(self._until(lambda: all(party in self._done for party in others)))
        self.party_reports = {self.place.party: result.report, **self._done}
        self.report = self._final_report(result, aligned)
        self._keep(result, {**self.report, "parties": self.party_reports})
        self._move("finishing")
        await self._end("completed", None)

    async def _submitted(self) -> VerticalPlan:
        """Wait for the notebook to hand over the plan; no time passes while the run is paused."""
        patience = self._station.timing.patience
        while self.plan is None:
            await self._until(lambda: not self._paused)
            if not await self._until(lambda: self.plan is not None or self._paused, patience):
                raise Aborted(
                    f"No notebook handed over the plan within {patience:g} s.",
                    code="no-plan",
                    hint="Start the run again and keep the notebook's kernel alive until the first round.",
                )
        return self.plan

    async def _follow_leader(self) -> None:
        self._say_statement()
        result, _ = await self._program()
        self._keep(result, result.report)
        leader = self.place.nodes[self.place.label_holder]
        message = Message(DONE, {"run": self.run["id"], "report": result.report})
        await self._station.post(leader, message, self._station.timing.peer)

    async def _program(self) -> tuple[PartyResult, Alignment]:
        from ..training.vertical.alignment import align
        from ..training.vertical.party import run_party

        plan, own = self.plan, self._station.policy.for_dataset(self.place.dataset)
        assert plan is not None
        offload = self._station.offload
        line = Metered(self.line)
        table = await offload(lambda: party_table(self._dataset, plan, self.place))
        self._dataset.note_use(self.run)
        started = time.perf_counter()
        alignment = await align(
            line,
            table,
            seed=plan.seed,
            minimum=max(plan.minimum_intersection, own.minimum_intersection),
            maximum=min(plan.maximum_ids, own.vertical_maximum_ids),
            offload=offload,
        )
        seconds = time.perf_counter() - started
        log.info("run %s: %d of %d rows are common", self.run["id"], len(alignment.rows), table.rows)
        self.report |= {"phase": "training", "intersection": len(alignment.rows), "sizes": dict(alignment.sizes)}
        self._move("running")
        result = await run_party(
            line,
            plan,
            table,
            self._starts.get(self.place.party),
            on_round=self._on_round,
            should_stop=lambda: self.ended,
            label_consent=SPLIT in own.operations,
            alignment=alignment,
            allowed_custom=own.allow_layers,
            offload=offload,
        )
        result.report["bytes"] = line.counts()  # the alignment's too
        result.report["seconds"]["alignment"] = seconds
        return result, alignment

    async def _on_round(self, done: Round) -> Verdict:
        """Report an epoch, and wait while the run is paused and until the notebook has seen it."""
        from ..training.vertical.state import Verdict

        if not self.place.leads:
            return Verdict()
        report = self._round_report(done)
        self.reports.append(report)
        self._station.reporter.put(f"/v1/runs/{self.run['id']}/rounds/{done.number}", report)
        self._notify()
        last = done.number >= int(self.run["rounds"])  # paused in its last round it completes
        while not self.ended:
            if self._paused and not last:
                log.info("run %s is paused after round %d", self.run["id"], done.number)
                await self._until(lambda: not self._paused or self.ended)
                log.info("run %s goes on", self.run["id"])
                self._move("running")
            elif self._follower_attached and self._verdict < done.number:
                await self._changed.wait()
            else:
                break
        rate, self._learning_rate = self._learning_rate, None
        return Verdict(stop=self._stop_asked, learning_rate=rate)

    def _round_report(self, done: Round) -> dict[str, Any]:
        sent, received = self.line.bytes_sent, self.line.bytes_received
        before = (
            sum(report["bytes"]["down"] for report in self.reports),
            sum(report["bytes"]["up"] for report in self.reports),
        )
        rows = int(self.report.get("intersection", 0))
        return {
            "number": done.number,
            "term": int(self.run["term"]),
            "started": datetime.fromtimestamp(time.time() - done.seconds, UTC).isoformat(),
            "seconds": {"train": round(done.seconds, 6), "total": round(done.seconds, 6)},
            "bytes": {"up": received - before[1], "down": sent - before[0]},
            "metrics": {name: float(value) for name, value in done.metrics.items() if np.isfinite(value)},
            "clients": [
                {"node": node, "examples": rows, "weight": 1.0, "columns": {}} for node in self.place.nodes.values()
            ],
            "dropped": [],
            "clipped": 0.0,
            "epsilon": None,
        }

    def _final_report(self, result: PartyResult, aligned: Alignment) -> dict[str, Any]:
        """Return what the coordination API is told of a run that has gone well."""
        assert self.plan is not None
        # What one has sent another has received: each byte counts once.
        moved = sum(_bytes_sent(report) for report in self.party_reports.values())
        leak = result.report.get("label_leak")
        return {
            "phase": "done",
            "intersection": len(aligned.rows),
            "sizes": dict(aligned.sizes),
            "bytes": moved,
            "statement": statement(self.plan.mode),
            "figures": {} if leak is None else {"label_leak_auc": float(leak)},
        }

    def _keep(self, result: PartyResult, report: dict[str, Any]) -> None:
        assert self.plan is not None
        self._station.store.save(KeptRun(self.run, self.plan, result.state, self.reports, report))

    def _say_statement(self) -> None:
        """Write into the node's log what others may learn by this run."""
        assert self.plan is not None
        for sentence in statement(self.plan.mode):
            log.warning("run %s (%s, mode %s): %s", self.run["id"], self.place.dataset, self.plan.mode, sentence)

    # ---- telling others ---------------------------------------------------------------------------------------------

    async def _ask_others(self, kind: str, **body: Any) -> None:
        """Ask all other parties, and ask those again that cannot be reached or have not heard of the run yet."""
        deadline = time.monotonic() + self._station.timing.patience

        async def one(party: str, node: str) -> None:
            start = self._starts.get(party) if kind == PREPARE else None
            tensors = {} if start is None else {f"start/{party}": start}
            message = Message(kind, {"run": self.run["id"], "term": self.run["term"], **body}, tensors)
            while True:
                try:
                    await self._station.post(node, message, self._station.timing.peer)
                    return
                except Unreachable as error:
                    if time.monotonic() > deadline:
                        raise Aborted(
                            f"Party {party} could not be reached: {error.message}",
                            code="party-lost",
                            hint=f"Check {party} and start a new run.",
                            party=party,
                        ) from error
                except FlaasError as error:
                    raise Aborted(
                        f"Party {party} cannot take part: {error.message}",
                        code=error.code,
                        hint=error.hint,
                        party=party,
                    ) from error
                await asyncio.sleep(0.2)

        others = [(party, node) for party, node in self.place.nodes.items() if party != self.place.party]
        await self.line.while_open(asyncio.gather(*(one(party, node) for party, node in others)))

    async def _give_up(self, error: FlaasError) -> None:
        """Tell the others and the coordination API why this party cannot go on, unless they have told us."""
        if self.ended:
            return
        log.error("run %s: %s", self.run["id"], error)
        self.line.fail(error)
        if self.place.leads:
            await self._end("failed", error)
            return
        self.state, self.reason = "failed", error
        message = Message(FAILED, {"line": self.line.line, "reason": error.to_dict()})
        leader = self.place.nodes[self.place.label_holder]
        try:
            await self._station.post(leader, message, self._station.timing.peer)
        except FlaasError as unheard:
            log.info("run %s: the label holder was not told: %s", self.run["id"], unheard)
        path = f"/v1/runs/{self.run['id']}/assignments/{self._station.node_id}"
        self._station.reporter.put(path, {"state": "failed", "reason": error.to_dict()})

    async def _end(self, state: str, error: FlaasError | None) -> None:
        """At the label holder: end the run, for the API first, so that who hears of it next finds it ended there."""
        reason = error.to_dict() if error else None
        body = {"to": state, "term": int(self.run["term"]), "reason": reason}
        self._station.reporter.post(f"/v1/runs/{self.run['id']}/transitions", body)
        await self._station.reporter.flush(limit=5.0)
        self.state, self.reason = state, error
        self._notify()
        message = Message(END, {"run": self.run["id"], "state": state, "reason": reason})
        others = [node for party, node in self.place.nodes.items() if party != self.place.party]
        await asyncio.gather(
            *(self._station.post(node, message, self._station.timing.peer) for node in others), return_exceptions=True
        )

    def _move(self, state: str) -> None:
        """At the label holder: tell the API how the run stands."""
        if not self.place.leads:
            return
        self.state = state
        body = {"to": state, "term": int(self.run["term"]), "report": self.report}
        self._station.reporter.post(f"/v1/runs/{self.run['id']}/transitions", body)
        self._notify()

    # ---- checks and waiting -----------------------------------------------------------------------------------------

    @property
    def _paused(self) -> bool:
        return bool(self.run.get("state") == "paused")

    def _only_submitter(self, node_id: str) -> None:
        if node_id != self.run["submitter"]:
            raise NotAllowed(
                "Only the notebook that created the run may hand over its plan or follow it.",
                code="not-the-submitter",
            )

    def _only_leader(self, node_id: str) -> None:
        if self.place.leads or node_id != self.place.nodes[self.place.label_holder]:
            raise NotAllowed(
                f"{node_id[:12]} does not hold the label of run {self.run['id']}.", code="not-the-aggregator"
            )

    def _require_leading(self) -> None:
        if not self.place.leads or self._task is None:
            raise Conflict(f"This node does not lead run {self.run['id']}, or not yet.", code="not-leading")

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, true: Callable[[], bool], limit: float | None = None) -> bool:
        """Wait until `true()`, at most `limit` seconds; tell whether it came true."""
        try:
            async with asyncio.timeout(limit):
                while not true():
                    await self._changed.wait()
        except TimeoutError:
            return true()
        return True


def statement(mode: str) -> list[str]:
    """Return who learns what in a mode, a sentence for each."""
    return [f"{entry['who'].capitalize()}: {entry['learns']}" for entry in leakage_statement(mode)]


def _bytes_sent(report: Mapping[str, Any]) -> int:
    """Return what a party says to have sent; another party's word, so that anything may stand there."""
    counts = report.get("bytes")
    sent = counts.get("sent") if isinstance(counts, dict) else None
    return sum(n for n in sent.values() if type(n) is int and n >= 0) if isinstance(sent, dict) else 0


def party_table(dataset: Dataset, plan: VerticalPlan, place: Place, only: frozenset[bytes] | None = None) -> PartyTable:
    """Return what a party brings: the ids, the plan's columns, and the label at its holder.

    Parameters
    ----------
    dataset : Dataset
    plan : VerticalPlan
    place : Place
        The party's.
    only : frozenset of bytes, optional
        Ids in canonical form: rows of others are left out.

    Raises
    ------
    InvalidInput
        ``unknown-columns`` and what the data set's file is refused for.
    """
    from ..training.vertical.table import PartyTable

    _, ids = dataset.load_with_ids()
    columns: Mapping[str, NDArray[Any]] = dataset.columns("vertical")
    wanted = plan.columns[place.party]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise InvalidInput(
            f"Data set {place.dataset!r} of {place.party} has no column {', '.join(map(repr, missing[:5]))}.",
            code="unknown-columns",
            hint="Make the plan anew: its owner has changed the data set.",
        )
    label = columns[plan.label] if place.leads else None
    kept: Any = slice(None)
    if only is not None:
        kept = np.array([key in only for key in canonical_ids(ids)], np.bool_)
    return PartyTable(ids[kept], {name: columns[name][kept] for name in wanted}, None if label is None else label[kept])
