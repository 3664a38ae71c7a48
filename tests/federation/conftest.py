"""Whole federations of real processes on loopback, and what they must compute."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.demo.local import LocalFederation

FEATURES = 6
# Quick to give up, so that failures are tested in seconds.
QUICK = ("--peer-timeout", "4", "--patience", "40")
QUICK_API = {"FLAAS_AGGREGATOR_TIMEOUT": "2", "FLAAS_START_GRACE": "5"}


def rows(count: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Linearly separable-ish rows with one binary target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1.0, (count, FEATURES)).astype("float32")
    y = (x @ np.linspace(-1, 1, FEATURES) + rng.normal(0, 0.3, count) > 0).astype("int64")
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(FEATURES)]).assign(label=y)


class Tables:
    """The rows of each node, as files and as arrays.

    Beside the data set ``rows`` there are ``mixed``, whose columns differ between the nodes, and ``pair``, which only
    the first two nodes have.
    """

    def __init__(self, folder: Path, sizes: dict[str, int]) -> None:
        self.tables = {name: rows(size, seed=i, shift=i / 4) for i, (name, size) in enumerate(sizes.items())}
        folder.mkdir()
        self.files: dict[str, dict[str, Path]] = {}
        for number, (name, table) in enumerate(self.tables.items()):
            mixed = table.rename(columns={"x1": "height"}) if number == 2 else table
            offered = {"rows": table, "mixed": mixed} | ({"pair": table} if number < 2 else {})
            self.files[name] = {dataset: folder / f"{name}-{dataset}.csv" for dataset in offered}
            for dataset, contents in offered.items():
                contents.to_csv(self.files[name][dataset], index=False)

    def arrays(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        table = pd.read_csv(self.files[name]["rows"])
        return table.drop(columns="label").to_numpy("float32"), table["label"].to_numpy("float32")


def offered(local, name: str, nodes: int) -> None:
    """Wait until the project has the data set `name` at so many nodes."""
    deadline = time.monotonic() + 60
    while True:
        listed = local.get(f"/v1/projects/{local.project}/datasets?limit=100")["_embedded"]["datasets"]
        found = next((len(entry["nodes"]) for entry in listed if entry["name"] == name), 0)
        if found == nodes:
            return
        assert time.monotonic() < deadline, f"{name} is at {found} nodes, not at {nodes}"
        time.sleep(0.2)


def started(
    folder: Path, sizes: dict[str, int], *, tls: bool = False, mesh: str = ""
) -> Iterator[tuple[LocalFederation, Tables]]:
    """Run a federation of nodes with so many rows; with `tls` over HTTPS, with an authority that all have pinned."""
    data = Tables(folder / "data", sizes)
    federation = LocalFederation(
        folder / "federation",
        node_options=QUICK,
        api_options=QUICK_API,
        operations=("train", "analytics"),
        mesh=mesh,
        tls=tls,
    )
    try:
        federation.start(data.files, "label")
        federation.wait_online()
        yield federation, data
    finally:
        federation.stop()


@pytest.fixture(scope="session")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalFederation, Tables]]:
    """Three nodes over QUIC, as on machines of their own; five, below, speak TLS, as on one machine.

    A node takes 400 MB: the three stay for all files of a process of tests, the five for one.
    """
    sizes = {"north": 40, "south": 25, "west": 90}
    yield from started(tmp_path_factory.mktemp("three"), sizes, mesh='carriers = ["iroh"]\n')


@pytest.fixture(scope="module")
def five_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalFederation, Tables]]:
    yield from started(tmp_path_factory.mktemp("five"), {"a": 30, "b": 45, "c": 60, "d": 25, "e": 50})


def restored(federation: LocalFederation) -> None:
    """Start again what a test has stopped."""
    if federation._api is None:
        federation.start_api()
    for name, node in federation.nodes.items():
        if node.process is None:
            federation.start_node(name)
    federation.wait_online()


@pytest.fixture
def three(three_nodes: tuple[LocalFederation, Tables]) -> Iterator[tuple[LocalFederation, Tables]]:
    """A federation of three nodes; what a test stops is started again after it."""
    yield three_nodes
    restored(three_nodes[0])


@pytest.fixture
def five(five_nodes: tuple[LocalFederation, Tables]) -> Iterator[tuple[LocalFederation, Tables]]:
    """A federation of five nodes; what a test stops is started again after it."""
    yield five_nodes
    restored(five_nodes[0])


def linear_model(secure: Any, learning_rate: float = 0.1, hidden: int = 5, **options: Any) -> Any:
    """A small deterministic network, the same weights every time."""
    import keras

    from flaas_jupyter import FederatedModel

    keras.utils.set_random_seed(3)
    inputs = keras.Input((FEATURES,))
    net = keras.layers.Dense(hidden, activation="tanh")(inputs)
    outputs = keras.layers.Dense(1, activation="sigmoid")(net)
    model = FederatedModel(inputs=inputs, outputs=outputs, secure_aggregation=secure, **options)
    model.compile(optimizer=keras.optimizers.SGD(learning_rate), loss="binary_crossentropy", metrics=["accuracy"])
    return model


def expected_weights(
    start: list[np.ndarray], data: Tables, rounds: list[list[str]], steps: int, learning_rate: float = 0.1
) -> list[np.ndarray]:
    """What federated averaging gives: per round the weighted mean of `steps` full-batch steps at each of its nodes."""
    weights = [array.astype("float64") for array in start]
    for present in rounds:
        total = sum(len(data.tables[name]) for name in present)
        mean = [np.zeros_like(array) for array in weights]
        for name in present:
            x, y = data.arrays(name)
            for target, array in zip(mean, _descended(weights, x, y, steps, learning_rate), strict=True):
                target += array * len(x) / total
        weights = mean
    return [array.astype("float32") for array in weights]


def _descended(
    weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, steps: int, learning_rate: float
) -> list[np.ndarray]:
    """Weights of `linear_model` after gradient descent on its mean cross-entropy, by hand."""
    w1, b1, w2, b2 = weights
    for _ in range(steps):
        hidden = np.tanh(x @ w1 + b1)
        error = (1 / (1 + np.exp(-(hidden @ w2 + b2))) - y[:, None]) / len(x)
        back = error @ w2.T * (1 - hidden**2)
        gradients = x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)
        w1, b1, w2, b2 = (w - learning_rate * g for w, g in zip((w1, b1, w2, b2), gradients, strict=True))
    return [w1, b1, w2, b2]


class Fit:
    """`model.fit` on a thread of its own, so that a test can break things meanwhile."""

    def __init__(self, federation: LocalFederation, model: Any, **options: Any) -> None:
        self.model, self.error, self.history = model, None, None
        self.session = federation.connect()
        dataset = options.pop("dataset", "rows")
        self._federation = self.session.project(federation.project).federation(dataset=dataset)
        self._options = options
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rounds, self.stopping = 0, False
        self._progress = threading.Condition()
        self._thread.start()

    def _run(self) -> None:
        import keras

        def noted_round(epoch: int, logs: Any) -> None:
            self.model.stop_training = self.model.stop_training or self.stopping
            self._note(epoch + 1)

        noted = keras.callbacks.LambdaCallback(on_epoch_end=noted_round)
        try:
            self.history = self.model.fit(self._federation, callbacks=[noted], verbose=0, **self._options)
        except BaseException as error:
            self.error = error
        finally:
            self._note(10**9)

    def _note(self, rounds: int) -> None:
        with self._progress:
            self.rounds = rounds
            self._progress.notify_all()

    def wait_round(self, number: int, limit: float = 120) -> None:
        """Wait until round `number` is done."""
        with self._progress:
            assert self._progress.wait_for(lambda: self.rounds >= number, limit), "the run does not move"
        if self.error is not None:
            raise self.error

    def stop_after(self, rounds: int) -> None:
        """Let so many more rounds be done, then stop as `EarlyStopping` would."""
        self.wait_round(self.rounds + rounds)
        self.stopping = True

    def run_id(self) -> str:
        return str(self.session.project("demo").runs["id"][0])

    def done(self, limit: float = 180) -> Any:
        """Wait for the end, and return the model or raise the error."""
        self._thread.join(limit)
        assert not self._thread.is_alive(), "fit hangs"
        self.session.close()
        if self.error is not None:
            raise self.error
        return self.model
