"""A placement as arithmetic: what each choice costs alone, and what pairs of choices cost together.

Every node picks one of its labels. A label has a cost of its own and stands at a site; a pair of nodes pays
T_ij price[s_i, s_j] + T_ji price[s_j, s_i]. All solvers of this package read this one form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Energy:
    """Costs of a placement.

    Parameters
    ----------
    unary : sequence of arrays (k_i,)
        USD of each label of node i, apart from traffic.
    site : sequence of integer arrays (k_i,)
        Site of each label: an index into `price`.
    traffic : array (n, n)
        GB from node to node; the diagonal is 0.
    price : array (sites, sites)
        USD per GB from site to site; 0 where no two nodes with traffic can meet.
    """

    unary: Sequence[Floats]
    site: Sequence[Ints]
    traffic: Floats
    price: Floats

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.unary)

    def pair(self, i: int, j: int) -> Floats:
        """Return what the labels of i (rows) and of j (columns) cost together, shape (k_i, k_j)."""
        there = self.price[np.ix_(self.site[i], self.site[j])]
        back = self.price[np.ix_(self.site[j], self.site[i])].T
        return np.asarray(self.traffic[i, j] * there + self.traffic[j, i] * back)

    def edges(self) -> list[tuple[int, int]]:
        """Return the pairs i < j with traffic in either direction."""
        rows, columns = np.nonzero(np.triu(self.traffic + self.traffic.T, 1))
        return list(zip(rows.tolist(), columns.tolist(), strict=True))

    def value(self, labels: Sequence[int]) -> float:
        """Return the cost of one label per node."""
        at = np.array([self.site[i][label] for i, label in enumerate(labels)], dtype=np.int64)
        alone = sum(float(self.unary[i][label]) for i, label in enumerate(labels))
        return alone + float((self.traffic * self.price[np.ix_(at, at)]).sum())

    def restricted(self, keep: Sequence[Ints]) -> Energy:
        """Return the energy with only these labels of each node, by index."""
        return Energy(
            [u[k] for u, k in zip(self.unary, keep, strict=True)],
            [s[k] for s, k in zip(self.site, keep, strict=True)],
            self.traffic,
            self.price,
        )

    def part(self, nodes: Sequence[int]) -> Energy:
        """Return the energy of some of the nodes, without traffic to the others."""
        return Energy(
            [self.unary[i] for i in nodes],
            [self.site[i] for i in nodes],
            self.traffic[np.ix_(nodes, nodes)],
            self.price,
        )


@dataclass(frozen=True)
class Solution:
    """One label per node, what it costs, and a proven lower bound of what any choice costs."""

    labels: tuple[int, ...]
    value: float
    bound: float

    @property
    def gap(self) -> float:
        """How much dearer than the optimum the solution may be, USD; 0 when proven to a billionth of the cost."""
        gap = self.value - self.bound
        return 0.0 if gap < max(PROVEN, 1e-9 * abs(self.value)) else gap


PROVEN = 0.0049
"""A gap below half a cent counts as none."""


def components(traffic: Floats) -> list[list[int]]:
    """Return the connected parts of the traffic graph, in order of their first node."""
    linked = (traffic + traffic.T) > 0
    left, parts = set(range(len(traffic))), []
    while left:
        part, front = set(), [min(left)]
        while front:
            node = front.pop()
            if node not in part:
                part.add(node)
                front.extend(set(np.flatnonzero(linked[node]).tolist()) - part)
        left -= part
        parts.append(sorted(part))
    return parts
