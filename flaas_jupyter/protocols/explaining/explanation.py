"""The kind ``explanation``: what a model's Shapley values add up to, over all rows and by bins of each feature.

A node computes the Shapley values φ of its rows (`Explainer`), and sums them up: Σ|φ|, from which global importance
follows, Σφ and Σφ². Nothing of a single row leaves. Without a model it is the *profile* of the columns: rows and sums
by bin, which a `Background` is drawn from.

Beside what holds for every statistic, that every figure is of at least k rows, nothing is told that a few rows could
make up most of: a figure's *effective number of rows*, (Σ|φ|)² / Σφ² (Kish), must be k at least, and `EFFECTIVE`, so
that no row makes up more than 1/√k of it. For a model is chosen by who asks, and one could be made to look at one row
only. Neighbouring bins that are of fewer become one, as those of few rows do.

A |φ| is clipped to less than `encoding.VALUE_LIMIT`, and so large where it is no number: rows that were left out for
what a model makes of them would be chosen by who chose the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..analytics import Local, Opened, ReleasePolicy, Statistic, limits, register
from ..analytics.encoding import limited, saturated
from ..analytics.expressions import Columns
from ..analytics.release import Disclosed
from ..analytics.statistics import Table
from ..analytics.suppression import Span, merge, withheld
from .background import Background
from .feature_bins import FeatureBins
from .model_reference import ModelReference
from .shapley import MAXIMUM_EXACT

EFFECTIVE = 3
_CONCENTRATED = "figures that a few rows could make up most of are withheld"
MAXIMUM_ORDERS = 64
MAXIMUM_ROWS = 1 << 20
_PARTS = ("sum", "absolute", "squares")

Floats = NDArray[np.float64]


class Explainer(Protocol):
    """A model that can explain its predictions."""

    def shap(self, statistic: Explanation, columns: Columns) -> Floats:
        """Return the Shapley values of all rows of `columns`, shape (n, features, outputs)."""


@dataclass(frozen=True)
class Explanation(Statistic):
    """Sums of Shapley values.

    For each feature the raw cells are: all rows; each of its bins; missing values. Cells that can be released are the
    same.

    Attributes
    ----------
    model : ModelReference or None
        None asks for the profile of the columns.
    background : Background or None
        None for boosted trees, which need none.
    bins : tuple of FeatureBins
        One for each of `columns`.
    orders : int
        In how many orders features join; 0 goes through all coalitions.
    seed : int
        Of the orders, and of the choice of rows.
    rows : int
        A node with more than four times as many rows explains so many of them, chosen at random.
    explainer : Explainer or None
        The model itself, bound where rows are.
    """

    own: ClassVar[tuple[str, ...]] = ("model", "background", "bins", "orders", "seed", "rows")

    model: ModelReference | None = None
    background: Background | None = None
    bins: tuple[FeatureBins, ...] = ()
    orders: int = 0
    seed: int = 0
    rows: int = MAXIMUM_ROWS
    explainer: Explainer | None = field(default=None, repr=False, compare=False)

    # ---- reading ---------------------------------------------------------------------------------------------------

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Check model, background and bins."""
        columns: tuple[str, ...] = common["columns"]
        unfit = [name for name in ("assign", "by") if common[name]]
        if unfit or not columns:
            raise limits.bad("an explanation needs columns, and takes no groups and no derived columns")
        model = None if data.get("model") is None else ModelReference.parse(data["model"])
        given = data.get("background")
        background = None if given is None else Background.parse(given, columns)
        if model is not None and (background is None) != (model.kind == "boosting"):
            raise limits.bad("models other than trees need a background, and trees have none")
        listed = limits.sequence(data.get("bins") or [], "bins", limits.MAXIMUM_COLUMNS)
        bins = tuple(FeatureBins.parse(entry) for entry in listed) or tuple(FeatureBins(name) for name in columns)
        if tuple(each.name for each in bins) != columns:
            raise limits.bad("the bins must be those of the columns, in their order")
        orders = _whole(data.get("orders", 0), "orders", MAXIMUM_ORDERS)
        if orders % 2 or (model is not None and model.kind == "keras" and not orders and len(columns) > MAXIMUM_EXACT):
            raise limits.bad(
                f"orders must be even, up to {MAXIMUM_ORDERS}; 0, for all coalitions, is for up to {MAXIMUM_EXACT} "
                "features"
            )
        rows = _whole(data.get("rows", MAXIMUM_ROWS), "rows", MAXIMUM_ROWS)
        if not rows:
            raise limits.bad("rows must be 1 at least")
        return {
            "model": model,
            "background": background,
            "bins": bins,
            "orders": orders,
            "seed": _whole(data.get("seed", 0), "seed", (1 << 63) - 1),
            "rows": rows,
        }

    def own_dict(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {
            "model": None if self.model is None else self.model.to_dict(),
            "background": None if self.background is None else self.background.to_dict(),
            "bins": [each.to_dict() for each in self.bins],
            "orders": self.orders,
            "seed": self.seed,
            "rows": self.rows,
        }

    # ---- what it looks like ----------------------------------------------------------------------------------------

    @property
    def outputs(self) -> int:
        """Outputs of the model; 0 of a profile."""
        return 0 if self.model is None else self.model.outputs

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where the cells of each feature begin."""
        sizes = [1 + (each.cells + 1 if each.cells else 0) for each in self.bins]
        return tuple(np.cumsum([0, *sizes]).tolist())

    @property
    def raw_cells(self) -> int:
        """For each feature all rows, and if it has bins these and missing values."""
        return self.starts[-1]

    @property
    def fields(self) -> tuple[str, ...]:
        """The feature's own values, and for each output Σφ, Σ|φ|, Σφ²; with differential privacy Σ|φ| only."""
        if self.epsilon is not None:
            return tuple(f"{output}.absolute" for output in range(self.outputs))
        return ("value", *(f"{output}.{part}" for output in range(self.outputs) for part in _PARTS))

    @property
    def real(self) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(len(self.fields), bool)

    @property
    def touched(self) -> int:
        """For each feature the count and every field of the cell of all rows: with privacy there are no bins."""
        return len(self.columns) * (1 + len(self.fields))

    def largest(self) -> Floats:
        """Return the bound of |φ|, which a row's Shapley values are clipped to.

        Raises
        ------
        InvalidInput
            Code ``bad-statistic``: there is no bound, or there are bins.
        """
        if any(each.cells for each in self.bins) or self.model is None:
            raise limits.bad("with differential privacy an explanation has no bins, and a model")
        reach = [max(abs(low), abs(high)) for low, high in self.bounds.values()]
        if not reach:
            raise limits.bad("with differential privacy Shapley values need bounds", 'bounds={"shap": (-2, 2)}.')
        return np.full(len(self.fields), max(reach))

    # ---- at a node -------------------------------------------------------------------------------------------------

    def local(self, columns: Columns) -> Local:
        """Explain the rows of one node and add up.

        Raises
        ------
        InvalidInput
            ``unknown-column``; ``bad-statistic``; and what the model cannot do with the columns.
        """
        self.require(columns)
        count = len(columns[self.columns[0]])
        matched = np.ones(count, bool) if self.where is None else np.asarray(self.where.evaluate(columns, count), bool)
        chosen = self._chosen(matched)
        own = {name: np.asarray(columns[name])[chosen] for name in self.columns}
        values = np.zeros((int(chosen.sum()), len(self.columns), 0))
        if self.model is not None:
            if self.explainer is None:
                raise limits.bad("its model is not at hand here")
            values = self.explainer.shap(self, own)
        return self._sums(own, chosen, values)

    def measure(self, table: Table) -> Local:
        """Explain the rows of a table; see `local`."""
        return self.local(table.columns)

    def _chosen(self, matched: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the rows that are explained: all that meet the condition, or so many of them, drawn by lot."""
        there = np.flatnonzero(matched)
        if self.model is None or len(there) <= 4 * self.rows:
            return matched
        drawn = np.random.default_rng([self.seed, len(there)]).choice(there, self.rows, replace=False)
        chosen = np.zeros(len(matched), bool)
        chosen[drawn] = True
        return chosen

    def _sums(self, own: Columns, chosen: NDArray[np.bool_], values: Floats) -> Local:
        counts = np.zeros(self.raw_cells, np.int64)
        sums = np.zeros((self.raw_cells, len(self.fields)))
        partitions = []
        if self.epsilon is not None:
            values = np.clip(np.abs(saturated(values)), 0.0, self.largest()[0])
        for number, (bins, start) in enumerate(zip(self.bins, self.starts, strict=False)):
            column = own[bins.name]
            row_sums = self._of_rows(column, values[:, number])
            counts[start], sums[start] = len(column), row_sums.sum(axis=0)
            if not bins.cells:
                continue
            place = bins.place(column)
            cells = bins.cells + 1
            part = slice(start + 1, start + 1 + cells)
            counts[part] = np.bincount(place, minlength=cells)
            for at in range(sums.shape[1]):
                sums[part, at] = np.bincount(place, weights=row_sums[:, at], minlength=cells)
            if bins.ordered:
                # Borders could be moved; values of texts could not, nor what is missing, which means tell of too.
                labels = np.full(len(chosen), -1, np.int64)
                labels[chosen] = np.where(place < bins.cells, place, -1)
                partitions.append(labels)
        return Local(counts, sums, chosen, tuple(partitions))

    def _of_rows(self, column: NDArray[Any], values: Floats) -> Floats:
        """Return each row's fields, (n, fields)."""
        if self.epsilon is not None:
            return values
        numbers = np.zeros(len(column))
        if column.dtype.kind in "biuf":
            numbers = np.nan_to_num(limited(column.astype(np.float64)), nan=0.0)
        values = saturated(values)
        parts = np.stack([values, np.abs(values), values**2], axis=2).reshape(len(column), -1)
        return np.concatenate([numbers[:, None], parts], axis=1)

    # ---- at the releaser -------------------------------------------------------------------------------------------

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Withhold figures of few rows, and those that a few rows could make up most of."""
        counts, values = opened.counts.astype(np.float64), opened.values.copy()
        hidden = np.zeros(self.raw_cells, bool)
        spans: list[Span] = []
        reasons: list[str] = []
        k = policy.minimum_group
        if self.epsilon is not None or k <= 1:
            return Disclosed(counts, values, hidden)
        for bins, start in zip(self.bins, self.starts, strict=False):
            if not self._spread(values[start], k):
                values[start, 1:] = np.nan
                reasons.append(_CONCENTRATED)
            if bins.cells:
                part = slice(start + 1, start + 2 + bins.cells)
                told = self._tell(bins, opened.counts[part], opened.values[part], k)
                counts[part], values[part], hidden[part] = told.counts, told.values, told.suppressed
                spans += [Span(start + 1 + span.start, start + 1 + span.stop, span.rows) for span in told.spans]
                reasons += told.reasons
        return Disclosed(counts, values, hidden, spans, list(dict.fromkeys(reasons)))

    def _tell(self, bins: FeatureBins, rows: NDArray[np.int64], sums: Floats, minimum: int) -> Disclosed:
        """Return what is told of one feature's bins; the last one is that of missing values."""
        counts, values = rows.astype(np.float64), sums.copy()
        hidden = np.zeros(len(rows), bool)
        spans: list[Span] = []
        reasons = []
        if not bins.ordered:
            hidden[:] = withheld(np.append(rows, 0), [len(rows)], minimum)
        elif 0 < int(rows[:-1].sum()) < minimum:
            hidden[:] = True
        else:
            for span in self._joined(merge(rows[:-1], minimum), sums, minimum):
                if span.stop > span.start + 1:
                    spans.append(span)
                    values[span.start] = sums[span.start : span.stop].sum(axis=0)
                    counts[span.start] = span.rows
                    counts[span.start + 1 : span.stop] = np.nan
                    values[span.start + 1 : span.stop] = np.nan
            if spans:
                few = "" if not self.outputs else ", or of figures that a few rows make up most of,"
                reasons.append(f"bins of fewer than {minimum} rows{few} are told together with their neighbours")
            hidden[:] = withheld(np.append(np.nan_to_num(counts).astype(np.int64), 0), [len(rows)], minimum)
        if hidden.any():
            reasons.append(f"groups of fewer than {minimum} rows, and what would give them away, are withheld")
        if not hidden.all() and self._hide_concentrated(counts, values, hidden, minimum):
            reasons.append(_CONCENTRATED)
        counts[hidden], values[hidden] = np.nan, np.nan
        return Disclosed(counts, values, hidden, spans, reasons)

    def _joined(self, spans: list[Span], sums: Floats, minimum: int) -> list[Span]:
        """Put spans together with their neighbours until each is of enough rows that count, or all are one."""
        found: list[Span] = []
        for span in spans:
            if found and not self._spread(sums[found[-1].start : found[-1].stop].sum(axis=0), minimum):
                last = found.pop()
                span = Span(last.start, span.stop, last.rows + span.rows)
            found.append(span)
        while len(found) > 1 and not self._spread(sums[found[-1].start : found[-1].stop].sum(axis=0), minimum):
            last = found.pop()
            found[-1] = Span(found[-1].start, last.stop, found[-1].rows + last.rows)
        return found

    def _hide_concentrated(self, counts: Floats, values: Floats, hidden: NDArray[np.bool_], minimum: int) -> bool:
        """Withhold what a few rows could make up most of, and one more, which totals would give it away by."""
        there = ~hidden & (np.nan_to_num(counts) > 0)
        concentrated = there & np.array([not self._spread(row, minimum) for row in values])
        if not concentrated.any():
            return False
        hidden |= concentrated
        others = np.flatnonzero(there & ~concentrated)
        if concentrated.sum() == 1 and len(others):
            hidden[others[np.argmin(counts[others])]] = True
        return True

    def _spread(self, sums: Floats, minimum: int) -> bool:
        """Tell whether the figures of a cell are of enough rows that count: k, and `EFFECTIVE`."""
        if not self.outputs:
            return True
        parts = sums[1:].reshape(self.outputs, len(_PARTS))
        absolute, squares = parts[:, 1], parts[:, 2]
        enough: bool = bool((absolute**2 >= max(minimum, EFFECTIVE) * squares * (1 - 1e-9)).all())
        return enough


def _whole(value: object, what: str, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise limits.bad(f"{what} must be a whole number from 0 to {most}")
    return value


def told_bins(
    bins: FeatureBins, start: int, counts: Sequence[float], spans: Sequence[Span]
) -> list[tuple[int, int, int]]:
    """Return the bins of a feature as they are told: first place, place behind the last, and row of the answer.

    Parameters
    ----------
    bins : FeatureBins
    start : int
        Where its cells begin in the answer, that of all rows.
    counts : sequence of float
        Of the answer's cells.
    spans : sequence of Span
        Of the answer.
    """
    merged = {span.start: span.stop for span in spans}
    found, place = [], 0
    while place < bins.cells:
        at = start + 1 + place
        stop = merged.get(at, at + 1) - start - 1
        if counts[at] == counts[at] and counts[at] > 0:
            found.append((place, stop, at))
        place = stop
    return found


register("explanation", Explanation)
