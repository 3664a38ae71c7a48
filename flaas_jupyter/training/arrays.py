"""A client's rows in memory, by the names of the model's inputs and outputs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
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
    streamed : bool
        Whether they are files that are mapped into memory, too large to be in it as a whole.
    """

    name: str
    inputs: dict[str, NDArray[Any]]
    targets: dict[str, NDArray[Any]]
    columns: tuple[str, ...] = ()
    streamed: bool = False

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


class Mapped:
    """An array in a file that is mapped into memory, in the dtype and shape that a model takes.

    Rows are read, and converted, where they are asked for: ``mapped[rows]``.

    Parameters
    ----------
    source : ndarray of shape (n, …)
        Mapped into memory.
    dtype : dtype
    shape : tuple of int
        Of one row.
    """

    def __init__(self, source: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._source = source
        self.dtype, self.shape = dtype, (len(source), *shape)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[Any]:
        taken = np.ascontiguousarray(self._source[rows], self.dtype)
        return taken.reshape(len(taken), *self.shape[1:])

    def min(self) -> Any:
        """Return the smallest value."""
        return self._source.min()

    def max(self) -> Any:
        """Return the largest value."""
        return self._source.max()


def pieces(array: NDArray[Any], size: int = 1 << 24) -> Iterator[NDArray[Any]]:
    """Yield some rows after the other, about `size` bytes of them: for looks at arrays that exceed memory."""
    step = max(1, size // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), step):
        yield array[start : start + step]


def canonical_target(values: NDArray[Any]) -> NDArray[Any]:
    """Return targets as they are trained on: labels as int32, quantities as float32.

    Truth values, and 0.0 and 1.0, which many tools write for a binary label, are labels. What int32 cannot hold is
    left as it is.
    """
    if values.dtype.kind == "f" and not np.isin(values, (0.0, 1.0)).all():
        return values.astype(np.float32, copy=False)
    narrow = values.astype(np.int32, copy=False)
    return narrow if np.array_equal(narrow, values) else values
