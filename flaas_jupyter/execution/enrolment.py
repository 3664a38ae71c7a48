"""Where a node belongs: its name, the coordination API, and the projects it joined with their pinned domain keys.

Kept in ``node.json``, written by ``flaas node init`` and ``flaas node join``. The owner's policy stands apart in
``node.toml``, which people edit.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..errors import Conflict, InvalidInput
from ..home import write_private
from ..ids import require_domain_key, require_project

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Enrolment:
    """A node's name and what it joined.

    Parameters
    ----------
    name : str
        Unique in its organisation: lower-case letters, digits, ``.``, ``_``, ``-``.
    url : str
        The coordination API, empty until the node joins.
    organisation : str
        As the API told it on joining.
    projects : dict of str to str
        Project id to the domain's public key (64 hex digits), pinned on joining: the API cannot replace it later.
    """

    name: str
    url: str = ""
    organisation: str = ""
    projects: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"{self.name!r} is not a node name.",
                code="bad-node-name",
                hint="Use 1 to 63 lower-case letters, digits, '.', '_' or '-', starting with a letter or digit.",
            )

    def joined(self, url: str, organisation: str, project: str, domain_key: str) -> Enrolment:
        """Return this enrolment with `project` added; a pinned domain key is never replaced."""
        pinned = self.projects.get(require_project(project))
        require_domain_key(domain_key)
        if pinned is not None and pinned != domain_key:
            raise Conflict(
                f"Project {project!r} is pinned to domain key {pinned}, not {domain_key}.",
                code="domain-key-changed",
                hint="Ask the administrator over another channel why it changed before you join anew.",
            )
        if self.url and self.url != url:
            raise Conflict(
                f"This node belongs to {self.url}, not {url}.",
                code="other-api",
                hint="Use another FLAAS_HOME for a node of another coordination API.",
            )
        projects = {**self.projects, project: domain_key}
        return replace(self, url=url, organisation=organisation, projects=projects)

    def save(self, path: Path) -> None:
        """Write the file, readable by its owner alone."""
        write_private(path, json.dumps(asdict(self), indent=2).encode())

    @classmethod
    def load(cls, path: Path) -> Enrolment:
        """Read the file.

        Raises
        ------
        InvalidInput
            ``no-node`` where `flaas node init` has not run, ``bad-node-file`` where the file is damaged.
        """
        if not path.exists():
            raise InvalidInput(
                f"There is no node in {path.parent}.",
                code="no-node",
                hint="Run `flaas node init --name NAME` first.",
            )
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"{path} cannot be read ({type(error).__name__}).",
                code="bad-node-file",
                hint="Restore it, or run `flaas node init` and `flaas node join` again in a new FLAAS_HOME.",
            ) from error
