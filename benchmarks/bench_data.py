"""Registering a Parquet file of 1 GB and answering the first statistic of it, against reading it with pyarrow.

Registering reads all rows, checks every value, finds classes, and hashes the content (SHA-256); the first statistic is
a histogram of one column, as a query has it computed at a node. The baseline is `pyarrow.parquet.read_table` of the
same file in this process: both have the file in the page cache, and they take turns. Beside it stands what pyarrow
takes to go through the rows a batch at a time and drop them, which spares it the memory. The file has whole numbers,
fractions, truth values and categories, compressed by snappy as pandas writes it.
"""

from __future__ import annotations

import gc
import os
import statistics
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.protocols.analytics.statistics import parse

BYTES = (100 if os.environ.get("BENCH_QUICK") else 1000) * 10**6
REPETITIONS = 2 if os.environ.get("BENCH_QUICK") else 5
GROUP = 1 << 19
EDGES = np.linspace(-4.0, 4.0, 41)
CITIES = np.array([f"city number {i}" for i in range(50)])


def write(path) -> int:
    """Write a file of about `BYTES`; return its rows."""
    rng = np.random.default_rng(0)
    rows, writer = 0, None
    while writer is None or path.stat().st_size < BYTES:
        columns = {f"measure_{i}": rng.normal(size=GROUP) for i in range(12)}
        columns |= {f"amount_{i}": rng.normal(size=GROUP).astype("float32") for i in range(4)}
        columns |= {f"count_{i}": rng.integers(0, 10_000, GROUP) for i in range(6)}
        columns |= {"member": rng.random(GROUP) > 0.5, "city": CITIES[rng.integers(0, 50, GROUP)]}
        table = pa.table(columns | {"label": rng.integers(0, 2, GROUP)})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        rows += GROUP
    writer.close()
    return rows


def test_registration_and_first_statistics(benchmark, tmp_path):
    path = tmp_path / "measures.parquet"
    rows = write(path)
    statistic = parse({"kind": "histogram", "columns": ["measure_3"], "edges": {"measure_3": EDGES.tolist()}})
    ours: list[float] = []
    baseline: list[float] = []
    streamed: list[float] = []

    def register():
        home = tmp_path / f"home-{len(ours)}"
        since = time.perf_counter()
        dataset = DatasetRegistry(home).add("measures", path, target="label", raw=True)
        registered = time.perf_counter() - since
        columns = dataset.columns()
        local = statistic.local({"measure_3": columns["measure_3"]})
        ours.append(time.perf_counter() - since)
        return dataset, registered, local

    def measured():
        since = time.perf_counter()
        table = pq.read_table(path)
        baseline.append(time.perf_counter() - since)
        assert table.num_rows == rows
        del table
        since = time.perf_counter()
        assert sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(1 << 16)) == rows
        streamed.append(time.perf_counter() - since)
        gc.collect()
        return register()

    dataset, registered, local = benchmark.pedantic(measured, rounds=REPETITIONS, iterations=1)
    assert dataset.registration.rows == rows
    assert int(np.sum(local.counts)) == rows
    ratio = statistics.median(ours) / statistics.median(baseline)
    benchmark.extra_info |= {
        "bytes": path.stat().st_size,
        "rows": rows,
        "seconds": statistics.median(ours),
        "of_which_registration": registered,
        "pyarrow_seconds": statistics.median(baseline),
        "pyarrow_streaming_seconds": statistics.median(streamed),
        "ratio_to_pyarrow": ratio,
    }
    print(
        f"\n{path.stat().st_size / 1e9:.2f} GB, {rows} rows: {statistics.median(ours):.2f} s, reading with pyarrow "
        f"{statistics.median(baseline):.2f} s (streaming {statistics.median(streamed):.2f} s), ratio {ratio:.2f}"
    )
    if not os.environ.get("BENCH_QUICK"):
        assert ratio <= 1.5
