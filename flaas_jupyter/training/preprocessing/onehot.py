"""One column of 0 and 1 for each category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidInput
from . import limits
from .blocks import Blocks
from .engine import FIRST, MISSING, UNKNOWN
from .statistics import Statistics
from .step import Fitted, Step, names_of, one_of, require, whole

_APART = ("ignore", "column")


@dataclass(frozen=True)
class OneHot(Step):
    """Turn categories, texts or numbers, into columns ``<column>=<category>`` of 0 and 1.

    Parameters
    ----------
    columns : str or sequence of str
    categories : sequence, or mapping by column; optional
        What there is. Without, they are looked up: those that at least as many rows of all nodes have as the owners
        want of a group (`analytics.categories`).
    most : int
        Of those that are looked up, so many of the most frequent ones.
    unknown, missing : str
        ``"ignore"``: another category, or none, is all zeros; ``"column"``: it has a column of its own.

    Raises
    ------
    InvalidInput
        Code ``bad-step``.
    """

    columns: str | Sequence[str]
    categories: Any = None
    most: int = 256
    unknown: str = "ignore"
    missing: str = "ignore"

    def __post_init__(self) -> None:
        names = names_of(self.columns, "OneHot")
        whole(self.most, "most", limits.VOCABULARY)
        one_of(self.unknown, _APART, "unknown")
        one_of(self.missing, _APART, "missing")
        for name in names:
            given = self._given(name)
            if given is not None and (len({_kind(value) for value in given}) != 1 or len(set(given)) != len(given)):
                raise InvalidInput(
                    f"The categories of {name!r} must be different texts, or different numbers, at least one.",
                    code="bad-step",
                )
            if given is not None:
                _require_apart(name, given)

    def _given(self, name: str) -> Any:
        return self.categories.get(name) if hasattr(self.categories, "get") else self.categories

    @property
    def questions(self) -> int:
        """How many private answers fitting it takes."""
        return sum(self._given(name) is None for name in names_of(self.columns, "OneHot"))

    def fit(self, statistics: Statistics) -> OneHotEncoded:
        """Return the fitted step."""
        found: list[tuple[str | float, ...]] = []
        names = names_of(self.columns, "OneHot")
        for name in names:
            given = self._given(name)
            kind = statistics.kinds.get(name, "number") if given is None else _kind(given[0])
            require(statistics, [name], kind, "OneHot with these categories" if given is not None else "OneHot")
            listed = statistics.categories(name, self.most) if given is None else given
            if not len(listed):
                raise InvalidInput(
                    f"No category of {name!r} has enough rows to be told.",
                    code="statistic-withheld",
                    hint="List them: OneHot(..., categories=[...]).",
                    column=name,
                )
            _require_apart(name, listed)
            # In one order, whichever is more frequent where.
            found.append(tuple(sorted(str(v) if kind == "text" else float(v) for v in listed)))
        return OneHotEncoded(names, tuple(found), self.unknown == "column", self.missing == "column")


@dataclass(frozen=True)
class OneHotEncoded(Fitted):
    """Categories of each column: texts, or numbers.

    Numbers are compared as float32, which Keras makes of every input: a served model finds the same ones.
    """

    kind = "one_hot"

    names: tuple[str, ...]
    categories: tuple[tuple[str | float, ...], ...]
    unknown: bool = False
    missing: bool = False

    @classmethod
    def read(cls, data: dict[str, Any]) -> OneHotEncoded:
        """Check `to_dict`'s form."""
        entries = limits.mapping(data, "a one-hot step", ("kind", "columns", "categories", "unknown", "missing"))
        names = limits.texts(entries["columns"], "columns", limits.COLUMNS)
        given = limits.sequence(entries["categories"], "categories", len(names))
        if len(given) != len(names) or not names:
            raise limits.bad("a one-hot step needs categories of each column")
        flags = (limits.flag(entries[name], name) for name in ("unknown", "missing"))
        return cls(tuple(names), tuple(_read_categories(listed) for listed in given), *flags)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "kind": self.kind,
            "columns": list(self.names),
            "categories": [list(listed) for listed in self.categories],
            "unknown": self.unknown,
            "missing": self.missing,
        }

    def run(self, blocks: Blocks) -> None:
        """Make the columns."""
        for name, categories in zip(self.names, self.categories, strict=True):
            text = isinstance(categories[0], str)
            blocks.require([name], "text" if text else "number", "OneHot")
            found = self._of_text(blocks, name, categories) if text else self._of_numbers(blocks, name, categories)
            labels = [_label(category) for category in categories]
            labels += (["<other>"] if self.unknown else []) + (["<missing>"] if self.missing else [])
            blocks.expand(name, [f"{name}={label}" for label in labels], found)

    def _of_text(self, blocks: Blocks, name: str, categories: Sequence[Any]) -> Any:
        engine, ops = blocks.engine, blocks.engine.ops
        places = engine.lookup(blocks.take([name]), [str(category) for category in categories])
        default = blocks.defaults.get(name)
        if default is not None:
            stands = FIRST + categories.index(default) if default in categories else UNKNOWN
            places = ops.where(ops.equal(places, MISSING), stands, places)
        wanted = [FIRST + place for place in range(len(categories))]
        wanted += ([UNKNOWN] if self.unknown else []) + ([MISSING] if self.missing else [])
        return engine.cast(ops.equal(places, np.array([wanted], np.int64)), "float64")

    def _of_numbers(self, blocks: Blocks, name: str, categories: Sequence[Any]) -> Any:
        engine, ops = blocks.engine, blocks.engine.ops
        column = engine.cast(blocks.take([name]), "float32")
        known = engine.cast(ops.equal(column, np.array([categories], np.float32)), "float64")
        gone = engine.cast(ops.logical_not(ops.isfinite(column)), "float64")
        parts = [known]
        if self.unknown:
            parts.append(ops.subtract(ops.subtract(1.0, ops.sum(known, axis=1, keepdims=True)), gone))
        if self.missing:
            parts.append(gone)
        return parts[0] if len(parts) == 1 else engine.join(parts)


def _read_categories(data: object) -> tuple[str | float, ...]:
    listed = limits.sequence(data, "categories", limits.VOCABULARY)
    if listed and all(isinstance(value, str) for value in listed):
        return tuple(limits.texts(listed, "categories", limits.VOCABULARY))
    found = tuple(limits.numbers(listed, "categories", len(listed)))
    if not found or _collide(found):
        raise limits.bad("categories must be different texts, or numbers that differ as float32, at least one")
    return found


def _collide(categories: Sequence[Any]) -> bool:
    """Tell whether two numbers are the same as float32, or one is none."""
    with np.errstate(over="ignore"):
        rounded = np.array(categories, np.float64).astype(np.float32)
    return bool(len(np.unique(rounded)) != len(rounded) or not np.isfinite(rounded).all())


def _require_apart(name: str, categories: Sequence[Any]) -> None:
    if _kind(categories[0]) == "number" and _collide(categories):
        raise InvalidInput(
            f"Two categories of {name!r} are the same number as float32, which Keras computes with, or too large for "
            "it.",
            code="bad-step",
            hint="Register such codes as text, or give categories= that differ in their first seven digits.",
            column=name,
        )


def _kind(value: Any) -> Any:
    return "text" if isinstance(value, str) else "number"


def _label(category: str | float) -> str:
    if isinstance(category, str):
        return category
    return str(int(category)) if category.is_integer() and abs(category) < 1e15 else repr(category)
