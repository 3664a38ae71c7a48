"""FedML: its single-process simulator (`backend: sp`) with PyTorch."""

from __future__ import annotations

import contextlib
import logging
from types import SimpleNamespace

import torch
import torch_models
from runner import Rounds, measure
from workload import Weights, Workload

# FedML imports torchvision, which refuses to be imported beside another build of PyTorch than its own (a CPU one,
# say) over these operators. No model here uses them.
for operator in ("nms", "qnms"):
    with contextlib.suppress(RuntimeError):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from fedml.core import mlops  # noqa: E402
from fedml.simulation.sp.fedavg import FedAvgAPI  # noqa: E402


class FixedCohorts(FedAvgAPI):
    """FedML's own rounds with the workload's cohorts, and without its evaluations of every client."""

    def __init__(self, work: Workload, rounds: Rounds, *arguments: object) -> None:
        self.work, self.rounds = work, rounds
        super().__init__(*arguments)

    def _client_sampling(self, round_idx: int, client_num_in_total: int, client_num_per_round: int) -> list[int]:
        if round_idx:
            self.rounds.finished()
        else:
            # The simulator's first global model is the live one, so that in the first round each client would go on
            # from where the client before it ended. New storage for the live parameters parts the two.
            for parameter in self.model.parameters():
                parameter.data = parameter.data.clone()
        return self.work.cohorts[round_idx].tolist()

    def _local_test_on_all_clients(self, round_idx: int) -> None:
        pass


def train(work: Workload, rounds: Rounds) -> Weights:
    spec = work.spec
    logging.disable(logging.INFO)
    torch_models.set_threads(spec)
    x, y = torch_models.clients(work)
    model = torch_models.build(spec)
    torch_models.set_weights(model, work.weights)
    loaders = {
        i: [(x[i, at : at + spec.batch], y[i, at : at + spec.batch]) for at in range(0, spec.samples, spec.batch)]
        for i in range(spec.clients)
    }
    sizes = dict.fromkeys(loaders, spec.samples)
    arguments = SimpleNamespace(
        dataset=spec.name,
        client_num_in_total=spec.clients,
        client_num_per_round=spec.per_round,
        comm_round=rounds.count,
        frequency_of_the_test=rounds.count + 1,
        epochs=1,
        batch_size=spec.batch,
        client_optimizer="sgd",
        learning_rate=spec.learning_rate,
        enable_wandb=False,
        using_mlops=False,
    )
    mlops.pre_setup(arguments)  # without it the simulator asks FedML's servers how to report to them
    rows = spec.clients * spec.samples
    dataset = [rows, 0, None, None, sizes, loaders, dict.fromkeys(loaders), 10]
    FixedCohorts(work, rounds, arguments, torch.device("cpu"), dataset, model).train()
    rounds.finished()
    return torch_models.get_weights(model)


if __name__ == "__main__":
    measure(train, packages=("fedml", "torch", "numpy"))
