"""Who may use the relay: the members of the domains that it serves, as their signed directories say.

The directories are asked for every two seconds (an unchanged one costs a 304) and verified here, so the coordination
API can neither let somebody in nor, once a revocation was seen, bring somebody back. While the API cannot be reached
what is known stays in force, memberships until they end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote

from ...errors import FlaasError, NotAllowed
from ..coordinator import Coordinator
from ..directory import Directory

logger = logging.getLogger(__name__)

EVERY: Final = 2.0
"""Seconds between two looks at a directory."""
RELAY: Final = "relay"


class Admission:
    """The directories of the domains that a relay serves.

    Parameters
    ----------
    directories : iterable of Directory
        One for each project, with the domain key that was pinned on joining.
    coordinator : Coordinator
        Where they are fetched, as the relay's own node.
    every : float
        Seconds between two looks.
    """

    def __init__(self, directories: Iterable[Directory], coordinator: Coordinator, every: float = EVERY) -> None:
        self._directories = {directory.domain: directory for directory in directories}
        self._coordinator = coordinator
        self._every = every
        self._seen: dict[str, str | None] = {}
        self._fetched: dict[str, float] = {}
        self._failing: set[str] = set()

    @property
    def is_ready(self) -> bool:
        """Tell whether every directory has been verified at least once."""
        return bool(self._directories) and len(self._fetched) == len(self._directories)

    @property
    def age(self) -> float:
        """Seconds since the directory that is oldest was confirmed; infinite before all were read."""
        return time.monotonic() - min(self._fetched.values()) if self.is_ready else float("inf")

    @property
    def known(self) -> frozenset[str]:
        """Node ids for which a membership is listed in any domain."""
        return frozenset().union(*(directory.members for directory in self._directories.values()))

    def domains(self, node_id: str) -> frozenset[str]:
        """Return the domains in which `node_id` may send and receive now.

        Raises
        ------
        NotAllowed
            It is a member of none: ``unknown-peer``, ``membership-expired``, ``membership-not-yet``; or it is a relay
            itself: ``role-missing``.
        """
        found = set()
        refusal = NotAllowed("This relay serves no domain.", code="unknown-peer")
        for domain, directory in self._directories.items():
            try:
                peer = directory.peer(node_id)
            except NotAllowed as error:
                refusal = error
                continue
            if set(peer.roles) - {RELAY}:
                found.add(domain)
            else:
                refusal = NotAllowed(f"{node_id} is in {domain!r} as a relay only.", code="role-missing")
        if not found:
            raise refusal
        return frozenset(found)

    async def refresh(self) -> bool:
        """Fetch every directory once; tell whether one of them has changed. What fails is logged, not raised."""
        changed = [await self._fetch(domain, directory) for domain, directory in self._directories.items()]
        return any(changed)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Fetch the directories for ever, and call `changed` when one has."""
        while True:
            if await self.refresh():
                changed()
            await asyncio.sleep(self._every)

    async def _fetch(self, domain: str, directory: Directory) -> bool:
        path = f"/v1/projects/{quote(domain, safe='')}/directory"
        try:
            listing = await self._coordinator.get(path, retry_for=0.0)
            tag = self._coordinator.etag(path)
            changed = tag is None or tag != self._seen.get(domain)
            if changed:
                directory.update({**listing, "records": []})  # where nodes are is nothing to a relay
        except FlaasError as error:
            if domain not in self._failing:  # once, not every two seconds
                self._failing.add(domain)
                logger.error("the directory of %s is not to be had, what is known stays in force: %s", domain, error)
            return False
        if domain in self._failing:
            self._failing.discard(domain)
            logger.info("the directory of %s is up to date again", domain)
        self._seen[domain] = tag
        self._fetched[domain] = time.monotonic()
        return changed
