"""From histograms to splits: small cells are merged, then the best split is the one with the largest gain.

The gain is XGBoost's (arXiv 1603.02754, equation 7): 1/2 (GL² / (HL + λ) + GR² / (HR + λ) - G² / (H + λ)), found by
going over the bins from left to right, with missing values on either side (their algorithm 3). Everything is computed
from integer sums, in one order, so that whoever has the same sums finds the same split to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .losses import from_sum

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """Where the cells of a node's histogram stand: its total, then each feature's bins, the last for missing values.

    Parameters
    ----------
    widths : tuple of int
        Cells of each feature, its bins and one.
    """

    widths: tuple[int, ...]

    @property
    def cells(self) -> int:
        """Cells of a node."""
        return 1 + sum(self.widths)

    def padded(self) -> tuple[NDArray[np.int64], Mask, NDArray[np.int64]]:
        """Return cell numbers (features, bins) with the last bin of each feature last, which are real, and the missing.

        Features with fewer bins than others begin with cells that are not theirs; their number is 0.
        """
        widths = np.array(self.widths, np.int64)
        ends = 1 + np.cumsum(widths) - 1  # the missing cell of each feature
        most = int(widths.max()) - 1
        cells = ends[:, None] - most + np.arange(most)
        real = np.arange(most) >= most - (widths - 1)[:, None]
        return np.where(real, cells, 0), real, ends


@dataclass(frozen=True)
class Cells:
    """Histograms of some tree nodes.

    Parameters
    ----------
    counts : ndarray of int64, shape (nodes, cells)
    values : ndarray of int64, shape (nodes, cells, fields)
    merged : ndarray of bool, shape (nodes, cells)
        Cells whose rows were added to a cell behind them; they hold 0.
    """

    counts: Integers
    values: Integers
    merged: Mask


def merge_small(counts: Integers, values: Integers, layout: Layout, minimum: int, *, to_end: bool = True) -> Cells:
    """Merge neighbouring bins until every cell has 0 rows or `minimum`.

    Parameters
    ----------
    counts : ndarray of int64, shape (nodes, cells)
    values : ndarray of int64, shape (nodes, cells, fields)
    layout : Layout
    minimum : int
        Smallest number of rows that a cell may tell of; 1 merges nothing.
    to_end : bool
        Whether the last bin told stands at the end of the bins, so that every bin told covers the merged ones before
        it; else it stays where its rows are, and covers the merged ones behind it as well.

    Returns
    -------
    Cells
        Of a node with fewer rows than `minimum`, everything is merged away: all its cells are 0.

    Notes
    -----
    Bins go from left to right: one is told once the rows since the last one told are enough. What is left at the end
    goes to the last bin told, as do missing values that are too few, which then count as the largest ones. An empty bin
    is merged like one with few rows: edges can be moved, and knowing a bin to be empty rather than small would tell
    where single rows are.
    """
    counts, values = counts.copy(), values.copy()
    merged = np.zeros(counts.shape, bool)
    if minimum > 1 and layout.widths:
        _merge_bins(counts, values, merged, layout, minimum, to_end)
    few = (counts[:, 0] > 0) & (counts[:, 0] < minimum)
    counts[few], values[few], merged[few] = 0, 0, True
    return Cells(counts, values, merged)


def _merge_bins(counts: Integers, values: Integers, merged: Mask, layout: Layout, minimum: int, to_end: bool) -> None:
    cells, real, missing = layout.padded()
    nodes, (features, most) = len(counts), cells.shape
    n = np.where(real, counts[:, cells], 0)  # (nodes, features, bins)
    v = np.where(real[..., None], values[:, cells], 0)
    gone = np.ones(n.shape, bool)
    carried_n = np.zeros((nodes, features), np.int64)
    carried_v = np.zeros((nodes, features, values.shape[-1]), values.dtype)
    told = np.full((nodes, features), -1)  # the last bin that was told
    for b in range(most):
        carried_n += n[:, :, b]
        carried_v += v[:, :, b]
        enough = carried_n >= minimum
        gone[:, :, b] = ~enough
        n[:, :, b] = np.where(enough, carried_n, 0)
        v[:, :, b] = np.where(enough[..., None], carried_v, 0)
        told[enough] = b
        carried_n[enough], carried_v[enough] = 0, 0
    missing_n, missing_v = counts[:, missing], values[:, missing]
    few = (missing_n > 0) & (missing_n < minimum)
    # Where no bin was told, its few rows join the missing values; else those that are left join the last bin told,
    # and so do too few missing values (the last bin of all, if none was told).
    none = told < 0
    joins = none & ~few
    missing_n = np.where(few, 0, missing_n + np.where(joins, carried_n, 0))
    missing_v = np.where(few[..., None], 0, missing_v + np.where(joins[..., None], carried_v, 0))
    carried_n += np.where(few, counts[:, missing], 0)
    carried_v += np.where(few[..., None], values[:, missing], 0)
    told[none] = most - 1
    node, feature = np.nonzero(~none | few)
    last = told[node, feature]
    end_n, end_v = n[node, feature, last] + carried_n[node, feature], v[node, feature, last] + carried_v[node, feature]
    n[node, feature, last], v[node, feature, last], gone[node, feature, last] = 0, 0, True
    end = most - 1 if to_end else last
    n[node, feature, end], v[node, feature, end], gone[node, feature, end] = end_n, end_v, False
    counts[:, missing], values[:, missing], merged[:, missing] = missing_n, missing_v, few
    at = cells[real]
    counts[:, at], values[:, at], merged[:, at] = n[:, real], v[:, real], gone[:, real]


@dataclass(frozen=True)
class Rules:
    """What a split must do.

    Parameters
    ----------
    l2 : float
        λ.
    min_gain : float
        γ: what a split must gain more than, in units of the loss.
    min_samples_leaf : int
        Rows of each side.
    min_child_weight : float
        Second derivatives of each side, summed.
    """

    l2: float
    min_gain: float
    min_samples_leaf: int
    min_child_weight: float


@dataclass(frozen=True)
class Split:
    """The best split of one node.

    Attributes
    ----------
    feature : int
        Position among the features asked about.
    bin : int
        Rows up to this bin go left.
    missing_left : bool
    gain : float
    rows : (int, int)
        Of either side.
    gradients, hessians : (float, float)
        Of either side.
    """

    feature: int
    bin: int
    missing_left: bool
    gain: float
    rows: tuple[int, int]
    gradients: tuple[float, float]
    hessians: tuple[float, float]


def best_splits(cells: Cells, layout: Layout, exponent: int, rules: Rules) -> list[Split | None]:
    """Return each node's best split, or None where no split is allowed and worth it.

    Parameters
    ----------
    cells : Cells
    layout : Layout
    exponent : int
        Values are in units of 2^(exponent - 24); without a second field, a row's second derivative is 1.
    rules : Rules

    Notes
    -----
    Among equal gains the first one counts: lower feature, then lower bin, then missing values right.
    """
    numbers, real, missing = layout.padded()
    n = np.where(real, cells.counts[:, numbers], 0)
    at_bins = np.where(real[..., None], cells.values[:, numbers], 0)
    at_missing, n_missing = cells.values[:, missing], cells.counts[:, missing]
    # Integers are added, and only then turned into reals.
    left_n, left_v = n.cumsum(axis=2), at_bins.cumsum(axis=2)
    all_n = left_n[:, :, -1] + n_missing
    all_v = left_v[:, :, -1] + at_missing
    allowed = real & ~cells.merged[:, numbers]
    allowed[:, :, -1] = False  # nothing would be right of the last bin
    absent = n_missing > 0
    few_missing = cells.merged[:, missing]  # these are in the last bin
    whole = _quality(_derivatives(all_n[:, :, None], all_v[:, :, None], exponent), rules.l2)
    ways = []
    for missing_left in (False, True):
        side_n = left_n + n_missing[:, :, None] if missing_left else left_n
        side_v = left_v + at_missing[:, :, None] if missing_left else left_v
        rest_n, rest_v = all_n[:, :, None] - side_n, all_v[:, :, None] - side_v
        left, right = _derivatives(side_n, side_v, exponent), _derivatives(rest_n, rest_v, exponent)
        fine = (
            allowed
            & (side_n >= rules.min_samples_leaf)
            & (rest_n >= rules.min_samples_leaf)
            & (left[1] >= rules.min_child_weight)
            & (right[1] >= rules.min_child_weight)
        )
        if missing_left:
            fine &= absent[:, :, None]
        gain = np.where(fine, (_quality(left, rules.l2) + _quality(right, rules.l2) - whole) / 2, -np.inf)
        ways.append(_Way(gain, (side_n, rest_n), left, right))
    gains = np.stack([way.gain for way in ways], axis=-1)  # (nodes, features, bins, sides of the missing)
    flat = gains.reshape(len(gains), -1)
    first_bin = real.argmax(axis=1)
    splits: list[Split | None] = []
    for node, place in enumerate(flat.argmax(axis=1).tolist()):
        best = float(flat[node, place])
        if not best > rules.min_gain:
            splits.append(None)
            continue
        feature, b, side = (int(part) for part in np.unravel_index(place, gains.shape[1:]))
        way, at = ways[side], (node, feature, b)
        rows = int(way.rows[0][at]), int(way.rows[1][at])
        # Where nothing is known of missing values, they go where most rows go.
        unknown = not absent[node, feature] and not few_missing[node, feature]
        splits.append(
            Split(
                feature,
                b - int(first_bin[feature]),
                rows[0] > rows[1] if unknown else bool(side),
                best,
                rows,
                (float(way.left[0][at]), float(way.right[0][at])),
                (float(way.left[1][at]), float(way.right[1][at])),
            )
        )
    return splits


@dataclass(frozen=True)
class _Way:
    """All splits with missing values on one side: gains, rows of both sides, derivatives of either."""

    gain: Floats
    rows: tuple[Integers, Integers]
    left: tuple[Floats, Floats]
    right: tuple[Floats, Floats]


def _derivatives(rows: Integers, values: Integers, exponent: int) -> tuple[Floats, Floats]:
    """Return summed first and second derivatives."""
    first = from_sum(values[..., 0], exponent)
    second = rows.astype(np.float64) if values.shape[-1] == 1 else from_sum(values[..., 1], exponent)
    return first, second


def _quality(derivatives: tuple[Floats, Floats], l2: float) -> Floats:
    """Return G² / (H + λ)."""
    first, weight = derivatives[0], derivatives[1] + l2
    return np.divide(first * first, weight, out=np.zeros_like(first), where=weight > 0)


def leaf_value(gradient: float, hessian: float, l2: float) -> float:
    """Return -G / (H + λ) (arXiv 1603.02754, equation 5)."""
    return -gradient / (hessian + l2) if hessian + l2 > 0 else 0.0
