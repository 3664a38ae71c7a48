"""The statistic that bin edges are found from: how many rows lie between boundaries, for some columns at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .bins import MAXIMUM_FEATURES
from .histograms import LocalSums
from .reading import KIND, MAXIMUM_CELLS, VERSION, bad_statistic, named_edges, require_columns, require_parts
from .splitting import Layout, merge_small

PARTS = ("ask", "names", "edges", "missing")
"""Parts of the JSON form beside version, kind and condition."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TreeEdges:
    """How many rows are in each cell of each column; `parse` reads it.

    Parameters
    ----------
    boundaries : dict of str to ndarray of float64, shape (c + 1,)
        Column to increasing boundaries of its c cells: boundaries[i] <= x < boundaries[i + 1]. What lies outside counts
        as in the outermost cell.
    missing : float, optional
        A value that stands for a missing one, beside NaN.
    where : dict, optional
        Condition that rows must meet.
    """

    boundaries: dict[str, NDArray[np.float64]]
    missing: float | None = None
    where: dict[str, Any] | None = None

    fields = 0

    @property
    def layout(self) -> Layout:
        """Where the cells stand: all rows, then each column's cells and one for what is missing."""
        return Layout(tuple(len(each) for each in self.boundaries.values()))

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.layout.cells

    def to_dict(self) -> dict[str, Any]:
        """Return the statistic as JSON values."""
        return {
            "v": VERSION,
            "kind": KIND,
            "ask": "edges",
            "names": list(self.boundaries),
            "edges": [each.tolist() for each in self.boundaries.values()],
            "missing": self.missing,
            "where": self.where,
        }

    @classmethod
    def parse(cls, document: Any) -> TreeEdges:
        """Read a statistic that somebody sent.

        Raises
        ------
        InvalidInput
            ``boosting-bad-statistic``; ``boosting-too-large``.
        """
        require_parts(document, "edges", PARTS)
        edges, missing = named_edges(document), document.get("missing")
        if not 1 <= len(edges) <= MAXIMUM_FEATURES:
            raise bad_statistic(f"it must name 1 to {MAXIMUM_FEATURES} columns, not {len(edges)}")
        if missing is not None and (isinstance(missing, bool) or not isinstance(missing, int | float)):
            raise bad_statistic("what stands for a missing value must be a number")
        statistic = cls(
            {name: _boundaries(name, each) for name, each in edges.items()},
            None if missing is None else float(missing),
            document.get("where"),
        )
        if statistic.cells > MAXIMUM_CELLS:
            raise InvalidInput(
                f"The step asks for {statistic.cells} counts; allowed are {MAXIMUM_CELLS}.",
                code="boosting-too-large",
                hint="Ask for fewer columns or cells in one step.",
            )
        return statistic

    def local(self, columns: Mapping[str, NDArray[Any]], rows: NDArray[np.bool_] | None = None) -> LocalSums:
        """Count the rows of one node.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,)
        rows : ndarray of bool, shape (n,), optional
            Those that meet `where`, which whoever calls evaluates; all by default.

        Raises
        ------
        InvalidInput
            ``unknown-column``.
        """
        require_columns(self.boundaries, columns)
        if rows is None:
            rows = np.ones(len(columns[next(iter(self.boundaries))]), bool)
        parts = [np.array([np.count_nonzero(rows)])]
        for name, boundaries in self.boundaries.items():
            values = np.asarray(columns[name], dtype=np.float64)[rows]
            absent_rows = np.isnan(values) if self.missing is None else np.isnan(values) | (values == self.missing)
            cells = len(boundaries) - 1
            place = np.clip(np.searchsorted(boundaries, values, side="right") - 1, 0, cells - 1)
            place[absent_rows] = cells
            parts.append(np.bincount(place, minlength=cells + 1))
        counts = np.concatenate(parts).astype(np.int64)
        return LocalSums(counts, np.zeros((self.cells, 0), np.int64), rows)

    def encode(self, local: LocalSums) -> Integers:
        """Return the integers to be summed, (cells,)."""
        return local.counts

    def decode(self, total: NDArray[Any]) -> tuple[Integers, Integers]:
        """Return counts (cells,) and values (cells, 0) of a sum of what `encode` returns.

        Raises
        ------
        InvalidInput
            ``boosting-implausible-sum``.
        """
        counts = np.asarray(total)
        if counts.shape != (self.cells,) or (counts < 0).any():
            raise InvalidInput("The counts that were opened are not those of rows.", code="boosting-implausible-sum")
        return counts.astype(np.int64), np.zeros((self.cells, 0), np.int64)

    def merged(self, counts: Integers, values: Integers, minimum: int) -> tuple[Integers, Integers, NDArray[np.bool_]]:
        """Return what may be told of a sum; see `TreeHistogram.merged`."""
        cells = merge_small(counts[None], values[None], self.layout, minimum, to_end=False)
        return cells.counts[0], cells.values[0], cells.merged[0]

    def by_column(self, counts: Integers, suppressed: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
        """Return each column's counts, NaN where a cell's rows are in the next one told."""
        told = np.where(suppressed, np.nan, counts.astype(np.float64))
        found, start = {}, 1
        for name, boundaries in self.boundaries.items():
            found[name] = told[start : start + len(boundaries) - 1]
            start += len(boundaries)
        return found


def _boundaries(name: str, values: Any) -> NDArray[np.float64]:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_statistic(f"the boundaries of {name[:80]!r} are not numbers") from error
    if found.ndim != 1 or not 2 <= len(found) <= MAXIMUM_CELLS or not (np.diff(found) > 0).all():
        raise bad_statistic(f"the boundaries of {name[:80]!r} must be two or more, and increase")
    if not np.isfinite(found).all():
        raise bad_statistic(f"the boundaries of {name[:80]!r} must be finite")
    return found
