"""A data base with a project, and launches in it, for tests of the worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.services.launches import NodesAndRuns
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.coordination.tables import MembershipRow, Node, NodeProject, Organisation, Project
from flaas_jupyter.costs.launch import plan
from flaas_jupyter.costs.launch.cloud_init import Software
from flaas_jupyter.costs.launch.plan import Asked, Booting, Wanted
from flaas_jupyter.costs.launch.tables import LaunchRow
from flaas_jupyter.costs.launch.tokens import SecretKey
from flaas_jupyter.costs.launch.worker import Timing, Worker

QUICK = Timing(tick=0.01, lease=0.05, look=0.0, look_ending=0.0, settle=0.0, boot=3600, pause=0.001, longest_pause=0.01)
KEY = SecretKey(b"k" * 32)


class World:
    """One data base; `worker` makes workers on it."""

    def __init__(self, url: str, *, found: bool = True) -> None:
        self.database = Database(url)
        self.settings = Settings(url)
        if found:
            self.database.migrate()
            with self.database.writing() as session:
                now = datetime.now(UTC)
                session.add(Organisation(id="lab", name="Lab", created=now))
                session.add(Project(id="credit", name="C", description="", domain_key="d" * 64, created=now))

    def worker(
        self,
        drivers: Callable[..., Any],
        timing: Timing = QUICK,
        store: Any = None,
        ca_fingerprint: str | None = None,
        **options: Any,
    ) -> Worker:
        return Worker(
            store or self.database,
            NodesAndRuns(self.settings),
            drivers,
            KEY,
            Booting(Software("flaas_jupyter[node]==0.1.0"), ca_fingerprint=ca_fingerprint),
            timing,
            **{"parallel": 1, **options},
        )

    def launch(self, *names: str, hours: float = 1.0, region: str = "eu-1") -> int:
        nodes = [Wanted(name, "aws", region, "m5.large", 0.1, account="a") for name in names]
        asked = Asked("credit", "lab", "dev", hours, "http://127.0.0.1:1", 10.0, nodes)
        with self.database.writing() as session:
            return plan.create(session, asked, [Decimal("0.1")] * len(nodes), datetime.now(UTC)).number

    def read(self, number: int) -> LaunchRow:
        with self.database.reading() as session:
            return session.get_one(LaunchRow, number)

    def change(self, number: int, act: Callable[[Any, LaunchRow], Any]) -> None:
        with self.database.writing() as session:
            act(session, session.get_one(LaunchRow, number))

    def end(self, number: int) -> None:
        self.change(number, lambda session, launch: setattr(launch, "ending", True))

    def states(self, number: int) -> dict[str, str]:
        return {row.node: row.state for row in plan.latest(self.read(number).machines)}

    def register(self, number: int, name: str, node_id: str, *, member: bool = False) -> None:
        """Have a machine's node registered, as an enrolment does."""

        def act(session: Any, launch: LaunchRow) -> None:
            now = datetime.now(UTC)
            if session.get(Node, node_id) is None:
                session.add(
                    Node(
                        id=node_id,
                        name=name,
                        organisation="lab",
                        version="1",
                        registered=now,
                        online=True,
                        last_seen=now,
                    )
                )
                session.flush()
                session.add(NodeProject(node=node_id, project="credit"))
            next(row for row in plan.latest(launch.machines) if row.node == name).node_id = node_id
            if member:
                session.merge(MembershipRow(project="credit", node=node_id, serial=1, document={}))

        self.change(number, act)

    def pass_time(self, number: int, **delta: float) -> None:
        """Bring a launch's end closer."""

        def act(session: Any, launch: LaunchRow) -> None:
            launch.ends_at -= timedelta(**delta)

        self.change(number, act)


def settle(worker: Worker, number: int, most: int = 200) -> int:
    """Step until nothing is due but looking; return how many steps it took."""
    for count in range(most):
        if not worker.step(number) or count > 20:
            return count
    raise AssertionError("it does not settle")
