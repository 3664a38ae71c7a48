"""A client's rows in memory, by the names of the model's inputs and outputs."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Arrays:
    """A data set in memory.

    Parameters
    ----------
    name : str
        The data set's.
    inputs : dict of str to ndarray
        By input name; the only, unnamed one is ``""``. First axis: rows.
    targets : dict of str to ndarray
        By output name; the only, unnamed one is ``""``. First axis: rows.
    columns : tuple of str
        Names of the columns of the only input, if the data set is a table.
    """

    name: str
    inputs: dict[str, NDArray[Any]]
    targets: dict[str, NDArray[Any]]
    columns: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter((self.targets or self.inputs).values())))

    def checksum(self, rows: NDArray[np.int64] | None = None) -> int:
        """Return the CRC-32 of the values, of some rows or of all: the same wherever the same rows are."""
        total = 0
        for group in (self.inputs, self.targets):
            for name in sorted(group):
                values = group[name] if rows is None else group[name][rows]
                total = zlib.crc32(np.ascontiguousarray(values).data, total)
        return total


def canonical_target(values: NDArray[Any]) -> NDArray[Any]:
    """Return targets as they are trained on: labels as int32, quantities as float32.

    Truth values, and 0.0 and 1.0, which many tools write for a binary label, are labels. What int32 cannot hold is
    left as it is.
    """
    if values.dtype.kind == "f" and not np.isin(values, (0.0, 1.0)).all():
        return values.astype(np.float32, copy=False)
    narrow = values.astype(np.int32, copy=False)
    return narrow if np.array_equal(narrow, values) else values
