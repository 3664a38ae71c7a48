"""Bins of one feature's values: where SHAP values are averaged for dependence and beeswarm plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..analytics import limits
from ..analytics.expressions import column_name
from ..analytics.grouping import bin_of


@dataclass(frozen=True)
class FeatureBins:
    """The bins of one feature.

    Attributes
    ----------
    name : str
    edges : tuple of float
        Of numbers: half-open bins, the last one closed, and one below and one above them all.
    values : tuple of str
        Of texts: a bin for each, and one for all others. Without edges and values there are no bins.
    """

    name: str
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        """Number of bins, without that of missing values."""
        return len(self.edges or self.values) + 1 if self.edges or self.values else 0

    @property
    def ordered(self) -> bool:
        """Whether neighbouring bins may become one."""
        return bool(self.edges)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the bins of texts are called."""
        return (*self.values, "other") if self.values else ()

    def place(self, column: NDArray[Any]) -> NDArray[np.int64]:
        """Return each value's bin, shape (n,); `cells` where it is missing."""
        if self.edges:
            return bin_of(column, self.edges, outside=True)
        known = {value: place for place, value in enumerate(self.values)}
        other, missing = len(self.values), len(self.values) + 1
        texts = column.tolist()
        return np.array([missing if _is_missing(text) else known.get(str(text), other) for text in texts], np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"name": self.name, "edges": list(self.edges), "values": list(self.values)}

    @classmethod
    def parse(cls, data: object) -> FeatureBins:
        """Check the JSON form and return it.

        Raises
        ------
        InvalidInput
            ``bad-statistic``; ``statistic-too-large``.
        """
        entry = limits.mapping(data, "an entry of bins")
        limits.only(entry, ("name", "edges", "values"), "an entry of bins")
        name = column_name(entry.get("name"))
        edges, values = entry.get("edges") or [], entry.get("values") or []
        if edges and values:
            raise limits.bad(f"the bins of {name!r} have edges and values")
        listed = limits.sequence(values, f"the values of {name}", limits.MAXIMUM_VALUES)
        if not all(isinstance(value, str) and len(value) <= 256 for value in listed) or len(set(listed)) != len(listed):
            raise limits.bad(f"the values of {name!r} must be different texts")
        return cls(name, limits.ascending(edges, name) if edges else (), tuple(listed))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
