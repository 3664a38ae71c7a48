"""Bins of features: where their edges are, which bin a value is in, and how edges are found from counts alone.

A feature with B bins has B - 1 increasing edges; bin b holds edges[b-1] <= x < edges[b], and bin B what is missing. A
tree splits between bins, so that it says of a value no more than the edges do.

Edges are put at quantiles (as histogram boosting does: arXiv 1603.02754 section 3.2; LightGBM, NeurIPS 2017), which
are found by asking for histograms: of powers of two first, and then ever finer where many rows are. A histogram is a
sum over nodes, so that the edges depend on all rows together and not on who has which.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

MAXIMUM_BINS = 255
MAXIMUM_FEATURES = 4096
_EXPONENTS = range(-20, 41)
_OUTERMOST = 1e300
_REFINEMENTS = 4
_CELLS = 1 << 17  # of one question, over all columns
_SPLIT = 64  # a cell is cut in so many pieces at most

Floats = NDArray[np.float64]
Ask = Callable[[Mapping[str, Floats]], Mapping[str, Floats]]
"""Column to boundaries (c + 1,) in, column to counts (c,) out; NaN for a cell whose rows the next one told includes."""


class Bins:
    """The bins of some features.

    Parameters
    ----------
    edges : mapping of str to sequence of float
        Feature to its increasing, finite edges, `MAXIMUM_BINS` - 1 at most; none for a feature that says nothing.
    missing : float, optional
        A value that stands for a missing one, beside NaN.

    Attributes
    ----------
    features : tuple of str
    sizes : ndarray of int, shape (features,)
        Bins of each feature, without the one for what is missing.

    Raises
    ------
    InvalidInput
        ``boosting-bad-edges``.
    """

    def __init__(self, edges: Mapping[str, Sequence[float]], missing: float | None = None) -> None:
        if not isinstance(edges, Mapping) or not 1 <= len(edges) <= MAXIMUM_FEATURES:
            count = len(edges) if isinstance(edges, Mapping) else type(edges).__name__
            raise InvalidInput(
                f"Boosting takes the edges of 1 to {MAXIMUM_FEATURES} features, not {count}.", code="boosting-bad-edges"
            )
        self.edges = {str(name): _checked_edges(str(name), values) for name, values in edges.items()}
        self.missing = None if missing is None or math.isnan(missing) else float(missing)
        self.features = tuple(self.edges)
        self.sizes = np.array([len(values) + 1 for values in self.edges.values()])

    def to_dict(self) -> dict[str, list[float]]:
        """Return the edges as JSON values."""
        return {name: values.tolist() for name, values in self.edges.items()}

    def codes(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Return which bin each value is in.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,)
            Numbers; at least the features.

        Returns
        -------
        ndarray of uint8, shape (features, n)
            0 to `sizes` - 1, and `sizes` for what is missing.
        """
        rows = len(columns[self.features[0]])
        codes = np.empty((len(self.features), rows), dtype=np.uint8)
        for number, (name, edges) in enumerate(self.edges.items()):
            codes[number] = self._codes_of(np.asarray(columns[name], dtype=np.float64), edges)
        return codes

    def _codes_of(self, values: Floats, edges: Floats) -> NDArray[np.int64]:
        found = np.searchsorted(edges, values, side="right")
        absent = np.isnan(values) if self.missing is None else np.isnan(values) | (values == self.missing)
        found[absent] = len(edges) + 1
        return found


def _checked_edges(name: str, values: Sequence[float]) -> Floats:
    try:
        edges = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad_edges(name, "they are not numbers") from error
    if edges.ndim != 1 or len(edges) >= MAXIMUM_BINS:
        raise _bad_edges(name, f"they are of shape {edges.shape}; allowed is one row of {MAXIMUM_BINS - 1} at most")
    if not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise _bad_edges(name, "they must be finite and increase")
    return edges


def _bad_edges(name: str, why: str) -> InvalidInput:
    return InvalidInput(f"The bin edges of {name[:80]!r} cannot be used: {why}.", code="boosting-bad-edges")


def find_edges(columns: Sequence[str], ask: Ask, max_bins: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Find edges that divide the rows of each column into up to `max_bins` bins of about equal size.

    Parameters
    ----------
    columns : sequence of str
        Numeric columns.
    ask : callable
        Returns histograms of the pooled rows, see `Ask`; it is called up to five times.
    max_bins : int
        2 to `MAXIMUM_BINS`.

    Returns
    -------
    edges : dict of str to ndarray of float64
        For each column; empty where it has one value as far as can be told.
    ranges : dict of str to ndarray of float64, shape (2,)
        Between which boundaries the rows of each column lie that were counted; NaN where there are none.

    Notes
    -----
    Values that differ by less than about a thousandth of their magnitude, and only those, may come into one bin
    though there are fewer than `max_bins` of them.
    """
    powers = [2.0**exponent for exponent in _EXPONENTS]
    first = np.array([-_OUTERMOST, *(-power for power in reversed(powers)), 0.0, *powers, _OUTERMOST])
    boundaries = dict.fromkeys(columns, first)
    counts = dict(ask(boundaries))
    budget = max(_CELLS // max(len(columns), 1), 2 * max_bins)
    for _ in range(_REFINEMENTS):
        finer = {name: _refined(boundaries[name], counts[name], max_bins, budget) for name in columns}
        open_ones = {name: found for name, found in finer.items() if found is not None}
        if not open_ones:
            break
        boundaries |= open_ones
        counts |= ask(open_ones)
    edges = {name: _chosen(boundaries[name], counts[name], max_bins) for name in columns}
    return edges, {name: _range(boundaries[name], counts[name]) for name in columns}


def _refined(boundaries: Floats, counts: Floats, max_bins: int, budget: int) -> Floats | None:
    """Return finer boundaries, or None when there is nothing more to cut."""
    told = np.nan_to_num(counts)
    total = told.sum()
    if total <= 0:
        return None
    low, high = boundaries[:-1], boundaries[1:]
    with np.errstate(over="ignore"):
        wide = (high - low) > 1e-6 * np.maximum(np.abs(low), np.abs(high))
    heavy = (told > total / (2 * max_bins)) & wide
    if not heavy.any():
        return None
    pieces = np.ones(len(counts), dtype=np.int64)
    room = max(budget - len(counts), 0)
    wanted = np.clip(np.ceil(told[heavy] * (4 * max_bins) / total), 16, _SPLIT)
    if wanted.sum() > room:
        wanted = np.maximum(np.floor(wanted * room / wanted.sum()), 1)
    pieces[heavy] = wanted.astype(np.int64)
    if (pieces == 1).all():
        return None
    # Of a run of empty cells one is enough.
    filled = counts != 0
    keep_left = filled | np.concatenate([[False], filled[:-1]])
    parts = [
        np.linspace(low[i], high[i], pieces[i] + 1)[:-1] if pieces[i] > 1 else low[i : i + 1]
        for i in np.flatnonzero(keep_left)
    ]
    return np.unique(np.concatenate([boundaries[:1], *parts, boundaries[-1:]]))


def _chosen(boundaries: Floats, counts: Floats, max_bins: int) -> Floats:
    """Choose edges behind the cells that are told to hold rows."""
    filled = np.flatnonzero(counts > 0)
    if len(filled) < 2:
        return np.empty(0)
    maybe = np.flatnonzero(counts != 0)  # told, or of a count that is not told
    rest, gathered = float(np.nansum(counts)), 0.0
    edges: list[float] = []
    all_of_them = len(filled) <= max_bins
    for before, at in itertools.pairwise(filled):
        gathered += counts[before]
        share = rest / (max_bins - len(edges))
        if len(edges) < max_bins - 1 and (all_of_them or gathered >= share or counts[at] >= share):
            low = boundaries[before + 1]
            high = boundaries[maybe[np.searchsorted(maybe, before, side="right")]]  # behind empty cells
            edges.append(float(low + (high - low) / 2))
            rest, gathered = rest - gathered, 0.0
    return np.array(edges)


def _range(boundaries: Floats, counts: Floats) -> Floats:
    filled = np.flatnonzero(counts > 0)
    if not filled.size:
        return np.array([np.nan, np.nan])
    return np.array([boundaries[filled[0]], boundaries[filled[-1] + 1]])
