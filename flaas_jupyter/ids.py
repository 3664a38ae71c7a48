"""Ids of projects and organisations: parts of paths, of the API's and of files on this machine."""

from __future__ import annotations

import re

from .errors import InvalidInput

SLUG = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_KEY = r"[0-9a-f]{64}"


def require_project(project: object) -> str:
    """Return the id of a project; `InvalidInput` (code ``bad-project-id``) for what cannot be one."""
    if not isinstance(project, str) or not re.fullmatch(SLUG, project):
        raise InvalidInput(
            f"{str(project)[:80]!r} is not the id of a project.",
            code="bad-project-id",
            hint="Ids have 1 to 63 lower-case letters, digits or '-', which is neither the first nor the last.",
        )
    return project


def require_domain_key(domain_key: object) -> str:
    """Return a domain key; `InvalidInput` (code ``bad-domain-key``) for what cannot be one."""
    if not isinstance(domain_key, str) or not re.fullmatch(_KEY, domain_key):
        raise InvalidInput(
            f"{str(domain_key)[:80]!r} is not a domain key.",
            code="bad-domain-key",
            hint="Give the 64 hex digits that the project's administrator shows with `flaas domain init`.",
        )
    return domain_key
