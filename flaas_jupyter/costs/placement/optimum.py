"""The cheapest choice of a problem under some of its constraints."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bounds import alone_and_pairwise
from .constraints import Constraint, allowed_by_pins, coupling_weights
from .energy import Bools, Energy, Floats, Ints
from .problem import Problem
from .programme import Coupling
from .solver import solve

_ROUND_OFF = 1e-6


@dataclass(frozen=True)
class Optimum:
    """One candidate per node by index, the hours the machines run, what it costs, and a proven lower bound."""

    choice: tuple[int, ...]
    hours: float
    value: float
    bound: float
    gap: float


def optimum(
    problem: Problem, active: Sequence[Constraint], *, only: Sequence[Bools] | None = None, budget: bool = True
) -> Optimum | None:
    """Return the cheapest choice under the active constraints, None if there is none.

    Parameters
    ----------
    problem : Problem
    active : sequence of Constraint
    only : sequence of boolean arrays, optional
        Candidates that count, per node; all by default.
    budget : bool
        Whether a choice above an active budget counts as none.

    Raises
    ------
    TimeoutError
        The time limit of the problem passed before any choice was found.
    """
    until = time.monotonic() + problem.time_limit
    allowed = allowed_by_pins(problem, active)
    if only is not None:
        allowed = [a & o for a, o in zip(allowed, only, strict=True)]
    if not all(a.any() for a in allowed):
        return None
    deadline = min((one.rule for one in active if one.kind == "deadline"), default=math.inf)
    couplings = coupling_weights(problem, active)
    best: Optimum | None = None
    bounds: list[float] = []
    for floor, hours, indices in _schedules(problem, allowed, deadline):
        if best is not None and floor >= best.value:
            break
        energy, kept = _energy(problem, indices, hours, couplings)
        if best is not None and alone_and_pairwise(energy)[0] >= best.value:
            continue
        limits = [
            Coupling(name, [w[k] for w, k in zip(weights, kept, strict=True)], limit)
            for name, weights, limit in couplings
        ]
        found = solve(energy, limits, time_limit=max(until - time.monotonic(), 1e-3))
        if found is None:
            continue
        bounds.append(found.bound if found.gap else found.value)
        if best is None or found.value < best.value:
            choice = tuple(int(k[label]) for k, label in zip(kept, found.labels, strict=True))
            best = Optimum(choice, hours, found.value, found.bound, 0.0)
    if best is None:
        return None
    bound = min(min(bounds), best.value)
    best = Optimum(best.choice, best.hours, best.value, bound, best.value - bound)
    most = min((one.rule for one in active if one.kind == "budget"), default=math.inf)
    return None if budget and best.value > most + _ROUND_OFF else best


def _schedules(problem: Problem, allowed: Sequence[Bools], deadline: float) -> list[tuple[float, float, list[Ints]]]:
    """Return the possible running times, each with a lower bound of the cost and the candidates quick enough for it.

    With rounds every machine is paid until the slowest is done, so each distinct round time is tried as the slowest.
    """
    usd, storage, seconds = problem.usd_hour, problem.storage, problem.seconds if problem.rounds is not None else []
    if problem.hours is not None:
        indices = [np.flatnonzero(a) for a in allowed]
        return [] if problem.hours > deadline else [(0.0, problem.hours, indices)]
    assert problem.rounds is not None
    slowest = max(float(s[a].min()) for s, a in zip(seconds, allowed, strict=True))
    found = []
    for tau in np.unique(np.concatenate([s[a] for s, a in zip(seconds, allowed, strict=True)])):
        hours = problem.rounds * float(tau) / 3600
        if tau < slowest or hours > deadline * (1 + 1e-12):
            continue
        indices = [np.flatnonzero(a & (s <= tau)) for s, a in zip(seconds, allowed, strict=True)]
        floor = sum(float((hours * u[k] + st[k]).min()) for u, st, k in zip(usd, storage, indices, strict=True))
        found.append((floor, hours, indices))
    return sorted(found, key=lambda one: one[:2])


def _energy(
    problem: Problem, indices: Sequence[Ints], hours: float, couplings: Sequence[tuple[str, list[Floats], float]]
) -> tuple[Energy, list[Ints]]:
    """Return the costs over one candidate per place: of those that differ in nothing but price, the cheapest."""
    unary: list[Floats] = []
    sites: list[Ints] = []
    kept: list[Ints] = []
    for i, index in enumerate(indices):
        cost = (hours * problem.usd_hour[i] + problem.storage[i])[index]
        site = problem.sites[i][index]
        marks = np.stack([site.astype(float), *(weights[i][index] for _, weights, _ in couplings)], axis=1)
        order = np.lexsort((index, cost))
        _, first = np.unique(marks[order], axis=0, return_index=True)
        cheapest = np.sort(order[first])
        unary.append(cost[cheapest])
        sites.append(site[cheapest])
        kept.append(index[cheapest])
    stands = np.zeros((len(sites), problem.prices.count))
    for i, site in enumerate(sites):
        stands[i, site] = 1
    needed = np.asarray((stands.T @ (problem.traffic > 0) @ stands) > 0)
    return Energy(unary, sites, problem.traffic, problem.prices.matrix(needed)), kept
