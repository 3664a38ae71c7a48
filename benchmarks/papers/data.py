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

_FOLDERS = {"cifar10": "cifar10-subset"}
_CLEAR = 5  # the topic that is none of the sensitive ones


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
    name = _FOLDERS.get(dataset, dataset)
    return None if (root / name).is_dir() else f"{root} holds no {name}"


def load(dataset: str) -> Split:
    """Return a data set, dealt out to train and to test, always the same.

    Raises
    ------
    FileNotFoundError
        It is not there, and Keras does not have it either.
    """
    if dataset == "sensitive-topics":
        return _topics()
    if dataset == "cifar10":
        return _cifar()
    pixels, labels = _images(dataset)
    mean, deviation = MOMENTS[dataset]
    x = ((pixels.reshape(len(pixels), -1) / 255.0 - mean) / deviation).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:8000], order[8000:]
    y = labels.astype(np.int64)
    return Split(x[train], y[train], x[test], y[test])


def _topics() -> Split:
    """Headlines by topic, as many clear ones as sensitive ones: TF-IDF of the 1,000 most frequent terms."""
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer

    reason = missing("sensitive-topics")
    root = folder()
    if reason is not None or root is None:
        raise FileNotFoundError(f"{reason}; Keras has no such data set.")
    table = pd.read_csv(root / "sensitive-topics" / "sensitive_topics_text.csv.gz", keep_default_na=False)
    table = table[table["source"] == "huffpost-41x900"]
    parts = []
    for name in ("train", "test"):
        part = table[table["split"] == name]
        sensitive, clear = part[part["label"] != _CLEAR], part[part["label"] == _CLEAR]
        parts.append(pd.concat([sensitive, clear.sample(len(sensitive), random_state=0)]))
    words = TfidfVectorizer(max_features=1000, dtype=np.float32).fit(parts[0]["content"])
    (x, y), (x_test, y_test) = (
        (words.transform(part["content"]).toarray(), part["label"].to_numpy(np.int64)) for part in parts
    )
    return Split(x, y, x_test, y_test)


def _cifar() -> Split:
    """4,000 images of CIFAR-10 to train and 1,000 to test, from -1 to 1."""
    root = folder()
    if missing("cifar10") is None and root is not None:
        with np.load(root / _FOLDERS["cifar10"] / "cifar10_subset_20k_5k.npz") as file:
            found = [file[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    else:
        import keras

        (x, y), (x_test, y_test) = keras.datasets.cifar10.load_data()
        found = [x, y, x_test, y_test]
    x, y, x_test, y_test = (values[:count] for values, count in zip(found, (4000, 4000, 1000, 1000), strict=True))
    return Split(_centred(x), y.reshape(-1).astype(np.int64), _centred(x_test), y_test.reshape(-1).astype(np.int64))


def _centred(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (pixels / 127.5 - 1).astype(np.float32)


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
