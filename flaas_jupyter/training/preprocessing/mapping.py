"""Columns of one node under the names, units and codes that all nodes agree on.

A mapping has a part for each node whose columns differ: where each common column is found there, what its numbers are
multiplied with and shifted by, and which code stands for which. It is plain data, known by its digest; owners adopt a
version of it (`flaas dataset map`), or it travels with a model's preprocessing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping as Mappings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from . import limits
from .values import columns_of, missing_of, numbers

VERSION = 1
NODES = 10_000
CODES = 10_000


@dataclass(frozen=True)
class ColumnMap:
    """Where a common column comes from at one node.

    Parameters
    ----------
    source : str
        The column's name there.
    factor, offset : float
        A number becomes ``factor * number + offset``.
    recode : tuple of (value, value)
        Code there, common code; 1 and 1.0 are the same, and fractions are compared as float32. What is not listed
        stays, as far as it is of the kind of the common codes: among numbers a text is missing, among texts a number is
        written as one.
    unit : str, optional
        The common column's.
    """

    source: str
    factor: float = 1.0
    offset: float = 0.0
    recode: tuple[tuple[str | float, str | float], ...] = ()
    unit: str | None = None

    def __post_init__(self) -> None:
        pairs = tuple((_value(left), _value(right)) for left, right in self.recode)
        object.__setattr__(self, "recode", pairs)
        object.__setattr__(self, "factor", limits.number(self.factor, "factor"))
        object.__setattr__(self, "offset", limits.number(self.offset, "offset"))
        if self.factor == 0.0:
            raise limits.bad("a factor must be another number than 0")
        if self.unit is not None:
            limits.text(self.unit, "unit", 40)
        if self.recode and (self.factor, self.offset) != (1.0, 0.0):
            raise limits.bad("a column is recoded, or multiplied and shifted, but not both")
        if len({_code(left) for left, _ in self.recode}) != len(self.recode):
            raise limits.bad("a code is recoded twice, or two are the same as float32")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "source": self.source,
            "factor": self.factor,
            "offset": self.offset,
            "recode": [list(pair) for pair in self.recode],
            "unit": self.unit,
        }

    @classmethod
    def from_dict(cls, data: object) -> ColumnMap:
        """Read `to_dict`'s form.

        Raises
        ------
        InvalidInput
            Code ``bad-recipe``.
        """
        entries = limits.mapping(data, "a mapped column", ("source", "factor", "offset", "recode", "unit"))
        pairs = []
        for pair in limits.sequence(entries["recode"], "recode", CODES):
            both = limits.sequence(pair, "a pair of codes", 2)
            if len(both) != 2:
                raise limits.bad("a pair of codes has two")
            pairs.append((both[0], both[1]))
        return cls(
            limits.text(entries["source"], "source"),
            limits.number(entries["factor"], "factor"),
            limits.number(entries["offset"], "offset"),
            tuple(pairs),
            entries["unit"],
        )

    @property
    def as_it_is(self) -> bool:
        """Whether values stay what they are."""
        return not self.recode and (self.factor, self.offset) == (1.0, 0.0)

    @property
    def gives(self) -> str | None:
        """What the values become: ``"text"``, ``"whole"`` or ``"number"``; None where they stay what they are."""
        if self.as_it_is:
            return None
        if not self.recode:
            return "number"
        right = [value for _, value in self.recode]
        if any(isinstance(value, str) for value in right):
            return "text"
        return "whole" if all(float(value).is_integer() for value in right) else "number"

    def values(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return the common column's values."""
        if self.as_it_is:
            return column
        if self.recode:
            return self._recoded(column)
        return numbers(column, self.source) * self.factor + self.offset

    def _recoded(self, column: NDArray[Any]) -> NDArray[Any]:
        codes = {_code(left): right for left, right in self.recode}
        gone = missing_of(column).tolist()
        found = [
            None if missing else codes.get(_code(value), value)
            for value, missing in zip(column.tolist(), gone, strict=True)
        ]
        if self.gives == "text":
            made = np.empty(len(found), object)
            made[:] = [None if value is None else value if isinstance(value, str) else f"{value:g}" for value in found]
            return made
        numbers_ = np.array([math.nan if value is None or isinstance(value, str) else float(value) for value in found])
        whole = self.gives == "whole" and bool((numbers_ == np.trunc(numbers_)).all())
        return numbers_.astype(np.int64) if whole else numbers_


@dataclass(frozen=True)
class Mapping:
    """What the columns of each node are called, measured in and coded by; `federation.suggest_mapping()` makes one.

    Parameters
    ----------
    nodes : mapping of str to mapping of str to ColumnMap
        Node id to common column to where it comes from; what is not named stays as it is.
    unresolved : tuple of str
        Differences that nothing was suggested for, in words; they are no part of the digest.
    names : mapping of str to str
        Node id to the name to show; neither are these.

    Examples
    --------
    >>> mapping = Mapping({"b": {"weight": ColumnMap("wt_lb", factor=0.45359237)}})
    >>> mapping.apply({"wt_lb": [200.0]}, "b")["weight"].tolist()
    [90.718474]
    """

    nodes: Mappings[str, Mappings[str, ColumnMap]]
    unresolved: tuple[str, ...] = ()
    names: Mappings[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for node, columns in self.nodes.items():
            sources = [column.source for column in columns.values()]
            if len(set(sources)) != len(sources):
                raise InvalidInput(
                    f"Two common columns come from one column of node {self.names.get(node, node)[:64]!r}.",
                    code="bad-mapping",
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping as JSON values; `from_dict` reads them."""
        return {
            "v": VERSION,
            "nodes": {
                node: {name: column.to_dict() for name, column in columns.items()}
                for node, columns in self.nodes.items()
                if columns
            },
        }

    @classmethod
    def from_dict(cls, data: object) -> Mapping:
        """Read a mapping that came from elsewhere.

        Raises
        ------
        InvalidInput
            Code ``bad-recipe``.
        """
        entries = limits.mapping(data, "a mapping", ("v", "nodes"))
        if entries["v"] != VERSION or isinstance(entries["v"], bool):
            raise limits.bad(f"it is a mapping of version {str(entries['v'])[:20]!r}; this release reads {VERSION}")
        given = entries["nodes"]
        if not isinstance(given, dict) or len(given) > NODES:
            raise limits.bad(f"a mapping is of up to {NODES:,} nodes")
        nodes: dict[str, dict[str, ColumnMap]] = {}
        for node, columns in given.items():
            if not isinstance(columns, dict) or len(columns) > limits.COLUMNS:
                raise limits.bad("a node's part of a mapping is no mapping of columns")
            nodes[limits.text(node, "a node")] = {
                limits.text(name, "a column"): ColumnMap.from_dict(column) for name, column in columns.items()
            }
        return cls(nodes)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form, 64 hex digits: what a version is known by."""
        return digest_of(self.to_dict())

    def apply(self, table: Any, node: str) -> Any:
        """Return a node's table under the common names.

        Parameters
        ----------
        table : DataFrame, or mapping of arrays
        node : str
            The node's id, as in `nodes`; or its name.

        Returns
        -------
        DataFrame or dict of ndarray
            As `table`; a common column stands where its source stood.

        Raises
        ------
        InvalidInput
            ``recipe-does-not-fit``: a source is not there; ``duplicate-columns``.
        """
        ids = {shown: each for each, shown in self.names.items()}
        part = self.nodes.get(node, self.nodes.get(ids.get(node, node), {}))
        columns = columns_of(table)
        found = map_columns(part, columns)
        if isinstance(table, Mappings):
            return found
        import pandas as pd

        return pd.DataFrame(found, index=getattr(table, "index", None))

    @property
    def table(self) -> Any:
        """One row for each mapped column of each node, as a DataFrame."""
        import pandas as pd

        rows = [
            {
                "node": self.names.get(node, node),
                "column": name,
                "source": column.source,
                "factor": column.factor,
                "offset": column.offset,
                "recode": dict(column.recode) or None,
            }
            for node, columns in self.nodes.items()
            for name, column in columns.items()
        ]
        return pd.DataFrame(rows, columns=["node", "column", "source", "factor", "offset", "recode"])

    def _repr_html_(self) -> str:
        import html

        listed = "".join(f"<li>{html.escape(each)}</li>" for each in self.unresolved)
        left = f"<p>Nothing is suggested for:</p><ul>{listed}</ul>" if listed else ""
        return f"<div>{self.table.to_html(index=False)}{left}</div>"


def map_columns(part: Mappings[str, ColumnMap], columns: Mappings[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return columns under their common names; see `Mapping.apply`."""
    common = {column.source: (name, column) for name, column in part.items()}
    absent = sorted(set(common) - set(columns))
    if absent:
        raise InvalidInput(
            f"The mapping takes {', '.join(absent[:5])!r}, which this data set does not have.",
            code="recipe-does-not-fit",
            hint="The columns have changed since: suggest a new version, federation.suggest_mapping().",
            columns=absent[:50],
        )
    found: dict[str, NDArray[Any]] = {}
    for source, values in columns.items():
        name, column = common.get(source, (source, None))
        if name in found or (name != source and name in columns and name not in common):
            raise InvalidInput(
                f"The mapping calls {source!r} {name!r}, which is the name of another column.",
                code="duplicate-columns",
                column=name,
            )
        found[name] = values if column is None else column.values(values)
    return found


def digest_of(data: Any) -> str:
    """Return the SHA-256 of JSON values in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _value(data: object) -> str | float:
    return limits.text(data, "a code", empty=True) if isinstance(data, str) else limits.number(data, "a code")


def _code(value: Any) -> tuple[str, Any]:
    """A code as it is compared: a text is never a number, and a fraction is the same in float32 and float64."""
    if isinstance(value, str):
        return ("text", value)
    exact = float(value)
    with np.errstate(over="ignore"):
        return ("number", exact if exact.is_integer() else float(np.float32(exact)))


__all__ = ["ColumnMap", "Mapping", "digest_of", "map_columns"]
