"""Intersections that are too small to go on with."""

from __future__ import annotations

from ...errors import InvalidInput


def too_few(minimum: int) -> InvalidInput:
    """Return the error. It says no number: small sets, tried one after another, would tell who is among the others."""
    return InvalidInput(
        f"The parties have fewer than {minimum:,} rows in common, which is the minimum; nothing else was exchanged.",
        code="too-few-common",
        hint="Check that the id columns mean the same (same numbering, same spelling), or agree on a smaller minimum.",
        minimum=minimum,
    )
