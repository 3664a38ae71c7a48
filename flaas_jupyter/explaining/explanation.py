"""The answer of an explanation: importance of features, and how their values bear on what a model says."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..analytics.results import Facts
from ..errors import InvalidInput
from ..protocols.analytics.release import Released
from ..protocols.explaining import Background, told_bins

if TYPE_CHECKING:
    from ..protocols.explaining import Explanation as ExplanationStatistic
    from .travelling import Travelling

_SHOWN = 20


@dataclass(frozen=True)
class Explanation:
    """What a model makes of the rows of a federation.

    Parameters
    ----------
    model : str
        Its name.
    outputs : tuple of str
        What the model gives for a row.
    output : str
        ``"margin"`` or ``"prediction"``.
    rows : int
        Rows that were explained, of all nodes.
    table : DataFrame
        By feature and output: ``importance`` (mean of the SHAP values' magnitudes), ``mean``, ``std``; NaN where
        withheld.
    bins : DataFrame
        By feature, output and bin: ``lower``, ``upper``, ``label``, ``rows``, ``value`` (mean of the feature), ``shap``
        (mean), ``std``.
    base_values : Series
        By output: the mean over the background, from which SHAP values are counted.
    background : Background or None
        None for trees, which are explained by the rows that they were grown on.
    how : str
        How the SHAP values were computed, in words.
    facts : Facts
        Nodes, reasons of what was withheld, error bound.
    """

    model: str
    outputs: tuple[str, ...]
    output: str
    rows: int
    table: pd.DataFrame = field(repr=False)
    bins: pd.DataFrame = field(repr=False)
    base_values: pd.Series[float] = field(repr=False)
    background: Background | None = field(repr=False)
    how: str
    facts: Facts = field(repr=False)

    # ---- figures ---------------------------------------------------------------------------------------------------

    @property
    def features(self) -> list[str]:
        """Features, in the model's order."""
        return [str(name) for name in self.table.index.get_level_values("feature").unique()]

    @property
    def global_importance(self) -> pd.Series[float]:
        """Mean magnitude of each feature's SHAP values, largest first; the sum over several outputs."""
        found = self.by_output.sum(axis=1, skipna=False).sort_values(ascending=False, kind="stable")
        return found.rename("importance")

    @property
    def by_output(self) -> pd.DataFrame:
        """Mean magnitude of SHAP values, features × outputs, in the model's order."""
        wide = self.table["importance"].unstack("output")
        return wide.loc[self.features, list(self.outputs)]

    @property
    def suppressed(self) -> pd.Series[bool]:
        """Which features' importance is withheld."""
        return self.by_output.isna().any(axis=1).rename("suppressed")

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes whose rows are in it."""
        return self.facts.nodes

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why figures were withheld, or bins are told together."""
        return self.facts.reasons

    @property
    def epsilon(self) -> float | None:
        """ε of differential privacy that it has cost, None without."""
        return self.facts.epsilon

    @property
    def error_bound(self) -> float:
        """What no importance is off by, from adding up; with differential privacy, with 95 % probability."""
        return self.facts.error_bound / max(self.rows, 1)

    def dependence_table(self, feature: str, output: str | int | None = None) -> pd.DataFrame:
        """Return a feature's bins: ``lower``, ``upper``, ``label``, ``rows``, ``value``, ``shap``, ``std``.

        Parameters
        ----------
        feature : str
        output : str or int, optional
            Which of the outputs; the last by default.

        Raises
        ------
        InvalidInput
            ``unknown-column``; ``unknown-output``.
        """
        self._require_feature(feature)
        chosen = self.bins[(self.bins["feature"] == feature) & (self.bins["output"] == self._output(output))]
        return chosen.drop(columns=["feature", "output"]).reset_index(drop=True)

    # ---- charts ----------------------------------------------------------------------------------------------------

    def bar(self, *, top: int = _SHOWN, ax: Any = None) -> Any:
        """Draw global importance as bars, stacked by output; return matplotlib's axes.

        Parameters
        ----------
        top : int
            Features that are shown, the most important ones.
        ax : matplotlib Axes, optional
        """
        from . import charts

        return charts.bar(self, top, ax)

    def beeswarm(self, output: str | int | None = None, *, top: int = _SHOWN, ax: Any = None) -> Any:
        """Draw what values of features bear which SHAP values, by bins; return matplotlib's axes.

        A feature is a line, each of its bins a dot: at the mean SHAP value of its rows with a whisker of one standard
        deviation, as large as it has rows, and in a colour for the feature's values, low to high.

        Parameters
        ----------
        output : str or int, optional
            Which of the outputs; the last by default.
        top : int
        ax : matplotlib Axes, optional
        """
        from . import charts

        return charts.beeswarm(self, self._output(output), top, ax)

    def dependence(self, feature: str, output: str | int | None = None, *, ax: Any = None) -> Any:
        """Draw mean SHAP values by bins of one feature, with a band of one standard deviation; return the axes.

        Parameters
        ----------
        feature : str
        output : str or int, optional
            Which of the outputs; the last by default.
        ax : matplotlib Axes, optional

        Raises
        ------
        InvalidInput
            ``unknown-column``; ``unknown-output``; ``explain-no-bins``: nothing is told of its bins.
        """
        from . import charts

        return charts.dependence(self, feature, self._output(output), ax)

    plot = bar

    # ---- showing ---------------------------------------------------------------------------------------------------

    def line(self) -> str:
        """Return what the explanation is, in one line."""
        what = "margin (log odds)" if self.output == "margin" else "prediction"
        return " · ".join([f"SHAP values of the {what}", f"{self.rows} rows", self.how, self.facts.line()])

    def __repr__(self) -> str:
        return f"<Explanation of {self.model!r}: {self.line()}>\n{self.global_importance.head(_SHOWN)}"

    def _repr_html_(self) -> str:
        shown = self.global_importance.head(_SHOWN).to_frame()
        directions = self.table["mean"].unstack("output")
        if len(self.outputs) == 1:
            shown["mean"] = directions.iloc[:, 0].reindex(shown.index)
        table = shown.to_html(na_rep="withheld", float_format=lambda value: f"{value:.4g}")
        more = len(self.features) - len(shown)
        rest = f"<div>and {more} features more</div>" if more > 0 else ""
        return f"<div>{table}{rest}<small>{html.escape(self.line())}</small></div>"

    # ---- making ----------------------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        statistic: ExplanationStatistic,
        released: Released,
        model: Travelling,
        facts: Facts,
        base_values: NDArray[np.float64],
        stand_ins: Sequence[str] = (),
    ) -> Explanation:
        """Read what nodes have released; of the features `stand_ins` the background is not what rows have."""
        assert statistic.model is not None  # it is about one
        rows = float(np.nanmax(released.counts[list(statistic.starts[:-1])], initial=0.0))
        table = [
            {"feature": name, "output": output, **figures}
            for place, name in enumerate(statistic.columns)
            for output, figures in zip(
                model.outputs, _figures(statistic, released, statistic.starts[place]), strict=True
            )
        ]
        bins = [
            {"feature": name, "output": output, **entry}
            for place, name in enumerate(statistic.columns)
            for output, entry in _bins(statistic, released, place, model.outputs)
        ]
        columns = ["feature", "output", "lower", "upper", "label", "rows", "value", "shap", "std"]
        return cls(
            model.name,
            model.outputs,
            statistic.model.output,
            round(rows),
            pd.DataFrame(table).set_index(["feature", "output"]),
            pd.DataFrame(bins, columns=columns),
            pd.Series(base_values, index=list(model.outputs), name="base value"),
            statistic.background,
            _how(statistic, model, stand_ins),
            facts,
        )

    def _require_feature(self, feature: str) -> None:
        if feature not in self.features:
            raise InvalidInput(
                f"{feature!r} is no feature of the model; there are {', '.join(self.features[:20])}.",
                code="unknown-column",
                column=str(feature),
            )

    def _output(self, output: str | int | None) -> str:
        if output is None:
            return self.outputs[-1]
        if isinstance(output, int | np.integer) and -len(self.outputs) <= output < len(self.outputs):
            return self.outputs[output]
        if output not in self.outputs:
            raise InvalidInput(
                f"{output!r} is no output of the model; there are {', '.join(self.outputs)}.", code="unknown-output"
            )
        return str(output)


def _figures(statistic: ExplanationStatistic, released: Released, at: int) -> list[Mapping[str, float]]:
    """Return importance, mean and standard deviation of one feature, for each output."""
    rows = released.counts[at]
    if statistic.epsilon is not None:
        return [
            {"importance": max(float(total), 0.0) / max(rows, 1.0), "mean": math.nan, "std": math.nan}
            for total in released.values[at]
        ]
    return [
        {"importance": float(absolute) / rows, **_spread(float(total), float(squares), rows)}
        for total, absolute, squares in released.values[at, 1:].reshape(-1, 3)
    ]


def _spread(total: float, squares: float, rows: float) -> dict[str, float]:
    mean = total / rows
    return {"mean": mean, "std": math.sqrt(max(squares / rows - mean**2, 0.0)) if squares == squares else math.nan}


def _bins(
    statistic: ExplanationStatistic, released: Released, place: int, outputs: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Return the bins of one feature that are told, for each output."""
    bins, start = statistic.bins[place], statistic.starts[place]
    if not bins.cells:
        return []
    borders = [-math.inf, *bins.edges, math.inf]
    told: list[tuple[int, dict[str, Any]]] = []
    for first, stop, at in told_bins(bins, start, released.counts.tolist(), released.spans):
        about: dict[str, Any] = {"lower": math.nan, "upper": math.nan, "label": ""}
        if bins.ordered:
            about |= {"lower": borders[first], "upper": borders[stop]}
        else:
            about["label"] = bins.labels[first]
        told.append((at, about))
    missing = start + 1 + bins.cells
    if released.counts[missing] > 0:
        told.append((missing, {"lower": math.nan, "upper": math.nan, "label": "missing"}))
    found = []
    for at, about in told:
        rows = float(released.counts[at])
        value = float(released.values[at, 0]) / rows if bins.ordered and about["label"] == "" else math.nan
        for output, (total, _, squares) in zip(outputs, released.values[at, 1:].reshape(-1, 3), strict=True):
            figures = _spread(float(total), float(squares), rows)
            about_bin = {**about, "rows": round(rows), "value": value}
            found.append((output, about_bin | {"shap": figures["mean"], "std": figures["std"]}))
    return found


def _how(statistic: ExplanationStatistic, model: Travelling, stand_ins: Sequence[str]) -> str:
    found = _computed(statistic, model)
    if not stand_ins or statistic.background is None or not found.startswith("exact"):
        return found
    shown = ", ".join(stand_ins[:5]) + (" and more" if len(stand_ins) > 5 else "")
    return f"{found.removeprefix('exact (').replace(')', '', 1)}, a stand-in for the background of {shown}"


def _computed(statistic: ExplanationStatistic, model: Travelling) -> str:
    assert statistic.model is not None  # it is about one
    if model.kind == "boosting":
        return "exact (trees)"
    if model.is_additive(statistic.model.output):
        return "exact (additive model)"
    if not statistic.orders:
        return f"exact (all coalitions), background of {statistic.background.size if statistic.background else 0}"
    size = statistic.background.size if statistic.background else 0
    return f"{statistic.orders} orders of features, background of {size}"
