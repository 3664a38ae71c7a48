"""From what nodes have told of a data set to what an overview shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..column_kinds import column_kind
from .source import Json

_FIELDS = ("unit", "description", "range", "categories")
_DECLARED = ("unit", "range", "categories", "role", "dtype")
_NO_LEVEL = "schema"


def level_of(operations: Sequence[str] | None) -> str:
    """Return what a node shows, by the operations that it has told the coordination API."""
    told = operations or ()
    if "explore-nothing" in told:
        return "nothing"
    if "explore" not in told:
        return _NO_LEVEL
    return "private" if "explore-private" in told else "aggregates"


def nodes_of(entry: Mapping[str, Any]) -> list[Json]:
    """Return the nodes that hold a data set, as the API has it, with what each shows."""
    nodes = []
    for holder in entry["nodes"]:
        level = level_of(holder.get("operations"))
        nodes.append(
            {
                "node": str(holder["node"]),
                "name": str(holder["node_name"]),
                "organisation": str(holder["organisation"]),
                "rows": None if level == "nothing" else int(holder["rows"]),
                "level": level,
                "online": bool(holder["online"]),
                "drift": "explore-drift" in (holder.get("operations") or ()),
                "problem": None,
            }
        )
    return nodes


def columns_of(entry: Mapping[str, Any]) -> list[Json]:
    """Return the columns of a data set of the API: the first node's that tells them, with where others differ."""
    tells = [holder for holder in entry["nodes"] if level_of(holder.get("operations")) != "nothing"]
    if not tells:
        return []
    columns = described(entry["features"], entry.get("target"), entry.get("schema"))
    known = {column["name"]: column for column in columns}
    for holder in tells:
        own = holder.get("columns")
        if own is None:
            continue
        theirs = {
            column["name"]: column
            for column in described(own.get("features") or [], own.get("target"), own.get("schema"))
        }
        name = str(holder["node_name"])
        for column in columns:
            column["differences"] += _differences(name, column, theirs.get(column["name"]))
        for strange in theirs.keys() - known.keys():
            added = {**theirs[strange], "differences": [{"node": name, "field": "only there", "value": True}]}
            known[strange] = added
            columns.append(added)
    return columns


def described(
    features: Sequence[Mapping[str, Any]],
    target: Mapping[str, Any] | None,
    schema: Sequence[Mapping[str, Any]] | None = None,
) -> list[Json]:
    """Return columns as an overview has them.

    Parameters
    ----------
    features : sequence of mapping
        ``name``, ``dtype``, ``shape``.
    target : mapping or None
        ``name``, ``dtype``, ``classes``.
    schema : sequence of mapping, optional
        What the owner has declared of columns: ``name``, ``dtype``, ``role``, ``unit``, ``description``, ``range``,
        ``categories``.
    """
    declared = {str(each["name"]): each for each in schema or ()}
    listed: list[tuple[str, str, str, int | None]] = []
    for feature in features:
        shape = [int(size) for size in feature.get("shape") or ()]
        name, dtype = str(feature["name"]), str(feature["dtype"])
        parts = [f"{name}[{place}]" for place in range(int(np.prod(shape)))] if shape else [name]
        listed += [(part, dtype, "feature", None) for part in parts]
    if target:
        listed.append((str(target["name"]), str(target["dtype"]), "label", target.get("classes")))
    known = {name for name, *_ in listed}
    listed += [
        (name, str(each.get("dtype") or ""), str(each.get("role") or "feature"), None)
        for name, each in declared.items()
        if name not in known and each.get("role") != "id"
    ]
    return [column(name, dtype, role, classes, declared.get(name, {})) for name, dtype, role, classes in listed]


def column(name: str, dtype: str, role: str, classes: int | None, declared: Mapping[str, Any]) -> Json:
    """Return one column as an overview has it."""
    text = column_kind(dtype) != "number"
    found: Json = {
        "name": name,
        "dtype": dtype,
        "kind": "label" if classes is not None else "text" if text else "number",
        "classes": classes,
        "role": str(declared.get("role") or role),
        "differences": [],
    }
    for key in _FIELDS:
        value = declared.get(key)
        found[key] = list(value) if isinstance(value, list | tuple) else value
    return found


def _differences(node: str, ours: Json, theirs: Json | None) -> list[Json]:
    if theirs is None:
        return [{"node": node, "field": "absent", "value": True}]
    return [
        {"node": node, "field": key, "value": theirs.get(key)}
        for key in (*_DECLARED, "classes")
        if theirs.get(key) != ours.get(key)
    ]
