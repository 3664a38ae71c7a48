"""Each aggregation rule / reading the matrix of updates once, and its peak memory beyond the matrix.

The limit is the same run's time for summing the whole float32 matrix: no rule can do with less than one look at
every value. Peak memory is what NumPy and Python allocate during one call (tracemalloc), result included, as a part
of the matrix. The rules that regress every parameter on the clients' ranks do O(n²) work per parameter; they are
timed on a tenth of the columns and reported against reading that tenth.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from flaas_jupyter.protocols.aggregation import Rule, aggregation, names

SIZES = [(10, 1_000_000), (100, 1_000_000), (10, 10_000_000)]
REGRESSING = {"residual", "reputation", "fedqv_reputation"}
READINGS = 9


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


def reading(updates: np.ndarray) -> float:
    """Seconds for one look at every value."""
    seconds = []
    for _ in range(READINGS):
        began = time.perf_counter()
        updates.sum()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


@pytest.mark.parametrize("name", names())
def test_rule_over_reading_the_updates(benchmark: Any, cohort: tuple[np.ndarray, np.ndarray], name: str) -> None:
    updates, reference = cohort
    if name in REGRESSING:
        updates, reference = updates[:, : len(reference) // 10], reference[: len(reference) // 10]
        updates = np.ascontiguousarray(updates)
    examples = np.arange(1, len(updates) + 1)
    options = {"trusted": "0"} if name == "fltrust" else {}

    def make() -> tuple[tuple[Rule], dict[str, Any]]:
        return (aggregation(name, **options),), {}

    def call(rule: Rule) -> np.ndarray:
        return rule(updates, examples, reference=reference).weights

    limit = reading(updates)
    rounds = 1 if name in REGRESSING and len(updates) > 50 else 3
    weights = benchmark.pedantic(call, setup=make, rounds=rounds)
    assert np.isfinite(weights).all()
    tracemalloc.start()
    call(aggregation(name, **options))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    benchmark.extra_info["reading_seconds"] = limit
    benchmark.extra_info["ratio"] = benchmark.stats.stats.min / limit
    benchmark.extra_info["peak_bytes"] = peak
    benchmark.extra_info["peak_of_matrix"] = peak / updates.nbytes
