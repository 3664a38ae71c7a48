"""``flaas simulate``: a simulation from the command line, on a table or on scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput
from .simulation.partition import IID, ByColumn, Dirichlet, Partition, QuantitySkew, Shards

if TYPE_CHECKING:
    import pandas as pd

_PARTITIONS: dict[str, Callable[[str], Partition]] = {
    "iid": lambda _: IID(),
    "dirichlet": lambda value: Dirichlet(float(value or 0.5)),
    "shards": lambda value: Shards(int(value or 2)),
    "quantity": lambda value: QuantitySkew(float(value or 1.0)),
    "column": ByColumn,
}
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Data:
    """Training and test rows; a table may hold the column that tells clients apart."""

    x: Any
    y: NDArray[Any]
    x_test: Any
    y_test: NDArray[Any]


def read_partition(text: str) -> Partition:
    """Read ``iid``, ``dirichlet:0.5``, ``shards:2``, ``quantity:1`` or ``column:hospital``.

    Raises
    ------
    InvalidInput
        Code ``bad-partition``.
    """
    name, _, value = text.partition(":")
    try:
        return _PARTITIONS[name](value)
    except (KeyError, ValueError) as error:
        raise InvalidInput(
            f"{text!r} is not a partition; allowed are {', '.join(_PARTITIONS)}, with a number or a column after a "
            "colon.",
            code="bad-partition",
            hint="For example dirichlet:0.5, shards:2 or column:hospital.",
        ) from error


def read_data(path: Path | None, target: str | None, partition: Partition, seed: int) -> Data:
    """Read a CSV or Parquet table, or load scikit-learn's digits, and put a fifth of the rows aside for testing.

    Raises
    ------
    InvalidInput
        ``no-target``, ``bad-data``, ``extra-missing``.
    """
    rng = np.random.default_rng(seed)
    if path is None:
        x, y = _digits()
        order = rng.permutation(len(y))
        test, train = np.split(order, [int(len(y) * _TEST_SHARE)])
        return Data(x[train], y[train], x[test], y[test])
    table = _table(path, target)
    order = rng.permutation(len(table))
    test, train = np.split(order, [int(len(table) * _TEST_SHARE)])
    rows, labels = table.drop(columns=[target]), table[target]
    keys = [partition.name] if isinstance(partition, ByColumn) else []
    y = labels.to_numpy() if labels.dtype.kind in "biuf" else labels.astype("category").cat.codes.to_numpy()
    return Data(rows.iloc[train], y[train], rows.iloc[test].drop(columns=keys).to_numpy("float32"), y[test])


def _digits() -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InvalidInput(
            "Without a file `flaas simulate` takes scikit-learn's digits, and scikit-learn is not installed.",
            code="extra-missing",
            hint='pip install "flaas_jupyter[demo]", or name a CSV or Parquet file.',
        ) from error
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int32)


def _table(path: Path, target: str | None) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.", code="bad-data") from error
    if target is None or target not in table.columns:
        raise InvalidInput(
            f"{path} has no target column {target!r}; it has {', '.join(map(str, table.columns))}.",
            code="no-target",
            hint="Name the column to predict: --target COLUMN.",
        )
    return table


def run_simulation(
    *,
    path: Path | None,
    target: str | None,
    clients: int | None,
    partition: str,
    rounds: int,
    per_round: int | None,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    hidden: tuple[int, ...],
    aggregation: str,
    options: dict[str, Any],
    attack: str | None,
    attack_options: dict[str, Any],
    secure: bool,
    compression: str | None,
    compression_options: dict[str, Any],
    backend: str,
    seed: int,
    verbose: int,
) -> dict[str, Any]:
    """Simulate, and return what the command prints: the simulation's settings and its rounds."""
    import keras

    from .federatedmodel import FederatedModel
    from .protocols.aggregation import aggregation as rules
    from .protocols.attacks import attack as attacks
    from .protocols.compression import compression as compressions
    from .simulation.simulated import simulate

    way = read_partition(partition)
    data = read_data(path, target, way, seed)
    federation = simulate(
        data.x,
        data.y,
        clients=clients,
        partition=way,
        seed=seed,
        attack=attacks(attack, **attack_options) if attack else None,
        backend=backend,
    )
    keras.utils.set_random_seed(seed)
    classes = int(data.y.max()) + 1 if data.y.dtype.kind in "biu" else 1
    net = inputs = keras.Input(data.x_test.shape[1:])
    for units in hidden:
        net = keras.layers.Dense(units, activation="relu")(net)
    last = keras.layers.Dense(classes, activation="softmax") if classes > 1 else keras.layers.Dense(1)
    model = FederatedModel(
        inputs,
        last(net),
        aggregation=rules(aggregation, **options),
        secure_aggregation=secure,
        compression=compressions(compression, **compression_options) if compression else None,
        name=f"{aggregation}-{attack}" if attack else aggregation,
    )
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate),
        loss="sparse_categorical_crossentropy" if classes > 1 else "mse",
        metrics=["accuracy"] if classes > 1 else [],
    )
    model.fit(
        federation,
        rounds=rounds,
        clients_per_round=per_round,
        local_epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        validation_data=(data.x_test, data.y_test),
        verbose=verbose,
    )
    federation.close()
    report = model.federated_report
    assert report is not None  # fit has set it
    metrics = report[report.attrs["metrics"]].astype(float)
    return {
        "clients": federation.size,
        "attackers": int(federation.malicious.sum()),
        "aggregation": aggregation,
        "attack": attack,
        "rounds": [{"round": int(number), **row} for number, row in metrics.round(6).to_dict("index").items()],
        "last": {"round": int(metrics.index[-1]), **metrics.iloc[-1].round(4).to_dict()},
    }
