"""Keyed hashes of the rows of a version of the data, by which versions that differ by a few rows are known.

Somebody who asks the same before and after one row was added, changed or taken away learns about that row, however
many rows each answer is about. The rows of the earlier version are gone by then; what is kept of them is a hash of 64
bits for each, sorted, in a file of this node alone. The key is the node's own, so that nobody else who gets hold of a
file can try rows out.

Rows are compared by value: 3 and 3.0 are the same, so are missing values of whatever kind, and neither the order of
rows nor that of columns matters. Where columns only number the rows, which begins anew when a row goes, versions are
also compared without these.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..home import write_private

_CHUNK = 1 << 16
_KEY_BYTES = 32
_PLACES = 64
"""Elements of arrays that are hashed at once, for each row of a batch."""
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MISSING = np.uint64(0x7FF8000000000000)


@dataclass(frozen=True)
class HashedRows:
    """The rows of a version.

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        Which row comes where among the sorted hashes.
    ordered : ndarray of uint64, shape (n,)
        Sorted.
    numbering : tuple of str
        Columns that only number the rows, sorted.
    unnumbered : ndarray of uint64, shape (n,)
        Of the rows without these, sorted; empty where there are none.
    """

    order: NDArray[np.int64]
    ordered: NDArray[np.uint64]
    numbering: tuple[str, ...]
    unnumbered: NDArray[np.uint64]


class RowHasher:
    """Hashes the rows of one version, a batch at a time.

    Parameters
    ----------
    key : bytes
        The node's own, 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._hashes: list[NDArray[np.uint64]] = []
        self._numbering: dict[str, list[tuple[int, int]]] = {}
        self._own: dict[str, list[NDArray[np.uint64]]] = {}

    def update(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take the next rows.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,) or (n, …)
            All of the same n.
        """
        rows = len(next(iter(columns.values())))
        total = np.zeros(rows, np.uint64)
        for name, values in columns.items():
            own = self._column(name, values)
            total += own
            self._watch(name, values, own)
        self._hashes.append(total)

    def finish(self) -> HashedRows:
        """Return what was taken."""
        whole = np.concatenate(self._hashes) if self._hashes else np.zeros(0, np.uint64)
        last = self._keys("", 1)[0]
        rest, numbering = whole.copy(), []
        for name, seen in self._numbering.items():
            own = np.concatenate(self._own[name])
            gapless = max(part[1] for part in seen) - min(part[0] for part in seen) == len(whole) - 1
            if gapless and not _repeats(own):
                rest -= own
                numbering.append(name)
        hashes = _mixed(whole, last)
        order = np.argsort(hashes)
        unnumbered = np.sort(_mixed(rest, last)) if numbering else np.zeros(0, np.uint64)
        return HashedRows(order, hashes[order], tuple(sorted(numbering)), unnumbered)

    def _watch(self, name: str, values: NDArray[Any], own: NDArray[np.uint64]) -> None:
        """Keep in mind a column that may be a numbering of the rows: whole numbers without gaps."""
        if not self._hashes and values.ndim == 1 and values.dtype.kind in "iu":
            self._numbering[name] = []
        if name not in self._numbering:
            return
        if values.dtype.kind not in "iu" or _repeats(values):
            del self._numbering[name]
            self._own.pop(name, None)
            return
        self._numbering[name].append((int(values.min()), int(values.max())))
        self._own.setdefault(name, []).append(own)

    def _column(self, name: str, values: NDArray[Any]) -> NDArray[np.uint64]:
        flat = values.reshape(len(values), -1)
        keys = self._keys(name, flat.shape[1])
        total = np.zeros(len(flat), np.uint64)
        if flat.shape[1] == 1:
            return _mixed(self._bits(name, flat), keys).reshape(-1)
        for start in range(0, flat.shape[1], _PLACES):
            bits = self._bits(name, flat[:, start : start + _PLACES])
            total += _mixed(bits, keys[start : start + _PLACES]).sum(axis=1, dtype=np.uint64)
        return total

    def _bits(self, name: str, values: NDArray[Any]) -> NDArray[np.uint64]:
        if values.dtype.kind in "mM":
            return values.astype("datetime64[ns]" if values.dtype.kind == "M" else "timedelta64[ns]").view(np.uint64)
        if values.dtype.kind in "biuf":
            numbers = np.ascontiguousarray(values, np.float64) + 0.0  # no -0.0
            bits = numbers.view(np.uint64)
            return np.where(np.isnan(numbers), _MISSING, bits)
        from pandas import isna
        from pandas.util import hash_array

        texts = np.ascontiguousarray(values).reshape(-1).astype(object)
        key = hashlib.sha256(self._key + b"text" + name.encode()).hexdigest()[:16]
        hashed = hash_array(texts, hash_key=key).astype(np.uint64)
        return np.where(isna(texts), _MISSING, hashed).reshape(values.shape)

    def _keys(self, name: str, count: int) -> NDArray[np.uint64]:
        """Return two secret numbers for each place of a column, shape (count, 2)."""
        raw = hashlib.shake_256(self._key + name.encode()).digest(16 * count)
        return np.frombuffer(raw, np.uint64).reshape(count, 2)


def key_of(folder: Path) -> bytes:
    """Return the node's key for hashes of rows, made when it is first needed.

    Raises
    ------
    InvalidInput
        Code ``bad-query-ledger``.
    """
    file = folder / "rows.key"
    if not file.exists():
        write_private(file, secrets.token_bytes(_KEY_BYTES))
    key = file.read_bytes()
    if len(key) != _KEY_BYTES:
        raise _unusable(file)
    return key


def hashed(batches: Iterable[Mapping[str, NDArray[Any]]], key: bytes) -> HashedRows:
    """Return the hashes of the rows of a version.

    Parameters
    ----------
    batches : iterable of mapping of str to ndarray
        Columns of the rows in order, some rows at a time.
    key : bytes
        See `key_of`.
    """
    hasher = RowHasher(key)
    for batch in batches:
        if batch and len(next(iter(batch.values()))):
            hasher.update(batch)
    return hasher.finish()


def keep(folder: Path, rows: HashedRows) -> dict[str, Any]:
    """Write the hashes of a version, unless they are there; return what `few_apart` needs of them."""
    kept: dict[str, Any] = {"all": _write(folder, rows.ordered)}
    if rows.numbering:
        kept |= {"numbering": list(rows.numbering), "unnumbered": _write(folder, rows.unnumbered)}
    return kept


def few_apart(folder: Path, first: Mapping[str, Any], second: Mapping[str, Any], minimum: int) -> bool:
    """Tell whether two versions differ by 1 to `minimum` - 1 rows, counted on both sides.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    first, second : mapping
        Of `keep`.
    minimum : int

    Raises
    ------
    InvalidInput
        Code ``bad-query-ledger``: a file is missing or damaged.
    """
    pairs = [(first["all"], second["all"])]
    if first.get("numbering") and first.get("numbering") == second.get("numbering"):
        pairs.append((first["unnumbered"], second["unnumbered"]))
    return any(
        one != other and 0 < apart(read(folder, str(one)), read(folder, str(other)), minimum) < minimum
        for one, other in pairs
    )


def _write(folder: Path, ordered: NDArray[np.uint64]) -> str:
    """Write sorted hashes into a file that is named by their digest, and return the name."""
    name = hashlib.sha256(np.ascontiguousarray(ordered, "<u8").data).hexdigest()
    file = folder / f"{name}.npy"
    if not file.exists():
        content = io.BytesIO()
        np.save(content, ordered, allow_pickle=False)
        write_private(file, content.getvalue())
    return name


def read(folder: Path, name: str) -> NDArray[np.uint64]:
    """Return sorted hashes that were kept, mapped from their file.

    Raises
    ------
    InvalidInput
        Code ``bad-query-ledger``: the file is missing or damaged.
    """
    file = folder / f"{name}.npy"
    try:
        kept: NDArray[np.uint64] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unusable(file) from error
    if kept.dtype != np.uint64 or kept.ndim != 1:
        raise _unusable(file)
    return kept


def apart(first: NDArray[np.uint64], second: NDArray[np.uint64], most: int) -> int:
    """Return how many rows only one of two versions has, counted with repetitions, up to `most`.

    Parameters
    ----------
    first, second : ndarray of shape (n,), (m,)
        Sorted hashes.
    most : int
        Where counting ends.
    """
    i = j = count = 0
    while count < most and i < len(first) and j < len(second):
        size = min(_CHUNK, len(first) - i, len(second) - j)
        here, there = first[i : i + size], second[j : j + size]
        differs = np.asarray(here != there)
        same = int(differs.argmax()) if differs.any() else size
        i, j = i + same, j + same
        if same < size:
            count += 1
            if first[i] < second[j]:
                i += 1
            else:
                j += 1
    return min(most, count + (len(first) - i) + (len(second) - j) if count < most else count)


def _mixed(bits: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64 bits under secret numbers (the finaliser of SplitMix64, Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = bits ^ keys[..., 0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    mixed = (mixed ^ (mixed >> np.uint64(31))) + keys[..., 1]
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _SECOND
    final: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(32))
    return final


def _repeats(values: NDArray[Any]) -> bool:
    ordered = np.sort(values)
    return bool((ordered[1:] == ordered[:-1]).any())


def _unusable(file: Path) -> InvalidInput:
    return InvalidInput(
        f"The hashes of rows {file} cannot be used.",
        code="bad-query-ledger",
        hint="Its owner restores them. Without them, earlier answers cannot be held against changed data.",
    )
