"""The mesh over QUIC with iroh: a peer is dialled by its Ed25519 key, which is our node id bit for bit.

The core climbs most of the ladder by itself: one dial tries all of the peer's addresses and a relay at the same time,
what arrives first is used, and a path that turns out better is changed to while bytes flow. What it needs for that is
kept up here, as the domains' signed network documents and this machine's settings say: a `Shim` for every relay, the
addresses that reflectors see, and sockets that are bound to loopback where peers may not connect directly.

A relay is known to the core by the shim's URL on this machine, and to peers, records and people by its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import FlaasError, Unreachable
from . import reflection
from .carrier import NORMAL, Closing, Path, Way, Whereabouts
from .identity import Identity
from .iroh_endpoint import LOOPBACK, bind_endpoint, iroh, losses, relay_config
from .mesh_settings import MeshSettings
from .network import Network, ReflectorSite, RelaySite
from .reflection import Reflection
from .shim import Shim
from .signed_fields import is_address
from .wire import Buffer

logger = logging.getLogger(__name__)

ALPN = b"flaas/mesh/1"
HANDSHAKE_SECONDS = 10.0
_MAX_STREAMS = 256
_PENDING_CONNECTIONS = 64
_MOST_ADDRESSES = 16
_RELAY_PATIENCE = 1.5
"""Seconds for which a relay may be away before another is preferred: a restart takes less."""
_LOOK_AROUND = 0.5
"""Seconds after which the carrier looks whether its addresses or the networks have changed: to be told by the bindings
needs an event loop for the whole process, and there may be several."""
_CLOSED_BY_PEER = re.compile(r"closed by peer: (?P<reason>.*) \(code (?P<code>\d+)\)", re.DOTALL)


class IrohCarrier:
    """A QUIC endpoint and its ways out; make it with `bind`."""

    def __init__(self, identity: Identity, settings: MeshSettings, networks: Callable[[], Sequence[Network]]) -> None:
        self._identity = identity
        self._settings = settings
        self._networks = networks
        self._applied: tuple[Network, ...] = ()
        self._endpoint: Any = None
        self._hidden = False
        self._shims: dict[RelaySite, Shim] = {}
        self._away: dict[RelaySite, asyncio.Task[None]] = {}
        self._reflection = Reflection(self._reflect, self._add_external, self._remove_external)
        self._incoming: asyncio.Queue[IrohConnection] = asyncio.Queue(_PENDING_CONNECTIONS)
        self._handshakes: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: asyncio.Task[None] | None = None
        self._told = Whereabouts()
        self._moved = asyncio.Event()

    @classmethod
    async def bind(
        cls,
        identity: Identity,
        settings: MeshSettings | None = None,
        networks: Callable[[], Sequence[Network]] = tuple,
    ) -> IrohCarrier:
        """Open the sockets, and ways to the relays.

        Parameters
        ----------
        identity : Identity
            The node's; its key is the endpoint's.
        settings : MeshSettings, optional
            This machine's. The default listens on loopback.
        networks : callable, optional
            Returns the signed network documents of the domains that the node is in; a change is taken up within a
            second.

        Raises
        ------
        InvalidInput
            Code ``no-mesh``: iroh is not installed; ``cannot-listen``: the address cannot be bound;
            ``bad-proxy``.
        """
        carrier = cls(identity, settings or MeshSettings(), networks)
        try:
            with contextlib.suppress(Unreachable):  # a relay; `_look_around` tells of it, and tries again
                await carrier._take_up_networks()
        except BaseException:
            await carrier.close()
            raise
        carrier._told = carrier.whereabouts
        carrier._tasks = [
            asyncio.create_task(carrier._look_around(), name="iroh-look-around"),
            asyncio.create_task(carrier._reflection.run(carrier._reflectors), name="iroh-reflection"),
        ]
        for task in carrier._tasks:
            task.add_done_callback(_report)
        return carrier

    # ---- where this node is -------------------------------------------------------------------------------------

    @property
    def whereabouts(self) -> Whereabouts:
        """Where this node can be reached; nowhere once it is closed."""
        if self._endpoint is None:
            return Whereabouts()
        here = self._endpoint.addr()
        addresses = () if self._hidden else (*self._reflection.addresses, *here.direct_addresses())
        known = dict.fromkeys(address for address in addresses if _is_dialable(address))
        home = [site.url for site, shim in self._shims.items() if _same_url(shim.url, here.relay_url())]
        return Whereabouts(addresses=tuple(known)[:_MOST_ADDRESSES], relays=tuple(home))

    @property
    def is_open(self) -> bool:
        """Tell whether peers can connect."""
        return self._endpoint is not None and self._listener is not None and not self._listener.done()

    async def moved(self) -> None:
        """Return once `whereabouts` has changed since the last time."""
        await self._moved.wait()
        self._moved.clear()

    async def _look_around(self) -> None:
        told: list[str] = []
        while True:
            await asyncio.sleep(_LOOK_AROUND)
            problems = []
            for step in (self._take_up_networks, self._route_around, self._notice_move):
                try:
                    async with losses("the mesh's core failed"):
                        await step()
                except (FlaasError, OSError) as error:
                    problems.append(str(error))
            if problems != told:  # not twice a second
                for problem in problems:
                    logger.error("the domain's network could not be taken up: %s", problem)
                if not problems:
                    logger.info("the domain's network is taken up again")
                told = problems

    async def _notice_move(self) -> None:
        if (now := self.whereabouts) != self._told:
            if now.addresses != self._told.addresses:
                self._reflection.moved()
            self._told = now
            self._moved.set()

    # ---- the way out --------------------------------------------------------------------------------------------

    async def _take_up_networks(self) -> None:
        """Bring endpoint, shims and reflectors in line with the networks, as far as they are not."""
        networks = tuple(self._networks())
        direct = self._settings.direct_with(networks)
        hidden = direct == "never"
        if self._endpoint is None or hidden != self._hidden:
            await self._rebind(hidden)
        if networks != self._applied:
            self._applied = networks
            self._reflection.moved()
        await self._set_relays([] if direct == "only" else _relays(networks))

    async def _rebind(self, hidden: bool) -> None:
        """Open an endpoint in place of the one there is, whose connections end.

        Two endpoints tell each other all their addresses once they are connected, by way of a relay too. Where peers
        may not learn them the sockets are bound to loopback, so that there is nothing to tell.
        """
        await self._unbind()
        listen = LOOPBACK if hidden else self._settings.listen
        relays = [shim.url for shim in self._shims.values()]
        self._endpoint = await bind_endpoint(self._identity, listen, [ALPN], relays)
        self._hidden = hidden
        self._listener = asyncio.create_task(self._listen(self._endpoint), name="iroh-listen")

    async def _unbind(self) -> None:
        if self._endpoint is None:
            return
        # The core frees the sockets with the last handle to them, and a cancelled accept would keep one.
        endpoint, self._endpoint = self._endpoint, None
        await endpoint.close()
        if self._listener is not None:
            await asyncio.gather(self._listener, return_exceptions=True)
        for task in tuple(self._handshakes):
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    async def _set_relays(self, wanted: Sequence[RelaySite]) -> None:
        """Open and close ways to relays until there are those that are wanted; one that fails leaves the others be.

        Raises
        ------
        InvalidInput
            ``bad-proxy``.
        Unreachable
            Codes ``relay-unusable``, ``stream-lost``. Of those that fail, the first.
        """
        failures: list[FlaasError] = []
        for site in [*self._shims, *(site for site in wanted if site not in self._shims)]:
            try:
                async with losses(f"there is no way to {site.url}"):
                    if site not in wanted:
                        await self._close_relay(site)
                    elif site not in self._shims:
                        await self._open_relay(site)
            except FlaasError as error:
                failures.append(error)
            except OSError as error:
                failures.append(Unreachable(f"There is no way to {site.url}: {error}.", code="relay-unusable"))
        if failures:
            raise failures[0]

    async def _open_relay(self, site: RelaySite) -> None:
        shim = await Shim.open(site.url, self._settings.trust_of(site), self._settings.proxy_to(site.url))
        try:
            await self._endpoint.insert_relay(relay_config(shim.url))
        except BaseException:
            await shim.close()
            raise
        self._shims[site] = shim

    async def _close_relay(self, site: RelaySite) -> None:
        await self._endpoint.remove_relay(self._shims[site].url)
        if away := self._away.pop(site, None):
            away.cancel()
        await self._shims.pop(site).close()

    async def _route_around(self) -> None:
        """Take relays that cannot be reached out of the core's choice while there is another, until they are back.

        By itself the core takes most of a minute to settle at another relay than the one that it had.
        """
        if self._endpoint is None:
            return
        for site in [site for site, back in self._away.items() if back.done()]:
            del self._away[site]
            await self._endpoint.insert_relay(relay_config(self._shims[site].url))
        here = [site for site in self._shims if site not in self._away]
        patience = time.monotonic() - _RELAY_PATIENCE
        gone = [site for site in here if (since := self._shims[site].failing_since) is not None and since < patience]
        if len(gone) < len(here):
            for site in gone:
                await self._endpoint.remove_relay(self._shims[site].url)
                self._away[site] = asyncio.create_task(self._shims[site].reached(), name="iroh-relay-away")

    def _reflectors(self) -> list[ReflectorSite]:
        if self._hidden:
            return []
        return list({site.node_id: site for network in self._applied for site in network.reflectors}.values())

    async def _reflect(self, node_id: str, addresses: Sequence[str]) -> str:
        if self._endpoint is None:
            raise Unreachable("The mesh is closed.", code="mesh-closed")
        target = iroh().EndpointAddr(iroh().EndpointId.from_string(node_id), None, list(addresses))
        async with losses("no answer"):
            connection = await self._endpoint.connect(target, reflection.ALPN)
            try:
                stream = await connection.accept_uni()
                return bytes(await stream.read_to_end(reflection.LONGEST_ANSWER)).decode("ascii", "replace")
            finally:
                connection.close(NORMAL, b"")

    async def _add_external(self, address: str) -> None:
        if self._endpoint is not None:
            with contextlib.suppress(iroh().IrohError):  # it is published all the same
                await self._endpoint.add_external_addr(address)

    async def _remove_external(self, address: str) -> None:
        if self._endpoint is not None:
            with contextlib.suppress(iroh().IrohError):
                await self._endpoint.remove_external_addr(address)

    # ---- connections --------------------------------------------------------------------------------------------

    def ways(self, whereabouts: Whereabouts) -> tuple[Way, ...]:
        """Return what `dial` tries, and what stands in the way of the rest."""
        ways = [Way("direct", address, self._no_direct(address)) for address in whereabouts.addresses]
        by_url = {site.url: shim for site, shim in self._shims.items()}
        for url in whereabouts.relays:
            shim = by_url.get(url)
            if shim is None:
                never = self._settings.direct_with(self._applied) == "only"
                why = 'this side uses no relays (direct = "only")' if never else "this side does not know this relay"
                ways.append(Way("relay", url, why))
            else:
                ways.append(Way("relay", url, shim.problem.message if shim.problem else None))
        return tuple(ways)

    def _no_direct(self, address: str) -> str | None:
        if self._hidden:
            return 'direct connections are not allowed (direct = "never")'
        return None if _is_dialable(address) else "it is no address to dial"

    async def dial(self, node_id: str, whereabouts: Whereabouts) -> IrohConnection:
        """Connect to `node_id`; the core has no deadline under 30 s, so the caller sets one."""
        ways = self.ways(whereabouts)
        addresses = [way.remote for way in ways if way.kind == "direct" and way.problem is None]
        by_url = {site.url: shim.url for site, shim in self._shims.items()}
        relays = [way for way in ways if way.kind == "relay" and way.remote in by_url]
        relays.sort(key=lambda way: way.problem is not None)  # one that had a problem may be back
        relay = by_url[relays[0].remote] if relays else None
        if self._endpoint is None or not (addresses or relay):
            raise Unreachable(f"There is no way to {node_id}.", code="no-way", node=node_id)
        target = iroh().EndpointAddr(iroh().EndpointId.from_string(node_id), relay, addresses)
        async with losses(f"no connection to {node_id}"):
            return IrohConnection(await self._endpoint.connect(target, ALPN), self._relay_named)

    def _relay_named(self, url: str) -> str:
        return next((site.url for site, shim in self._shims.items() if _same_url(shim.url, url)), url)

    async def accept(self) -> IrohConnection:
        """Return the next connection that a peer opened and proved its key on."""
        return await self._incoming.get()

    async def close(self) -> None:
        """End all connections and free the sockets."""
        tasks = (*self._tasks, *self._away.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._unbind()
        await asyncio.gather(*(shim.close() for shim in self._shims.values()))
        self._shims.clear()

    async def _listen(self, endpoint: Any) -> None:
        while (incoming := await endpoint.accept_next()) is not None:
            if len(self._handshakes) >= _PENDING_CONNECTIONS:  # strangers may knock; they may not pile up
                with contextlib.suppress(iroh().IrohError):
                    await incoming.refuse()
                continue
            task = asyncio.create_task(self._handshake(incoming), name="iroh-handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, incoming: Any) -> None:
        with contextlib.suppress(iroh().IrohError, TimeoutError):
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                connection = await (await incoming.accept()).connect()
            await self._incoming.put(IrohConnection(connection, self._relay_named))


class IrohConnection:
    """A QUIC connection with one peer."""

    def __init__(self, connection: Any, relay_named: Callable[[str], str] = str) -> None:
        self._connection = connection
        self._relay_named = relay_named
        self.node_id: str = bytes(connection.remote_id().to_bytes()).hex()
        connection.set_max_concurrent_bi_streams(_MAX_STREAMS)

    @property
    def is_open(self) -> bool:
        """Tell whether the connection still stands."""
        return self._connection.close_reason() is None

    @property
    def path(self) -> Path | None:
        """The path that the core sends on now."""
        for path in self._connection.paths():
            if path.is_selected:
                rtt = path.rtt_ms / 1000
                if path.is_relay:
                    return Path("relay", self._relay_named(path.remote_addr), rtt)
                return Path("direct", path.remote_addr, rtt)
        return None

    async def open_stream(self) -> IrohStream:
        """Open a stream."""
        async with losses("the connection is lost"):
            return IrohStream(await self._connection.open_bi())

    async def accept_stream(self) -> IrohStream:
        """Return the next stream that the peer opened."""
        async with losses("the connection is lost"):
            return IrohStream(await self._connection.accept_bi())

    async def closed(self) -> Closing:
        """Wait for the end of the connection."""
        words = await self._connection.closed()
        match = _CLOSED_BY_PEER.fullmatch(words)
        return Closing(int(match["code"]), match["reason"]) if match else Closing(None, words)

    def close(self, code: int, reason: str) -> None:
        """End the connection at once."""
        with contextlib.suppress(iroh().IrohError):
            self._connection.close(code, reason.encode())


class IrohStream:
    """A bidirectional QUIC stream."""

    def __init__(self, stream: Any) -> None:
        self._send, self._receive = stream.send(), stream.recv()

    async def prioritise(self, priority: int) -> None:
        """Have the core send what is more urgent first."""
        async with losses("the stream is lost"):
            await self._send.set_priority(priority)

    async def write(self, data: Buffer) -> None:
        """Send `data`."""
        async with losses("the stream is lost"):
            await self._send.write_all(data)

    async def finish(self) -> None:
        """Say that nothing more will be written."""
        async with losses("the stream is lost"):
            await self._send.finish()

    async def readinto(self, view: memoryview) -> None:
        """Fill all of `view`."""
        async with losses("the stream is lost"):
            view[:] = await self._receive.read_exact(len(view))

    async def stop_reading(self) -> None:
        """Give up what the peer still writes."""
        with contextlib.suppress(iroh().IrohError):
            await self._receive.stop(NORMAL)

    async def abandoned(self) -> None:
        """Return when the peer will read no more."""
        with contextlib.suppress(iroh().IrohError):
            await self._send.stopped()

    async def abandon(self) -> None:
        """Give up both directions."""
        await self.stop_reading()
        with contextlib.suppress(iroh().IrohError):
            await self._send.reset(NORMAL)


def _relays(networks: Sequence[Network]) -> list[RelaySite]:
    """Return the relays of all networks, each once; who vouches for it is said by the first that pins somebody."""
    found: dict[str, RelaySite] = {}
    for site in (site for network in networks for site in network.relays):
        if site.url not in found or (site.ca and not found[site.url].ca):
            found[site.url] = site
    return list(found.values())


def _is_dialable(address: str) -> bool:
    """Tell whether peers can be told of `address`: link-local ones are good with this machine's interfaces only."""
    if not is_address(address):
        return False
    ip = ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    return not (ip.is_unspecified or ip.is_multicast or (ip.version == 6 and ip.is_link_local))


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("the carrier's task %s failed", task.get_name(), exc_info=error)


def _same_url(one: str, other: str | None) -> bool:
    return other is not None and one.rstrip("/") == other.rstrip("/")
