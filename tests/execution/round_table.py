"""A run without network, API or Keras: aggregator and participants around one table, and what stands for the rest."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError, NotAllowed, Unreachable
from flaas_jupyter.execution.aggregator import Aggregator
from flaas_jupyter.execution.checkpoint import CheckpointStore
from flaas_jupyter.execution.participant import Participant
from flaas_jupyter.execution.timing import Timing
from flaas_jupyter.protocols import combination

PARAMETERS = 11
NOTEBOOK = "ff" * 32


@dataclass(frozen=True)
class FakePlan:
    """Stands for a training plan: the logic of rounds needs only this much of it."""

    digest = "d1"
    parameters = PARAMETERS
    dtype = np.dtype("float32")
    compression: ClassVar[dict[str, Any] | None] = None

    def to_dict(self) -> dict[str, Any]:
        return {"fake": True}

    @classmethod
    def from_dict(cls, data: Any) -> FakePlan:
        return cls()


class FakeTrainer:
    """Moves the weights by a step of its own, so that every sum is known exactly."""

    def __init__(self, rows: int, step: float) -> None:
        self.examples, self.step, self.trained = rows, step, 0
        self.error: Exception | None = None

    def train(self, weights, *, round_number, learning_rate=None, proximal=0.0, should_stop):
        self.trained += 1
        self.proximal = proximal
        if self.error is not None:
            raise self.error
        moved = weights + np.float32(self.step) * np.arange(1, PARAMETERS + 1, dtype="float32")
        metrics = {"loss": self.step, "rate": float(learning_rate or 0.0)}
        return SimpleNamespace(weights=moved, examples=self.examples, metrics=metrics, seconds=0.01, reported=None)


class FakeReporter:
    """Keeps what the API would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def put(self, path: str, body: dict[str, Any]) -> None:
        self.told.append((path, body))

    post = put

    async def flush(self, limit: float) -> None:
        return

    @property
    def states(self) -> list[str]:
        return [body["to"] for path, body in self.told if path.endswith("/transitions")]


class Table:
    """A run's participants around one aggregator; `ask` is the network, and can be cut."""

    def __init__(self, tmp_path, rows: list[int], *, secure: bool, rounds: int = 3, **run: Any) -> None:
        self.identities = sorted((Identity.generate() for _ in rows), key=lambda identity: identity.node_id)
        self.ids = [identity.node_id for identity in self.identities]
        self.run = {
            "id": "run-1", "rounds": rounds, "model_digest": "d1", "secure_aggregation": secure, "term": 1,
            "aggregation": "fedavg", "aggregation_options": {}, "privacy": None,
            "minimum_nodes": None, "clients_per_round": None, "seed": 0,
            "submitter": NOTEBOOK, "reason": None, "clip": None,
            "participants": [
                {"node": node, "name": f"n{i}", "rows": count, "state": "accepted", "online": True, "reason": None}
                for i, (node, count) in enumerate(zip(self.ids, rows, strict=True))
            ],
        } | run  # fmt: skip
        self.trainers = {n: FakeTrainer(c, 0.01 * (i + 1)) for i, (n, c) in enumerate(zip(self.ids, rows, strict=True))}
        self.participants = {identity.node_id: self._participant(identity) for identity in self.identities}
        self.cut: set[str] = set()
        self.parts: dict[str, dict[tuple[str, str], np.ndarray]] = {}
        self.cut_at: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.reporter = FakeReporter()
        self.store = CheckpointStore(tmp_path / "runs")
        self.timing = Timing(assembly=2.0, patience=1.0, peer=1.0)
        self.aggregator = self.new_aggregator()
        self.start = np.linspace(-1, 1, PARAMETERS, dtype="float32")

    def new_aggregator(self) -> Aggregator:
        return Aggregator(
            self.run, domain="demo", my_id=self.ids[0], verify=self.verify, ask=self.ask, traffic=lambda: (0, 0),
            reporter=self.reporter, checkpoints=self.store, timing=self.timing,
        )  # fmt: skip

    def verify(self, node_id: str, context: str, payload: bytes, signature: bytes) -> None:
        try:
            if node_id not in self.ids:
                raise NotAllowed("not a member", code="unknown-peer")
            verify(node_id, context, payload, signature)
        except FlaasError as error:  # as a node's own check does
            error.details["member"] = node_id
            raise

    def _participant(self, identity: Identity) -> Participant:
        participant = Participant(
            self.run, domain="demo", identity=identity, verify=self.verify, dataset=None, policy=None,
            executor=ThreadPoolExecutor(1), send=functools.partial(self.send, identity.node_id),
        )  # fmt: skip
        participant.plan, participant.trainer = FakePlan(), self.trainers[identity.node_id]
        participant._compressor = combination.make_compressor(FakePlan.compression)
        participant._privacy_plan = combination.plan_privacy(participant._privacy, rounds=self.run["rounds"])
        return participant

    async def ask(self, node: str, message: Message, limit: float) -> Message:
        self.asked.append((node, message.type))
        if self.cut_at.get(node) == message.type:
            self.cut.add(node)
        if node in self.cut:
            raise Unreachable("gone", code="peer-lost")
        if message.type == "run/prepare":
            return Message("ok", {"examples": self.trainers[node].examples})
        if message.type == "run/end":
            return Message("ok")
        return await self.participants[node].answer(message)

    async def send(self, sender: str, node: str, message: Message) -> Message:
        self.asked.append((node, message.type))
        if {sender, node} & self.cut:
            raise Unreachable("gone", code="peer-lost")
        for name, tensor in message.tensors.items():
            self.parts.setdefault(name, {})[sender, node] = tensor
        return await self.participants[node].of_peer(sender, message)

    async def seat(self, *nodes: str) -> None:
        for node in nodes or self.ids:
            await self.aggregator.join(node, Message("run/join", {}))

    async def submit(self, reports: list[dict[str, Any]] = ()) -> None:
        body = {"plan": {}, "reports": list(reports), "rule": {}}
        await self.aggregator.submit(NOTEBOOK, Message("run/submit", body, {"weights": self.start}))

    async def follow(self, after: int, **verdict: Any) -> Message:
        return await self.aggregator.follow(NOTEBOOK, Message("run/follow", {"after": after, **verdict}))

    def mean_step(self, nodes: list[str]) -> np.ndarray:
        total = sum(self.trainers[n].examples for n in nodes)
        step = sum(self.trainers[n].step * self.trainers[n].examples for n in nodes) / total
        return step * np.arange(1, PARAMETERS + 1)


def together(work):
    async def limited():
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(limited())


async def led(table: Table, rounds: int = 1) -> list[Message]:
    """Lead a run of so many rounds, and return what its notebook is told of each."""
    lead = asyncio.create_task(table.aggregator.lead())
    await table.seat()
    await table.submit()
    replies = [await table.follow(number) for number in range(rounds)]
    last = await table.follow(rounds)
    assert last.body["state"] == "completed", last.body["reason"]
    await lead
    return replies
