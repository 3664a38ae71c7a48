"""Answers: numbers and pandas objects that also say who is in them, what was withheld, and how exact they are."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.plotting import PlotAccessor

from ..protocols.analytics.release import Released


@dataclass(frozen=True)
class Facts:
    """What an answer says beside its figures.

    Attributes
    ----------
    operation : str
    nodes : tuple of str
        Names of the nodes whose rows are in it.
    epsilon, delta : float or None
        Differential privacy that it has cost; None without.
    error_bound : float
        What no figure is off by, from rounding alone; with differential privacy what each is off by at most with 95 %
        probability; infinite where only one side is known.
    reasons : tuple of str
        Why figures were withheld.
    via : str
    """

    operation: str = ""
    nodes: tuple[str, ...] = ()
    epsilon: float | None = None
    delta: float | None = None
    error_bound: float = 0.0
    reasons: tuple[str, ...] = ()
    via: str = "mpc"

    def line(self) -> str:
        """Return it in one line."""
        parts = [f"{len(self.nodes)} nodes" if self.nodes else "", f"via {self.via}"]
        if self.epsilon is not None:
            parts.append(f"ε = {self.epsilon:g}, δ = {self.delta:g}")
        if self.error_bound > 0:
            parts.append(f"± {self.error_bound:.3g}" if math.isfinite(self.error_bound) else "one side open")
        return " · ".join([*filter(None, parts), *self.reasons])


def facts_of(
    operation: str, releases: Iterable[Released], names: dict[str, str], via: str, error_bound: float = 0.0
) -> Facts:
    """Return the facts of an answer that was made of several releases."""
    listed = list(releases)
    private = [each for each in listed if each.epsilon is not None]
    ids = dict.fromkeys(node for each in listed for node in each.nodes)
    return Facts(
        operation,
        tuple(names.get(node, node) for node in ids),
        sum(each.epsilon or 0.0 for each in private) if private else None,
        sum(each.delta or 0.0 for each in private) if private else None,
        error_bound,
        tuple(dict.fromkeys(reason for each in listed for reason in each.reasons)),
        via,
    )


def joined(operation: str, several: Iterable[Facts]) -> Facts:
    """Return the facts of an answer that is made of several answers."""
    listed = list(several)
    costs = [each.epsilon for each in listed if each.epsilon is not None]
    return Facts(
        operation,
        tuple(dict.fromkeys(node for each in listed for node in each.nodes)),
        sum(costs) if costs else None,
        sum(each.delta or 0.0 for each in listed) if costs else None,
        max((each.error_bound for each in listed), default=0.0),
        tuple(dict.fromkeys(reason for each in listed for reason in each.reasons)),
        listed[0].via if listed else "mpc",
    )


class AnalyticsResult:
    """What every answer has in common."""

    _facts: Facts

    @property
    def facts(self) -> Facts:
        """Everything that the answer says beside its figures."""
        found = getattr(self, "_facts", None)
        return found if isinstance(found, Facts) else Facts()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes whose rows are in it."""
        return self.facts.nodes

    @property
    def epsilon(self) -> float | None:
        """ε of differential privacy that it has cost, None without."""
        return self.facts.epsilon

    @property
    def error_bound(self) -> float:
        """What no figure is off by; see `Facts`."""
        return self.facts.error_bound

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why figures were withheld."""
        return self.facts.reasons


class AnalyticsNumber(float, AnalyticsResult):
    """A number; NaN if it was withheld."""

    def __new__(cls, value: float, facts: Facts | None = None, suppressed: bool | None = None) -> AnalyticsNumber:
        """Make one; it is withheld if it is NaN for a reason."""
        made = super().__new__(cls, value)
        made._facts = facts or Facts()
        made._suppressed = bool(made._facts.reasons) and math.isnan(value) if suppressed is None else suppressed
        return made

    _suppressed: bool

    @property
    def suppressed(self) -> bool:
        """Whether it was withheld."""
        return self._suppressed

    def __repr__(self) -> str:
        if self._suppressed:
            return f"withheld ({'; '.join(self.reasons)})"
        return str(int(self)) if self.is_integer() and abs(self) < 1e15 else float.__repr__(self)

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return AnalyticsNumber, (float(self), self._facts, self._suppressed)

    def _repr_html_(self) -> str:
        return f"<div>{html.escape(repr(self))}<br><small>{html.escape(self.facts.line())}</small></div>"

    def plot(self, *, ax: Any = None) -> Any:
        """Draw it as a bar with its error; returns matplotlib's axes."""
        return (
            AnalyticsSeries([float(self)], index=[self.facts.operation or "value"]).with_facts(self.facts).plot(ax=ax)
        )


class _Plot(PlotAccessor):
    """pandas' ``.plot``, with a chart that fits the answer as the default."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self._answer = data

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        answer = self._answer
        if args or "kind" in kwargs or not isinstance(answer, AnalyticsSeries | AnalyticsFrame):
            return super().__call__(*args, **kwargs)
        return answer._draw(**kwargs)


class AnalyticsSeries(pd.Series, AnalyticsResult):
    """A figure for each group or column; NaN where it was withheld."""

    _metadata = ["_facts", "_suppressed", "name"]  # noqa: RUF012 - pandas reads it from the class

    @property
    def _constructor(self) -> Any:
        return AnalyticsSeries

    @property
    def _constructor_expanddim(self) -> Any:
        return AnalyticsFrame

    def with_facts(self, facts: Facts, suppressed: Any = None) -> AnalyticsSeries:
        """Attach what the answer says beside its figures."""
        self._facts, self._suppressed = facts, suppressed
        return self

    @property
    def suppressed(self) -> pd.Series[bool]:
        """Which figures were withheld."""
        known = getattr(self, "_suppressed", None)
        if known is not None and len(known) == len(self):
            return pd.Series(np.asarray(known, bool), index=self.index, name=self.name)
        return pd.Series(self.isna() & bool(self.reasons), index=self.index, name=self.name)

    @property
    def plot(self) -> Any:
        """Draw it as bars, or as pandas is told to."""
        return _Plot(self)

    def _draw(self, *, ax: Any = None, **options: Any) -> Any:
        axes = PlotAccessor(self)(kind="bar", ax=ax, **options)
        axes.set_ylabel(str(self.name or self.facts.operation))
        _note(axes, self.facts)
        return axes

    def _repr_html_(self) -> str:
        table = self.to_frame(self.name if self.name is not None else self.facts.operation or "value")
        return _html(pd.DataFrame(table), self.facts)


class AnalyticsFrame(pd.DataFrame, AnalyticsResult):
    """A table of figures; NaN where they were withheld."""

    _metadata = ["_facts", "_suppressed", "_kind"]  # noqa: RUF012 - pandas reads it from the class

    @property
    def _constructor(self) -> Any:
        return AnalyticsFrame

    @property
    def _constructor_sliced(self) -> Any:
        return AnalyticsSeries

    def with_facts(self, facts: Facts, suppressed: Any = None, kind: str = "bars") -> AnalyticsFrame:
        """Attach what the answer says beside its figures, and how it is drawn: bars, histogram or matrix."""
        self._facts, self._suppressed, self._kind = facts, suppressed, kind
        return self

    @property
    def suppressed(self) -> Any:
        """Which rows were withheld, as a Series; or which figures, as a DataFrame."""
        known = getattr(self, "_suppressed", None)
        if known is not None and len(known) == len(self):
            if np.ndim(known) == 1:
                return pd.Series(np.asarray(known, bool), index=self.index)
            return pd.DataFrame(np.asarray(known, bool), index=self.index, columns=self.columns)
        return pd.DataFrame(self.isna() & bool(self.reasons))

    @property
    def plot(self) -> Any:
        """Draw it as it is usually drawn, or as pandas is told to."""
        return _Plot(self)

    def _draw(self, *, ax: Any = None, **options: Any) -> Any:
        kind = getattr(self, "_kind", "bars")
        if kind == "histogram" and "lower" in self.columns:
            axes = _draw_histogram(self, ax, options)
        elif kind == "matrix":
            axes = _draw_matrix(self, ax, options)
        else:
            axes = PlotAccessor(self)(kind="bar", ax=ax, **options)
        _note(np.ravel(axes)[0] if isinstance(axes, np.ndarray) else axes, self.facts)
        return axes

    def _repr_html_(self) -> str:
        return _html(pd.DataFrame(self), self.facts)


def _draw_histogram(table: AnalyticsFrame, ax: Any, options: dict[str, Any]) -> Any:
    """Bars as wide as their bins and as high as their rows per width, so that merged bins look as they are."""
    ax = ax or _axes()
    shown = pd.DataFrame(table)
    keys = [name for name in shown.columns if name not in ("lower", "upper", "count")]
    groups = [("", shown)] if not keys else [(str(key), part) for key, part in shown.groupby(keys, sort=False)]
    for name, part in groups:
        finite = part[np.isfinite(part["lower"]) & np.isfinite(part["upper"]) & part["count"].notna()]
        width = (finite["upper"] - finite["lower"]).to_numpy(float)
        narrow = float(width.min()) if len(width) else 1.0
        height = finite["count"].to_numpy(float) * narrow / np.where(width > 0, width, 1.0)
        ax.bar(
            finite["lower"].to_numpy(float),
            height,
            width=width,
            align="edge",
            edgecolor="white",
            alpha=1.0 if len(groups) == 1 else 0.6,
            label=name or None,
            **options,
        )
    ax.set(xlabel=str(table.attrs.get("column", "")), ylabel="rows (per width of the narrowest bin)")
    if len(groups) > 1:
        ax.legend(title=", ".join(keys))
    return ax


def _draw_matrix(table: AnalyticsFrame, ax: Any, options: dict[str, Any]) -> Any:
    ax = ax or _axes()
    image = ax.imshow(table.to_numpy(float), vmin=-1, vmax=1, cmap="RdBu_r", **options)
    ax.set_xticks(range(len(table.columns)), table.columns, rotation=45, ha="right")
    ax.set_yticks(range(len(table.index)), table.index)
    ax.figure.colorbar(image, ax=ax)
    return ax


def _axes() -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def _note(axes: Any, facts: Facts) -> None:
    axes.set_title(facts.line(), fontsize=8)


def _html(table: pd.DataFrame, facts: Facts) -> str:
    return f"<div>{table.to_html(na_rep='–')}<small>{html.escape(facts.line())}</small></div>"
