"""Flower's older runtime, `start_simulation`: deprecated, but it waits for replies instead of polling for them."""

from __future__ import annotations

import client
from flwr.client import Client, NumPyClient
from flwr.common import Context, FitIns, Parameters, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerConfig
from flwr.server.client_manager import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import FedAvg
from flwr.simulation import start_simulation
from runner import Rounds, measure
from workload import Weights, Workload


class FixedCohorts(FedAvg):
    """Flower's own federated averaging; each instruction also names the client of the workload to train as."""

    def __init__(self, work: Workload, rounds: Rounds) -> None:
        spec = work.spec
        super().__init__(
            fraction_fit=spec.per_round / spec.clients,
            min_fit_clients=spec.per_round,
            fraction_evaluate=0.0,
            initial_parameters=ndarrays_to_parameters(work.weights),
        )
        self.work, self.rounds, self.final = work, rounds, Parameters([], "")

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        chosen = super().configure_fit(server_round, parameters, client_manager)
        cohort = self.work.cohorts[server_round - 1].tolist()
        told = [{"client": one, "folder": str(self.work.folder)} for one in cohort]
        return [(proxy, FitIns(parameters, config)) for (proxy, _), config in zip(chosen, told, strict=True)]

    def aggregate_fit(self, server_round, results, failures):  # type: ignore[no-untyped-def]
        self.final, metrics = super().aggregate_fit(server_round, results, failures)
        self.rounds.finished()
        return self.final, metrics


class LocalTraining(NumPyClient):
    def fit(self, parameters: Weights, config: dict[str, object]) -> tuple[Weights, int, dict[str, float]]:
        weights, examples = client.fit(parameters, str(config["folder"]), int(str(config["client"])))
        return weights, examples, {}


def make_client(context: Context) -> Client:
    return LocalTraining().to_client()


def train(work: Workload, rounds: Rounds) -> Weights:
    strategy = FixedCohorts(work, rounds)
    start_simulation(
        client_fn=make_client,
        num_clients=work.spec.clients,
        config=ServerConfig(num_rounds=rounds.count),
        strategy=strategy,
        client_resources={"num_cpus": 1, "num_gpus": 0.0},
    )
    return parameters_to_ndarrays(strategy.final)


if __name__ == "__main__":
    measure(train, packages=("flwr", "ray", "numpy"))
