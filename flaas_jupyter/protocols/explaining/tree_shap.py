"""Shapley values of boosted trees, exactly, from the trees and the rows that they were grown on alone.

The game is that of the tree itself: in a coalition S a row goes the way of its value where a node asks about a feature
of S, and both ways, weighted by the training rows of the children, where it does not (Lundberg et al., Nature Machine
Intelligence 2, 2020, algorithm 1; ``feature_perturbation="tree_path_dependent"`` of the shap package). The number of
rows that came to each node was released when the trees were grown, so that no background is needed.

A leaf is reached in S with the weight Π_{i in S} o_i Π_{i not in S} z_i over the features i of its way, where o_i is
whether the row's value of i agrees with all of the way's questions about i, and z_i the share of the rows that agreed.
Its Shapley values depend on the row through the few bits o_i only: they are tabulated and looked up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..boosting.trees import Ensemble, Tree

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]
_TABLE = 10
"""Features of a way up to which all patterns of bits are tabulated; of longer ones, those that rows have."""


@dataclass(frozen=True)
class _Way:
    """The way to one leaf: its value and its features, with the share of rows and the codes that agree of each."""

    value: float
    features: tuple[int, ...]
    shares: tuple[float, ...]
    agreeing: tuple[NDArray[np.bool_], ...]  # by code


def tree_shap(ensemble: Ensemble, codes: Codes, sizes: NDArray[np.int64]) -> Floats:
    """Return the Shapley values of the scores.

    Parameters
    ----------
    ensemble : Ensemble
        Its trees know their rows.
    codes : ndarray of uint8, shape (d, n)
        Bins of the rows, as `Bins.codes` returns them.
    sizes : ndarray of int, shape (d,)
        Bins of each feature.

    Returns
    -------
    ndarray of float64, shape (n, d, outputs)
        In units of the scores.

    Raises
    ------
    InvalidInput
        Code ``boosting-no-rows``: the trees do not know their rows.
    """
    features, rows = codes.shape
    found = np.zeros((rows, features, ensemble.outputs))
    for each in ensemble.iterations:
        for output, tree in enumerate(each):
            for way in _ways(tree, ensemble, sizes):
                _add(found[:, :, output], way, codes)
    return found


def expected_scores(ensemble: Ensemble) -> Floats:
    """Return the worth of the empty coalition: each output's mean score, (outputs,)."""
    found = ensemble.reals(np.array(ensemble.base, np.int64)[:, None])[:, 0].astype(np.float64)
    for each in ensemble.iterations:
        for output, tree in enumerate(each):
            for _, value, share in _leaves(tree, ensemble):
                found[output] += value * share
    return found


def _leaves(tree: Tree, ensemble: Ensemble) -> Iterator[tuple[int, float, float]]:
    """Yield each leaf, its value and the share of rows that came to it."""
    values = ensemble.reals(tree.value[None])[0]
    shares = np.zeros(len(tree))
    shares[0] = 1.0
    for node in np.flatnonzero(tree.feature >= 0):  # parents before children
        for child, share in _children(tree, int(node)):
            shares[child] = shares[node] * share
    for leaf in tree.leaves.tolist():
        yield leaf, float(values[leaf]), float(shares[leaf])


def _children(tree: Tree, node: int) -> list[tuple[int, float]]:
    left = int(tree.left[node])
    rows = tree.rows[left : left + 2].astype(np.float64)
    if rows.min() < 0 or rows.sum() <= 0:
        raise InvalidInput(
            "The trees do not say how many rows came to each of their nodes.",
            code="boosting-no-rows",
            hint="Explain a model that was trained or loaded by this release.",
        )
    return [(left, float(rows[0] / rows.sum())), (left + 1, float(rows[1] / rows.sum()))]


def _ways(tree: Tree, ensemble: Ensemble, sizes: NDArray[np.int64]) -> Iterator[_Way]:
    values = ensemble.reals(tree.value[None])[0]
    waiting: list[tuple[int, dict[int, tuple[float, NDArray[np.bool_]]]]] = [(0, {})]
    while waiting:
        node, passed = waiting.pop()
        feature = int(tree.feature[node])
        if feature < 0:
            if passed and values[node] != 0.0:
                yield _Way(
                    float(values[node]),
                    tuple(passed),
                    tuple(share for share, _ in passed.values()),
                    tuple(agreeing for _, agreeing in passed.values()),
                )
            continue
        every = np.arange(int(sizes[feature]) + 1)  # the last code is for missing values
        goes_left = every <= tree.bin[node]
        goes_left[-1] = tree.missing_left[node]
        for (child, share), agrees in zip(_children(tree, node), (goes_left, ~goes_left), strict=True):
            before, agreed = passed.get(feature, (1.0, np.ones(len(every), bool)))
            waiting.append((child, {**passed, feature: (before * share, agreed & agrees)}))


def _add(found: Floats, way: _Way, codes: Codes) -> None:
    """Add a leaf's part to the Shapley values (n, d) of one output."""
    pattern = np.zeros(codes.shape[1], np.int64)
    for place, (feature, agreeing) in enumerate(zip(way.features, way.agreeing, strict=True)):
        pattern |= agreeing[codes[feature]].astype(np.int64) << place
    if len(way.features) <= _TABLE:
        patterns, at = np.arange(1 << len(way.features)), pattern
    else:
        patterns, at = np.unique(pattern, return_inverse=True)
    table = way.value * _table(patterns, np.array(way.shares))
    found[:, list(way.features)] += table[at]


def _table(patterns: NDArray[np.int64], shares: Floats) -> Floats:
    """Return the Shapley values of a leaf of value 1 for patterns of bits, shape (patterns, features of the way).

    Without feature j the other features' coalitions have the generating polynomial Π_i (z_i + o_i t); its coefficient
    of t^s is weighed by s! (q - s - 1)! / q!, q features in all.
    """
    count = len(shares)
    ones = ((patterns[:, None] >> np.arange(count)) & 1).astype(np.float64)
    weights = np.array([1.0 / (count * math.comb(count - 1, size)) for size in range(count)])
    table = np.empty((len(patterns), count))
    for j in range(count):
        polynomial = np.zeros((len(patterns), count))
        polynomial[:, 0] = 1.0
        for i in range(count):
            if i != j:
                raised = np.zeros_like(polynomial)
                raised[:, 1:] = polynomial[:, :-1] * ones[:, i : i + 1]
                polynomial = polynomial * shares[i] + raised
        table[:, j] = (ones[:, j] - shares[j]) * (polynomial @ weights)
    return table
