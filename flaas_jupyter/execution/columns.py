"""The columns of a data set by their names, as arrays in their own types: what statistics are computed from.

Training takes rows as one float32 matrix (`training.arrays`); a sum over a table has to come out as pandas has it, so
columns keep the integers and the float64 that the file has. Arrays without columns of their own have numbered ones:
``x[0]``, ``x[1]`` …, those with more axes as they lie in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Columns(Mapping[str, NDArray[Any]]):
    """Columns by name, each made contiguous when it is first asked for; safe to use in several threads.

    Parameters
    ----------
    sources : mapping of str to ndarray
        Arrays of shape (n, …): one axis is a column of its name, more axes are numbered columns.
    """

    def __init__(self, sources: Mapping[str, NDArray[Any]]) -> None:
        self._flat: dict[str, NDArray[Any]] = {}
        self._places: dict[str, tuple[str, int | None]] = {}
        for name, array in sources.items():
            self._flat[name] = array if array.ndim == 1 else array.reshape(len(array), -1)
            if array.ndim == 1:
                self._places[name] = (name, None)
            else:
                self._places |= {f"{name}[{i}]": (name, i) for i in range(self._flat[name].shape[1])}
        self._made: dict[str, NDArray[Any]] = {}
        self._lock = threading.Lock()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self._flat.values()), ()))

    def __getitem__(self, name: str) -> NDArray[Any]:
        source, place = self._places[name]
        with self._lock:
            known = self._made.get(name)
            if known is None:
                array = self._flat[source]
                known = np.ascontiguousarray(array if place is None else array[:, place])
                known.flags.writeable = False
                self._made[name] = known
            return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def names(features: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns of a data set that is described so, in order."""
    listed: list[str] = []
    for feature in features:
        name, shape = str(feature["name"]), [int(size) for size in feature.get("shape") or ()]
        listed += [f"{name}[{i}]" for i in range(int(np.prod(shape)))] if shape else [name]
    return listed + [str(target["name"]) for target in targets]
