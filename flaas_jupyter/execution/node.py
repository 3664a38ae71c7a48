"""The node daemon (``flaas node run``): stands beside the data and takes part in runs that its owner permits.

It holds one event stream to the coordination API, which tells it *that* something concerns it; what to do it reads
from its open assignments. So a node that restarts, or was away, simply looks again (level-triggered, nothing to
replay). Runs themselves happen over the mesh, between nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from prometheus_client import CollectorRegistry, generate_latest

from ..communications import dial_signal
from ..communications.coordinator import Coordinator, Event, NodeKey
from ..communications.directory import Peer
from ..communications.identity import Identity, verify
from ..communications.mesh import Mesh, Route
from ..communications.trust import Trust
from ..communications.wire import Message
from ..errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed, NotAuthenticated, NotFound, Unreachable
from ..home import Home
from ..observability import logs
from ..observability.exposition import exposed
from ..protocols.attacks import Attack
from . import exploring, node_metrics, rotation
from .aggregator import Aggregator
from .checkpoint import CheckpointStore
from .consent import AwaitsOwner, Consent, with_newer_directory
from .datasets import DatasetRegistry
from .domains import Domains
from .enrolment import Enrolment
from .explorer import Explorer
from .gossip import MESSAGE as COMPARE
from .gossip import Gossip
from .link_reports import LinkReports
from .mesh_carrier import open_carrier, signed_record
from .node_metrics import NodeGauges, Standing
from .participant import Participant, Verify
from .peers import AWAITS, PeerList
from .peers import FILE as PEERS
from .pieces import PIECE
from .policy import Policy
from .queries import Queries
from .query_log import FOLDER as QUERIES
from .reporter import Reporter
from .residuals import Residuals
from .revocations import Revocations
from .rotation import KeyRotatedError
from .shard_seat import PART
from .timing import Timing
from .uploads import Uploads
from .vertical_participant import Station
from .vertical_runs import VerticalRuns
from .vertical_store import VerticalStore
from .witness import EVENT, FILE, MESSAGE, AuditWatch, Witness

log = logging.getLogger(__name__)

RECORD_RENEWAL, RECORD_RETRY = 300.0, 10.0
AUTHENTICATION_PAUSE = 5.0
PREDECESSOR_GONE = 20.0
"""Seconds after which the API has noticed that a killed process of this node is gone."""
SMALL, LARGE = 8 << 20, 4 << 30
"""Limits of a message's tensors in bytes: those that carry no weights, and those that do."""
KEPT_ENDED_RUNS = 8
OWNER_POLL = 1.0
"""Seconds after which the node looks again whether its owner has answered."""
RETRY, RETRY_AT_MOST = 1.0, 15.0
"""Seconds after which the node tries again what the API asks of it, doubled at each failure."""
AUDIT_RETRY = 2.0
"""Seconds for which an API that does not answer is asked again for its audit log; a later look makes up for it."""


class Node:
    """One participant's daemon.

    Parameters
    ----------
    home : Home
        Where its key, enrolment, policy, data sets and checkpoints are.
    timing : Timing
        How long to wait for what.
    listen : sequence of str
        Addresses of the mesh, in place of what ``mesh.toml`` says.
    attack : Attack, optional
        What the owner has this node do to runs, in a drill; see `red_team`.
    """

    def __init__(
        self,
        home: Home,
        *,
        timing: Timing,
        listen: Sequence[str] = (),
        attack: Attack | None = None,
    ) -> None:
        self.home = home
        self._attack = attack
        self.enrolment = Enrolment.load(home.enrolment)
        if not self.enrolment.projects:
            raise InvalidInput(
                f"Node {self.enrolment.name!r} has joined no project.",
                code="not-joined",
                hint="Run `flaas node join --url URL --token TOKEN --project PROJECT --domain-key KEY`.",
            )
        self.identity = Identity.load_or_create(home.key)
        self.policy = Policy.load(home.policy)
        self._consent = Consent(home, self.policy)
        self._revocations = Revocations(home.path / "revoked.json")
        self.datasets = DatasetRegistry(home.path)
        self._timing = timing
        self._listen_at = listen
        url = self.enrolment.url
        self._coordinator = Coordinator(url, NodeKey(self.identity), trust=Trust.of(home, url))
        self._peers = PeerList(home.path / PEERS, self.policy, self.identity.node_id)
        self._domains = Domains(self.enrolment.projects, self._coordinator, home=home, peers=self._peers)
        self._gossip = Gossip(self.identity.node_id, self._domains, self._ask, self._connected_nodes, timing.peer)
        self._checkpoints = CheckpointStore(home.runs)
        self._residuals = Residuals(home.path / "residuals")
        self._reporter = Reporter(self._coordinator, self._report_refused)
        witness = Witness(home.path / FILE, self._fetch)
        self._audit = AuditWatch(witness, self._ask, self._connected_nodes, timing.peer)
        self._queries = Queries(
            home.path / QUERIES,
            identity=self.identity,
            policy=self.policy,
            datasets=self.datasets,
            directory=self._domains.__getitem__,
            refresh=self._domains.refresh,
            fetch=self._fetch,
            ask=self._ask,
            verifier=self._verifier,
            require_trust=lambda: witness.require_no_alarm(self.policy),
        )
        self._explorer = Explorer(
            self._queries,
            policy=self.policy,
            datasets=self.datasets,
            directory=self._domains.__getitem__,
            ask=self._ask,
        )
        self._uploads = Uploads(
            home.path,
            identity=self.identity,
            policy=self.policy,
            datasets=self.datasets,
            directory=self._domains.__getitem__,
            refresh=self._domains.refresh,
            fetch=self._fetch,
            report=self._reporter.put,
            registered=self._describe_datasets,
            require_trust=lambda: witness.require_no_alarm(self.policy),
        )
        self._keras = ThreadPoolExecutor(1, thread_name_prefix="keras")
        station = Station(
            self.identity.node_id,
            self.policy,
            post=lambda node_id, message, limit: self._mesh.call(node_id, message, timeout=limit, limit=LARGE),
            reporter=self._reporter,
            executor=self._keras,
            store=VerticalStore(home.path / "vertical"),
            timing=timing,
        )
        self._vertical = VerticalRuns(
            station,
            datasets=self.datasets,
            domains=self._domains,
            require_consent=self._require_consent,
            fetch=self._fetch,
        )
        self._participants: dict[str, Participant] = {}
        self._aggregators: dict[str, Aggregator] = {}
        self._leading: dict[str, asyncio.Task[None]] = {}
        self._joining: dict[str, tuple[str, int, asyncio.Task[None]]] = {}
        self._standing = Standing(
            runs=lambda: {"aggregator": len(self._leading), "participant": len(self._participants)}
        )
        self._look_again = asyncio.Event()
        self._reconciling = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._mesh: Mesh

    # ---- life -------------------------------------------------------------------------------------------------

    async def run(self, ready: Callable[[], None] | None = None, metrics: str | None = None) -> bool:
        """Serve until cancelled, or until this node has a new key.

        Parameters
        ----------
        ready : callable, optional
            Called once the node is on the mesh and online at the API.
        metrics : str, optional
            ``HOST:PORT`` to serve ``/metrics`` and ``/healthz`` at, from the beginning and without sign-in.

        Returns
        -------
        bool
            True: the key was rotated. A new `Node` of the same home is to be run.
        """
        with _sole_process(self.home.path):
            try:
                async with self._exposed(metrics), self._serving():
                    await _first_to_end(self._listen(ready), self._rotate_when_signed())
            except KeyRotatedError:
                log.warning("this node has a new key, and starts anew with it")
        return True

    @contextlib.asynccontextmanager
    async def _exposed(self, metrics: str | None) -> AsyncIterator[None]:
        if metrics is None:
            yield
            return
        gauges = CollectorRegistry()
        gauges.register(NodeGauges(self._standing))

        async def text() -> bytes:
            return generate_latest(node_metrics.REGISTRY) + generate_latest(gauges)

        async with exposed(metrics, text, self._standing.health) as url:
            log.info("metrics at %s/metrics", url)
            yield

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        try:
            await self._reach_api()
            # Importing Keras stops everything else in the process for seconds, which peers would take for death.
            await asyncio.get_running_loop().run_in_executor(self._keras, _warm_up)
            carrier = await open_carrier(
                self.home,
                self.identity,
                api=self.enrolment.url,
                directories=self._domains.directories,
                listen=self._listen_at,
            )
            self._mesh = await Mesh.open(
                self.identity,
                self._domains,
                carrier=carrier,
                handlers=self._routes(),
                spool=self.home.path / "transfers",
                refresh=self._domains.refresh,
                peer_timeout=self._timing.peer,
                signal=dial_signal.DialSignal(self._coordinator, self._domains.project_of),
            )
            self._standing.mesh = self._mesh
            self._mesh.on_peer_lost(self._peer_lost)
            self._mesh.on_peer_dialled(self._peer_dialled)
            self._domains.on_news(self._directory_news)
            await self._learn_revocations()
            for work in (
                self._reporter.run(),
                self._look_for_answers(),
                self._notice_datasets(),
                self._keep_record_fresh(),
                self._reconcile_when_told(),
                self._audit.run(),
                self._gossip.run(),
                LinkReports(self.identity.node_id, self._mesh.status, self._domains, self._coordinator).run(),
                self._uploads.keep_stated(self._coordinator),
            ):
                self._spawn(work)
            await self._describe_datasets()
            log.info("node %s (%s) is up", self.enrolment.name, self.identity.node_id)
            yield
        finally:
            for participant in self._participants.values():
                participant.cancel_round()
            await self._vertical.close()
            await self._uploads.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._standing.mesh is not None:  # it came so far
                await self._mesh.close()
            await self._coordinator.close()
            self._queries.close()
            self._keras.shutdown(wait=False, cancel_futures=True)

    async def _reach_api(self) -> None:
        """Wait for the coordination API; what only an operator can mend (key, clock) is told."""
        delay = 0.5
        while True:
            try:
                await self._be_the_only_one()
                await self._domains.refresh()
                return
            except NotFound as error:
                if await rotation.resume(self.home, self.enrolment, self.identity):
                    raise KeyRotatedError from None
                raise NotAllowed(
                    f"{self.enrolment.url} does not know this node.",
                    code="node-unknown",
                    hint="It was removed, or the API's data base is another one. Run `flaas node join` again.",
                ) from error
            except (NotAuthenticated, Unreachable) as error:
                log.error("%s", error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 15.0)

    async def _rotate_when_signed(self) -> None:
        """Go over to the new key, if there is one, once it is signed for and this node takes part in no run."""
        while True:
            await asyncio.sleep(OWNER_POLL)
            if self._participants or self._leading or not rotation.is_signed(self.home, self._domains.directories()):
                continue
            try:
                await rotation.complete(self.home, self.enrolment, self.identity, self._coordinator)
            except FlaasError as error:
                log.info("the key is not rotated yet: %s", error)
                continue
            raise KeyRotatedError

    async def _be_the_only_one(self) -> None:
        """Refuse to start while another process, perhaps on another machine with a copy of the key, is this node."""
        deadline = time.monotonic() + PREDECESSOR_GONE
        while (await self._coordinator.get(f"/v1/nodes/{self.identity.node_id}"))["state"] == "online":
            if time.monotonic() > deadline:
                raise Conflict(
                    f"A node with the key {self.identity.node_id[:12]}… is online already.",
                    code="node-online",
                    hint="Stop it, or make this one a node of its own: a key belongs to one machine.",
                )
            await asyncio.sleep(0.5)

    async def _listen(self, ready: Callable[[], None] | None) -> None:
        """Hold the event stream open; each event, and each reconnection, is a reason to look again."""

        def changed(connected: bool) -> None:
            nonlocal ready
            self._standing.api_connected = connected
            log.info("coordination API: %s", "connected" if connected else "connection lost")
            if connected:
                self._look_again.set()
                self._audit.wake()
                self._spawn(self._uploads.look())
                if ready is not None:
                    ready()
                ready = None

        path = f"/v1/nodes/{self.identity.node_id}/events"
        while True:
            try:
                async for event in self._coordinator.events(path, on_connection=changed):
                    await self._on_event(event)
            except NotAuthenticated as error:
                # Mostly this machine's clock; it may be set right while the node runs.
                log.error("%s", error)
                await asyncio.sleep(AUTHENTICATION_PAUSE)
            except NotFound:
                # Perhaps the API has moved this node to its new key, and the answer that said so was lost.
                with contextlib.suppress(Unreachable):
                    if await rotation.resume(self.home, self.enrolment, self.identity):
                        raise KeyRotatedError from None
                    raise

    async def _on_event(self, event: Event) -> None:
        if event.type == "node.removed" and event.node == self.identity.node_id:
            raise NotAllowed(
                "This node was removed by an administrator.",
                code="node-removed",
                hint="Ask the platform's administrator; join again with a new token.",
            )
        if event.type == "directory.changed":
            await self._domains.refresh()
        if event.type == dial_signal.EVENT:
            self._dial_back(event)
            return
        if event.type == "model.changed":
            await self._learn_revocations()
        if event.type in ("node.quarantined", "node.released") and event.node == self.identity.node_id:
            log.warning("this node is %s", _told_of(event))
        await self._uploads.on_event(event)
        if event.type == EVENT:
            self._audit.wake()
        elif event.type not in ("run.round", "run.report"):  # told by this or another node; nothing to do about it
            self._look_again.set()

    def _dial_back(self, event: Event) -> None:
        """Connect to the peer that has signalled, if it is a member."""
        node_id = dial_signal.asked_back(event, time.time())
        if node_id is None or event.project not in self.enrolment.projects:
            return
        if (record := event.data.get("record")) is not None:
            self._domains[event.project].learn_record(record)
        self._mesh.dial_back(node_id)

    async def _keep_record_fresh(self) -> None:
        """Publish where this node is: now and then, and at once when it has changed."""
        while True:
            renewal = RECORD_RENEWAL
            try:
                await self._publish_records()
            except FlaasError as error:
                log.error("this node's address could not be published: %s", error)
                renewal = RECORD_RETRY
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._mesh.moved(), renewal)

    async def _publish_records(self) -> None:
        here = self._mesh.whereabouts
        for project in self.enrolment.projects:
            record = signed_record(self.identity, self._domains[project], here)
            await self._coordinator.put(f"/v1/nodes/{self.identity.node_id}/record", record, retry_for=60)

    async def _describe_datasets(self) -> None:
        """Tell the API what this node has: names, columns, counts. A file that cannot be read is left out, loudly."""
        node = f"/v1/nodes/{self.identity.node_id}"
        withdrawn = set((await self._coordinator.get(node))["datasets"])
        for entry in self.datasets.list():
            try:
                description = await asyncio.to_thread(self.datasets.get(entry.name).description)
                description["projects"] = description["projects"] or sorted(self.enrolment.projects)
                description = exploring.offered(description, self.policy.for_dataset(entry.name))
                description.pop("targets", None)  # the API knows the first of several; `prepare` matches them all
                await self._coordinator.put(f"{node}/datasets/{entry.name}", description, retry_for=60)
                withdrawn.discard(entry.name)
            except FlaasError as error:
                log.error("data set %s is not offered: %s", entry.name, error)
        for name in withdrawn:
            try:
                await self._coordinator.delete(f"{node}/datasets/{name}", retry_for=60)
            except FlaasError as error:
                log.error("data set %s could not be withdrawn: %s", name, error)

    async def _learn_revocations(self) -> None:
        """Ask which weights are revoked; what this node knows of stays revoked, whatever the answer."""
        for project in self.enrolment.projects:
            try:
                path = f"/v1/projects/{project}/models?state=revoked"
                revoked = [version async for version in self._coordinator.paginate(path, "models")]
            except FlaasError as error:
                log.warning("revoked models of %s: %s", project, error)
                continue
            new = await asyncio.to_thread(self._revocations.learn, project, revoked)
            if new:
                log.info("%d model versions of %s are revoked now", new, project)

    # ---- what the API asks ------------------------------------------------------------------------------------

    async def _reconcile_when_told(self) -> None:
        delay = RETRY
        while True:
            await self._look_again.wait()
            self._look_again.clear()
            try:
                await self._reconcile()
                delay = RETRY
            except FlaasError as error:  # what is due stays due
                log.log(logging.WARNING if isinstance(error, Unreachable) else logging.ERROR, "%s", error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_AT_MOST)
                self._look_again.set()

    async def _reconcile(self) -> None:
        """Bring what this node does in line with its open assignments."""
        async with self._reconciling:
            path = f"/v1/nodes/{self.identity.node_id}/assignments?open=true"
            open_runs: set[str] = set()
            async for assignment in self._coordinator.paginate(path, "assignments"):
                run = assignment["run"]
                open_runs.add(run["id"])
                with logs.about(run["id"]):  # also what is logged by the tasks that are started for it
                    await self._attend(run, assignment["state"])
            await asyncio.to_thread(self._consent.keep_only, open_runs)
            await asyncio.to_thread(self._residuals.keep_only, open_runs)
            for gone in [run for run in self._participants if run not in open_runs]:
                with logs.about(gone):
                    await self._leave(gone)
            await self._vertical.keep_only(open_runs)

    async def _attend(self, run: dict[str, Any], state: str) -> None:
        if state == "invited":
            await self._answer(run)
        elif self._vertical.concerns(run):
            await self._look_at_vertical(run, state)
        elif state == "accepted" and run["aggregator"]:
            await self._take_part_or_leave(run)
        elif state != "accepted":
            self._stay_out(run)

    async def _answer(self, run: dict[str, Any]) -> None:
        try:
            await self._audit.look()
            self._audit.witness.require_no_alarm(self.policy)
            await (self._vertical.accept(run) if self._vertical.concerns(run) else self._participant(run))
            answer: dict[str, Any] = {"state": "accepted"}
            log.info("run %s of %s: accepted", run["id"], run["project"])
        except AwaitsOwner:
            asks = "flaas node requests, flaas node peers"
            log.warning("run %s of %s waits for this node's owner: %s", run["id"], run["project"], asks)
            return
        except FlaasError as error:
            answer = {"state": "refused", "reason": error.to_dict()}
            log.warning("run %s of %s: refused: %s", run["id"], run["project"], error)
        try:
            await self._coordinator.put(self._assignment(run["id"]), answer, retry_for=30)
        except Conflict as error:
            log.info("run %s: %s", run["id"], error)

    async def _participant(self, run: dict[str, Any]) -> Participant:
        """Return this node's part in `run`, once it is certain that a developer has signed it as it is told."""
        await self._require_consent(run)
        known = self._participants.get(run["id"])
        if known is not None:
            known.run = run
            return known
        directory = self._domains[run["project"]]
        dataset = self.datasets.get_for_peer(run["dataset"])
        self.policy.check(run, await asyncio.to_thread(dataset.description))
        participant = Participant(
            run,
            domain=directory.domain,
            identity=self.identity,
            verify=self._verifier(run["project"]),
            dataset=dataset,
            policy=self.policy,
            executor=self._keras,
            attack=self._attack,
            require_not_revoked=functools.partial(self._revocations.require_not_revoked, run["project"]),
            send=functools.partial(self._ask, limit=self._timing.round),
            traffic=lambda: (self._mesh.bytes_sent, self._mesh.bytes_received),
            residuals=self._residuals,
        )
        self._participants[run["id"]] = participant
        return participant

    async def _require_consent(self, run: dict[str, Any], dataset: str | None = None) -> None:
        directory = self._domains[run["project"]]
        require = functools.partial(asyncio.to_thread, self._consent.require, run, directory, dataset=dataset)
        try:
            await with_newer_directory(require, self._domains.refresh)
        except NotAllowed as error:
            if error.code == AWAITS:  # the developer's key, which is asked about as any other
                raise AwaitsOwner(str(run["id"])) from error
            raise
        self._revocations.require_not_revoked(run["project"], run["start_digest"])

    async def _look_for_answers(self) -> None:
        """Look now and then whether the owner has answered; the command that answers is another process."""
        while True:
            await asyncio.sleep(OWNER_POLL)
            if await asyncio.to_thread(self._consent.has_news) or self._peers.has_news():
                self._look_again.set()

    async def _notice_datasets(self) -> None:
        """Tell of data sets that were added, removed or have changed: by a command, a notebook, an upload."""
        seen = described = await asyncio.to_thread(self.datasets.state)
        self._spawn(asyncio.to_thread(self.datasets.make_ready))
        while True:
            await asyncio.sleep(OWNER_POLL)
            now = await asyncio.to_thread(self.datasets.state)
            if now != seen:
                seen = now
                self._spawn(asyncio.to_thread(self.datasets.make_ready))
            if now != described:
                try:
                    await self._describe_datasets()
                    described = now
                except FlaasError as error:
                    log.warning("%s", error)
                    described = ""  # also if the former state comes back

    async def _look_at_vertical(self, run: dict[str, Any], state: str) -> None:
        """Do what a vertical run asks of this node; one that it cannot be part of any more is left."""
        try:
            await self._vertical.look(run, state)
        except AwaitsOwner:
            log.warning("run %s of %s waits for this node's owner", run["id"], run["project"])
        except (Aborted, Conflict, InvalidInput, NotAllowed, NotAuthenticated, NotFound) as error:
            log.error("run %s: left: %s", run["id"], error)
            self._vertical.leave(run["id"], error)
            self._reporter.put(self._assignment(run["id"]), {"state": "failed", "reason": error.to_dict()})

    async def _take_part_or_leave(self, run: dict[str, Any]) -> None:
        """Take part in a run that was accepted; one that is told of otherwise since is left, and it is said why."""
        try:
            await self._take_part(run)
        except (AwaitsOwner, InvalidInput, NotAllowed, NotAuthenticated, NotFound) as error:
            log.error("run %s: left: %s", run["id"], error)
            reason = error.to_dict() if isinstance(error, FlaasError) else None
            self._reporter.put(self._assignment(run["id"]), {"state": "failed", "reason": reason})
            self._drop(run["id"])

    def _stay_out(self, run: dict[str, Any]) -> None:
        """Do no more for a run that this node is out of than to lead it, where another's data are to train."""
        mine = self._aggregators.get(run["id"])
        if run["id"] not in self._leading or mine is None:
            return
        if run["aggregator"] != self.identity.node_id or int(run["term"]) != int(mine.run["term"]):
            self._stop_leading(run["id"], "superseded", None)
        else:
            mine.update(run)

    def _drop(self, run_id: str) -> None:
        """Stop everything that this node does for a run."""
        participant = self._participants.pop(run_id, None)
        if participant is not None:
            participant.cancel_round()
        if run_id in self._joining:
            self._joining.pop(run_id)[2].cancel()
        if run_id in self._leading:
            self._stop_leading(run_id, "superseded", None)

    async def _take_part(self, run: dict[str, Any]) -> None:
        await self._participant(run)
        aggregator, term = run["aggregator"], int(run["term"])
        mine = self._aggregators.get(run["id"])
        if mine is not None and (aggregator != self.identity.node_id or int(mine.run["term"]) != term):
            self._stop_leading(run["id"], "superseded", None)
            mine = None
        if aggregator == self.identity.node_id:
            if mine is None:
                self._lead(run)
            else:
                mine.update(run)
        joined = self._joining.get(run["id"])
        if joined is None or joined[:2] != (aggregator, term):
            if joined is not None:
                joined[2].cancel()
            self._joining[run["id"]] = (
                aggregator,
                term,
                self._spawn(self._join(run["id"], aggregator, term)),
            )

    def _lead(self, run: dict[str, Any]) -> None:
        log.info("run %s: this node is the aggregator, term %s", run["id"], run["term"])
        aggregator = self._new_aggregator(run)
        self._aggregators[run["id"]] = aggregator
        self._leading[run["id"]] = self._spawn(aggregator.lead())

    def _new_aggregator(self, run: dict[str, Any]) -> Aggregator:
        return Aggregator(
            run,
            domain=run["project"],
            my_id=self.identity.node_id,
            verify=self._verifier(run["project"]),
            ask=self._ask,
            traffic=lambda: (self._mesh.bytes_sent, self._mesh.bytes_received),
            reporter=self._reporter,
            checkpoints=self._checkpoints,
            timing=self._timing,
        )

    async def _join(self, run_id: str, aggregator: str, term: int) -> None:
        """Take a seat at the aggregator, however long it takes to be reached; reconciling cancels this."""
        delay = 0.02
        while True:
            message = Message("run/join", {"run": run_id, "term": term})
            try:
                await self._ask(aggregator, message, self._timing.peer)
                log.info("run %s: joined aggregator %s", run_id, aggregator[:12])
                return
            except (Unreachable, NotFound, Conflict) as error:
                log.debug("run %s: cannot join yet: %s", run_id, error)
                if isinstance(error, Unreachable):
                    await self._domains.refresh()
            except FlaasError as error:
                if AWAITS not in (error.code, error.details.get("reason")):
                    log.error("run %s: the aggregator does not let this node join: %s", run_id, error)
                    return
                log.info("run %s: an owner has not accepted its peer yet: %s", run_id, error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)

    async def _leave(self, run_id: str) -> None:
        participant = self._participants.pop(run_id)
        participant.cancel_round()
        if run_id in self._joining:
            self._joining.pop(run_id)[2].cancel()
        leading = self._leading.get(run_id)
        if leading is not None and not leading.done():
            run = await self._coordinator.get(f"/v1/runs/{run_id}")
            ended = run["state"] in ("completed", "failed", "cancelled")
            if not ended and run["aggregator"] == self.identity.node_id:
                return  # this node's own part is over, for instance because its data were unfit; it goes on leading
            self._stop_leading(run_id, run["state"], FlaasError.from_dict(run["reason"]) if run["reason"] else None)
        self._leading.pop(run_id, None)
        for old in list(self._aggregators)[:-KEPT_ENDED_RUNS]:
            if old not in self._leading:
                del self._aggregators[old]
        log.info("run %s is over", run_id)

    def _stop_leading(self, run_id: str, state: str, reason: FlaasError | None) -> None:
        task = self._leading.pop(run_id, None)
        if task is not None:
            task.cancel()
        self._aggregators[run_id].cancel(state, reason)

    def _report_refused(self, path: str, error: FlaasError) -> None:
        if error.code in ("stale-term", "run-ended", "not-found"):
            self._look_again.set()

    # ---- what peers ask ---------------------------------------------------------------------------------------

    def _routes(self) -> dict[str, Route]:
        from_notebook = {"run/submit": (self._on_submit, LARGE), "run/follow": (self._on_follow, SMALL)}
        from_nodes = {
            "run/join": (self._on_join, SMALL),
            PART: (self._on_part, LARGE),
            PIECE: (self._on_part, LARGE),
            "run/end": (self._on_end, SMALL),
            MESSAGE: (self._audit.answer, SMALL),
            COMPARE: (self._gossip.answer, 0),
        }
        as_participant = {
            kind: (self._on_participant, LARGE if kind == "round/begin" else SMALL) for kind in Participant.messages
        }
        routes = {
            kind: Route(handler, role="developer", limit=limit) for kind, (handler, limit) in from_notebook.items()
        }
        return (
            routes
            | {
                kind: Route(handler, role="node", limit=limit)
                for kind, (handler, limit) in (from_nodes | as_participant).items()
            }
            | self._queries.routes()
            | self._explorer.routes()
            | self._vertical.routes()
            | self._uploads.routes()
        )

    async def _on_participant(self, peer: Peer, message: Message) -> Message:
        run_id = str(message.body.get("run"))
        participant = self._participants.get(run_id)
        if participant is None or participant.run["aggregator"] != peer.node_id:
            # The aggregator may know of its election before this node does.
            await self._reconcile()
            participant = self._participants.get(run_id)
        if participant is None:
            raise NotFound(f"This node takes no part in run {run_id!r}.", code="no-such-run")
        if participant.run["aggregator"] != peer.node_id:
            raise NotAllowed(f"{peer.node_id[:12]} is not the aggregator of run {run_id}.", code="not-the-aggregator")
        self._domains[participant.run["project"]].require(peer.node_id, "node")
        try:
            with logs.about(run_id):
                return await participant.answer(message)
        except (InvalidInput, NotAllowed) as error:
            log.error("run %s: %s", run_id, error)
            self._reporter.put(self._assignment(run_id), {"state": "failed", "reason": error.to_dict()})
            raise

    async def _on_part(self, peer: Peer, message: Message) -> Message:
        run_id = str(message.body.get("run"))
        participant = self._participants.get(run_id)
        if participant is None:
            raise NotFound(f"This node takes no part in run {run_id!r}.", code="no-such-run")
        self._domains[participant.run["project"]].require(peer.node_id, "node")
        return await participant.of_peer(peer.node_id, message)

    async def _on_join(self, peer: Peer, message: Message) -> Message:
        aggregator = self._aggregator(message)
        self._domains[aggregator.run["project"]].require(peer.node_id, "node")
        return await aggregator.join(peer.node_id, message)

    async def _on_submit(self, peer: Peer, message: Message) -> Message:
        aggregator = await self._aggregator_or_archive(message)
        self._domains[aggregator.run["project"]].require(peer.node_id, "developer")
        return await aggregator.submit(peer.node_id, message)

    async def _on_follow(self, peer: Peer, message: Message) -> Message:
        aggregator = await self._aggregator_or_archive(message)
        self._domains[aggregator.run["project"]].require(peer.node_id, "developer")
        return await aggregator.follow(peer.node_id, message)

    async def _on_end(self, peer: Peer, message: Message) -> Message:
        participant = self._participants.get(str(message.body.get("run")))
        if participant is not None and participant.run["aggregator"] == peer.node_id:
            participant.cancel_round()
            self._look_again.set()
        return Message("ok")

    def _aggregator(self, message: Message) -> Aggregator:
        aggregator = self._aggregators.get(str(message.body.get("run")))
        if aggregator is None or message.body.get("term") not in (None, aggregator.run["term"]):
            raise NotFound("This node is not the aggregator of that run, or not yet.", code="not-leading")
        return aggregator

    async def _aggregator_or_archive(self, message: Message) -> Aggregator:
        """The run's aggregator, or what is on disk of a run that this node led before it restarted."""
        try:
            return self._aggregator(message)
        except NotFound:
            run_id = str(message.body.get("run"))
            saved = await asyncio.to_thread(self._checkpoints.load, run_id)
            if saved is None or saved.state not in ("completed", "failed", "cancelled"):
                raise
            run = await self._coordinator.get(f"/v1/runs/{run_id}")
            await asyncio.to_thread(self._consent.require_known, run)
            aggregator = self._new_aggregator(run)
            aggregator.restore(saved)
            self._aggregators[run_id] = aggregator
            return aggregator

    # ---- plumbing ---------------------------------------------------------------------------------------------

    def _verifier(self, project: str) -> Verify:
        """Make a check that a signature is that of a node which is a member of `project` now."""
        directory = self._domains[project]

        def check(node_id: str, context: str, payload: bytes, signature: bytes) -> None:
            try:
                directory.require(node_id, "node")
                verify(node_id, context, payload, signature)
            except FlaasError as error:
                error.details["member"] = node_id
                raise

        return check

    async def _ask(self, node_id: str, message: Message, limit: float) -> Message:
        return await self._mesh.call(node_id, message, timeout=limit, limit=LARGE)

    async def _fetch(self, path: str) -> dict[str, Any]:
        return await self._coordinator.get(path, retry_for=AUDIT_RETRY)

    def _connected_nodes(self) -> list[str]:
        return [node_id for node_id in self._mesh.connected if self._is_node(node_id)]

    def _is_node(self, node_id: str) -> bool:
        try:
            self._domains.require(node_id, "node")
        except NotAllowed:
            return False
        return True

    def _peer_dialled(self, node_id: str) -> None:
        if self._is_node(node_id):
            self._spawn(self._audit.exchange(node_id))
            self._spawn(self._gossip.exchange(node_id))

    def _directory_news(self, project: str, kinds: frozenset[str]) -> None:
        """Act on what administrators have signed, by whichever way it came."""
        self._look_again.set()
        if "revocations" in kinds:
            log.warning("%s: a key was revoked", project)
            self._spawn(self._gossip.spread())

    def _peer_lost(self, node_id: str) -> None:
        self._vertical.lost(node_id)
        for aggregator in self._aggregators.values():
            aggregator.lost(node_id)
        for run_id, (aggregator_id, _, task) in list(self._joining.items()):
            if aggregator_id == node_id and task.done():
                del self._joining[run_id]
                self._look_again.set()

    def _assignment(self, run_id: str) -> str:
        return f"/v1/runs/{run_id}/assignments/{self.identity.node_id}"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the node failed", exc_info=task.exception())


@contextlib.contextmanager
def _sole_process(home: Path) -> Any:
    """Let one node process at a time use `home`: two with one key would take each other's messages."""
    with _locked(home / "node.lock") as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _locked(path: Path) -> Any:
    file: IO[str]
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise Conflict(
                f"Another node process (pid {file.read() or 'unknown'}) runs with {path.parent}.",
                code="node-running",
                hint="Stop it first, or give this node a FLAAS_HOME of its own.",
            ) from error
        yield file


async def _first_to_end(*works: Coroutine[Any, Any, None]) -> None:
    """Run `works` until one of them ends or fails; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _told_of(event: Event) -> str:
    if event.type == "node.released":
        return "out of quarantine, and takes part in new runs again"
    return f"in quarantine, and takes part in no run: {event.data.get('reason', 'no reason given')}"


def _warm_up() -> None:
    """Import Keras, and have it make a first computation."""
    import keras

    keras.ops.convert_to_numpy(keras.ops.ones(1) + 1)
    log.info("Keras %s on %s", keras.__version__, keras.backend.backend())
