"""What a question is about: a condition on rows, and derived columns; as the statistics' JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from ..errors import InvalidInput
from ..protocols.analytics import expressions

Tree = dict[str, Any]


@runtime_checkable
class Condition(Protocol):
    """Something with an expression, such as a `Column`."""

    @property
    def expression(self) -> Tree:
        """The JSON form of `flaas_jupyter.protocols.analytics.expressions`."""


@dataclass(frozen=True)
class Scope:
    """Condition and derived columns.

    Attributes
    ----------
    where : dict or None
        Condition.
    assign : tuple of (str, dict)
        Derived columns, in order.
    """

    where: Tree | None = None
    assign: tuple[tuple[str, Tree], ...] = ()

    @property
    def kinds(self) -> dict[str, expressions.Kind]:
        """What derived columns are: numbers or conditions."""
        found: dict[str, expressions.Kind] = {}
        for name, tree in self.assign:
            found[name] = expressions.parse(tree, found).kind
        return found

    @property
    def conditions(self) -> frozenset[str]:
        """Derived columns that are true or false."""
        return frozenset(name for name, kind in self.kinds.items() if kind == "boolean")

    @property
    def columns(self) -> frozenset[str]:
        """Columns that condition and derived columns name."""
        trees = [tree for _, tree in self.assign] + ([] if self.where is None else [self.where])
        return frozenset().union(*(expressions.parse(tree, self.kinds).columns for tree in trees))

    def kind(self, tree: Tree) -> expressions.Kind:
        """Return what an expression is.

        Raises
        ------
        InvalidInput
            Code ``bad-expression``.
        """
        return expressions.parse(tree, self.kinds).kind

    def filtered(self, condition: Any) -> Scope:
        """Return the scope with one condition more.

        Raises
        ------
        InvalidInput
            ``bad-condition``, ``bad-expression``.
        """
        tree = _tree(condition)
        if tree is None or self.kind(tree) != "boolean":
            raise InvalidInput(
                f"where is {condition!r}, not a condition on rows.",
                code="bad-condition",
                hint='For example federation.frame()["age"] > 30.',
            )
        both = tree if self.where is None else {"op": "and", "args": [self.where, tree]}
        return replace(self, where=both)

    def assigned(self, name: str, tree: Tree) -> Scope:
        """Return the scope with one derived column more.

        Raises
        ------
        InvalidInput
            Code ``derived-twice``: a condition or another derived column uses what has this name.
        """
        taken = self.columns | {known for known, _ in self.assign}
        if name in taken:
            raise InvalidInput(
                f"{name!r} is used by a condition or a derived column already.",
                code="derived-twice",
                hint="Give the new column another name.",
            )
        self.kind(tree)
        return replace(self, assign=(*self.assign, (name, tree)))

    def named(self, column: Any) -> tuple[Scope, str]:
        """Return the name that a column or expression is measured by, and the scope that knows it."""
        if isinstance(column, str):
            return self, column
        tree = _tree(column)
        if tree is None:
            raise InvalidInput(f"{column!r} is not a column.", code="bad-columns")
        if set(tree) == {"column"}:
            return self, str(tree["column"])
        for name, known in self.assign:
            if known == tree:
                return self, name
        name = str(getattr(column, "name", None) or "value")
        taken = self.columns | {known for known, _ in self.assign}
        while name in taken:
            name = f"_{name}"
        return self.assigned(name, tree), name


def _tree(given: Any) -> Tree | None:
    if isinstance(given, Condition):
        return given.expression
    return dict(given) if isinstance(given, Mapping) else None
