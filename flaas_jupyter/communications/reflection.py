"""By which addresses the outside sees this node, asked of the domain's reflectors again and again.

Behind a NAT a node's own addresses are of no use to peers. A reflector answers with the address that a connection
came from; as all that an endpoint sends goes through one UDP port, that is where peers have to dial, as long as the
NAT keeps it: so it is asked again before NATs forget (RFC 4787, REQ-5: two minutes, often less), and at once when this
machine's own addresses have changed. The reflector's key is in the signed network document; the worst that it could
do is to have peers knock at a wrong address.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ..errors import InvalidInput, Unreachable
from .network import ReflectorSite
from .signed_fields import is_address

logger = logging.getLogger(__name__)

ALPN = b"flaas/reflect/1"
LONGEST_ANSWER = 64
"""Bytes of an answer: ``[ip6]:port`` has at most 47."""
_EVERY = 40.0
_AGAIN = 5.0
_ANSWER_SECONDS = 5.0

Ask = Callable[[str, Sequence[str]], Awaitable[str]]
"""Given a reflector's key and addresses, returns what it answers."""


class Reflection:
    """Keeps the addresses that reflectors see.

    Parameters
    ----------
    ask : coroutine function of (str, sequence of str)
        Asks a reflector over the node's own UDP port.
    add, remove : coroutine function of str
        Tell the endpoint of an address of its own, and that it is none any more.
    """

    def __init__(
        self, ask: Ask, add: Callable[[str], Awaitable[object]], remove: Callable[[str], Awaitable[object]]
    ) -> None:
        self._ask, self._add, self._remove = ask, add, remove
        self._seen: dict[str, str] = {}
        self._moved = asyncio.Event()
        self._problems: dict[str, str] = {}

    @property
    def problem(self) -> str | None:
        """Why reflectors have told no address, of each family that none has told of; None if all is well."""
        return "; ".join(self._problems[family] for family in sorted(self._problems)) or None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that were seen last, at most one of each family."""
        return tuple(self._seen.values())

    def moved(self) -> None:
        """Ask anew at once: this machine's addresses, or the reflectors, have changed."""
        self._moved.set()

    async def run(self, reflectors: Callable[[], Sequence[ReflectorSite]]) -> None:
        """Ask until cancelled; `reflectors` tells whom, in which order."""
        while True:
            self._moved.clear()
            answered = await self.look(reflectors())
            try:
                await asyncio.wait_for(self._moved.wait(), _EVERY if answered else _AGAIN)
            except TimeoutError:
                continue

    async def look(self, reflectors: Sequence[ReflectorSite]) -> bool:
        """Ask once, in each family the first that answers; tell whether one has, or there was nobody to ask."""
        if not reflectors:
            await self._replace("4", None)
            await self._replace("6", None)
            self._problems.clear()
            return True
        answered = await asyncio.gather(*(self._look(family, reflectors) for family in ("4", "6")))
        return any(answered)

    async def _look(self, family: str, reflectors: Sequence[ReflectorSite]) -> bool:
        silent: list[str] = []
        for site in reflectors:
            addresses = [address for address in site.addresses if address.startswith("[") == (family == "6")]
            if not addresses:
                continue
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    seen = await self._ask(site.node_id, addresses)
                if not is_address(seen):
                    raise InvalidInput(f"It answered {seen[:80]!r}, which is no ip:port.", code="bad-reflection")
            except (Unreachable, InvalidInput, TimeoutError, EOFError) as error:
                why = str(error) or f"no answer within {_ANSWER_SECONDS:g} s"
                silent.append(f"the reflector {site.node_id[:12]}… at {', '.join(addresses)}: {why.rstrip('.')}")
                continue
            silent.clear()
            if seen.startswith("[") != (family == "6"):
                continue  # the core knows the reflector's other addresses too, and may have gone there
            await self._replace(family, seen)
            self._note(family, [])
            return True
        self._note(family, silent)
        return False

    def _note(self, family: str, silent: Sequence[str]) -> None:
        """Keep what those of one family have answered instead of an address, and log it when it changes."""
        problem = "; ".join(silent)
        if problem and problem != self._problems.get(family):
            logger.warning("no address is known by which the outside sees this node over IPv%s: %s", family, problem)
        if problem:
            self._problems[family] = problem
        else:
            self._problems.pop(family, None)

    async def _replace(self, family: str, seen: str | None) -> None:
        old = self._seen.get(family)
        if old == seen:
            return
        if old is not None:
            del self._seen[family]
            await self._remove(old)
        if seen is not None:
            self._seen[family] = seen
            await self._add(seen)
            logger.info("the outside sees this node at %s", seen)
