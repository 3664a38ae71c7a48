"""Connections between the nodes of the fake API, as these would have told of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

if TYPE_CHECKING:
    from .fake_api import FakeApi

Json = dict[str, Any]


class FakeMesh:
    """State, and what the test does to it."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self.links: list[Json] = []
        self.failing = False

    def connect(self, one: str, other: str, kind: str = "direct", rtt: float = 0.0125, rate: float = 2.5e7) -> None:
        """Connect two nodes by their names; both tell of it."""
        ends = [self._api.nodes[name]["id"] for name in (one, other)]
        for start, end in (ends, ends[::-1]):
            told = {"kind": kind, "rtt": rtt, "throughput": rate, "bytes": 4096}
            self.links.append({"from": start, "to": end, **told})

    def shown(self, project: str) -> Json:
        """What is answered."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        nodes = [
            {"id": node["id"], "name": node["name"], "organisation": node["organisation"], "roles": ["node"],
             "online": node["state"] == "online", "reported": now if node["state"] == "online" else None}
            for node in self._api.nodes.values()
        ]  # fmt: skip
        return {"project": project, "nodes": nodes, "links": self.links, "_links": {"self": {"href": "."}}}


def add_mesh_routes(app: FastAPI, fake: FakeApi) -> None:
    """Add what the graph reads."""

    @app.get("/v1/projects/{project}/mesh")
    def mesh(project: str) -> Response:
        if fake.mesh.failing:
            body = {"status": 503, "code": "database-unavailable", "title": "The data base is away", "detail": "",
                    "hint": ""}  # fmt: skip
            return JSONResponse(body, 503, media_type="application/problem+json")
        return Response(json.dumps(fake.mesh.shown(project)), media_type="application/hal+json")
