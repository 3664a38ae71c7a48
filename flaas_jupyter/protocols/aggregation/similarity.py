"""Lengths of updates and their cosines with a direction, in one walk over them; float64 throughout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import each_block


def norms_from(rows: NDArray[Any], base: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ‖row − base‖ of every row, shape (n,), of rows (n, p) and a base (p,)."""

    def squared(block: slice) -> NDArray[np.float64]:
        differences = rows[:, block] - base[block]
        squares: NDArray[np.float64] = np.einsum("ij,ij->i", differences, differences)
        return squares

    return np.sqrt(sum(each_block(rows.shape, squared), start=np.zeros(len(rows))))


def cosines_with(
    rows: NDArray[Any], direction: NDArray[np.float64], base: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cosine of every row − base with the direction, and the norms of row − base.

    Parameters
    ----------
    rows : ndarray, shape (n, p)
    direction, base : ndarray of float64, shape (p,)
        Without a base, the rows themselves.

    Returns
    -------
    cosines, norms : ndarray of float64, shape (n,)
        The cosine is 0 where one of the two has no length.
    """

    def products_and_squares(block: slice) -> NDArray[np.float64]:
        values = rows[:, block].astype(np.float64)
        if base is not None:
            values -= base[block]
        return np.stack([values @ direction[block], np.einsum("ij,ij->i", values, values)])

    products, squares = sum(each_block(rows.shape, products_and_squares), start=np.zeros((2, len(rows))))
    norms = np.sqrt(squares)
    lengths = norms * np.sqrt(direction @ direction)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0), norms


def minmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values shifted and scaled to [0, 1], shape (n,); all 0 where all are equal."""
    low, high = values.min(), values.max()
    if high == low:
        return np.zeros_like(values)
    scaled: NDArray[np.float64] = (values - low) / (high - low)
    return scaled
