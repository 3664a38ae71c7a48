"""Domain keys, remembered when they are seen first (``FLAAS_HOME/pinned.json``): the API cannot swap one later."""

from __future__ import annotations

import json
from pathlib import Path

from .errors import InvalidInput, NotAuthenticated
from .home import write_private


def pin(path: Path, url: str, project: str, domain_key: str) -> None:
    """Remember a project's domain key when it is seen first, and refuse another one later.

    Raises
    ------
    NotAuthenticated
        Code ``domain-key-changed``.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        pinned = known.get(name := f"{url} {project}", domain_key)
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"{path} cannot be read ({type(error).__name__}).",
            code="bad-pins",
            hint="It holds the domain keys of the projects that were joined from here. Restore or remove it.",
        ) from error
    if pinned != domain_key:
        raise NotAuthenticated(
            f"The API gives {domain_key[:64]!r} as domain key of {project!r}; so far it was {str(pinned)[:64]}.",
            code="domain-key-changed",
            hint=f"Ask the project's administrator over another channel. If it is right, remove the entry from {path}.",
        )
    if name not in known:
        write_private(path, json.dumps({**known, name: domain_key}, indent=2).encode())
