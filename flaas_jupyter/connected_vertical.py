"""Vertical models on real nodes: ``project.vertical({"bank": "loans", "telco": "usage"}, id=…, label=…)``.

The kernel creates the run, hands its plan to the node that holds the label and follows it there. Rows, embeddings and
gradients go between the nodes alone; this kernel is told metrics, sizes and, where the owners of the nodes say so,
scores and parts of the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .answers import frame
from .communications.wire import Message
from .connected_runs import ended_badly, wait_for_leader
from .errors import Conflict, InvalidInput, NotAllowed, NotFound, Unreachable
from .execution import prediction_request, run_request
from .training.vertical.plan import MINIMUM_INTERSECTION
from .training.vertical.state import PartyState
from .vertical_federation import VerticalOutcome, VerticalRound, VerticalScores, alignment_table

if TYPE_CHECKING:
    import pandas as pd

    from .communications.mesh import Mesh
    from .connected import Project
    from .training.vertical.plan import VerticalPlan

LIMIT = 4 << 30
RETRY = 0.2


class ConnectedVerticalFederation:
    """Nodes with different columns of the same people; `Project.vertical` makes one.

    Parameters
    ----------
    project : Project
    datasets : mapping of str to str
        Node name to the data set that it brings.
    id : str
        The column that names whom a row is about, at all of them.
    label : (str, str)
        The node that holds the label, and its column.
    columns : mapping of str to sequence of str, optional
        Node name to the columns that it uses; all of its features by default.
    minimum_intersection : int
        Rows in common without which a run does not begin.

    Raises
    ------
    InvalidInput
        ``bad-parties``; ``no-label``; ``no-id-column``; ``no-target``; ``overlapping-columns``; ``unknown-columns``;
        ``duplicate-nodes``: two nodes of the project have one name.
    NotFound
        ``unknown-node``; ``unknown-dataset``.
    """

    def __init__(
        self,
        project: Project,
        datasets: Mapping[str, str],
        *,
        id: str,
        label: tuple[str, str],
        columns: Mapping[str, Sequence[str]] | None = None,
        minimum_intersection: int = MINIMUM_INTERSECTION,
    ) -> None:
        if len(datasets) < 2:
            raise InvalidInput(
                f"A vertical federation has two parties at least; there is {', '.join(datasets) or 'none'}.",
                code="bad-parties",
                hint="With one party's columns a plain Keras model will do.",
            )
        if not isinstance(label, tuple | list) or len(label) != 2 or label[0] not in datasets:
            raise InvalidInput(
                f"label must be (node, column), the node one of {', '.join(datasets)}; it is {label!r}.",
                code="no-label",
            )
        self.project = project
        self._id, self._label = id, str(label[1])
        self._datasets = {label[0]: datasets[label[0]], **datasets}
        self._minimum = minimum_intersection
        self._nodes = _node_ids(project, self._datasets)
        self._described = {party: self._holding(party) for party in self._datasets}
        self._require_ids_and_label()
        self._columns = self._chosen(columns or {})
        self.outcome: VerticalOutcome | None = None
        """What the last run has left."""

    def __repr__(self) -> str:
        parties = ", ".join(f"{party} ({dataset})" for party, dataset in self._datasets.items())
        return f"<Vertical federation of project {self.project.id!r}: {parties}; label at {self.parties[0]}>"

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties, the label holder first."""
        return tuple(self._datasets)

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """Each party's columns, without ids and labels."""
        return dict(self._columns)

    @property
    def label(self) -> str | None:
        """Name of the label's column."""
        return self._label

    @property
    def minimum_intersection(self) -> int:
        """Rows in common without which a run does not begin."""
        return self._minimum

    @property
    def clients(self) -> pd.DataFrame:
        """One row per party: ``party``, ``role``, ``rows``, ``columns``, ``online``, ``organisation``, ``dataset``."""
        holdings = {party: self._holding(party) for party in self.parties}  # who is online changes
        rows = [
            {
                "party": party,
                "role": "feature party" if at else "label holder",
                "rows": holding["rows"],
                "columns": len(self._columns[party]),
                "online": holding["online"],
                "organisation": holding["organisation"],
                "dataset": self._datasets[party],
            }
            for at, (party, holding) in enumerate(holdings.items())
        ]
        return frame(rows, ["party", "role", "rows", "columns", "online", "organisation", "dataset"])

    @property
    def schema(self) -> pd.DataFrame:
        """One row per column: ``party``, ``name``, ``dtype``, ``role`` (id, feature or label)."""
        rows = []
        for party, described in self._described.items():
            dtypes = {feature["name"]: feature["dtype"] for feature in described["features"]}
            rows.append({"party": party, "name": self._id, "dtype": "text", "role": "id"})
            rows += [
                {"party": party, "name": name, "dtype": dtypes[name], "role": "feature"}
                for name in self._columns[party]
            ]
            if party == self.parties[0]:
                target = described["target"]
                rows.append({"party": party, "name": target["name"], "dtype": target["dtype"], "role": "label"})
        return frame(rows, ["party", "name", "dtype", "role"])

    @property
    def alignment(self) -> pd.DataFrame:
        """One row per party: ``ids``, ``common`` and ``share``, as the last run has found; NaN before the first."""
        reports = self.outcome.reports if self.outcome is not None else {}
        ids = [int(self._described[party]["rows"]) for party in self.parties]
        common = [reports.get(party, {}).get("common", np.nan) for party in self.parties]
        return alignment_table(self.parties, ids, common)

    # ---- running ----------------------------------------------------------------------------------------------------

    def train_vertical(
        self,
        plan: VerticalPlan,
        weights: dict[str, NDArray[Any]],
        *,
        label_consent: bool = False,
        seeded: bool = False,
        name: str | None = None,
    ) -> ConnectedVerticalTraining:
        """Create a run for `plan`, called `name`; it is under way when the first `next` returns.

        Whether the label holder agrees to mode ``split`` is for the owner of its node to say; `label_consent` and
        `seeded` are for simulations.

        Raises
        ------
        InvalidInput
            ``other-parties``; what the coordination API refuses, see docs/rest.md.
        """
        self._require_parties(plan)
        from .execution.vertical_policy import parameters

        session = self.project.session
        _, identity = session._loop.run(session.mesh(self.project.description))
        holder = self.parties[0]
        body: dict[str, Any] = {
            "name": name,
            "dataset": self._datasets[holder],
            "rounds": plan.epochs,
            "local_epochs": 1,
            "batch_size": plan.batch_size,
            "secure_aggregation": False,
            "clip": None,
            "aggregation": "fedavg",
            "aggregation_options": {},
            "privacy": None,
            "clients_per_round": None,
            "minimum_nodes": None,
            "seed": plan.seed if plan.seed < 1 << 53 else None,
            "parameters": parameters(plan),
            "model_digest": plan.digest,
            "submitter": identity.node_id,
            "start_digest": _starts_digest(plan),
            "kind": "vertical",
            "parties": [
                {"node": self._nodes[party], "name": party, "dataset": self._datasets[party]} for party in plan.parties
            ],
            "id_column": self._id,
            "label": {"node": self._nodes[holder], "column": self._label},
            "mode": plan.mode,
        }
        # Nodes believe the developer's signature, not the API's word (docs/control.md).
        body["signed"] = run_request.sign(identity, self.project.id, body, time.time())
        path = f"/v1/projects/{self.project.id}/runs"
        run = session._loop.run(session._coordinator.post(path, body, idempotency_key=secrets.token_hex(16)))
        return ConnectedVerticalTraining(self, run, plan, weights)

    def resume_vertical(self, run: str, plan: VerticalPlan) -> ConnectedVerticalTraining:
        """Follow run `run`, which was started from this machine before, from its first epoch on.

        Parameters
        ----------
        run : str
        plan : VerticalPlan
            Of the same model. Its seed and starting weights may be others: those of the run count, see
            `ConnectedVerticalTraining.plan`.

        Raises
        ------
        Conflict
            Code ``other-model``: the run trains another model.
        """
        found = self.project.session.run(run)
        if found["project"] != self.project.id or found.get("kind") != "vertical" or not found["aggregator"]:
            raise _other_model(run, self.project.id)
        theirs = self.project.session._loop.run(self._plan_of(run, found["aggregator"]))
        if _architecture(theirs) != _architecture(plan):
            raise _other_model(run, self.project.id)
        return ConnectedVerticalTraining(self, found, theirs, {})

    async def _plan_of(self, run: str, holder: str) -> VerticalPlan:
        from .training.vertical.plan import VerticalPlan

        mesh, _ = await self.project.session.mesh(self.project.description)
        reply = await mesh.call(holder, Message("vertical/plan", {"run": run}), timeout=60.0, limit=1 << 20)
        return VerticalPlan.from_dict(reply.body["plan"])

    def _require_parties(self, plan: VerticalPlan) -> None:
        if set(plan.parties) != set(self.parties) or plan.label_holder != self.parties[0]:
            raise InvalidInput(
                f"The plan is one of {', '.join(plan.parties)}; this federation is one of {', '.join(self.parties)}.",
                code="other-parties",
            )

    def predict_vertical(
        self,
        plan: VerticalPlan,
        outcome: VerticalOutcome,
        *,
        minimum: int = 1,
        ids: Sequence[Any] | None = None,
        purpose: str = "predict",
    ) -> VerticalScores:
        """Have the parties predict with what a run has left at them.

        Parameters
        ----------
        plan : VerticalPlan
        outcome : VerticalOutcome
            Of a run of these nodes.
        minimum : int
            The owners' ``minimum_intersection`` counts, not this.
        ids : sequence, optional
            Whom to predict; all that the parties have in common by default. The owners of all parties must let the
            developer have scores: what is told of chosen sets tells who is in them.
        purpose : {"predict", "evaluate"}
            With ``"evaluate"`` the label holder computes metrics only.

        Returns
        -------
        VerticalScores
            Where not all owners let the developer have scores, `ids` and `values` are empty, and ``report["file"]``
            names the file at the label holder's node.

        Raises
        ------
        InvalidInput
            ``no-run``: the model was not trained by nodes; ``too-few-common``.
        FlaasError
            A party refuses, or is away.
        """
        self._require_parties(plan)
        if outcome.run is None:
            raise InvalidInput(
                "The model was trained in a simulation; its parts are not at the nodes.",
                code="no-run",
                hint="Fit it on this federation, or predict with a simulated one.",
            )
        session = self.project.session
        wanted = None if ids is None else [_text(each) for each in ids]
        return session._loop.run(self._predict(outcome.run, wanted, purpose))

    async def _predict(self, run: str, ids: list[str] | None, purpose: str) -> VerticalScores:
        mesh, identity = await self.project.session.mesh(self.project.description)
        request = prediction_request.sign(identity, self.project.id, run, purpose, ids, time.time())
        tensors: dict[str, NDArray[Any]] = {} if ids is None else dict(prediction_request.ids_to_tensors(ids))
        message = Message("vertical/predict", {"run": run, "request": request}, tensors)
        reply = await mesh.call(self._nodes[self.parties[0]], message, timeout=None, limit=LIMIT)
        body = reply.body
        report = {**body["report"], "scores": body["scores"], "file": body.get("file"), "rows_predicted": body["rows"]}
        if body["scores"] == "developer":
            found = prediction_request.ids_from_tensors(reply.tensors)
            return VerticalScores(found, reply.tensors["scores"], body["metrics"], report)
        if body["scores"] == "label_holder":
            print(
                f"{body['rows']:,} scores stay at {self.parties[0]}, in the file predictions/{body['file']} of run "
                f"{run}; not all parties let the developer have them.",
                flush=True,
            )
        return VerticalScores([], np.empty(0, np.float32), body["metrics"], report)

    def parts(self, run: str) -> dict[str, PartyState]:
        """Return the parts of a run's model that the owners of the nodes let its developer have, by party."""
        return self.project.session._loop.run(self._parts(run))

    async def _parts(self, run: str) -> dict[str, PartyState]:
        mesh, _ = await self.project.session.mesh(self.project.description)
        found = {}
        for party, node in self._nodes.items():
            try:
                reply = await mesh.call(node, Message("vertical/part", {"run": run}), timeout=60.0, limit=LIMIT)
            except (NotAllowed, NotFound, Unreachable):
                continue  # it keeps its part, or is away
            found[party] = PartyState(str(reply.body["party"]), str(reply.body["plan"]), reply.tensors)
        return found

    # ---- what the API knows -----------------------------------------------------------------------------------------

    def _holding(self, party: str) -> dict[str, Any]:
        """Return what the API knows of a party's data set."""
        name, node = self._datasets[party], self._nodes[party]
        entries = self.project._datasets()
        for entry in entries:
            for holder in entry["nodes"]:
                if entry["name"] == name and holder["node"] == node:
                    own = holder.get("columns") or entry
                    columns = {key: own.get(key) for key in ("features", "target", "id_column")}
                    return {**holder, **columns}
        held = sorted(entry["name"] for entry in entries if any(h["node"] == node for h in entry["nodes"]))
        raise NotFound(
            f"Node {party!r} holds no data set {name!r} in project {self.project.id!r}; it holds: "
            f"{', '.join(held) or 'none'}.",
            code="unknown-dataset",
            hint="Its owner registers it with `flaas dataset add NAME FILE --id COLUMN`.",
        )

    def _require_ids_and_label(self) -> None:
        for party, described in self._described.items():
            if described["id_column"] != self._id:
                names = described["id_column"]
                raise InvalidInput(
                    f"Data set {self._datasets[party]!r} of {party} "
                    + (f"names its rows by {names!r}, not by {self._id!r}." if names else "has no id column."),
                    code="no-id-column",
                    hint=f"Its owner registers it with `flaas dataset add NAME FILE --id {self._id}`.",
                )
        holder = self.parties[0]
        target = (self._described[holder]["target"] or {}).get("name")
        if target != self._label:
            raise InvalidInput(
                f"The target of data set {self._datasets[holder]!r} of {holder} is {target!r}, not {self._label!r}.",
                code="no-target",
                hint="Name the column that its owner has registered with --target.",
            )

    def _chosen(self, columns: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        strange = sorted(set(columns) - set(self.parties))
        if strange:
            raise InvalidInput(
                f"Columns are given for {', '.join(strange)}; the parties are {', '.join(self.parties)}.",
                code="bad-parties",
            )
        chosen: dict[str, tuple[str, ...]] = {}
        for party, described in self._described.items():
            known = [str(feature["name"]) for feature in described["features"]]
            chosen[party] = tuple(columns.get(party, known))
            missing = [name for name in chosen[party] if name not in known]
            if missing:
                raise InvalidInput(
                    f"{party} has no column {missing[0]!r}; it has {', '.join(known[:20])}.", code="unknown-columns"
                )
        owners: dict[str, list[str]] = {}
        for party, names in chosen.items():
            for name in names:
                owners.setdefault(name, []).append(party)
        shared = {name: parties for name, parties in owners.items() if len(parties) > 1}
        if shared:
            name, parties = next(iter(shared.items()))
            raise InvalidInput(
                f"Column {name!r} is at {' and '.join(parties)}; in a vertical federation each column is at one.",
                code="overlapping-columns",
                hint="Choose: project.vertical(..., columns={node: [names]}).",
                columns=sorted(shared)[:20],
            )
        return chosen


class ConnectedVerticalTraining:
    """A vertical run on real nodes, followed from this kernel.

    When this kernel is lost the run goes on, and `ConnectedVerticalFederation.resume_vertical` finds it again.
    """

    def __init__(
        self,
        federation: ConnectedVerticalFederation,
        run: dict[str, Any],
        plan: VerticalPlan,
        weights: dict[str, NDArray[Any]],
    ) -> None:
        self.id: str = run["id"]
        self.plan = plan
        """The run's: of a run that is followed anew it has the seed and the starting weights."""
        self._federation, self._weights = federation, weights
        self._session, self._project = federation.project.session, federation.project
        self._pending: list[VerticalRound] = []
        self._rounds = 0
        self._told, self._phase = "", ""
        self._holder: str | None = None
        self._outcome: VerticalOutcome | None = None

    @property
    def outcome(self) -> VerticalOutcome:
        """What the run has left, once `next` has returned None."""
        assert self._outcome is not None, "the run has not completed"
        return self._outcome

    def next(self, *, stop: bool = False, learning_rate: float | None = None) -> VerticalRound | None:
        """Return the next epoch, or None when the run has completed; an interrupt cancels the run.

        Raises
        ------
        FlaasError
            The run failed or was cancelled; the error says why.
        """
        if not self._pending and self._outcome is None:
            self._session._loop.run(self._next(stop, learning_rate))
        return self._pending.pop(0) if self._pending else None

    def cancel(self) -> None:
        """Cancel the run at the coordination API, which tells the nodes."""
        with contextlib.suppress(Conflict):  # it has just ended by itself
            self._session.stop(self.id)

    async def _next(self, stop: bool, learning_rate: float | None) -> None:
        mesh, _ = await self._session.mesh(self._project.description)
        question = {"run": self.id, "after": self._rounds, "stop": stop, "learning_rate": learning_rate}
        while True:
            if self._holder is None:
                self._holder = await wait_for_leader(self._session._coordinator, self.id)
            try:
                message = Message("vertical/follow", {**question, "told": self._told, "phase": self._phase})
                reply = await mesh.call(self._holder, message, timeout=None, limit=LIMIT)
            except Conflict as error:
                if error.code == "no-plan":
                    await self._submit(mesh)
                    continue
                await asyncio.sleep(RETRY)  # not yet aware that it leads
                self._holder = None
                continue
            except (Unreachable, NotFound):
                self._holder = None
                await asyncio.sleep(RETRY)
                continue
            question["learning_rate"] = None
            self._tell(reply.body)
            if reply.body["reports"] or reply.body["ended"]:
                await self._take(reply.body)
                return

    async def _take(self, body: dict[str, Any]) -> None:
        for report in body["reports"]:
            seconds = float(report["seconds"].get("total", 0.0))
            self._pending.append(VerticalRound(int(report["number"]), dict(report["metrics"]), {}, seconds))
            self._rounds = int(report["number"])
        if not body["ended"] or body["reports"]:
            return
        if body["state"] != "completed":
            raise ended_badly(self.id, body["state"], body["reason"])
        states = await self._federation._parts(self.id)
        complete = set(states) == set(self.plan.parties)
        self._outcome = VerticalOutcome(dict(body["parties"]), states if complete else {}, self.id)
        self._federation.outcome = self._outcome

    def _tell(self, body: dict[str, Any]) -> None:
        """Say what has changed: the rows in common, and that the run is paused or goes on."""
        report, paused = body["report"], body["state"] == "paused"
        if report["phase"] != self._phase:
            self._phase = report["phase"]
            if self._phase == "training":
                print(f"Run {self.id}: the parties have {report['intersection']:,} rows in common.", flush=True)
        if paused != (self._told == "paused"):
            why = (body["reason"] or {}).get("message", "")
            told = f"is paused after round {body['round']}. {why}".strip() if paused else "goes on."
            print(f"Run {self.id} {told}", flush=True)
        self._told = "paused" if paused else ""

    async def _submit(self, mesh: Mesh) -> None:
        assert self._holder is not None
        starts = {f"start/{party}": self._weights[party] for party in self.plan.starts}
        message = Message("vertical/submit", {"run": self.id, "plan": self.plan.to_dict()}, starts)
        with contextlib.suppress(Unreachable, NotFound):  # found out by the next question
            await mesh.call(self._holder, message, timeout=120.0, limit=1 << 20)


def _node_ids(project: Project, datasets: Mapping[str, str]) -> dict[str, str]:
    """Return the ids of nodes by their names, which must tell them apart."""
    known: dict[str, list[str]] = {}
    for node in project.session.list(f"/v1/nodes?project={project.id}", "nodes"):
        known.setdefault(node["name"], []).append(node["id"])
    found = {}
    for party in datasets:
        ids = known.get(party, [])
        if not ids:
            raise NotFound(
                f"Project {project.id!r} has no node {party!r}; it has: {', '.join(sorted(known)) or 'none'}.",
                code="unknown-node",
                hint="project.nodes lists them.",
            )
        if len(ids) > 1:
            raise InvalidInput(
                f"Project {project.id!r} has {len(ids)} nodes called {party!r}.",
                code="duplicate-nodes",
                hint="Their organisations give them names of their own.",
            )
        found[party] = ids[0]
    return found


def _other_model(run: str, project: str) -> Conflict:
    return Conflict(
        f"Run {run} does not train this vertical model in project {project!r}, or has not begun.",
        code="other-model",
        hint="Define the model and its parties as they were when the run was started.",
    )


def _architecture(plan: VerticalPlan) -> tuple[Any, ...]:
    """Return what two plans of one model have in common, whatever they start from."""
    weights = {party: [(w.shape, w.dtype) for w in model.weights] for party, model in plan.models.items()}
    return plan.mode, plan.parties, plan.columns, plan.label, plan.widths, plan.encoders, weights


def _starts_digest(plan: VerticalPlan) -> str:
    """Return one digest of the weights that all parts start from."""
    total = hashlib.sha256()
    for party in sorted(plan.starts):
        total.update(f"{party}\0{plan.starts[party]}\0".encode())
    return total.hexdigest()


def _text(value: Any) -> str:
    from .protocols.vertical.ids import canonical_id

    return canonical_id(value).decode()
