"""A simulation, explored: the same views as over real nodes, in one process."""

from __future__ import annotations

from typing import Any

from ..exploration.describing import column
from ..exploration.source import Described, Json, Looked
from .analytics import SimulatedSource


class SimulatedExplored:
    """The rows of a simulation's clients, as far as they can be explored.

    Parameters
    ----------
    source : SimulatedSource
        Where statistics come from.
    rows : sequence of int
        Of each client, in the order of the source's.
    """

    def __init__(self, source: SimulatedSource, rows: list[int]) -> None:
        self.source = source
        self._rows = rows

    def describe(self) -> Described:
        """Return columns and clients."""
        level = "private" if self.source.policy.privacy == "required" else "aggregates"
        nodes: list[Json] = [
            {
                "node": node,
                "name": name,
                "organisation": "simulated",
                "rows": rows,
                "level": level,
                "online": True,
                "drift": level == "aggregates",
                "problem": None,
            }
            for (node, name), rows in zip(self.source.names.items(), self._rows, strict=True)
        ]
        return Described("simulated clients", None, level, sum(self._rows), nodes, self._columns())

    def look(self) -> Looked:
        """Return the budget; clients are asked nothing else."""
        records: list[Any] = self.source.budget().to_dict("records")
        budget = [
            {
                "node": record["node"],
                "spent": record["spent"],
                "budget": _limit(record["budget"]),
                "remaining": _limit(record["remaining"]),
            }
            for record in records
        ]
        return Looked({}, budget)

    def _columns(self) -> list[Json]:
        return [
            column(
                str(each["name"]),
                str(each["dtype"]),
                "label" if each["role"] == "target" else "feature",
                each["classes"],
                {},
            )
            for each in self.source.schema
        ]


def _limit(value: float) -> float | None:
    """Return a budget; None where it is infinite."""
    return None if value == float("inf") else float(value)
