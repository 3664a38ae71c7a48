"""Values by rank: the kind ``order``, one step of a search for minima, maxima and quantiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from . import limits
from .counting import Count, counts_of
from .ordering import MAXIMUM_LEVELS, PARTS, ROOT, Interval, count_parts, follow, keys_of, within
from .policy import ReleasePolicy
from .release import Disclosed
from .statistics import Local, Opened, Statistic, Table
from .suppression import withheld

_MAXIMUM_TARGETS = 2048


@dataclass(frozen=True)
class Target:
    """One order statistic that is looked for.

    Attributes
    ----------
    column : int
        Place among the columns.
    group : int
        Place among the groups proper.
    quantile : float
        q, 0 to 1: of n values in ascending order, that at q (n - 1).
    upper : bool
        Whether a place between two values is the upper one.
    path : tuple of Interval
        The intervals of keys that the search came through, below `ordering.ROOT`.
    """

    column: int
    group: int
    quantile: float
    upper: bool
    path: tuple[Interval, ...] = ()

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The whole number line, and the path."""
        return (ROOT, *self.path)


@dataclass(frozen=True)
class Order(Statistic):
    """One step of a search for order statistics; see `flaas_jupyter.protocols.analytics.ordering`.

    The cells are, for each interval that some target came through, the rows below it, in each of its parts, and
    above it; and for each column and group the missing values. Of a target is released only the interval that its
    search goes on in, and n. All of its path is counted again, so that whoever releases can see that the analyst has
    come there by what was released, and not by borders of their own choice.

    Attributes
    ----------
    targets : tuple of Target
    """

    own: ClassVar[tuple[str, ...]] = ("targets",)

    targets: tuple[Target, ...] = ()

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Check the targets."""
        if common["epsilon"] is not None:
            raise limits.bad(
                "order statistics are searched for without differential privacy",
                "With epsilon=, take quantiles from a histogram between bounds.",
            )
        groups = math.prod(key.size for key in common["by"])
        listed = limits.sequence(data.get("targets"), "targets", _MAXIMUM_TARGETS)
        if not listed or not common["columns"]:
            raise limits.bad("a search needs columns and targets")
        return {"targets": tuple(_read_target(entry, len(common["columns"]), groups) for entry in listed)}

    def own_dict(self) -> dict[str, Any]:
        """Return the targets."""
        return {
            "targets": [[t.column, t.group, t.quantile, t.upper, [list(each) for each in t.path]] for t in self.targets]
        }

    @cached_property
    def _places(self) -> dict[tuple[int, int, Interval], int]:
        """Where the counts of each interval of a column and group stand, in blocks of 258."""
        keys = ((t.column, t.group, interval) for t in self.targets for interval in t.intervals)
        return {key: place for place, key in enumerate(dict.fromkeys(keys))}

    @property
    def raw_cells(self) -> int:
        """258 for each interval; and for each column and group the values there, and those missing."""
        return len(self._places) * (PARTS + 2) + 2 * len(self.columns) * self.groups

    @property
    def cells(self) -> int:
        """One for each target."""
        return len(self.targets)

    @property
    def fields(self) -> tuple[str, ...]:
        """First and last key of the interval and of its focus, in halves of 32 bits; whether the search has ended."""
        keys = ("first", "last", "focus", "end")
        return (*(f"{key}.{half}" for key in keys for half in ("high", "low")), "ended")

    @property
    def length(self) -> int:
        """Counts only."""
        return 2 + self.raw_cells

    def measure(self, table: Table) -> Local:
        """Count in the parts of every interval."""
        inner, blocks = self.inner, np.zeros((len(self._places), PARTS + 2), np.int64)
        keys: dict[tuple[int, int], NDArray[np.uint64]] = {}
        present = []
        for column, name in enumerate(self.columns):
            values = table.columns[name]
            valid = ~np.isnan(values)
            present += [counts_of(table.of_group(valid), self.groups), counts_of(table.of_group(~valid), self.groups)]
            for group in {target.group for target in self.targets if target.column == column}:
                chosen = table.matched & valid & (table.labels == inner[group])
                keys[column, group] = keys_of(values if chosen.all() else values[chosen])
        for target in self.targets:
            self._count_along(target, keys[target.column, target.group], blocks)
        counts = np.concatenate([blocks.reshape(-1), *present])
        borders = (np.where(table.matched, table.labels, -1),) if self.movable else ()
        return Local(counts, np.zeros((counts.size, 0)), table.matched, borders)

    def _count_along(self, target: Target, keys: NDArray[np.uint64], blocks: NDArray[np.int64]) -> None:
        """Count in the intervals of a target's path, each among the keys of the one before."""
        below = above = 0
        for interval in target.intervals:
            keys, less, more = within(keys, interval)
            below, above = below + less, above + more
            block = blocks[self._places[target.column, target.group, interval]]
            if not block.any():
                block[:] = count_parts(keys, interval)
                block[0], block[-1] = below, above

    def encode(self, local: Local) -> NDArray[np.int64]:
        """Counts only: the fields are made of them when they are released."""
        header = np.array([local.rows.size, int(local.rows.sum())], np.int64)
        return np.concatenate([header, local.counts])

    def decode(self, vector: NDArray[Any]) -> Opened:
        """Read the counts."""
        if vector.shape != (self.length,) or any(int(count) < 0 for count in vector[2:].tolist()):
            raise limits.bad("the sum does not belong to this search")
        opened = Count().decode(np.concatenate([vector[:2], vector[1:2]]))
        return Opened(vector[2:].astype(np.int64), np.zeros((self.raw_cells, 0)), opened.total, opened.matched)

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Go on into the span that holds the rank, if the analyst has come there by what was released."""
        k = policy.minimum_group
        least = 1 if policy.order == "exact" else k
        blocks = opened.counts[: len(self._places) * (PARTS + 2)].reshape(-1, PARTS + 2)
        present = opened.counts[blocks.size :].reshape(len(self.columns), 2, self.groups)
        few = [withheld(there, self.shape, k) | withheld(missing, self.shape, k) for there, missing in present]
        counts, values = np.full(self.cells, np.nan), np.full((self.cells, 9), np.nan)
        hidden = np.zeros(self.cells, bool)
        for place, target in enumerate(self.targets):
            n = int(blocks[self._places[target.column, target.group, ROOT]].sum())
            hidden[place] = few[target.column][target.group]
            if hidden[place] or not n:
                continue
            index = target.quantile * (n - 1)
            rank = math.ceil(index) if target.upper else math.floor(index)
            interval, ended = self._walk(target, blocks, rank, least)
            counts[place] = n
            values[place] = [*(half for key in interval for half in (key >> 32, key & 0xFFFFFFFF)), ended]
        counts[~hidden & np.isnan(counts)] = 0
        reasons = (
            [f"groups of fewer than {k} rows, and what would give them away, are withheld"] if hidden.any() else []
        )
        return Disclosed(counts, values, hidden, reasons=reasons)

    def _walk(self, target: Target, blocks: NDArray[np.int64], rank: int, least: int) -> tuple[Interval, bool]:
        """Follow the rank along the path and one step further.

        Raises
        ------
        InvalidInput
            Code ``search-elsewhere``: the path is not the one that the rank leads along.
        """
        ended = False
        intervals = target.intervals
        for interval, claimed in zip(intervals, (*intervals[1:], None), strict=True):
            counts = blocks[self._places[target.column, target.group, interval]]
            step = None if ended else follow(counts, interval, rank, least)
            if step is None or claimed not in (None, step[0]):
                break
            found, ended = step
            if claimed is None:
                return found, ended or len(target.path) + 1 >= MAXIMUM_LEVELS
        raise InvalidInput(
            "The search for an order statistic does not go where its rank leads.",
            code="search-elsewhere",
            hint="The rows or the release policy have changed meanwhile; ask again.",
        )


def _read_target(data: object, columns: int, groups: int) -> Target:
    entry = limits.sequence(data, "a target", 5)
    if len(entry) != 5:
        raise limits.bad("a target is [column, group, quantile, upper, path]")
    column, group, quantile, upper, path = entry
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in (column, group)):
        raise limits.bad("a target's column and group are places, from 0 on")
    if not (isinstance(upper, bool) and 0 <= column < columns and 0 <= group < groups):
        raise limits.bad("a target lies outside its columns or groups")
    if not 0 <= limits.number(quantile, "a quantile") <= 1:
        raise limits.bad(f"a quantile is {quantile}; allowed are 0 to 1")
    intervals: list[Interval] = []
    for given in limits.sequence(path, "a path", MAXIMUM_LEVELS - 1):
        keys = limits.sequence(given, "an interval", 4)
        first, last, *_ = intervals[-1] if intervals else ROOT
        whole = len(keys) == 4 and all(isinstance(key, int) and not isinstance(key, bool) for key in keys)
        if not whole or not first <= keys[0] <= keys[2] <= keys[3] <= keys[1] <= last:
            raise limits.bad("the intervals of a path are not inside one another")
        intervals.append((keys[0], keys[1], keys[2], keys[3]))
    return Target(column, group, float(quantile), upper, tuple(intervals))
