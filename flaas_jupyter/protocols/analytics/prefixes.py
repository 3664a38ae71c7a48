"""Values that nobody has listed: how many rows have a prefix, by the byte that follows: the kind ``prefixes``.

What values a column has is found from the beginning of the word on: of the prefixes that at least k rows have, the next
byte is asked for, until values end (a prefix tree, as in Bassily, Nissim, Stemmer and Thakurta, NeurIPS 2017, and Zhu
et al., "Federated Heavy Hitters Discovery with Differential Privacy", AISTATS 2020; there with noise from sampling,
here with secure sums, and noise where ε is given). A value of fewer than k rows is never told, nor how it goes on.

Without differential privacy counts are told as multiples of k, rounded down, so that what is left of a total says
nothing about a few rows. Numbers are written as decimal texts.
"""

from __future__ import annotations

import itertools
import math
import re
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import limits
from .counting import counts_of
from .noise import sigma
from .policy import ReleasePolicy
from .release import Disclosed
from .statistics import Local, Opened, Statistic, Table
from .words import words_of

ENDS = 256
"""The cell of values that end with the prefix, behind those of the 256 bytes that can follow."""
CELLS = ENDS + 1
MAXIMUM_PREFIXES = limits.MAXIMUM_CELLS // CELLS
MAXIMUM_BYTES = 256
WORDS_OF_A_ROW = 32
"""Different words of a row that count, with differential privacy."""
_SPLITS = ("values", "words")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_STRAY = 1e-3
"""Probability that noise alone makes one of the cells of a step look like a value of enough rows."""


@dataclass(frozen=True)
class Prefixes(Statistic):
    """Rows of a column by prefix and the byte that follows.

    The cells of a prefix are the bytes 0 to 255 that follow it, and `ENDS`.

    Attributes
    ----------
    prefixes : tuple of bytes
        In UTF-8; none begins with another.
    split : str
        ``"values"``: a row has one value; ``"words"``: it has each word of its text once.
    """

    own: ClassVar[tuple[str, ...]] = ("prefixes", "split")
    raw: ClassVar[bool] = True

    prefixes: tuple[bytes, ...] = (b"",)
    split: str = "values"

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Check prefixes and split."""
        if len(common["columns"]) != 1 or common["by"] or common["bounds"]:
            raise limits.bad("prefixes are asked for of one column, without groups and bounds")
        if any(name in common["columns"] for name, _ in common["assign"]):
            raise limits.bad("prefixes are of columns of the data, not of derived ones")
        split = data.get("split", "values")
        if split not in _SPLITS:
            raise limits.bad(f"split is {str(split)[:20]!r}; there are {', '.join(_SPLITS)}")
        prefixes = []
        for text in limits.sequence(data.get("prefixes"), "prefixes", MAXIMUM_PREFIXES):
            if not isinstance(text, str) or len(text) > 2 * MAXIMUM_BYTES or not _HEX.fullmatch(text):
                raise limits.bad(f"a prefix must be up to {MAXIMUM_BYTES} bytes as hexadecimal digits")
            prefixes.append(bytes.fromhex(text))
        ordered = sorted(prefixes)
        if not ordered or any(later.startswith(first) for first, later in itertools.pairwise(ordered)):
            raise limits.bad("there must be prefixes, of which none begins with another")
        return {"prefixes": tuple(prefixes), "split": split}

    def own_dict(self) -> dict[str, Any]:
        """Return prefixes and split."""
        return {"prefixes": [prefix.hex() for prefix in self.prefixes], "split": self.split}

    @property
    def raw_cells(self) -> int:
        """`CELLS` for each prefix."""
        return CELLS * len(self.prefixes)

    @property
    def touched(self) -> int:
        """A row has one value, or up to `WORDS_OF_A_ROW` words."""
        return 1 if self.split == "values" else WORDS_OF_A_ROW

    @cached_property
    def _places(self) -> tuple[dict[bytes, int], list[int]]:
        places = {prefix: place for place, prefix in enumerate(self.prefixes)}
        return places, sorted({len(prefix) for prefix in self.prefixes})

    def measure(self, table: Table) -> Local:
        """Count."""
        distinct, which = distinct_texts(table.raw[self.columns[0]])
        rows = counts_of(which[table.matched & (which >= 0)], len(distinct))
        counts = np.zeros(self.raw_cells, np.int64)
        for text, count in zip(distinct, rows.tolist(), strict=True):
            if count:
                for cell in self._cells_of(text):
                    counts[cell] += count
        return Local(counts, np.zeros((counts.size, 0)), table.matched)

    def _cells_of(self, text: str) -> set[int]:
        """The cells that a row with this text is in, once each."""
        if self.split == "values":
            parts: Sequence[str] = (text,)
        else:
            parts = list(dict.fromkeys(words_of(text)))
            parts = parts[:WORDS_OF_A_ROW] if self.epsilon is not None else parts
        places, lengths = self._places
        found = set()
        for part in parts:
            raw = part.encode("utf-8", "replace")
            for length in lengths:
                place = places.get(raw[:length]) if length <= len(raw) else None
                if place is not None:
                    found.add(place * CELLS + (raw[length] if length < len(raw) else ENDS))
        return found

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Tell which cells have enough rows, and of how many at least."""
        k = policy.minimum_group
        if self.epsilon is not None:
            told = opened.counts >= k + math.ceil(sigma(self) * math.sqrt(2 * math.log(self.raw_cells / _STRAY)))
            counts = np.where(told, opened.counts.astype(np.float64), np.nan)
            rounding = 0.0
        else:
            told = opened.counts >= k
            counts = np.where(told, (opened.counts // k * k).astype(np.float64), np.nan)
            rounding = k - 1.0
        reasons = [f"what fewer than {k} rows have is not told"]
        if rounding:
            reasons.append(f"rows are counted in multiples of {k}")
        return Disclosed(counts, np.zeros((counts.size, 0)), ~told, reasons=reasons, rounding=rounding)


# ---- texts ----------------------------------------------------------------------------------------------------------

_KEPT = 4
_known: OrderedDict[int, tuple[weakref.ref[NDArray[Any]], list[str], NDArray[np.int64]]] = OrderedDict()


def distinct_texts(column: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the different values of a column as texts, and which of them each row has; -1 where it is missing.

    The steps of one question go through the same column, so that the last ones are kept as long as the column is.
    """
    kept = _known.get(id(column))
    if kept is not None and kept[0]() is column:
        _known.move_to_end(id(column))
        return kept[1], kept[2]
    places: dict[Any, int] = {}
    which = np.empty(len(column), np.int64)
    for row, value in enumerate(column.tolist()):
        which[row] = -1 if _is_missing(value) else places.setdefault(value, len(places))
    found = [text_of(value) for value in places], which
    _known[id(column)] = (weakref.ref(column), *found)
    while len(_known) > _KEPT:
        _known.popitem(last=False)
    return found


def text_of(value: Any) -> str:
    """Return a value as a text; whole numbers without a decimal point, whatever type they have."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value) if isinstance(value, int | float) else str(value)


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and not math.isfinite(value))
