"""The lazy table with keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .results import AnalyticsFrame, AnalyticsSeries

if TYPE_CHECKING:
    from .frame import Frame


class GroupBy:
    """A frame with keys; see `Frame.groupby`."""

    def __init__(self, frame: Frame, by: str | Sequence[str], values: Any, edges: Any, columns: Any = None) -> None:
        self._frame, self._by, self._values, self._edges, self._chosen = frame, by, values, edges, columns

    def __repr__(self) -> str:
        return f"<GroupBy {self._by!r} of {self._frame!r}>"

    def __getitem__(self, columns: str | Sequence[str]) -> GroupBy:
        """Choose what is aggregated."""
        for name in [columns] if isinstance(columns, str) else columns:
            self._frame[name]
        chosen = columns if isinstance(columns, str) else list(columns)
        return GroupBy(self._frame, self._by, self._values, self._edges, chosen)

    def __getattr__(self, name: str) -> GroupBy:
        if name.startswith("_") or name not in self._frame.columns:
            raise AttributeError(f"There is no column {name!r}.")
        return self[name]

    def _ask(self, question: str, **options: Any) -> Any:
        columns = self._chosen
        if columns is None:
            keys = {self._by} if isinstance(self._by, str) else set(self._by)
            columns = [name for name in self._frame._all() if name not in keys]
        return getattr(self._frame.analytics, question)(columns, **self._keys(), **options)

    def _keys(self) -> dict[str, Any]:
        return {"by": self._by, "values": self._values, "edges": self._edges}

    def size(self, **options: Any) -> AnalyticsSeries:
        """Return the rows of each group."""
        found = self._frame.analytics.count(**self._keys(), **options)
        assert isinstance(found, AnalyticsSeries)  # keys make it one
        return found

    def agg(self, functions: Any, **options: Any) -> Any:
        """Return figures of each group, as pandas' ``agg``."""
        columns = self._chosen
        if isinstance(functions, str):
            return getattr(self, functions)(**options)
        if isinstance(columns, str) and not isinstance(functions, Mapping):
            table = self._frame.analytics.group_by(
                self._by, {columns: list(functions)}, values=self._values, edges=self._edges, **options
            )
            assert isinstance(table, AnalyticsFrame)  # a list of functions makes it one
            table.columns = table.columns.get_level_values(1)
            return table
        if columns is None and not isinstance(functions, Mapping):
            keys = {self._by} if isinstance(self._by, str) else set(self._by)
            columns = [name for name in self._frame._all() if name not in keys]
        return self._frame.analytics.group_by(
            self._by, functions, columns, values=self._values, edges=self._edges, **options
        )

    aggregate = agg

    def count(self, **options: Any) -> Any:
        """Return how many values are not missing."""
        return self._ask("count", **options)

    def sum(self, **options: Any) -> Any:
        """Return sums."""
        return self._ask("sum", **options)

    def mean(self, **options: Any) -> Any:
        """Return means."""
        return self._ask("mean", **options)

    def var(self, **options: Any) -> Any:
        """Return variances."""
        return self._ask("var", **options)

    def std(self, **options: Any) -> Any:
        """Return standard deviations."""
        return self._ask("std", **options)

    def min(self, **options: Any) -> Any:
        """Return minima."""
        return self._ask("min", **options)

    def max(self, **options: Any) -> Any:
        """Return maxima."""
        return self._ask("max", **options)

    def median(self, **options: Any) -> Any:
        """Return medians."""
        return self._ask("median", **options)

    def quantile(self, q: float | Sequence[float] = 0.5, **options: Any) -> Any:
        """Return quantiles."""
        return self._ask("quantile", q=q, **options)
