"""The kind ``performance``: how well a model does on the rows of all nodes, and on those of each node that tells it.

Metrics are made of sums over rows (a count of hits, Keras's confusion counts of an AUC): each node adds up the *states*
of its metrics, the sums of these are the states over all rows, and what is told are the results that follow, not the
states. A node puts its states into the cell of all nodes, and into a cell of its own only if its owner tells its
performance and it has enough rows. What is not told of single nodes must be of none, or of three at least: taking the
others from the whole would give away one that its owner keeps, and a node among the rest knows its own.

A model is chosen by who asks, and could be made to be wrong about one row only. So a node adds up, too, how far the
model is off for each row, |e| and e², and their squares; results are told only where both are of k rows at least, and
`EFFECTIVE`: (Σ|e|)² / Σe² (Kish), as Shapley values are told (`explanation`). A loss of classes is at least 1 there, so
that models that are right nearly always are told about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..analytics import Local, Opened, ReleasePolicy, Statistic, limits, register
from ..analytics.encoding import saturated
from ..analytics.expressions import Columns
from ..analytics.policy import MINIMUM_NODES
from ..analytics.release import Disclosed
from ..analytics.statistics import Table
from .explanation import EFFECTIVE
from .model_reference import ModelReference

MAXIMUM_STATES = 1 << 14
MAXIMUM_NODES = 256
_SPREAD = ("errors", "errors.squares", "squares", "squares.squares")
DIGITS = 3
"""To which figures of single nodes are rounded."""

Floats = NDArray[np.float64]


class Judge(Protocol):
    """A model with its metrics."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the results."""

    @property
    def states(self) -> int:
        """How many numbers the metrics are made of; as many as there are results, at least."""

    def judge(self, columns: Columns) -> tuple[Floats, Floats]:
        """Return the states of the metrics over all rows of `columns`, shape (states,), and how far off each row is.

        The latter, shape (n,), are at least 0.
        """

    def results(self, states: Floats) -> Floats:
        """Return the metrics that follow from states, shape (len(names),)."""


@dataclass(frozen=True)
class Performance(Statistic):
    """How well a model does.

    The cells are all nodes together, and each of `nodes`. The vector holds the states of the metrics; of what is told,
    the first fields are the results, by the order of the model's metrics, and the rest is withheld.

    Attributes
    ----------
    model : ModelReference
    states : int
        Numbers that the metrics are made of.
    nodes : tuple of str
        Ids of the nodes that are asked for figures of their own.
    judge : Judge or None
        The model itself, bound where rows are and where the sum is opened.
    teller : str
        The id of the node that computes, where its owner tells its performance; empty otherwise.
    smallest : int
        Rows that the node must have, to tell it.
    own : str
    """

    own: ClassVar[tuple[str, ...]] = ("model", "states", "nodes")

    model: ModelReference | None = None
    states: int = 1
    nodes: tuple[str, ...] = ()
    judge: Judge | None = field(default=None, repr=False, compare=False)
    teller: str = field(default="", repr=False, compare=False)
    smallest: int = field(default=1, repr=False, compare=False)

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Check model and nodes."""
        unfit = [name for name in ("assign", "by", "bounds", "epsilon") if common[name]]
        if unfit or not common["columns"]:
            raise limits.bad(f"a performance needs columns, and takes no {unfit[0] if unfit else 'groups'}")
        states = data.get("states")
        if type(states) is not int or not 1 <= states <= MAXIMUM_STATES:
            raise limits.bad(f"its metrics must be made of 1 to {MAXIMUM_STATES} numbers")
        nodes = limits.sequence(data.get("nodes") or [], "nodes", MAXIMUM_NODES)
        if not all(isinstance(node, str) and re.fullmatch(r"[0-9a-f]{64}", node) for node in nodes):
            raise limits.bad("its nodes must be ids of 64 hex digits")
        if len(set(nodes)) != len(nodes):
            raise limits.bad("it names a node twice")
        return {"model": ModelReference.parse(data.get("model")), "states": states, "nodes": tuple(nodes)}

    def own_dict(self) -> dict[str, Any]:
        """Return them as JSON values."""
        assert self.model is not None  # read_own wants one
        return {"model": self.model.to_dict(), "states": self.states, "nodes": list(self.nodes)}

    @property
    def raw_cells(self) -> int:
        """All nodes, and each."""
        return 1 + len(self.nodes)

    @property
    def fields(self) -> tuple[str, ...]:
        """Nodes in the cell, the states, and what says how many rows make up the errors."""
        return ("nodes", *(str(place) for place in range(self.states)), *_SPREAD)

    @property
    def real(self) -> NDArray[np.bool_]:
        """All but the number of nodes."""
        return np.array([False] + [True] * (self.states + len(_SPREAD)))

    def local(self, columns: Columns) -> Local:
        """Judge the model on the rows of one node."""
        self.require(columns)
        count = len(columns[self.columns[0]])
        matched = np.ones(count, bool) if self.where is None else np.asarray(self.where.evaluate(columns, count), bool)
        rows = int(matched.sum())
        counts, values = np.zeros(self.raw_cells, np.int64), np.zeros((self.raw_cells, len(self.fields)))
        cells = [0]
        if self.teller in self.nodes and rows >= self.smallest:
            cells.append(1 + self.nodes.index(self.teller))
        found = np.zeros(self.states + len(_SPREAD))
        if rows:
            states, errors = self._judge.judge({name: np.asarray(columns[name])[matched] for name in self.columns})
            found = np.concatenate([states, _spread_of(errors)])
        counts[cells], values[cells, 0], values[cells, 1:] = rows, 1, found
        return Local(counts, values, matched)

    def measure(self, table: Table) -> Local:
        """Judge the model on the rows of a table; see `local`."""
        return self.local(table.columns)

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Tell the results over all rows, and those of single nodes as far as the others stay hidden."""
        k = policy.minimum_group
        rows, members = opened.counts, int(opened.values[0, 0])
        spread = [_is_spread(opened.values[cell, 1 + self.states :], k) for cell in range(self.raw_cells)]
        told = [cell for cell in range(1, self.raw_cells) if rows[cell] >= max(k, 1) and spread[cell]]
        reasons = []
        if not all(spread):
            reasons.append("results that a few rows could make up most of are withheld")
        if (rows[1:] < max(k, 1)).any():
            reasons.append(f"nodes of fewer than {k} rows, and those whose owners do not tell it, are withheld")
        told.sort(key=lambda cell: (-int(rows[cell]), cell))
        while told and 0 < members - len(told) < MINIMUM_NODES:
            told.pop()
            reasons.append("further nodes are withheld, because the whole would give the others away")
        counts = np.full(self.raw_cells, np.nan)
        values = np.full((self.raw_cells, len(self.fields)), np.nan)
        judge = self._judge
        results = len(judge.names)
        for cell in (0, *told) if spread[0] else ():
            found = judge.results(opened.values[cell, 1 : 1 + self.states])
            counts[cell] = rows[cell]
            values[cell, 1 : 1 + results] = found if cell == 0 else rounded(found)
        values[0, 0] = members
        return Disclosed(counts, values, np.isnan(counts), reasons=list(dict.fromkeys(reasons)))

    @property
    def _judge(self) -> Judge:
        if self.judge is None or self.judge.states != self.states:
            raise limits.bad("its model is not at hand here, or has other metrics than it says")
        return self.judge


def _spread_of(errors: Floats) -> Floats:
    """Return Σ|e|, Σe², Σ min(e², limit) and the sum of its squares, which `_is_spread` reads."""
    sizes = np.abs(saturated(errors))
    squares = np.abs(saturated(sizes**2))
    return np.array([sizes.sum(), (sizes**2).sum(), squares.sum(), (squares**2).sum()])


def _is_spread(sums: Floats, minimum: int) -> bool:
    """Tell whether errors and their squares are of enough rows that count; also if there are none."""
    if minimum <= 1:
        return True
    least = max(minimum, EFFECTIVE) * (1 - 1e-9)
    return all(total**2 >= least * squares for total, squares in (sums[:2], sums[2:]))


def rounded(values: Floats) -> Floats:
    """Return numbers to `DIGITS` significant digits."""
    return np.array([float(f"{value:.{DIGITS}g}") for value in values.tolist()], np.float64)


register("performance", Performance)
