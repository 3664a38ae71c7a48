"""The explorer at a node: what of a data set is offered, and which statistics are views of it.

A *view* is a statistic of the data set as a whole: no condition, no derived column, at most one key of listed values,
which is counted by. So whoever may explore, and not ask freely, cannot choose the rows that an answer is about. The
query audit and the release policy hold for views as for every other question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..column_kinds import months_of
from ..errors import NotAllowed
from .columns import Columns
from .policy import ANALYTICS, EXPLORE, Policy, policy_of

if TYPE_CHECKING:
    from ..protocols.analytics.statistics import Statistic
    from .datasets import Dataset

OPEN = ("private", "aggregates")
"""Levels at which statistics are told."""
PRIVATELY, WITHHELD, DRIFT = "explore-private", "explore-nothing", "explore-drift"
"""What a node tells beside the operations that it allows: statistics with differential privacy only; no names of
columns; distances of its own rows from those of all."""
KINDS = frozenset({"count", "moments", "cross", "histogram", "order", "prefixes"})
"""Statistics that views are made of."""

Declared = Sequence[Mapping[str, Any]]


def operations_of(policy: Policy) -> list[str]:
    """Return what the coordination API is told that a data set may be used for.

    Parameters
    ----------
    policy : Policy
        As it is for the data set.
    """
    told = [operation for operation in policy.operations if operation != ANALYTICS or policy.level in OPEN]
    if policy.level in OPEN:
        told.append(EXPLORE)
    if policy.level == "private":
        told.append(PRIVATELY)
    if policy.level == "nothing":
        told.append(WITHHELD)
    if policy.explore_drift and policy.level == "aggregates":
        told.append(DRIFT)
    return told


def offered(description: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """Return the description of a data set as others are told it.

    At the level ``"nothing"`` columns have no names: what is left is what a model needs to be built, that is how many
    there are, the number of classes, and the number of rows by which updates are weighed. Columns that are not to be
    explored are left out of the declared schema; features of runs they are not anyway.

    Parameters
    ----------
    description : mapping
        Of `Dataset.description`.
    policy : Policy
        As it is for the data set.
    """
    told = {**description, "operations": operations_of(policy)}
    if policy.level == "nothing":
        told.pop("schema", None)
        told.pop("id_column", None)
        return told | {
            "features": _nameless(description["features"]),
            "target": description["target"] and {**description["target"], "name": "withheld"},
        }
    if told.get("schema"):
        hidden = hidden_columns(told["schema"], told.get("id_column"), policy)
        told["schema"] = [entry for entry in told["schema"] if str(entry.get("name")) not in hidden]
    return told


def hidden_columns(schema: Declared, id_column: str | None, policy: Policy) -> frozenset[str]:
    """Return the columns that the explorer never shows: ids, and sensitive ones unless the owner shows them.

    Parameters
    ----------
    schema : sequence of mapping
        What is declared of columns: ``name``, ``role``.
    id_column : str or None
        The column that names whom a row is about.
    policy : Policy
        As it is for the data set.
    """
    hidden = set() if id_column is None else {id_column}
    for entry in schema:
        role = entry.get("role")
        if role == "id" or (role == "sensitive" and not policy.explore_sensitive):
            hidden.add(str(entry["name"]))
    return frozenset(hidden)


def shown_columns(schema: Declared, policy: Policy) -> list[str]:
    """Return the columns that the explorer shows though no run learns from them: sensitive ones, if the owner does."""
    return [str(entry["name"]) for entry in schema if entry.get("role") == "sensitive" and policy.explore_sensitive]


def read_columns(dataset: Dataset, columns: Columns, used: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the columns that a view is of; those that no run learns from are read from the rows themselves.

    Days and moments are texts of their month, ``"2024-03"``, which can be counted.
    """
    further = [name for name in used if name not in columns]
    found = {name: columns[name] for name in used if name in columns}
    if further:
        from .datasets.arrays import columns_of

        found |= columns_of(dataset.batches(further), further)
    return {name: months_of(values) if values.dtype.kind == "M" else values for name, values in found.items()}


def told_of(dataset: Dataset, home: Path) -> dict[str, Any]:
    """Return what others are told of a data set of the node in `home`; see `offered`."""
    return offered(dataset.description(), policy_of(home).for_dataset(dataset.name))


def require_view(statistic: Statistic, schema: Declared, id_column: str | None, policy: Policy) -> None:
    """Refuse a statistic that is no view of the explorer.

    Parameters
    ----------
    statistic : Statistic
    schema, id_column, policy
        As of `hidden_columns`.

    Raises
    ------
    NotAllowed
        ``explore-view``: it chooses rows, or is of another kind; ``explore-column``: it is about a column that is not
        shown.
    """
    why = _no_view(statistic)
    if why is not None:
        raise NotAllowed(
            f"This is no view of the explorer: {why}.",
            code="explore-view",
            hint="Views are about a data set as a whole. Ask federation.analytics, which takes the role of a developer "
            "and the owner's permission.",
        )
    shown = sorted(statistic.columns_used & hidden_columns(schema, id_column, policy))
    if shown:
        raise NotAllowed(
            f"Column {shown[0]!r} is not shown: it is registered as an id or as sensitive.",
            code="explore-column",
            hint="Its owner decides with explore_sensitive in node.toml; ids are never shown.",
            column=shown[0],
        )


def _no_view(statistic: Statistic) -> str | None:
    """Say why a statistic is no view, or None."""
    if statistic.kind not in KINDS:
        return f"it is of kind {statistic.kind!r}"
    if statistic.where is not None:
        return "it has a condition"
    keys = statistic.by
    if len(keys) > 1 or any(key.ordered for key in keys):
        return "it has groups by ranges, or by several columns"
    if keys and statistic.kind != "count":
        return "it measures groups"
    counted = {key.column for key in keys}
    for name, expression in statistic.assign:
        # How many values of a text are missing can be counted in no other way.
        if expression.op != "isnull" or expression.args[0].column is None or name not in counted:
            return "it has a derived column"
    return None


def _nameless(features: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return features without names: those of a table as one, for a table is one input of a model."""
    if all(not feature.get("shape") for feature in features):
        return [{"name": "withheld", "dtype": "float32", "shape": [len(features)]}]
    return [{**feature, "name": f"withheld {place}"} for place, feature in enumerate(features, start=1)]
