"""One question under way: the query, the sums that it asks for, and what it has cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..protocols.analytics import statistics
from ..protocols.analytics.release import Released
from . import grouping
from .figures import Moments, Table
from .private import quantiles_of_histogram
from .results import Facts, facts_of
from .scope import Scope
from .search import search
from .source import Query, Source

MOMENTS = ("count", "sum", "mean", "var", "std")
"""Figures that follow from sums."""
ORDER = {"min": 0.0, "median": 0.5, "max": 1.0}
"""Figures that are quantiles."""
_COUNTING = ("histogram", "prefixes")
"""Kinds that count rows, for which noise needs no bounds."""
_PRIVATE_BINS = 128
_EPS = 2.0**-52


@dataclass(frozen=True)
class Options:
    """What every question takes.

    Attributes
    ----------
    scope : Scope
        Condition and derived columns.
    groups : Groups
    via : str
    epsilon : float or None
    bounds : dict of str to (float, float)
    """

    scope: Scope
    groups: grouping.Groups
    via: str
    epsilon: float | None
    bounds: dict[str, tuple[float, float]]


class Call:
    """One question under way: the query, what it has cost, and the sums it is made of."""

    def __init__(self, source: Source, operation: str, options: Options) -> None:
        self._source, self.operation, self.options = source, operation, options
        self.releases: list[Released] = []
        scope = options.scope
        summary = {
            "columns": sorted(scope.columns)[:50],
            "by": list(options.groups.names),
            "condition": scope.where is not None,
            "epsilon": options.epsilon,
        }
        self._query = source.open_query(operation, summary)
        self._epsilon = options.epsilon

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._query.close(error)

    def share(self, parts: int) -> Call:
        """Return the call with a part of its ε for what follows."""
        self._epsilon = None if self.options.epsilon is None else self.options.epsilon / parts
        return self

    def each(self, epsilon: float | None) -> Call:
        """Return the call with an ε of its own for each step that follows."""
        self._epsilon = epsilon
        return self

    def all_groups(self) -> Call:
        """Return the same call about all rows, whatever group they are in."""
        return self.otherwise(groups=grouping.Groups())

    def otherwise(self, **changes: Any) -> Call:
        """Return the same call with other options; its steps are steps of the same query."""
        other = object.__new__(Call)
        other.__dict__ = {**self.__dict__, "options": replace(self.options, **changes)}
        return other

    @property
    def query(self) -> Query:
        """The query that its steps belong to."""
        return self._query

    def facts(self, error_bound: float) -> Facts:
        """Return what the answer says beside its figures."""
        names = dict(self._source.names)
        return facts_of(self.operation, self.releases, names, self.options.via, error_bound)

    def step(self, kind: str, columns: Sequence[str], **own: Any) -> Released:
        """Ask for one statistic."""
        scope = self.options.scope
        statistic: dict[str, Any] = {
            "v": 1,
            "kind": kind,
            "columns": list(columns),
            "where": scope.where,
            "assign": [list(pair) for pair in scope.assign],
            "by": [dict(key) for key in self.options.groups.keys],
            **own,
        }
        if self._epsilon is not None:
            statistic["epsilon"] = self._epsilon
            statistic["bounds"] = {
                name: list(self._bound(name))
                for name in columns
                if kind not in _COUNTING or (kind == "histogram" and name in self.options.bounds)
            }
        expected = None if kind == "extremes" else statistics.parse(statistic)  # refused here rather than at nodes
        released = self._query.step(statistic, self.options.via)
        if expected is not None and (len(released.counts), released.fields) != (expected.cells, expected.fields):
            raise InvalidInput(
                "The releaser's answer does not belong to the question.",
                code="bad-release",
                hint="Ask again; the nodes choose another releaser.",
            )
        self.releases.append(released)
        return released

    def aggregate(self, columns: Sequence[str], functions: Sequence[str], ddof: int) -> dict[str, Table]:
        """Return figures by function."""
        of_moments = [function for function in functions if function in MOMENTS]
        of_order = [function for function in functions if function in ORDER]
        parts = bool(of_moments) + bool(of_order)
        found: dict[str, Table] = {}
        if of_moments:
            squares = any(function in ("var", "std") for function in of_moments)
            moments = self.share(parts).moments(columns, 2 if squares else 1)
            given: dict[str, Callable[[], Table]] = {
                "count": lambda: moments.count,
                "sum": lambda: moments.sum,
                "mean": lambda: moments.mean,
                "var": lambda: moments.var(ddof),
                "std": lambda: moments.std(ddof),
            }
            found |= {function: given[function]() for function in of_moments}
        if of_order:
            if self.options.epsilon is not None and set(of_order) - {"median"}:
                raise InvalidInput(
                    "Minimum and maximum are values of single rows, which differential privacy hides.",
                    code="bad-epsilon",
                    hint="Ask for quantile(q=0.01) and quantile(q=0.99) with epsilon=.",
                )
            tables = self.share(parts).quantiles(columns, [ORDER[function] for function in of_order])
            found |= dict(zip(of_order, tables, strict=True))
        return found

    def moments(self, columns: Sequence[str], power: int) -> Moments:
        """Return n, sums and squares; squares are summed about means that are asked for first."""
        groups, width = self.options.groups.size, len(columns)
        about = np.zeros((groups, width))
        private = self._epsilon is not None
        if private:
            about[:] = [sum(self._bound(name)) / 2 for name in columns]
        elif power == 2:
            rough = self.moments(columns, 1).mean.values
            about = np.where(np.isfinite(rough), rough, 0.0)
        centres = {
            name: [float(value) for value in about[:, place]]
            for place, name in enumerate(columns)
            if about[:, place].any()
        }
        released = self.step("moments", columns, power=power, about=centres)
        values = released.values.reshape(groups, width, 1 + power)
        errors = np.array(released.errors[1:]).reshape(width, 1 + power)
        spread = tuple(np.broadcast_to(errors[:, part], (groups, width)) for part in range(1 + power))
        n = values[:, :, 0]
        return Moments(
            n,
            values[:, :, 1],
            values[:, :, 2] if power == 2 else None,
            about,
            spread,
            np.isnan(n),
            private,
        )

    def quantiles(self, columns: Sequence[str], wanted: Sequence[float]) -> list[Table]:
        """Return a table for each quantile."""
        groups = self.options.groups.size
        if self._epsilon is not None:
            return self._private_quantiles(columns, wanted)
        found = search(
            lambda own: self.step("order", columns, **own), len(columns), groups, list(dict.fromkeys(wanted))
        )
        places = {quantile: place for place, quantile in enumerate(dict.fromkeys(wanted))}
        return [
            Table(
                found.values[:, :, places[quantile]].T,
                found.errors[:, :, places[quantile]].T,
                found.hidden[:, :, places[quantile]].T,
            )
            for quantile in wanted
        ]

    def _private_quantiles(self, columns: Sequence[str], wanted: Sequence[float]) -> list[Table]:
        edges = {name: np.linspace(*self._bound(name), _PRIVATE_BINS + 1) for name in columns}
        released = self.step(
            "histogram", columns, edges={name: [float(edge) for edge in cuts] for name, cuts in edges.items()}
        )
        counts = released.counts.reshape(self.options.groups.size, len(columns), _PRIVATE_BINS + 2)
        return [
            Table(*quantiles_of_histogram(counts, [edges[name] for name in columns], quantile, released.errors[0]))
            for quantile in wanted
        ]

    def correlation(self, columns: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
        """Return the matrix, what of it is withheld, and what it is off by."""
        if self._epsilon is None:
            rough = self.moments(columns, 1).mean.values[0]
            about = np.where(np.isfinite(rough), rough, 0.0)
        else:
            about = np.array([sum(self._bound(name)) / 2 for name in columns])
        centres = {name: float(value) for name, value in zip(columns, about, strict=True) if value}
        released = self.step("cross", columns, about=centres)
        size = len(columns)
        matrix, hidden = np.full((size, size), np.nan), np.zeros((size, size), bool)
        figures = released.values[0].reshape(-1, 6)
        errors = np.array(released.errors[1:]).reshape(-1, 6)
        worst, at = 0.0, 0
        seen = np.zeros(size, bool)
        for i in range(size):
            for j in range(i + 1, size):
                n, x, y, xx, yy, xy = figures[at]
                hidden[i, j] = hidden[j, i] = bool(np.isnan(n))
                if n > 0:
                    vx, vy, cov = xx - x * x / n, yy - y * y / n, xy - x * y / n
                    seen[i] |= vx > 0
                    seen[j] |= vy > 0
                    if vx > 0 and vy > 0:
                        root = math.sqrt(vx * vy)
                        matrix[i, j] = matrix[j, i] = min(1.0, max(-1.0, cov / root))
                        worst = max(worst, (errors[at, 5] + errors[at, 3] + errors[at, 4]) / root + 8 * _EPS)
                at += 1
        matrix[np.diag_indices(size)] = np.where(seen, 1.0, np.nan)
        hidden[np.diag_indices(size)] = ~seen & hidden.any(axis=1)
        return matrix, hidden, worst

    def on_shares(self, columns: Sequence[str], function: str) -> Table:
        """Return minima or maxima by comparisons on shares, of sources that can."""
        if function not in ("min", "max"):
            raise InvalidInput(
                f"via='mpyc' compares shares, for min and max only, not {function}.",
                code="query-via",
                hint='Sums go via="mpc" or via="he".',
            )
        if self.options.epsilon is not None:
            raise InvalidInput("via='mpyc' has no differential privacy.", code="bad-epsilon")
        released = self.step("extremes", columns, function=function)
        values = released.values.reshape(self.options.groups.size, len(columns))
        return Table(values, np.zeros(values.shape), np.isnan(values) & released.suppressed.any())

    def _bound(self, column: str) -> tuple[float, float]:
        known = self.options.bounds.get(column) or self.options.bounds.get("")
        known = known or self._source.ranges.get(column)
        if known is None:
            raise InvalidInput(
                f"Column {column!r} needs bounds: the noise must hide the largest value that a row may have.",
                code="bounds-missing",
                hint=f'For example bounds={{"{column}": (0, 120)}}; values outside are clipped to them.',
                column=column,
            )
        return float(known[0]), float(known[1])
