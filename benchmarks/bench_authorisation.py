"""Requests per second with authorisation / without, at 64 connections over real sockets, on SQLite.

Two processes of uvicorn serve the hosted app on one data base. In one of them ``GET /v1/projects/{id}`` is called by a
viewer with a token: it is recognised, its session's grants are read, and the project is looked up among those that it
sees. In the other that endpoint is given a caller who may see everything: nobody is recognised and nothing narrowed.
What is left is the same: server, routing, the transaction, the row and the answer. Before each round the other process
answers as many requests, so that what disturbs the machine disturbs both; the client takes its share of the machine's
cores in both cases.

``ratio``: requests per second with authorisation over those without, each in its best round.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response

from flaas_jupyter.coordination.access import View
from flaas_jupyter.coordination.app import create_app
from flaas_jupyter.coordination.calls import Call
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.founding import found
from flaas_jupyter.coordination.routes import ROUTERS, projects
from flaas_jupyter.coordination.schemas import Project as Shown
from flaas_jupyter.coordination.server import listen
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.coordination.tables import Organisation, Project, ProjectOrganisation
from flaas_jupyter.governance import tokens
from flaas_jupyter.governance.identity import Caller
from flaas_jupyter.governance.permissions import GOVERNANCE_ADMIN
from flaas_jupyter.governance.scopes import PLATFORM

CONNECTIONS, REQUESTS, ROUNDS = 64, 500, 5
PROJECTS = 50
PATH, OPERATION = "/v1/projects/{project_id}", "project:read"
VIEWER, PASSWORD = "vera", "seven unrelated words in a row"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Served:
    """The two processes, and what the viewer shows them."""

    open: int
    guarded: int
    credentials: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app with and without authorisation on one data base with a viewer of 50 projects."""
    folder = tmp_path_factory.mktemp("authorisation")
    spawn = multiprocessing.get_context("spawn")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FLAAS_HOME", str(folder / "home"))
        url = f"sqlite:///{folder / 'flaas.db'}"
        governor = found(url)[GOVERNANCE_ADMIN]
        _fill(url)
        processes: list[Any] = []
        ports: list[int] = []
        for guarded in (True, False):
            receiving, sending = spawn.Pipe(duplex=False)
            processes.append(spawn.Process(target=_serve, args=(url, guarded, sending), daemon=True))
            processes[-1].start()
            assert receiving.poll(60), "the API does not start"
            ports.append(receiving.recv())
        try:
            credentials = {"access token": _sign_in(ports[0], governor), "personal token": _token(url)}
            yield Served(open=ports[1], guarded=ports[0], credentials=credentials)
        finally:
            for process in processes:
                process.terminate()
                process.join(20)


@pytest.mark.parametrize("kind", ["personal token", "access token"])
def test_requests_over_those_without_authorisation(benchmark: Any, served: Served, kind: str) -> None:
    credentials = served.credentials[kind]
    without: list[float] = []
    for port in (served.open, served.guarded):
        asyncio.run(_ask(port, credentials, REQUESTS // 5))  # statements are compiled, connections opened

    def setup() -> None:
        began = time.perf_counter()
        asyncio.run(_ask(served.open, credentials, REQUESTS))
        without.append(time.perf_counter() - began)

    def ask() -> None:
        asyncio.run(_ask(served.guarded, credentials, REQUESTS))

    benchmark.pedantic(ask, setup=setup, rounds=ROUNDS)
    fastest = benchmark.stats.stats.min
    benchmark.extra_info |= {
        "baseline": "the same endpoint for a fixed caller who may see everything",
        "connections": CONNECTIONS,
        "requests_per_second": REQUESTS / fastest,
        "requests_per_second_without": REQUESTS / min(without),
        "ratio": min(without) / fastest,
    }


def test_without_a_token_the_guarded_one_answers_nobody(served: Served) -> None:
    """What is compared is what is meant to be compared."""
    assert httpx.get(f"http://{HOST}:{served.guarded}/v1/projects/project-0", trust_env=False).status_code == 401
    assert httpx.get(f"http://{HOST}:{served.open}/v1/projects/project-0", trust_env=False).status_code == 200


def _serve(url: str, guarded: bool, port: Connection) -> None:
    """Serve the API; tell its port once it listens."""
    app = create_app(Settings(database_url=url))
    if not guarded:
        _open(app)
    listener = listen(HOST, 0)
    port.send(listener.getsockname()[1])
    uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on")).run(sockets=[listener])


def _open(app: FastAPI) -> None:
    """Put the same endpoint for a fixed caller who may see everything where the guarded one is."""
    hosted = app.state.hosted
    caller = Caller("anybody", "user", "platform", {OPERATION: frozenset({PLATFORM})}, (("viewer", PLATFORM),))

    async def anybody(request: Request) -> Call:
        return Call(hosted, request, View.of(caller, hosted.settings, OPERATION))

    def read_project(project_id: str, call: Any = Depends(anybody)) -> Response:  # noqa: B008 - the hook of this app
        return projects.read_project(project_id, call)

    routes = app.router.routes
    place = len(routes) - len(ROUTERS) + ROUTERS.index(projects.router)
    app.add_api_route(PATH, read_project, response_model=Shown)
    routes.insert(place, routes.pop())


def _fill(url: str) -> None:
    """Write an organisation and its projects."""
    database = Database(url)
    now = datetime.now(UTC)
    with database.writing() as session:
        session.add(Organisation(id="north", name="North", created=now))
        session.flush()
        for number in range(PROJECTS):
            name = f"project-{number}"
            session.add(Project(id=name, name=name, description="", domain_key=bytes(32).hex(), created=now))
            session.flush()
            session.add(ProjectOrganisation(project=name, organisation="north"))
    database.close()


def _sign_in(port: int, governor: str) -> str:
    """Invite the viewer, who accepts; return the access token."""
    with httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False, timeout=60) as http:
        roles = [{"role": "viewer", "scope": "organisation:north"}]
        body = {"id": VIEWER, "organisation": "north", "email": "vera@north.example", "roles": roles}
        made = http.post("/v1/users", json=body, headers={"Authorization": f"Bearer {governor}"})
        assert made.status_code == 201, made.text
        grant = "urn:flaas:params:oauth:grant-type:invitation"
        form = {"client_id": "flaas-cli", "grant_type": grant, "invitation": made.json()["invitation"]}
        answer = http.post("/oauth/token", data={**form, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


def _token(url: str) -> str:
    """Return a personal token of the viewer."""
    database = Database(url)
    with database.writing() as session:
        _, plain = tokens.issue(session, user=VIEWER, organisation="north", note="benchmark")
    database.close()
    return plain


async def _ask(port: int, credentials: str, count: int) -> None:
    """GET projects in turn, `count` times over all connections, each of which waits for its answer."""
    numbers = iter(range(count))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in numbers:
            path = PATH.format(project_id=f"project-{number % PROJECTS}")
            head = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer {credentials}\r\n\r\n"
            writer.write(head.encode())
            answered = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert answered.startswith(b"http/1.1 200 "), answered
            await reader.readexactly(int(answered.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
