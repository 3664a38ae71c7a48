"""A node's vertical runs: when it takes part, whom it listens to, and what it says when it cannot go on."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from round_table import FakeReporter

from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError, NotAllowed, NotFound, Unreachable
from flaas_jupyter.execution import vertical_participant
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.timing import Timing
from flaas_jupyter.execution.vertical_participant import Station
from flaas_jupyter.execution.vertical_runs import MOST_RUNS, VerticalRuns
from flaas_jupyter.execution.vertical_store import VerticalStore

BANK, TELCO, NOTEBOOK, STRANGER = ("b" * 64, "c" * 64, "d" * 64, "e" * 64)
ROLES = {BANK: "node", TELCO: "node", NOTEBOOK: "developer", STRANGER: "node"}


class FakePlan:
    """Stands for a vertical plan."""

    mode, label, parties, epochs, batch_size = "oneway", "default", ("bank", "telco"), 5, 32
    minimum_intersection, digest = 1000, "11" * 32
    models = {"bank": SimpleNamespace(parameters=30)}  # noqa: RUF012
    starts = {"bank": "x"}  # noqa: RUF012

    def to_dict(self) -> dict[str, Any]:
        return {"fake": True}

    @classmethod
    def from_dict(cls, data: Any) -> FakePlan:
        return cls()


class World:
    """The vertical runs of a bank's and a telco's node; requests go from one to the other, unless a node is cut off."""

    def __init__(self, folder: Any) -> None:
        self.cut: set[str] = set()
        self.consents: list[tuple[str, str]] = []
        self.altered = False
        self.reporters = {node: FakeReporter() for node in (BANK, TELCO)}
        self.runs = {node: self._runs(node, folder / node[:4]) for node in (BANK, TELCO)}

    def _runs(self, node: str, folder: Any) -> VerticalRuns:
        policy = Policy(projects=("credit",), operations=("vertical",))
        station = Station(
            node, policy, post=lambda to, message, limit: self.say(node, to, message), reporter=self.reporters[node],
            executor=ThreadPoolExecutor(1), store=VerticalStore(folder), timing=Timing(peer=0.3, patience=0.3),
        )  # fmt: skip

        async def require_consent(run: dict[str, Any], dataset: str) -> None:
            self.consents.append((node, dataset))
            if self.altered:
                raise NotAllowed("It was changed.", code="run-altered")

        async def fetch(path: str) -> dict[str, Any]:
            return {"state": "cancelled", "reason": None}

        datasets = SimpleNamespace(get_for_peer=lambda name: SimpleNamespace(description=lambda: describe(name)))
        return VerticalRuns(
            station, datasets=datasets, domains=Domains(), require_consent=require_consent, fetch=fetch
        )  # fmt: skip

    async def say(self, sender: str, to: str, message: Message) -> Message:
        """Carry a request, as the mesh does: by the role that it needs."""
        if to in self.cut or sender in self.cut:
            raise Unreachable("gone", code="peer-lost")
        route = self.runs[to].routes()[message.type]
        if route.role != ROLES[sender]:
            raise NotAllowed("another role", code="role-missing")
        return await route.handler(SimpleNamespace(node_id=sender), message)

    async def begin(self, run: dict[str, Any] | None = None) -> dict[str, Any]:
        """Have both accept a run, and the bank lead it."""
        run = run or run_of()
        for runs in self.runs.values():
            await runs.accept(run)
            await runs.look(run, "accepted")
        return run

    async def close(self) -> None:
        for runs in self.runs.values():
            await runs.close()


class Domains:
    """All members of the one project."""

    def __getitem__(self, project: str) -> Any:
        def require(node: str, role: str) -> Any:
            if ROLES.get(node) != role:
                raise NotAllowed("no member", code="unknown-peer")
            return SimpleNamespace(organisation="somewhere")

        return SimpleNamespace(require=require)


def describe(name: str) -> dict[str, Any]:
    target = {"name": "default"} if name == "loans" else None
    return {"name": name, "projects": ["credit"], "rows": 900, "id_column": "customer", "target": target}


def run_of(**changes: Any) -> dict[str, Any]:
    return {
        "id": "r1", "project": "credit", "submitter": NOTEBOOK, "kind": "vertical", "state": "gathering", "term": 1,
        "started": None,
        "aggregator": BANK, "reason": None, "dataset": "loans", "rounds": 5, "local_epochs": 1, "batch_size": 32,
        "parameters": 30, "secure_aggregation": False, "privacy": None, "model_digest": "11" * 32, "mode": "oneway",
        "id_column": "customer", "label": {"node": BANK, "column": "default"},
        "parties": [{"node": BANK, "name": "bank", "dataset": "loans"},
                    {"node": TELCO, "name": "telco", "dataset": "usage"}],
    } | changes  # fmt: skip


@pytest.fixture(autouse=True)
def fake_plan(monkeypatch):
    monkeypatch.setattr(vertical_participant, "VerticalPlan", FakePlan)


def scenario(tmp_path, work):
    """Run a coroutine function of a world, and leave nothing running."""

    async def run() -> None:
        world = World(tmp_path)
        try:
            await asyncio.wait_for(work(world), 20)
        finally:
            await world.close()

    asyncio.run(run())


async def refused(code: str, call: Any) -> FlaasError:
    with pytest.raises(FlaasError) as caught:
        await call
    assert caught.value.code == code, caught.value
    return caught.value


async def eventually(true: Any) -> None:
    while not true():
        await asyncio.sleep(0.005)


def submit(**changes: Any) -> Message:
    return Message("vertical/submit", {"run": "r1", "plan": {}} | changes, {"start/bank": np.zeros(30)})


def test_each_node_is_asked_about_its_own_data_set_and_only_the_label_holder_leads(tmp_path):
    async def work(world: World) -> None:
        await world.begin()
        assert set(world.consents) == {(BANK, "loans"), (TELCO, "usage")}
        for node in (BANK, TELCO):
            told = world.say(NOTEBOOK, node, submit(model=1))
            if node == BANK:
                await told
            else:
                await refused("not-leading", told)

    scenario(tmp_path, work)


def test_a_run_that_is_told_otherwise_later_is_left(tmp_path):
    async def work(world: World) -> None:
        run = await world.begin()
        world.altered = True
        error = await refused("run-altered", world.runs[TELCO].look(run, "accepted"))
        world.runs[TELCO].leave("r1", error)
        await refused("no-such-run", world.say(BANK, TELCO, Message("vertical/alive", {"line": "r1"})))

    scenario(tmp_path, work)


def test_a_node_that_was_restarted_in_mid_run_says_so_and_one_that_was_before_takes_part(tmp_path):
    async def work(world: World) -> None:
        for under_way in ({"state": "running"}, {"state": "paused"}, {"started": "2026-01-01T00:00:00Z"}):
            error = await refused("party-restarted", world.runs[TELCO].look(run_of(**under_way), "accepted"))
            assert "restarted" in error.message
        await world.runs[TELCO].look(run_of(), "accepted")
        assert (TELCO, "usage") in world.consents
        await world.say(BANK, TELCO, Message("vertical/prepare", {"run": "r1", "plan": {}}))

    scenario(tmp_path, work)


def test_nobody_but_the_notebook_hands_over_the_plan_and_its_weights_must_be_those_named(tmp_path):
    async def work(world: World) -> None:
        await world.begin()
        await refused("role-missing", world.say(STRANGER, BANK, submit()))
        world.runs[BANK]._runs["r1"].run["submitter"] = "f" * 64
        await refused("not-the-submitter", world.say(NOTEBOOK, BANK, submit()))
        world.runs[BANK]._runs["r1"].run["submitter"] = NOTEBOOK
        wrong = Message("vertical/submit", {"run": "r1", "plan": {}}, {"start/telco": np.zeros(1)})
        await refused("wrong-weights", world.say(NOTEBOOK, BANK, wrong))
        follow = Message("vertical/follow", {"run": "r1", "after": 0})
        await refused("no-plan", world.say(NOTEBOOK, BANK, follow))
        await refused("no-such-run", world.say(NOTEBOOK, BANK, Message("vertical/follow", {"run": "r2", "after": 0})))

    scenario(tmp_path, work)


def test_a_party_takes_orders_from_the_label_holder_alone(tmp_path):
    async def work(world: World) -> None:
        await world.begin()
        for kind in ("prepare", "begin", "end", "done", "failed", "alive", "send"):
            message = Message(f"vertical/{kind}", {"run": "r1", "line": "r1", "plan": {}, "state": "failed"})
            await refused("not-a-party", world.say(STRANGER, TELCO, message))
        await refused("not-the-aggregator", world.say(TELCO, BANK, Message("vertical/prepare", {"run": "r1"})))
        await refused("not-prepared", world.say(BANK, TELCO, Message("vertical/begin", {"run": "r1"})))
        await refused("bad-message", world.say(BANK, TELCO, Message("vertical/end", {"run": "r1", "state": "lost"})))
        await refused("bad-message", world.say(BANK, TELCO, Message("vertical/send", {"line": 3})))

    scenario(tmp_path, work)


def test_without_a_notebook_the_run_ends_after_a_while_and_the_others_are_told(tmp_path):
    async def work(world: World) -> None:
        await world.begin()
        await eventually(lambda: world.runs[TELCO]._runs["r1"].ended)
        assert world.reporters[BANK].states == ["failed"]
        ended = world.runs[TELCO]._runs["r1"]
        assert (ended.state, ended.reason.code) == ("failed", "no-plan")

    scenario(tmp_path, work)


def test_a_party_that_cannot_be_reached_ends_the_run_with_its_name(tmp_path):
    async def work(world: World) -> None:
        await world.begin()
        world.cut.add(TELCO)
        await world.say(NOTEBOOK, BANK, submit())
        follow = Message("vertical/follow", {"run": "r1", "after": 0, "phase": "alignment", "told": ""})
        reply = await world.say(NOTEBOOK, BANK, follow)
        assert (reply.body["state"], reply.body["ended"]) == ("failed", True)
        assert reply.body["reason"]["code"] == "party-lost"
        assert "Party telco could not be reached" in reply.body["reason"]["message"]

    scenario(tmp_path, work)


def test_a_run_that_somebody_cancels_ends_for_whoever_follows(tmp_path):
    async def work(world: World) -> None:
        await world.begin()
        await world.runs[BANK].keep_only({"r1"})
        assert not world.runs[BANK]._runs["r1"].ended
        await world.runs[BANK].keep_only(set())
        reply = await world.say(NOTEBOOK, BANK, Message("vertical/follow", {"run": "r1", "after": 0}))
        assert (reply.body["state"], reply.body["ended"]) == ("cancelled", True)

    scenario(tmp_path, work)


def test_a_node_takes_part_in_so_many_runs_at_once(tmp_path):
    async def work(world: World) -> None:
        for number in range(MOST_RUNS):
            await world.runs[TELCO].accept(run_of(id=f"r{number}"))
        await refused("too-many-runs", world.runs[TELCO].accept(run_of(id="r99")))
        world.runs[TELCO]._runs["r0"].end("cancelled", None)
        await world.runs[TELCO].accept(run_of(id="r99"))

    scenario(tmp_path, work)


def test_nothing_is_kept_of_a_run_that_was_not(tmp_path):
    store = VerticalStore(tmp_path)
    with pytest.raises(NotFound):
        store.load("r1")
    (tmp_path / "r1").mkdir()
    (tmp_path / "r1" / "run.json").write_text("{}")
    with pytest.raises(NotFound):
        store.load("r1")
    with pytest.raises(FlaasError, match="not a run id"):
        store.load("../r1")


def test_scores_are_written_for_the_owner_alone(tmp_path):
    store = VerticalStore(tmp_path)
    ids = np.array(["Zoë", 'with "quotes", and a comma'])
    path = store.write_scores("r1", "p1", ids, np.array([[0.5], [0.25]], "float32"))
    assert path.read_text() == 'id,score\nZoë,0.5\n"with ""quotes"", and a comma",0.25\n'
    assert (path.stat().st_mode & 0o777) == 0o600
    several = store.write_scores("r1", "p2", ids, np.eye(2))
    assert several.read_text().splitlines()[0] == "id,score_0,score_1"
