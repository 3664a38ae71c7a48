"""The domains (one per joined project) that a node is in, as one directory for its mesh."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Mapping

from ..communications.carrier import Whereabouts
from ..communications.coordinator import Coordinator
from ..communications.directory import Directory, Peer
from ..errors import FlaasError, NotAllowed
from ..home import Home
from .peers import PeerList

log = logging.getLogger(__name__)


class Domains:
    """Directories by project; a peer of any of them may connect, and each run asks its own project's.

    Parameters
    ----------
    projects : mapping of str to str
        Project id to the pinned public key of its domain.
    coordinator : Coordinator
        Where the directories are fetched from; what it lists is believed only as far as signatures prove it.
    home : Home, optional
        Keeps what administrators have signed, over restarts.
    peers : PeerList, optional
        Whom this node's owner lets in.
    """

    def __init__(
        self, projects: Mapping[str, str], coordinator: Coordinator, *, home: Home | None = None,
        peers: PeerList | None = None,
    ) -> None:  # fmt: skip
        self._directories = {
            project: Directory(
                project,
                key,
                home.domain_statements(project, key) if home else None,
                functools.partial(peers.admit, project) if peers else None,
            )
            for project, key in projects.items()
        }
        self._coordinator = coordinator
        self._peers = peers
        self._watchers: list[Callable[[str, frozenset[str]], None]] = []
        self._failures: dict[str, str] = {}
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

    def directories(self) -> tuple[Directory, ...]:
        """Return the directory of every project."""
        return tuple(self._directories.values())

    def on_news(self, callback: Callable[[str, frozenset[str]], None]) -> None:
        """Have `callback` called with project and kinds of documents whenever administrators have signed newer ones."""
        self._watchers.append(callback)

    def tell(self, project: str, kinds: frozenset[str]) -> None:
        """Tell those that watch that there are newer documents of `kinds` in `project`."""
        self._notice(self._directories[project])
        for callback in self._watchers:
            callback(project, kinds)

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
        addresses, tls, relays = (
            tuple(dict.fromkeys(each for peer in found for each in getattr(peer.whereabouts, name)))
            for name in ("addresses", "tls", "relays")
        )
        return Peer(node_id, found[0].organisation, roles, Whereabouts(addresses, tls, relays))

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

    def project_of(self, node_id: str) -> str:
        """Return the id of a project that `node_id` and this node are in; `NotAllowed` if there is none."""
        for project, directory in self._directories.items():
            with contextlib.suppress(NotAllowed):
                directory.peer(node_id)
                return project
        self.peer(node_id)
        raise NotAllowed(f"{node_id} is in none of this node's projects.", code="unknown-peer")

    async def refresh(self) -> None:
        """Fetch every directory anew; callers at the same time share one fetch."""
        asked = time.monotonic()
        async with self._refreshing:
            if self._refreshed >= asked:
                return
            began = time.monotonic()
            for project, directory in self._directories.items():
                try:
                    kinds = directory.update(await self._coordinator.get(f"/v1/projects/{project}/directory"))
                    if kinds:
                        self.tell(project, kinds)
                    else:
                        self._notice(directory)
                    self._failures.pop(project, None)
                except FlaasError as error:
                    if self._failures.get(project) != str(error):  # said once, however long the API is away
                        log.error("directory of %s: %s", project, error)
                    self._failures[project] = str(error)
            self._refreshed = began

    def _notice(self, directory: Directory) -> None:
        """Write down, for this node's owner, who is a member."""
        if self._peers is None:
            return
        members = []
        for node_id in directory.members:
            with contextlib.suppress(NotAllowed):
                members.append(directory.member(node_id))
        for peer in self._peers.notice(directory.domain, members):
            log.warning(
                "%s: %s of %s waits for this node's owner: flaas node peers",
                directory.domain,
                peer.node_id,
                peer.organisation,
            )
