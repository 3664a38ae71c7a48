"""The mesh over TLS 1.3 and TCP, for where UDP is not let through or there is no build of iroh.

It needs an open port, on a LAN, a VPN or in a data centre: it crosses no NAT, and does not follow a node that moves;
transfers go on over the next connection. Both ends prove their keys (`peer_certificate`); many streams share a
connection (`multiplexed`). A node that listens nowhere can dial.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from ..errors import FlaasError, InvalidInput, NotAuthenticated, Unreachable
from .carrier import REFUSED, Way, Whereabouts
from .identity import Identity
from .iroh_endpoint import has_family_of
from .mesh_settings import MeshSettings
from .multiplexed import LINGER, Multiplexed
from .network import Network
from .peer_certificate import peer_context, proved_key
from .race import first_of
from .signed_fields import is_address

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
_PENDING = 64
"""Handshakes under way, and connections that the mesh has not taken yet: strangers may knock, not pile up."""
_STAGGER = 0.25
_LOOK_AROUND = 0.5
_MOST_ADDRESSES = 16


class TlsCarrier:
    """Sockets that listen for peers, if there are any, and a way to dial; make it with `bind`."""

    def __init__(self, identity: Identity, settings: MeshSettings, networks: Callable[[], Sequence[Network]]) -> None:
        self._identity = identity
        self._settings = settings
        self._networks = networks
        self._dials, self._accepts = peer_context(identity, dials=True), peer_context(identity, dials=False)
        self._sockets: list[socket.socket] = []
        self._listeners: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._incoming: asyncio.Queue[Multiplexed] = asyncio.Queue(_PENDING)
        self._connections: set[Multiplexed] = set()
        self._watch: asyncio.Task[None] | None = None
        self._hidden = False
        self._closed = False
        self._told = Whereabouts()
        self._moved = asyncio.Event()

    @classmethod
    async def bind(
        cls,
        identity: Identity,
        settings: MeshSettings | None = None,
        networks: Callable[[], Sequence[Network]] = tuple,
    ) -> TlsCarrier:
        """Open the sockets of ``listen_tls``.

        Parameters
        ----------
        identity : Identity
            The node's; what it proves to peers.
        settings : MeshSettings, optional
            This machine's.
        networks : callable, optional
            Returns the signed network documents of the domains that the node is in. Where they, or the settings, say
            that peers do not connect directly, nothing listens, and nothing is dialled.

        Raises
        ------
        InvalidInput
            Code ``cannot-listen``: an address cannot be bound.
        """
        carrier = cls(identity, settings or MeshSettings(), networks)
        carrier._hidden = carrier._must_hide()
        if not carrier._hidden:
            carrier._listen()
        carrier._told = carrier.whereabouts
        carrier._watch = asyncio.create_task(carrier._look_around(), name="tls-look-around")
        return carrier

    # ---- where this node is -------------------------------------------------------------------------------------

    @property
    def whereabouts(self) -> Whereabouts:
        """Where this node can be reached; what was set up in front of it (``announce_tls``) first."""
        if not self._sockets:
            return Whereabouts()
        bound = (address for listener in self._sockets for address in _reachable(listener))
        return Whereabouts(tls=tuple(dict.fromkeys((*self._settings.announce_tls, *bound)))[:_MOST_ADDRESSES])

    @property
    def is_open(self) -> bool:
        """Tell whether peers can connect where they should."""
        watched = self._watch is not None and not self._watch.done()
        return not self._closed and watched and not any(listener.done() for listener in self._listeners)

    async def moved(self) -> None:
        """Return once `whereabouts` has changed since the last time."""
        await self._moved.wait()
        self._moved.clear()

    async def _look_around(self) -> None:
        told = ""
        while True:
            await asyncio.sleep(_LOOK_AROUND)
            try:
                await self._hide_or_show()
                if (now := self.whereabouts) != self._told:
                    self._told = now
                    self._moved.set()
                told = ""
            except (FlaasError, OSError) as error:
                if str(error) != told:
                    logger.error("TLS of the mesh: %s", error)
                told = str(error)

    def _must_hide(self) -> bool:
        return self._settings.direct_with(tuple(self._networks())) == "never"

    async def _hide_or_show(self) -> None:
        if (hidden := self._must_hide()) == self._hidden:
            return
        if hidden:
            self._hidden = True  # what is being dialled is given up, too
            await self._stop()
        else:
            self._listen()
            self._hidden = False

    def _listen(self) -> None:
        try:
            for address in self._settings.listen_tls:
                if not _is_lacking(address):
                    self._sockets.append(_bound(address))
        except InvalidInput:
            self._free()
            raise
        for listener in self._sockets:
            self._listeners.append(asyncio.create_task(self._admit(listener), name="tls-listen"))

    def _free(self) -> None:
        for listener in self._sockets:
            listener.close()
        self._sockets = []

    async def _stop(self) -> None:
        """End all connections and listen no more."""
        tasks = [*self._listeners, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listeners = []
        self._free()
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        await asyncio.gather(*(connection.gone() for connection in connections))

    async def close(self) -> None:
        """End all connections and free the sockets."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._stop()

    # ---- connections --------------------------------------------------------------------------------------------

    def ways(self, whereabouts: Whereabouts) -> tuple[Way, ...]:
        """Return what `dial` tries, and what stands in the way of the rest."""
        problem = 'direct connections are not allowed (direct = "never")' if self._hidden else None
        return tuple(Way("tls", address, problem) for address in whereabouts.tls)

    async def dial(self, node_id: str, whereabouts: Whereabouts) -> Multiplexed:
        """Connect to `node_id` at whichever address answers first with its key."""
        usable = [way.remote for way in self.ways(whereabouts) if way.problem is None]
        if self._closed or not usable:
            raise Unreachable(f"There is no way to {node_id} over TLS.", code="no-way", node=node_id)
        return await first_of(
            [functools.partial(self._dial, node_id, address) for address in usable],
            stagger=_STAGGER,
            discard=Multiplexed.close,
            fails=(Unreachable,),
        )

    async def _dial(self, node_id: str, address: str) -> Multiplexed:
        host, _, port = address.rpartition(":")
        connection = Multiplexed(dialled=True, remote=address)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda: connection, host.strip("[]"), int(port), ssl=self._dials
                )
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"{address}: {_words(error)}.", code="no-way", node=node_id) from error
        try:
            proved = proved_key(connection.tls)
        except NotAuthenticated as error:
            transport.abort()
            raise Unreachable(f"{address}: {error.message}", code="no-way", node=node_id) from error
        if proved != node_id:
            transport.abort()
            raise Unreachable(f"{address}: another node, {proved[:12]}…, is there.", code="no-way", node=node_id)
        return self._take(connection, node_id)

    async def accept(self) -> Multiplexed:
        """Return the next connection that a peer opened and proved its key on."""
        return await self._incoming.get()

    def _take(self, connection: Multiplexed, node_id: str) -> Multiplexed:
        if self._hidden or self._closed:
            assert connection.transport is not None
            connection.transport.abort()
            raise Unreachable("Peers are not connected directly any more.", code="no-way", node=node_id)
        connection.start(node_id)
        self._connections.add(connection)
        ending = asyncio.create_task(self._forget(connection), name="tls-ending")
        self._tasks.add(ending)
        ending.add_done_callback(self._tasks.discard)
        return connection

    async def _forget(self, connection: Multiplexed) -> None:
        await connection.closed()
        self._connections.discard(connection)
        await connection.gone(within=LINGER)

    async def _admit(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        pending: dict[asyncio.Task[None], None] = {}  # the oldest first
        while True:
            try:
                connected, address = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors, or gone before it was taken
                logger.warning("a connection could not be accepted: %s", error)
                await asyncio.sleep(_LOOK_AROUND)
                continue
            if len(pending) >= _PENDING:  # who keeps silent may not keep others out
                next(iter(pending)).cancel()
            task = asyncio.create_task(self._welcome(connected, _named(address)), name="tls-handshake")
            pending[task] = None
            self._tasks.add(task)
            task.add_done_callback(lambda done: pending.pop(done, None))
            task.add_done_callback(self._tasks.discard)

    async def _welcome(self, connected: socket.socket, remote: str) -> None:
        # asyncio does so by itself, but not for a listener of ours: answers would wait for delayed ACKs, 40 ms each.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        connection = Multiplexed(dialled=False, remote=remote)
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                transport, _ = await loop.connect_accepted_socket(lambda: connection, connected, ssl=self._accepts)
                taken = self._take(connection, proved_key(connection.tls))
            try:
                self._incoming.put_nowait(taken)
            except asyncio.QueueFull:
                taken.close(REFUSED, "too many connections wait to be let in")
        except (OSError, TimeoutError, NotAuthenticated, Unreachable) as error:
            logger.info("a connection from %s came to nothing: %s", remote, _words(error))
            _drop(transport, connected)
        except BaseException:
            _drop(transport, connected)
            raise


def _drop(transport: asyncio.Transport | None, connected: socket.socket) -> None:
    if transport is not None:
        transport.abort()
    else:
        connected.close()


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listener: socket.socket | None = None
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host.strip("[]"), int(port)))
        listener.listen(_PENDING)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise InvalidInput(
            f"The mesh cannot listen on {address} for TLS: {error.strerror}.",
            code="cannot-listen",
            hint="Choose a free port and an address of this machine for listen_tls in mesh.toml; port 0 takes any.",
        ) from error
    return listener


def _is_lacking(address: str) -> bool:
    return address.startswith(("0.0.0.0:", "[::]:")) and not has_family_of(address)


def _reachable(listener: socket.socket) -> list[str]:
    """Return the addresses by which peers can reach what `listener` is bound to."""
    host, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(host).is_unspecified:
        return [_named((host, port))]
    here = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == listener.family
    ]
    return [_named((address, port)) for address in sorted(here, key=_from_afar) if _is_dialable(address)]


def _from_afar(address: str) -> bool:
    """Sort what is of this machine alone behind what others can dial."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _is_dialable(address: str) -> bool:
    return is_address(_named((address, 1))) and not ipaddress.ip_address(address).is_link_local


def _named(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no TLS as peers speak it ({error.reason or error})"
    return str(getattr(error, "strerror", None) or error)
