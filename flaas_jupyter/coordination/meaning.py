"""What a problem's code means to whoever reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What a code means, what to do about it, and its status if that is not its kind's."""

    title: str
    remedy: str
    status: int | None = None
