"""Where sums come from: the one interface of real nodes and of a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from ..protocols.analytics.release import Released


class Query(Protocol):
    """One call of the notebook: one or more sums over the same nodes."""

    def step(
        self, statistic: Mapping[str, Any], via: str = "mpc", tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> Released:
        """Return what is released of one statistic; `tensors` are the model that it is about."""

    def close(self, error: BaseException | None = None) -> None:
        """End the query; `error` says why, if it failed."""


class Source(Protocol):
    """A federation's rows, as far as they can be asked about."""

    @property
    def schema(self) -> Sequence[Mapping[str, Any]]:
        """One entry for each column: ``name``, ``dtype``, ``role``, ``classes`` (of a target with labels, or None)."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Ranges of columns that are known without looking at rows."""

    @property
    def names(self) -> Mapping[str, str]:
        """Each node's id and the name to show."""

    def open_query(self, operation: str, summary: Mapping[str, Any] | None = None) -> Query:
        """Begin a query."""


def label_ranges(schema: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Return the ranges of the columns of `schema` that are known without looking at rows: those of labels."""
    return {column["name"]: (0.0, float(column["classes"] - 1)) for column in schema if column["classes"] is not None}
