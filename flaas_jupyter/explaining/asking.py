"""How an explanation is asked for: what the columns are like, a background drawn from that, and the sums.

All steps are statistics, of one query as long as nothing is refused: means and deviations, counts in the bins that the
explorer has too (so that bins of the one are not moved ones of the other), correlations, and last the model itself.
Where the query audit of a node refuses the bins of a column, the explanation does without them and says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..analytics import grouping
from ..analytics.calls import Call, Options
from ..analytics.results import Facts
from ..analytics.scope import Scope
from ..column_kinds import column_kind
from ..errors import FlaasError, InvalidInput, NotAllowed
from ..exploration import views
from ..protocols.analytics import statistics
from ..protocols.analytics.release import Released
from ..protocols.explaining import Background, FeatureBins, Marginal, draw
from ..protocols.explaining import Explanation as ExplanationStatistic
from ..protocols.explaining.background import MAXIMUM_POINTS
from ..protocols.explaining.explanation import MAXIMUM_ORDERS, told_bins
from ..protocols.explaining.model_reference import OUTPUTS
from ..training.preprocessing.values import columns_of, missing_of, texts
from .explanation import Explanation

if TYPE_CHECKING:
    from .travelling import Travelling

METHODS = ("shap",)
MOVED = ("query-differs-by-few", "query-audit-full")
"""Refusals of bins, not of the question."""
_CALLS = 1 << 22
"""Predictions that a node is asked for, at most, unless the number of orders is given."""
_EXACT = 10
_CROSSED = 64
_MONTH = re.compile(r"\d{4}-\d{2}")
_WEEK = (12, 13, 14, 15, 16, 17, 18)
"""Days that stand for a month: one of each day of the week."""


@dataclass(frozen=True)
class Settings:
    """How a model is explained.

    Parameters
    ----------
    output : str
        ``"margin"``: what goes into a last sigmoid or softmax (log odds), where the model has one; ``"prediction"``:
        what comes out of it.
    background : DataFrame, mapping of str to array, or None
        Reference rows of your own; they go to the nodes. By default they are drawn from released aggregates.
    background_size : int
        How many are drawn, 8 to 1024.
    correlated : bool
        Whether released correlations are put into them.
    bins : bool
        Whether SHAP values are averaged by bins of each feature, for beeswarm and dependence.
    permutations : int or None
        Orders in which features join, even, up to 64; 0 goes through all coalitions (up to 12 features). By default
        what about four million predictions a node allow for.
    max_rows : int
        A node with more than four times as many rows explains so many, drawn by lot. Models that are sums of functions
        of single features, and trees, are explained on all rows.
    seed : int
        Of background, orders and lots.
    via : str
        ``"mpc"`` or ``"he"``.
    epsilon : float or None
        Differential privacy of global importance, with `bounds`; `background` is needed then, and there are no bins.
    bounds : (float, float) or None
        What SHAP values are clipped to, with `epsilon`.

    Raises
    ------
    InvalidInput
        Code ``bad-explanation-setting``.
    """

    output: str = "margin"
    background: Any = field(default=None, repr=False)
    background_size: int = 64
    correlated: bool = True
    bins: bool = True
    permutations: int | None = None
    max_rows: int = 1000
    seed: int = 0
    via: str = "mpc"
    epsilon: float | None = None
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.via not in ("mpc", "he"):
            raise InvalidInput(f"via is {self.via!r}; allowed are 'mpc' and 'he'.", code="query-via")
        if self.output not in OUTPUTS:
            raise _bad("output", self.output, " or ".join(map(repr, OUTPUTS)))
        for name, least, most in (("background_size", 8, MAXIMUM_POINTS), ("max_rows", 1, 1 << 20)):
            if not _is_whole(getattr(self, name)) or not least <= getattr(self, name) <= most:
                raise _bad(name, getattr(self, name), f"an integer from {least} to {most}")
        if not _is_whole(self.seed) or not 0 <= self.seed < 1 << 63:
            raise _bad("seed", self.seed, "an integer from 0 on")
        if self.permutations is not None and (
            not _is_whole(self.permutations) or self.permutations % 2 or not 0 <= self.permutations <= MAXIMUM_ORDERS
        ):
            raise _bad("permutations", self.permutations, f"an even integer from 0 to {MAXIMUM_ORDERS}, or None")
        if (self.epsilon is None) != (self.bounds is None):
            raise _bad("bounds", self.bounds, "(low, high) together with epsilon, or neither")


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Return the settings of an explanation.

    Raises
    ------
    InvalidInput
        Code ``bad-explanation-setting``.
    """
    known = [each.name for each in fields(Settings)]
    strange = sorted(set(given) - set(known))
    if strange:
        raise InvalidInput(
            f"{', '.join(strange)} is no setting of an explanation; there are {', '.join(known)}.",
            code="bad-explanation-setting",
        )
    return Settings(**given)


def explain(federation: Any, model: Travelling, method: str = "shap", settings: Settings | None = None) -> Explanation:
    """Explain a model over the rows of a federation.

    Parameters
    ----------
    federation : ConnectedFederation or SimulatedFederation
    model : Travelling
    method : str
        ``"shap"``.
    settings : Settings, optional

    Raises
    ------
    InvalidInput
        ``explain-method``; ``not-a-federation``; ``unknown-column``; ``explain-no-background``; ``model-does-not-fit``;
        ``explanation-too-large``.
    NotAllowed
        ``policy-explain`` and the other refusals of statistics.
    """
    if method not in METHODS:
        raise InvalidInput(f"method is {method!r}; allowed is {', '.join(map(repr, METHODS))}.", code="explain-method")
    if not hasattr(type(federation), "analytics"):
        raise InvalidInput(
            f"{type(federation).__name__} is not a federation.",
            code="not-a-federation",
            hint="Explain over flaas.simulate(...) or session.project(...).federation(dataset=...); rows of your own "
            "with flaas.explain_rows(model, rows).",
        )
    return _Asking(federation, model, settings or Settings()).explain()


class _Asking:
    """One explanation under way."""

    def __init__(self, federation: Any, model: Travelling, settings: Settings) -> None:
        self._federation, self._model, self._settings = federation, model, settings
        self._source = federation.analytics.source
        self._columns = {str(column["name"]): column for column in federation.explore().described.columns}
        self._features = self._chosen_features()
        self._reasons: list[str] = []
        self._withdrawn: set[str] = set()  # features whose bins were refused
        self._stand_ins: set[str] = set()  # features whose background is not what rows have

    def explain(self) -> Explanation:
        """Ask, and return the answer."""
        options = Options(Scope(), grouping.Groups(), self._settings.via, None, {})
        with Call(self._source, "explain", options) as call:
            bins = self._bins(call) if self._needs_columns else self._no_bins()
            background = self._background(call, bins)
            statistic = self._statistic(background, bins if self._settings.bins else self._no_bins())
            released = self._released(call, statistic)
            if released is None:  # the bins of rows drawn by lot, or of rows that have changed
                statistic = self._statistic(background, self._no_bins())
                released = self._step(call, statistic)
            facts = call.facts(released.error_bound)
        if np.isnan(released.counts[list(statistic.starts[:-1])]).all():
            raise NotAllowed(
                f"Nothing is told of these rows: {'; '.join(released.reasons) or 'they are too few'}.",
                code="explain-withheld",
                hint="Explain the model over more rows.",
            )
        return Explanation.of(
            statistic,
            released,
            self._model,
            _with_reasons(facts, self._reasons),
            self._worth(background),
            [name for name in self._features if name in self._stand_ins],
        )

    @property
    def _needs_columns(self) -> bool:
        trees_only = self._model.kind == "boosting" and not self._settings.bins
        return self._settings.epsilon is None and not trees_only

    # ---- which columns ---------------------------------------------------------------------------------------------

    def _chosen_features(self) -> tuple[str, ...]:
        schema = {str(column["name"]): column for column in self._source.schema}
        wanted = self._model.features
        if wanted is None:
            wanted = tuple(name for name, column in schema.items() if column["role"] == "feature")
        absent = [name for name in wanted if name not in schema]
        if absent:
            raise InvalidInput(
                f"The model takes a column {absent[0]!r}, which the federation does not have.",
                code="unknown-column",
                hint=f"It has {', '.join(list(schema)[:20])}.",
                column=absent[0],
            )
        return wanted

    def _is_text(self, name: str) -> bool:
        column = self._columns.get(name)
        return name in self._model.texts or (column is not None and column["kind"] == "text")

    def _is_date(self, name: str) -> bool:
        return column_kind(str((self._columns.get(name) or {}).get("dtype", ""))) == "date"

    def _no_bins(self) -> tuple[FeatureBins, ...]:
        return tuple(FeatureBins(name) for name in self._features)

    # ---- what they are like ----------------------------------------------------------------------------------------

    def _bins(self, call: Call) -> tuple[FeatureBins, ...]:
        """Return the bins of each feature; without any where its range or values are withheld."""
        numbers = [name for name in self._features if not self._is_text(name)]
        edges = self._edges(call, numbers) if numbers else {}
        found = []
        for name in self._features:
            if self._is_text(name):
                found.append(FeatureBins(name, values=self._values(name)))
            else:
                found.append(FeatureBins(name, edges=tuple(edges[name])))
        return tuple(found)

    def _edges(self, call: Call, names: Sequence[str]) -> dict[str, list[float]]:
        moments = call.moments(names, 2)
        means, spreads = moments.mean.values[0], moments.std(1).values[0]
        edges: dict[str, list[float]] = {}
        for place, name in enumerate(names):
            column = self._columns.get(name) or {"range": None, "classes": None, "dtype": "float64"}
            edges[name] = views.grid(column, float(means[place]), float(spreads[place])) or []
        return edges

    def _values(self, name: str) -> tuple[str, ...]:
        """Return the values of a text column that the model or its owners know, or that enough rows have."""
        column = self._columns.get(name) or {}
        if self._is_date(name):
            return ()
        known = self._model.texts.get(name) or column.get("categories")
        if not known:
            known = list(self._federation.analytics.categories(name, via=self._settings.via))
        return tuple(str(value) for value in known)

    # ---- the background --------------------------------------------------------------------------------------------

    def _background(self, call: Call, bins: tuple[FeatureBins, ...]) -> Background | None:
        given = self._settings.background
        if self._model.kind == "boosting":
            if self._settings.bins and self._needs_columns:
                self._profile(call, bins)
            return None
        if given is not None:
            return background_of(given, self._features)
        if self._settings.epsilon is not None:
            raise InvalidInput(
                "With differential privacy a background cannot be drawn from exact aggregates.",
                code="explain-no-background",
                hint="Give reference rows of your own: background=DataFrame.",
            )
        return self._drawn(call, self._profile(call, bins))

    def _drawn(self, call: Call, marginals: Mapping[str, Marginal]) -> Background:
        empty = [name for name, marginal in marginals.items() if not marginal.values]
        if empty:
            raise InvalidInput(
                f"Too little is released of column {empty[0]!r} to draw a background from: "
                f"{'; '.join(self._reasons) or 'too few rows'}.",
                code="explain-no-background",
                hint="Give reference rows of your own: background=DataFrame with the model's features.",
                column=empty[0],
            )
        correlation = self._correlation(call) if self._settings.correlated else None
        size = self._settings.background_size
        drawn = draw(marginals, size, self._settings.seed, correlation)
        while self._on_all_rows and drawn.misses(marginals) and 2 * size <= MAXIMUM_POINTS:
            size *= 2  # costs next to nothing here
            drawn = draw(marginals, size, self._settings.seed, correlation)
        if self._on_all_rows:
            self._stand_ins |= set(drawn.misses(marginals))
        return drawn

    def _profile(self, call: Call, bins: tuple[FeatureBins, ...]) -> dict[str, Marginal]:
        """Return what is released of each column, by its bins."""
        statistic = _parsed(_document(self._features, bins))
        released = self._released(call, statistic)
        if released is not None:
            return self._marginals(statistic, released, call)
        found: dict[str, Marginal] = {}
        for each in bins:  # one of them is the moved one
            single = _parsed(_document([each.name], [each]))
            released = self._released(call, single)
            if released is None:
                self._withdrawn.add(each.name)
                self._reasons.append(f"bins of {each.name} differ by few rows from those of an earlier answer")
                found[each.name] = self._around_mean(call, each)
            else:
                found |= self._marginals(single, released, call)
        return found

    def _marginals(self, statistic: ExplanationStatistic, released: Released, call: Call) -> dict[str, Marginal]:
        found = {}
        for bins, start in zip(statistic.bins, statistic.starts, strict=False):
            values: list[float | str | None] = []
            rows: list[float] = []
            codes = self._model.codes.get(bins.name, ())
            for place, stop, at in told_bins(bins, start, released.counts.tolist(), released.spans):
                count = float(released.counts[at])
                if bins.values:
                    values.append(bins.labels[place])
                else:
                    values.append(self._number(bins, place, stop, float(released.values[at, 0]) / count, codes))
                rows.append(count)
                if bins.values and place == len(bins.values) and not self._model.texts.get(bins.name):
                    self._stand_ins.add(bins.name)  # several texts, of which the model may not make the same
            missing = start + 1 + bins.cells
            if bins.cells and released.counts[missing] > 0:
                values.append(None)
                rows.append(float(released.counts[missing]))
            if not rows:
                found[bins.name] = self._around_mean(call, bins)
                continue
            if not abs(sum(rows) - float(released.counts[start])) < 0.5:
                self._stand_ins.add(bins.name)  # of some rows nothing is told
            there = [(value, count) for value, count in zip(values, rows, strict=True) if isinstance(value, float)]
            mean = sum(value * count for value, count in there) / sum(count for _, count in there) if there else None
            found[bins.name] = Marginal(tuple(values), tuple(rows), mean, bool(codes))
        return found

    def _number(self, bins: FeatureBins, first: int, stop: int, mean: float, codes: Sequence[float]) -> float:
        """Return what stands for the numbers of a bin: their mean, or the only code that the model knows in it."""
        borders = [-math.inf, *bins.edges, math.inf]
        within = [code for code in codes if borders[first] <= code <= borders[stop]]
        if len(within) == 1 and abs(mean - within[0]) <= 1e-6 * max(1.0, abs(mean)):
            return within[0]
        if within:
            self._stand_ins.add(bins.name)  # codes with others, of which one number cannot be the mean
        return mean

    def _around_mean(self, call: Call, bins: FeatureBins) -> Marginal:
        """Return three values with the mean and the variance of a column of which no bins are told."""
        self._stand_ins.add(bins.name)
        months = self._months(bins.name) if self._is_date(bins.name) else None
        if months is not None:
            self._reasons.append(f"of {bins.name} months are told; its background is a week in the middle of each")
            return months
        if bins.values or self._is_text(bins.name):
            self._reasons.append(f"of {bins.name} no values are told; its background is a missing value")
            return Marginal((None,), (1.0,))
        moments = call.moments([bins.name], 2)
        mean, spread = float(moments.mean.values[0, 0]), float(moments.std(0).values[0, 0])
        if not math.isfinite(mean):
            return Marginal((), ())
        wide = math.sqrt(3.0) * spread if math.isfinite(spread) else 0.0  # Gauss-Hermite's three points
        return Marginal((mean - wide, mean, mean + wide), (1.0, 4.0, 1.0), mean)

    def _months(self, name: str) -> Marginal | None:
        """Return days within the months of a column of dates, if the explorer tells how many rows are in these."""
        try:
            told = self._federation.explore().column(name).to_dict()["column"]
        except FlaasError:
            return None
        counted = [
            (label, float(count) / len(_WEEK))
            for label, count in zip(told["labels"], told["counts"], strict=True)
            if count and _MONTH.fullmatch(str(label))
        ]
        days = tuple(f"{month}-{day}T00:00:00" for month, _ in counted for day in _WEEK)
        return Marginal(days, tuple(rows for _, rows in counted for _ in _WEEK)) if days else None

    def _correlation(self, call: Call) -> NDArray[np.float64] | None:
        """Return the released correlations of the features, NaN where there is none."""
        numbers = [name for name in self._features if not self._is_text(name)]
        if not 2 <= len(numbers) <= _CROSSED:
            return None
        try:
            matrix, _, _ = call.correlation(numbers)
        except NotAllowed as error:
            if error.code not in MOVED:
                raise
            return None
        full = np.full((len(self._features), len(self._features)), np.nan)
        places = [self._features.index(name) for name in numbers]
        full[np.ix_(places, places)] = matrix
        return full

    # ---- the sums --------------------------------------------------------------------------------------------------

    def _statistic(self, background: Background | None, bins: tuple[FeatureBins, ...]) -> ExplanationStatistic:
        settings = self._settings
        kept = [FeatureBins(each.name) if each.name in self._withdrawn else each for each in bins]
        document = _document(self._features, kept) | {
            "model": self._model.reference(settings.output).to_dict(),
            "background": None if background is None else background.to_dict(),
            "orders": self._orders(background),
            "seed": settings.seed,
        }
        if not self._on_all_rows:
            document["rows"] = settings.max_rows
        if settings.epsilon is not None and settings.bounds is not None:
            document |= {"epsilon": settings.epsilon, "bounds": {"shap": list(settings.bounds)}}
        return _parsed(document)

    @property
    def _on_all_rows(self) -> bool:
        """Whether rows cost next to nothing."""
        return self._model.kind == "boosting" or self._model.is_additive(self._settings.output)

    def _orders(self, background: Background | None) -> int:
        """Return in how many orders features join, by what a node can do in some seconds; 0 is all coalitions."""
        if self._settings.permutations is not None:
            return self._settings.permutations
        if background is None or self._on_all_rows:
            return 2
        count = len(self._features)
        rows = min(self._largest, 4 * self._settings.max_rows)
        if count <= _EXACT and rows * background.size << count <= _CALLS:
            return 0
        affordable = _CALLS // max(1, rows * background.size * count)
        return int(max(2, min(8, affordable - affordable % 2)))

    @property
    def _largest(self) -> int:
        """Rows of the client that has most."""
        return int(max(self._federation.clients["rows"], default=1))

    def _released(self, call: Call, statistic: ExplanationStatistic) -> Released | None:
        """Ask for a statistic; None where its bins are refused."""
        try:
            return self._step(call, statistic)
        except NotAllowed as error:
            if error.code not in MOVED or not any(each.cells for each in statistic.bins):
                raise
            if statistic.model is not None:
                self._reasons.append("bins differ by few rows from those of an earlier answer")
            return None

    def _step(self, call: Call, statistic: ExplanationStatistic) -> Released:
        tensors = {} if statistic.model is None else self._model.tensors
        released = call.query.step(statistic.to_dict(), self._settings.via, tensors)
        if (len(released.counts), released.fields) != (statistic.cells, statistic.fields):
            raise InvalidInput(
                "The releaser's answer does not belong to the question.",
                code="bad-release",
                hint="Ask again; the nodes choose another releaser.",
            )
        call.releases.append(released)
        return released

    def _worth(self, background: Background | None) -> NDArray[np.float64]:
        """Return the mean output over the background, which SHAP values are counted from, shape (outputs,)."""
        return self._model.base_values(self._settings.output, background)


def background_of(given: Any, features: Sequence[str]) -> Background:
    """Return reference rows as a background of equal weights.

    Parameters
    ----------
    given : Background, DataFrame, mapping of str to array, or ndarray of shape (m, features)
    features : sequence of str

    Raises
    ------
    InvalidInput
        Code ``bad-background``.
    """
    if isinstance(given, Background):
        return given
    if not hasattr(given, "keys") and np.ndim(given) == 2 and np.shape(given)[1] == len(features):
        given = dict(zip(features, np.asarray(given).T, strict=True))
    absent = [name for name in features if not hasattr(given, "keys") or name not in given]
    rows = 0 if absent else len(given[features[0]])
    if absent or not 1 <= rows <= MAXIMUM_POINTS:
        raise InvalidInput(
            f"The background must have the {len(features)} features of the model in 1 to {MAXIMUM_POINTS} rows"
            + (f"; it lacks {absent[0]!r}." if absent else f"; it has {rows}."),
            code="bad-background",
            hint=f"A DataFrame with the columns {', '.join(features[:10])}; sample it first: frame.sample(64).",
        )
    columns = {name: tuple(map(_cell, _cells(given[name], name))) for name in features}
    return Background(columns, (1.0 / rows,) * rows)


def _cells(column: Any, name: str) -> list[Any]:
    """Return numbers, texts, and dates as the texts that preprocessing reads; None where one is missing."""
    found = columns_of({name: column})[name]
    dates = found.dtype.kind == "M" or any(hasattr(value, "isoformat") for value in found.tolist())
    listed = (texts(found, name) if dates else found).tolist()
    return [None if gone else value for value, gone in zip(listed, missing_of(found).tolist(), strict=True)]


def _cell(value: Any) -> float | str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else float(value)


def _parsed(document: Mapping[str, Any]) -> ExplanationStatistic:
    found = statistics.parse(dict(document))
    assert isinstance(found, ExplanationStatistic)  # it says so
    return found


def _document(features: Sequence[str], bins: Sequence[FeatureBins]) -> dict[str, Any]:
    return {"v": 1, "kind": "explanation", "columns": list(features), "bins": [each.to_dict() for each in bins]}


def _with_reasons(facts: Facts, more: Sequence[str]) -> Facts:
    return replace(facts, reasons=tuple(dict.fromkeys([*facts.reasons, *more])))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _bad(name: str, value: Any, allowed: str) -> FlaasError:
    return InvalidInput(f"{name} is {value!r}; allowed is {allowed}.", code="bad-explanation-setting")
