"""Missing values: filled with a figure of the column, or with a value that is given."""

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

_FIGURES = ("mean", "median", "most_frequent", "constant")


@dataclass(frozen=True)
class Impute(Step):
    """Fill missing values.

    Parameters
    ----------
    columns : str or sequence of str
    strategy : str
        ``"mean"`` or ``"median"`` of numbers, ``"most_frequent"`` value, or a ``"constant"``.
    value : number or str, optional
        The constant; its strategy need not be named then.
    indicator : bool
        Whether to add a column ``<column>.missing``, 1 where a number was missing.

    Raises
    ------
    InvalidInput
        Code ``bad-step``.
    """

    columns: str | Sequence[str]
    strategy: str = "median"
    value: float | str | None = None
    indicator: bool = False

    def __post_init__(self) -> None:
        names_of(self.columns, "Impute")
        one_of(self.strategy, _FIGURES, "strategy")
        known = self.value is not None
        if known:
            object.__setattr__(self, "strategy", "constant")
        if (self.strategy == "constant") != known or isinstance(self.value, bool):
            raise InvalidInput(
                f"strategy='constant' and value= belong together; value is {self.value!r}.", code="bad-step"
            )

    @property
    def questions(self) -> int:
        """How many private answers fitting it takes."""
        many = {"mean": 1, "median": 1, "most_frequent": len(names_of(self.columns, "Impute")), "constant": 0}
        return many[self.strategy]

    def fit(self, statistics: Statistics) -> Imputed:
        """Return the fitted step."""
        names = names_of(self.columns, "Impute")
        if self.strategy == "constant":
            assert self.value is not None  # checked when it was made
            kind = "text" if isinstance(self.value, str) else "number"
            require(statistics, names, kind, f"Impute with the value {self.value!r}")
            value = self.value if isinstance(self.value, str) else float(self.value)
            return Imputed(names, (value,) * len(names), self.indicator)
        if self.strategy == "most_frequent":
            values = []
            for name in names:
                require(statistics, [name], statistics.kinds.get(name, "number"), "Impute")
                found = statistics.categories(name, 1)
                if not found:
                    raise InvalidInput(
                        f"No value of {name!r} is frequent enough to be told.",
                        code="statistic-withheld",
                        hint="Give a value=, or use strategy='median' for numbers.",
                        column=name,
                    )
                values.append(found[0])
            return Imputed(names, tuple(values), self.indicator)
        require(statistics, names, "number", f"Impute by the {self.strategy}")
        figures = statistics.means(names) if self.strategy == "mean" else statistics.quantiles(names, [0.5])[0]
        return Imputed(names, tuple(figures), self.indicator)


@dataclass(frozen=True)
class Imputed(Fitted):
    """Values that stand in for missing ones, one for each column: numbers, or texts."""

    kind = "impute"

    names: tuple[str, ...]
    values: tuple[float | str, ...]
    indicator: bool = False

    @classmethod
    def read(cls, data: dict[str, Any]) -> Imputed:
        """Check `to_dict`'s form."""
        entries = limits.mapping(data, "a step of imputation", ("kind", "columns", "values", "indicator"))
        names = limits.texts(entries["columns"], "columns", limits.COLUMNS)
        values = [
            limits.text(value, "a value") if isinstance(value, str) else limits.number(value, "a value")
            for value in limits.sequence(entries["values"], "values", len(names))
        ]
        if len(values) != len(names) or not names:
            raise limits.bad("a step of imputation needs one value for each column")
        return cls(tuple(names), tuple(values), limits.flag(entries["indicator"], "indicator"))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        listed = {"columns": list(self.names), "values": list(self.values)}
        return {"kind": self.kind, **listed, "indicator": self.indicator}

    def run(self, blocks: Blocks) -> None:
        """Fill numbers at once, and texts where they become numbers: there an engine sees that they are missing."""
        engine, ops = blocks.engine, blocks.engine.ops
        filled = dict(zip(self.names, self.values, strict=True))
        texts = {name: value for name, value in filled.items() if isinstance(value, str)}
        blocks.require(list(texts), "text", "This imputation")
        blocks.defaults.update(texts)
        names = [name for name in self.names if name not in texts]
        if not names:
            return
        blocks.require(names, "number", "This imputation")
        block = blocks.take(names)
        there = ops.isfinite(block)
        values = np.array([[float(filled[name]) for name in names]])
        blocks.put(names, ops.where(there, block, values))
        if self.indicator:
            gone = engine.cast(ops.logical_not(there), "float64")
            for at, name in enumerate(names):
                blocks.add(name, [f"{name}.missing"], engine.slice(gone, at, at + 1))
