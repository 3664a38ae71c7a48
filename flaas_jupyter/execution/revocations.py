"""Weights that no run may start from: what the coordination API has revoked, kept at the node.

Entries are only ever added. Who takes the API over later cannot bring revoked weights back at a node that has heard of
their revocation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, NotAllowed
from ..home import write_private

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_REASON = 1000


class Revocations:
    """Revoked weights by project.

    Parameters
    ----------
    path : Path
        The file, ``revoked.json`` in `FLAAS_HOME`.

    Raises
    ------
    InvalidInput
        Code ``bad-revocations``: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, str]] = {}
        if path.exists():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                self._known = {
                    str(project): {str(digest): str(reason) for digest, reason in entries.items()}
                    for project, entries in stored.items()
                }
            except (OSError, ValueError, AttributeError) as error:
                raise InvalidInput(
                    f"{path} cannot be read ({type(error).__name__}).",
                    code="bad-revocations",
                    hint="Restore it; or remove it, and the node asks the coordination API anew.",
                ) from error

    def learn(self, project: str, versions: Iterable[Mapping[str, Any]]) -> int:
        """Add the revoked ones of `versions` (as the API lists them); return how many are new."""
        known = dict(self._known.get(project, {}))
        before = len(known)
        for version in versions:
            digest = str(version.get("digest"))
            if version.get("state") == "revoked" and _DIGEST.fullmatch(digest):
                known.setdefault(digest, str(version.get("reason") or "no reason given")[:_LONGEST_REASON])
        new = len(known) - before
        if new:
            self._known = {**self._known, project: known}
            write_private(self._path, json.dumps(self._known).encode())
        return new

    def require_not_revoked(self, project: str, digest: str) -> None:
        """Check that weights may be trained from.

        Raises
        ------
        NotAllowed
            Code ``model-revoked``.
        """
        reason = self._known.get(project, {}).get(digest)
        if reason is not None:
            raise NotAllowed(
                f"The weights {digest[:12]}… are revoked in project {project!r}: {reason}",
                code="model-revoked",
                hint="Start from another version, or from fresh weights.",
                digest=digest,
            )
