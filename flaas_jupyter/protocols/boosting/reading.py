"""What the questions of boosting have in common on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from ...errors import InvalidInput

KIND = "tree_histogram"
VERSION = 1
MAXIMUM_CELLS = 1 << 18
"""Of one step."""


def require_parts(document: Any, ask: str, parts: Iterable[str]) -> None:
    """Refuse what is not a question of that kind, and parts that mean nothing.

    Raises
    ------
    InvalidInput
        ``boosting-bad-statistic``.
    """
    if not isinstance(document, Mapping) or document.get("kind") != KIND or document.get("ask") != ask:
        raise bad_statistic(f"it is not of kind {KIND!r}, asking for {ask!r}")
    if document.get("v") != VERSION:
        raise bad_statistic(f"its version is {str(document.get('v'))[:20]}; this release reads {VERSION}")
    strange = sorted(str(name)[:40] for name in set(document) - {"v", "kind", "where", *parts})
    if strange:
        raise bad_statistic(f"it has unknown parts: {', '.join(strange[:5])}")


def named_edges(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns and their edges: two lists, as the order of columns counts.

    Raises
    ------
    InvalidInput
        ``boosting-bad-statistic``.
    """
    names, edges = document.get("names"), document.get("edges")
    if not isinstance(names, list) or not isinstance(edges, list) or len(names) != len(edges):
        raise bad_statistic("names and edges must be two lists of one length")
    if not all(isinstance(name, str) and 0 < len(name) <= 256 for name in names) or len(set(names)) != len(names):
        raise bad_statistic("its names must be different texts of up to 256 characters")
    return dict(zip(names, edges, strict=True))


def require_columns(wanted: Iterable[str], columns: Mapping[str, NDArray[Any]]) -> None:
    """Refuse columns that are not there.

    Raises
    ------
    InvalidInput
        ``unknown-column``.
    """
    absent = sorted(set(wanted) - set(columns))
    if absent:
        shown = ", ".join(list(columns)[:20])
        raise InvalidInput(f"There is no column {absent[0]!r}; there are {shown}.", code="unknown-column")


def bad_statistic(why: str) -> InvalidInput:
    """Return the error for what is no question of boosting."""
    return InvalidInput(f"This is no step of boosting: {why}.", code="boosting-bad-statistic")
