"""How much one statistic may ask for, and the checks of its parts that every kind shares."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

from ...errors import InvalidInput

MAXIMUM_CELLS = 1 << 18
MAXIMUM_INTEGERS = 1 << 20
"""Integers in the vector that one statistic is summed as; 24 bytes each on the wire."""
MAXIMUM_COLUMNS = 256
MAXIMUM_KEYS = 4
MAXIMUM_VALUES = 4096
MAXIMUM_EDGES = 10_001
MAXIMUM_EPSILON = 100.0


def bad(why: str, hint: str = "") -> InvalidInput:
    """Return the error for a statistic that is not acceptable."""
    return InvalidInput(f"The statistic is not acceptable: {why}.", code="bad-statistic", hint=hint)


def too_large(what: str) -> InvalidInput:
    """Return the error for a statistic that asks for too much."""
    return InvalidInput(
        f"The statistic is too large: {what}.",
        code="statistic-too-large",
        hint="Ask for fewer columns, groups or bins at a time.",
    )


def mapping(data: object, what: str) -> dict[str, Any]:
    """Return a JSON object."""
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise bad(f"{what} is no mapping by column")
    return data


def sequence(data: object, what: str, most: int) -> list[Any]:
    """Return a JSON list of up to `most` entries."""
    if not isinstance(data, list | tuple):
        raise bad(f"{what} is no list")
    if len(data) > most:
        raise too_large(f"{what} has {len(data)} entries; allowed are {most}")
    return list(data)


def number(data: object, what: str) -> float:
    """Return a finite number."""
    if isinstance(data, bool) or not isinstance(data, int | float) or not abs(data) <= 1e300:
        raise bad(f"{what} is {_shown(data)}, not a finite number")
    return float(data)


def ascending(data: object, what: str) -> tuple[float, ...]:
    """Return edges: at least two numbers, ascending."""
    edges = tuple(number(edge, f"an edge of {what}") for edge in sequence(data, f"the edges of {what}", MAXIMUM_EDGES))
    if len(edges) < 2 or any(low >= high for low, high in itertools.pairwise(edges)):
        raise bad(f"the edges of {what} must be at least two ascending numbers")
    return edges


def only(data: Iterable[str], allowed: Iterable[str], what: str) -> None:
    """Refuse keys that mean nothing."""
    strange = sorted(set(data) - set(allowed))
    if strange:
        raise bad(f"{what} has unknown entries: {', '.join(key[:40] for key in strange[:5])}")


def epsilon(data: object) -> float | None:
    """Return ε, or None."""
    if data is None:
        return None
    found = number(data, "epsilon")
    if not 0 < found <= MAXIMUM_EPSILON or math.isnan(found):
        raise bad(f"epsilon is {found:g}; allowed is a number above 0 up to {MAXIMUM_EPSILON:g}, or none")
    return found


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
