"""Groups of an answer: keys whose groups are known without looking at the data, and the pandas index they make."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InvalidInput


@dataclass(frozen=True)
class Groups:
    """Keys and their groups.

    Attributes
    ----------
    names : tuple of str
    keys : list of dict
        As statistics have them.
    levels : list of pandas Index
        The groups of each key.
    """

    names: tuple[str, ...] = ()
    keys: tuple[dict[str, Any], ...] = ()
    levels: tuple[pd.Index[Any], ...] = ()

    @property
    def size(self) -> int:
        """Number of groups; 1 without keys."""
        return math.prod(len(level) for level in self.levels)

    @property
    def index(self) -> pd.Index[Any]:
        """The groups, the last key's next to each other."""
        if len(self.levels) == 1:
            return self.levels[0]
        return pd.MultiIndex.from_product(self.levels, names=list(self.names))


def resolve(
    by: str | Sequence[str] | None,
    values: Mapping[str, Sequence[Any]] | Sequence[Any] | None,
    edges: Mapping[str, Sequence[float]] | Sequence[float] | None,
    schema: Sequence[Mapping[str, Any]],
    conditions: frozenset[str] = frozenset(),
) -> Groups:
    """Return the groups of `by`.

    Parameters
    ----------
    by : str, sequence of str or None
    values, edges : mapping by key, or sequence for a single key; optional
        What groups there are: values of the column, or where to cut it.
    schema : sequence of mapping
        Of the source; labels and truth values need neither values nor edges.
    conditions : frozenset of str
        Derived columns that are true or false.

    Raises
    ------
    InvalidInput
        ``groups-unknown``: a key without values or edges; ``bad-groups``.
    """
    if by is None:
        if values is not None or edges is not None:
            raise InvalidInput("values= and edges= are groups of by=, which is missing.", code="bad-groups")
        return Groups()
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"by is {by!r}; it must be a column's name or a list of them.", code="bad-groups")
    given_values, given_edges = (_by_key(given, names, what) for given, what in ((values, "values"), (edges, "edges")))
    described = {str(column["name"]): column for column in schema}
    keys, levels = [], []
    for name in names:
        if name in given_edges:
            cuts = [_plain(edge) for edge in given_edges[name]]
            keys.append({"column": name, "edges": cuts})
            _require_ascending(name, cuts)
            levels.append(pd.IntervalIndex.from_breaks(cuts, closed="left", name=name))
            continue
        listed = given_values.get(name)
        if listed is None:
            listed = _known(name, described.get(name, {}), conditions)
        plain = [_plain(value) for value in listed]
        keys.append({"column": name, "values": plain})
        levels.append(pd.Index(plain, name=name))
    return Groups(names, tuple(keys), tuple(levels))


def _by_key(given: Any, names: tuple[str, ...], what: str) -> dict[str, list[Any]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if len(names) != 1 or isinstance(given, str):
            raise InvalidInput(
                f"{what} must be a mapping from each key to its {what}; the keys are {', '.join(names)}.",
                code="bad-groups",
            )
        given = {names[0]: given}
    strange = sorted(str(name) for name in set(given) - set(names))
    if strange:
        raise InvalidInput(f"{what} names {', '.join(strange)}, which by does not.", code="bad-groups")
    return {name: list(listed) for name, listed in given.items()}


def _known(name: str, column: Mapping[str, Any], conditions: frozenset[str]) -> list[Any]:
    classes = column.get("classes")
    if classes is not None:
        return list(range(int(classes)))
    if name in conditions or str(column.get("dtype")) == "bool":
        return [False, True]
    raise InvalidInput(
        f"The groups of {name!r} are not known: looking them up in the rows would tell about single ones.",
        code="groups-unknown",
        hint=f'List them, values={{"{name}": [0, 1, 2]}}, or cut the column, edges={{"{name}": [0, 40, 60, 120]}}. '
        "Labels with a known number of classes and derived conditions need neither.",
        column=name,
    )


def _require_ascending(name: str, cuts: list[Any]) -> None:
    numbers = all(isinstance(cut, int | float) and not isinstance(cut, bool) for cut in cuts)
    if len(cuts) < 2 or not numbers or any(not low < high for low, high in itertools.pairwise(cuts)):
        raise InvalidInput(f"The edges of {name!r} must be at least two ascending numbers.", code="bad-groups")


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
