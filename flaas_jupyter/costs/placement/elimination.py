"""Exact dynamic programming over the traffic graph: nodes are eliminated one after another.

Eliminating a node replaces it by a table over its neighbours: the least it can cost for each of their choices. On a
tree (a star, a chain) every table has one axis. On other graphs the tables grow with the treewidth, and the caller asks
`peak` first. Bertelè and Brioschi, "Nonserial Dynamic Programming", 1972; order by least table (min-weight).
"""

from __future__ import annotations

import math

import numpy as np

from .energy import Energy, Floats, Ints, Solution

LARGEST = 1_500_000
"""Entries of a table above which elimination gives way to the integer programme."""


def elimination_order(energy: Energy) -> tuple[list[int], float]:
    """Return an order of elimination and the entries of its largest table."""
    neighbours: list[set[int]] = [set() for _ in range(energy.size)]
    for i, j in energy.edges():
        neighbours[i].add(j)
        neighbours[j].add(i)
    weight = [math.log(len(u)) for u in energy.unary]
    left, order, peak = set(range(energy.size)), [], 0.0
    while left:
        entries, node = min((weight[i] + sum(weight[j] for j in neighbours[i]), i) for i in left)
        peak = max(peak, entries)
        if peak > 60:  # far beyond any memory, and exp would overflow for large graphs
            return [], math.inf
        around = neighbours[node]
        for j in around:
            neighbours[j] |= around - {j}
            neighbours[j].discard(node)
        left.discard(node)
        order.append(node)
    return order, math.exp(peak)


def eliminate(energy: Energy, order: list[int]) -> Solution:
    """Return the optimum."""
    tables: list[tuple[tuple[int, ...], Floats]] = [((i,), np.asarray(u)) for i, u in enumerate(energy.unary)]
    tables += [((i, j), energy.pair(i, j)) for i, j in energy.edges()]
    decisions: list[tuple[int, tuple[int, ...], Ints]] = []
    constant = 0.0
    for node in order:
        mine = [table for table in tables if node in table[0]]
        tables = [table for table in tables if node not in table[0]]
        axes = (*sorted({axis for names, _ in mine for axis in names} - {node}), node)
        joint: Floats = np.zeros([len(energy.unary[axis]) for axis in axes])
        for names, table in mine:
            joint = joint + _aligned(table, names, axes)
        decisions.append((node, axes[:-1], np.asarray(joint.argmin(axis=-1))))
        least = np.asarray(joint.min(axis=-1))
        if len(axes) == 1:
            constant += float(least)
        else:
            tables.append((axes[:-1], least))
    labels = [0] * energy.size
    for node, axes, best in reversed(decisions):
        labels[node] = int(best[tuple(labels[axis] for axis in axes)])
    return Solution(tuple(labels), energy.value(labels), constant)


def _aligned(table: Floats, names: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    """Return the table with its axes in the order of `axes`, of length 1 where it has none."""
    present = [axis for axis in axes if axis in names]
    turned = table.transpose([names.index(axis) for axis in present])
    return turned.reshape([turned.shape[present.index(axis)] if axis in names else 1 for axis in axes])
