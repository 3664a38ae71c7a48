"""A small coordination API on a real socket of the loopback interface, run by the test's own event loop."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.testing import bind_unused_port

TOKEN = "secret-token-of-ana-0123456789"
ME = {"subject": "ana", "kind": "user", "organisation": "north", "role": "developer"}
RUN = {"id": "r1", "project": "demo", "state": "running", "_links": {"self": {"href": "/v1/runs/r1"}}}


@dataclass
class FakeApi:
    """What the API was asked, and what it is to say."""

    url: str = ""
    version: str = "v1"
    requests: list[dict[str, Any]] = field(default_factory=list)
    events: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    streams_closed: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    server: HTTPServer | None = None

    def start(self) -> None:
        socket, port = bind_unused_port()
        self.server = HTTPServer(web.Application([(r".*", _Everything, {"fake": self})]))
        self.server.add_socket(socket)
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            await self.server.close_all_connections()
            self.server = None

    def asked(self, method: str, path: str) -> list[dict[str, Any]]:
        return [seen for seen in self.requests if (seen["method"], seen["path"]) == (method, path)]


class _Everything(web.RequestHandler):
    def initialize(self, fake: FakeApi) -> None:
        self.fake = fake

    def compute_etag(self) -> None:
        """Only the tags that the test sets."""

    async def prepare(self) -> None:
        request, fake = self.request, self.fake
        headers = {name.lower(): value for name, value in request.headers.items()}
        fake.requests.append(
            {"method": request.method, "path": request.path, "query": request.query, "headers": headers}
            | {"body": request.body.decode()}
        )
        match request.method, request.path:
            case "GET", "/":
                self._say({"name": "flaas", "version": "9.9.9", "api": fake.version})
            case _ if headers.get("authorization") != f"Bearer {TOKEN}":
                body = {
                    "code": "not-authenticated",
                    "title": "Not signed in",
                    "detail": "Unknown token.",
                    "status": 401,
                }
                self._say(body, status=401)
            case "GET", "/v1/me":
                self._say(ME)
            case "GET", "/v1/runs/r1":
                self.set_header("ETag", '"run-1"')
                if headers.get("if-none-match") == '"run-1"':
                    self.set_status(304)
                    self.finish()
                else:
                    self._say(RUN)
            case "GET", "/v1/runs/moved":
                self.redirect("http://127.0.0.1:1/elsewhere")
            case "GET", "/v1/runs/page":
                self.set_header("Content-Type", "text/html")
                self.finish("<script>alert(1)</script>")
            case "GET", "/v1/costs/export" | "/v1/costs/summary":
                self.set_header("Content-Type", "text/csv; charset=utf-8")
                self.finish("BilledCost,BillingCurrency\r\n1.25,USD\r\n")
            case "POST", "/v1/projects/demo/launches":
                self._say({"id": "l1", "state": "launching"}, status=201)
            case "POST", "/v1/runs/r1/cancel":
                self._say({**RUN, "state": "cancelled"})
            case "GET", "/v1/projects/demo/events" if headers.get("accept") == "text/event-stream":
                await self._stream()
            case "GET", "/v1/projects":
                self.set_header("Link", '</v1/projects?cursor=x>; rel="next"')
                self._say({"_links": {}, "_embedded": {"projects": []}})
            case _:
                body = {"code": "unknown-run", "title": "Not found", "detail": "No such run.", "status": 404}
                self._say(body, status=404)

    def on_connection_close(self) -> None:
        self.fake.streams_closed.put_nowait(self.request.path)

    async def _stream(self) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        await self.flush()
        while (chunk := await self.fake.events.get()) is not None:
            try:
                self.write(chunk)
                await self.flush()
            except StreamClosedError:
                return
        await self.finish()

    def _say(self, body: dict[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/problem+json" if status >= 400 else "application/hal+json")
        self.finish(json.dumps(body))
