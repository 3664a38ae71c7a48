"""Reading and searching 80,000 prices / reading the same file with `csv.reader`: what the catalog adds to its rows.

The table is made up, gzipped as published ones are, and the same in every run. Baseline: `csv.reader` over that file
into lists of texts, which neither checks nor converts a figure. Above 1 the catalog would be slower than that.
"""

from __future__ import annotations

import csv
import gzip
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flaas_jupyter.costs import Catalog, Need, Regions
from flaas_jupyter.costs.price_table import COLUMNS

ROWS = 80_000
REPETITIONS = 15
NEED = Need(vcpus=4, memory_gib=15)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path: Path = tmp_path_factory.mktemp("prices")
    places = [region.key for region in Regions.embedded()]
    with gzip.open(path / "clouds_vms.csv.gz", "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(ROWS):
            provider, region = places[number % len(places)]
            vcpus = int(2 ** rng.integers(0, 8))
            gpu = ("T4", 1, 16) if rng.random() < 0.05 else ("", 0, 0)
            price = round(vcpus * rng.uniform(0.02, 0.08), 6)
            machine = [provider, region, f"type-{number // len(places)}", "x86_64", vcpus, 4 * vcpus, *gpu]
            burstable = rng.random() < 0.1
            writer.writerow([*machine, burstable, price, round(price / 3, 6), "2026-08-01", "bench", True])
    return path


def read_texts(folder: Path) -> int:
    with gzip.open(folder / "clouds_vms.csv.gz", "rt", newline="") as file:
        return len(list(csv.reader(file)))


def test_load_and_filter(benchmark: Any, folder: Path) -> None:
    """Load, then the cheapest machine in the EU."""
    bare = []

    def setup() -> None:
        # Between two repetitions stands one of the baseline: what disturbs the machine disturbs both.
        began = time.perf_counter()
        assert read_texts(folder) == ROWS + 1
        bare.append(time.perf_counter() - began)

    Catalog.load(folder).cheapest(NEED)  # a process that has pyarrow loaded already
    found = benchmark.pedantic(lambda: Catalog.load(folder).cheapest(NEED), setup=setup, rounds=REPETITIONS)
    assert found is not None
    baseline = statistics.median(bare)
    benchmark.extra_info["baseline_seconds"] = baseline
    benchmark.extra_info["ratio"] = benchmark.stats.stats.median / baseline
    benchmark.extra_info["best_seconds"] = benchmark.stats.stats.min
    assert benchmark.extra_info["ratio"] < 1


def test_filter_alone(benchmark: Any, folder: Path) -> None:
    """The cheapest machine in the EU from a catalog in memory."""
    catalog = Catalog.load(folder)
    assert benchmark(lambda: catalog.cheapest(NEED)) is not None


def test_candidates(benchmark: Any, folder: Path) -> None:
    """The 50 first candidates in the EU, with what was set aside."""
    catalog = Catalog.load(folder)
    assert len(benchmark(lambda: catalog.candidates(NEED, limit=50))) > 50
