"""The ways to an optimum agree with enumeration and with each other, each forced in turn."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.costs.placement import solver
from flaas_jupyter.costs.placement.bounds import alone_and_pairwise, stars
from flaas_jupyter.costs.placement.elimination import eliminate, elimination_order
from flaas_jupyter.costs.placement.energy import Energy, components
from flaas_jupyter.costs.placement.programme import Coupling
from flaas_jupyter.costs.placement.reduction import drop_dominated, merge_twins
from flaas_jupyter.costs.placement.structure import structure_of


def random_energy(seed: int, *, size: int | None = None, places: int | None = None, tree: bool = False) -> Energy:
    rng = np.random.default_rng(seed)
    n = size or int(rng.integers(2, 6))
    count = places or int(rng.integers(1, 7))
    kind = rng.choice(["arbitrary", "symmetric", "cloud", "groups"])
    price = rng.uniform(0, 0.2, (count, count))
    if kind == "symmetric":
        price = price + price.T
    provider = rng.integers(0, 3, count)
    if kind == "cloud":
        price = np.where(provider[:, None] == provider, 0.02, np.array([0.09, 0.087, 0.12])[provider][:, None])
        np.fill_diagonal(price, 0)
    if kind == "groups":
        price = rng.uniform(0.02, 0.2, (3, 3))[np.ix_(provider, provider)]
        np.fill_diagonal(price, 0)
    traffic = rng.uniform(0, 100, (n, n)) * (rng.random((n, n)) < 0.7)
    if rng.random() < 0.4:
        traffic = (traffic + traffic.T) / 2
    if rng.random() < 0.3:
        traffic = np.full((n, n), 50.0)
    if tree:
        parent = [0, *(int(rng.integers(0, i)) for i in range(1, n))]
        linked = np.zeros((n, n))
        for i in range(1, n):
            linked[i, parent[i]] = linked[parent[i], i] = 1
        traffic = traffic * linked
    np.fill_diagonal(traffic, 0)
    site = [np.sort(rng.choice(count, int(rng.integers(1, min(count, 5) + 1)), replace=False)) for _ in range(n)]
    if rng.random() < 0.3:
        site = [site[0]] * n
    base = np.round(rng.uniform(0, 30, count), 2)
    alike = rng.random() < 0.4
    unary = [base[s] if alike else np.round(rng.uniform(0, 30, len(s)), 2) for s in site]
    return Energy(unary, site, traffic, price)


def enumerate_all(energy: Energy, couplings: Any = ()) -> float:
    return min(
        (
            energy.value(labels)
            for labels in itertools.product(*(range(len(u)) for u in energy.unary))
            if all(sum(w[x] for w, x in zip(c.weights, labels, strict=True)) <= c.limit for c in couplings)
        ),
        default=math.inf,
    )


def soon() -> float:
    return time.monotonic() + 60


seeds = given(seed=st.integers(0, 10**9))


@seeds
@settings(max_examples=100, deadline=None)
def test_elimination(seed: int) -> None:
    energy = random_energy(seed)
    order, peak = elimination_order(energy)
    assert sorted(order) == list(range(energy.size))
    assert peak <= math.prod(len(u) for u in energy.unary) + 1e-6
    found = eliminate(energy, order)
    assert found.value == pytest.approx(enumerate_all(energy), abs=1e-8)
    assert found.bound == pytest.approx(found.value, abs=1e-8)


@seeds
@settings(max_examples=100, deadline=None)
def test_programme_with_its_bounds(seed: int) -> None:
    energy = random_energy(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "LARGEST", 0)  # no elimination
        found = solver.solve_by_programme(energy, soon())
    assert found.value == pytest.approx(enumerate_all(energy), abs=1e-6)
    assert found.gap == 0
    assert found.bound <= found.value + 1e-9


@seeds
@settings(max_examples=60, deadline=None)
def test_programme_alone(seed: int) -> None:
    """HiGHS on the whole programme, nothing set aside before."""
    energy = random_energy(seed)
    found = solver._branch(solver.Programme(energy), soon(), -math.inf)
    assert found is not None
    assert found.value == pytest.approx(enumerate_all(energy), abs=1e-5)


@given(seed=st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_trees_by_programme_equal_trees_by_elimination(seed: int) -> None:
    energy = random_energy(seed, size=12, places=9, tree=True)
    order, peak = elimination_order(energy)
    assert peak <= 81 + 1e-6  # a table has two axes at most
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "LARGEST", 0)
        by_programme = [solver.solve_by_programme(energy.part(part), soon()) for part in components(energy.traffic)]
    assert sum(one.value for one in by_programme) == pytest.approx(eliminate(energy, order).value, abs=1e-5)


@seeds
@settings(max_examples=100, deadline=None)
def test_bounds_never_exceed_the_optimum_nor_that_with_a_label_fixed(seed: int) -> None:
    energy = random_energy(seed, size=4)
    optimum = enumerate_all(energy)
    for bound, extra in (alone_and_pairwise(energy), stars(energy, optimum, soon()), stars(energy, math.inf, soon())):
        assert bound <= optimum + 1e-8
        for node, added in enumerate(extra):
            for label, more in enumerate(added):
                keep = [np.array([label]) if i == node else np.arange(len(u)) for i, u in enumerate(energy.unary)]
                assert bound + more <= enumerate_all(energy.restricted(keep)) + 1e-8


@seeds
@settings(max_examples=100, deadline=None)
def test_reductions_keep_the_optimum(seed: int) -> None:
    energy = random_energy(seed)
    optimum = enumerate_all(energy)
    assert enumerate_all(energy.restricted(drop_dominated(energy))) == pytest.approx(optimum, abs=1e-8)
    assert enumerate_all(merge_twins(energy).energy) == pytest.approx(optimum, abs=1e-8)


@seeds
@settings(max_examples=100, deadline=None)
def test_structure_gives_the_prices_back(seed: int) -> None:
    energy = random_energy(seed)
    found = structure_of(energy)
    inside = found.clusters.astype(float)
    rebuilt = found.out[:, None] - (inside.T * found.weights) @ inside
    if found.between is not None:
        rebuilt = rebuilt + found.between[np.ix_(found.group, found.group)]
    assert (found.weights >= 0).all()
    for i, j in energy.edges():
        a, b = energy.site[i], energy.site[j]
        pair = energy.traffic[i, j] * rebuilt[np.ix_(a, b)] + energy.traffic[j, i] * rebuilt[np.ix_(b, a)].T
        # where traffic is the same both ways a price may move from one direction to the other
        np.testing.assert_allclose(pair, energy.pair(i, j), atol=1e-8)


def test_cloud_prices_need_few_clusters() -> None:
    provider = np.repeat([0, 1, 2], 10)
    price = np.where(provider[:, None] == provider, 0.02, np.array([0.09, 0.087, 0.12])[provider][:, None])
    np.fill_diagonal(price, 0)
    every = np.arange(30)
    energy = Energy([np.ones(30)] * 3, [every] * 3, np.triu(np.ones((3, 3)), 1), price)
    found = structure_of(energy)
    assert found.between is None
    assert len(found.weights) == 33  # three providers and thirty regions


@seeds
@settings(max_examples=80, deadline=None)
def test_couplings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    energy = random_energy(seed, tree=bool(rng.random() < 0.5))
    at_zero = [(s == 0).astype(float) for s in energy.site]
    weights = [rng.integers(0, 4, len(s)).astype(float) for s in energy.site]
    couplings = [Coupling("a", at_zero, float(rng.integers(0, 3))), Coupling("b", weights, float(rng.integers(0, 9)))]
    expected = enumerate_all(energy, couplings)
    found = solver.solve(energy, couplings)
    if math.isinf(expected):
        assert found is None
    else:
        assert found is not None
        assert found.value == pytest.approx(expected, abs=1e-5)
        assert found.gap == 0


def test_no_time_at_all_still_gives_a_choice_and_an_honest_bound() -> None:
    energy = random_energy(3, size=5, places=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "LARGEST", 0)
        found = solver.solve_by_programme(energy, time.monotonic() - 1)
    assert found.bound <= enumerate_all(energy) + 1e-8 <= found.value + 2e-8
