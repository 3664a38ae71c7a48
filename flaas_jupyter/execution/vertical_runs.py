"""All vertical runs of a node: which there are, and which of them a message of the mesh is about."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from ..communications.directory import Peer
from ..communications.mesh import Route
from ..communications.wire import Message
from ..errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed, NotFound
from .datasets import DatasetRegistry
from .domains import Domains
from .vertical_exchange import ALIVE, MESSAGE_LIMIT, SEND, MeshExchange
from .vertical_participant import BEGIN, DONE, END, FAILED, PREPARE, Station, VerticalRun
from .vertical_policy import Place, require_allowed
from .vertical_prediction import PART, PREDICT, SERVE, Predictions

log = logging.getLogger(__name__)

KIND = "vertical"
SUBMIT, FOLLOW, PLAN = "vertical/submit", "vertical/follow", "vertical/plan"
PLAN_LIMIT, IDS_LIMIT, SMALL = 4 << 30, 256 << 20, 8 << 20
MOST_RUNS = 8
"""Vertical runs that a node takes part in at once: each holds its rows in memory."""
KEPT_ENDED = 8

RequireConsent = Callable[[dict[str, Any], str], Awaitable[None]]
"""Checks that a developer has signed a run and that the owner agrees to it, for a data set of this node."""
Fetch = Callable[[str], Awaitable[dict[str, Any]]]


class VerticalRuns:
    """The vertical runs of one node.

    Parameters
    ----------
    station : Station
        What the node lends to each.
    datasets : DatasetRegistry
        The node's data sets.
    domains : Domains
        Who belongs to which project.
    require_consent : callable
        See `RequireConsent`.
    fetch : callable
        Reads a resource of the coordination API.
    """

    def __init__(
        self,
        station: Station,
        *,
        datasets: DatasetRegistry,
        domains: Domains,
        require_consent: RequireConsent,
        fetch: Fetch,
    ) -> None:
        self._station, self._datasets, self._domains = station, datasets, domains
        self._require_consent, self._fetch = require_consent, fetch
        self._runs: dict[str, VerticalRun] = {}
        self._predictions = Predictions(station, datasets, domains.__getitem__)

    # ---- what the API tells -----------------------------------------------------------------------------------------

    @staticmethod
    def concerns(run: dict[str, Any]) -> bool:
        """Tell whether a run is a vertical one."""
        return run.get("kind") == KIND

    async def accept(self, run: dict[str, Any]) -> None:
        """Agree to take part in a run that this node is invited to.

        Raises
        ------
        AwaitsOwner
            The owner was asked.
        FlaasError
            Why not: what `Consent.require` and `vertical_policy.require_allowed` raise, ``too-many-runs``.
        """
        place = Place.of(run, self._station.node_id)
        await self._require_consent(run, place.dataset)
        if run["id"] in self._runs:
            return
        dataset = self._datasets.get_for_peer(place.dataset)
        description = await asyncio.to_thread(dataset.description)
        require_allowed(self._station.policy, run, place, description)
        under_way = [other for other in self._runs.values() if not other.ended]
        if len(under_way) >= MOST_RUNS:
            raise Conflict(
                f"This node takes part in {len(under_way)} vertical runs already; {MOST_RUNS} are the most.",
                code="too-many-runs",
                hint="Wait for one of them to end.",
            )
        self._forget_old()
        self._runs[run["id"]] = VerticalRun(run, place, dataset, self._station)

    async def look(self, run: dict[str, Any], state: str) -> None:
        """Bring this node's part in a run, whose assignment is in `state`, in line with what the API tells of it.

        Raises
        ------
        FlaasError
            The run is told otherwise than it was signed, or this node has lost its part in it.
        """
        mine = self._runs.get(run["id"])
        if state != "accepted":
            if mine is not None:
                mine.end("failed", Aborted(f"This node is out of run {run['id']}.", code="party-left"))
            return
        if not run["aggregator"]:
            return
        if mine is None:
            if run["state"] != "gathering" or run["started"] is not None:  # paused and resumed, it gathers again
                raise Aborted(
                    "The node was restarted, and what it had aligned and trained was in memory only.",
                    code="party-restarted",
                    hint="Start a new run.",
                )
            await self.accept(run)
            mine = self._runs[run["id"]]
        await self._require_consent(run, mine.place.dataset)
        mine.update(run)

    def leave(self, run_id: str, reason: FlaasError) -> None:
        """Leave a run for a reason that the API is told."""
        mine = self._runs.get(run_id)
        if mine is not None:
            mine.end("failed", reason)

    async def keep_only(self, open_runs: Collection[str]) -> None:
        """End the runs that are over by the API's word."""
        for run_id, mine in list(self._runs.items()):
            if run_id in open_runs or mine.ended:
                continue
            run = await self._fetch(f"/v1/runs/{run_id}")
            if run["state"] in ("completed", "failed", "cancelled"):
                reason = FlaasError.from_dict(run["reason"]) if run["reason"] else None
                mine.end(run["state"], reason)

    def lost(self, node_id: str) -> None:
        """A peer has gone."""
        for mine in self._runs.values():
            mine.lost(node_id)
        self._predictions.lost(node_id)

    async def close(self) -> None:
        """Stop all that is under way."""
        await asyncio.gather(*(mine.close() for mine in self._runs.values()), self._predictions.close())

    # ---- what peers ask ---------------------------------------------------------------------------------------------

    def routes(self) -> dict[str, Route]:
        """Return what this answers on the mesh."""
        predictions = self._predictions
        from_notebook = {
            SUBMIT: (self._on_submit, PLAN_LIMIT),
            FOLLOW: (self._on_follow, SMALL),
            PLAN: (self._on_plan, SMALL),
            PREDICT: (lambda peer, message: predictions.predict(peer.node_id, message), IDS_LIMIT),
            PART: (lambda peer, message: predictions.part(peer.node_id, message), SMALL),
        }
        between_parties = {
            PREPARE: (self._by_run("prepare"), PLAN_LIMIT),
            BEGIN: (self._by_run("begin"), SMALL),
            DONE: (self._by_run("note_done"), SMALL),
            FAILED: (self._on_failed, SMALL),
            SERVE: (lambda peer, message: predictions.serve(peer.node_id, message), SMALL),
            END: (self._by_run("note_end"), SMALL),
            SEND: (self._on_send, MESSAGE_LIMIT),
            ALIVE: (self._on_alive, SMALL),
        }
        return {
            kind: Route(handler, role="developer", limit=limit) for kind, (handler, limit) in from_notebook.items()
        } | {kind: Route(handler, role="node", limit=limit) for kind, (handler, limit) in between_parties.items()}

    async def _on_submit(self, peer: Peer, message: Message) -> Message:
        mine = self._of(message)
        self._domains[mine.run["project"]].require(peer.node_id, "developer")
        return await mine.submit(peer.node_id, message)

    async def _on_follow(self, peer: Peer, message: Message) -> Message:
        run_id = str(message.body.get("run"))
        mine = self._runs.get(run_id)
        if mine is None:
            return await self._told_of_kept(peer, run_id, message)
        self._domains[mine.run["project"]].require(peer.node_id, "developer")
        return await mine.follow(peer.node_id, message)

    async def _on_plan(self, peer: Peer, message: Message) -> Message:
        """Tell the notebook that made a run, and comes back to it, what the run trains."""
        run_id = str(message.body.get("run"))
        mine = self._runs.get(run_id)
        if mine is not None and mine.plan is not None:
            run, plan = mine.run, mine.plan
        else:
            kept = await asyncio.to_thread(self._station.store.load, run_id)
            run, plan = kept.run, kept.plan
        self._domains[run["project"]].require(peer.node_id, "developer")
        if run["submitter"] != peer.node_id:
            raise NotAllowed("Only the notebook that created the run may ask for its plan.", code="not-the-submitter")
        return Message("ok", {"plan": plan.to_dict()})

    async def _told_of_kept(self, peer: Peer, run_id: str, message: Message) -> Message:
        """Tell a notebook that comes back of a run that has ended and that this node has kept."""
        kept = await asyncio.to_thread(self._station.store.load, run_id)
        self._domains[kept.run["project"]].require(peer.node_id, "developer")
        if kept.run["submitter"] != peer.node_id or Place.of(kept.run, self._station.node_id).leads is False:
            raise NotAllowed("Only the notebook that created the run may follow it.", code="not-the-submitter")
        body = {
            "state": "completed",
            "round": len(kept.reports),
            "reports": kept.reports[int(message.body["after"]) :],
            "report": {name: value for name, value in kept.report.items() if name != "parties"},
            "parties": kept.report["parties"],
            "reason": None,
            "ended": True,
        }
        return Message("ok", body)

    def _by_run(self, method: str) -> Callable[[Peer, Message], Awaitable[Message]]:
        async def answer(peer: Peer, message: Message) -> Message:
            mine = self._of(message)
            self._require_party(peer, mine.run["project"], mine.line)
            handler: Callable[[str, Message], Awaitable[Message]] = getattr(mine, method)
            return await handler(peer.node_id, message)

        return answer

    async def _on_send(self, peer: Peer, message: Message) -> Message:
        project, line = self._line(message)
        self._require_party(peer, project, line)
        return await line.take(peer.node_id, message)

    async def _on_failed(self, peer: Peer, message: Message) -> Message:
        """At the label holder: another party cannot go on."""
        project, line = self._line(message)
        self._require_party(peer, project, line)
        party = line.party_of(peer.node_id)
        reason = message.body.get("reason")
        error = FlaasError.from_dict(reason if isinstance(reason, dict) else {})
        line.fail(
            Aborted(f"Party {party} cannot go on: {error.message}", code=error.code, hint=error.hint, party=party)
        )
        return Message("ok")

    async def _on_alive(self, peer: Peer, message: Message) -> Message:
        project, line = self._line(message)
        self._require_party(peer, project, line)
        return Message("ok")

    def _require_party(self, peer: Peer, project: str, line: MeshExchange) -> None:
        self._domains[project].require(peer.node_id, "node")
        line.party_of(peer.node_id)

    def _of(self, message: Message) -> VerticalRun:
        run_id = message.body.get("run")
        mine = self._runs.get(run_id) if isinstance(run_id, str) else None
        if mine is None:
            raise NotFound("This node is no party of that vertical run, or not any more.", code="no-such-run")
        return mine

    def _line(self, message: Message) -> tuple[str, MeshExchange]:
        name = message.body.get("line")
        if not isinstance(name, str):
            raise InvalidInput("The message names no line.", code="bad-message")
        mine = self._runs.get(name)
        found = (mine.run["project"], mine.line) if mine is not None else self._predictions.lines.get(name)
        if found is None or not found[1].is_open:
            raise NotFound("This node is no party of that vertical run, or not any more.", code="no-such-run")
        return found

    def _forget_old(self) -> None:
        ended = [run_id for run_id, mine in self._runs.items() if mine.ended]
        for run_id in ended[:-KEPT_ENDED]:
            del self._runs[run_id]
