"""Nodes compare what they know of a domain's signed documents, so that none can be kept from one of them for long.

The coordination API passes memberships, revocations and the network document on, and could withhold a revocation from
some nodes. So a node tells each peer that it dials which versions it knows, and each gets what the other has newer; and
when it starts, and now and then, it dials a few peers for nothing else.
Whoever learns of a revocation asks all that it is connected with at once, and so do they: a revocation that one
honest node has seen reaches all that are connected with it, in whichever way (anti-entropy with rumour mongering:
Demers et al., "Epidemic algorithms for replicated database maintenance", 1987). Every document is verified by
whoever takes it, under the pinned domain key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ..communications.directory import Directory, Peer
from ..communications.statements import KINDS
from ..communications.wire import Message
from ..errors import FlaasError, InvalidInput, NotAllowed, NotFound
from .domains import Domains

log = logging.getLogger(__name__)

MESSAGE = "directory/compare"
MOST_DOCUMENTS = 256
PARTNERS = 3
EVERY = 600.0
"""Seconds between comparisons with so many random peers, whoever is connected."""
_MOST_VERSIONS = 50_000

Ask = Callable[[str, Message, float], Awaitable[Message]]


class Gossip:
    """One node's part in it.

    Parameters
    ----------
    own : str
        This node's id.
    domains : Domains
        What this node knows.
    ask : coroutine function of (str, Message, float)
        Calls a peer: node id, request, seconds.
    peers : function
        Node ids of those that are connected and are nodes.
    timeout : float
        Seconds that a peer may take.
    """

    def __init__(
        self, own: str, domains: Domains, ask: Ask, peers: Callable[[], Iterable[str]], timeout: float
    ) -> None:
        self._own = own
        self._domains = domains
        self._ask = ask
        self._peers = peers
        self._timeout = timeout

    async def run(self, every: float = EVERY) -> None:
        """Compare with a few random peers, now and every so many seconds, until cancelled."""
        while True:
            partners = self._reachable()
            random.shuffle(partners)
            await asyncio.gather(*(self.exchange(peer) for peer in partners[:PARTNERS]))
            await asyncio.sleep(every)

    async def exchange(self, peer: str) -> None:
        """Compare with one peer, in every domain that it is in. What fails is logged, not raised."""
        for directory in self._domains.directories():
            if not _is_member(directory, peer):
                continue
            try:
                reply = await self._send(peer, directory, {})
                theirs = _versions(reply.body.get("versions"))
                self._learn(directory, peer, reply.body.get("documents"))
                news = directory.statements.newer_than(theirs, MOST_DOCUMENTS)
                if any(news.values()):
                    await self._send(peer, directory, news)
            except (NotFound, InvalidInput) as error:
                log.info("%s does not compare directories: %s", peer[:12], error)
            except FlaasError as error:
                log.debug("directories were not compared with %s: %s", peer[:12], error)

    async def spread(self) -> None:
        """Compare with every peer that is connected."""
        await asyncio.gather(*(self.exchange(peer) for peer in self._peers()))

    async def answer(self, peer: Peer, message: Message) -> Message:
        """Answer a peer that compares."""
        directory = self._domains[str(message.body.get("domain"))]
        directory.member(peer.node_id)
        theirs = _versions(message.body.get("versions"))
        self._learn(directory, peer.node_id, message.body.get("documents"))
        statements = directory.statements
        documents = statements.newer_than(theirs, MOST_DOCUMENTS)
        return Message(MESSAGE, {"versions": statements.versions(), "documents": documents})

    def _reachable(self) -> list[str]:
        """Return the nodes that have told where they are, but for this one."""
        found: set[str] = set()
        for directory in self._domains.directories():
            for node_id in directory.members:
                with contextlib.suppress(NotAllowed):
                    if directory.require(node_id, "node").whereabouts:
                        found.add(node_id)
        return sorted(found - {self._own})

    async def _send(self, peer: str, directory: Directory, documents: dict[str, list[Any]]) -> Message:
        body = {"domain": directory.domain, "versions": directory.statements.versions(), "documents": documents}
        return await self._ask(peer, Message(MESSAGE, body), self._timeout)

    def _learn(self, directory: Directory, peer: str, documents: object) -> None:
        shown = _documents(documents)
        news = directory.learn(shown)
        if news:
            log.warning("%s: %s has shown newer %s than the API", directory.domain, peer[:12], ", ".join(sorted(news)))
            self._domains.tell(directory.domain, news)


def _is_member(directory: Directory, node_id: str) -> bool:
    try:
        directory.member(node_id)
    except NotAllowed:
        return False
    return True


def _versions(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > _MOST_VERSIONS:
        raise InvalidInput("Versions are an object of whole numbers, by key.", code="bad-message")
    if not all(isinstance(subject, str) and type(version) is int for subject, version in value.items()):
        raise InvalidInput("Versions are whole numbers, by key.", code="bad-message")
    return value


def _documents(value: object) -> dict[str, list[Any]]:
    if not isinstance(value, dict) or not set(value) <= set(KINDS):
        raise InvalidInput(f"Documents are lists of {', '.join(KINDS)}.", code="bad-message")
    if not all(isinstance(listed, list) for listed in value.values()):
        raise InvalidInput("Documents are lists.", code="bad-message")
    if sum(len(listed) for listed in value.values()) > MOST_DOCUMENTS:
        raise InvalidInput(f"At most {MOST_DOCUMENTS} documents come in one message.", code="bad-message")
    return value
