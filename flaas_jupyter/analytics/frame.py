"""A lazy table over the rows of all nodes, with pandas' words: filter, assign, group, aggregate.

Nothing is asked until a figure is: a `Frame` is a condition, derived columns and a choice of columns; a `Column` is an
expression. Single rows cannot be looked at.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import InvalidInput, NotAllowed
from .column import Column, no_rows, operand_of, text_of
from .groupby import GroupBy
from .queries import Analytics, Answer
from .results import AnalyticsFrame, AnalyticsNumber, AnalyticsSeries, joined
from .scope import Scope


class Frame:
    """A table over the rows of all nodes; ``federation.frame()`` makes one.

    Parameters
    ----------
    analytics : Analytics
        Whose scope it has.
    columns : sequence of str, optional
        What has been chosen; all by default.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from flaas_jupyter import simulate
    >>> table = pd.DataFrame({"age": np.arange(90) % 60, "sex": np.arange(90) % 2})
    >>> frame = simulate(table, np.zeros(90), clients=3).frame()
    >>> frame[frame.age >= 30].groupby("sex", values=[0, 1]).age.mean().to_list()
    [44.0, 45.0]
    """

    analytics: Analytics

    def __init__(self, analytics: Analytics, columns: Sequence[str] | None = None) -> None:
        self.analytics = analytics
        self._columns = None if columns is None else list(columns)

    @property
    def scope(self) -> Scope:
        """Condition and derived columns."""
        return self.analytics.scope

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        if self._columns is not None:
            return list(self._columns)
        return list(dict.fromkeys([*self.analytics.columns, *(name for name, _ in self.scope.assign)]))

    def __getattr__(self, name: str) -> Column:
        if name.startswith("_") or name not in self.columns:
            raise AttributeError(f"There is no column {name!r}; there are {', '.join(self.columns[:20])}.")
        return self[name]  # type: ignore[no-any-return]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in self.columns if name.isidentifier())})

    def _ipython_key_completions_(self) -> list[str]:
        return self.columns

    def __getitem__(self, key: Any) -> Any:
        """Return a column, a frame of some columns, or one of the rows that meet a condition."""
        if isinstance(key, str):
            if key not in self.columns:
                shown = ", ".join(self.columns[:20])
                raise InvalidInput(f"There is no column {key!r}; there are {shown}.", code="unknown-column", column=key)
            return Column(self, {"column": key}, key)
        if isinstance(key, Column):
            return Frame(Analytics(self.analytics.source, self.scope.filtered(key)), self._columns)
        if isinstance(key, list | tuple):
            return Frame(self.analytics, [self[name].name for name in key])
        raise no_rows()

    def __len__(self) -> int:
        """Return the number of rows, by a query."""
        rows = self.analytics.count()
        assert isinstance(rows, AnalyticsNumber)  # no groups
        if rows.suppressed:
            raise NotAllowed("The number of rows is withheld.", code="withheld", hint="; ".join(rows.reasons))
        return int(rows)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __repr__(self) -> str:
        return f"<Frame of {', '.join(self.columns[:12])}{self._condition()}>"

    def _repr_html_(self) -> str:
        columns = ", ".join(f"<code>{html.escape(name)}</code>" for name in self.columns)
        return (
            f"<div>Rows of {len(self.analytics.source.names)} nodes{html.escape(self._condition())}<br>{columns}</div>"
        )

    def _condition(self) -> str:
        return "" if self.scope.where is None else f" where {text_of(self.scope.where)}"

    def assign(self, **columns: Any) -> Frame:
        """Return a frame with derived columns, given as expressions or as functions of the frame."""
        frame = self
        for name, given in columns.items():
            column = given(frame) if callable(given) and not isinstance(given, Column) else given
            scope = frame.scope.assigned(name, operand_of(column))
            chosen = None if frame._columns is None else [*frame._columns, name]
            frame = Frame(Analytics(frame.analytics.source, scope), chosen)
        return frame

    def query(self, condition: Callable[[Frame], Column] | Column) -> Frame:
        """Return a frame of the rows that meet a condition, or a function of the frame that makes one."""
        found: Frame = self[condition(self) if not isinstance(condition, Column) else condition]
        return found

    def groupby(self, by: str | Sequence[str], *, values: Any = None, edges: Any = None) -> GroupBy:
        """Group rows; `values` or `edges` say what groups there are where that is not known."""
        return GroupBy(self, by, values, edges)

    def agg(self, functions: str | Sequence[str] | Mapping[str, Any], **options: Any) -> Any:
        """Return one figure for each column, or several: as pandas' ``agg``."""
        if isinstance(functions, str):
            return getattr(self, functions)(**options)
        if not isinstance(functions, Mapping):
            answers = {name: getattr(self, name)(**options) for name in functions}
            table = AnalyticsFrame({name: answer.to_numpy(float) for name, answer in answers.items()}).T
            table.columns = next(iter(answers.values())).index
            return table.with_facts(joined("agg", [answer.facts for answer in answers.values()]))
        series = {column: getattr(self[column], str(function))(**options) for column, function in functions.items()}
        facts = joined("agg", [answer.facts for answer in series.values()])
        return AnalyticsSeries([float(value) for value in series.values()], index=list(series)).with_facts(facts)

    aggregate = agg

    def _measured(self) -> list[str] | None:
        """The numbers among the columns chosen."""
        if self._columns is None:
            return None
        conditions = self.scope.conditions
        return [name for name in self._columns if name not in conditions]

    def count(self, **options: Any) -> Answer:
        """Return how many values of each column are not missing."""
        names = self._measured()
        return self.analytics.count(names if names is not None else self._all(), **options)

    def sum(self, **options: Any) -> Answer:
        """Return sums."""
        return self.analytics.sum(self._measured(), **options)

    def mean(self, **options: Any) -> Answer:
        """Return means."""
        return self.analytics.mean(self._measured(), **options)

    def var(self, **options: Any) -> Answer:
        """Return variances."""
        return self.analytics.var(self._measured(), **options)

    def std(self, **options: Any) -> Answer:
        """Return standard deviations."""
        return self.analytics.std(self._measured(), **options)

    def min(self, **options: Any) -> Answer:
        """Return minima."""
        return self.analytics.min(self._measured(), **options)

    def max(self, **options: Any) -> Answer:
        """Return maxima."""
        return self.analytics.max(self._measured(), **options)

    def median(self, **options: Any) -> Answer:
        """Return medians."""
        return self.analytics.median(self._measured(), **options)

    def quantile(self, q: float | Sequence[float] = 0.5, **options: Any) -> Answer:
        """Return quantiles."""
        return self.analytics.quantile(self._measured(), q, **options)

    def describe(self, **options: Any) -> AnalyticsFrame | AnalyticsSeries:
        """Return count, mean, std, min, quartiles and max."""
        return self.analytics.describe(self._measured(), **options)

    def corr(self, **options: Any) -> AnalyticsFrame:
        """Return correlations of all pairs."""
        return self.analytics.correlation(self._measured(), **options)

    def _all(self) -> list[str]:
        conditions = self.scope.conditions
        return [name for name in self.columns if name not in conditions]
