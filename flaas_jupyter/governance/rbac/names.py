"""What may be a name: of a user, role, operation, object or exclusion set."""

from __future__ import annotations

import re
from typing import TypeGuard

from .errors import RbacInvalid

LONGEST = 200
_UNSOUND = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def is_sound(name: object) -> TypeGuard[str]:
    """Tell whether both data bases can hold `name`, and a log shows it on one line."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST and _UNSOUND.search(name) is None


def require(kind: str, name: object) -> str:
    """Return `name`.

    Raises
    ------
    RbacInvalid
        Code ``bad-name``: it cannot be the name of a `kind`.
    """
    if is_sound(name):
        return name
    raise RbacInvalid(
        f"{str(name)[:80]!r} cannot be the name of a {kind}.",
        code="bad-name",
        hint=f"Give a text of 1 to {LONGEST} characters without control characters.",
        kind=kind,
    )
