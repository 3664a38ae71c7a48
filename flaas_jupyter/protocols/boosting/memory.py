"""What is remembered between the steps of boosting: bins of columns, scores under a prefix of the ensemble.

Only ever a shortcut: a step says everything that is needed to compute these anew.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bins import Bins
from .trees import Ensemble

_KEPT_BYTES = 1 << 29  # of bins and scores that are remembered
_PLACES = 4  # data sets that are known by where they lie

Codes = NDArray[np.uint8]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Remembered:
    """Bins of one data set, and its scores under the ensemble whose digest is `scored`."""

    codes: Codes
    scored: bytes
    scores: Integers

    @property
    def size(self) -> int:
        """Bytes."""
        return self.codes.nbytes + self.scores.nbytes


class Memory:
    """Bins of the data sets used last, and the scores of the ensemble prefix seen last on each.

    A data set is known again by the digest of its columns. Columns that nobody can change, which is what nodes have,
    are known by where they lie, and held so that this place stays theirs.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._places: OrderedDict[tuple[Any, ...], tuple[tuple[NDArray[Any], ...], bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def scored(self, bins: Bins, ensemble: Ensemble, columns: Mapping[str, NDArray[Any]]) -> tuple[Codes, Integers]:
        """Return the bins of the rows and their scores, from memory as far as that goes."""
        sizes = bins.sizes
        used = tuple(np.asarray(columns[name]) for name in bins.features)
        key = hashlib.sha256(self._digest(used) + _edges_digest(bins)).digest()
        with self._lock:
            known = self._kept.get(key)
        codes = bins.codes(columns) if known is None else known.codes
        digests = ensemble.digests()
        if known is not None and known.scored in digests:
            start, scores = digests.index(known.scored), known.scores
        else:
            start, scores = 0, ensemble.start(len(used[0]))
        if start < len(ensemble.iterations):
            scores = ensemble.add(scores.copy(), codes, sizes, start)
        with self._lock:
            self._kept[key] = _Remembered(codes, digests[-1], scores)
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(each.size for each in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return codes, scores

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._places.clear()

    def _digest(self, columns: tuple[NDArray[Any], ...]) -> bytes:
        fixed = not any(column.flags.writeable for column in columns)
        place = tuple(_address(column) for column in columns)
        if fixed:
            with self._lock:
                if place in self._places:
                    self._places.move_to_end(place)
                    return self._places[place][1]
        running = hashlib.blake2b()
        for column in columns:
            running.update(f"{column.dtype.str}{column.shape};".encode())
            running.update(np.ascontiguousarray(column).data)
        if fixed:
            with self._lock:
                self._places[place] = (columns, running.digest())
                while len(self._places) > _PLACES:
                    self._places.popitem(last=False)
        return running.digest()


memory = Memory()
"""Of this process."""


def forget() -> None:
    """Let go of the columns, bins and scores that are remembered between steps."""
    memory.clear()


def _address(column: NDArray[Any]) -> tuple[Any, ...]:
    interface = column.__array_interface__
    return interface["data"][0], column.shape, column.strides, column.dtype.str


def _edges_digest(bins: Bins) -> bytes:
    running = hashlib.sha256(repr(bins.missing).encode())
    for name, edges in bins.edges.items():
        running.update(f"{name!r}:{len(edges)};".encode())
        running.update(edges.data)
    return running.digest()
