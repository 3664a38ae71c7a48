"""A federation with real nodes in this process: an API of its own, a mesh on loopback, and people of every role.

Its nodes are `Node`s that do not train, and so need no Keras. Each has the same table under one data set for each
level of the policy `explore`; beside these ``texts``, with texts, ids, a sensitive column and what is declared of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.connected import ConnectedFederation, Session, connect
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.execution import node as node_module
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.datasets.schema import DatasetSchema
from flaas_jupyter.execution.node import Node
from flaas_jupyter.execution.timing import Timing
from flaas_jupyter.governance.permissions import DATA_OWNER, DEVELOPER
from flaas_jupyter.home import Credentials, Home

LEVELS = ("nothing", "schema", "private", "aggregates")
"""Each is the name of a data set, and what its owners show of it."""
NAMES = ("north", "south", "west")
SECRETS = ("age", "income", "ward")
"""Names of columns."""


def table(seed: int, rows: int = 160) -> pd.DataFrame:
    """Return the rows of a node."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(20, 90, rows),
            "income": rng.normal(2500.0 + 400.0 * seed, 500.0, rows).round(2),
            "ward": rng.integers(0, 4, rows),
            "sick": rng.integers(0, 2, rows),
        }
    )


DECLARED = {
    "age": {"unit": "years", "range": [0, 120]},
    "town": {"description": "where they live"},
    "faith": {"role": "sensitive"},
}


def with_texts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a node's rows with texts."""
    rng = np.random.default_rng(len(rows) + int(rows.age.sum()))
    town = rng.choice(["Ulm", "Bonn", "Kiel"], len(rows)).astype(object)
    town[rng.random(len(rows)) < 0.2] = None
    town[:2] = "Zug"  # too few to be told, at all nodes together
    faith = rng.choice(["a", "b"], len(rows))
    return rows.drop(columns=["income", "ward"]).assign(town=town, faith=faith, who=[f"p{i}" for i in range(len(rows))])


class ExploredFederation(LocalFederation):
    """As `LocalFederation`, with its nodes in a thread of this process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, operations=("train", "analytics"))
        self.tables = {name: table(seed) for seed, name in enumerate(NAMES)}
        self.texts: dict[str, pd.DataFrame] = {}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="nodes").start()
        self._running: dict[str, Future[None]] = {}
        self._ready: dict[str, threading.Event] = {}
        self._sessions: list[Session] = []

    def begin(self) -> None:
        """Start everything."""
        data = self.folder / "data"
        data.mkdir(parents=True)
        files: dict[str, dict[str, Path]] = {}
        for name, rows in self.tables.items():
            rows.to_csv(data / f"{name}.csv", index=False)
            files[name] = dict.fromkeys(LEVELS, data / f"{name}.csv")
        with mock.patch.object(node_module, "_warm_up"):
            self.start(files, "sick")
            for name, ready in self._ready.items():
                assert ready.wait(60), f"{name} is not up: {self._running[name]}"

    def _set_up_node(self, name: str, files: Mapping[str, Path], target: str | None) -> None:
        super()._set_up_node(name, files, target)
        rows = with_texts(self.tables[name])
        self.texts[name] = rows
        path = self.folder / "data" / f"{name}-texts.parquet"
        rows.to_parquet(path)
        registry = DatasetRegistry(self.nodes[name].home.path)
        schema = DatasetSchema.from_dict({"columns": DECLARED})
        registry.add("texts", path, target="sick", projects=(self.project,), raw=True, id_column="who", schema=schema)

    def start_node(self, name: str) -> None:
        """Run the node in the thread of nodes."""
        home = self.nodes[name].home
        levels = [f'[policy.datasets.{level}]\nexplore = "{level}"\n' for level in LEVELS]
        for level in ("private", "aggregates"):
            levels[LEVELS.index(level)] += "analytics_epsilon = 4.0\n"
        levels[LEVELS.index("aggregates")] += f"explore_drift = {'false' if name == 'west' else 'true'}\n"
        home.policy.write_text(home.policy.read_text() + "\n" + "\n".join(levels))
        ready = self._ready[name] = threading.Event()

        async def run() -> None:
            await Node(home, timing=Timing(peer=30.0)).run(ready.set)

        self._running[name] = asyncio.run_coroutine_threadsafe(run(), self._loop)

    def end(self) -> None:
        """Stop everything."""
        for session in self._sessions:
            session.close()
        for running in self._running.values():
            running.cancel()

        async def settled() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.wait(tasks, timeout=10) if tasks else None

        asyncio.run_coroutine_threadsafe(settled(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.stop()

    @property
    def pooled(self) -> pd.DataFrame:
        """All rows in one table, which nobody has."""
        return pd.concat(self.tables.values(), ignore_index=True)

    def person(self, role: str, member: str | None = "explorer") -> Session:
        """Return the session of somebody with a role, whose notebook the domain key has signed for as `member`."""
        home = Home(self.folder / "people" / f"{role}-{member}")
        home.path.mkdir(parents=True, mode=0o700)
        home.save_credentials(Credentials(self.url, token := self.token("laboratory", role)))
        if member is not None:
            self._sign(Identity.load_or_create(home.key).node_id, "laboratory", [member])
        session = connect(self.url, token=token, home=home)
        self._sessions.append(session)
        return session

    def people(self, roles: Mapping[str, Any]) -> dict[str, Session]:
        """Return somebody with each role; the notebooks of all are known to the nodes, developers' as such."""
        return {role: self.person(role, "developer" if role == DEVELOPER else "explorer") for role in roles}

    def of(self, session: Session, level: str) -> ConnectedFederation:
        """Return the data set of that level, as somebody has it."""
        return session.project(self.project).federation(dataset=level)


MAY_EXPLORE = (DEVELOPER, DATA_OWNER)
