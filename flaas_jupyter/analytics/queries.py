"""`Analytics`: the questions, what each is made of, and what it is answered with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..column_kinds import column_kind
from ..errors import InvalidInput
from ..protocols.analytics.prefixes import MAXIMUM_BYTES
from . import categories, grouping
from .calls import MOMENTS, ORDER, Call, Options
from .figures import Table, largest
from .results import AnalyticsFrame, AnalyticsSeries
from .scope import Condition, Scope
from .shapes import Answer, by_quantile, histogram_table, shaped
from .source import Source

if TYPE_CHECKING:
    from .frame import Frame

VIA = ("mpc", "he", "mpyc")
Names = str | Sequence[str] | None
Bounds = Mapping[str, tuple[float, float]] | tuple[float, float] | None

FUNCTIONS = (*MOMENTS, *ORDER)
"""What groups can be aggregated by."""


class Analytics:
    """Statistics over the rows of all nodes together.

    Every question takes

    * ``where``: a condition on rows, e.g. ``frame["age"] > 30`` (see `frame`);
    * ``by``, with ``values`` or ``edges``: keys of groups, whose groups must be known without looking at the data;
    * ``via``: ``"mpc"``, sums under masks, or ``"he"``, the same sums by homomorphic encryption;
    * ``epsilon``: differential privacy of the answer, with ``bounds`` that values of each column are clipped to.

    Answers are a number (one column, no groups), an `AnalyticsSeries` or an `AnalyticsFrame`; figures that the owners'
    release policies withhold are NaN, ``.suppressed`` says which, ``.reasons`` why, ``.error_bound`` how exact the rest
    is.

    Parameters
    ----------
    source : Source
        Where sums come from.
    scope : Scope, optional
        Condition and derived columns of all questions.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from flaas_jupyter import simulate
    >>> table = pd.DataFrame({"age": np.arange(90) % 60, "sex": np.arange(90) % 2})
    >>> analytics = simulate(table, np.zeros(90), clients=3).analytics
    >>> analytics.mean("age"), table.age.mean()
    (24.5, np.float64(24.5))
    """

    def __init__(self, source: Source, scope: Scope | None = None) -> None:
        self.source = source
        self.scope = scope or Scope()

    def __repr__(self) -> str:
        return f"<Analytics over {len(self.source.names)} nodes: {', '.join(self.columns[:8])}>"

    @property
    def columns(self) -> list[str]:
        """Names of the columns that can be asked about."""
        return [str(column["name"]) for column in self.source.schema]

    @property
    def _numbers(self) -> list[str]:
        """Columns that are measured unless told otherwise: those that are not text."""
        return [str(c["name"]) for c in self.source.schema if column_kind(str(c.get("dtype", ""))) == "number"]

    def frame(self) -> Frame:
        """Return a lazy table over the rows: ``frame[frame.age > 30].groupby("sex").age.mean()``."""
        from .frame import Frame

        return Frame(self)

    def budget(self) -> pd.DataFrame:
        """Return what private answers have cost at each node, and what is left."""
        found: pd.DataFrame = self.source.budget()  # type: ignore[attr-defined]
        return found

    # ---- single figures --------------------------------------------------------------------------------------------

    def count(self, column: Names = None, **options: Any) -> Answer:
        """Return the number of rows, or of a column's values that are not missing."""
        given = self._options(options)
        if column is not None:
            return self._single("count", column, given)
        with Call(self.source, "count", given) as call:
            released = call.step("count", [])
        values = released.counts
        return shaped(
            Table(values[:, None], np.full((len(values), 1), released.error_bound), released.suppressed[:, None]),
            ["count"],
            True,
            given.groups,
            call.facts(released.error_bound),
            whole=True,
        )

    def sum(self, columns: Names = None, **options: Any) -> Answer:
        """Return sums; missing values are left out."""
        return self._single("sum", columns, self._options(options))

    def mean(self, columns: Names = None, **options: Any) -> Answer:
        """Return means; missing values are left out."""
        return self._single("mean", columns, self._options(options))

    def var(self, columns: Names = None, *, ddof: int = 1, **options: Any) -> Answer:
        """Return variances, with n - `ddof` as the divisor."""
        return self._single("var", columns, self._options(options), ddof)

    def std(self, columns: Names = None, *, ddof: int = 1, **options: Any) -> Answer:
        """Return standard deviations, with n - `ddof` as the divisor."""
        return self._single("std", columns, self._options(options), ddof)

    def min(self, columns: Names = None, **options: Any) -> Answer:
        """Return minima, or the bracket's middle and half width that a strict release policy leaves of them."""
        return self._single("min", columns, self._options(options))

    def max(self, columns: Names = None, **options: Any) -> Answer:
        """Return maxima; as `min`."""
        return self._single("max", columns, self._options(options))

    def median(self, columns: Names = None, **options: Any) -> Answer:
        """Return medians; as `quantile`."""
        return self._single("median", columns, self._options(options))

    def quantile(self, columns: Names = None, q: float | Sequence[float] = 0.5, **options: Any) -> Answer:
        """Return quantiles, interpolated linearly as pandas does.

        Parameters
        ----------
        columns : str or sequence of str, optional
            All by default.
        q : float or sequence of float
            0 to 1.
        **options
            See the class.
        """
        given = self._options(options)
        wanted = [q] if isinstance(q, int | float) else list(q)
        if not wanted or not all(isinstance(each, int | float) and 0 <= each <= 1 for each in wanted):
            raise InvalidInput(f"q is {q!r}; allowed are numbers from 0 to 1.", code="bad-quantile")
        scope, names, single = self._columns(columns, given)
        given = replace(given, scope=scope)
        with Call(self.source, "quantile", given) as call:
            found = call.quantiles(names, [float(each) for each in wanted])
        if isinstance(q, int | float):
            return shaped(found[0], names, single, given.groups, call.facts(largest(found[0])))
        facts = call.facts(max(largest(table) for table in found))
        return by_quantile(found, names, single, given.groups, wanted, facts)

    # ---- tables ----------------------------------------------------------------------------------------------------

    def histogram(
        self,
        column: str,
        bins: int | Sequence[float] = 10,
        *,
        range: tuple[float, float] | None = None,
        **options: Any,
    ) -> AnalyticsFrame:
        """Return the rows in bins of a column.

        Bins of fewer rows than the minimum group are told together with their neighbours, so that all counts add up.

        Parameters
        ----------
        column : str
        bins : int or sequence of float
            Number of bins of equal width, or their edges; half open, the last one closed, as NumPy's.
        range : (float, float), optional
            What equal bins divide. Without, the column's known range, or the range between its smallest and largest
            value, as far as the release policy tells them.
        **options
            See the class.

        Returns
        -------
        AnalyticsFrame
            Columns of the groups, ``lower``, ``upper``, ``count``; a row below and one above the edges only if there is
            something to tell there. `.plot()` draws it.
        """
        given = self._options(options)
        scope, (name,), _ = self._columns(column, given)
        given = replace(given, scope=scope)
        with Call(self.source, "histogram", given) as call:
            edges = self._edges(call, name, bins, range)
            released = call.step("histogram", [name], edges={name: edges})
        return histogram_table(released, edges, given.groups, call.facts(released.error_bound), str(column))

    def group_by(
        self, by: str | Sequence[str], aggregate: Any = None, columns: Names = None, *, ddof: int = 1, **options: Any
    ) -> AnalyticsSeries | AnalyticsFrame:
        """Return figures of groups, as ``table.groupby(by).agg(aggregate)`` does.

        Parameters
        ----------
        by : str or sequence of str
            Keys; with ``values=`` or ``edges=`` where their groups are not known.
        aggregate : str, sequence of str, or dict of column to either; optional
            `FUNCTIONS`. Without, the number of rows.
        columns : str or sequence of str, optional
            What is aggregated, unless `aggregate` says so; all but the keys by default.
        ddof : int
            Of variance and standard deviation.
        **options
            See the class.
        """
        given = self._options({**options, "by": by})
        if aggregate is None:
            counted = self.count(**{**options, "by": by})
            assert isinstance(counted, AnalyticsSeries)  # keys make it one
            return counted
        wanted, nested = self._wanted(aggregate, columns, given)
        scope, names, _ = self._columns(list(dict.fromkeys(column for column, _ in wanted)), given)
        given = replace(given, scope=scope)
        functions = list(dict.fromkeys(function for _, function in wanted))
        with Call(self.source, "group_by", given) as call:
            tables = call.aggregate(names, functions, ddof)
        data, hidden, errors = [], [], []
        for column, function in wanted:
            table, place = tables[function], names.index(column)
            data.append(table.values[:, place])
            hidden.append(table.hidden[:, place])
            errors.append(table.errors[:, place])
        labels: Any = pd.MultiIndex.from_tuples(wanted) if nested else [column for column, _ in wanted]
        frame = AnalyticsFrame(np.column_stack(data), index=given.groups.index, columns=labels)
        facts = call.facts(float(np.nanmax(np.stack(errors), initial=0.0)))
        return frame.with_facts(facts, np.column_stack(hidden))

    def correlation(self, columns: Sequence[str] | None = None, **options: Any) -> AnalyticsFrame:
        """Return Pearson's correlation of each pair of columns over the rows that have both, as ``table.corr()``."""
        given = self._options(options)
        if given.groups.keys:
            raise InvalidInput(
                "A correlation matrix has no groups.",
                code="bad-groups",
                hint="Ask for one group at a time with where=.",
            )
        scope, names, _ = self._columns(None if columns is None else list(columns), given)
        if len(names) < 2:
            raise InvalidInput("A correlation needs two columns or more.", code="too-few-columns")
        given = replace(given, scope=scope)
        with Call(self.source, "correlation", given) as call:
            matrix, hidden, error = call.correlation(names)
        frame = AnalyticsFrame(matrix, index=names, columns=names)
        return frame.with_facts(call.facts(error), hidden, "matrix")

    def describe(self, columns: Names = None, **options: Any) -> AnalyticsFrame | AnalyticsSeries:
        """Return count, mean, std, min, quartiles and max, as ``table.describe()``."""
        given = self._options(options)
        if given.groups.keys:
            raise InvalidInput("describe has no groups.", code="bad-groups", hint="Use group_by, or where=.")
        scope, names, single = self._columns(columns, given)
        given = replace(given, scope=scope)
        labels = ["count", "mean", "std", "min", "25%", "50%", "75%", "max"]
        with Call(self.source, "describe", given) as call:
            moments = call.share(2).moments(names, 2)
            quartiles = [0.25, 0.5, 0.75] if given.epsilon is not None else [0.0, 0.25, 0.5, 0.75, 1.0]
            found = call.share(2).quantiles(names, quartiles)
        if given.epsilon is not None:
            none = Table(*(np.full((1, len(names)), value) for value in (np.nan, 0.0, True)))
            found = [none, *found, none]
        rows = [moments.count, moments.mean, moments.std(1), *found]
        frame = AnalyticsFrame(np.vstack([table.values for table in rows]), index=labels, columns=names)
        facts = call.facts(max(largest(table) for table in rows))
        hidden = np.vstack([table.hidden for table in rows])
        if single:
            series = AnalyticsSeries(frame[names[0]].to_numpy(), index=labels, name=names[0])
            return series.with_facts(facts, hidden[:, 0])
        return frame.with_facts(facts, hidden)

    # ---- what there is ---------------------------------------------------------------------------------------------

    def categories(
        self, column: str, *, most: int | None = None, longest: int | None = None, **options: Any
    ) -> AnalyticsSeries:
        """Return the values of a column that nobody has listed: those of at least as many rows as a group must have.

        Parameters
        ----------
        column : str
            A column of the data, of texts or numbers; of dates the explorer counts the months.
        most : int, optional
            Only so many, the most frequent ones.
        longest : int, optional
            Bytes of the longest value that is looked for: 64, or 24 with differential privacy, whose noise grows with
            it.
        **options
            ``where``, ``via``, ``epsilon``, see the class.

        Returns
        -------
        AnalyticsSeries
            Values as the index, the most frequent first; how many rows have each, at least: multiples of the smallest
            group, or with noise.

        Raises
        ------
        InvalidInput
            ``wrong-column-kind``: it is dates; ``bad-groups``, ``bad-setting``.
        """
        return self._found(column, "values", most, longest, options)

    def vocabulary(
        self, column: str, *, most: int | None = None, longest: int | None = None, **options: Any
    ) -> AnalyticsSeries:
        """Return the words of a column of texts that enough rows have, and how many; as `categories`."""
        return self._found(column, "words", most, longest, options)

    def _found(
        self, column: str, split: str, most: int | None, longest: int | None, options: dict[str, Any]
    ) -> AnalyticsSeries:
        given = self._options(options)
        if given.groups.keys or given.bounds:
            raise InvalidInput("What values there are is asked for without groups and bounds.", code="bad-groups")
        private = given.epsilon is not None
        bytes_ = longest if longest is not None else categories.PRIVATE_LONGEST if private else categories.LONGEST
        for what, value in (("longest", bytes_), ("most", 1 if most is None else most)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 17:
                raise InvalidInput(f"{what} is {value!r}; allowed is a whole number from 1 on.", code="bad-setting")
        bytes_ = min(bytes_, MAXIMUM_BYTES)
        dtype = next((str(c.get("dtype", "")) for c in self.source.schema if c["name"] == column), "")
        kind = column_kind(dtype)
        if kind == "date":
            raise InvalidInput(
                f"Column {column!r} is dates ({dtype}); which of them there are is not looked for.",
                code="wrong-column-kind",
                hint="The explorer counts their months, federation.explore().column(...); a model takes them by "
                "flaas.DateParts.",
                column=column,
            )
        with Call(self.source, split, given) as call:
            found = categories.find(call, column, split, bytes_)
        listed: list[Any] = list(found.values)
        if split == "values" and listed and kind == "number":
            listed = [int(value) if value.lstrip("-").isdigit() else float(value) for value in listed]
        error = max((each.errors[0] for each in call.releases), default=0.0)
        facts = call.facts(error)
        more = [f"values longer than {bytes_} bytes are not looked for"] if found.cut else []
        more += ["there are more beginnings of values than are followed"] if found.crowded else []
        facts = replace(facts, reasons=(*facts.reasons, *more), epsilon=found.epsilon)
        series = AnalyticsSeries(found.rows[:most], index=pd.Index(listed[:most], name=column), name="rows")
        return series.with_facts(facts, np.zeros(len(series), bool))

    # ---- how -------------------------------------------------------------------------------------------------------

    def _single(self, function: str, columns: Names, given: Options, ddof: int = 1) -> Answer:
        scope, names, single = self._columns(columns, given)
        given = replace(given, scope=scope)
        with Call(self.source, function, given) as call:
            if given.via == "mpyc":
                table = call.on_shares(names, function)
            else:
                table = call.aggregate(names, [function], ddof)[function]
        return shaped(table, names, single, given.groups, call.facts(largest(table)), whole=function == "count")

    def _options(self, options: dict[str, Any]) -> Options:
        known = {"where", "by", "values", "edges", "via", "epsilon", "bounds"}
        strange = sorted(set(options) - known)
        if strange:
            raise InvalidInput(
                f"{', '.join(strange)} is no option of a question; there are {', '.join(sorted(known))}.",
                code="unknown-option",
            )
        via, epsilon = options.get("via", "mpc"), options.get("epsilon")
        if via not in VIA:
            raise InvalidInput(f"via is {via!r}; allowed are 'mpc' and 'he'.", code="query-via")
        if epsilon is not None and (isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or epsilon <= 0):
            raise InvalidInput(f"epsilon is {epsilon!r}; allowed is a number above 0, or None.", code="bad-epsilon")
        where: Condition | None = options.get("where")
        scope = self.scope if where is None else self.scope.filtered(where)
        groups = grouping.resolve(
            options.get("by"), options.get("values"), options.get("edges"), self.source.schema, scope.conditions
        )
        return Options(scope, groups, via, None if epsilon is None else float(epsilon), _bounds(options.get("bounds")))

    def _columns(self, columns: Any, given: Options) -> tuple[Scope, list[str], bool]:
        """Return the scope with derived columns added, the names, and whether one was asked for by itself."""
        if columns is None:
            derived = [name for name, _ in given.scope.assign if name not in given.scope.conditions]
            return (
                given.scope,
                [name for name in dict.fromkeys([*self._numbers, *derived]) if name not in given.groups.names],
                False,
            )
        single = isinstance(columns, str) or not isinstance(columns, Sequence)
        listed = [columns] if single else list(columns)
        scope, names = given.scope, []
        for column in listed:
            scope, name = scope.named(column)
            names.append(name)
        if len(set(names)) != len(names) or not names:
            raise InvalidInput(f"Columns must be given once each, at least one; got {names}.", code="bad-columns")
        return scope, names, single

    def _wanted(self, aggregate: Any, columns: Names, given: Options) -> tuple[list[tuple[str, str]], bool]:
        """Return pairs of column and function, and whether the answer has two levels of columns."""
        if isinstance(aggregate, Mapping):
            listed = {str(column): functions for column, functions in aggregate.items()}
        else:
            _, names, _ = self._columns(columns, given)
            listed = dict.fromkeys(names, aggregate)
        nested = any(not isinstance(functions, str) for functions in listed.values())
        wanted = [
            (column, str(function))
            for column, functions in listed.items()
            for function in ([functions] if isinstance(functions, str) else functions)
        ]
        strange = sorted({function for _, function in wanted} - set(FUNCTIONS))
        if strange or not wanted:
            raise InvalidInput(
                f"{', '.join(strange) or 'Nothing'} cannot be aggregated by; there are {', '.join(FUNCTIONS)}.",
                code="unknown-function",
            )
        return wanted, nested

    def _edges(
        self, call: Call, column: str, bins: int | Sequence[float], limits: tuple[float, float] | None
    ) -> list[float]:
        if not isinstance(bins, int | np.integer):
            return [float(edge) for edge in bins]
        if isinstance(bins, bool) or bins < 1:
            raise InvalidInput(f"bins is {bins!r}; allowed is an integer from 1 on, or edges.", code="bad-bins")
        known = limits or call.options.bounds.get(column) or self.source.ranges.get(column)
        if known is None:
            if call.options.epsilon is not None:
                raise InvalidInput(
                    f"Equal bins of {column!r} need range=(low, high) with differential privacy.", code="bad-bins"
                )
            lowest, highest = call.all_groups().quantiles([column], [0.0, 1.0])
            known = float(lowest.values[0, 0]), float(highest.values[0, 0])
        low, high = float(known[0]), float(known[1])
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InvalidInput(
                f"The range of {column!r} is withheld.",
                code="bad-bins",
                hint="Give range=(low, high), or edges as bins.",
            )
        if low == high:
            low, high = low - 0.5, high + 0.5
        return [float(edge) for edge in np.linspace(low, high, int(bins) + 1)]


def _bounds(bounds: Bounds) -> dict[str, tuple[float, float]]:
    if bounds is None:
        return {}
    given = bounds if isinstance(bounds, Mapping) else {"": bounds}
    try:
        return {str(name): (float(low), float(high)) for name, (low, high) in given.items()}
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"bounds is {bounds!r}; it must be (low, high), or such a pair for each column.", code="bad-bounds"
        ) from error


__all__ = ["FUNCTIONS", "Analytics", "Answer", "Options"]
