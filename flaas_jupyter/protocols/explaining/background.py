"""The background of an explanation: reference rows that nobody has, drawn from what was released of the columns.

Of each column the federation has released how many rows are in each of its bins, and the mean of these (k-anonymous
both). A Latin hypercube (McKay, Beckman and Conover, Technometrics 21, 1979) draws from these bin means; the
correlations that were released are put in by ranks (Iman and Conover, Communications in Statistics B 11, 1982); and the
rows get weights, as near to equal as can be, with which their means, the shares of categories and of missing values are
the released ones to the last digit (calibration: Deville and Särndal, JASA 87, 1992). So E[x_j] of a linear model is
exact, also after preprocessing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..analytics import limits

Floats = NDArray[np.float64]
Value = float | str | None
"""Of a cell; None where it is missing."""

MAXIMUM_POINTS = 1024


@dataclass(frozen=True)
class Marginal:
    """What was released of one column.

    Attributes
    ----------
    values : tuple of float, str or None
        What stands for each bin, in ascending order; None for missing values.
    rows : tuple of float
        Of each bin.
    mean : float or None
        Of the column, over the values that are there; None where it was not released or there is none.
    codes : bool
        Whether numbers are categories, whose shares count and not their mean; texts always are.
    """

    values: tuple[Value, ...]
    rows: tuple[float, ...]
    mean: float | None = None
    codes: bool = False

    @property
    def categories(self) -> tuple[Value, ...]:
        """Values whose shares the background has: all of texts and codes, and else the missing one."""
        every = self.codes or any(isinstance(value, str) for value in self.values)
        return tuple(dict.fromkeys(value for value in self.values if every or value is None))

    def share(self, wanted: Value) -> float:
        """Return the share of rows with a value."""
        return sum(rows for value, rows in zip(self.values, self.rows, strict=True) if value == wanted) / sum(self.rows)


@dataclass(frozen=True)
class Background:
    """Reference rows.

    Attributes
    ----------
    columns : dict of str to tuple of float, str or None
        By feature, as long as each other.
    weights : tuple of float
        Of the rows; they add up to 1.
    """

    columns: dict[str, tuple[Value, ...]]
    weights: tuple[float, ...]

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.weights)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the JSON form, 64 hex digits."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the columns as arrays of shape (m,): float64 with NaN, or texts with None."""
        return {name: _array(values) for name, values in self.columns.items()}

    def mean(self, name: str) -> float:
        """Return the weighted mean of a column's values that are there; NaN for texts."""
        values = self.columns[name]
        there = [(value, weight) for value, weight in zip(values, self.weights, strict=True) if value is not None]
        if not there or any(isinstance(value, str) for value, _ in there):
            return math.nan
        return sum(float(value) * weight for value, weight in there) / sum(weight for _, weight in there)

    def misses(self, marginals: Mapping[str, Marginal]) -> tuple[str, ...]:
        """Return the columns whose mean or shares are not those that were released."""
        weights = np.array(self.weights)
        return tuple(
            name
            for name, marginal in marginals.items()
            if any(abs(float(row @ weights)) > 1e-9 for row in _constraints(self.columns[name], marginal))
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "columns": {name: list(values) for name, values in self.columns.items()},
            "weights": list(self.weights),
        }

    @classmethod
    def parse(cls, data: object, features: Sequence[str]) -> Background:
        """Check the JSON form and return it.

        Raises
        ------
        InvalidInput
            ``bad-statistic``; ``statistic-too-large``.
        """
        entries = limits.mapping(data, "the background")
        limits.only(entries, ("columns", "weights"), "the background")
        weights = [
            limits.number(weight, "a weight")
            for weight in limits.sequence(entries.get("weights"), "the weights", MAXIMUM_POINTS)
        ]
        if not weights or min(weights) < 0 or not math.isclose(sum(weights), 1.0, abs_tol=1e-9):
            raise limits.bad("the weights of the background must be numbers from 0 on that add up to 1")
        given = limits.mapping(entries.get("columns"), "the columns of the background")
        if set(given) != set(features):
            raise limits.bad("the background must have the features, and no other columns")
        columns = {}
        for name in features:
            values = limits.sequence(given[name], f"the background of {name}", MAXIMUM_POINTS)
            if len(values) != len(weights):
                raise limits.bad(f"the background of {name!r} has {len(values)} values for {len(weights)} weights")
            columns[name] = tuple(_value(value, name) for value in values)
        return cls(columns, tuple(weights))


def draw(marginals: Mapping[str, Marginal], size: int, seed: int, correlation: Floats | None = None) -> Background:
    """Draw reference rows from what was released.

    Parameters
    ----------
    marginals : mapping of str to Marginal
    size : int
        Rows, before those of weight 0 are left out.
    seed : int
    correlation : ndarray of float64, shape (d, d), optional
        Of the columns; NaN where it was not released, which is taken for 0.

    Raises
    ------
    InvalidInput
        Code ``explain-no-background``: nothing was released of a column.
    """
    names = list(marginals)
    ranks = _ranks(len(names), size, seed, correlation)
    columns: dict[str, tuple[Value, ...]] = {}
    for place, name in enumerate(names):
        quantiles = (ranks[:, place] + 0.5) / size
        columns[name] = _values_at(marginals[name], quantiles)
    rows = [
        row
        for name, each in marginals.items()
        if len(each.categories) <= size // 2  # more could only be held by giving up others
        for row in _constraints(columns[name], each)
    ]
    weights = _calibrated(rows, size)
    return Background(columns, tuple(weights.tolist()))


def _ranks(features: int, size: int, seed: int, correlation: Floats | None) -> NDArray[np.int64]:
    """Return a Latin hypercube of ranks 0 to size - 1, (size, features), with about these rank correlations."""
    rng = np.random.default_rng([seed, features, size])
    scores = np.column_stack([rng.permutation(_normal_scores(size)) for _ in range(features)])
    if correlation is not None and features > 1:
        wanted = np.nan_to_num(np.array(correlation, np.float64), nan=0.0)
        np.fill_diagonal(wanted, 1.0)
        own = np.corrcoef(scores, rowvar=False)
        scores = scores @ np.linalg.pinv(_root(own)) @ _root(wanted)
    return np.argsort(np.argsort(scores, axis=0, kind="stable"), axis=0, kind="stable").astype(np.int64)


def _root(matrix: Floats) -> Floats:
    """Return the symmetric square root of the nearest matrix that has one."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.sqrt(np.clip(values, 1e-6, None))) @ vectors.T)


def _normal_scores(size: int) -> Floats:
    """Return the quantiles of the normal distribution at (i + 1/2) / size."""
    from statistics import NormalDist

    return np.array([NormalDist().inv_cdf((i + 0.5) / size) for i in range(size)])


def _values_at(marginal: Marginal, quantiles: Floats) -> tuple[Value, ...]:
    rows = np.array(marginal.rows, np.float64)
    if not rows.sum() > 0:
        raise limits.bad("nothing was released of a column")
    ends = np.cumsum(rows) / rows.sum()
    places = np.minimum(np.searchsorted(ends, quantiles, side="left"), len(rows) - 1)
    held = set(marginal.categories)
    for at in np.flatnonzero(rows).tolist():  # a share can only be had of what is there once
        if marginal.values[at] not in held or at in places:
            continue
        drawn = np.bincount(places, minlength=len(rows))
        if drawn.max() > 1:
            most = int(drawn.argmax())
            same = np.flatnonzero(places == most)
            places[same[np.argmax(quantiles[same]) if at > most else np.argmin(quantiles[same])]] = at
    return tuple(marginal.values[place] for place in places.tolist())


def _constraints(values: Sequence[Value], marginal: Marginal) -> list[Floats]:
    """Return rows whose product with the weights is 0 if mean and shares are the released ones; they reach to 1."""
    rows = []
    mean = marginal.mean
    if mean is not None and not marginal.codes and not any(isinstance(value, str) for value in values):
        centred = np.array([0.0 if value is None else float(value) - mean for value in values])
        spread = float(np.abs(centred).max())
        if spread > 0:
            rows.append(centred / spread)
    for category in marginal.categories:
        share = marginal.share(category)
        if 0 < share < 1:
            rows.append(np.array([float(value == category) - share for value in values]))
    return rows


def _calibrated(rows: Sequence[Floats], size: int) -> Floats:
    """Return weights, as near to equal as can be, with which every one of `rows` has a mean of 0.

    Where no weights from 0 on do that (a column whose drawn values lie all on one side of its mean), rows are left out,
    the least fitting first.
    """
    equal, rows = np.full(size, 1.0 / size), list(rows)
    while rows:
        held = np.stack([*rows, np.ones(size)])  # the constraints: held @ weights = (0, …, 0, 1)
        target = np.zeros(len(held))
        target[-1] = 1.0
        weights = equal + np.linalg.pinv(held) @ (target - held @ equal)
        if weights.min() < 0:
            weights = _tilted(held[:-1], equal)
        if np.abs(held @ weights - target).max() < 1e-10:
            return np.asarray(weights / weights.sum())
        rows.pop(int(np.argmax(np.abs(held[:-1] @ equal))))
    return equal


def _tilted(held: Floats, equal: Floats) -> Floats:
    """Return positive weights of least divergence from equal ones with ``held @ weights = 0``, as far as there are any.

    They are proportional to exp(λ · held) (raking: Deville and Särndal 1992); λ by Newton's method on the convex
    log Σ exp(λ · held), with steps halved until it falls.
    """
    multipliers = np.zeros(len(held))
    height, weights = _log_sum(multipliers @ held), equal
    for _ in range(100):
        mean = held @ weights
        if np.abs(mean).max() < 1e-14:
            break
        curvature = (held * weights) @ held.T - np.outer(mean, mean)
        step = np.linalg.pinv(curvature, rcond=1e-12) @ mean
        for halved in range(40):
            tried = multipliers - step * 0.5**halved
            lower = _log_sum(tried @ held)
            if lower <= height:
                break
        else:
            break
        multipliers, height = tried, lower
        weights = np.exp(multipliers @ held - height)
    return weights


def _log_sum(exponents: Floats) -> float:
    most = float(exponents.max())
    return most + float(np.log(np.exp(exponents - most).sum()))


def _array(values: Sequence[Value]) -> NDArray[Any]:
    if any(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _value(value: object, name: str) -> Value:
    if value is None or (isinstance(value, str) and len(value) <= 256):
        return value
    return limits.number(value, f"a value of the background of {name}")
