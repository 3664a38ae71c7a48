"""Losses of boosting, their first and second derivatives, and these as integers.

Row sums must not depend on how rows are divided among nodes, so that a derivative is rounded to a multiple of
2^(e-24) before it is summed, with an exponent e that all nodes are told: sums of integers are exact, and the same in
any order. |derivative| <= 2^(e+1) always, larger ones are cut off there, so that float64 holds sums over 2^28 rows.

The derivatives are those of second-order boosting (Chen and Guestrin, arXiv 1603.02754, section 2.2), with the
diagonal p (1 - p) of softmax's Hessian.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

SCORE_BITS = 32
"""A score is an integer in units of 2^(exponent - 32)."""
SUM_BITS = 24
"""A derivative and a loss are summed as integers in units of 2^(exponent - 24)."""

_LIMIT = float(1 << (SUM_BITS + 1))
_LOSS_LIMIT = float(1 << (SUM_BITS + 6))
SCORE_LIMIT = 1 << 44
_LEAST = 1e-7  # the smallest prior of a class: its log odds are finite

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Loss(Protocol):
    """What boosting needs to know of a loss.

    Attributes
    ----------
    name : str
    constant_hessian : bool
        Whether the second derivative is 1 for every row, so that it need not be summed.
    """

    name: str
    constant_hessian: bool

    def gradients(self, scores: Floats, target: Floats) -> tuple[Floats, Floats | None]:
        """Return first and second derivatives, both (outputs, n), of the loss of rows with `scores` (outputs, n)."""

    def values(self, scores: Floats, target: Floats) -> Floats:
        """Return each row's loss, (n,)."""


class Logistic:
    """Binary log loss; target 0 or 1; the score is the log odds of 1."""

    name = "logistic"
    constant_hessian = False

    def gradients(self, scores: Floats, target: Floats) -> tuple[Floats, Floats | None]:
        """Return p - y and p (1 - p)."""
        p = _sigmoid(scores)
        return p - target, p * (1.0 - p)

    def values(self, scores: Floats, target: Floats) -> Floats:
        """Return -log p of the class that is there."""
        margin = np.where(target > 0, -scores[0], scores[0])
        return np.asarray(np.logaddexp(0.0, margin))


class Softmax:
    """Log loss of several classes; target 0 to outputs - 1; one score for each class."""

    name = "softmax"
    constant_hessian = False

    def gradients(self, scores: Floats, target: Floats) -> tuple[Floats, Floats | None]:
        """Return p_k - [y = k] and p_k (1 - p_k)."""
        p = softmax(scores)
        hessians = p * (1.0 - p)
        p[target.astype(np.int64), np.arange(p.shape[1])] -= 1.0
        return p, hessians

    def values(self, scores: Floats, target: Floats) -> Floats:
        """Return -log p of the class that is there."""
        peak = scores.max(axis=0)
        total = np.log(np.exp(scores - peak).sum(axis=0)) + peak
        return np.asarray(total - scores[target.astype(np.int64), np.arange(scores.shape[1])])


class Squared:
    """Half the squared error."""

    name = "squared"
    constant_hessian = True

    def gradients(self, scores: Floats, target: Floats) -> tuple[Floats, Floats | None]:
        """Return F - y; the second derivative is 1."""
        return scores - target, None

    def values(self, scores: Floats, target: Floats) -> Floats:
        """Return (F - y)^2 / 2."""
        return np.asarray(np.square(scores[0] - target) / 2.0)


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (Logistic(), Softmax(), Squared())}


def loss_named(name: Any) -> Loss:
    """Return the loss of that name.

    Raises
    ------
    InvalidInput
        Code ``boosting-unknown-loss``.
    """
    if not isinstance(name, str) or name not in LOSSES:
        raise InvalidInput(
            f"There is no boosting loss {str(name)[:80]!r}; there are {', '.join(LOSSES)}.",
            code="boosting-unknown-loss",
        )
    return LOSSES[name]


def softmax(scores: Floats) -> Floats:
    """Return probabilities (outputs, n) of scores (outputs, n)."""
    p = np.asarray(np.exp(scores - scores.max(axis=0)))
    return np.asarray(p / p.sum(axis=0))


def _sigmoid(scores: Floats) -> Floats:
    # exp of what is not positive only: it cannot overflow.
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0, small) / (1.0 + small)


def probabilities(loss: Loss, scores: Floats) -> Floats:
    """Return the probabilities of the classes, (n, classes), of scores (outputs, n)."""
    if loss.name == "logistic":
        p = _sigmoid(scores[0])
        return np.stack([1.0 - p, p], axis=1)
    return np.ascontiguousarray(softmax(scores).T)


def to_sum(derivatives: Floats, exponent: int) -> Floats:
    """Round derivatives to multiples of 2^(exponent - 24) and return how many of these they are.

    Parameters
    ----------
    derivatives : ndarray of float64
        Any shape.
    exponent : int
        e; magnitudes above 2^(e+1) are cut off.

    Returns
    -------
    ndarray of float64
        Integers, 2^25 at most.
    """
    scaled = np.rint(np.ldexp(derivatives, SUM_BITS - exponent))
    return np.clip(scaled, -_LIMIT, _LIMIT, out=scaled)


def losses_to_sum(values: Floats, exponent: int) -> Floats:
    """Round losses to multiples of 2^(exponent - 24); those above 2^(exponent + 6) are cut off."""
    scaled = np.rint(np.ldexp(values, SUM_BITS - exponent))
    return np.clip(scaled, 0.0, _LOSS_LIMIT, out=scaled)


def from_sum(integers: NDArray[Any], exponent: int) -> Floats:
    """Return sums in units of 2^(exponent - 24) as reals."""
    return np.asarray(np.ldexp(integers.astype(np.float64), exponent - SUM_BITS))


def score(real: float, exponent: int) -> int:
    """Return a real as a score: an integer in units of 2^(exponent - 32), 2^44 at most."""
    if not math.isfinite(real):
        return 0
    return min(max(round(math.ldexp(real, SCORE_BITS - exponent)), -SCORE_LIMIT), SCORE_LIMIT)


def scores_as_reals(scores: Integers, exponent: int) -> Floats:
    """Return scores as reals."""
    return np.asarray(np.ldexp(scores.astype(np.float64), exponent - SCORE_BITS))


def prior_scores(loss: Loss, weighted_counts: Floats) -> Floats:
    """Return the scores (outputs,) that predict every class as often as it occurs.

    Parameters
    ----------
    loss : Loss
        Logistic or softmax.
    weighted_counts : ndarray of float64, shape (classes,)
        Rows of each class, times the class's weight.
    """
    prior = np.clip(weighted_counts / weighted_counts.sum(), _LEAST, 1.0 - _LEAST)
    if loss.name == "logistic":
        return np.array([np.log(prior[1] / prior[0])])
    scores = np.log(prior)
    return np.asarray(scores - scores.mean())
