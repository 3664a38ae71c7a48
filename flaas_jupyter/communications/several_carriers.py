"""Several transports as one: the first is dialled first, the next soon after, and what works first is taken."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence

from ..errors import Unreachable
from .carrier import NORMAL, Carrier, Connection, Way, Whereabouts
from .identity import Identity
from .iroh_carrier import IrohCarrier
from .mesh_settings import CarrierName, MeshSettings
from .network import Network
from .race import first_of
from .tls_carrier import TlsCarrier

HEAD_START = 0.5
"""Seconds that a transport has before the next is tried as well."""
_PENDING = 64


async def bind_carriers(
    identity: Identity, settings: MeshSettings, networks: Callable[[], Sequence[Network]]
) -> Carrier:
    """Bind what the settings' ``carriers`` name; see `IrohCarrier.bind` and `TlsCarrier.bind`, also for errors."""
    by_name: Mapping[CarrierName, type[IrohCarrier | TlsCarrier]] = {"iroh": IrohCarrier, "tls": TlsCarrier}
    carriers: list[Carrier] = []
    try:
        for name in settings.carriers:
            carriers.append(await by_name[name].bind(identity, settings, networks))
    except BaseException:
        await asyncio.gather(*(carrier.close() for carrier in carriers))
        raise
    return carriers[0] if len(carriers) == 1 else SeveralCarriers(carriers)


class SeveralCarriers:
    """Carriers of one node, the preferred one first.

    Parameters
    ----------
    carriers : sequence of Carrier
        Bound to the same key; this one closes them.
    """

    def __init__(self, carriers: Sequence[Carrier]) -> None:
        self._carriers = tuple(carriers)
        self._incoming: asyncio.Queue[Connection] = asyncio.Queue(_PENDING)
        self._accepting = [asyncio.create_task(self._accept(each), name="mesh-carrier") for each in self._carriers]
        self._moves: dict[Carrier, asyncio.Task[None]] = {}

    @property
    def whereabouts(self) -> Whereabouts:
        """Where this node can be reached by any of them."""
        found = [carrier.whereabouts for carrier in self._carriers]
        return Whereabouts(
            addresses=tuple(address for here in found for address in here.addresses),
            tls=tuple(address for here in found for address in here.tls),
            relays=tuple(relay for here in found for relay in here.relays),
        )

    @property
    def is_open(self) -> bool:
        """Tell whether peers can connect by all of them."""
        return all(carrier.is_open for carrier in self._carriers) and not any(task.done() for task in self._accepting)

    async def moved(self) -> None:
        """Return once `whereabouts` has changed since the last time."""
        for carrier in self._carriers:
            if carrier not in self._moves:
                self._moves[carrier] = asyncio.create_task(carrier.moved(), name="mesh-carrier")
        await asyncio.wait(self._moves.values(), return_when=asyncio.FIRST_COMPLETED)
        for carrier, move in list(self._moves.items()):
            if move.done():
                del self._moves[carrier]
                move.result()

    def ways(self, whereabouts: Whereabouts) -> tuple[Way, ...]:
        """Return the ways of all of them."""
        return tuple(way for carrier in self._carriers for way in carrier.ways(whereabouts))

    async def dial(self, node_id: str, whereabouts: Whereabouts) -> Connection:
        """Connect by whichever works first."""
        able = [carrier for carrier in self._carriers if carrier.ways(whereabouts)]
        if not able:
            raise Unreachable(f"There is no way to {node_id}.", code="no-way", node=node_id)
        return await first_of(
            [functools.partial(carrier.dial, node_id, whereabouts) for carrier in able],
            stagger=HEAD_START,
            discard=lambda late: late.close(NORMAL, "another connection came first"),
            fails=(Unreachable,),
        )

    async def accept(self) -> Connection:
        """Return the next connection that a peer opened by any of them."""
        return await self._incoming.get()

    async def close(self) -> None:
        """Close all of them."""
        tasks = (*self._accepting, *self._moves.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(carrier.close() for carrier in self._carriers))

    async def _accept(self, carrier: Carrier) -> None:
        while True:
            await self._incoming.put(await carrier.accept())
