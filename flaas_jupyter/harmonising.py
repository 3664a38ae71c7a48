"""Where nodes' columns differ, and a mapping that brings them together: by declared names, units, codes and ranges.

Everything is compared as it is declared; no row is looked at. What is suggested is a beginning for people: a column is
taken for another one where the names say so, or where both units and codes leave little doubt, and the rest is listed
as unresolved.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Mapping as Mappings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .training.preprocessing.mapping import ColumnMap, Mapping
from .training.preprocessing.values import kind_of, kind_of_dtype, missing_of
from .units import conversion

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("type", "unit", "range", "categories", "role")
"""What is compared of a column that both nodes have, beside its being there."""
_ALIKE = 0.75
"""Similarity of names (Ratcliff and Obershelp, as `difflib` has it) from which a column may be another's namesake."""
_MOST_CATEGORIES = 50
_CODES = {
    "f": "female", "w": "female", "woman": "female", "m": "male", "man": "male",
    "y": "yes", "true": "yes", "t": "yes", "1": "yes", "n": "no", "false": "no", "0": "no",
}  # fmt: skip

Column = Mappings[str, Any]


def described(table: Mappings[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Return what one could declare of the columns of a table: for tables that are one's own, as in a simulation."""
    found = []
    for name, values in table.items():
        kind = kind_of(values)
        entry: dict[str, Any] = {"name": name, "dtype": "string" if kind == "text" else str(values.dtype)}
        if kind == "number":
            numbers = values[~missing_of(values)].astype(float)
            entry["range"] = [float(numbers.min()), float(numbers.max())] if numbers.size else None
        else:
            values = values[~missing_of(values)]
            different = sorted({str(value) for value in values.tolist()})
            entry["categories"] = different if len(different) <= _MOST_CATEGORIES else None
        found.append(entry)
    return found


def columns_told(description: Column) -> list[dict[str, Any]]:
    """Return the columns of a description as others are told it: types, and what the owner declares of them."""
    declared = {str(entry["name"]): entry for entry in description.get("schema") or ()}
    found = [{**declared.get(str(entry["name"]), {}), **entry} for entry in description["features"]]
    target = description.get("target")
    if target:
        entry = declared.get(str(target["name"]), {})
        classes = target.get("classes")
        codes = entry.get("categories") or (list(range(classes)) if classes and classes <= _MOST_CATEGORIES else None)
        found.append({**entry, "name": target["name"], "dtype": target["dtype"], "role": "label", "categories": codes})
    return found


def differences(nodes: Mappings[str, Sequence[Column]], names: Mappings[str, str]) -> pd.DataFrame:
    """Return where nodes' columns differ.

    Parameters
    ----------
    nodes : mapping of str to sequence of mapping
        Node id to its columns: ``name``, ``dtype``, and what is declared: ``unit``, ``range``, ``categories``,
        ``role``.
    names : mapping of str to str
        Node id to the name to show.

    Returns
    -------
    DataFrame
        Columns ``column``, ``field`` (``absent``, ``type``, ``unit``, ``range``, ``categories``, ``role``), and one for
        each node with what it has; a row for each column and field in which nodes differ.
    """
    import pandas as pd

    shown = [names.get(node, node) for node in nodes]
    order = list(dict.fromkeys(str(column["name"]) for columns in nodes.values() for column in columns))
    of_node = {node: {str(column["name"]): column for column in columns} for node, columns in nodes.items()}
    rows: list[list[Any]] = []
    for name in order:
        there = {node: columns.get(name) for node, columns in of_node.items()}
        present = [column is not None for column in there.values()]
        if not all(present):
            rows.append([name, "absent", *("" if here else "absent" for here in present)])
        for field in FIELDS:
            told = [None if column is None else _field(column, field) for column in there.values()]
            if len({repr(value) for value, here in zip(told, present, strict=True) if here}) > 1:
                rows.append([name, field, *told])
    return pd.DataFrame(rows, columns=["column", "field", *shown])


def suggest(nodes: Mappings[str, Sequence[Column]], names: Mappings[str, str]) -> Mapping:
    """Return a mapping of each node's columns to those that most nodes have.

    Parameters
    ----------
    nodes, names : mapping
        As `differences`.

    Returns
    -------
    Mapping
        `unresolved` says what nothing was suggested for.
    """
    of_node = {node: {str(column["name"]): column for column in columns} for node, columns in nodes.items()}
    common = _common(of_node)
    parts: dict[str, dict[str, ColumnMap]] = {}
    unresolved: list[str] = []
    for node, own in of_node.items():
        part, left = _of_node(own, common)
        parts[node] = part
        unresolved += [f"{names.get(node, node)}: {why}" for why in left]
    return Mapping({node: part for node, part in parts.items() if part}, tuple(unresolved), dict(names))


def _common(of_node: Mappings[str, Mappings[str, Column]]) -> dict[str, dict[str, Any]]:
    """Return the columns that all are to have, each as most nodes declare it.

    They are those that most nodes have; of namesakes, the one of most nodes.
    """
    held = Counter(name for columns in of_node.values() for name in columns)
    order = list(dict.fromkeys(name for columns in of_node.values() for name in columns))
    chosen: dict[str, dict[str, Any]] = {}
    for name in sorted(order, key=lambda each: (-held[each], order.index(each))):
        holders = [columns for columns in of_node.values() if name in columns]
        column = _usual([columns[name] for columns in holders])
        # A namesake at other nodes only is the same column under another name.
        others = [known for known in chosen if not any(known in columns for columns in holders)]
        if _namesake(column, {known: chosen[known] for known in others}) is None:
            chosen[name] = column
    shared = {name for name in chosen if len(of_node) == 1 or _holders(name, chosen[name], of_node) > 1}
    return {name: chosen[name] for name in order if name in shared}


def _holders(name: str, column: Column, of_node: Mappings[str, Mappings[str, Column]]) -> int:
    return sum(name in columns or _namesake(column, columns) is not None for columns in of_node.values())


def _usual(columns: Sequence[Column]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": columns[0]["name"]}
    for field in ("dtype", "unit", "range", "categories", "role"):
        told = [column.get(field) for column in columns if column.get(field) is not None]
        counted = Counter(repr(value) for value in told)
        found[field] = max(told, key=lambda value: counted[repr(value)]) if told else None
    return found


def _of_node(own: Mappings[str, Column], common: Mappings[str, Column]) -> tuple[dict[str, ColumnMap], list[str]]:
    part: dict[str, ColumnMap] = {}
    left: list[str] = []
    spare = {name: column for name, column in own.items() if name not in common}
    for name, wanted in common.items():
        source = name if name in own else _namesake(wanted, spare)
        if source is None:
            left.append(f"nothing here looks like {name!r}")
            continue
        spare.pop(source, None)
        found, why = _map(own[source], wanted)
        if why is not None:
            left.append(f"{source!r} and the common {name!r}: {why}")
        if found is not None and (source != name or found != ColumnMap(source)):
            part[name] = found
    left += [f"{name!r} is at no other node" for name in spare if _namesake(spare[name], common) is None]
    return part, left


def _map(here: Column, wanted: Column) -> tuple[ColumnMap | None, str | None]:
    """Return how a column becomes the common one, and what is not clear about it."""
    source = str(here["name"])
    own, other = here.get("unit"), wanted.get("unit")
    if own and other and _plain(own) != _plain(other):
        found = conversion(str(own), str(other), f"{source} {wanted['name']}")
        if found is None:
            return ColumnMap(source), f"its unit is {own}, not {other}, and no factor between them is known"
        return ColumnMap(source, *found, unit=str(other)), None
    ours, theirs = here.get("categories"), wanted.get("categories")
    if ours and theirs and set(map(repr, ours)) != set(map(repr, theirs)):
        pairs, strange = _recode(ours, theirs)
        why = f"no code is known for {', '.join(map(repr, strange[:5]))}" if strange else None
        return ColumnMap(source, recode=tuple(pairs)), why
    kinds = kind_of_dtype(str(here.get("dtype", ""))), kind_of_dtype(str(wanted.get("dtype", "")))
    if kinds[0] != kinds[1]:
        return ColumnMap(source), f"it is {kinds[0]} here, not {kinds[1]}"
    if not (own and other):
        why = _far(here.get("range"), wanted.get("range"))
        if why is not None:
            return ColumnMap(source), why
    return ColumnMap(source), None


def _recode(ours: Sequence[Any], theirs: Sequence[Any]) -> tuple[list[tuple[Any, Any]], list[Any]]:
    """Return pairs (code here, common code) of codes that differ, and those that nothing is known for."""
    common = {_meaning(code): code for code in theirs}
    taken = [code for code in ours if code in theirs]
    pairs: list[tuple[Any, Any]] = []
    strange = []
    for code in ours:
        if code in theirs:
            continue
        match = common.get(_meaning(code))
        if match is None and isinstance(code, str):
            starts = [
                other
                for other in theirs
                if isinstance(other, str) and other not in taken and _begins(code.casefold(), other.casefold())
            ]
            match = starts[0] if len(starts) == 1 else None
        if match is None or match in taken or match in [right for _, right in pairs]:
            strange.append(code)
        else:
            pairs.append((code, match))
    return pairs, strange


def _meaning(code: Any) -> str:
    text = str(int(code)) if isinstance(code, float) and code.is_integer() else str(code)
    plain = text.strip().casefold()
    return _CODES.get(plain, plain)


def _begins(first: str, second: str) -> bool:
    return bool(first and second) and (first.startswith(second) or second.startswith(first))


def _far(ours: Any, theirs: Any) -> str | None:
    """Say that ranges make it look as if units differed, where no unit is declared."""
    if not ours or not theirs:
        return None
    sizes = [max(abs(float(end)) for end in each) for each in (ours, theirs)]
    if min(sizes) > 0 and max(sizes) / min(sizes) > 5:
        return "its values are of another size, as if its unit were another one; declare the units"
    return None


def _namesake(column: Column, among: Mappings[str, Column]) -> str | None:
    """Return the name of the column that is meant by another name, or None."""
    name = str(column["name"])
    scored = []
    for other, candidate in among.items():
        kinds = kind_of_dtype(str(column.get("dtype", ""))), kind_of_dtype(str(candidate.get("dtype", "")))
        codes = bool(column.get("categories")) and bool(candidate.get("categories"))
        if kinds[0] != kinds[1] and not codes:
            continue
        score = _similar(name, other)
        if score >= _ALIKE:
            scored.append((score, other))
    if not scored:
        return None
    scored.sort(key=lambda pair: -pair[0])
    if len(scored) > 1 and math.isclose(scored[0][0], scored[1][0]):
        return None  # which of them is for people to say
    return scored[0][1]


def _similar(first: str, second: str) -> float:
    one, two = _words(first), _words(second)
    if not one or not two:
        return 0.0
    joined = "".join(one), "".join(two)
    if joined[0] == joined[1]:
        return 1.0
    if len(one) != len(two) and (set(one) <= set(two) or set(two) <= set(one)):
        return 0.95  # "weight" and "weight kg", "patient age" and "age"
    return difflib.SequenceMatcher(None, *joined, autojunk=False).ratio()


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.sub(r"[\W_]+", " ", apart).casefold().split()


def _plain(unit: Any) -> str:
    return re.sub(r"\s+", "", str(unit)).casefold()


def _field(column: Column, field: str) -> Any:
    value = column.get("dtype" if field == "type" else field)
    return tuple(value) if isinstance(value, list) else value


__all__ = ["FIELDS", "columns_told", "described", "differences", "suggest"]
