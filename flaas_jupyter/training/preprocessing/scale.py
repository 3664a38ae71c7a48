"""Scaling of numbers by figures of all nodes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidInput
from . import limits
from .blocks import Blocks
from .statistics import Statistics
from .step import Fitted, Step, names_of, one_of, require

_METHODS = ("standard", "minmax", "robust")


@dataclass(frozen=True)
class Scale(Step):
    """Shift and divide numbers.

    Parameters
    ----------
    columns : str or sequence of str
    method : str
        ``"standard"``: mean 0 and standard deviation 1, as scikit-learn's `StandardScaler`; ``"minmax"``: from 0 to 1;
        ``"robust"``: by median and quartiles. A column of one value is only shifted.
    ranges : mapping of str to (float, float), optional
        For ``"minmax"``, where the ends are known: nothing is asked of the rows then.

    Raises
    ------
    InvalidInput
        Code ``bad-step``.
    """

    columns: str | Sequence[str]
    method: str = "standard"
    ranges: Any = None

    def __post_init__(self) -> None:
        names = names_of(self.columns, "Scale")
        one_of(self.method, _METHODS, "method")
        if self.ranges is None:
            return
        if self.method != "minmax" or set(self.ranges) != set(names):
            raise InvalidInput("ranges= goes with method='minmax' and names every column.", code="bad-step")
        for name, (low, high) in self.ranges.items():
            if not float(low) < float(high):
                raise InvalidInput(f"The range of {name!r} is {low!r} to {high!r}.", code="bad-step")

    @property
    def questions(self) -> int:
        """How many private answers fitting it takes."""
        return 0 if self.ranges is not None else {"standard": 2, "minmax": 2, "robust": 1}[self.method]

    def fit(self, statistics: Statistics) -> Scaled:
        """Return the fitted step."""
        names = names_of(self.columns, "Scale")
        require(statistics, names, "number", "Scale")
        if self.ranges is not None:
            low = [float(self.ranges[name][0]) for name in names]
            high = [float(self.ranges[name][1]) for name in names]
            return Scaled.between(names, low, high)
        if self.method == "standard":
            return Scaled(names, tuple(statistics.means(names)), _divisors(statistics.deviations(names)))
        if self.method == "minmax":
            return Scaled.between(names, *statistics.ranges(names))
        lower, middle, upper = statistics.quantiles(names, [0.25, 0.5, 0.75])
        return Scaled(names, tuple(middle), _divisors([b - a for a, b in zip(lower, upper, strict=True)]))


@dataclass(frozen=True)
class Scaled(Fitted):
    """What is taken from each column, and what it is divided by."""

    kind = "scale"

    names: tuple[str, ...]
    shift: tuple[float, ...]
    divisor: tuple[float, ...]

    @classmethod
    def between(cls, names: Sequence[str], low: Sequence[float], high: Sequence[float]) -> Scaled:
        """Return the step that makes `low` 0 and `high` 1."""
        return cls(tuple(names), tuple(low), _divisors([b - a for a, b in zip(low, high, strict=True)]))

    @classmethod
    def read(cls, data: dict[str, Any]) -> Scaled:
        """Check `to_dict`'s form."""
        entries = limits.mapping(data, "a step of scaling", ("kind", "columns", "shift", "divisor"))
        names = limits.texts(entries["columns"], "columns", limits.COLUMNS)
        shift = limits.numbers(entries["shift"], "shift", len(names))
        divisor = limits.numbers(entries["divisor"], "divisor", len(names))
        if not names or 0.0 in divisor:
            raise limits.bad("a step of scaling needs columns, and divisors other than 0")
        return cls(tuple(names), tuple(shift), tuple(divisor))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "kind": self.kind,
            "columns": list(self.names),
            "shift": list(self.shift),
            "divisor": list(self.divisor),
        }

    def run(self, blocks: Blocks) -> None:
        """Shift and divide."""
        blocks.require(self.names, "number", "Scale")
        ops = blocks.engine.ops
        shift, divisor = np.array([self.shift], np.float64), np.array([self.divisor], np.float64)
        blocks.put(self.names, ops.divide(ops.subtract(blocks.take(self.names), shift), divisor))


def _divisors(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(value if abs(value) > 1e-300 else 1.0 for value in values)
