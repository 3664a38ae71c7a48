"""Real nodes, from a notebook: ``flaas.connect().project("credit").federation(dataset="loans")``.

The kernel talks to the coordination API about runs (never about weights) and joins the mesh under the user's own key
to hand the initial weights to the aggregator and to get every round's back. All input and output happens on an event
loop of its own thread, so that it works the same in a notebook, a script or a test.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import functools
import secrets
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from numpy.typing import NDArray

from . import mesh_status, signing_in
from .answers import frame
from .communications.coordinator import Bearer, Coordinator, Credentials
from .communications.dial_signal import DialSignal
from .communications.directory import Directory
from .communications.identity import Identity
from .communications.trust import Trust
from .communications.wire import Message
from .connected_costs import Costs
from .connected_runs import API_PATIENCE, ended_badly, wait_for_leader
from .errors import Conflict, NotFound, Unreachable
from .execution import rule_state, run_request
from .execution.checkpoint import digest
from .federation import RoundResult, RunOptions
from .home import Home
from .observability import traces
from .pinned_keys import pin, require_asked
from .plan import columns_digest
from .protocols import combination

if TYPE_CHECKING:
    import pandas as pd

    from .analytics import Analytics, Frame
    from .communications.mesh import Mesh
    from .connected_queries import ConnectedSource
    from .connected_vertical import ConnectedVerticalFederation
    from .exploration import Exploration
    from .plan import TrainingPlan
    from .training.preprocessing import Mapping as ColumnMapping

T = TypeVar("T")
WEIGHTS_LIMIT = 4 << 30
PAUSED_DELAY = 1.0
"""Seconds between two attempts to reach the aggregator of a run that is paused."""


def connect(url: str | None = None, *, token: str | None = None, home: Home | None = None) -> Session:
    """Connect to a coordination API.

    Parameters
    ----------
    url : str, optional
        Default: `FLAAS_URL`, then what ``flaas login`` stored, then ``http://127.0.0.1:8470``.
    token : str, optional
        Default: `FLAAS_TOKEN`, then what ``flaas login`` stored for this URL. Better not written into a notebook.
    home : Home, optional
        Default: `FLAAS_HOME`.

    Returns
    -------
    Session

    Raises
    ------
    NotAuthenticated
        There is no token, or the API does not know it.
    Unreachable
        Nothing answers at the URL.
    """
    home = home or Home.default()
    if token is not None:
        return Session(signing_in.url_of(home, url), Bearer(token), home)
    return Session(*signing_in.caller(home, url), home)


class Session:
    """A signed-in user at a coordination API; `connect` makes one."""

    def __init__(self, url: str, credentials: Credentials, home: Home) -> None:
        traces.start("flaas-notebook")
        self.url = url
        self._home = home
        self._loop = _Loop()
        self._coordinator: Coordinator = self._loop.run(self._open(credentials))
        self._meshes: dict[str, Mesh] = {}
        self._joining = asyncio.Lock()
        self._directories: dict[str, Directory] = {}
        self.me: dict[str, Any] = self.get("/v1/me")
        """Subject, organisation, roles and permissions that the API knows the token by."""
        atexit.register(self.close)

    def __repr__(self) -> str:
        roles = ", ".join(sorted({held["role"] for held in self.me["roles"]})) or "no role"
        return f"<Session at {self.url} as {self.me['subject']} of {self.me['organisation']} ({roles})>"

    async def _open(self, credentials: Credentials) -> Coordinator:
        return Coordinator(self.url, credentials, trust=Trust.of(self._home, self.url))

    @property
    def projects(self) -> pd.DataFrame:
        """One row per project that the caller may see."""
        return frame(self.list("/v1/projects", "projects"), ["id", "name", "description", "organisations"])

    def project(self, project: str) -> Project:
        """Return the project with id `project`.

        Raises
        ------
        NotFound
            There is none, or the caller's organisation is not in it; the message lists those that are there.
        NotAuthenticated
            Code ``wrong-project``: the API answers with another project.
        """
        described = self.get(f"/v1/projects/{project}")
        require_asked(project, described)
        return Project(self, described)

    def run(self, run: str) -> dict[str, Any]:
        """Return what the API knows of one run."""
        return self.get(f"/v1/runs/{run}")

    def stop(self, run: str) -> dict[str, Any]:
        """Cancel a run."""
        return self._loop.run(self._coordinator.post(f"/v1/runs/{run}/cancel", {}))

    def pause(self, run: str) -> dict[str, Any]:
        """Have a run wait after the round under way; whoever fits on it waits too, and is told who has paused it."""
        return self.send("POST", f"/v1/runs/{run}/pause", {})

    def resume(self, run: str) -> dict[str, Any]:
        """Let a paused run go on with its next round."""
        return self.send("POST", f"/v1/runs/{run}/resume", {})

    def quarantine(self, node: str, reason: str) -> dict[str, Any]:
        """Keep the node with id `node` out of runs; everybody in its projects is shown the reason."""
        return self.send("POST", f"/v1/nodes/{node}/quarantine", {"reason": reason})

    def lift_quarantine(self, node: str) -> dict[str, Any]:
        """Let the node with id `node` take part in runs again."""
        return self.send("DELETE", f"/v1/nodes/{node}/quarantine")

    def get(self, path: str) -> dict[str, Any]:
        """GET one resource of the API."""
        return self._loop.run(self._coordinator.get(path))

    def list(self, path: str, key: str) -> list[dict[str, Any]]:
        """GET every page of a list of the API."""

        async def collect() -> list[dict[str, Any]]:
            return [item async for item in self._coordinator.paginate(path, key)]

        return self._loop.run(collect())

    def send(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None
    ) -> dict[str, Any]:
        """POST, PUT or DELETE; a POST with an idempotency `key` is repeated while the API cannot be reached."""
        return self._loop.run(self._coordinator.request(method, path, body, idempotency_key=key))

    @property
    def costs(self) -> Costs:
        """Prices, launches and bills."""
        return Costs(self)

    @property
    def traffic(self) -> dict[str, int]:
        """Bytes this session has exchanged: ``mesh`` with nodes, ``api`` with the coordination API."""
        mesh = sum(mesh.bytes_sent + mesh.bytes_received for mesh in self._meshes.values())
        return {"mesh": mesh, "api": self._coordinator.bytes_sent + self._coordinator.bytes_received}

    def close(self) -> None:
        """Leave the mesh and end the session's thread; runs go on."""
        atexit.unregister(self.close)
        if not self._loop.closed:
            self._loop.run(self._close())
            self._loop.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _close(self) -> None:
        for mesh in self._meshes.values():
            await mesh.close()
        await self._coordinator.close()

    async def mesh(self, project: dict[str, Any]) -> tuple[Mesh, Identity]:
        """Join the project's mesh under the user's key, once."""
        identity = Identity.load_or_create(self._home.key)
        async with self._joining:
            if project["id"] not in self._meshes:
                from .communications.mesh import REFRESH_SECONDS, Mesh
                from .execution.mesh_carrier import open_carrier, signed_record

                pin(self._home.path / "pinned.json", self.url, project["id"], project["domain_key"])
                kept = self._home.domain_statements(project["id"], project["domain_key"])
                directory = Directory(project["id"], project["domain_key"], kept)
                refresh = functools.partial(self._refresh, directory)
                await refresh()
                carrier = await open_carrier(
                    self._home, identity, api=self.url, directories=lambda: [directory], any_port=True
                )
                self._meshes[project["id"]] = await Mesh.open(
                    identity,
                    directory,
                    carrier=carrier,
                    refresh=refresh,
                    refresh_every=REFRESH_SECONDS,
                    signal=DialSignal(
                        self._coordinator,
                        project_of=lambda _: directory.domain,
                        record=lambda _: signed_record(identity, directory, carrier.whereabouts),
                    ),
                )
                self._directories[project["id"]] = directory
        return self._meshes[project["id"]], identity

    async def _refresh(self, directory: Directory) -> None:
        directory.update(await self._coordinator.get(f"/v1/projects/{directory.domain}/directory"))


class Project:
    """One project: its nodes, data sets and runs, and federations to train on."""

    def __init__(self, session: Session, description: dict[str, Any]) -> None:
        self.session = session
        self.id: str = description["id"]
        self.description = description

    def __repr__(self) -> str:
        return f"<Project {self.id!r}: {self.description['name']}>"

    @property
    def nodes(self) -> pd.DataFrame:
        """One row per node of the project."""
        rows = self.session.list(f"/v1/nodes?project={self.id}", "nodes")
        return frame(rows, ["name", "organisation", "state", "last_seen", "datasets", "version", "id"])

    @property
    def mesh(self) -> pd.DataFrame:
        """One row per connection between nodes, as one of them has said within the last minute.

        Columns ``from``, ``to``, ``path`` (``direct``, ``relay`` or ``tls``), ``rtt`` in seconds, ``throughput`` in
        bytes a second of the largest recent transfer, and ``bytes``. Pairs without a row are not connected at present.
        """
        return frame(mesh_status.rows(self.session.get(f"/v1/projects/{self.id}/mesh")), mesh_status.COLUMNS)

    @property
    def datasets(self) -> pd.DataFrame:
        """One row per data set: where it is, how many rows, how many features. Never values."""
        rows = [
            {
                "name": entry["name"],
                "rows": entry["rows"],
                "nodes": [node["node_name"] for node in entry["nodes"]],
                "features": len(entry["features"]),
                "target": entry["target"]["name"] if entry["target"] else None,
            }
            for entry in self._datasets()
        ]
        return frame(rows, ["name", "rows", "nodes", "features", "target"])

    @property
    def runs(self) -> pd.DataFrame:
        """One row per run, newest first."""
        rows = self.session.list(f"/v1/projects/{self.id}/runs", "runs")
        return frame(rows, ["id", "name", "state", "round", "rounds", "dataset", "created", "ended", "created_by"])

    @property
    def models(self) -> pd.DataFrame:
        """One row per version of a model that a run has made, newest first; `state` says what may be done with it."""
        rows = self.session.list(f"/v1/projects/{self.id}/models", "models")
        rows.sort(key=lambda version: (version["created"], version["round"]), reverse=True)
        return frame(rows, ["id", "state", "run", "round", "created", "reason", "digest"])

    def release_model(self, model: str) -> dict[str, Any]:
        """Release a version, or ask those who have to approve.

        Returns
        -------
        dict
            The version, or the request for approval; `federated_report.attrs["model"]` is the id of a fit's version.

        Raises
        ------
        Conflict
            Code ``model-revoked``.
        """
        return self.session.send("POST", f"/v1/models/{model}/release", {})

    def revoke_model(self, model: str, reason: str) -> dict[str, Any]:
        """Revoke a version at once and for good: neither the API nor a node lets a run start from its weights."""
        return self.session.send("POST", f"/v1/models/{model}/revoke", {"reason": reason})

    def federation(self, dataset: str) -> ConnectedFederation:
        """Return the nodes that hold `dataset`, to fit a model on.

        Raises
        ------
        NotFound
            Code ``unknown-dataset``: no node of the project has it; the message lists those that are there.
        """
        datasets = {entry["name"]: entry for entry in self._datasets()}
        if dataset not in datasets:
            known = ", ".join(sorted(datasets)) or "none"
            raise NotFound(
                f"No node of project {self.id!r} holds a data set {dataset!r}; there is: {known}.",
                code="unknown-dataset",
                hint="Its owner registers it with `flaas dataset add`.",
            )
        return ConnectedFederation(self, dataset)

    def vertical(
        self,
        datasets: Mapping[str, str],
        *,
        id: str,
        label: tuple[str, str],
        columns: Mapping[str, Sequence[str]] | None = None,
        minimum_intersection: int | None = None,
    ) -> ConnectedVerticalFederation:
        """Return nodes that have different columns of the same people, to fit a `VerticalModel` on.

        Parameters
        ----------
        datasets : mapping of str to str
            Node name to the data set that it brings.
        id : str
            The column that names whom a row is about.
        label : (str, str)
            The node that holds the label, and its column.
        columns : mapping of str to sequence of str, optional
            Node name to the columns that it uses; all of its features by default.
        minimum_intersection : int, optional
            Rows in common without which a run does not begin; 1,000 by default. Owners may want more.

        Raises
        ------
        InvalidInput, NotFound
            See `ConnectedVerticalFederation`.

        Examples
        --------
        >>> federation = project.vertical(  # doctest: +SKIP
        ...     {"bank": "loans", "telco": "usage"}, id="customer", label=("bank", "default")
        ... )
        """
        from .connected_vertical import ConnectedVerticalFederation

        least = {} if minimum_intersection is None else {"minimum_intersection": minimum_intersection}
        return ConnectedVerticalFederation(self, datasets, id=id, label=label, columns=columns, **least)

    @property
    def recipes(self) -> pd.DataFrame:
        """One row per version of how the nodes' columns are brought together, newest first."""
        rows = self.session.list(f"/v1/projects/{self.id}/recipes", "recipes")
        return frame(rows, ["id", "name", "version", "kind", "created", "created_by", "digest"])

    def save_mapping(self, mapping: ColumnMapping, name: str) -> dict[str, Any]:
        """Keep a mapping as the next version of `name`; what equals the newest is no new one.

        Owners adopt it at their nodes: ``flaas dataset map DATASET RECIPE``, with the id that is returned.

        Returns
        -------
        dict
            The version: ``id``, ``version``, ``digest``, ….
        """
        body = {"name": name, "kind": "mapping", "recipe": mapping.to_dict()}
        path = f"/v1/projects/{self.id}/recipes"
        return self.session.send("POST", path, body, key=secrets.token_hex(16))

    def mapping(self, name: str, version: int | None = None) -> ColumnMapping:
        """Return a version of a mapping that was kept; the newest by default.

        Raises
        ------
        NotFound
            Code ``unknown-recipe``.
        """
        from .adopting import fetch

        rows = self.session.list(f"/v1/projects/{self.id}/recipes?name={quote(name)}", "recipes")
        found = next((row for row in rows if version in (None, row["version"])), None)
        if found is None:
            raise NotFound(
                f"Project {self.id!r} keeps no mapping {name!r}" + (f" of version {version}." if version else "."),
                code="unknown-recipe",
                hint="project.recipes lists them.",
            )
        return fetch(self.session.get(f"/v1/recipes/{found['id']}"))

    def _datasets(self) -> list[dict[str, Any]]:
        return self.session.list(f"/v1/projects/{self.id}/datasets", "datasets")


class ConnectedFederation:
    """The nodes of a project that hold one data set."""

    def __init__(self, project: Project, dataset: str) -> None:
        self.project = project
        self.dataset = dataset
        self._source: ConnectedSource | None = None

    def __repr__(self) -> str:
        return f"<Federation of project {self.project.id!r} on data set {self.dataset!r}>"

    @property
    def clients(self) -> pd.DataFrame:
        """One row per node that holds the data set: ``name``, ``organisation``, ``rows``, ``online``, ``id``."""
        nodes = [{"id": node["node"], "name": node["node_name"], **node} for node in self._description["nodes"]]
        return frame(nodes, ["name", "organisation", "rows", "online", "id"])

    @property
    def names(self) -> dict[str, str]:
        """Each node's id and name."""
        return {str(node["node"]): str(node["node_name"]) for node in self._description["nodes"]}

    @property
    def schema(self) -> pd.DataFrame:
        """One row per column: ``name``, ``dtype``, ``shape``, ``role`` (feature or target)."""
        description = self._description
        columns = [{**feature, "role": "feature"} for feature in description["features"]]
        if description["target"]:
            columns.append({**description["target"], "shape": [], "role": "target"})
        return frame(columns, ["name", "dtype", "shape", "role"])

    @property
    def analytics(self) -> Analytics:
        """Statistics over the rows of all nodes together: ``analytics.mean("age", by="sex")``, see docs/analytics.md.

        `analytics.budget()` shows what private answers have cost.
        """
        from .analytics import Analytics
        from .connected_queries import ConnectedSource

        if self._source is None:
            self._source = ConnectedSource(self)
        return Analytics(self._source)

    def frame(self) -> Frame:
        """Return a lazy table over the rows of all nodes: ``frame[frame.age > 30].groupby("sex").age.mean()``."""
        return self.analytics.frame()

    def explore(self) -> Exploration:
        """Return what may be seen of the data: schema, distributions, missing values, …; see docs/explorer.md."""
        from .connected_exploration import ConnectedExplored
        from .exploration import Exploration

        return Exploration(ConnectedExplored(self))

    def schema_differences(self) -> pd.DataFrame:
        """Return where nodes' columns differ: a row for each column and field, a column for each node.

        Compared is what is told of columns: their types, and the units, ranges, categories and roles that owners have
        declared.
        """
        from .harmonising import differences

        return differences(self._described(), self.names)

    def suggest_mapping(self) -> ColumnMapping:
        """Return a mapping that brings the nodes' columns under common names, units and codes, as far as it is seen.

        `mapping.table` shows it, `mapping.unresolved` what is left for people. `Project.save_mapping` keeps a version,
        which owners adopt at their nodes.
        """
        from .harmonising import suggest

        return suggest(self._described(), self.names)

    def _described(self) -> dict[str, list[dict[str, Any]]]:
        from .exploration.describing import level_of
        from .harmonising import columns_told

        whole = self._description
        tells = [node for node in whole["nodes"] if level_of(node.get("operations")) != "nothing"]
        return {str(node["node"]): columns_told(node.get("columns") or whole) for node in tells}

    @property
    def _description(self) -> dict[str, Any]:
        return next(entry for entry in self.project._datasets() if entry["name"] == self.dataset)

    def train(self, plan: TrainingPlan, weights: NDArray[Any], options: RunOptions) -> ConnectedTraining:
        """Create a run for `plan`; it is under way when the first `next` returns.

        Raises
        ------
        InvalidInput
            Code ``privacy-budget``: the run would spend more than its budget. Further codes are the coordination
            API's, see docs/rest.md.
        """
        combination.plan_privacy(options.privacy, rounds=options.rounds)
        session = self.project.session
        plan = self._with_columns(plan)
        _, identity = session._loop.run(session.mesh(self.project.description))
        body = {
            "name": options.name,
            "dataset": self.dataset,
            "rounds": options.rounds,
            "local_epochs": plan.local_epochs,
            "batch_size": plan.batch_size,
            "secure_aggregation": options.secure_aggregation,
            "clip": options.clip if options.secure_aggregation else None,
            "group_size": options.group_size,
            "sharded": options.sharded,
            "aggregation": options.aggregation,
            "aggregation_options": options.aggregation_options,
            "privacy": options.privacy.to_dict() if options.privacy is not None else None,
            "clients_per_round": options.clients_per_round,
            "minimum_nodes": options.minimum_nodes,
            "seed": options.seed,
            "parameters": plan.parameters,
            "model_digest": plan.digest,
            "submitter": identity.node_id,
            "start_digest": digest(weights),
        }
        # Nodes believe the developer's signature, not the API's word (docs/control.md).
        body["signed"] = run_request.sign(identity, self.project.id, body, time.time())
        run = session._loop.run(
            session._coordinator.post(
                f"/v1/projects/{self.project.id}/runs", body, idempotency_key=secrets.token_hex(16)
            )
        )
        return ConnectedTraining(self.project, run, plan, weights)

    def _with_columns(self, plan: TrainingPlan) -> TrainingPlan:
        """Return the plan with the columns that it is signed for, as far as nodes tell them.

        A plan with preprocessing names its columns itself.
        """
        from .exploration.describing import level_of

        told = self._description
        withheld = all(level_of(node.get("operations")) == "nothing" for node in told["nodes"])
        if plan.preprocessing is not None or withheld:
            return plan
        return dataclasses.replace(plan, columns=columns_digest(told))

    def resume(self, run: str, plan: TrainingPlan, weights: NDArray[Any]) -> ConnectedTraining:
        """Follow run `run` of this project, from its first round on."""
        found = self.project.session.run(run)
        if found["project"] != self.project.id or found["parameters"] != plan.parameters:
            raise _other_model(run, self.project.id)
        return ConnectedTraining(self.project, found, plan, weights, resumed=True)


class ConnectedTraining:
    """A run on real nodes, followed from this kernel.

    When the aggregator is lost, the one elected in its place is followed; when this kernel is, the run goes on and
    ``model.fit(federation, resume=run)`` finds it again.
    """

    def __init__(
        self,
        project: Project,
        run: dict[str, Any],
        plan: TrainingPlan,
        weights: NDArray[Any],
        *,
        resumed: bool = False,
    ) -> None:
        self.id: str = run["id"]
        self.rounds: int = run["rounds"]
        self._resumed = resumed
        self._project, self._plan = project, plan
        self._session = project.session
        self._weights = weights
        # What the aggregation rule remembers with these weights, as it came; kept for another aggregator.
        self._rule: dict[str, Any] | None = {}
        self._rule_tensors: dict[str, NDArray[Any]] = {}
        self._reports: list[dict[str, Any]] = []
        self._pending: list[RoundResult] = []
        self._aggregator: str | None = None
        self._told = ""

    @property
    def version(self) -> str | None:
        """Id of the model version that the rounds so far have made; None before the first."""
        return f"{self.id}-{self._reports[-1]['number']}" if self._reports else None

    def next(self, *, stop: bool = False, learning_rate: float | None = None) -> RoundResult | None:
        """Return the next round's result, or None when the run has completed."""
        if not self._pending:
            self._session._loop.run(self._next(stop, learning_rate))
        return self._pending.pop(0) if self._pending else None

    def evaluated(self, number: int, metrics: Mapping[str, float]) -> None:
        """What the notebook measures on its own data stays there."""

    def cancel(self) -> None:
        """Cancel the run at the coordination API, which tells the nodes."""
        with contextlib.suppress(Conflict):  # it has just ended by itself
            self._session.stop(self.id)

    async def _next(self, stop: bool, learning_rate: float | None) -> None:
        mesh, _ = await self._session.mesh(self._project.description)
        question = {
            "run": self.id,
            "after": len(self._reports),
            "stop": stop,
            "learning_rate": learning_rate,
            "plan": self._resumed,
            "told": self._told,
        }
        while True:
            if self._aggregator is None:
                self._aggregator = await wait_for_leader(self._session._coordinator, self.id)
            try:
                reply = await mesh.call(
                    self._aggregator, Message("run/follow", question), timeout=None, limit=WEIGHTS_LIMIT
                )
            except Conflict as error:
                if error.code != "no-plan":
                    raise
                await self._submit(mesh)
                continue
            except (Unreachable, NotFound):
                # Gone, or not yet aware of its election: ask the API who it is now.
                self._aggregator = None
                await asyncio.sleep(PAUSED_DELAY if self._told == "paused" else 0.05)
                continue
            if reply.body["state"] == "superseded" and not reply.body["reports"]:
                self._aggregator = None  # another was elected in its place
                await asyncio.sleep(0.05)
                continue
            if reply.body["reports"] or reply.body["ended"]:
                self._take(reply)
                return
            question["told"] = self._tell(reply.body)

    def _tell(self, body: Mapping[str, Any]) -> str:
        """Say that the run is paused, by whom, or that it goes on."""
        paused = body["state"] == "paused"
        why = (body["reason"] or {}).get("message", "")
        told = f"is paused after round {body['round']}. {why}".strip() if paused else "goes on."
        print(f"Run {self.id} {told}", flush=True)
        self._told = "paused" if paused else ""
        return self._told

    def _take(self, reply: Message) -> None:
        if self._resumed:
            self._adopt(reply.body["plan"])
        reports = reply.body["reports"]
        if reports:
            self._weights = reply.tensors["weights"]
            self._rule, self._rule_tensors = reply.body["rule"], rule_state.of_message(reply.tensors)
            self._reports += reports
            # Of rounds that were missed while nobody followed, the reports are kept but not the weights.
            self._pending = [RoundResult(int(report["number"]), self._weights, report) for report in reports]
        elif reply.body["ended"] and reply.body["state"] != "completed":
            raise ended_badly(self.id, reply.body["state"], reply.body["reason"])

    def _adopt(self, plan: dict[str, Any]) -> None:
        """Go on with the plan of the run that is resumed; its names may differ, its weights must not."""
        theirs = type(self._plan).from_dict(plan)
        ours = [(spec.shape, spec.dtype) for spec in self._plan.weights]
        if ours != [(spec.shape, spec.dtype) for spec in theirs.weights]:
            raise _other_model(self.id, self._project.id)
        self._plan, self._resumed = theirs, False

    async def _submit(self, mesh: Mesh) -> None:
        assert self._aggregator is not None
        body = {"run": self.id, "plan": self._plan.to_dict(), "reports": self._reports, "rule": self._rule}
        message = Message("run/submit", body, {"weights": self._weights, **self._rule_tensors})
        with contextlib.suppress(Unreachable, NotFound):  # found out by the next question
            await mesh.call(self._aggregator, message, timeout=API_PATIENCE, limit=1 << 20)


def _other_model(run: str, project: str) -> Conflict:
    return Conflict(
        f"Run {run} does not train this model in project {project!r}.",
        code="other-model",
        hint="Define the model as it was when the run was started.",
    )


class _Loop:
    """An event loop in a thread of its own; `run` waits for a coroutine there, and an interrupt cancels it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="flaas", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
