"""What a node tells the coordination API of its connections with other nodes: by which kind of path, how fast.

No addresses are told, and nothing of people's notebooks that are connected.

People look there to see whether the mesh is whole. The API forgets it after a minute, so it is told anew before that;
a connection that is there, gone, or of another kind is told as soon as may be.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..communications.coordinator import Coordinator
from ..communications.directory import Peers
from ..communications.mesh import PeerStatus
from ..errors import FlaasError, NotAllowed

log = logging.getLogger(__name__)

PAUSE = 10.0
"""Seconds between reports, whatever changes."""
RENEWAL = 30.0
"""Seconds after which the same is told again."""
_LOOK = 1.0
_MOST = 1000


class LinkReports:
    """Reports of one node.

    Parameters
    ----------
    node_id : str
        The node.
    status : callable
        Returns how each peer is reached now; see `Mesh.status`.
    directory : Peers
        Who is a node among the peers.
    coordinator : Coordinator
        The API, signed in to with the node's key.
    """

    def __init__(
        self,
        node_id: str,
        status: Callable[[], Sequence[PeerStatus]],
        directory: Peers,
        coordinator: Coordinator,
    ) -> None:
        self._path = f"/v1/nodes/{node_id}/links"
        self._status = status
        self._directory = directory
        self._coordinator = coordinator
        self._told: dict[str, str] | None = None
        self._when = float("-inf")

    async def run(self) -> None:
        """Report for ever."""
        while True:
            links = self.due(time.monotonic())
            if links is not None:
                try:
                    await self._coordinator.put(self._path, {"links": links}, retry_for=0)
                except FlaasError as error:
                    self._told = None
                    log.info("the connections could not be reported: %s", error)
            await asyncio.sleep(_LOOK)

    def due(self, now: float) -> list[dict[str, Any]] | None:
        """Return what is to be reported at `now` (seconds, never going back); None if nothing is as yet."""
        links = [_shown(peer) for peer in self._status() if peer.path is not None and self._is_node(peer)][:_MOST]
        kinds = {link["node_id"]: link["kind"] for link in links}
        if now - self._when < (RENEWAL if kinds == self._told else PAUSE):
            return None
        self._told, self._when = kinds, now
        return links

    def _is_node(self, peer: PeerStatus) -> bool:
        try:
            return "node" in self._directory.peer(peer.node_id).roles
        except NotAllowed:
            return False


def _shown(peer: PeerStatus) -> dict[str, Any]:
    assert peer.path is not None
    return {
        "node_id": peer.node_id,
        "kind": peer.path.kind,
        "rtt": None if peer.path.rtt is None else round(peer.path.rtt, 6),
        "throughput": None if peer.throughput is None else round(peer.throughput),
        "bytes": peer.bytes_sent + peer.bytes_received,
    }
