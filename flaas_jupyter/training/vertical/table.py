"""One party's rows in memory: ids, columns, and at one of the parties the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...protocols.vertical.ids import canonical_ids

_SHOWN = 5


@dataclass(frozen=True)
class PartyTable:
    """One party's table.

    Parameters
    ----------
    ids : ndarray of shape (n,)
        What rows of different parties are matched by; numbers, text, bytes, dates, UUIDs or tuples of them.
    columns : dict of str to ndarray of shape (n,)
        Numbers.
    label : ndarray of shape (n,), optional
        At the label holder.

    Raises
    ------
    InvalidInput
        ``bad-table``: lengths differ; ``non-numeric``; ``missing-values``; ``missing-ids``; ``duplicate-ids``: an id
        on more than one row; ``bad-id``: of a type that ids cannot have.
    """

    ids: NDArray[Any]
    columns: Mapping[str, NDArray[Any]]
    label: NDArray[Any] | None = None
    keys: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    """The ids in canonical form."""

    def __post_init__(self) -> None:
        keys = tuple(canonical_ids(self.ids))
        if len(set(keys)) != len(keys):
            raise InvalidInput(
                f"{len(keys) - len(set(keys))} of {len(keys)} rows have an id that stands on another row as well; "
                "which of them belongs to another party's row cannot be told.",
                code="duplicate-ids",
                hint='Keep one row for each id: frame.drop_duplicates("<id column>"), or aggregate them.',
            )
        object.__setattr__(self, "keys", keys)
        for name, values in self.columns.items():
            _require_numbers(f"column {name!r}", values, len(keys))
        if self.label is not None:
            _require_numbers("the label", self.label, len(keys))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.keys)

    def matrix(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return columns side by side, float64 of shape (n, len(names)).

        Raises
        ------
        InvalidInput
            Code ``unknown-columns``: the message names those that are missing and those that are there.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise InvalidInput(
                f"The table has no column {', '.join(map(repr, missing[:_SHOWN]))}; it has "
                f"{', '.join(map(repr, list(self.columns)[:20]))}.",
                code="unknown-columns",
                hint="The columns must be those that the model was made for.",
            )
        if not names:
            return np.empty((self.rows, 0))
        return np.stack([np.asarray(self.columns[name], np.float64) for name in names], axis=1)


def _require_numbers(what: str, values: NDArray[Any], rows: int) -> None:
    array = np.asarray(values)
    if array.shape != (rows,):
        raise InvalidInput(
            f"{what.capitalize()} has shape {array.shape}; there are {rows} ids, so that ({rows},) is needed.",
            code="bad-table",
        )
    if array.dtype.kind not in "biuf":
        raise InvalidInput(
            f"{what.capitalize()} is of dtype {array.dtype}; numbers and truth values are allowed.",
            code="non-numeric",
            hint="Encode it first, e.g. pandas.get_dummies(frame, columns=[...]).",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(
            f"{what.capitalize()} has {int((~np.isfinite(array)).sum())} missing or infinite values.",
            code="missing-values",
            hint="Fill them in or leave these rows out, e.g. frame.dropna().",
        )
