"""A column of the lazy table: an expression until a figure of it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput, NotAllowed
from .queries import Analytics, Answer
from .results import AnalyticsFrame, AnalyticsNumber, AnalyticsSeries, joined
from .scope import Tree

if TYPE_CHECKING:
    from .frame import Frame

_UFUNCS = {"log": "log", "exp": "exp", "absolute": "abs", "logical_not": "not", "isnan": "isnull"}
_OPERATORS = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "true_divide": "div",
    "divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "equal": "eq",
    "not_equal": "ne",
    "logical_and": "and",
    "logical_or": "or",
    "bitwise_and": "and",
    "bitwise_or": "or",
}


def operand_of(value: Any) -> Tree:
    """Return the expression of a column or a constant."""
    if isinstance(value, Column):
        return value.expression
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise InvalidInput(
        f"{type(value).__name__} cannot be part of an expression; columns, numbers and text can.",
        code="bad-expression",
        hint="Arrays stay in the notebook: rows of the nodes have no counterpart in them.",
    )


class Column:
    """A column of a `Frame`, or an expression of columns; its figures are asked for by methods.

    Attributes
    ----------
    expression : dict
        JSON form of `flaas_jupyter.protocols.analytics.expressions`.
    name : str or None
    """

    __hash__ = None  # type: ignore[assignment]  # == makes a condition
    __array_priority__ = 1000

    def __init__(self, frame: Frame, expression: Tree, name: str | None = None) -> None:
        self._frame, self.expression, self.name = frame, expression, name

    def __repr__(self) -> str:
        return f"<Column {self.name or text_of(self.expression)}>"

    # ---- expressions -----------------------------------------------------------------------------------------------

    def _with(self, op: str, *others: Any, reverse: bool = False) -> Column:
        operands = [self.expression, *map(operand_of, others)]
        return Column(self._frame, {"op": op, "args": operands[::-1] if reverse else operands})

    def __add__(self, other: Any) -> Column:
        return self._with("add", other)

    def __radd__(self, other: Any) -> Column:
        return self._with("add", other, reverse=True)

    def __sub__(self, other: Any) -> Column:
        return self._with("sub", other)

    def __rsub__(self, other: Any) -> Column:
        return self._with("sub", other, reverse=True)

    def __mul__(self, other: Any) -> Column:
        return self._with("mul", other)

    def __rmul__(self, other: Any) -> Column:
        return self._with("mul", other, reverse=True)

    def __truediv__(self, other: Any) -> Column:
        return self._with("div", other)

    def __rtruediv__(self, other: Any) -> Column:
        return self._with("div", other, reverse=True)

    def __pow__(self, power: Any) -> Column:
        if power != 2:
            raise InvalidInput(f"A column can be raised to 2, not to {power!r}.", code="bad-expression")
        return self._with("mul", self)

    def __neg__(self) -> Column:
        return self._with("mul", -1)

    def __gt__(self, other: Any) -> Column:
        return self._with("gt", other)

    def __ge__(self, other: Any) -> Column:
        return self._with("ge", other)

    def __lt__(self, other: Any) -> Column:
        return self._with("lt", other)

    def __le__(self, other: Any) -> Column:
        return self._with("le", other)

    def __eq__(self, other: object) -> Column:  # type: ignore[override]
        return self._with("eq", other)

    def __ne__(self, other: object) -> Column:  # type: ignore[override]
        return self._with("ne", other)

    def __and__(self, other: Any) -> Column:
        return self._with("and", other)

    def __or__(self, other: Any) -> Column:
        return self._with("or", other)

    def __invert__(self) -> Column:
        return self._with("not")

    def __bool__(self) -> bool:
        raise InvalidInput(
            "A condition on rows is neither true nor false by itself.",
            code="bad-condition",
            hint="Use & | ~ instead of and, or, not, with conditions in parentheses; for 1 < x < 2, x.between(1, 2).",
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Take NumPy's functions of columns: ``np.log(frame.income)``."""
        if method != "__call__" or options:
            return NotImplemented
        if ufunc.__name__ in _UFUNCS and len(inputs) == 1:
            return self._with(_UFUNCS[ufunc.__name__])
        if ufunc.__name__ in _OPERATORS and len(inputs) == 2:
            return Column(
                self._frame, {"op": _OPERATORS[ufunc.__name__], "args": [operand_of(value) for value in inputs]}
            )
        return NotImplemented

    def isnull(self) -> Column:
        """Return whether values are missing."""
        return self._with("isnull")

    isna = isnull

    def notnull(self) -> Column:
        """Return whether values are there."""
        return ~self.isnull()

    notna = notnull

    def isin(self, values: Sequence[Any]) -> Column:
        """Return whether values are among `values`."""
        return self._with("isin", *values)

    def between(self, low: Any, high: Any) -> Column:
        """Return whether values are between two others, both included."""
        return self._with("between", low, high)

    def abs(self) -> Column:
        """Return magnitudes."""
        return self._with("abs")

    def round(self, digits: int = 0) -> Column:
        """Return rounded values."""
        return self._with("round", digits)

    def log(self) -> Column:
        """Return natural logarithms; missing where there is none."""
        return self._with("log")

    def exp(self) -> Column:
        """Return exponentials."""
        return self._with("exp")

    # ---- figures ---------------------------------------------------------------------------------------------------

    def _ask(self, question: str, **options: Any) -> Any:
        analytics = self._frame.analytics
        return getattr(analytics, question)(self, **options)

    @property
    def _is_condition(self) -> bool:
        return self._frame.scope.kind(self.expression) == "boolean"

    def count(self, **options: Any) -> Answer:
        """Return how many values are not missing."""
        if self._is_condition:
            return self._frame.analytics.count(**options)
        found: Answer = self._ask("count", **options)
        return found

    def sum(self, **options: Any) -> Answer:
        """Return the sum; of a condition, how many rows meet it."""
        if self._is_condition:
            frame: Frame = self._frame[self]
            return frame.analytics.count(**options)
        found: Answer = self._ask("sum", **options)
        return found

    def mean(self, **options: Any) -> Answer:
        """Return the mean; of a condition, the share of rows that meet it."""
        if self._is_condition:
            return self._share(options)
        found: Answer = self._ask("mean", **options)
        return found

    def _share(self, options: dict[str, Any]) -> Answer:
        """Return the rows that meet the condition by all rows; with privacy, half of ε goes into each."""
        if options.get("epsilon") is not None:
            options = {**options, "epsilon": options["epsilon"] / 2}
        met, rows = self.sum(**options), self._frame.analytics.count(**options)
        facts = joined("mean", [met.facts, rows.facts])
        if isinstance(met, AnalyticsNumber) and isinstance(rows, AnalyticsNumber):
            share = met / rows if rows else np.nan
            bound = (met.error_bound + rows.error_bound * share) / rows if rows else 0.0
            facts = replace(facts, error_bound=float(bound))
            return AnalyticsNumber(share, facts, met.suppressed or rows.suppressed)
        assert isinstance(met, AnalyticsSeries)  # groups make it one
        assert isinstance(rows, AnalyticsSeries)
        largest = float(np.nanmax((met.error_bound + rows.error_bound) / rows.to_numpy(float), initial=0.0))
        hidden = (met.suppressed | rows.suppressed).to_numpy()
        return AnalyticsSeries(met / rows).with_facts(replace(facts, error_bound=largest), hidden)

    def var(self, **options: Any) -> Answer:
        """Return the variance."""
        found: Answer = self._ask("var", **options)
        return found

    def std(self, **options: Any) -> Answer:
        """Return the standard deviation."""
        found: Answer = self._ask("std", **options)
        return found

    def min(self, **options: Any) -> Answer:
        """Return the minimum."""
        found: Answer = self._ask("min", **options)
        return found

    def max(self, **options: Any) -> Answer:
        """Return the maximum."""
        found: Answer = self._ask("max", **options)
        return found

    def median(self, **options: Any) -> Answer:
        """Return the median."""
        found: Answer = self._ask("median", **options)
        return found

    def quantile(self, q: float | Sequence[float] = 0.5, **options: Any) -> Answer:
        """Return quantiles."""
        found: Answer = self._ask("quantile", q=q, **options)
        return found

    def describe(self, **options: Any) -> AnalyticsFrame | AnalyticsSeries:
        """Return count, mean, std, min, quartiles and max."""
        found: AnalyticsFrame | AnalyticsSeries = self._ask("describe", **options)
        return found

    def histogram(self, bins: int | Sequence[float] = 10, **options: Any) -> AnalyticsFrame:
        """Return the rows in bins."""
        found: AnalyticsFrame = self._ask("histogram", bins=bins, **options)
        return found

    def value_counts(self, values: Sequence[Any] | None = None, **options: Any) -> AnalyticsSeries:
        """Return the rows of each of `values`, in their order."""
        scope, name = self._frame.scope.named(self)
        found = Analytics(self._frame.analytics.source, scope).group_by(
            name, values=None if values is None else list(values), **options
        )
        assert isinstance(found, AnalyticsSeries)  # without aggregates there is one figure a group
        return found

    def corr(self, other: Column, **options: Any) -> AnalyticsNumber:
        """Return the correlation with another column."""
        scope, first = self._frame.scope.named(self)
        scope, second = scope.named(other)
        matrix = Analytics(self._frame.analytics.source, scope).correlation([first, second], **options)
        return AnalyticsNumber(float(matrix.to_numpy(float)[0, 1]), matrix.facts)

    def plot(self, **options: Any) -> Any:
        """Draw the histogram."""
        return self.histogram().plot(**options)

    def __iter__(self) -> Iterator[Any]:
        raise no_rows()


_SIGNS = {
    "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!=", "and": "&", "or": "|",
    "add": "+", "sub": "-", "mul": "*", "div": "/",
}  # fmt: skip


def text_of(tree: Tree) -> str:
    """Return an expression as one would write it."""
    if "column" in tree:
        return str(tree["column"])
    if "value" in tree:
        return repr(tree["value"])
    args = [text_of(argument) for argument in tree["args"]]
    if tree["op"] in _SIGNS:
        return "(" + f" {_SIGNS[tree['op']]} ".join(args) + ")"
    return f"{tree['op']}({', '.join(args)})"


def no_rows() -> NotAllowed:
    """Return the error for somebody who reaches for single rows."""
    return NotAllowed(
        "Single rows stay at their nodes.",
        code="no-rows",
        hint="Choose columns by name, filter by a condition, and ask for figures: frame[frame.age > 30].age.mean().",
    )
