"""Quantiles from a histogram with noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def quantiles_of_histogram(
    counts: NDArray[np.float64], edges: Sequence[NDArray[np.float64]], quantile: float, error: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return where the cumulative counts reach a quantile.

    Parameters
    ----------
    counts : ndarray of float, shape (groups, columns, bins + 2)
        With noise; below the first edge, the bins, above the last edge.
    edges : sequence of ndarray of float, shape (bins + 1,)
        Of each column.
    quantile : float
    error : float
        What a count is off by, with 95 % probability.

    Returns
    -------
    values, errors : ndarray of float64, shape (groups, columns)
        Errors: how far the quantile moves if the cumulative counts are off by what the noise of their bins adds up to,
        and a bin's width.
    hidden : ndarray of bool, shape (groups, columns)
        Groups that are not more than noise.
    """
    groups, columns, cells = counts.shape
    values, errors = np.full((groups, columns), np.nan), np.zeros((groups, columns))
    for group in range(groups):
        for column in range(columns):
            cuts = edges[column]
            inside = np.maximum(counts[group, column, 1 : cells - 1], 0.0)
            inside[0] += max(0.0, float(counts[group, column, 0]))  # values are clipped to the bounds
            inside[-1] += max(0.0, float(counts[group, column, cells - 1]))
            cumulative = np.concatenate([[0.0], np.cumsum(inside)])
            total = float(cumulative[-1])
            if total <= error:
                continue
            drift = error * float(np.sqrt(len(inside)))
            at, low, high = (
                float(np.interp(np.clip(quantile * total + shift, 0, total), cumulative, cuts))
                for shift in (0.0, -drift, drift)
            )
            values[group, column] = at
            errors[group, column] = max(high - at, at - low) + float(cuts[1] - cuts[0])
    return values, errors, np.isnan(values)
