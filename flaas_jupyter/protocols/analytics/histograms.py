"""Rows by bin: the kind ``histogram``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import limits
from .counting import counts_of
from .grouping import bin_of
from .policy import ReleasePolicy
from .release import Disclosed
from .statistics import Local, Opened, Statistic, Table
from .suppression import Span, merge, withheld


@dataclass(frozen=True)
class Histogram(Statistic):
    """Rows in bins of columns, by groups.

    The cells of one group are, column after column: below the first edge, each bin, above the last edge; raw cells have
    the missing values after these.

    Attributes
    ----------
    edges : dict of str to tuple of float
        Of each column; bins are half open, the last one closed.
    """

    own: ClassVar[tuple[str, ...]] = ("edges",)

    edges: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Check the edges."""
        given = limits.mapping(data.get("edges") or {}, "edges")
        if not common["columns"] or set(given) != set(common["columns"]):
            raise limits.bad("a histogram needs columns, and edges of each of them and of no other")
        return {"edges": {name: limits.ascending(given[name], name) for name in common["columns"]}}

    def own_dict(self) -> dict[str, Any]:
        """Return the edges."""
        return {"edges": {name: list(edges) for name, edges in self.edges.items()}}

    @cached_property
    def bins(self) -> tuple[int, ...]:
        """Cells of each column that can be released: the bins and the two outside."""
        return tuple(len(self.edges[name]) + 1 for name in self.columns)

    @property
    def raw_cells(self) -> int:
        """One more for each column: missing values."""
        return self.groups * (sum(self.bins) + len(self.columns))

    @property
    def cells(self) -> int:
        """Those of groups proper, without missing values."""
        return math.prod(self.shape) * sum(self.bins)

    @property
    def touched(self) -> int:
        """One cell of each column."""
        return len(self.columns)

    def measure(self, table: Table) -> Local:
        """Count."""
        blocks, partitions = [], []
        everywhere = bool(table.matched.all())
        for name, bins in zip(self.columns, self.bins, strict=True):
            place = bin_of(table.columns[name], self.edges[name], outside=True)
            cells = place if table.groups == 1 else table.labels * (bins + 1) + place
            partitions.append(cells if everywhere else np.where(table.matched, cells, -1))
            chosen = cells if everywhere else cells[table.matched]
            blocks.append(counts_of(chosen, table.groups * (bins + 1)).reshape(table.groups, bins + 1))
        counts = np.concatenate(blocks, axis=1).reshape(-1)
        return Local(counts, np.zeros((counts.size, 0)), table.matched, tuple(partitions))

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Merge small bins with their neighbours; withhold small groups whole."""
        k, groups = policy.minimum_group, math.prod(self.shape)
        raw = opened.counts.reshape(self.groups, -1)
        told = np.full((groups, sum(self.bins)), np.nan)
        spans: list[Span] = []
        small = False
        first = at = 0
        for bins in self.bins:
            block = raw[:, first : first + bins + 1]
            if self.epsilon is not None:
                told[:, at : at + bins] = block[self.inner, :bins]
            else:
                small |= self._tell(block, bins, k, told, at, spans)
            first, at = first + bins + 1, at + bins
        suppressed = np.isnan(told).reshape(-1)
        reasons = [f"groups of fewer than {k} rows, and what would give them away, are withheld"] if small else []
        if spans:
            reasons.append(f"bins of fewer than {k} rows are told together with their neighbours")
        return Disclosed(told.reshape(-1), np.zeros((suppressed.size, 0)), suppressed, spans, reasons)

    def _tell(
        self,
        block: NDArray[np.int64],
        bins: int,
        minimum: int,
        told: NDArray[np.float64],
        at: int,
        spans: list[Span],
    ) -> bool:
        """Write one column's counts into `told`; return whether a group was withheld."""
        there = block[:, :bins].sum(axis=1)
        hidden = withheld(there, self.shape, minimum)
        hidden |= withheld(block[:, bins], self.shape, minimum)
        for group, cell in enumerate(self.inner.tolist()):
            if hidden[group]:
                continue
            offset = group * told.shape[1] + at
            for span in merge(block[cell, :bins], minimum):
                if span.stop == span.start + 1:
                    told[group, at + span.start] = span.rows
                else:
                    spans.append(Span(offset + span.start, offset + span.stop, span.rows))
        return bool(hidden.any())
