"""Shapley values of a model's features, against a background of reference rows.

The game of a row x: a coalition S of features is worth the mean prediction over the background, in which the features
of S have x's values, v(S) = Σ_b w_b f(x_S, b_¬S) (the *interventional* or marginal game: Lundberg and Lee, NeurIPS
2017; Janzing, Minorics and Blöbaum, AISTATS 2020). Values are found by enumeration (`exact`), or as the mean over
orders in which features join (`by_orders`: Štrumbelj and Kononenko, KAIS 41, 2014), each order with its reverse
(Mitchell, Cooper, Frank and Holmes, JMLR 23, 2022). Both add up to f(x) - v(∅) exactly. Where the model is a sum of
functions of single features, one order is exact, and `additive` needs no model calls at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]
"""Encoded rows (n, p) to outputs (n, K)."""
Game = Callable[[NDArray[np.bool_]], Floats]
"""Which of the d features are in the coalition to its worth for each row and output, (n, K)."""

MAXIMUM_EXACT = 12
"""Features up to which all coalitions may be enumerated."""
_CHUNK = 1 << 17  # encoded rows that are predicted at once


def game_of(
    predict: Predict, rows: Floats, background: Floats, weights: Floats, blocks: Sequence[NDArray[np.int64]]
) -> Game:
    """Return the games of some rows.

    Parameters
    ----------
    predict : callable
    rows : ndarray of float64, shape (n, p)
        Encoded.
    background : ndarray of float64, shape (m, p)
    weights : ndarray of float64, shape (m,)
        Of the background's rows; their sum is 1.
    blocks : sequence of ndarray of int64
        The encoded columns of each feature.
    """
    empty = weights @ predict(background)
    step = max(1, _CHUNK // len(background))

    def worth(coalition: NDArray[np.bool_]) -> Floats:
        if not coalition.any():
            return np.broadcast_to(empty, (len(rows), len(empty)))
        if coalition.all():
            return predict(rows)
        taken = np.concatenate([block for block, joined in zip(blocks, coalition, strict=True) if joined])
        found = np.empty((len(rows), len(empty)))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            mixed = np.repeat(background[None], len(part), axis=0)
            mixed[:, :, taken] = part[:, None, taken]
            outputs = predict(mixed.reshape(-1, rows.shape[1])).reshape(len(part), len(background), -1)
            found[start : start + step] = np.einsum("m,nmk->nk", weights, outputs)
        return found

    return worth


def exact(game: Game, features: int) -> Floats:
    """Return the Shapley values by going through all coalitions.

    Returns
    -------
    ndarray of float64, shape (n, features, K)
    """
    share = [
        math.factorial(size) * math.factorial(features - size - 1) / math.factorial(features)
        for size in range(features)
    ]
    found: Floats | None = None
    for number in range(1 << features):
        coalition = np.array([(number >> place) & 1 for place in range(features)], bool)
        worth = game(coalition)
        if found is None:
            found = np.zeros((len(worth), features, worth.shape[1]))
        size = int(coalition.sum())
        if size:
            found[:, coalition] += share[size - 1] * worth[:, None]
        if size < features:
            found[:, ~coalition] -= share[size] * worth[:, None]
    assert found is not None  # the empty coalition is one
    return found


def by_orders(game: Game, orders: NDArray[np.int64]) -> Floats:
    """Return the Shapley values as the mean of what each feature adds when it joins, over some orders.

    Parameters
    ----------
    game : callable
    orders : ndarray of int64, shape (r, features)

    Returns
    -------
    ndarray of float64, shape (n, features, K)
    """
    features = orders.shape[1]
    found: Floats | None = None
    for order in orders:
        coalition = np.zeros(features, bool)
        before = game(coalition)
        if found is None:
            found = np.zeros((len(before), features, before.shape[1]))
        for feature in order:
            coalition[feature] = True
            after = game(coalition)
            found[:, feature] += after - before
            before = after
    assert found is not None  # there is an order
    return found / len(orders)


def orders_of(features: int, count: int, seed: int) -> NDArray[np.int64]:
    """Return `count` orders (even, at least 2) of the features: random ones, each followed by its reverse."""
    rng = np.random.default_rng([seed, features])
    halves = [rng.permutation(features) for _ in range(count // 2)]
    return np.array([order for half in halves for order in (half, half[::-1])], np.int64)


def additive(
    rows: Floats, background: Floats, weights: Floats, matrix: Floats, blocks: Sequence[NDArray[np.int64]]
) -> Floats:
    """Return the Shapley values of f(x) = x · matrix + constant: (x_j - E[x_j]) · matrix_j, exactly.

    Parameters
    ----------
    rows, background, weights, blocks
        As of `game_of`.
    matrix : ndarray of float64, shape (p, K)

    Returns
    -------
    ndarray of float64, shape (n, features, K)
    """
    centred = rows - weights @ background
    return np.stack([centred[:, block] @ matrix[block] for block in blocks], axis=1)
