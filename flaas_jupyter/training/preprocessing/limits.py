"""What a recipe may contain: it comes from a developer, over the mesh, and is read with suspicion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import InvalidInput

STEPS = 256
COLUMNS = 100_000
"""Raw columns, and columns of the matrix that comes out."""
VOCABULARY = 100_000
TEXT = 1024
"""Characters of one name, value or token."""
SEQUENCE = 4096
"""Tokens of a text that is kept as a sequence."""


def bad(why: str, hint: str = "") -> InvalidInput:
    """Return the error for a recipe that cannot be used."""
    return InvalidInput(
        f"The preprocessing recipe cannot be used: {why}.",
        code="bad-recipe",
        hint=hint or "Fit the preprocessing again with this version of flaas_jupyter.",
    )


def mapping(data: object, what: str, names: Iterable[str]) -> dict[str, Any]:
    """Return a JSON object that has exactly these entries."""
    wanted = set(names)
    if not isinstance(data, Mapping) or set(data) != wanted:
        raise bad(f"{what} must have exactly {', '.join(sorted(wanted))}")
    return dict(data)


def text(data: object, what: str, most: int = TEXT, *, empty: bool = False) -> str:
    """Return a text that every encoding can hold."""
    if not isinstance(data, str) or len(data) > most or not (data or empty):
        raise bad(f"{what} is no text of up to {most} characters")
    try:
        data.encode()
    except UnicodeEncodeError as error:
        raise bad(f"{what} has half a character in it") from error
    return data


def texts(data: object, what: str, most: int) -> list[str]:
    """Return a list of different texts."""
    found = [text(entry, f"an entry of {what}") for entry in sequence(data, what, most)]
    if len(set(found)) != len(found):
        raise bad(f"{what} has an entry twice")
    return found


def sequence(data: object, what: str, most: int) -> list[Any]:
    """Return a list of up to `most` entries."""
    if not isinstance(data, list | tuple) or len(data) > most:
        raise bad(f"{what} is no list of up to {most:,} entries")
    return list(data)


def number(data: object, what: str) -> float:
    """Return a finite number."""
    if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
        raise bad(f"{what} is no finite number")
    return float(data)


def numbers(data: object, what: str, length: int) -> list[float]:
    """Return `length` finite numbers."""
    found = [number(entry, f"an entry of {what}") for entry in sequence(data, what, length)]
    if len(found) != length:
        raise bad(f"{what} has {len(found)} entries, not {length}")
    return found


def choice(data: object, what: str, allowed: Iterable[str]) -> str:
    """Return one of the words allowed."""
    words = list(allowed)
    if not isinstance(data, str) or data not in words:
        raise bad(f"{what} is not one of {', '.join(words)}")
    return data


def flag(data: object, what: str) -> bool:
    """Return a truth value."""
    if not isinstance(data, bool):
        raise bad(f"{what} is neither true nor false")
    return data


def count(data: object, what: str, most: int) -> int:
    """Return a whole number from 1 to `most`."""
    if isinstance(data, bool) or not isinstance(data, int) or not 1 <= data <= most:
        raise bad(f"{what} is no whole number from 1 to {most:,}")
    return data
