"""A Flower client's training, in a module of its own so that Ray's actors import it instead of unpickling it.

The dense model is trained in NumPy, the quickest there is for Flower, as each actor would otherwise load a framework;
the convolutional one in PyTorch. An actor maps the data from disk once and keeps it, and its model, between rounds.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import workload
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from workload import Weights, Workload

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    # The message names the client: which of its nodes holds which partition, Flower's server does not know.
    config = message.content["config"]
    weights = message.content["arrays"].to_numpy_ndarrays()
    weights, examples = fit(weights, str(config["folder"]), int(config["client"]))
    reply = {"arrays": ArrayRecord(weights), "metrics": MetricRecord({"num-examples": examples})}
    return Message(RecordDict(reply), reply_to=message)


def fit(weights: Weights, folder: str, client: int) -> tuple[Weights, int]:
    """Train one client for one epoch, and return its weights and how many examples they are from."""
    work = load(folder)
    spec = work.spec
    if spec.model == "mlp":
        return workload.sgd_epoch(weights, *work.client(client), spec.batch, spec.learning_rate), spec.samples
    return fit_torch(weights, work, client), spec.samples


def fit_torch(weights: Weights, work: Workload, client: int) -> Weights:
    import torch
    import torch_models

    model, inputs, labels = torch_client(str(work.folder))
    torch_models.set_weights(model, weights)
    optimizer = torch.optim.SGD(model.parameters(), lr=work.spec.learning_rate)
    for at in range(0, work.spec.samples, work.spec.batch):
        batch = slice(at, at + work.spec.batch)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs[client, batch]), labels[client, batch]).backward()
        optimizer.step()
    return torch_models.get_weights(model)


@functools.cache
def load(folder: str) -> Workload:
    return workload.load(Path(folder))


@functools.cache
def torch_client(folder: str) -> tuple[Any, Any, Any]:
    import torch_models

    work = load(folder)
    return torch_models.build(work.spec), *torch_models.clients(work)
