"""The workloads' models in PyTorch, and their weights to and from the common layout."""

from __future__ import annotations

import torch
from torch import nn
from workload import CLASSES, DENSE, FILTERS, HIDDEN, KERNEL, PIXELS, SIDE, Spec, Weights, Workload


def build(spec: Spec) -> nn.Sequential:
    if spec.model == "mlp":
        return nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    first, second = FILTERS
    return nn.Sequential(
        *(nn.Conv2d(1, first, KERNEL, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, KERNEL, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear((SIDE // 4) ** 2 * second, DENSE), nn.ReLU(), nn.Linear(DENSE, CLASSES)),
    )


def set_threads(spec: Spec) -> None:
    """One thread for the small dense model, which two make slower; all cores for convolutions."""
    if spec.model == "mlp":
        torch.set_num_threads(1)


def set_weights(model: nn.Module, weights: Weights) -> None:
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), to_torch(weights), strict=True):
            parameter.copy_(value)


def get_weights(model: nn.Module) -> Weights:
    return from_torch([one.detach() for one in model.parameters()])


def to_torch(weights: Weights) -> list[torch.Tensor]:
    tensors = [torch.tensor(one) for one in weights]
    return [_channels_first(one, i) for i, one in enumerate(tensors)]


def from_torch(tensors: list[torch.Tensor]) -> Weights:
    return [_channels_last(one, i).contiguous().numpy() for i, one in enumerate(tensors)]


def clients(work: Workload) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the data as tensors over the mapped file: `(clients, samples, …)`, channels first."""
    shape = (work.spec.clients, work.spec.samples)
    features = (PIXELS,) if work.spec.model == "mlp" else (1, SIDE, SIDE)
    return torch.from_numpy(work.x).reshape(*shape, *features), torch.from_numpy(work.y).reshape(shape)


def _channels_first(tensor: torch.Tensor, index: int) -> torch.Tensor:
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    if tensor.ndim == 2 and index == 4:  # behind the flattening, which runs through channels last in Keras
        height = SIDE // 4
        return tensor.reshape(height, height, -1, tensor.shape[1]).permute(3, 2, 0, 1).reshape(tensor.shape[1], -1)
    return tensor.T if tensor.ndim == 2 else tensor


def _channels_last(tensor: torch.Tensor, index: int) -> torch.Tensor:
    if tensor.ndim == 4:
        return tensor.permute(2, 3, 1, 0)
    if tensor.ndim == 2 and index == 4:
        height = SIDE // 4
        return tensor.reshape(tensor.shape[0], -1, height, height).permute(2, 3, 1, 0).reshape(-1, tensor.shape[0])
    return tensor.T if tensor.ndim == 2 else tensor
