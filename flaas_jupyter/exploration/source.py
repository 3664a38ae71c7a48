"""What is explored: the one interface of real nodes, of a simulation, and of an owner's own rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..analytics.source import Source

Json = dict[str, Any]

LEVELS = ("nothing", "schema", "private", "aggregates", "owner")
"""What may be seen, the strictest first."""
OPEN = ("private", "aggregates", "owner")
"""Levels at which statistics are told."""


@dataclass(frozen=True)
class Described:
    """What is known of a data set without asking a node.

    Attributes
    ----------
    dataset : str
    project : str or None
    level : str
        Of `LEVELS`: what the caller gets over all nodes.
    rows : int or None
    nodes : list of dict
        ``node``, ``name``, ``organisation``, ``rows``, ``level``, ``online``, ``drift``, ``problem``.
    columns : list of dict
        ``name``, ``dtype``, ``kind`` (``"number"``, ``"text"``, ``"label"``), ``classes``, ``role``, ``unit``,
        ``description``, ``range``, ``categories``, ``differences`` between the nodes (``node``, ``field``, ``value``).
    notes : tuple of str
        What is to be said about it.
    """

    dataset: str
    project: str | None
    level: str
    rows: int | None
    nodes: list[Json]
    columns: list[Json]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """What the nodes themselves say of what the caller may see.

    Attributes
    ----------
    nodes : dict of str to dict
        By id: ``level``, ``drift``, ``problem`` (None, or code, message and hint).
    budget : list of dict
        ``node`` (name), ``spent``, ``budget``, ``remaining`` (ε; None without a limit).
    """

    nodes: Mapping[str, Json]
    budget: list[Json] = field(default_factory=list)


class Explored(Protocol):
    """A data set, as far as it can be explored."""

    @property
    def source(self) -> Source:
        """Where statistics come from."""

    def describe(self) -> Described:
        """Return what is known without asking a node."""

    def look(self) -> Looked:
        """Ask every node what the caller may see there; each enters it in its log."""
