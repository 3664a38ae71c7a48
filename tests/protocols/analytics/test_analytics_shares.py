"""Comparisons on shares, with every party in a process of its own."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.analytics import shares, statistics

if importlib.util.find_spec("mpyc") is None:  # looked for only: imported it reads this process's command line
    pytest.skip("mpyc is not installed", allow_module_level=True)

TABLES = [
    {"x": np.array([3.5, -1.0, 7.25]), "g": np.array([0, 1, 1])},
    {"x": np.array([-9.5, 2.0, np.nan]), "g": np.array([0, 0, 1])},
    {"x": np.array([4.0, 1e300]), "g": np.array([0, 1])},
]
STATISTIC = statistics.parse({"kind": "moments", "columns": ["x"], "by": [{"column": "g", "values": [0, 1, 2]}]})


def parties(function):
    return [shares.local_extremes(STATISTIC.table(table), STATISTIC.inner, function) for table in TABLES]


@pytest.mark.parametrize(
    ("function", "expected"),
    [("min", [-9.5, -1.0, None]), ("argmax", [2, 2, None])],
)
def test_the_result_is_exact_and_empty_groups_open_nothing(function, expected):
    assert shares.compare(parties(function), function) == expected


def test_small_groups_open_nothing():
    assert shares.compare(parties("max"), "max", 4) == [4.0, None, None]


def test_what_cannot_run(monkeypatch):
    for count in (2, 10):
        with pytest.raises(InvalidInput, check=lambda error: error.code == "mpyc-parties"):
            shares.compare(parties("max")[:1] * count, "max")
    uneven = [*parties("max")[:2], shares.Extremes(np.zeros(1, np.uint64), np.ones(1, np.int64))]
    with pytest.raises(InvalidInput, check=lambda error: error.code == "bad-statistic"):
        shares.compare(uneven, "max")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, check=lambda error: error.code == "missing-extra"):
        shares.compare(parties("max"), "max")
