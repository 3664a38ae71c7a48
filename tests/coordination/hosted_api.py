"""A real API process (uvicorn in a thread), and the people and nodes that talk to it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.routing import Match

from flaas_jupyter.communications.directory import Membership, Record, sign_membership
from flaas_jupyter.communications.identity import REGISTER, Identity, canonical, request_token, sign_document
from flaas_jupyter.communications.network import Network, RelaySite, sign_network
from flaas_jupyter.communications.revocation import Revocation, sign_revocation
from flaas_jupyter.communications.upload_key import UPLOAD_KEY
from flaas_jupyter.coordination.app import create_app
from flaas_jupyter.coordination.founding import PLATFORM, found
from flaas_jupyter.coordination.meanings import MEANINGS
from flaas_jupyter.coordination.routes import ROUTERS
from flaas_jupyter.coordination.schemas import Problem
from flaas_jupyter.coordination.server import _Server, listen
from flaas_jupyter.coordination.settings import Settings

Json = dict[str, Any]
WAIT = 20.0
DAY = 86_400

QUICK = {
    "gather_timeout": 60.0,
    "aggregator_timeout": 0.3,
    "patience": 60.0,
    "start_grace": 0.0,
    "heartbeat": 0.2,
    "online_window": 60.0,
    "keepalive": 0.2,
    "poll": 0.1,
    "tick": 0.02,
    "bill_every": 0.0,
}


class Api:
    """The API on a data base, at a port of its own; `stop` it."""

    def __init__(self, database_url: str, **settings: Any) -> None:
        self.first_tokens = found(database_url)  # none if the data base has administrators
        self.settings = Settings(database_url=database_url, **{**QUICK, **settings})
        self.app = create_app(self.settings)
        self.hosted = self.app.state.hosted
        listener = listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        up = threading.Event()
        config = uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=3, lifespan="on")
        self._server = _QuickServer(config, self.hosted, up.set)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self.opened: list[Any] = []
        self._thread.start()
        assert up.wait(WAIT), "the API does not start"

    def stop(self) -> None:
        """End it as SIGTERM would."""
        for connection in self.opened:
            connection.close()
        self._server.should_exit = True
        self._thread.join(WAIT)
        assert not self._thread.is_alive(), "the API does not stop"

    def as_person(self, token: str | None) -> Caller:
        """Return a caller with `token`; nobody with None."""
        return Caller(self, lambda method, url: {} if token is None else {"Authorization": f"Bearer {token}"})

    def as_node(self, identity: Identity) -> Caller:
        """Return a caller that signs each request with `identity`."""
        return Caller(self, lambda method, url: {"Authorization": f"FlaasNode {request_token(identity, method, url)}"})


class _QuickServer(_Server):
    """Looks more often whether it should stop, and whether it has; `test_server` has the real one."""

    async def main_loop(self) -> None:
        while not await self.on_tick(1):
            await asyncio.sleep(0.005)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hosted.log.close()
        for server in self.servers:
            server.close()
        while self.server_state.tasks:
            await asyncio.sleep(0.005)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self.lifespan.shutdown()


class Caller:
    """Somebody who calls the API. Every answer is held against the published description of the interface."""

    def __init__(self, api: Api, sign: Callable[[str, str], dict[str, str]]) -> None:
        self._api = api
        self._sign = sign
        self._http = httpx.Client(base_url=api.url, timeout=3 * WAIT, trust_env=False, verify=False)
        api.opened.append(self._http)

    def call(self, method: str, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """Make a request; whatever it answers."""
        headers = {**self._sign(method, self._api.url + path), **options.pop("headers", {})}
        response = self._http.request(method, path, json=json, headers=headers, **options)
        check_answer(response)
        return response

    def get(self, path: str, **options: Any) -> Json:
        """GET what must be there."""
        return self._done(self.call("GET", path, **options))

    def post(self, path: str, json: Any = None, **options: Any) -> Json:
        """POST what must be accepted."""
        return self._done(self.call("POST", path, {} if json is None else json, **options))

    def put(self, path: str, json: Any, **options: Any) -> Json:
        """PUT what must be accepted."""
        return self._done(self.call("PUT", path, json, **options))

    def refused(self, method: str, path: str, json: Any = None, **options: Any) -> tuple[int, str]:
        """Make a request that must be refused; return status and code."""
        response = self.call(method, path, json, **options)
        assert response.status_code >= 400, response.text
        return response.status_code, response.json()["code"]

    def problem(self, method: str, path: str, json: Any = None, **options: Any) -> Json:
        """Make a request that must be refused; return the problem."""
        response = self.call(method, path, json, **options)
        assert response.status_code >= 400, response.text
        return response.json()

    def matching(self, path: str) -> dict[str, str]:
        """Return the If-Match header of what is at `path` now."""
        return {"If-Match": self.call("GET", path).headers["ETag"]}

    def embedded(self, path: str, name: str) -> list[Json]:
        """GET every page of a list."""
        entries: list[Json] = []
        while True:
            page = self.get(path)
            entries += page["_embedded"][name]
            if "next" not in page["_links"]:
                return entries
            path = page["_links"]["next"]["href"]

    def follow(self, path: str, last: int | None = None) -> Stream:
        """Open an event stream."""
        stream = Stream(self._api.port, path, self._sign("GET", self._api.url + path), last)
        self._api.opened.append(stream)
        return stream

    @staticmethod
    def _done(response: httpx.Response) -> Json:
        assert response.is_success, response.text
        return response.json() if response.content else {}


class Stream:
    """An event stream over a plain socket, so that it can be cut in every way a network can."""

    def __init__(self, port: int, path: str, headers: dict[str, str], last: int | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        sent = {**headers, "Host": f"127.0.0.1:{port}", "Accept": "text/event-stream"}
        if last is not None:
            sent["Last-Event-ID"] = str(last)
        # HTTP/1.0: the body comes as it is, without chunks.
        lines = [f"GET {path} HTTP/1.0", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def lines(self) -> Iterator[str]:
        """Yield what comes, comments too, until the stream ends."""
        for line in self._file:
            yield line.decode().rstrip("\n")

    def next(self) -> Json:
        """Return the next event; it takes what the fields say and holds them against the data."""
        fields = self.fields()
        event: Json = json.loads(fields["data"])
        assert (fields["id"], fields["event"]) == (str(event["id"]), event["type"])
        return event

    def fields(self) -> dict[str, str]:
        """Return the next event as it was sent."""
        fields: dict[str, str] = {}
        give_up = time.monotonic() + WAIT
        for line in self.lines():
            assert time.monotonic() < give_up, f"no event for {WAIT} s"
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                return fields
        raise EOFError("the stream has ended")

    def until(self, type: str, **data: Any) -> Json:
        """Return the first event of `type` with `data` among its data or fields."""
        while True:
            event = self.next()
            if event["type"] == type and all({**event["data"], **event}[k] == v for k, v in data.items()):
                return event

    def close(self) -> None:
        """Close the connection, as an orderly process does and as the kernel does for one that was killed."""
        self._file.close()
        self._socket.close()

    def reset(self) -> None:
        """Cut the connection without a word (RST)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


@dataclass
class Node:
    """A node: its key, its organisation, and how it talks to the API."""

    federation: Federation
    name: str
    organisation: str
    identity: Identity
    sequence: int = 0
    stream: Stream | None = None

    @property
    def id(self) -> str:
        return self.identity.node_id

    @property
    def api(self) -> Caller:
        return self.federation.api.as_node(self.identity)

    @property
    def path(self) -> str:
        return f"/v1/nodes/{self.id}"

    def registration(self, **changes: Any) -> Json:
        """Return the body that registers the node."""
        name = changes.get("name", self.name)
        proof = canonical({"id": self.id, "name": name, "organisation": self.organisation})
        return {
            "id": self.id,
            "name": self.name,
            "projects": [self.federation.project],
            "version": "0.1.0",
            "proof": self.identity.sign(REGISTER, proof).hex(),
            **changes,
        }

    def register(self, **changes: Any) -> httpx.Response:
        """Register by the operator of its organisation."""
        operator = self.federation.person("operator", self.organisation)
        return operator.call("POST", "/v1/nodes", self.registration(**changes))

    def come_online(self, last: int | None = None) -> Node:
        """Hold the event stream."""
        self.stream = self.api.follow(f"{self.path}/events", last)
        assert self.stream.status == 200
        return self

    def go_offline(self) -> None:
        """Let go of it."""
        assert self.stream is not None
        self.stream.close()
        self.stream = None

    def record(self, **changes: Any) -> Json:
        """Return the next signed directory record."""
        self.sequence += 1
        body = {
            "domain": self.federation.project,
            "node_id": self.id,
            "addresses": ("127.0.0.1:4000",),
            "tls": (),
            "relays": (),
            "sequence": self.sequence,
            "issued": 1_790_000_000,
            "expires": 1_790_000_900,
            **changes,
        }
        return Record(**body).sign(self.identity)

    def upload_key(self, **changes: Any) -> Json:
        """Return the statement of an upload key."""
        now = int(time.time())
        body = {"v": 1, "node": self.id, "key": "12" * 32, "created": now, "expires": now + 3600, **changes}
        return sign_document(self.identity, UPLOAD_KEY, body)

    def describe(self, name: str = "loans", **changes: Any) -> httpx.Response:
        """Tell of a data set."""
        return self.api.call("PUT", f"{self.path}/datasets/{name}", description(name, **changes))

    def answer(self, run: str, state: str = "accepted", reason: Json | None = None) -> httpx.Response:
        """Answer an invitation."""
        path = f"/v1/runs/{run}/assignments/{self.id}"
        return self.api.call("PUT", path, {"state": state, "reason": reason})

    def move(self, run: str, to: str, term: int = 1, reason: Json | None = None) -> httpx.Response:
        """Report as aggregator."""
        body = {"to": to, "term": term, "reason": reason}
        return self.api.call("POST", f"/v1/runs/{run}/transitions", body)

    def report(self, run: str, number: int, /, term: int = 1, **changes: Any) -> httpx.Response:
        """Report a round as aggregator."""
        return self.api.call("PUT", f"/v1/runs/{run}/rounds/{number}", self.round(number, **{"term": term, **changes}))

    def round(self, number: int, /, term: int = 1, **changes: Any) -> Json:
        """Return the report of a round."""
        return {
            "number": number,
            "term": term,
            "started": "2026-01-01T00:00:00Z",
            "seconds": {"train": 0.5},
            "bytes": {"up": 10, "down": 20},
            "metrics": {"loss": 0.25},
            "clients": [{"node": self.id, "examples": 100, "weight": 1.0, "columns": {"votes": 1.5}}],
            "dropped": [],
            "clipped": 0.0,
            "epsilon": None,
            **changes,
        }

    @property
    def state(self) -> str:
        return self.federation.admin.get(self.path)["state"]


@dataclass
class Federation:
    """Organisations north, south and west in project ``credit``, a laboratory that trains, and one outsider."""

    api: Api
    people: dict[tuple[str, str], str] = field(default_factory=dict)
    project: str = "credit"
    domain_key: Identity = field(default_factory=lambda: Identity(b"d" * 32))
    nodes: dict[str, Node] = field(default_factory=dict)

    ORGANISATIONS = ("north", "south", "west", "laboratory")

    def found(self) -> None:
        """Create it in an empty data base."""
        for name in (*self.ORGANISATIONS, "elsewhere"):
            self.admin.post("/v1/organisations", {"id": name, "name": name.capitalize()})
            for role in ("operator", "developer", "cost-manager", "viewer"):
                self.person(role, name)
        self.admin.post("/v1/projects", self.project_body())
        self.admin.post("/v1/projects", self.project_body(id="other", organisations=["elsewhere"]))

    @property
    def admin(self) -> Caller:
        """Who creates organisations and projects."""
        return self.person("org-admin", PLATFORM)

    @property
    def governor(self) -> Caller:
        """Who says which roles people have."""
        return self.person("governance-admin", PLATFORM)

    @property
    def developer(self) -> Caller:
        return self.person("developer", "laboratory")

    @property
    def nobody(self) -> Caller:
        return self.api.as_person(None)

    @property
    def path(self) -> str:
        return f"/v1/projects/{self.project}"

    def project_body(self, **changes: Any) -> Json:
        """Return the body that creates the project."""
        return {
            "id": self.project,
            "name": "Credit risk",
            "description": "Who pays back",
            "domain_key": self.domain_key.node_id,
            "organisations": list(self.ORGANISATIONS),
            **changes,
        }

    def person(self, role: str, organisation: str) -> Caller:
        """Return somebody with `role` in `organisation`."""
        if (role, organisation) not in self.people:
            body = {
                "id": f"{role}.{organisation}",
                "kind": "service",
                "organisation": organisation,
                "roles": [{"role": role, "scope": f"organisation:{organisation}"}],
            }
            self.people[role, organisation] = self.governor.post("/v1/users", body)["token"]
        return self.api.as_person(self.people[role, organisation])

    def node(self, name: str, *, organisation: str | None = None, online: bool = False, **data: Any) -> Node:
        """Return a registered node that holds the data set ``loans``."""
        seed = name.encode().ljust(32, b".")[:32]
        node = Node(self, name, organisation or name, Identity(seed))
        assert node.register().status_code == 201
        self.nodes[name] = node
        assert node.describe(**data).is_success
        return node.come_online() if online else node

    def foreign_node(self) -> Node:
        """Return a node of ``elsewhere``, registered in a project that nobody else is in."""
        node = Node(self, "stranger", "elsewhere", Identity(b"s" * 32))
        assert node.register(projects=["other"]).status_code == 201
        return node

    def three(self) -> list[Node]:
        """Return nodes north, south and west, online."""
        return [self.node(name, online=True) for name in ("north", "south", "west")]

    def run(self, **changes: Any) -> Json:
        """Create a run as the developer."""
        return self.developer.post(f"{self.path}/runs", run_body(**changes))

    def read(self, run: str) -> Json:
        """Return the run as the developer sees it."""
        return self.developer.get(f"/v1/runs/{run}")

    def led_run(self, nodes: list[Node], **changes: Any) -> tuple[str, Node, list[Node]]:
        """Return a run that `nodes` have accepted, its aggregator, and the others."""
        run = self.run(**changes)["id"]
        for node in nodes:
            assert node.answer(run).is_success
        leader = self.read(run)["aggregator"]
        return run, next(n for n in nodes if n.id == leader), [n for n in nodes if n.id != leader]

    def membership(self, node_id: str, organisation: str, **changes: Any) -> Json:
        """Return a membership signed by the domain key."""
        body = {
            "domain": self.project,
            "node_id": node_id,
            "organisation": organisation,
            "roles": ("node",),
            "not_before": 1_700_000_000,
            "not_after": 1_700_000_000 + 9999 * DAY,
            "serial": 1,
            **changes,
        }
        return sign_membership(self.domain_key, Membership(**body))

    def revocation(self, node_id: str, serial: int = 1, **changes: Any) -> Json:
        """Return a revocation signed by the domain key."""
        body = {"domain": self.project, "node_id": node_id, "serial": serial, "reason": "", "time": 1_790_000_000}
        return sign_revocation(self.domain_key, Revocation(**{**body, **changes}))

    def network(self, serial: int = 1, **changes: Any) -> Json:
        """Return a network document signed by the domain key."""
        relays = (RelaySite("Frankfurt", "https://relay.example"),)
        given = {"domain": self.project, "relays": relays, **changes}
        return sign_network(self.domain_key, Network(serial=serial, **given))

    def follow(self, last: int | None = None) -> Stream:
        """Follow the project's events as the developer."""
        return self.developer.follow(f"{self.path}/events", last)

    def moved_on(self, api: Api) -> None:
        """Talk to another API process on the same data base."""
        self.api = api


def description(name: str = "loans", **changes: Any) -> Json:
    """Return a data set's description."""
    return {
        "name": name,
        "projects": ["credit"],
        "rows": 100,
        "features": [
            {"name": "age", "dtype": "float32", "shape": []},
            {"name": "income", "dtype": "float32", "shape": []},
        ],
        "target": {"name": "default", "dtype": "int64", "kind": "binary", "classes": 2},
        **changes,
    }


def run_body(**changes: Any) -> Json:
    """Return the body that creates a run."""
    return {
        "dataset": "loans",
        "rounds": 5,
        "local_epochs": 1,
        "batch_size": 32,
        "secure_aggregation": False,
        "aggregation": "fedavg",
        "aggregation_options": {},
        "privacy": None,
        "clients_per_round": None,
        "minimum_nodes": None,
        "seed": 7,
        "parameters": 385,
        "model_digest": "ab" * 32,
        "submitter": "cd" * 32,
        **changes,
    }


def upload_body(node: Node, **changes: Any) -> Json:
    """Return the body that opens an upload to a node."""
    body = {"id": "ab" * 16, "node": node.id, "dataset": "sent", "size": 1 << 31, "digest": "ef" * 32}
    return {**body, "submitter": "cd" * 32, **changes}


def query_body(**changes: Any) -> Json:
    """Return the body that opens a query."""
    return {"dataset": "loans", "operation": "mean", "digest": "ab" * 32, "submitter": "cd" * 32, **changes}


ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def route_of(method: str, path: str) -> APIRoute | None:
    """Return the route that answers a request."""
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    return next((route for route in ROUTES if route.matches(scope)[0] is Match.FULL), None)


def check_answer(response: httpx.Response) -> None:
    """Every problem is one with a page of its own; every success is what the OpenAPI description says it is."""
    media = response.headers.get("Content-Type", "").partition(";")[0]
    if response.status_code >= 400:
        assert media == "application/problem+json", response.text
        problem = Problem.model_validate(response.json())
        assert problem.status == response.status_code
        assert problem.code in MEANINGS, f"{problem.code} has no page under /problems"
        assert problem.hint, f"{problem.code} does not say what to do"
        assert ("WWW-Authenticate" in response.headers) == (response.status_code == 401)
        return
    route = route_of(response.request.method, response.request.url.path)
    if media == "application/hal+json" and route is not None and response.content:
        model = route.responses.get(response.status_code, {}).get("model", route.response_model)
        assert model is not None
        TypeAdapter(model).validate_json(response.content, strict=True)
