"""What values a column has, where nobody has listed them: those that enough rows have, found from their beginnings on.

See `protocols.analytics.prefixes` for what nodes count and what is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..protocols.analytics.noise import epsilon_of, rho_of
from ..protocols.analytics.prefixes import CELLS, ENDS, MAXIMUM_PREFIXES
from ..protocols.analytics.release import Released
from .calls import Call

LONGEST, PRIVATE_LONGEST = 64, 24
"""Bytes of a value that is looked for, unless more is asked for; with differential privacy every one costs."""
_UNDER_WAY = 4096
"""Prefixes that are followed at once; of more, those that most rows have."""


@dataclass(frozen=True)
class Found:
    """Values, the most frequent first, and in how many rows each is at least.

    Attributes
    ----------
    values : list of str
    rows : list of float
    cut : bool
        Whether a longer value was left.
    crowded : bool
        Whether there were more beginnings than are followed.
    epsilon : float or None
        What it has cost: zero-concentrated privacy of the steps adds up to less than their ε do.
    """

    values: list[str]
    rows: list[float]
    cut: bool
    crowded: bool
    epsilon: float | None


def find(call: Call, column: str, split: str, longest: int) -> Found:
    """Follow the prefixes of enough rows to where values end.

    Parameters
    ----------
    call : Call
    column : str
    split : str
        ``"values"`` or ``"words"``.
    longest : int
        Bytes of a value.
    """
    epsilon = call.options.epsilon
    rho = 0.0 if epsilon is None else rho_of(epsilon) / (longest + 1)  # of each byte, and of the end
    if epsilon is not None:
        call.each(epsilon_of(rho))
    ended: dict[bytes, float] = {}
    under_way: dict[bytes, float] = {b"": np.inf}
    crowded = False
    for length in range(longest + 1):
        ahead: dict[bytes, float] = {}
        listed = list(under_way)
        step = MAXIMUM_PREFIXES if epsilon is None else len(listed)
        for start in range(0, len(listed), max(step, 1)):
            prefixes = listed[start : start + step]
            asked = {"prefixes": [prefix.hex() for prefix in prefixes], "split": split}
            released = call.step("prefixes", [column], **asked)
            _follow(prefixes, released, ended, ahead)
        most = min(_UNDER_WAY, MAXIMUM_PREFIXES) if epsilon is not None else _UNDER_WAY
        crowded |= len(ahead) > most
        under_way = dict(sorted(ahead.items(), key=lambda item: -item[1])[:most])
        if not under_way or length == longest:
            break
    chosen = sorted(ended.items(), key=lambda item: (-item[1], item[0]))
    texts = [(raw.decode("utf-8", "replace"), count) for raw, count in chosen]
    cost = None if epsilon is None else epsilon_of(rho * len(call.releases))
    return Found([text for text, _ in texts], [count for _, count in texts], bool(under_way), crowded, cost)


def _follow(prefixes: list[bytes], released: Released, ended: dict[bytes, float], ahead: dict[bytes, float]) -> None:
    counts = released.counts.reshape(len(prefixes), CELLS)
    for prefix, row in zip(prefixes, counts, strict=True):
        for cell in np.flatnonzero(~np.isnan(row)).tolist():
            if cell == ENDS:
                if prefix:  # an empty value is a missing one
                    ended[prefix] = float(row[cell])
            else:
                ahead[prefix + bytes([cell])] = float(row[cell])
