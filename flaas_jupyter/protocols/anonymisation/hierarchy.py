"""Generalisation hierarchies: each value's ancestors, from near to far, up to one root for all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from ...errors import InvalidInput

ROOT = "*"
MAXIMUM_LEVELS = 32


class Hierarchy:
    """A tree whose leaves are values.

    Parameters
    ----------
    ancestors : mapping of str to sequence of str
        Value to its ancestors, the nearest first. The root ``"*"`` may be left out.
    name : str
        Of the attribute, for messages.

    Raises
    ------
    InvalidInput
        ``anonymise-bad-hierarchy``: an ancestor has different parents in different places, or is a value itself
        elsewhere.

    Examples
    --------
    >>> tree = Hierarchy({"Bonn": ["Germany"], "Ulm": ["Germany"], "Lyon": ["France"]}, "city")
    >>> tree.common(["Bonn", "Ulm"]), tree.common(["Bonn", "Lyon"])
    ('Germany', '*')
    """

    def __init__(self, ancestors: Mapping[str, Sequence[str]], name: str) -> None:
        self.name = name
        self._parent: dict[str, str] = {}
        self._leaves: dict[str, int] = {}
        values = set(ancestors)
        for value, listed in ancestors.items():
            chain = [value, *(each for each in listed if each != value)]
            if chain[-1] != ROOT:
                chain.append(ROOT)
            if len(chain) > MAXIMUM_LEVELS or len(set(chain)) != len(chain):
                raise self._bad(f"the ancestors of {value!r} repeat or are more than {MAXIMUM_LEVELS}")
            for child, parent in itertools.pairwise(chain):
                if parent in values:
                    raise self._bad(f"{parent!r} is a value and an ancestor")
                if self._parent.setdefault(child, parent) != parent:
                    raise self._bad(f"{child!r} has two parents, {self._parent[child]!r} and {parent!r}")
            for node in chain:
                self._leaves[node] = self._leaves.get(node, 0) + 1
        self._paths = {value: self._path(value) for value in ancestors}

    @property
    def values(self) -> list[str]:
        """The leaves."""
        return list(self._paths)

    def leaves_under(self, node: str) -> int:
        """Return how many values a node stands for."""
        return self._leaves[node]

    def common(self, values: Iterable[str]) -> str:
        """Return the lowest node that stands for all of `values`, at least one."""
        paths = [self._paths[value] for value in values]
        lowest = ROOT
        for nodes in zip(*paths, strict=False):
            if len(set(nodes)) > 1:
                break
            lowest = nodes[0]
        return lowest

    def below(self, node: str, value: str) -> str:
        """Return the child of `node` that stands for `value`; `value` itself if that is `node`."""
        path = self._paths[value]
        place = path.index(node)
        return path[min(place + 1, len(path) - 1)]

    def _path(self, value: str) -> list[str]:
        path = [value]
        while path[-1] != ROOT:
            path.append(self._parent[path[-1]])
        return path[::-1]

    def _bad(self, why: str) -> InvalidInput:
        return InvalidInput(
            f"The hierarchy of {self.name!r} is not a tree: {why}.",
            code="anonymise-bad-hierarchy",
            hint='Give each value its ancestors, nearest first: {"Bonn": ["Germany", "Europe"], …}.',
        )
