"""The sets of rows that answers were made of, packed, on disk: named by what they are, so that each is kept once."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..home import write_private

if TYPE_CHECKING:
    from ..protocols.analytics.audit import RowSets

_LEVEL = 1


@dataclass(frozen=True)
class KeptRows:
    """What was read back; see `protocols.analytics.audit.RowSets`."""

    rows: NDArray[np.bool_]
    partitions: tuple[NDArray[np.int64], ...]


def keep(folder: Path, answered: RowSets) -> dict[str, Any]:
    """Write the sets of rows of an answer, unless they are there; return what `read` needs.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    answered : RowSets
        Of n rows.
    """
    rows = np.asarray(answered.rows, bool)
    partitions = []
    for labels in answered.partitions:
        top = int(labels.max(initial=-1))
        narrow = np.ascontiguousarray(labels, np.min_scalar_type(-max(top, 1) - 1).newbyteorder("<"))
        partitions.append({"dtype": narrow.dtype.str, "file": _write(folder, narrow.tobytes())})
    return {"n": rows.size, "rows": _write(folder, np.packbits(rows).tobytes()), "partitions": partitions}


def read(folder: Path, kept: Mapping[str, Any]) -> KeptRows:
    """Read the sets of rows of an answer back.

    Raises
    ------
    InvalidInput
        Code ``bad-query-ledger``: a file is missing or damaged.
    """
    count = int(kept["n"])
    bits = np.frombuffer(_read(folder, str(kept["rows"])), np.uint8)
    partitions: Sequence[Mapping[str, Any]] = kept["partitions"]
    return KeptRows(
        np.unpackbits(bits, count=count).astype(bool),
        tuple(
            np.frombuffer(_read(folder, str(each["file"])), np.dtype(each["dtype"])).astype(np.int64)
            for each in partitions
        ),
    )


def roughly(rows: int) -> str:
    """Return about how many rows these are, as it may be written down: to a power of ten."""
    if rows < 10:
        return "0" if rows == 0 else "under 10"
    low = 10 ** (len(str(rows)) - 1)
    return f"{low} to {low * 10 - 1}"


def _write(folder: Path, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    file = folder / f"{name}.z"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(file, zlib.compress(content, _LEVEL))
    return name


def _read(folder: Path, name: str) -> bytes:
    file = folder / f"{name}.z"
    try:
        content = zlib.decompress(file.read_bytes())
        if hashlib.sha256(content).hexdigest() != name:
            raise ValueError("its content has another digest")
    except (OSError, ValueError, zlib.error) as error:
        raise InvalidInput(
            f"The row set {file} cannot be used ({type(error).__name__}).",
            code="bad-query-ledger",
            hint="Its owner restores it. Without it, earlier answers cannot be held against new questions.",
        ) from error
    return content
