"""A coordination API for the browser tests: the shapes of docs/rest.md, a run that goes on when the test says so."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from .fake_access import FakeAccess, add_access_routes
from .fake_analytics import FakeAnalytics, add_analytics_routes
from .fake_costs import FakeCosts, add_routes
from .fake_mesh import FakeMesh, add_mesh_routes

TOKEN = "browser-test-token"
KEYS = {"hospital-a": "a" * 64, "hospital-b": "b" * 64, "hospital-c": "c" * 64}
ORGANISATIONS = {"hospital-a": "north", "hospital-b": "east", "hospital-c": "south"}
ROUNDS = 10


def at(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Server(uvicorn.Server):
    """Tells when it takes connections."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()


class FakeApi:
    """State, and what the test does to it. Methods may be called from the test's thread."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.nodes = {name: self._node(name) for name in KEYS}
        self.more_datasets: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.rounds: dict[str, list[dict[str, Any]]] = {}
        self._subscribers: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.costs = FakeCosts(self)
        self.access = FakeAccess(self)
        self.analytics = FakeAnalytics(self)
        self.mesh = FakeMesh(self)
        self.app = _application(self)

    # ---- what the test does ---------------------------------------------------------------------

    def start(self) -> None:
        """Serve; returns when connections are taken."""
        started = threading.Event()
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, log_level="warning", lifespan="off")
        server = self._server = _Server(config, started)

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("The fake API did not start.")

    def stop(self) -> None:
        """Close everything, as a crash would."""
        if self._server is None or self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._hang_up)
        self._server.should_exit = True
        self._thread.join(10)
        self._server = None

    def add_run(self, run: str, name: str, state: str = "running", age: float = 60) -> None:
        """A run in which all nodes take part."""
        ended = state in {"completed", "failed", "cancelled"}
        self.rounds[run] = []
        self.runs[run] = {
            "id": run, "name": name, "project": "demo", "dataset": "biopsies", "state": state, "reason": None,
            "waiting_for": "3 nodes that hold biopsies; 2 are online" if state == "queued" else None,
            "rounds": ROUNDS, "round": 0, "local_epochs": 3, "batch_size": 32, "secure_aggregation": True,
            "aggregation": "fedavg", "aggregation_options": {},
            "privacy": {"epsilon": 8.0, "delta": 1e-5, "clip": 1.0, "mode": "central"},
            "clients_per_round": None, "minimum_nodes": 3, "seed": 7, "parameters": 385,
            "term": 1, "aggregator": KEYS["hospital-b"], "created_by": "ana", "organisation": "north",
            "created": at(-age), "started": at(-age), "ended": at() if ended else None,
            "participants": [
                {"node": key, "name": node, "organisation": ORGANISATIONS[node], "state": "accepted", "reason": None,
                 "rows": 120 + 30 * index, "online": True}
                for index, (node, key) in enumerate(KEYS.items())
            ],
        }  # fmt: skip
        self.emit("run.created", run=run, data={})

    def advance(self, run: str) -> int:
        """The next round is done; return its number."""
        number = len(self.rounds[run]) + 1
        report = {
            "number": number, "term": 1, "started": at(),
            "seconds": {"training": 0.41, "masking": 0.012, "transfer": 0.034, "aggregation": 0.006},
            "bytes": {"up": 14_200 + number, "down": 9_300},
            "metrics": {
                "loss": round(0.65 * 0.8**number + 0.05, 4), "accuracy": round(0.97 - 0.4 * 0.75**number, 4),
                "val_loss": round(0.7 * 0.82**number + 0.07, 4), "val_accuracy": round(0.95 - 0.4 * 0.77**number, 4),
            },
            "clients": [{"node": key, "examples": 120, "weight": 1 / 3} for key in KEYS.values()],
            "dropped": [] if number != 2 else [{"node": KEYS["hospital-c"], "phase": "masking", "reason": "silent"}],
            "clipped": 0.0, "error_bound": 1e-6, "epsilon": round(0.9 * number**0.5, 3),
        }  # fmt: skip
        self.rounds[run].append(report)
        self.runs[run]["round"] = number
        self.emit("run.round", run=run, data=report)
        if number == ROUNDS:
            self.set_state(run, "completed")
        return number

    def set_state(self, run: str, state: str, reason: dict[str, Any] | None = None) -> None:
        before, self.runs[run]["state"] = self.runs[run]["state"], state
        self.runs[run]["reason"] = reason
        self.emit("run.state", run=run, data={"from": before, "to": state, "reason": reason})

    def set_online(self, name: str, online: bool) -> None:
        node = self.nodes[name]
        node["state"], node["last_seen"] = ("online", at()) if online else ("offline", at(-300))
        for run in self.runs.values():
            for participant in run["participants"]:
                if participant["name"] == name:
                    participant["online"] = online
        self.emit("node.online" if online else "node.offline", node=node["id"], data={})

    def add_node(self, name: str) -> str:
        """A launched machine joins the project and offers biopsies; return its id."""
        node = {**self.nodes["hospital-a"], "id": name.encode().hex().ljust(64, "0"), "name": name, "last_seen": at()}
        self.nodes[name] = node
        self.emit("node.online", node=node["id"], data={})
        return node["id"]

    # ---- what the application reads -----------------------------------------------------------------

    def shown(self, run: str) -> dict[str, Any]:
        """The run with the links that it has now."""
        body = self.runs[run]
        links: dict[str, Any] = {"self": {"href": f"/v1/runs/{run}"}}
        if body["state"] in {"queued", "gathering", "running", "paused", "finishing"}:
            links["cancel"] = {"href": f"/v1/runs/{run}/cancel", "method": "POST"}
        if body["state"] in {"running", "paused"} and self.access.may("run:pause"):
            relation = "pause" if body["state"] == "running" else "resume"
            links[relation] = {"href": f"/v1/runs/{run}/{relation}", "method": "POST"}
        return {**body, "_links": links}

    def shown_node(self, node: dict[str, Any]) -> dict[str, Any]:
        """The node with the links that it has now."""
        href = f"/v1/nodes/{node['id']}"
        links: dict[str, Any] = {"self": {"href": href}}
        if self.access.may("node:quarantine"):
            link = {"href": f"{href}/quarantine", "method": "DELETE" if node.get("quarantined") else "POST"}
            links["release" if node.get("quarantined") else "quarantine"] = link
        return {**node, "_links": links}

    async def follow(self, after: int | None) -> AsyncIterator[str]:
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._subscribers.add(queue)
        try:
            yield ": hello\n\n"
            last = len(self.log) if after is None else after
            for event in self.log[last:]:
                last = event["id"]
                yield _sse(event)
            while (event := await queue.get()) is not None:
                if event["id"] > last:
                    last = event["id"]
                    yield _sse(event)
        finally:
            self._subscribers.discard(queue)

    def _node(self, name: str) -> dict[str, Any]:
        return {
            "id": KEYS[name], "name": name, "organisation": ORGANISATIONS[name], "projects": ["demo"],
            "state": "online", "last_seen": at(), "version": "0.1.0", "registered": at(-86_400),
            "datasets": ["biopsies"], "addresses": 1,
        }  # fmt: skip

    def emit(self, kind: str, *, run: str | None = None, node: str | None = None, data: dict[str, Any]) -> None:
        """Tell everybody who listens to the project's events."""
        about = {"project": "demo", "run": run, "node": node}
        event = {"id": len(self.log) + 1, "type": kind, "time": at(), **about, "data": data}
        self.log.append(event)
        if self._server is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell, event)

    def _tell(self, event: dict[str, Any]) -> None:
        for queue in self._subscribers:
            queue.put_nowait(event)

    def _hang_up(self) -> None:
        for queue in self._subscribers:
            queue.put_nowait(None)


def _sse(event: dict[str, Any]) -> str:
    return f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"


def _hal(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), media_type="application/hal+json")


def _list(plural: str, items: list[dict[str, Any]]) -> Response:
    return _hal({"_links": {"self": {"href": "."}}, "_embedded": {plural: items}})


def _problem(status: int, code: str, title: str, detail: str, hint: str = "") -> Response:
    body = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code, "hint": hint}
    return JSONResponse(body, status, media_type="application/problem+json")


def _application(fake: FakeApi) -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def signed_in(request: Request, forward: Any) -> Response:
        fake.requests.append((request.method, request.url.path))
        public = request.url.path == "/" or request.url.path.startswith("/oauth/")
        if not public and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _problem(
                401, "not-authenticated", "The token is not known", "Nobody is known by this token.",
                "Ask your administrator for a new one.",
            )  # fmt: skip
        return await forward(request)

    @app.get("/")
    def entry_point() -> Response:
        return _hal({"name": "flaas", "version": "0.1.0", "api": "v1"})

    @app.get("/v1/me")
    def me() -> Response:
        return _hal(fake.access.me())

    @app.get("/v1/projects")
    def projects() -> Response:
        organisations = sorted(set(ORGANISATIONS.values()))
        demo = {"id": "demo", "name": "Breast cancer", "description": "", "organisations": organisations}
        return _list("projects", [demo, {**demo, "id": "empty", "name": "Empty project"}])

    @app.get("/v1/projects/{project}")
    def project(project: str) -> Response:
        return _hal({"id": project, "name": "Breast cancer", "description": "", "organisations": ["north"]})

    @app.get("/v1/nodes")
    def nodes(project: str) -> Response:
        return _list("nodes", [fake.shown_node(node) for node in fake.nodes.values()] if project == "demo" else [])

    @app.get("/v1/projects/{project}/datasets")
    def datasets(project: str) -> Response:
        holders = [
            {"node": node["id"], "node_name": node["name"], "organisation": node["organisation"], "rows": 120 + 30 * i,
             "online": node["state"] == "online"}
            for i, node in enumerate(fake.nodes.values())
        ]  # fmt: skip
        features = [{"name": f"feature {number}", "dtype": "float64", "shape": []} for number in range(30)]
        target = {"name": "malignant", "dtype": "int64", "kind": "binary", "classes": 2}
        biopsies = {"name": "biopsies", "rows": 450, "nodes": holders, "features": features, "target": target}
        return _list("datasets", [biopsies, *fake.more_datasets] if project == "demo" else [])

    @app.get("/v1/projects/{project}/runs")
    def runs(project: str) -> Response:
        return _list("runs", [fake.shown(run) for run in fake.runs] if project == "demo" else [])

    @app.get("/v1/runs/{run}")
    def run(run: str) -> Response:
        if run not in fake.runs:
            return _problem(404, "unknown-run", "No such run", f"There is no run {run}.")
        return _hal(fake.shown(run))

    @app.get("/v1/runs/{run}/rounds")
    def rounds(run: str) -> Response:
        return _list("rounds", fake.rounds[run])

    @app.post("/v1/runs/{run}/cancel")
    def cancel(run: str) -> Response:
        fake.set_state(run, "cancelled")
        return _hal(fake.shown(run))

    @app.get("/v1/runs/{run}/events")
    def run_events(run: str) -> Response:
        return _list("events", [event for event in fake.log if event["run"] == run])

    @app.get("/v1/projects/{project}/events")
    async def events(project: str, request: Request, after: int | None = None) -> Response:
        last = request.headers.get("Last-Event-ID")
        since = int(last) if last else after
        if "text/event-stream" in request.headers.get("Accept", ""):
            return StreamingResponse(fake.follow(since), media_type="text/event-stream")
        return _list("events", [event for event in fake.log if event["id"] > (since or 0)])

    add_routes(app, fake)
    add_access_routes(app, fake, TOKEN)
    add_analytics_routes(app, fake)
    add_mesh_routes(app, fake)
    return app
