"""The workloads everybody trains: arrays, initial weights and cohorts on disk, and the plain NumPy answer.

Needs NumPy only, as it is imported in each peer's own environment. Weights are a list of arrays in the order and
layout of Keras: dense kernels `(in, out)`, convolution kernels `(height, width, in, out)`, each followed by its bias.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

CLASSES = 10
SIDE = 28
PIXELS = SIDE * SIDE
HIDDEN = 200
FILTERS = (32, 64)
KERNEL = 5
DENSE = 512
ROUNDS_DRAWN = 1000
NOISE = 0.5

Weights = list[np.ndarray]


@dataclass(frozen=True)
class Spec:
    """What makes a workload; the same spec gives the same files."""

    name: str
    model: str  # "mlp" 784-200-10, or "cnn": conv5 32, conv5 64 (each same padding, 2×2 max pooling), dense 512, 10
    clients: int
    per_round: int
    samples: int
    batch: int
    # How far classes lie apart beside noise of 0.5: learned within the rounds measured, with a loss well above zero,
    # so that a wrong average or a wrong step shows.
    signal: float = 0.06
    learning_rate: float = 0.05
    seed: int = 0


SPECS = {
    one.name: one
    for one in (
        Spec("W1", "mlp", clients=100, per_round=10, samples=60, batch=10),
        Spec("W2", "mlp", clients=1000, per_round=100, samples=60, batch=10),
        Spec("W3", "cnn", clients=10, per_round=10, samples=100, batch=20, signal=0.4),
        Spec("scale", "mlp", clients=10_000, per_round=100, samples=60, batch=10),
    )
}


@dataclass(frozen=True)
class Workload:
    """One workload, its arrays mapped from disk: a process holds the pages that it touches.

    Attributes
    ----------
    x : (clients · samples, 784) or (clients · samples, 28, 28, 1) float32
    y : (clients · samples,) int64
        Client i owns the rows `i · samples` to `(i + 1) · samples`.
    cohorts : (ROUNDS_DRAWN, per_round) int64
        Who takes part in each round, wherever a peer lets us say so.
    weights : list of float32 arrays
        Initial weights, Glorot uniform, biases zero.
    """

    folder: Path
    spec: Spec
    x: np.ndarray
    y: np.ndarray
    cohorts: np.ndarray
    weights: Weights

    def rows(self, client: int) -> slice:
        return slice(client * self.spec.samples, (client + 1) * self.spec.samples)

    def client(self, client: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows(client)
        return self.x[rows], self.y[rows]


def prepare(spec: Spec, parent: Path) -> Path:
    """Write the workload's files below `parent`, unless they are there, and return their folder."""
    folder = parent / spec.name
    written = folder / "spec.json"
    text = json.dumps(asdict(spec) | {"noise": NOISE, "rounds": ROUNDS_DRAWN})
    if written.exists() and written.read_text() == text:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(spec.seed)
    rows = spec.clients * spec.samples
    y = rng.integers(0, CLASSES, rows)
    prototypes = rng.standard_normal((CLASSES, PIXELS), dtype=np.float32)
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.float32, shape=(rows, *_input_shape(spec)))
    flat = x.reshape(rows, PIXELS)
    for start in range(0, rows, 10_000):
        block = slice(start, start + 10_000)
        labels = y[block]
        flat[block] = spec.signal * prototypes[labels] + NOISE * rng.standard_normal(
            (labels.size, PIXELS), dtype=np.float32
        )
    x.flush()
    np.save(folder / "y.npy", y)
    np.save(
        folder / "cohorts.npy",
        np.stack([rng.choice(spec.clients, spec.per_round, replace=False) for _ in range(ROUNDS_DRAWN)]),
    )
    save_weights(folder / "weights.npz", _initial_weights(spec, rng))
    written.write_text(text)
    return folder


def load(folder: Path) -> Workload:
    spec = Spec(
        **{key: value for key, value in json.loads((folder / "spec.json").read_text()).items() if key in _FIELDS}
    )
    # Copy on write: frameworks that want writable arrays get them, and nothing is copied before it is written to.
    x, y = (np.load(folder / name, mmap_mode="c") for name in ("x.npy", "y.npy"))
    return Workload(folder, spec, x, y, np.load(folder / "cohorts.npy"), load_weights(folder / "weights.npz"))


def save_weights(path: Path, weights: Iterable[np.ndarray]) -> None:
    np.savez(path, *[np.asarray(one, np.float32) for one in weights])


def load_weights(path: Path) -> Weights:
    with np.load(path) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


def checksum(weights: Weights) -> str:
    """CRC-32 of the bits of all weights: equal only for equal models."""
    value = 0
    for one in weights:
        value = zlib.crc32(np.ascontiguousarray(one, np.float32).tobytes(), value)
    return f"{value:08x}"


# -- the plain NumPy answer -------------------------------------------------------------------------------


def sgd_epoch(weights: Weights, x: np.ndarray, y: np.ndarray, batch: int, learning_rate: float) -> Weights:
    """Train a copy of the MLP for one pass over `x` in order: softmax cross-entropy, plain SGD."""
    w1, b1, w2, b2 = (one.copy() for one in weights)
    for start in range(0, len(x), batch):
        inputs, labels = x[start : start + batch], y[start : start + batch]
        hidden = np.maximum(inputs @ w1 + b1, 0)
        gradient = _softmax(hidden @ w2 + b2)
        gradient[np.arange(len(labels)), labels] -= 1
        gradient *= learning_rate / len(labels)
        back = gradient @ w2.T
        back *= hidden > 0
        w2 -= hidden.T @ gradient
        b2 -= gradient.sum(0)
        w1 -= inputs.T @ back
        b1 -= back.sum(0)
    return [w1, b1, w2, b2]


def fedavg_round(weights: Weights, work: Workload, cohort: Iterable[int]) -> Weights:
    """Train the cohort one client after the other, and average: all clients have as many rows."""
    spec = work.spec
    total = [np.zeros_like(one) for one in weights]
    members = list(cohort)
    for client in members:
        for into, one in zip(
            total, sgd_epoch(weights, *work.client(client), spec.batch, spec.learning_rate), strict=True
        ):
            into += one
    return [one / np.float32(len(members)) for one in total]


def train(work: Workload, rounds: int) -> Weights:
    """Return the MLP after so many rounds of plain federated averaging."""
    weights = work.weights
    for cohort in work.cohorts[:rounds]:
        weights = fedavg_round(weights, work, cohort)
    return weights


def evaluate(work: Workload, weights: Weights, rows: int = 6000) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy of a model over the first rows of all clients' data."""
    loss, right, count = 0.0, 0, min(rows, len(work.x))
    for start in range(0, count, 100):
        x, y = work.x[start : min(start + 100, count)], work.y[start : min(start + 100, count)]
        chances = _softmax(_logits(work.spec, weights, x))
        loss -= float(np.log(np.maximum(chances[np.arange(len(y)), y], 1e-30)).sum())
        right += int((chances.argmax(1) == y).sum())
    return loss / count, right / count


# -- private --------------------------------------------------------------------------------------------

_FIELDS = frozenset(Spec.__dataclass_fields__)


def _input_shape(spec: Spec) -> tuple[int, ...]:
    return (PIXELS,) if spec.model == "mlp" else (SIDE, SIDE, 1)


def _initial_weights(spec: Spec, rng: np.random.Generator) -> Weights:
    if spec.model == "mlp":
        shapes: list[tuple[int, ...]] = [(PIXELS, HIDDEN), (HIDDEN, CLASSES)]
    else:
        shapes = [
            (KERNEL, KERNEL, 1, FILTERS[0]),
            (KERNEL, KERNEL, *FILTERS),
            ((SIDE // 4) ** 2 * FILTERS[1], DENSE),
            (DENSE, CLASSES),
        ]
    weights = []
    for shape in shapes:
        field = int(np.prod(shape[:-2]))
        limit = np.sqrt(6 / (field * (shape[-2] + shape[-1])))
        weights += [rng.uniform(-limit, limit, shape).astype(np.float32), np.zeros(shape[-1], np.float32)]
    return weights


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shifted /= shifted.sum(1, keepdims=True)
    return shifted


def _logits(spec: Spec, weights: Weights, x: np.ndarray) -> np.ndarray:
    if spec.model == "cnn":
        for kernel, bias in (weights[0:2], weights[2:4]):
            x = _pool(np.maximum(_convolve(x, kernel) + bias, 0))
        x, weights = x.reshape(len(x), -1), weights[4:]
    w1, b1, w2, b2 = weights
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


def _convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    margin = KERNEL // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (KERNEL, KERNEL), axis=(1, 2))
    return np.tensordot(windows, kernel, axes=([4, 5, 3], [0, 1, 2]))


def _pool(x: np.ndarray) -> np.ndarray:
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
