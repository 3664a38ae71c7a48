"""Each aggregation rule / reading the matrix of updates once, and its peak memory beyond the matrix.

The limit is the same run's time for summing the whole float32 matrix: no rule can do with less than one look at
every value. Before each call of the rule the matrix is read once, so that what disturbs the machine disturbs both;
the ratio is that of the quickest times. Peak memory is what NumPy and Python allocate during one call (tracemalloc),
result included, as a part of the matrix. The rules that regress every parameter on the clients' ranks do O(n²) work
per parameter; they are timed on a tenth of the columns, against a tenth of the reading.
"""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from flaas_jupyter.protocols.aggregation import Rule, aggregation, names

SIZES = [(10, 1_000_000), (100, 1_000_000), (10, 10_000_000)]
REGRESSING = {"residual", "reputation", "fedqv_reputation"}
PART = 10
REPETITIONS = 5


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"n={size[0]}-p={size[1]:.0e}")
def cohort(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Updates and the reference that they started from."""
    clients, parameters = request.param
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(parameters, dtype=np.float32)
    updates = rng.standard_normal((clients, parameters), dtype=np.float32)
    updates *= 0.1
    updates += reference
    return updates, reference.astype(np.float64)


@pytest.mark.parametrize("name", names())
def test_rule_over_reading_the_updates(benchmark: Any, cohort: tuple[np.ndarray, np.ndarray], name: str) -> None:
    whole, reference = cohort
    part = PART if name in REGRESSING else 1
    columns = len(reference) // part
    updates, reference = np.ascontiguousarray(whole[:, :columns]), reference[:columns]
    examples = np.arange(1, len(updates) + 1)
    options = {"trusted": "0"} if name == "fltrust" else {}
    readings = []

    def call(rule: Rule) -> np.ndarray:
        return rule(updates, examples, reference=reference).weights

    def setup() -> tuple[tuple[Rule], dict[str, Any]]:
        began = time.perf_counter()
        whole.sum()
        readings.append((time.perf_counter() - began) / part)
        return (aggregation(name, **options),), {}

    weights = benchmark.pedantic(call, setup=setup, rounds=REPETITIONS if part == 1 else 2)
    assert np.isfinite(weights).all()
    tracemalloc.start()
    call(aggregation(name, **options))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    benchmark.extra_info["limit_seconds"] = min(readings)
    benchmark.extra_info["ratio"] = benchmark.stats.stats.min / min(readings)
    benchmark.extra_info["peak_bytes"] = peak
    benchmark.extra_info["peak_of_matrix"] = peak / updates.nbytes
