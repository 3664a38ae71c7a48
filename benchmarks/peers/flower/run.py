"""Flower: its newest API (message-based ServerApp and ClientApp) on its Simulation Runtime, one CPU a client."""

from __future__ import annotations

from collections.abc import Iterable

import client
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from runner import Rounds, measure
from workload import Weights, Workload


class FixedCohorts(FedAvg):
    """Flower's own federated averaging; each message also names the client of the workload to train as."""

    def __init__(self, work: Workload, rounds: Rounds) -> None:
        spec = work.spec
        super().__init__(
            fraction_train=spec.per_round / spec.clients, min_train_nodes=spec.per_round, fraction_evaluate=0.0
        )
        self.work, self.rounds = work, rounds

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        messages = super().configure_train(server_round, arrays, config, grid)
        for message, one in zip(messages, self.work.cohorts[server_round - 1].tolist(), strict=True):
            told = ConfigRecord({"client": one, "folder": str(self.work.folder)})
            content = RecordDict({"arrays": arrays, "config": told})
            yield Message(content, message.metadata.dst_node_id, message.metadata.message_type)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        result = super().aggregate_train(server_round, replies)
        self.rounds.finished()
        return result


def train(work: Workload, rounds: Rounds) -> Weights:
    app, final = ServerApp(), []

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FixedCohorts(work, rounds)
        result = strategy.start(grid, initial_arrays=ArrayRecord(work.weights), num_rounds=rounds.count)
        final.extend(result.arrays.to_numpy_ndarrays())

    run_simulation(
        server_app=app,
        client_app=client.app,
        num_supernodes=work.spec.clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    return final


if __name__ == "__main__":
    measure(train, packages=("flwr", "ray", "numpy"))
