"""Trees over binned features and ensembles of them: plain arrays, as JSON, checked when they are read.

What travels to nodes in every step, and what a trained model is kept as. A tree's nodes stand in one list, children
behind their parents and side by side, so that reading a tree cannot loop. Leaves hold integers in units of
2^(exponent - 32): the sum over trees is exact in any order.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .losses import SCORE_LIMIT, scores_as_reals

MAXIMUM_DEPTH = 12
MAXIMUM_ITERATIONS = 4096
MAXIMUM_OUTPUTS = 100
MAXIMUM_TREE_NODES = (1 << (MAXIMUM_DEPTH + 1)) - 1
MAXIMUM_NODES = 1 << 20
"""Of an ensemble, over all its trees."""

_EXPONENT_LIMIT = 200


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree.

    Parameters
    ----------
    feature : ndarray of int32, shape (m,)
        Number of the feature that a node asks about; -1 for a leaf.
    bin : ndarray of int32, shape (m,)
        A row goes left whose bin is this one or a lower one.
    missing_left : ndarray of bool, shape (m,)
        Whether a row goes left whose value is missing.
    left : ndarray of int32, shape (m,)
        Where the left child stands; the right one follows it.
    value : ndarray of int64, shape (m,)
        What a leaf adds to the score, in units of the ensemble.
    gain, rows : ndarray of float64 and int64, shape (m,)
        Of a split: what it gained, and the rows it was found from. Not part of what travels.
    """

    feature: NDArray[np.int32]
    bin: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    left: NDArray[np.int32]
    value: NDArray[np.int64]
    gain: NDArray[np.float64]
    rows: NDArray[np.int64]

    @classmethod
    def stump(cls) -> Tree:
        """Return a tree that is one leaf of value 0."""
        one = np.full(1, -1, np.int32)
        nothing = np.zeros(1, np.int64)
        return cls(one, one.copy(), np.zeros(1, bool), one.copy(), nothing, np.zeros(1), nothing.copy())

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def leaves(self) -> NDArray[np.int64]:
        """Where the leaves stand."""
        return np.flatnonzero(self.feature < 0)

    @functools.cached_property
    def depth(self) -> int:
        """Number of splits on the longest way to a leaf."""
        depths = np.zeros(len(self), np.int64)
        for node in np.flatnonzero(self.feature >= 0):
            depths[self.left[node] : self.left[node] + 2] = depths[node] + 1
        return int(depths.max())

    def to_dict(self, *, statistics: bool = False) -> dict[str, Any]:
        """Return the tree as JSON values; with `statistics` gains and rows too."""
        document: dict[str, Any] = {
            "feature": self.feature.tolist(),
            "bin": self.bin.tolist(),
            "missing_left": self.missing_left.astype(int).tolist(),
            "left": self.left.tolist(),
            "value": self.value.tolist(),
        }
        if statistics:
            document |= {"gain": self.gain.tolist(), "rows": self.rows.tolist()}
        return document

    @classmethod
    def from_dict(cls, document: Any, sizes: NDArray[np.int64]) -> Tree:
        """Read a tree over features with `sizes` bins.

        Raises
        ------
        InvalidInput
            ``boosting-bad-tree``.
        """
        if not isinstance(document, Mapping):
            raise _bad(f"it is {type(document).__name__}, not an object")
        fields = {name: _integers(document, name) for name in ("feature", "bin", "missing_left", "left", "value")}
        feature, left, bins = fields["feature"], fields["left"], fields["bin"]
        count = len(feature)
        if not 1 <= count <= MAXIMUM_TREE_NODES or any(len(each) != count for each in fields.values()):
            raise _bad(f"its lists must be equally long, 1 to {MAXIMUM_TREE_NODES}")
        inner = np.flatnonzero(feature >= 0)
        if (feature < -1).any() or (feature >= len(sizes)).any():
            raise _bad(f"it asks about a feature that is not among the {len(sizes)}")
        if (bins[inner] < 0).any() or (bins[inner] > sizes[feature[inner]] - 2).any():
            raise _bad("it splits at a bin that its feature does not have")
        # Every node but the first is the child of exactly one node before it.
        children = np.sort(np.concatenate([left[inner], left[inner] + 1]))
        if (left[inner] <= inner).any() or not np.array_equal(children, np.arange(1, count)):
            raise _bad("its children do not stand behind their parents, each once")
        if (np.abs(fields["value"]) > SCORE_LIMIT).any():
            raise _bad(f"a leaf is larger than 2^{SCORE_LIMIT.bit_length() - 1} units")
        try:
            gain = np.asarray(document.get("gain", np.zeros(count)), dtype=np.float64)
            rows = np.asarray(document.get("rows", np.zeros(count)), dtype=np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise _bad("its gains or rows are not numbers") from error
        if gain.shape != (count,) or rows.shape != (count,) or not np.isfinite(gain).all():
            raise _bad("its gains or rows are not one finite number for each node")
        tree = cls(
            feature.astype(np.int32),
            bins.astype(np.int32),
            fields["missing_left"] != 0,
            left.astype(np.int32),
            fields["value"],
            gain,
            rows,
        )
        if tree.depth > MAXIMUM_DEPTH:
            raise _bad(f"it is {tree.depth} splits deep; allowed are {MAXIMUM_DEPTH}")
        return tree

    def leaf_of(self, codes: NDArray[np.uint8], sizes: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the leaf that each row comes to.

        Parameters
        ----------
        codes : ndarray of uint8, shape (features, n)
            As `Bins.codes` returns.
        sizes : ndarray of int, shape (features,)
            Bins of each feature; the code for what is missing.

        Returns
        -------
        ndarray of int32, shape (n,)
        """
        at = np.zeros(codes.shape[1], dtype=np.int32)
        waiting: dict[int, Any] = {0: slice(None)}  # node: its rows
        for node in np.flatnonzero(self.feature >= 0):  # parents before children
            here = waiting.pop(int(node))
            feature, left = self.feature[node], int(self.left[node])
            values = codes[feature, here]
            goes_left = values <= self.bin[node]
            if self.missing_left[node]:
                goes_left |= values == sizes[feature]
            for child, chosen in ((left, np.flatnonzero(goes_left)), (left + 1, np.flatnonzero(~goes_left))):
                rows = chosen if node == 0 else here[chosen]
                at[rows] = child
                waiting[child] = rows
        return at


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Trees whose leaves add up to scores.

    Parameters
    ----------
    exponent : int
        Scores are integers in units of 2^(exponent - 32).
    base : tuple of int
        Each output's score before the first tree.
    iterations : tuple of tuple of Tree
        In each iteration one tree for each output.
    """

    exponent: int
    base: tuple[int, ...]
    iterations: tuple[tuple[Tree, ...], ...] = field(default=(), repr=False)

    @property
    def outputs(self) -> int:
        """Number of scores."""
        return len(self.base)

    def grown(self, trees: Sequence[Tree]) -> Ensemble:
        """Return the ensemble with one more iteration."""
        return Ensemble(self.exponent, self.base, (*self.iterations, tuple(trees)))

    def first(self, iterations: int) -> Ensemble:
        """Return the ensemble of the first iterations only."""
        return Ensemble(self.exponent, self.base, self.iterations[:iterations])

    def to_dict(self, *, statistics: bool = False) -> dict[str, Any]:
        """Return the ensemble as JSON values."""
        trees = [[tree.to_dict(statistics=statistics) for tree in each] for each in self.iterations]
        return {"exponent": self.exponent, "base": list(self.base), "iterations": trees}

    @classmethod
    def from_dict(cls, document: Any, sizes: NDArray[np.int64], outputs: int) -> Ensemble:
        """Read an ensemble over features with `sizes` bins.

        Raises
        ------
        InvalidInput
            ``boosting-bad-tree``; ``boosting-too-large``.
        """
        if not isinstance(document, Mapping):
            raise _bad(f"the ensemble is {type(document).__name__}, not an object")
        exponent = checked_exponent(document.get("exponent"))
        base = _integers(document, "base")
        iterations = document.get("iterations")
        if len(base) != outputs or (np.abs(base) > SCORE_LIMIT).any():
            raise _bad(f"the ensemble must have {outputs} base scores of at most 2^44 units")
        if not isinstance(iterations, list) or not all(
            isinstance(each, list) and len(each) == outputs for each in iterations
        ):
            raise _bad(f"each iteration must be a list of {outputs} trees")
        lengths = [len(tree["feature"]) for each in iterations for tree in each if _has_features(tree)]
        if len(iterations) > MAXIMUM_ITERATIONS or sum(lengths) > MAXIMUM_NODES:
            raise InvalidInput(
                f"The ensemble has {len(iterations)} iterations and {sum(lengths)} nodes; allowed are "
                f"{MAXIMUM_ITERATIONS} and {MAXIMUM_NODES}.",
                code="boosting-too-large",
                hint="Train fewer or shallower trees, with a larger learning rate.",
            )
        trees = tuple(tuple(Tree.from_dict(tree, sizes) for tree in each) for each in iterations)
        return cls(exponent, tuple(base.tolist()), trees)

    def digests(self) -> list[bytes]:
        """Return a digest for each number of first iterations, from none to all."""
        running = hashlib.sha256(json.dumps([self.exponent, self.base]).encode())
        found = [running.digest()]
        for each in self.iterations:
            for tree in each:
                for array in (tree.feature, tree.bin, tree.missing_left, tree.left, tree.value):
                    running.update(len(array).to_bytes(4, "big"))
                    running.update(np.ascontiguousarray(array).data)
            found.append(running.digest())
        return found

    def start(self, rows: int) -> NDArray[np.int64]:
        """Return every row's scores before the first tree, (outputs, rows)."""
        return np.repeat(np.array(self.base, np.int64)[:, None], rows, axis=1)

    def add(
        self, scores: NDArray[np.int64], codes: NDArray[np.uint8], sizes: NDArray[np.int64], start: int = 0
    ) -> NDArray[np.int64]:
        """Add the iterations from `start` on to `scores` (outputs, n), in place, and return them."""
        for each in self.iterations[start:]:
            for output, tree in enumerate(each):
                scores[output] += tree.value[tree.leaf_of(codes, sizes)]
        return scores

    def reals(self, scores: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return integer scores as numbers."""
        return scores_as_reals(scores, self.exponent)


def _has_features(tree: Any) -> bool:
    return isinstance(tree, Mapping) and isinstance(tree.get("feature"), list)


def checked_exponent(value: Any) -> int:
    """Return an exponent of a unit.

    Raises
    ------
    InvalidInput
        ``boosting-bad-tree``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _EXPONENT_LIMIT:
        raise _bad(f"an exponent must be an integer of at most {_EXPONENT_LIMIT} either way, not {str(value)[:40]}")
    return value


def _integers(document: Mapping[str, Any], name: str) -> NDArray[np.int64]:
    values = document.get(name)
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise _bad(f"{name!r} must be a list of integers")
    if len(values) > MAXIMUM_TREE_NODES:
        raise _bad(f"{name!r} has {len(values)} entries; allowed are {MAXIMUM_TREE_NODES}")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        raise _bad(f"{name!r} holds integers beyond 64 bits") from error


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        f"This is no tree ensemble: {why}.",
        code="boosting-bad-tree",
        hint="Ensembles are written by flaas_jupyter itself; use the same release everywhere.",
    )
