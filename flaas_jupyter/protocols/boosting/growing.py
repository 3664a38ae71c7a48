"""The training loop: asks for sums, splits, and asks again, level by level and iteration by iteration.

It is the notebook's side of boosting and sees sums only. `Ask` hides where they come from: the rows of this process, or
a federation's nodes under secure aggregation. Both run this same code on the same integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .bins import Bins
from .histograms import HoldOut, TreeHistogram
from .losses import Loss, from_sum, prior_scores, score
from .splitting import Cells, Layout, Rules, Split, best_splits, leaf_value
from .trees import Ensemble, Tree

STEP_CELLS = 1 << 16
"""Sums asked for in one step, if a level needs more of them it takes several."""


@dataclass(frozen=True)
class Sums:
    """An answer to a step.

    Attributes
    ----------
    counts : ndarray of int64, shape (cells,)
    values : ndarray of int64, shape (cells, fields)
    suppressed : ndarray of bool, shape (cells,)
        See `TreeHistogram.merged`.
    """

    counts: NDArray[np.int64]
    values: NDArray[np.int64]
    suppressed: NDArray[np.bool_]


Ask = Callable[[TreeHistogram], Sums]


@dataclass(frozen=True)
class Recipe:
    """How to boost.

    Parameters
    ----------
    loss : Loss
    outputs : int
        Trees of an iteration.
    iterations : int
        At most.
    learning_rate : float
    max_depth : int
        Splits on the way to a leaf.
    rules : Rules
    max_features : float
        Share of the features that each iteration draws.
    seed : int
        Of that draw.
    hold_out : HoldOut
        Rows that the validation loss is measured on.
    patience : int
        Iterations without improvement of the validation loss after which it ends; 0 never.
    tolerance : float
        What counts as improvement.
    exponent : int
        Of the derivatives.
    score_exponent : int
        Of the scores.
    offset : float
        Subtracted from a numeric target.
    class_weight : None, "balanced" or dict of int to float
    where : dict, optional
        Condition on the rows.
    """

    loss: Loss
    outputs: int
    iterations: int
    learning_rate: float
    max_depth: int
    rules: Rules
    max_features: float = 1.0
    seed: int = 0
    hold_out: HoldOut = field(default_factory=HoldOut)
    patience: int = 0
    tolerance: float = 0.0
    exponent: int = 0
    score_exponent: int = 0
    offset: float = 0.0
    class_weight: Any = None
    where: dict[str, Any] | None = None


@dataclass(frozen=True)
class Boosted:
    """What training has led to.

    Attributes
    ----------
    ensemble : Ensemble
    rows : int
        Trained on.
    train_loss, validation_loss : list of float
        Mean loss after no, one, two … iterations; the second is empty without held-out rows.
    steps : int
        Questions asked.
    """

    ensemble: Ensemble
    rows: int
    train_loss: list[float]
    validation_loss: list[float]
    steps: int


class Booster:
    """One training.

    Parameters
    ----------
    ask : callable
        Answers a `TreeHistogram` with `Sums`.
    bins : Bins
    target : str
    recipe : Recipe
    progress : callable, optional
        Called after each iteration with (iterations done, training loss, validation loss or None).
    """

    def __init__(
        self,
        ask: Ask,
        bins: Bins,
        target: str,
        recipe: Recipe,
        progress: Callable[[int, float, float | None], None] | None = None,
    ) -> None:
        self._ask, self._bins, self._target, self._recipe, self._progress = ask, bins, target, recipe, progress
        self._weights: tuple[float, ...] = ()
        self._exponent = recipe.exponent
        self._steps = 0
        self._train: list[float] = []
        self._validation: list[float] = []

    def run(self) -> Boosted:
        """Train.

        Raises
        ------
        InvalidInput
            ``boosting-too-few-rows``; ``boosting-one-class``; ``boosting-validation-too-small``; whatever the
            federation refuses.
        """
        recipe = self._recipe
        stumps = tuple(Tree.stump() for _ in range(recipe.outputs))
        ensemble = Ensemble(recipe.score_exponent, (0,) * recipe.outputs)
        ensemble, rows = self._start(ensemble, stumps)
        best = 0
        for iteration in range(recipe.iterations):
            trees = self._iteration(ensemble, stumps, iteration)
            if self._exhausted() or all(len(tree) == 1 for tree in trees):
                break
            ensemble = ensemble.grown(trees)
        else:
            self._note(self._step(ensemble, stumps, [], []))
        if recipe.patience and self._validation:
            best = max(int(np.argmin(self._validation)), min(1, len(ensemble.iterations)))
            ensemble = ensemble.first(best)
        return Boosted(ensemble, rows, self._train, self._validation, self._steps)

    # ---- before the first tree ---------------------------------------------------------------------------------

    def _start(self, ensemble: Ensemble, stumps: tuple[Tree, ...]) -> tuple[Ensemble, int]:
        """Ask for the totals at scores of 0, from which classes and mean follow; return the ensemble's base."""
        recipe = self._recipe
        roots = [(output, 0) for output in range(recipe.outputs)]
        sums = self._step(ensemble, stumps, roots, [])
        rows = int(sums.counts[0])
        if recipe.hold_out.fraction and (sums.suppressed[0] or sums.counts[1] == 0):
            raise _too_few_held_out()
        if rows == 0:
            raise InvalidInput(
                "There are no rows to train on, or fewer than a node tells of.",
                code="boosting-too-few-rows",
                hint="Train on more rows; rows without a target do not count.",
            )
        totals = from_sum(sums.values[2:, 0], recipe.exponent)
        if recipe.loss.name == "squared":
            scores = -totals / rows
        else:
            # A row's derivative at scores of 0 is 1/K, or 1/2, less 1 if it is of the class.
            chance = 1.0 / max(recipe.outputs, 2)
            found = np.rint(rows * chance - totals)
            classes = found if recipe.outputs > 1 else np.array([rows - found[0], found[0]])
            if np.count_nonzero(classes > 0) < 2:
                raise InvalidInput(
                    "All rows are of one class; there is nothing to tell apart.",
                    code="boosting-one-class",
                    hint="Train on data that have rows of two classes at least, over all nodes together.",
                )
            weighted = classes * self._class_weights(classes)
            scores = prior_scores(recipe.loss, weighted)
        base = tuple(score(each, recipe.score_exponent) for each in scores.tolist())
        return Ensemble(recipe.score_exponent, base), rows

    def _class_weights(self, classes: NDArray[np.float64]) -> NDArray[np.float64]:
        chosen = self._recipe.class_weight
        if chosen is None:
            return np.ones(len(classes))
        if chosen == "balanced":
            present = classes > 0
            weights = np.ones(len(classes))
            weights[present] = classes.sum() / (present.sum() * classes[present])
        else:
            weights = np.array([float(chosen.get(number, 1.0)) for number in range(len(classes))])
        # Derivatives may be this much larger: the unit grows with them, to a power of two.
        self._exponent = self._recipe.exponent + max(math.ceil(math.log2(weights.max())), 0)
        self._weights = tuple(weights.tolist())
        return weights

    # ---- trees -------------------------------------------------------------------------------------------------

    def _iteration(self, ensemble: Ensemble, stumps: tuple[Tree, ...], iteration: int) -> list[Tree]:
        recipe = self._recipe
        features = self._drawn(iteration)
        if not features:
            return list(stumps)
        layout = Layout(tuple((self._bins.sizes[features] + 1).tolist()))
        growing = [_Growing() for _ in stumps]
        frontier = [(output, 0) for output in range(recipe.outputs)]
        for depth in range(recipe.max_depth):
            trees = tuple(tree.as_tree() for tree in growing)
            cells = self._histograms(ensemble, trees, frontier, features, layout, note=depth == 0)
            if depth == 0:
                if self._exhausted():
                    break
                self._root_values(growing, cells)
            splits = best_splits(cells, layout, self._exponent, recipe.rules)
            frontier = [
                (output, child)
                for (output, node), split in zip(frontier, splits, strict=True)
                if split is not None
                for child in growing[output].split(node, split, features[split.feature], self._leaf)
                if growing[output].rows[child] >= 2 * recipe.rules.min_samples_leaf
            ]
            if not frontier:
                break
        return [tree.as_tree() for tree in growing]

    def _root_values(self, growing: list[_Growing], cells: Cells) -> None:
        for output, tree in enumerate(growing):
            total = from_sum(cells.values[output, 0], self._exponent)
            hessian = float(cells.counts[output, 0]) if len(total) == 1 else float(total[1])
            tree.value[0], tree.rows[0] = self._leaf(float(total[0]), hessian), int(cells.counts[output, 0])

    def _histograms(
        self,
        ensemble: Ensemble,
        trees: tuple[Tree, ...],
        frontier: list[tuple[int, int]],
        features: list[int],
        layout: Layout,
        *,
        note: bool,
    ) -> Cells:
        """Ask about the nodes of one level, in as many steps as it takes."""
        most = max(STEP_CELLS // layout.cells, 1)
        answers = []
        for start in range(0, len(frontier), most):
            nodes = frontier[start : start + most]
            sums = self._step(ensemble, trees, nodes, features)
            if note and start == 0:
                self._note(sums)
            shape = (len(nodes), layout.cells)
            answers.append(
                Cells(
                    sums.counts[2:].reshape(shape),
                    sums.values[2:].reshape(*shape, -1),
                    sums.suppressed[2:].reshape(shape),
                )
            )
        return Cells(
            np.concatenate([each.counts for each in answers]),
            np.concatenate([each.values for each in answers]),
            np.concatenate([each.merged for each in answers]),
        )

    def _drawn(self, iteration: int) -> list[int]:
        """Return the features of an iteration, in their order."""
        useful = np.flatnonzero(self._bins.sizes > 1)
        count = max(round(self._recipe.max_features * len(useful)), 1)
        if count >= len(useful):
            return [int(number) for number in useful]
        rng = np.random.default_rng([self._recipe.seed, iteration])
        return sorted(int(number) for number in rng.choice(useful, count, replace=False))

    def _leaf(self, gradient: float, hessian: float) -> int:
        recipe = self._recipe
        return score(recipe.learning_rate * leaf_value(gradient, hessian, recipe.rules.l2), recipe.score_exponent)

    # ---- questions ---------------------------------------------------------------------------------------------

    def _step(
        self, ensemble: Ensemble, trees: tuple[Tree, ...], nodes: list[tuple[int, int]], features: list[int]
    ) -> Sums:
        recipe = self._recipe
        statistic = TreeHistogram(
            bins=self._bins,
            target=self._target,
            loss=recipe.loss,
            outputs=recipe.outputs,
            ensemble=ensemble,
            growing=trees,
            nodes=tuple(nodes),
            features=tuple(features),
            exponent=self._exponent,
            offset=recipe.offset,
            weights=self._weights,
            hold_out=recipe.hold_out,
            where=recipe.where,
        )
        self._steps += 1
        return self._ask(statistic)

    def _note(self, sums: Sums) -> None:
        """Keep the loss of the ensemble so far, which every answer has."""
        recipe = self._recipe
        exponent = 2 * recipe.exponent if recipe.loss.name == "squared" else 0
        losses = from_sum(sums.values[:2, 0], exponent)
        self._train.append(float(losses[0] / max(int(sums.counts[0]), 1)))
        if recipe.hold_out.fraction:
            if sums.counts[1] == 0:
                raise _too_few_held_out()
            self._validation.append(float(losses[1] / int(sums.counts[1])))
        if self._progress is not None and len(self._train) > 1:
            held = self._validation[-1] if self._validation else None
            self._progress(len(self._train) - 1, self._train[-1], held)

    def _exhausted(self) -> bool:
        """Whether the validation loss has not improved for as long as was agreed."""
        patience, losses = self._recipe.patience, self._validation
        if not patience or len(losses) <= patience:
            return False
        return min(losses[-patience:]) > min(losses[:-patience]) - self._recipe.tolerance


def _too_few_held_out() -> InvalidInput:
    """Return the error for rows held out that are fewer than is told of."""
    return InvalidInput(
        "The rows held out are too few for their loss to be told.",
        code="boosting-validation-too-small",
        hint="Raise validation_fraction, or train without early_stopping.",
    )


class _Growing:
    """A tree as lists, while it grows."""

    def __init__(self) -> None:
        self.feature, self.bin, self.missing_left, self.left = [-1], [-1], [False], [-1]
        self.value, self.gain, self.rows = [0], [0.0], [0]

    def split(self, node: int, split: Split, feature: int, leaf: Callable[[float, float], int]) -> tuple[int, int]:
        """Make a leaf a split with two leaves behind it; return these."""
        left = len(self.feature)
        self.feature[node], self.bin[node], self.missing_left[node] = feature, split.bin, split.missing_left
        self.left[node], self.value[node] = left, 0
        self.gain[node], self.rows[node] = split.gain, sum(split.rows)
        for side in (0, 1):
            self.feature.append(-1)
            self.bin.append(-1)
            self.missing_left.append(False)
            self.left.append(-1)
            self.value.append(leaf(split.gradients[side], split.hessians[side]))
            self.gain.append(0.0)
            self.rows.append(split.rows[side])
        return left, left + 1

    def as_tree(self) -> Tree:
        return Tree(
            np.array(self.feature, np.int32),
            np.array(self.bin, np.int32),
            np.array(self.missing_left, bool),
            np.array(self.left, np.int32),
            np.array(self.value, np.int64),
            np.array(self.gain, np.float64),
            np.array(self.rows, np.int64),
        )
