"""The routes of approvals at a real socket, over a `World`: a person's token is that person's name."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import uvicorn
from fastapi import FastAPI

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination import problems
from flaas_jupyter.coordination.hal import HalResponse
from flaas_jupyter.coordination.metrics import Metrics
from flaas_jupyter.coordination.routes import approvals as routes
from flaas_jupyter.coordination.server import listen
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.coordination.traffic import Gate
from flaas_jupyter.errors import NotAuthenticated
from flaas_jupyter.governance.approvals import sign
from flaas_jupyter.governance.identity import Caller, Presented
from flaas_jupyter.governance.rbac.usage import UsageLog

from .world import World

WAIT = 20.0
Json = dict[str, Any]


class Names:
    """Believes what people say they are called."""

    scheme: ClassVar[str] = "Bearer"

    def __init__(self, world: World) -> None:
        self._world = world

    def authenticate(self, presented: Presented) -> Caller:
        if presented.credentials not in self._world.people.humans:
            raise NotAuthenticated("Nobody is called that.")
        return self._world.people.caller(presented.credentials)


class Served:
    """The API at `url`."""

    def __init__(self, world: World, url: str) -> None:
        self.world = world
        self.url = url
        self.clients: dict[str, httpx.Client] = {}

    def as_(self, name: str) -> httpx.Client:
        """Return a client of the person."""
        if name not in self.clients:
            headers = {"Authorization": f"Bearer {name}"}
            self.clients[name] = httpx.Client(
                base_url=self.url, headers=headers, timeout=WAIT, trust_env=False, verify=False
            )
        return self.clients[name]

    def get(self, name: str, path: str) -> Json:
        response = self.as_(name).get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def decision(
        self, name: str, request: str, decision: str = "approve", *, key: Identity | None = None, **changes: Any
    ) -> Json:
        """Return what `name` sends to decide."""
        key = key or self.world.people.humans[name].key
        sha256 = self.world.look(request).sha256
        now = int(time.time())
        assert key is not None
        body = {"decision": decision, "time": now, "signature": sign(key, request, sha256, decision, now)}
        return {**body, **changes}

    def decide(self, name: str, request: str, decision: str = "approve", **changes: Any) -> httpx.Response:
        """POST a decision."""
        body = self.decision(name, request, decision, **changes)
        return self.as_(name).post(f"/v1/approvals/{request}/decisions", json=body)


@contextmanager
def serving(world: World) -> Iterator[Served]:
    """Serve the routes until the end."""
    app = FastAPI(default_response_class=HalResponse)
    app.state.hosted = SimpleNamespace(
        database=world.database,
        settings=Settings(database_url="sqlite:///unused.db"),
        authenticators=[Names(world)],
        usage=UsageLog(),
        scheduler=SimpleNamespace(heard=lambda: None),
    )
    app.add_middleware(Gate, metrics=Metrics(world.database, app.state.hosted.settings, lambda: 0), body_limit=100_000)
    problems.install(app)
    app.include_router(routes.router)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    served = Served(world, f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        yield served
    finally:
        for client in served.clients.values():
            client.close()
        server.should_exit = True
        thread.join(WAIT)
