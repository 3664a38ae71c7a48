"""Queries and vertical runs of the fake API, and a kernel whose federation is a simulated one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import Response

if TYPE_CHECKING:
    from .fake_api import FakeApi

Json = dict[str, Any]


def _at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


STATEMENT = [
    "The label holder learns the activations of each party's last layer for every row.",
    "Each party learns the gradients of its activations, which tell labels apart: AUC up to 0.98 without protection.",
]


class FakeAnalytics:
    """State, and what the test does to it."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self.queries: list[Json] = []

    def add_query(self, query: str, operation: str = "mean", **changes: Any) -> None:
        """Somebody has asked something; newest first, as the API lists them."""
        participants = [
            {"node": node["id"], "name": node["name"], "organisation": node["organisation"], "rows": 150}
            for node in self._api.nodes.values()
        ]
        body = {
            "id": query, "project": "demo", "dataset": "biopsies", "operation": operation, "via": "mpc",
            "digest": "d" * 64, "submitter": "e" * 64, "state": "closed", "outcome": "released", "reason": None,
            "participants": participants, "releaser": participants[0]["node"], "created_by": "ana",
            "organisation": "north", "created": _at(-90), "expires": _at(810),
            "closed": _at(-89), "steps": 1, **changes,
        }  # fmt: skip
        self.queries.insert(0, body)
        data = {"query": query, "dataset": body["dataset"], "operation": operation, "created_by": body["created_by"]}
        self._api.emit("query.created", data=data)

    def add_vertical_run(self, run: str, name: str, mode: str = "split") -> None:
        """A vertical run of all nodes, that has not begun to align."""
        self._api.add_run(run, name)
        nodes = list(self._api.nodes.values())
        self._api.runs[run] |= {
            "kind": "vertical", "mode": mode, "id_column": "patient", "secure_aggregation": False,
            "parties": [
                {"node": node["id"], "name": node["name"], "dataset": dataset}
                for node, dataset in zip(nodes, ("outcomes", "laboratory", "imaging"), strict=True)
            ],
            "label": {"node": nodes[0]["id"], "column": "relapse"}, "report": None,
        }  # fmt: skip

    def report(self, run: str, phase: str) -> None:
        """The label holder reports how the parties stand."""
        aligned = phase != "alignment"
        report = {
            "phase": phase, "intersection": 8_214 if aligned else None, "bytes": 12_400_000 if aligned else 410_000,
            "sizes": {"hospital-a": 10_000, "hospital-b": 9_300, "hospital-c": 11_800},
            "statement": STATEMENT, "figures": {"label_leak_auc": 0.91} if phase == "done" else {},
        }  # fmt: skip
        self._api.runs[run]["report"] = report
        self._api.emit("run.report", run=run, data=report)


def add_analytics_routes(app: FastAPI, fake: FakeApi) -> None:
    """Answer what the panel asks about queries."""

    @app.get("/v1/projects/{project}/queries")
    def queries(project: str) -> Response:
        found = fake.analytics.queries if project == "demo" else []
        body = {"_links": {"self": {"href": "."}}, "_embedded": {"queries": found}}
        return Response(json.dumps(body), media_type="application/hal+json")


STARTUP = '''\
"""Who connects gets a simulated federation: the same sums and the same release, without nodes."""


def _simulated():
    import functools

    import numpy as np
    import pandas as pd

    import flaas_jupyter as flaas
    from flaas_jupyter import connected

    @functools.cache
    def made():
        random = np.random.default_rng(7)
        malignant = random.integers(0, 2, 450)
        columns = {f"feature {number}": random.normal(10 + number + 4 * malignant, 2) for number in range(30)}
        target = pd.Series(malignant, name="malignant")
        return flaas.simulate(pd.DataFrame(columns), target, clients=3, seed=7, analytics_epsilon=5.0)

    class Session:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def project(self, project):
            return self

        def federation(self, dataset):
            return made()

    connected.connect = Session
    flaas.connect = Session


_simulated()
'''


def kernel_environment(folder: Path) -> dict[str, str]:
    """Return the environment of kernels that answer questions by themselves."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-simulated.py").write_text(STARTUP)
    return {"IPYTHONDIR": str(folder)}
