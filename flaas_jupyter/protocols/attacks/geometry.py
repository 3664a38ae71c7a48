"""Inner products of models' differences, by blocks of columns: distances without an (n, p) copy in float64.

With d_i = w_i − o for some origin o, ‖w_i − w_j‖² = ⟨d_i,d_i⟩ − 2⟨d_i,d_j⟩ + ⟨d_j,d_j⟩. A crafted model that lies on a
ray o + γ u has ‖w_i − w_crafted‖² = ⟨d_i,d_i⟩ − 2γ⟨d_i,u⟩ + γ²⟨u,u⟩: a search over γ needs the products once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_COLUMNS = 1 << 16


def products(
    rows: NDArray[Any], origin: NDArray[Any], direction: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return ⟨d_i,d_j⟩, shape (n, n); ⟨d_i,u⟩, shape (n,); and ⟨u,u⟩, for d_i = rows_i − origin and u = direction.

    Parameters
    ----------
    rows : ndarray, shape (n, p)
    origin, direction : ndarray, shape (p,)
    """
    clients, parameters = rows.shape
    gram, along, length = np.zeros((clients, clients)), np.zeros(clients), 0.0
    for start in range(0, parameters, BLOCK_COLUMNS):
        block = slice(start, start + BLOCK_COLUMNS)
        apart = rows[:, block].astype(np.float64) - origin[block]
        step = direction[block].astype(np.float64)
        gram += apart @ apart.T
        along += apart @ step
        length += float(step @ step)
    return gram, along, length


def squared_distances(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ‖w_i − w_j‖², shape (n, n), from ⟨d_i,d_j⟩."""
    norms = np.diagonal(gram)
    return np.maximum(norms[:, None] + norms[None, :] - 2 * gram, 0)
