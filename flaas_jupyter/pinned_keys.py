"""Domain keys, remembered when they are seen first (``FLAAS_HOME/pinned.json``): the API cannot swap one later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InvalidInput, NotAuthenticated
from .home import write_private


def require_asked(project: str, described: Mapping[str, Any]) -> None:
    """Refuse the description of another project than the one asked for, whose key would be pinned under its own id.

    Raises
    ------
    NotAuthenticated
        Code ``wrong-project``.
    """
    if described.get("id") != project:
        raise NotAuthenticated(
            f"The API was asked for project {project!r} and answers with {str(described.get('id'))[:64]!r}.",
            code="wrong-project",
            hint="Ask the project's administrator over another channel; do not use what this API answers.",
        )


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
