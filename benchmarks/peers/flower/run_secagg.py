"""Flower's SecAgg+: its workflow on the server's side, its mod on the clients', every message handed over in memory.

Nothing is serialised and nothing is trained: what is measured is quantising, masking, summing and unmasking. Of the
clients that take part some send nothing when masked vectors are collected.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitIns, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.common import recorddict_compat
from flwr.server import LegacyContext, SimpleClientManager
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.supercore.task_identity import TaskIdentity

logging.getLogger("flwr").setLevel(logging.ERROR)
TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0


class Proxy:
    def __init__(self, node_id: int) -> None:
        self.node_id, self.cid = node_id, str(node_id)


class Everybody(FedAvg):
    """Takes all clients each round, and keeps what comes out."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.proxies = [Proxy(node) for node in range(1, members + 1)]
        self.mean: np.ndarray | None = None

    def configure_fit(self, server_round, parameters, client_manager):  # type: ignore[no-untyped-def]
        return [(proxy, FitIns(parameters, {})) for proxy in self.proxies]

    def aggregate_fit(self, server_round, results, failures):  # type: ignore[no-untyped-def]
        (self.mean,) = parameters_to_ndarrays(results[0][1].parameters)
        return results[0][1].parameters, {}


class Memory:
    """A grid of clients in this process; it takes the time that they take."""

    def __init__(self, updates: dict[int, np.ndarray], dropped: set[int]) -> None:
        self.updates, self.dropped, self.stage = updates, dropped, -1
        self.contexts = {
            node: Context(run_id=1, node_id=node, node_config={}, state=RecordDict(), run_config={}) for node in updates
        }
        self.seconds: list[dict[int, float]] = [{} for _ in range(4)]

    def send_and_receive(self, messages: list[Message], *, timeout: float | None = None) -> list[Message]:
        self.stage += 1
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            if self.stage == 2 and node in self.dropped:
                continue
            # All clients are sent the same records, and each takes its own apart.
            records = {
                k: ConfigRecord(dict(v)) if isinstance(v, ConfigRecord) else v for k, v in message.content.items()
            }
            message.content = RecordDict(records)
            began = time.perf_counter()
            reply = secaggplus_mod(message, self.contexts[node], self._train)
            self.seconds[self.stage][node] = time.perf_counter() - began
            reply.metadata.__dict__["_src_node_id"] = node
            replies.append(reply)
        return replies

    def _train(self, message: Message, context: Context) -> Message:
        parameters = ndarrays_to_parameters([self.updates[context.node_id]])
        result = FitRes(Status(Code.OK, ""), parameters, 1, {})
        return Message(recorddict_compat.fitres_to_recorddict(result, True), reply_to=message)


def one_round(updates: dict[int, np.ndarray], dropped: set[int], shares: int, threshold: int) -> dict[str, float]:
    size = next(iter(updates.values())).size
    grid, strategy = Memory(updates, dropped), Everybody(len(updates))
    context = LegacyContext(
        Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={}),
        strategy=strategy,
        client_manager=SimpleClientManager(),
    )
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
    context.state.array_records[MAIN_PARAMS_RECORD] = ArrayRecord([np.zeros(1, np.float32)])
    workflow = SecAggPlusWorkflow(shares, threshold, max_weight=1.0)
    began = time.perf_counter()
    workflow(grid, context)
    seconds = time.perf_counter() - began
    assert strategy.mean is not None
    wanted = np.mean([update for node, update in updates.items() if node not in dropped], axis=0)
    clients = [sum(stage.get(node, 0.0) for stage in grid.seconds) for node in updates if node not in dropped]
    return {
        "seconds": seconds,
        "client": statistics.median(clients),
        "server": seconds - sum(sum(stage.values()) for stage in grid.seconds),
        "error": float(np.abs(strategy.mean - wanted).max()) if size else 0.0,
    }


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("members", "values", "dropped", "shares", "threshold", "repetitions"):
        options.add_argument(f"--{name}", type=int, required=True)
    options.add_argument("--started")
    asked = options.parse_args()
    rng = np.random.default_rng(0)
    updates = {node: rng.normal(0, 0.01, asked.values).astype(np.float32) for node in range(1, asked.members + 1)}
    dropped = set(range(1, asked.dropped + 1))
    rounds: list[dict[str, Any]] = [
        one_round(updates, dropped, asked.shares, asked.threshold) for _ in range(asked.repetitions)
    ]
    print(json.dumps({name: statistics.median(one[name] for one in rounds) for name in rounds[0]}))


if __name__ == "__main__":
    main()
