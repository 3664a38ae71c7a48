"""A fitted preprocessing: what becomes of raw columns, as plain data that is applied the same everywhere."""

from __future__ import annotations

import functools
from collections.abc import Mapping as Mappings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from . import limits
from .blocks import Blocks
from .dates import DatePartsTaken
from .engine import ArrayEngine
from .impute import Imputed
from .mapping import Mapping, digest_of, map_columns
from .onehot import OneHotEncoded
from .scale import Scaled
from .step import Fitted
from .text import TextVectorized
from .values import KINDS, Kind, numbers, texts

VERSION = 1
FITTED: dict[str, type[Fitted]] = {
    step.kind: step for step in (Imputed, Scaled, OneHotEncoded, TextVectorized, DatePartsTaken)
}
"""Fitted steps by the names that recipes have for them."""
_CELLS = 1 << 21
"""Values of the matrix that are under way at once."""


@dataclass(frozen=True)
class Recipe:
    """A fitted preprocessing.

    Parameters
    ----------
    inputs : tuple of (str, str)
        The raw columns that are taken, and whether each is ``"number"`` or ``"text"``.
    steps : tuple of Fitted
    outputs : tuple of str
        Columns of the matrix.
    mapping : Mapping, optional
        What the columns are called at nodes that call them otherwise.
    """

    inputs: tuple[tuple[str, Kind], ...]
    steps: tuple[Fitted, ...]
    outputs: tuple[str, ...]
    mapping: Mapping | None = None

    @classmethod
    def make(
        cls, inputs: Sequence[tuple[str, Kind]], steps: Sequence[Fitted], mapping: Mapping | None = None
    ) -> Recipe:
        """Return the recipe of fitted steps; what they leave are its outputs.

        Raises
        ------
        InvalidInput
            ``text-left``: a column of text became no number; ``unknown-column``, ``wrong-column-kind``,
            ``duplicate-columns``: the steps do not go together; ``bad-recipe``.
        """
        nothing = {name: np.empty(0, object if kind == "text" else np.float64) for name, kind in inputs}
        draft = cls(tuple(inputs), tuple(steps), (), mapping)
        blocks = draft._run(nothing)
        left = [name for name in blocks.names if blocks.kind(name) == "text"]
        if left:
            raise InvalidInput(
                f"Columns of text become no numbers: {', '.join(left[:10])}.",
                code="text-left",
                hint="Give them a step (OneHot, TextVectorize, DateParts), or leave them out with rest='drop'.",
                columns=left[:50],
            )
        if not 1 <= len(blocks.names) <= limits.COLUMNS:
            raise limits.bad(f"it makes {len(blocks.names):,} columns; allowed are 1 to {limits.COLUMNS:,}")
        return cls(tuple(inputs), tuple(steps), tuple(blocks.names), mapping)

    # ---- as data ---------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values; `from_dict` reads them."""
        return {
            "v": VERSION,
            "inputs": [list(pair) for pair in self.inputs],
            "steps": [step.to_dict() for step in self.steps],
            "mapping": None if self.mapping is None else self.mapping.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: object) -> Recipe:
        """Read a recipe that came from elsewhere; all of it is checked.

        Raises
        ------
        InvalidInput
            ``bad-recipe``, and those of `make`.
        """
        entries = limits.mapping(data, "it", ("v", "inputs", "steps", "mapping"))
        if entries["v"] != VERSION or isinstance(entries["v"], bool):
            raise limits.bad(f"it is of version {str(entries['v'])[:20]!r}; this release reads version {VERSION}")
        inputs: list[tuple[str, Kind]] = []
        for pair in limits.sequence(entries["inputs"], "inputs", limits.COLUMNS):
            name, kind = limits.sequence(pair, "an input", 2) if len(pair) == 2 else ("", "")
            inputs.append((limits.text(name, "a column's name"), limits.choice(kind, "a kind", KINDS)))  # type: ignore[arg-type]
        if len({name for name, _ in inputs}) != len(inputs):
            raise limits.bad("inputs has a column twice")
        steps = [_read_step(step) for step in limits.sequence(entries["steps"], "steps", limits.STEPS)]
        mapping = None if entries["mapping"] is None else Mapping.from_dict(entries["mapping"])
        return cls.make(inputs, steps, mapping)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form, 64 hex digits."""
        return digest_of(self.to_dict())

    @property
    def version(self) -> str:
        """The digest's first twelve digits, for people."""
        return self.digest[:12]

    # ---- at work ---------------------------------------------------------------------------------------------------

    def mapped(self, columns: Mappings[str, NDArray[Any]], node: str | None) -> Mappings[str, NDArray[Any]]:
        """Return a node's columns under their common names."""
        part = None if self.mapping is None or node is None else self.mapping.nodes.get(node)
        if not part:
            return columns
        wanted = {name for name, _ in self.inputs}
        own = {column.source for name, column in part.items() if name in wanted}
        needed = {name: columns[name] for name in columns if name in own or name in wanted}
        return map_columns({name: column for name, column in part.items() if name in wanted}, needed)

    def require(self, columns: Mappings[str, NDArray[Any]], node: str | None = None) -> None:
        """Refuse columns that the recipe is not made for.

        Raises
        ------
        InvalidInput
            Code ``recipe-does-not-fit``.
        """
        found = self.mapped(columns, node)
        absent = [name for name, _ in self.inputs if name not in found]
        if absent:
            raise InvalidInput(
                f"The preprocessing takes {len(self.inputs)} columns, of which this data set does not have "
                f"{', '.join(map(repr, absent[:5]))}{' and more' if len(absent) > 5 else ''}.",
                code="recipe-does-not-fit",
                hint="federation.schema_differences() shows which node calls it otherwise; "
                "federation.suggest_mapping() brings them together.",
                columns=absent[:50],
            )

    def apply(self, columns: Mappings[str, NDArray[Any]], *, node: str | None = None) -> NDArray[np.float32]:
        """Return the matrix that a model is trained on.

        Parameters
        ----------
        columns : mapping of str to ndarray, shape (rows,)
            The raw columns, at least those of `inputs`.
        node : str, optional
            Whose columns these are, where a mapping tells nodes apart.

        Returns
        -------
        ndarray of float32, shape (rows, len(outputs))

        Raises
        ------
        InvalidInput
            ``recipe-does-not-fit``: a column is not there, or of another kind; ``missing-values``: some are left, that
            no step fills.
        """
        self.require(columns, node)
        found = self.mapped(columns, node)
        rows = len(found[self.inputs[0][0]]) if self.inputs else 0
        made = np.empty((rows, len(self.outputs)), np.float32)
        step = max(1, _CELLS // max(len(self.outputs), len(self.inputs), 1))
        for start in range(0, rows, step):
            part = {name: found[name][start : start + step] for name, _ in self.inputs}
            blocks = self._run(part)
            piece = blocks.take(self.outputs)
            self._require_whole(piece)
            made[start : start + step] = piece
        return made

    def _run(self, columns: Mappings[str, NDArray[Any]]) -> Blocks:
        raw = {
            name: (kind, (texts if kind == "text" else numbers)(columns[name], name).reshape(-1, 1))
            for name, kind in self.inputs
        }
        blocks = Blocks(ArrayEngine(), raw)
        self.run(blocks)
        return blocks

    def run(self, blocks: Blocks) -> None:
        """Do all steps on the blocks of an engine."""
        for step in self.steps:
            step.run(blocks)

    def _require_whole(self, piece: NDArray[np.float64]) -> None:
        with np.errstate(over="ignore"):
            finite = np.isfinite(piece.astype(np.float32))
        fine: list[bool] = np.asarray(finite.all(axis=0)).reshape(-1).tolist()
        if not all(fine):
            left = [name for name, whole in zip(self.outputs, fine, strict=True) if not whole]
            raise InvalidInput(
                f"After the preprocessing values are missing, or too large for float32, in {', '.join(left[:5])}"
                f"{' and more' if len(left) > 5 else ''}.",
                code="missing-values",
                hint=f"Fill them: flaas.Impute([{', '.join(map(repr, left[:3]))}]).",
                columns=left[:50],
            )


def _read_step(data: object) -> Fitted:
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in FITTED:
        raise limits.bad(f"{str(kind)[:40]!r} is no step; there are {', '.join(FITTED)}")
    assert isinstance(data, dict)
    return FITTED[kind].read(data)
