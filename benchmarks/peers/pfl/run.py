"""pfl-research: federated averaging over its simulated backend with PyTorch, one process.

With Keras 3 it averages the last layer only (it keys variables by a name that is no longer unique), hence PyTorch.
"""

from __future__ import annotations

import itertools

import torch
import torch_models
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from runner import Rounds, measure
from torch import nn
from workload import Weights, Workload


class Classifier(nn.Module):
    """A model with the two methods that pfl asks for."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self(x), y)

    def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, object]:
        return {}


class Stamp(TrainingProcessCallback):
    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):  # type: ignore[no-untyped-def]
        self.rounds.finished()
        return False, Metrics()


def train(work: Workload, rounds: Rounds) -> Weights:
    spec = work.spec
    torch_models.set_threads(spec)
    x, y = torch_models.clients(work)
    module = Classifier(torch_models.build(spec))
    torch_models.set_weights(module, work.weights)
    model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0))
    sequence = itertools.chain.from_iterable(work.cohorts.tolist())
    data = FederatedDataset(
        lambda i: Dataset((x[i], y[i]), user_id=str(i)), lambda: next(sequence), user_id_to_weight=None
    )
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds.count,
            # Training metrics are measured every so many rounds, on each client before and after: never, here.
            evaluation_frequency=rounds.count + 1,
            train_cohort_size=spec.per_round,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=spec.learning_rate, local_batch_size=spec.batch
        ),
        callbacks=[Stamp(rounds)],
        send_metrics_to_platform=False,
    )
    return torch_models.get_weights(module)


if __name__ == "__main__":
    measure(train, packages=("pfl", "torch", "numpy"))
