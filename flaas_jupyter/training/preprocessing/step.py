"""A step as it is declared, and as it is once fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from ...errors import InvalidInput
from .blocks import Blocks
from .statistics import Statistics


class Fitted(ABC):
    """A fitted step: plain data, and what it does to columns."""

    kind: ClassVar[str]
    """Names the step in a recipe."""

    @classmethod
    @abstractmethod
    def read(cls, data: dict[str, Any]) -> Fitted:
        """Check `to_dict`'s form and return the step.

        Raises
        ------
        InvalidInput
            Code ``bad-recipe``.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the step as JSON values, its `kind` among them."""

    @abstractmethod
    def run(self, blocks: Blocks) -> None:
        """Change the columns, with nothing but what the engine of `blocks` has.

        Raises
        ------
        InvalidInput
            ``unknown-column``, ``wrong-column-kind``, ``duplicate-columns``.
        """


class Step(ABC):
    """A step as it is declared."""

    @property
    @abstractmethod
    def questions(self) -> int:
        """How many private answers fitting it takes: ε is divided by their number."""

    @abstractmethod
    def fit(self, statistics: Statistics) -> Fitted:
        """Return the fitted step.

        Raises
        ------
        InvalidInput
            ``unknown-column``, ``wrong-column-kind``; ``statistic-withheld``: the owners' rules withhold what it needs.
        """


def names_of(columns: str | Sequence[str], step: str) -> tuple[str, ...]:
    """Return the columns that a step was declared with.

    Raises
    ------
    InvalidInput
        Code ``bad-step``.
    """
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise InvalidInput(
            f"{step} takes a column's name or a list of different names, not {columns!r}.", code="bad-step"
        )
    return names


def one_of(value: Any, allowed: Sequence[str], what: str) -> str:
    """Return a word that is allowed; `InvalidInput` (code ``bad-step``) otherwise."""
    if value not in allowed:
        raise InvalidInput(f"{what} is {value!r}; allowed are {', '.join(map(repr, allowed))}.", code="bad-step")
    return str(value)


def whole(value: Any, what: str, most: int) -> int:
    """Return a whole number from 1 to `most`; `InvalidInput` (code ``bad-step``) otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidInput(f"{what} is {value!r}; allowed is a whole number from 1 to {most:,}.", code="bad-step")
    return value


def require(statistics: Statistics, names: Sequence[str], kind: str, step: str) -> None:
    """Refuse columns that the raw data do not have, or have as another kind."""
    for name in names:
        if name not in statistics.kinds:
            shown = ", ".join(list(statistics.kinds)[:20]) + (" …" if len(statistics.kinds) > 20 else "")
            raise InvalidInput(
                f"{step} names the column {name!r}, which the data do not have; there are {shown or 'none'}.",
                code="unknown-column",
                hint="Statistics are of raw columns: a step cannot be fitted on what another step makes.",
                column=name,
            )
        if statistics.kinds[name] != kind:
            raise InvalidInput(
                f"{step} takes {kind} columns; {name!r} is {statistics.kinds[name]}.",
                code="wrong-column-kind",
                hint="Text becomes numbers by OneHot, TextVectorize, DateParts, or a Mapping that recodes it.",
                column=name,
            )
