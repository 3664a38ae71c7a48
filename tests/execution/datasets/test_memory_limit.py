"""A data set that is larger than the memory there is, registered, asked and trained on in a process of its own."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from limited_memory import run_limited

REGISTER = """
import json, sys
from pathlib import Path
from flaas_jupyter.execution.datasets import DatasetRegistry
path, home, in_memory = sys.argv[1:4]
dataset = DatasetRegistry(Path(home), in_memory=int(in_memory)).add("big", path, target="label")
columns = dataset.columns()
arrays = dataset.load()
"""
READ = """
import numpy as np
from flaas_jupyter.training import streaming
from flaas_jupyter.training.arrays import Mapped
x = Mapped(arrays.inputs[""], np.dtype("float32"), (len(arrays.columns),))
order = streaming.in_blocks(np.random.default_rng(0), len(x), streaming.WINDOW_ROWS)
total = sum(float(x[rows].sum(dtype=np.float64)) for rows in streaming.chunks(order, 1000))
print(json.dumps({"rows": arrays.rows, "streamed": arrays.streamed, "sum": total, "mean": float(columns["c0"].mean())}))
"""
TRAIN = """
import keras, numpy as np
from flaas_jupyter.execution.trainer import Trainer
from flaas_jupyter.plan import TrainingPlan
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((len(arrays.columns),)), keras.layers.Dense(1, activation="sigmoid")])
model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
plan = TrainingPlan.from_model(model, batch_size=4096, seed=0)
result = Trainer(plan, arrays).train(plan.vector_of(model), round_number=1)
print(json.dumps({"rows": result.examples, "streamed": arrays.streamed, "loss": result.metrics["loss"],
                  "mean": float(columns["c0"].mean()), "seconds": result.seconds}))
"""


def write(path, size: int, columns: int) -> tuple[int, float]:
    """Write a Parquet file of `size` bytes at least; return its rows and the mean of the first column."""
    rng = np.random.default_rng(0)
    group, rows, total = (1 << 24) // (8 * columns), 0, 0.0
    writer = None
    while writer is None or path.stat().st_size < size:
        table = {f"c{i}": rng.normal(size=group) for i in range(columns)}
        table["label"] = (table["c1"] > 0).astype("int8")
        total += table["c0"].sum()
        writer = writer or pq.ParquetWriter(path, pa.table(table).schema, compression="none", use_dictionary=False)
        writer.write_table(pa.table(table))
        rows += group
    writer.close()
    return rows, total / rows


def test_a_data_set_larger_than_the_limit_is_registered_and_read(tmp_path):
    """500 MB of rows, in a process that has 320 MB, of which Python and Arrow take a half."""
    rows, mean = write(tmp_path / "big.parquet", 500_000_000, 20)
    arguments = (str(tmp_path / "big.parquet"), str(tmp_path / "home"), str(32 << 20))
    out, _ = run_limited(REGISTER + READ, *arguments, limit=320_000_000, timeout=240)
    found = json.loads(out.splitlines()[-1])
    assert found["rows"] == rows
    assert found["streamed"]
    assert found["mean"] == pytest.approx(mean, rel=1e-9)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_five_gigabytes_train_under_a_limit_of_one(tmp_path):
    rows, mean = write(tmp_path / "big.parquet", 5_000_000_000, 40)
    arguments = (str(tmp_path / "big.parquet"), str(tmp_path / "home"), str(256 << 20))
    out, _ = run_limited(REGISTER + TRAIN, *arguments, limit=1_000_000_000, timeout=1700)
    found = json.loads(out.splitlines()[-1])
    assert found["rows"] == rows
    assert found["streamed"]
    assert found["mean"] == pytest.approx(mean, rel=1e-9)
    assert found["loss"] < 0.6, "log(2) is no learning"
