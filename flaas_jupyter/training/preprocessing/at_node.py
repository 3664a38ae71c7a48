"""A recipe at one node: which of its columns it reads, and the arrays that come of them."""

from __future__ import annotations

from collections.abc import Mapping as Mappings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..arrays import Arrays
from .recipe import Recipe
from .values import numbers

_CELLS = 1 << 24


@dataclass(frozen=True)
class RecipeAtNode:
    """What a node makes of its raw rows, batch by batch; `at_node` makes one.

    Parameters
    ----------
    recipe : Recipe
    node : str or None
        The node's id; None where the recipe's mapping is passed over.
    dataset : str
        Name of the data set.
    reads : tuple of str
        Columns of the data set that are read, the target last.
    target : str or None
    quantity : bool
        Whether the target is a quantity, and no label.
    """

    recipe: Recipe
    node: str | None
    dataset: str
    reads: tuple[str, ...]
    target: str | None
    quantity: bool

    @property
    def digest(self) -> str:
        """The recipe's digest: equal digests give equal arrays at a node."""
        return self.recipe.digest

    @property
    def rows_at_once(self) -> int:
        """How many rows are made into arrays at a time: what a recipe asks for must not be more than a node holds."""
        return max(1, _CELLS // len(self.recipe.outputs))

    def arrays(self, columns: Mappings[str, NDArray[Any]], target: str | None) -> Arrays:
        """Return inputs and targets of some rows.

        Parameters
        ----------
        columns : mapping of str to ndarray, shape (rows,)
            Those of `reads`.
        target : str or None
            The column to predict.

        Raises
        ------
        InvalidInput
            ``recipe-does-not-fit``, ``missing-values``.
        """
        inputs = {name: values for name, values in columns.items() if name != target}
        made = self.recipe.apply(inputs, node=self.node)
        targets = {} if target is None else {"": _target(columns[target], target, self.quantity)}
        return Arrays(self.dataset, {"": made}, targets, self.recipe.outputs)


def at_node(recipe: Recipe, node: str, description: Mappings[str, Any], *, adopted: bool = False) -> RecipeAtNode:
    """Return the recipe as it is at a node.

    Parameters
    ----------
    recipe : Recipe
    node : str
        The node's id.
    description : mapping
        Of the data set, as others are told of it: what is no feature there (ids, sensitive columns) is not read.
    adopted : bool
        Whether the owner has adopted a mapping, so that the columns have their common names already: that of the
        recipe is passed over then.

    Raises
    ------
    InvalidInput
        Code ``recipe-does-not-fit``.
    """
    features = [str(feature["name"]) for feature in description["features"]]
    tensors = [str(feature["name"]) for feature in description["features"] if feature.get("shape")]
    target = description.get("target")
    part = {} if recipe.mapping is None or adopted else recipe.mapping.nodes.get(node, {})
    reads = tuple(part[name].source if name in part else name for name, _ in recipe.inputs)
    absent = [name for name in reads if name not in features or name in tensors]
    if absent:
        raise InvalidInput(
            f"The preprocessing takes {', '.join(map(repr, absent[:5]))}{' and more' if len(absent) > 5 else ''}: no "
            f"feature{'s' if len(absent) > 1 else ''} of data set {description['name']!r} here.",
            code="recipe-does-not-fit",
            hint="federation.schema_differences() shows which node calls it otherwise; columns that an owner has "
            "declared sensitive, or ids, are no features. Fit the preprocessing again.",
            columns=absent[:50],
        )
    name = None if target is None else str(target["name"])
    every = reads if name is None else (*reads, name)
    quantity = target is not None and target.get("kind") == "regression"
    return RecipeAtNode(recipe, None if adopted else node, str(description["name"]), every, name, quantity)


def _target(values: NDArray[Any], name: str, quantity: bool) -> NDArray[Any]:
    found = numbers(values, name)
    if np.isnan(found).any():
        raise InvalidInput(
            f"The target {name!r} has missing values.",
            code="missing-values",
            hint="Rows without a target cannot be trained on: their owner leaves them out.",
            columns=[name],
        )
    if quantity:
        return found.astype(np.float32)
    wide = found.size and np.abs(found).max() > np.iinfo(np.int32).max
    return found.astype(np.int64 if wide else np.int32)
