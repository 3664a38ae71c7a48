"""A table under way through the steps: its columns by name, each a part of a block that an engine computes with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InvalidInput
from .engine import Engine
from .values import Kind


class Blocks:
    """Columns in order; `put` replaces some in place, `expand` one by several.

    Parameters
    ----------
    engine : Engine
    columns : mapping of str to (str, block of shape (rows, 1))
        Kind and values of each column.
    """

    def __init__(self, engine: Engine, columns: Mapping[str, tuple[Kind, Any]]) -> None:
        self.engine = engine
        self.names = list(columns)
        self._kinds: dict[str, Kind] = {name: kind for name, (kind, _) in columns.items()}
        self._places: dict[str, tuple[Any, int, int]] = {name: (block, 0, 1) for name, (_, block) in columns.items()}
        self.defaults: dict[str, str] = {}
        """Texts that stand in for missing ones, by column."""

    def kind(self, name: str) -> Kind:
        """Return what a column is.

        Raises
        ------
        InvalidInput
            Code ``unknown-column``.
        """
        if name not in self._kinds:
            shown = ", ".join(self.names[:20]) + (" …" if len(self.names) > 20 else "")
            raise InvalidInput(
                f"There is no column {name[:80]!r} at this step of the preprocessing; there are {shown or 'none'}.",
                code="unknown-column",
                hint="One-hot encoding, text vectorisation and date parts take their column out.",
                column=name[:80],
            )
        return self._kinds[name]

    def require(self, names: Sequence[str], kind: Kind, step: str) -> None:
        """Refuse columns that are not there or of another kind."""
        for name in names:
            if self.kind(name) != kind:
                raise InvalidInput(
                    f"{step} takes {kind} columns; {name!r} is {self.kind(name)}.",
                    code="wrong-column-kind",
                    hint="Text becomes numbers by OneHot, TextVectorize, DateParts, or a Mapping that recodes it.",
                    column=name,
                )

    def take(self, names: Sequence[str]) -> Any:
        """Return columns side by side, shape (rows, len(names))."""
        runs: list[tuple[Any, int, int, int]] = []
        for name in names:
            block, at, width = self._places[name]
            if runs and runs[-1][0] is block and runs[-1][2] == at:
                runs[-1] = (block, runs[-1][1], at + 1, width)
            else:
                runs.append((block, at, at + 1, width))
        pieces = [
            block if stop - start == width else self.engine.slice(block, start, stop)
            for block, start, stop, width in runs
        ]
        return pieces[0] if len(pieces) == 1 else self.engine.join(pieces)

    def put(self, names: Sequence[str], block: Any) -> None:
        """Replace columns by those of a block."""
        for at, name in enumerate(names):
            self._places[name] = (block, at, len(names))

    def expand(self, name: str, names: Sequence[str], block: Any) -> None:
        """Put numbers in the place of one column.

        Raises
        ------
        InvalidInput
            Code ``duplicate-columns``.
        """
        self._insert(name, names, block)
        self.drop([name])

    def add(self, after: str, names: Sequence[str], block: Any) -> None:
        """Add numbers behind a column; `InvalidInput` (code ``duplicate-columns``) if one is there already."""
        self._insert(after, names, block)

    def _insert(self, after: str, names: Sequence[str], block: Any) -> None:
        twice = sorted(set(names) & set(self._kinds))
        if twice or len(set(names)) != len(names):
            raise InvalidInput(
                f"The preprocessing makes a column twice: {', '.join(twice[:5]) or 'in one step'}.",
                code="duplicate-columns",
            )
        at = self.names.index(after) + 1
        self.names[at:at] = names
        self._kinds.update(dict.fromkeys(names, "number"))
        self.put(names, block)

    def drop(self, names: Sequence[str]) -> None:
        """Take columns out."""
        gone = set(names)
        self.names = [name for name in self.names if name not in gone]
        for name in gone:
            self._kinds.pop(name, None)
            self._places.pop(name, None)
