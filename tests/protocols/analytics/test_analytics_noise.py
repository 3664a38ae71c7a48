"""Differential privacy of statistics: as much noise as the budget says, and no number without it."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from sums import asked, divided, opened

from flaas_jupyter.protocols.analytics import ReleasePolicy, noise, statistics

POLICY = ReleasePolicy(minimum_group=10, privacy="required")
TABLE = {"x": np.random.default_rng(1).normal(50, 10, 3000), "g": np.arange(3000) % 3}


def moments(epsilon):
    return {"kind": "moments", "columns": ["x"], "epsilon": epsilon, "bounds": {"x": [0, 100]}, "about": {"x": 50}}


def test_zero_concentrated_privacy_and_back():
    for epsilon in (0.01, 0.1, 1.0, 8.0):
        assert noise.epsilon_of(noise.rho_of(epsilon)) == pytest.approx(epsilon)
    # Bun and Steinke's conversion, by hand.
    assert noise.epsilon_of(0.1, 1e-6) == pytest.approx(0.1 + 2 * math.sqrt(0.1 * math.log(1e6)))


def test_every_released_number_has_noise():
    statistic = statistics.parse(moments(1.0))
    shares = np.array([statistic.noise(5, 4, hashlib.sha256(bytes([i])).digest()) for i in range(200)])
    assert (shares[:, :2] == 0).all()
    assert (shares[:, 2:] != 0).mean() > 0.9
    # T - c = 3 of the shares have the variance that was promised.
    spread = noise.sigma(statistic) / math.sqrt(3)
    assert shares[:, 2:4].std() == pytest.approx(spread, rel=0.1)
    assert shares[:, 4:].std() == pytest.approx(spread * 1025, rel=0.1)
    total = opened(statistic, divided(TABLE, 5))
    assert (total.total, total.matched) == (-1, -1)


def test_noise_is_a_members_own_and_repeatable():
    statistic = statistics.parse({"kind": "count", "epsilon": 0.5})
    key = bytes(32)
    assert statistic.noise(3, 3, key).tolist() == statistic.noise(3, 3, key).tolist()
    assert statistics.parse({"kind": "count"}).noise(3, 3, key).tolist() == [0, 0, 0]


def test_the_error_bound_holds_in_nineteen_of_twenty_answers():
    data = {"kind": "moments", "columns": ["x"], "power": 1, "epsilon": 1.0, "bounds": {"x": [0, 100]}}
    tables, total = divided(TABLE, 3), np.clip(TABLE["x"], 0, 100).sum()
    answers = [asked(data, tables, POLICY, seed) for seed in range(60)]
    inside = sum(abs(told.values[0, 1] - total) <= told.errors[2] for told in answers)
    assert inside >= 54
    told = answers[0]
    assert len({each.counts[0] for each in answers}) > 20
    assert told.epsilon == 1.0
    assert told.delta == noise.DELTA


def test_values_are_clipped_to_the_bounds():
    table = {"x": np.array([1e6] * 30)}
    told = asked({**moments(50.0), "about": {}}, divided(table, 3), ReleasePolicy())
    assert told.values[0, 1] == pytest.approx(3000, abs=told.errors[2] * 2)


def test_groups_that_are_noise_are_withheld():
    by = [{"column": "g", "values": [0, 1, 2, 99]}]
    told = asked({"kind": "count", "by": by, "epsilon": 2.0}, divided(TABLE, 3), POLICY)
    assert told.counts[:3] == pytest.approx(1000, abs=4 * told.errors[0])


def test_a_histogram_costs_one_bin_of_each_column():
    one = statistics.parse({"kind": "histogram", "columns": ["x"], "edges": {"x": [0, 50, 100]}, "epsilon": 1})
    two = statistics.parse(
        {"kind": "histogram", "columns": ["x", "g"], "edges": {"x": [0, 50, 100], "g": [0, 1, 2]}, "epsilon": 1}
    )
    assert noise.sigma(two) == pytest.approx(noise.sigma(one) * math.sqrt(2))
    cross = statistics.parse(
        {"kind": "cross", "columns": ["x", "g"], "epsilon": 1, "bounds": {"x": [0, 100], "g": [0, 2]}}
    )
    assert cross.largest().tolist() == [1, 100, 2, 10_000, 4, 200]
    assert cross.touched == 7
