"""The columns of a data set that is larger than memory: each read when it is asked for, the last few kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import Columns


class ColumnsOnDisk(Columns):
    """Columns by name, as `execution.columns.Columns` has them; safe to use in several threads.

    Parameters
    ----------
    places : mapping of str to (str, int or None)
        For each column the column of the source that it is in, and which of its values it is where those are arrays.
    read : callable
        ``read(column, place)`` returns n values.
    rows : int
    keep : int
        Bytes of columns that are kept for whoever asks next.
    """

    def __init__(
        self,
        places: Mapping[str, tuple[str, int | None]],
        read: Callable[[str, int | None], NDArray[Any]],
        rows: int,
        keep: int,
    ) -> None:
        super().__init__({})
        self._places, self._read, self._rows, self._keep = dict(places), read, rows, keep
        self._last: OrderedDict[str, NDArray[Any]] = OrderedDict()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        column, place = self._places[name]
        with self._lock:
            known = self._last.get(name)
            if known is None:
                known = self._last[name] = np.ascontiguousarray(self._read(column, place))
                known.flags.writeable = False
            self._last.move_to_end(name)
            while len(self._last) > 1 and sum(array.nbytes for array in self._last.values()) > self._keep:
                self._last.popitem(last=False)
            return known


def places_of(entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, tuple[str, int | None]]:
    """Return where columns are, of features and targets that are described so and are `columns` of the source."""
    places: dict[str, tuple[str, int | None]] = {}
    for entry, column in zip(entries, columns, strict=True):
        name, shape = str(entry["name"]), entry.get("shape") or ()
        if shape:
            places |= {f"{name}[{i}]": (column, i) for i in range(int(np.prod(shape)))}
        else:
            places[name] = (column, None)
    return places
