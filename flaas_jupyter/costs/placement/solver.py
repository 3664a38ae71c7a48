"""The optimum of an energy, by the quickest exact way its shape allows.

1. Twins are merged and the parts that exchange no traffic are solved apart.
2. Trees, and graphs near to trees: elimination.
3. Anything else: dominated labels go; a search gives an upper bound, pairs, stars and at last a linear relaxation give
   lower ones; labels that add more than the difference go; what is left goes to elimination or to HiGHS.
With couplings between nodes the optimum without them is tried first, and then one programme is solved as it stands.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Sequence

import numpy as np

from .bounds import alone_and_pairwise, stars
from .elimination import LARGEST, eliminate, elimination_order
from .energy import PROVEN, Energy, Floats, Ints, Solution, components
from .programme import Coupling, Programme
from .reduction import drop_dominated, merge_twins
from .search import search

_ROUND_OFF = 1e-7


def solve(energy: Energy, couplings: Sequence[Coupling] = (), *, time_limit: float = 60.0) -> Solution | None:
    """Return the optimum, None if the couplings leave no choice.

    When the time (seconds) runs out, the best found comes back with a `bound` below its value.

    Raises
    ------
    TimeoutError
        The time ran out before any choice within the couplings was found.
    """
    until = time.monotonic() + time_limit
    free = _solve_free(energy, until)
    if all(_used(coupling, free.labels) <= coupling.limit + _ROUND_OFF for coupling in couplings):
        return free
    return _solve_coupled(energy, couplings, free.bound, until)


def _used(coupling: Coupling, labels: Sequence[int]) -> float:
    return float(sum(weights[label] for weights, label in zip(coupling.weights, labels, strict=True)))


def _solve_free(energy: Energy, until: float) -> Solution:
    merged = merge_twins(energy)
    labels = [0] * merged.energy.size
    bound = 0.0
    for nodes in components(merged.energy.traffic):
        solution = solve_part(merged.energy.part(nodes), until)
        bound += solution.bound
        for node, label in zip(nodes, solution.labels, strict=True):
            labels[node] = label
    chosen = tuple(labels[index] for index in merged.classes)
    return Solution(chosen, energy.value(chosen), bound)


def solve_part(energy: Energy, until: float) -> Solution:
    """Return the optimum of a connected energy without couplings."""
    order, peak = elimination_order(energy)
    if peak <= LARGEST:
        return eliminate(energy, order)
    keep = drop_dominated(energy)
    inner = energy.restricted(keep)
    order, peak = elimination_order(inner)
    solution = eliminate(inner, order) if peak <= LARGEST else solve_by_programme(inner, until)
    labels = tuple(int(k[label]) for k, label in zip(keep, solution.labels, strict=True))
    return Solution(labels, energy.value(labels), solution.bound)


def solve_by_programme(energy: Energy, until: float) -> Solution:
    """Return the optimum through bounds of growing strength, and HiGHS for what they leave open."""
    labels, value = search(energy)
    found = Solution(labels, value, -math.inf)
    keep = [np.arange(len(u)) for u in energy.unary]
    bounds = (alone_and_pairwise, lambda inner: stars(inner, value, until))
    for bounding in bounds:
        bound, extra = bounding(energy.restricted(keep))
        found = Solution(found.labels, found.value, max(found.bound, bound))
        if found.value - found.bound < PROVEN:
            return found
        keep = _narrowed(keep, extra, found.value - bound, found.labels)
    inner = energy.restricted(keep)
    order, peak = elimination_order(inner)
    if peak <= LARGEST:
        return _better(found, eliminate(inner, order), keep, energy)
    relaxed = relax(inner, until)
    if relaxed is None:
        return found
    bound, reduced, rounded = relaxed
    found = _better(found, Solution(rounded, inner.value(rounded), max(found.bound, bound)), keep, energy)
    if found.value - found.bound < PROVEN:
        return found
    keep = _narrowed(keep, reduced, found.value - bound, found.labels)
    keep = [k[s] for k, s in zip(keep, drop_dominated(energy.restricted(keep)), strict=True)]
    inner = energy.restricted(keep)
    order, peak = elimination_order(inner)
    solution = eliminate(inner, order) if peak <= LARGEST else _branch(Programme(inner), until, found.bound)
    return found if solution is None else _better(found, solution, keep, energy)


def _better(found: Solution, inner: Solution, keep: Sequence[Ints], energy: Energy) -> Solution:
    """Return the cheaper of a solution and one over the labels kept, with the bound of the latter.

    What was set aside costs at least as much as the solution that was known, so the bound never exceeds that.
    """
    labels, value = found.labels, found.value
    if inner.value < value:
        labels = tuple(int(k[label]) for k, label in zip(keep, inner.labels, strict=True))
        value = energy.value(labels)
    return Solution(labels, value, max(found.bound, min(inner.bound, value)))


def relax(energy: Energy, until: float) -> tuple[float, list[Floats], tuple[int, ...]] | None:
    """Return the value of the linear relaxation, reduced costs per node and label, and a rounding; None if late."""
    optimize = importlib.import_module("scipy.optimize")
    programme = Programme(energy)
    cost, matrix, low, high = programme.matrices()
    left = until - time.monotonic()
    if left <= 0:
        return None
    equal = low == high
    result = optimize.linprog(
        cost,
        A_ub=matrix[~equal] if (~equal).any() else None,
        b_ub=high[~equal] if (~equal).any() else None,
        A_eq=matrix[equal],
        b_eq=high[equal],
        bounds=(0, 1),
        method="highs",
        options={"time_limit": left},
    )
    if result.status != 0:
        return None
    marginal = np.asarray(result.lower.marginals)[: programme.binaries]
    reduced = [marginal[programme.start[i] : programme.start[i + 1]] for i in range(energy.size)]
    return float(result.fun) + programme.constant, reduced, programme.labels(np.asarray(result.x))


def _branch(programme: Programme, until: float, known: float) -> Solution | None:
    """Return HiGHS's answer; None if there was no time for any.

    Raises
    ------
    _Infeasible
        No choice is within the couplings.
    """
    optimize = importlib.import_module("scipy.optimize")
    cost, matrix, low, high = programme.matrices()
    left = until - time.monotonic()
    if left <= 0:
        return None
    integrality = np.zeros(len(cost))
    integrality[: programme.binaries] = 1
    result = optimize.milp(
        cost,
        integrality=integrality,
        bounds=optimize.Bounds(0, 1),
        constraints=optimize.LinearConstraint(matrix, low, high),
        options={"mip_rel_gap": 0.0, "time_limit": left},
    )
    if result.status == 2:
        raise _Infeasible
    if result.x is None:
        return None
    labels = programme.labels(np.asarray(result.x))
    bound = programme.constant + float(result.mip_dual_bound) if result.mip_dual_bound is not None else known
    return Solution(labels, programme.energy.value(labels), max(known, bound))


class _Infeasible(Exception):
    """No choice satisfies the couplings."""


def _solve_coupled(energy: Energy, couplings: Sequence[Coupling], known: float, until: float) -> Solution | None:
    hub = _hub(energy)
    if hub is not None:
        return _solve_coupled_star(energy, couplings, hub, until)
    try:
        solution = _branch(Programme(energy, couplings), until, known)
    except _Infeasible:
        return None
    if solution is None:
        raise TimeoutError
    return solution


def _hub(energy: Energy) -> int | None:
    """Return a node that takes part in all traffic, None if there is none."""
    linked = (energy.traffic + energy.traffic.T) > 0
    for node in range(energy.size):
        rest = np.delete(np.delete(linked, node, axis=0), node, axis=1)
        if not rest.any():
            return node
    return None


def _solve_coupled_star(energy: Energy, couplings: Sequence[Coupling], hub: int, until: float) -> Solution | None:
    """Return the optimum of a star: with the hub's label fixed no pairs are left, and the programme is quick.

    Labels of the hub come in the order of what they cost without couplings, until that exceeds the best with them.
    """
    leaves = [i for i in range(energy.size) if i != hub]
    alone = {i: energy.unary[i][None, :] + energy.pair(hub, i) for i in leaves}
    floor = energy.unary[hub] + sum((a.min(axis=1) for a in alone.values()), np.zeros(len(energy.unary[hub])))
    best: Solution | None = None
    bound = math.inf
    for label in np.argsort(floor, kind="stable").tolist():
        if best is not None and floor[label] >= best.value:
            break
        unary = [energy.unary[i][[label]] if i == hub else alone[i][label] for i in range(energy.size)]
        site = [energy.site[i][[label]] if i == hub else energy.site[i] for i in range(energy.size)]
        fixed = [
            Coupling(c.name, [w[[label]] if i == hub else w for i, w in enumerate(c.weights)], c.limit)
            for c in couplings
        ]
        inner = Energy(unary, site, np.zeros_like(energy.traffic), energy.price)
        try:
            solution = _branch(Programme(inner, fixed), until, float(floor[label]))
        except _Infeasible:
            continue
        if solution is None:  # no time left: the labels not tried cost at least this
            bound = min(bound, float(floor[label]))
            if best is None:
                raise TimeoutError
            break
        bound = min(bound, solution.bound)
        if best is None or solution.value < best.value:
            labels = tuple(label if i == hub else chosen for i, chosen in enumerate(solution.labels))
            best = Solution(labels, energy.value(labels), solution.bound)
    return None if best is None else Solution(best.labels, best.value, min(bound, best.value))


def _narrowed(keep: Sequence[Ints], extra: Sequence[Floats], gap: float, labels: Sequence[int]) -> list[Ints]:
    """Return of the labels kept those that may be in a choice cheaper than the known one, and the known one."""
    slack = gap + 1e-4 + 1e-9 * abs(gap)  # more than the linear programme's tolerance, less than half a cent
    return [k[(costs <= slack) | (k == label)] for k, costs, label in zip(keep, extra, labels, strict=True)]
