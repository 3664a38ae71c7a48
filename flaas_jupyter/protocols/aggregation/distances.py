"""Inner products and squared distances between all pairs of updates, in one or two walks over them.

‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b, with inner products accumulated in float64 block by block: O(n² p) time in BLAS,
O(n · block + n²) memory. The formula loses digits where two updates are much nearer to each other than to the
origin, so the origin is put among them, and the pairs that are still too near are computed from their difference.
Hence neither a large constant common to all, nor one client that sends huge values, spoils the distances among
the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rule import Cohort

_CANCELLED = 1e-6
"""Below this part of ‖a‖² + ‖b‖², ten of float64's sixteen digits may be gone."""


def inner_products(cohort: Cohort) -> NDArray[np.float64]:
    """Return (w_i − o)·(w_j − o) of all pairs, shape (n, n), for an origin o that most updates are not far from.

    The origin is the reference or 0, unless many updates are much nearer to each other than to it; then it is the
    update with the smallest median distance to the others. Squares beyond float64 are infinite.
    """
    products = _products(cohort, cohort.reference)
    distances = _distances(products)
    if 10 * np.count_nonzero(_imprecise(products, distances)) > distances.size:
        central = int(np.median(distances, axis=1).argmin())
        products = _products(cohort, cohort.updates[central].astype(np.float64))
    return products


def squared_distances(cohort: Cohort) -> NDArray[np.float64]:
    """Return ‖w_i − w_j‖² of all pairs, shape (n, n): symmetric, the diagonal 0."""
    products = inner_products(cohort)
    distances = _distances(products)
    _from_differences(cohort, _imprecise(products, distances), distances)
    return distances


def _products(cohort: Cohort, origin: NDArray[np.float64] | None) -> NDArray[np.float64]:
    products = np.zeros((len(cohort), len(cohort)))
    with np.errstate(over="ignore", invalid="ignore"):  # squares of huge weights in float64
        for block in cohort.blocks():
            rows = cohort.updates[:, block].astype(np.float64)
            if origin is not None:
                rows -= origin[block]
            products += rows @ rows.T
    return products


def _distances(products: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = products.diagonal()
    with np.errstate(over="ignore", invalid="ignore"):
        upper = np.triu(squares[:, None] + squares - 2.0 * products, 1)
    upper = np.maximum(np.nan_to_num(upper, nan=np.inf, posinf=np.inf), 0.0)
    return upper + upper.T


def _imprecise(products: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which distances above the diagonal lost too many digits."""
    squares = products.diagonal()
    with np.errstate(over="ignore"):
        limit = _CANCELLED * (squares[:, None] + squares)
    return np.triu(~(distances > limit), 1)


def _from_differences(cohort: Cohort, pairs: NDArray[np.bool_], distances: NDArray[np.float64]) -> None:
    """Overwrite the distances of these pairs (above the diagonal) with those of their differences."""
    first = np.flatnonzero(pairs.any(axis=1))
    if not first.size:
        return
    exact = np.zeros_like(distances)
    with np.errstate(over="ignore"):
        for block in cohort.blocks():
            rows = cohort.updates[:, block].astype(np.float64)
            for i in first:
                others = np.flatnonzero(pairs[i])
                differences = rows[others] - rows[i]
                exact[i, others] += np.einsum("ij,ij->i", differences, differences)
    distances[pairs] = exact[pairs]
    distances.T[pairs] = exact[pairs]
