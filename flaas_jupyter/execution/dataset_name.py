"""What a data set may be called: the registry's rule, which names in the messages of peers are held against as well."""

from __future__ import annotations

import re

from ..errors import NotFound

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_name(name: object) -> bool:
    """Tell whether a data set can have this name; whatever has it is one part of a path, and no folder above."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def unknown(name: str) -> NotFound:
    """Return what peers are told of a data set that is not there, or not for them: which one, and not what there is."""
    return NotFound(
        f"This node offers no data set {name[:64]!r} here.",
        code="unknown-dataset",
        hint="project.datasets() in the notebook shows what there is; its operator decides what is offered.",
    )
