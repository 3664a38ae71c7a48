"""The query audit: no answer whose difference from an earlier one would tell about a few rows.

Two sums over sets of rows that differ by few rows tell, by subtraction, the sum over these few (a *tracker*: Denning,
Denning and Schwartz, ACM TODS 4, 1979). A node remembers the sets of its own rows that it has answered somebody about,
and refuses a new set that differs from one of them by 1 to k - 1 rows, whichever is the larger. Looked at are

* the rows that meet the condition, against those of all earlier answers;
* groups and bins with borders that can be moved (edges, derived keys), of at least k rows here, against such groups and
  bins of earlier answers, and against their conditions. Groups by values of a column stand or fall with the condition.

Repeating an answer is fine: its sets differ by nothing. Not looked at are combinations of more than two answers
(deciding that is linear algebra over all rows for sums, and coNP-hard for counts of truth values), several people
together, and groups of fewer than k rows here, which the sum over nodes hides. Differential privacy has none of these
gaps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import NotAllowed

MEMORY = 256 << 20
"""Bytes of row sets that are remembered of one person at one data set."""


class RowSets(Protocol):
    """What an answer was made of; `statistics.Local` is one."""

    @property
    def rows(self) -> NDArray[np.bool_]:
        """Which rows meet the condition, shape (n,)."""

    @property
    def partitions(self) -> Sequence[NDArray[np.int64]]:
        """Each row's group or bin, -1 in none, for each grouping with movable borders, each of shape (n,)."""


@dataclass(frozen=True)
class _Rows:
    """A set of rows, a bit each."""

    bits: NDArray[np.uint8]
    size: int
    everything: bool
    digest: bytes


@dataclass(frozen=True)
class _Partition:
    """Groups, with the rows that they were taken from."""

    labels: NDArray[Any]
    sizes: NDArray[np.int64]
    within: bytes
    digest: bytes


class QueryAudit:
    """What one person was told about the rows of one data set, and whether they may be told more.

    Parameters
    ----------
    minimum_group : int
        k.
    """

    def __init__(self, minimum_group: int) -> None:
        self.minimum_group = minimum_group
        self._rows: dict[bytes, _Rows] = {}
        self._partitions: dict[bytes, _Partition] = {}
        self._bytes = 0

    def require(self, asked: RowSets) -> None:
        """Refuse an answer that could be subtracted from an earlier one.

        Raises
        ------
        NotAllowed
            ``query-differs-by-few``; ``query-audit-full``: more sets were answered than are remembered.
        """
        if self.minimum_group <= 1:
            return
        rows, partitions = _read(asked)
        self._require_memory(rows, partitions)
        if rows.digest not in self._rows:
            for before in self._rows.values():
                self._require_apart(_difference(rows, before), "condition")
        for partition in partitions:
            if partition.digest not in self._partitions:
                self._require_partition(partition)
        if rows.digest not in self._rows and not rows.everything:
            for old in self._partitions.values():
                if old.within != rows.digest:
                    self._require_cells(self._against_rows(old, rows), "condition")

    def record(self, answered: RowSets) -> None:
        """Remember what an answer was made of."""
        rows, partitions = _read(answered)
        if rows.digest not in self._rows:
            self._rows[rows.digest] = rows
            self._bytes += rows.bits.nbytes
        for partition in partitions:
            if partition.digest not in self._partitions:
                self._partitions[partition.digest] = partition
                self._bytes += partition.labels.nbytes

    def _require_partition(self, new: _Partition) -> None:
        for old in self._partitions.values():
            self._require_cells(self._against(new, old), "groups or bins")
        for rows in self._rows.values():
            if not rows.everything and rows.digest != new.within:
                self._require_cells(self._against_rows(new, rows), "groups or bins")

    def _against(self, new: _Partition, old: _Partition) -> NDArray[np.int64]:
        """Return by how many rows each pair of large cells differs, of those that can differ by few."""
        k = self.minimum_group
        sizes = new.sizes[:, None], old.sizes[None, :]
        near = (sizes[0] >= k) & (sizes[1] >= k) & (np.abs(sizes[0] - sizes[1]) < k)
        if not near.any():
            return np.zeros(0, np.int64)
        both = (new.labels >= 0) & (old.labels >= 0)
        pairs = new.labels[both].astype(np.int64) * len(old.sizes) + old.labels[both]
        common = np.bincount(pairs, minlength=near.size).reshape(near.shape)
        apart: NDArray[np.int64] = (sizes[0] + sizes[1] - 2 * common)[near]
        return apart

    def _against_rows(self, partition: _Partition, rows: _Rows) -> NDArray[np.int64]:
        k = self.minimum_group
        near = (partition.sizes >= k) & (np.abs(partition.sizes - rows.size) < k)
        if rows.size < k or not near.any():
            return np.zeros(0, np.int64)
        chosen = np.unpackbits(rows.bits, count=len(partition.labels)).astype(bool) & (partition.labels >= 0)
        common = np.bincount(partition.labels[chosen], minlength=len(near))
        apart: NDArray[np.int64] = (partition.sizes + rows.size - 2 * common)[near]
        return apart

    def _require_cells(self, apart: NDArray[np.int64], what: str) -> None:
        for difference in apart.tolist():
            self._require_apart(difference, what)

    def _require_apart(self, difference: int, what: str) -> None:
        """Refuse a difference of few rows; how many is not told."""
        if 0 < difference < self.minimum_group:
            raise NotAllowed(
                f"The {what} choose rows here that differ by fewer than {self.minimum_group} from those of an earlier "
                "answer; subtracting one answer from the other would tell about these few.",
                code="query-differs-by-few",
                hint="Ask about clearly more or fewer rows, or with differential privacy (epsilon=...).",
                minimum_group=self.minimum_group,
            )

    def _require_memory(self, rows: _Rows, partitions: Sequence[_Partition]) -> None:
        more = 0 if rows.digest in self._rows else rows.bits.nbytes
        more += sum(each.labels.nbytes for each in partitions if each.digest not in self._partitions)
        if self._bytes + more > MEMORY:
            raise NotAllowed(
                "You have asked about more different sets of rows of this data set than its node remembers; it cannot "
                "compare a further one with all of them.",
                code="query-audit-full",
                hint="Ask with differential privacy (epsilon=...), or about sets that were asked about before.",
            )


def _difference(first: _Rows, second: _Rows) -> int:
    if first.bits.size != second.bits.size:
        return 0  # of another state of the data
    return int(np.bitwise_count(first.bits ^ second.bits).sum(dtype=np.int64))


def _read(asked: RowSets) -> tuple[_Rows, list[_Partition]]:
    mask = np.asarray(asked.rows, bool)
    bits = np.packbits(mask)
    size = int(mask.sum())
    rows = _Rows(bits, size, size == mask.size, hashlib.sha256(mask.size.to_bytes(8, "big") + bits.tobytes()).digest())
    partitions = []
    for given in asked.partitions:
        labels = np.asarray(given)
        top = int(labels.max(initial=-1))
        labels = labels.astype(np.min_scalar_type(-max(top, 1) - 1))
        sizes = np.bincount(labels[labels >= 0], minlength=top + 1).astype(np.int64)
        digest = hashlib.sha256(str(labels.dtype).encode() + labels.tobytes()).digest()
        partitions.append(_Partition(labels, sizes, rows.digest, digest))
    return rows, partitions
