"""The placement as a mixed-integer linear programme.

Variables: one binary per node and label; per edge and cluster the part of the traffic that is saved (continuous,
integral at the optimum since savings are positive); where prices do not nest, the local polytope between groups of
sites.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .energy import Energy, Floats, Ints
from .structure import structure_of

_ABSENT, _CERTAIN = -1, -2  # in a table of variables: never true, always true


@dataclass(frozen=True)
class Coupling:
    """A limit on several nodes together: the weights of the chosen labels sum to at most `limit`.

    `weights` holds one array (k_i,) per node.
    """

    name: str
    weights: Sequence[Floats]
    limit: float


class Programme:
    """The matrices of the programme of one energy."""

    def __init__(self, energy: Energy, couplings: Sequence[Coupling] = ()) -> None:
        self.energy = energy
        self.start = np.concatenate([[0], np.cumsum([len(u) for u in energy.unary])]).astype(np.int64)
        self.binaries = int(self.start[-1])
        self.constant = 0.0
        self._cost: list[Floats] = [np.zeros(self.binaries)]
        self._refunds: list[tuple[Ints, Floats]] = []  # added to the cost of variables made before
        self._columns = self.binaries
        self._entries: list[tuple[Ints, Ints, Floats]] = []
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._rows = 0
        every = np.arange(self.binaries)
        self._add_rows(
            np.repeat(np.arange(energy.size), np.diff(self.start)), every, np.ones(self.binaries), energy.size, 1.0, 1.0
        )
        for coupling in couplings:
            weights = np.concatenate([np.asarray(w, dtype=float) for w in coupling.weights])
            used = np.flatnonzero(weights)
            self._add_rows(np.zeros(len(used), dtype=np.int64), used, weights[used], 1, -np.inf, coupling.limit)
        self._traffic()

    def _traffic(self) -> None:
        energy = self.energy
        structure = structure_of(energy)
        outward = energy.traffic.sum(axis=1)
        for i in range(energy.size):
            own = energy.unary[i] + outward[i] * structure.out[energy.site[i]]
            self._cost[0][self.start[i] : self.start[i + 1]] += own
        edges = energy.edges()
        if not edges:
            return
        pairs = np.array(edges, dtype=np.int64)
        if len(structure.weights):
            self._savings(pairs, self._presence(structure.clusters), structure.weights)
        if structure.between is not None:
            groups = np.arange(len(structure.between))[:, None] == structure.group[None, :]
            self._polytope(pairs, self._presence(groups), structure.between)

    def _add_columns(self, cost: Floats) -> Ints:
        self._cost.append(cost)
        first, self._columns = self._columns, self._columns + len(cost)
        return np.arange(first, self._columns)

    def _add_rows(self, rows: Ints, columns: Ints, values: Floats, count: int, low: float, high: float) -> None:
        self._entries.append((rows + self._rows, columns, values))
        self._low.append(np.full(count, low))
        self._high.append(np.full(count, high))
        self._rows += count

    def _presence(self, sets: np.ndarray) -> Ints:
        """Return for each node and set of sites the variable that says the node stands in it."""
        table = np.full((self.energy.size, len(sets)), _ABSENT, dtype=np.int64)
        for i, site in enumerate(self.energy.site):
            inside = sets[:, site]
            count = inside.sum(axis=1)
            table[i, count == len(site)] = _CERTAIN
            alone = (count == 1) & (count < len(site))
            table[i, alone] = self.start[i] + inside[alone].argmax(axis=1)
            several = np.flatnonzero((count > 1) & (count < len(site)))
            if len(several):
                fresh = self._add_columns(np.zeros(len(several)))
                table[i, several] = fresh
                rows, labels = np.nonzero(inside[several])
                self._add_rows(
                    np.concatenate([rows, np.arange(len(several))]),
                    np.concatenate([self.start[i] + labels, fresh]),
                    np.concatenate([np.ones(len(labels)), -np.ones(len(several))]),
                    len(several),
                    0.0,
                    0.0,
                )
        return table

    def _add_cost(self, columns: Ints, cost: Floats) -> None:
        """Add to the cost of variables; of one that is always true, to the constant."""
        self.constant += float(cost[columns == _CERTAIN].sum())
        at = columns >= 0
        self._refunds.append((columns[at], cost[at]))

    def _savings(self, pairs: Ints, table: Ints, weights: Floats) -> None:
        both = self.energy.traffic[pairs[:, 0], pairs[:, 1]] + self.energy.traffic[pairs[:, 1], pairs[:, 0]]
        a, b = table[pairs[:, 0]], table[pairs[:, 1]]
        refund = both[:, None] * weights[None, :]
        possible = (a != _ABSENT) & (b != _ABSENT)
        one_sided = possible & ((a == _CERTAIN) | (b == _CERTAIN))
        self._add_cost(np.where(a == _CERTAIN, b, a)[one_sided], -refund[one_sided])
        open_ = possible & ~one_sided
        saved = self._add_columns(-refund[open_])
        for side in (a[open_], b[open_]):
            rows = np.arange(len(saved))
            self._add_rows(
                np.concatenate([rows, rows]),
                np.concatenate([saved, side]),
                np.concatenate([np.ones(len(saved)), -np.ones(len(saved))]),
                len(saved),
                -np.inf,
                0.0,
            )

    def _polytope(self, pairs: Ints, table: Ints, between: Floats) -> None:
        traffic = self.energy.traffic
        for i, j in pairs.tolist():
            mine, theirs = np.flatnonzero(table[i] != _ABSENT), np.flatnonzero(table[j] != _ABSENT)
            cost = traffic[i, j] * between[np.ix_(mine, theirs)] + traffic[j, i] * between[np.ix_(theirs, mine)].T
            if len(mine) == 1:
                self._add_cost(table[j, theirs], cost[0])
            elif len(theirs) == 1:
                self._add_cost(table[i, mine], cost[:, 0])
            else:
                joint = self._add_columns(cost.reshape(-1)).reshape(cost.shape)
                for side, lines in ((table[i, mine], joint), (table[j, theirs], joint.T)):
                    rows = np.repeat(np.arange(len(side)), lines.shape[1])
                    self._add_rows(
                        np.concatenate([rows, np.arange(len(side))]),
                        np.concatenate([lines.reshape(-1), side]),
                        np.concatenate([np.ones(lines.size), -np.ones(len(side))]),
                        len(side),
                        0.0,
                        0.0,
                    )

    def matrices(self) -> tuple[Floats, Any, Floats, Floats]:
        """Return cost, matrix and the limits of its rows."""
        sparse = importlib.import_module("scipy.sparse")
        cost = np.concatenate(self._cost)
        for columns, extra in self._refunds:
            np.add.at(cost, columns, extra)
        rows, columns, values = (np.concatenate(part) for part in zip(*self._entries, strict=True))
        matrix = sparse.csr_array((values, (rows, columns)), shape=(self._rows, self._columns))
        return cost, matrix, np.concatenate(self._low), np.concatenate(self._high)

    def labels(self, x: Floats) -> tuple[int, ...]:
        """Return the label of each node that a solution vector favours."""
        return tuple(int(x[self.start[i] : self.start[i + 1]].argmax()) for i in range(self.energy.size))
