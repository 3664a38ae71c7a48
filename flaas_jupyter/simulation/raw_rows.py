"""Rows of a simulation as they were given, for preprocessing: tables with texts and missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..training.arrays import Arrays, canonical_target
from ..training.preprocessing import Recipe
from ..training.preprocessing.values import columns_of, numbers


@dataclass(frozen=True)
class RawRows:
    """Tables and their targets, one of all clients or one of each.

    Attributes
    ----------
    tables : sequence of mapping of str to ndarray
    targets : sequence of ndarray
    clients : sequence of str, or None
        Whose each is, where each client brought its own.
    """

    tables: Sequence[Mapping[str, NDArray[Any]]]
    targets: Sequence[NDArray[Any]]
    clients: Sequence[str] | None = None

    @classmethod
    def of(cls, data: Sequence[tuple[Any, Any]], clients: Sequence[str] | None, without: str | None = None) -> RawRows:
        """Take pairs (table, targets).

        Raises
        ------
        InvalidInput
            Code ``bad-data``.
        """
        tables, targets = [], []
        for number, (x, y) in enumerate(data):
            columns = {name: values for name, values in columns_of(x).items() if name != without}
            target = numbers(np.asarray(y), "y")
            sizes = {len(values) for values in [*columns.values(), target]}
            if len(sizes) != 1 or 0 in sizes:
                raise InvalidInput(
                    f"Table {number} and its targets must have one number of rows, above 0; they have {sorted(sizes)}.",
                    code="bad-data",
                )
            if np.isnan(target).any():
                raise InvalidInput(f"The targets of table {number} have missing values.", code="missing-values")
            tables.append(columns)
            targets.append(target)
        return cls(tables, targets, clients)

    def arrays(self, recipe: Recipe | None, name: str = "simulated") -> Arrays:
        """Return what clients train on; without a recipe no inputs.

        Raises
        ------
        InvalidInput
            ``recipe-does-not-fit``, ``missing-values``.
        """
        width = 0 if recipe is None else len(recipe.outputs)
        made = np.empty((sum(map(len, self.targets)), width), np.float32)
        at = 0
        for place, (table, target) in enumerate(zip(self.tables, self.targets, strict=True)):
            if recipe is not None:
                node = None if self.clients is None else self.clients[place]
                made[at : at + len(target)] = recipe.apply(table, node=node)
            at += len(target)
        targets = canonical_target(np.concatenate(self.targets))
        return Arrays(name, {"": made}, {"": targets}, () if recipe is None else recipe.outputs)
