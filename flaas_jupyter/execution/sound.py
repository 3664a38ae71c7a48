"""What is sound of the answers to one step of a secure sum: whoever's is not is left out, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import Aborted, FlaasError, InvalidInput, NotAuthenticated

R = TypeVar("R")


def take_what_is_sound(
    take: Callable[[dict[str, Any]], R],
    entries: dict[str, Any],
    phase: str,
    drop: Callable[[str, str, FlaasError], None],
) -> R:
    """Hand `entries` to `take` until it accepts them.

    Parameters
    ----------
    take : callable
        Checks all entries; its error names the member at fault in ``details["member"]``.
    entries : dict
        By member; those at fault are removed.
    phase : str
        For messages.
    drop : callable
        Told of each member that is left out: its id, the phase and the error.

    Raises
    ------
    Aborted
        The entries are refused, and nobody's fault.
    """
    while True:
        try:
            return take(entries)
        except (InvalidInput, NotAuthenticated) as error:
            member = error.details.get("member")
            if member not in entries:
                raise Aborted(f"The {phase} phase failed: {error.message}", code=error.code) from error
            del entries[member]
            drop(member, phase, error)
