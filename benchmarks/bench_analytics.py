"""A histogram over five nodes with a million rows each, over the real mesh, from the notebook's call to its result.

Five node processes and the coordination API on this machine; the nodes have their columns in memory, as after a first
question. Of a call it includes opening and closing the query at the API, the signed step, going through the rows, keys,
masks, the ledger on disk, opening the sum and the release. The baseline is `numpy.histogram` of the same rows in this
process, one node's after the other.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.connected_queries import ConnectedSource
from flaas_jupyter.demo.local import local_federation

NODES = ("a", "b", "c", "d", "e")
ROWS = 100_000 if os.environ.get("BENCH_QUICK") else 1_000_000
REPETITIONS = 3 if os.environ.get("BENCH_QUICK") else 7
BINS = 40


def write(folder):
    """Write each node's rows; return files and columns."""
    folder.mkdir()
    files, columns = {}, []
    for number, name in enumerate(NODES):
        rng = np.random.default_rng(number)
        table = pd.DataFrame(
            {
                "age": rng.integers(18, 90, ROWS),
                "income": rng.normal(2500.0, 700.0, ROWS),
                "label": rng.integers(0, 2, ROWS),
            }
        )
        files[name] = {"people": folder / f"{name}.parquet"}
        table.to_parquet(files[name]["people"])
        columns.append(table.income.to_numpy())
    return files, columns


@pytest.mark.parametrize("via", ["mpc", "he"])
def test_histogram_over_connected_nodes(benchmark, tmp_path, via):
    files, columns = write(tmp_path / "data")
    edges = np.linspace(-2000.0, 7000.0, BINS + 1)
    statistic = {"kind": "histogram", "columns": ["income"], "edges": {"income": edges.tolist()}}
    walls: list[float] = []
    phases: list[dict[str, float]] = []
    with (
        local_federation(tmp_path / "federation", files, "label", operations=("train", "analytics")) as federation,
        federation.connect() as session,
    ):
        source = ConnectedSource(session.project(federation.project).federation(dataset="people"))

        def ask():
            with source.open_query("histogram") as query:
                released = query.step(statistic, via)
            phases.append(query.answers[-1]["seconds"])
            return released

        ask()  # every node reads its file

        def measured():
            since = time.perf_counter()
            released = ask()
            walls.append(time.perf_counter() - since)
            return released

        released = benchmark.pedantic(measured, rounds=REPETITIONS, iterations=1)
    locally = []
    for _ in range(REPETITIONS):
        since = time.perf_counter()
        pooled = sum(np.histogram(column, edges)[0] for column in columns)
        locally.append(time.perf_counter() - since)
    counts = released.counts[1:-1]  # without what is below and above the edges
    told = ~np.isnan(counts)
    assert told.sum() > BINS // 2
    assert np.array_equal(counts[told], pooled[told])
    median, baseline = statistics.median(walls), statistics.median(locally)
    benchmark.extra_info |= {
        "rows": ROWS * len(NODES),
        "seconds": median,
        "baseline_seconds": baseline,
        "baseline": "numpy.histogram of the same rows in one process",
        "ratio": median / baseline,
        "phases": {name: statistics.median(each.get(name, 0.0) for each in phases[1:]) for name in phases[-1]},
    }
    if via == "mpc":
        assert median < 1.0
