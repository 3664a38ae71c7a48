"""The domains (one per joined project) that a node is in, as one directory for its mesh."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping

from ..communications.coordinator import Coordinator
from ..communications.directory import Directory, Peer
from ..errors import FlaasError, NotAllowed

log = logging.getLogger(__name__)


class Domains:
    """Directories by project; a peer of any of them may connect, and each run asks its own project's.

    Parameters
    ----------
    projects : mapping of str to str
        Project id to the pinned public key of its domain.
    coordinator : Coordinator
        Where the directories are fetched from; what it lists is believed only as far as signatures prove it.
    """

    def __init__(self, projects: Mapping[str, str], coordinator: Coordinator) -> None:
        self._directories = {project: Directory(project, key) for project, key in projects.items()}
        self._coordinator = coordinator
        self._refreshing = asyncio.Lock()
        self._refreshed = -1.0

    def __getitem__(self, project: str) -> Directory:
        try:
            return self._directories[project]
        except KeyError:
            raise NotAllowed(
                f"This node has not joined project {project!r}.",
                code="not-joined",
                hint="Its operator joins with `flaas node join`.",
            ) from None

    def peer(self, node_id: str, now: float | None = None) -> Peer:
        """Return the member `node_id` of whichever domain knows it, with the roles of all of them."""
        found, error = [], None
        for directory in self._directories.values():
            try:
                found.append(directory.peer(node_id, now))
            except NotAllowed as refusal:
                error = refusal
        if not found:
            raise error or NotAllowed("This node has joined no project.", code="not-joined")
        roles = tuple(sorted({role for peer in found for role in peer.roles}))
        addresses = tuple(dict.fromkeys(address for peer in found for address in peer.addresses))
        return Peer(node_id, found[0].organisation, roles, addresses)

    def require(self, node_id: str, role: str, now: float | None = None) -> Peer:
        """Return the member `node_id` if any of the domains gives it `role`."""
        for directory in self._directories.values():
            with contextlib.suppress(NotAllowed):
                return directory.require(node_id, role, now)
        self.peer(node_id, now)
        raise NotAllowed(f"{node_id} has not the role {role!r} in any of this node's projects.", code="role-missing")

    @property
    def domain(self) -> str:
        """The projects' names, for messages."""
        return ", ".join(self._directories)

    async def refresh(self) -> None:
        """Fetch every directory anew; callers at the same time share one fetch."""
        asked = time.monotonic()
        async with self._refreshing:
            if self._refreshed >= asked:
                return
            began = time.monotonic()
            for project, directory in self._directories.items():
                try:
                    directory.update(await self._coordinator.get(f"/v1/projects/{project}/directory"))
                except FlaasError as error:
                    log.error("directory of %s: %s", project, error)
            self._refreshed = began
