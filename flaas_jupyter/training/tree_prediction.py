"""Boosted trees that travel with a question: their Shapley values and their metrics on rows at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..protocols.analytics.expressions import Columns
from .feature_encoding import does_not_fit

if TYPE_CHECKING:
    from ..protocols.explaining.explanation import Explanation

Floats = NDArray[np.float64]

MAXIMUM_LOOK_UPS = 1 << 32
"""Of rows in leaves, that one question may ask of one node."""


class TreeModel:
    """Boosted trees, explained by the rows that they were grown on.

    Parameters
    ----------
    document : dict
        ``edges``, ``missing``, ``loss``, ``outputs``, ``offset``, ``ensemble``, ``target``.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        from ..protocols.boosting import Bins, Ensemble, loss_named

        edges, missing, offset = (document.get(name) for name in ("edges", "missing", "offset"))
        outputs, target = document.get("outputs"), document.get("target")
        numbers = [value for value in (missing, offset) if value is not None]
        if not isinstance(edges, dict) or type(outputs) is not int or offset is None or not isinstance(target, str):
            raise bad_model("it lacks its edges, outputs, offset or target")
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
            raise bad_model("its offset and what stands for missing values must be numbers")
        self._bins = Bins(edges, missing)
        self._ensemble = Ensemble.from_dict(document.get("ensemble"), self._bins.sizes, outputs)
        self._loss, self._offset, self._target = loss_named(document.get("loss")), float(offset), target
        squared = self._loss.name == "squared"
        self.names: tuple[str, ...] = ("loss", "mae", "r2") if squared else ("loss", "accuracy")
        self.states = 5 if squared else 3

    def shap(self, statistic: Explanation, columns: Columns) -> Floats:
        """Return the Shapley values of the scores of rows, shape (n, features, outputs)."""
        from ..protocols.explaining.tree_shap import tree_shap

        if set(self._bins.features) != set(statistic.columns) or statistic.outputs != self._ensemble.outputs:
            raise does_not_fit("its features or outputs are not those that are asked about")
        rows = len(columns[statistic.columns[0]])
        leaves = sum(len(tree.leaves) for each in self._ensemble.iterations for tree in each)
        if rows * leaves > MAXIMUM_LOOK_UPS:
            raise InvalidInput(
                f"The explanation looks {rows} rows up in {leaves} leaves at a node; allowed are {MAXIMUM_LOOK_UPS} "
                "look-ups.",
                code="explanation-too-large",
                hint="Train fewer or shallower trees.",
            )
        found = tree_shap(self._ensemble, self._bins.codes(columns), self._bins.sizes)
        order = [self._bins.features.index(name) for name in statistic.columns]
        return np.ascontiguousarray(found[:, order])

    @property
    def base_values(self) -> Floats:
        """Mean score over the rows that the trees were grown on, (outputs,)."""
        from ..protocols.explaining.tree_shap import expected_scores

        return expected_scores(self._ensemble) + self._offset

    def scores(self, columns: Columns) -> Floats:
        """Return the scores of rows, (outputs, n), without the offset of numeric targets."""
        codes = self._bins.codes(columns)
        ensemble = self._ensemble
        return ensemble.reals(ensemble.add(ensemble.start(codes.shape[1]), codes, self._bins.sizes))

    def judge(self, columns: Columns) -> tuple[Floats, Floats]:
        """Return rows, loss and hits, or rows and sums of errors, and how far each row is off.

        The latter is the error of its score, or 1 and its loss. Rows without a target are left out, and 0 off.
        """
        target = np.asarray(columns[self._target], np.float64)
        off, there = np.zeros(len(target)), np.isfinite(target)
        target, scores = target[there], self.scores(columns)[:, there]
        if self._loss.name == "squared":
            error = scores[0] + self._offset - target
            off[there] = np.abs(error)
            return np.array([len(target), (error**2).sum(), off.sum(), target.sum(), (target**2).sum()]), off
        predicted = scores.argmax(axis=0) if len(scores) > 1 else scores[0] > 0
        losses = self._loss.values(scores, target)
        off[there] = 1 + losses
        return np.array([len(target), losses.sum(), (predicted == target).sum()]), off

    def results(self, states: Floats) -> Floats:
        """Return the metrics that follow from states."""
        rows = max(states[0], 1.0)
        if self._loss.name != "squared":
            return np.asarray(states[1:3] / rows)
        _, squares, absolute, total, total_squares = states
        around = total_squares - total**2 / rows
        r2 = 1.0 - squares / around if around > 0 else 0.0
        return np.array([squares / rows, absolute / rows, r2])


def bad_model(why: str) -> InvalidInput:
    """Return the error for what travelled and is no model."""
    return InvalidInput(
        f"The model that came with the question cannot be used: {why}.",
        code="bad-explained-model",
        hint="Use the same version of flaas_jupyter in the notebook and at the nodes.",
    )
