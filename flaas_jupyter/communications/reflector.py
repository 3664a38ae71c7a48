"""A reflector: it tells whoever connects from which address the connection came, and nothing else.

Nodes behind a NAT learn so where peers can dial them (`reflection` asks). It is one QUIC endpoint with a key of its
own, which the domain's administrators name in the signed network document. Anybody may ask, as with a STUN server: the
answer holds only what the asker has sent. An address has to prove itself first (QUIC's Retry, RFC 9000, section 8.1),
so that nobody can ask in another's name, and each may ask so often only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self

from prometheus_client import Counter, generate_latest

from ..observability.registry import process_registry
from .carrier import NORMAL
from .identity import Identity
from .iroh_endpoint import bind_endpoint, iroh
from .reflection import ALPN
from .token_bucket import TokenBucket

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 64
_AT_ONCE_OF_ONE: Final = 8
_SECONDS: Final = 5.0
_LEAVING_SECONDS: Final = 0.5
_ADDRESSES: Final = 10_000


class Counters:
    """What a reflector counts, in a `registry` of its own: totals only."""

    def __init__(self) -> None:
        self.registry = process_registry()
        self.answers = Counter("flaas_reflector_answers", "Questions answered.", registry=self.registry)
        self.refused = Counter(
            "flaas_reflector_refused", "Questions that were not answered.", ["reason"], registry=self.registry
        )

    def render(self) -> bytes:
        """Return the metrics as text."""
        return generate_latest(self.registry)


class Reflector:
    """An endpoint that answers; make it with `bind`, and let it `serve`.

    Parameters
    ----------
    endpoint : Endpoint
        Of iroh.
    rate, rate_per_address : float
        Questions a second, of all and of one IPv4 address or IPv6 /64 (behind which there may be many nodes); bursts
        of five seconds' worth pass.
    """

    def __init__(self, endpoint: Any, rate: float = 200.0, rate_per_address: float = 10.0) -> None:
        self.counters = Counters()
        self._endpoint = endpoint
        self._all = TokenBucket(rate, 5 * rate)
        self._rate_per_address = rate_per_address
        self._by_address: OrderedDict[str, TokenBucket] = OrderedDict()
        self._asking: defaultdict[str, int] = defaultdict(int)
        self._answering: set[asyncio.Task[None]] = set()

    @classmethod
    async def bind(cls, identity: Identity, listen: Sequence[str], **rates: float) -> Self:
        """Open the sockets at `listen`, at most one ``ip:port`` of each family.

        Raises
        ------
        InvalidInput
            ``no-mesh``: iroh is not installed; ``cannot-listen``.
        """
        return cls(await bind_endpoint(identity, listen, [ALPN]), **rates)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that it is bound to."""
        return tuple(self._endpoint.bound_sockets())

    @property
    def node_id(self) -> str:
        """Its key, as the network document names it."""
        return bytes(self._endpoint.id().to_bytes()).hex()

    async def serve(self) -> None:
        """Answer until the reflector is closed."""
        while (incoming := await self._endpoint.accept_next()) is not None:
            if len(self._answering) >= _AT_ONCE:
                await self._ignore(incoming, "busy")
                continue
            task = asyncio.create_task(self._answer(incoming), name="reflector-answer")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def close(self) -> None:
        """Free the sockets; `serve` returns."""
        await self._endpoint.close()
        for task in tuple(self._answering):
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _answer(self, incoming: Any) -> None:
        answered = False
        try:
            async with asyncio.timeout(_SECONDS):
                if not await incoming.remote_addr_validated():
                    await incoming.retry()
                    return
                address = str((await incoming.remote_addr()).addr)
                with self._place(_asker(address)) as refusal:
                    if refusal:
                        await self._ignore(incoming, refusal)
                        return
                    connection = await (await incoming.accept()).connect()
                    try:
                        stream = await connection.open_uni()
                        await stream.write_all(address.encode())
                        await stream.finish()
                        self.counters.answers.inc()
                        answered = True
                        async with asyncio.timeout(_LEAVING_SECONDS):
                            await connection.closed()  # the asker closes once it has read
                    finally:
                        connection.close(NORMAL, b"")
        except (iroh().IrohError, TimeoutError) as error:
            if answered:
                return  # only the end of the connection got lost
            self.counters.refused.labels("lost").inc()
            logger.debug("a question was not answered: %s", type(error).__name__)

    @contextlib.contextmanager
    def _place(self, asker: str) -> Iterator[str | None]:
        """Hold one of an asker's places for as long as it is answered; yield why it is not."""
        if self._asking[asker] >= _AT_ONCE_OF_ONE:
            yield "busy"
            return
        self._asking[asker] += 1
        try:
            yield None if self._may_ask(asker) else "rate"
        finally:
            self._asking[asker] -= 1
            if not self._asking[asker]:
                del self._asking[asker]

    def _may_ask(self, asker: str) -> bool:
        bucket = self._by_address.pop(asker, None) or TokenBucket(self._rate_per_address, 5 * self._rate_per_address)
        self._by_address[asker] = bucket
        if len(self._by_address) > _ADDRESSES:
            self._by_address.popitem(last=False)
        return bucket.take(1) and self._all.take(1)

    async def _ignore(self, incoming: Any, reason: str) -> None:
        self.counters.refused.labels(reason).inc()
        with contextlib.suppress(iroh().IrohError):
            await incoming.ignore()


def _asker(address: str) -> str:
    """Return whose `address`, an ``ip:port``, is: an IPv4 address, or the /64 that one site has of IPv6 (RFC 6177)."""
    ip = ipaddress.ip_address(address.rpartition(":")[0].strip("[]").partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip), 64), strict=False))
