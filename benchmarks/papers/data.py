"""The papers' data sets from files, or from Keras where it has them.

Files are looked for in the folder that FLAAS_DATA names, then in a folder of data beside the checkout.
"""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Mean and standard deviation of the training pixels, as in the FedQV implementation.
MOMENTS = {"mnist": (0.1307, 0.3081), "fashion-mnist": (0.2860, 0.3520)}


@dataclass(frozen=True)
class Split:
    """Rows (n, features) and classes (n,) for training and for testing."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


def folder() -> Path | None:
    """Return the folder of data, None if there is none."""
    named = os.environ.get("FLAAS_DATA")
    if named:
        return Path(named)
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return beside if beside.is_dir() else None


def missing(dataset: str) -> str | None:
    """Return why a data set cannot be read from files, None if it can."""
    root = folder()
    if root is None:
        return "FLAAS_DATA names no folder of data, and there is none beside the checkout"
    return None if (root / dataset).is_dir() else f"{root} holds no {dataset}"


def load(dataset: str) -> Split:
    """Read the 10,000 test images of a data set and deal them out: 8,000 to train, 2,000 to test, always the same."""
    pixels, labels = _images(dataset)
    mean, deviation = MOMENTS[dataset]
    x = ((pixels.reshape(len(pixels), -1) / 255.0 - mean) / deviation).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:8000], order[8000:]
    y = labels.astype(np.int64)
    return Split(x[train], y[train], x[test], y[test])


def _images(dataset: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if missing(dataset) is not None:
        import keras

        source = keras.datasets.mnist if dataset == "mnist" else keras.datasets.fashion_mnist
        _, (pixels, labels) = source.load_data()
        return pixels, labels
    root = folder()
    assert root is not None
    return (
        _idx(root / dataset / "t10k-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28),
        _idx(root / dataset / "t10k-labels-idx1-ubyte.gz", header=8),
    )


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)
