"""The mesh: every node calls every other by its key, over whichever live connection there is.

A call uses a connection with the peer in whichever direction it was opened, so that only one of two nodes
needs to be dialable; else it dials at the addresses of the directory. Who may be connected is decided by
the signed directory, with every request anew; what a request may be is decided by its `Route`: the role it
needs and the bytes it may carry, both checked before its tensors are read. An error that a handler raises
is raised again at the caller.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path as FilePath
from typing import Any, TypeVar

from ..errors import FlaasError, InvalidInput, NotAllowed, Unreachable
from ..observability import traces
from .carrier import BULK, REFUSED, SUPERSEDED, Carrier, Connection, Path, Stream, Way, Whereabouts
from .directory import Peer, Peers
from .identity import Identity
from .link import Greeting, Link, Traffic, unwrap, write_frame
from .transfers import FETCH, PART, Transfers
from .wire import Buffer, Message, decode, encode

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

Handler = Callable[[Peer, Message], Awaitable[Message]]
Signal = Callable[[str], Awaitable[None]]
REFRESH_SECONDS = 2.0
"""How often those that are told of no events fetch the directory while they are connected."""
_REFRESH_GAP = 1.0  # strangers who knock make us ask the API at most this often, in seconds
_GREETING_SECONDS = 10.0
_RELAYED = 2
"""How many times as long a relay may take, which is found by way of a proxy and a handshake more."""
_CALL_AFTER = {False: 0.4, True: 3.0}
"""Seconds after which a peer that does not answer is asked to dial back, without and with a relay in common: over a
relay the core has both ends dial at the same time by itself."""
_MAX_ADMISSIONS = 64
_MAX_STRANGERS = 16
"""Unknown keys for which a fresh directory is awaited at once: while the API is away that takes `_GREETING_SECONDS`,
and whoever knocks meanwhile may not keep members out."""
_PROCESSES_OF_A_PERSON = 8
_STALE_DIRECTORY = frozenset({"unknown-peer", "membership-revoked", "no-address", "peer-unreachable"})
"""What a fresh directory may put right."""


@dataclass(frozen=True)
class Route:
    """What answers one type of message, and who may send it.

    Parameters
    ----------
    handler : coroutine function of (Peer, Message)
        Returns the reply. It is cancelled when the caller gives up or is lost.
    role : str
        The role that the sender's membership must give: ``node``, ``developer`` or ``explorer``.
    limit : int
        Bytes of tensors that a request may carry.
    """

    handler: Handler
    role: str = "node"
    limit: int = 0


@dataclass(frozen=True)
class PeerStatus:
    """How a peer is reached, and what has gone to and fro since this process began.

    Parameters
    ----------
    node_id : str
        The peer.
    path : Path, optional
        None while there is no connection.
    bytes_sent, bytes_received : int
        Bytes of frames and beats.
    throughput : float, optional
        Bytes a second of the largest recent transfer, in whichever direction; None before there was one.
    """

    node_id: str
    path: Path | None
    bytes_sent: int
    bytes_received: int
    throughput: float | None


class Mesh:
    """A node's place in the mesh; open it with `Mesh.open`, close it with `close` or ``async with``."""

    def __init__(
        self,
        identity: Identity,
        directory: Peers,
        carrier: Carrier,
        handlers: Mapping[str, Route],
        refresh: Callable[[], Awaitable[None]] | None,
        peer_timeout: float,
        concurrency: int,
        signal: Signal | None,
        spool: FilePath | None,
    ) -> None:
        self.node_id = identity.node_id
        self.directory = directory
        self.traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        self._carrier = carrier
        self._handlers = dict(handlers)
        self._refresh = _Refresh(refresh) if refresh else None
        self._greeting = Greeting.new(peer_timeout)
        self._concurrency = concurrency
        self._signal = signal
        self._transfers = Transfers(self._ask, self._limit, self._handle, folder=spool)
        self._links: defaultdict[str, list[Link]] = defaultdict(list)
        self._dials: dict[str, asyncio.Future[Link]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: list[Callable[[str], None]] = []
        self._greeters: list[Callable[[str], None]] = []
        self._closed = False
        self._strangers = 0

    @classmethod
    async def open(
        cls,
        identity: Identity,
        directory: Peers,
        *,
        carrier: Carrier,
        handlers: Mapping[str, Route] | None = None,
        refresh: Callable[[], Awaitable[None]] | None = None,
        refresh_every: float | None = None,
        peer_timeout: float = 10.0,
        concurrency: int = 64,
        signal: Signal | None = None,
        spool: FilePath | None = None,
    ) -> Mesh:
        """Start to answer and to call.

        Parameters
        ----------
        identity : Identity
            This node's; the carrier must be bound to the same.
        directory : Peers
            Who belongs to the domain, usually a `Directory`. Others may update it at any time.
        carrier : Carrier
            Bound; the mesh closes it.
        handlers : mapping of str to Route, optional
            Message type to what answers it. A node without handlers can only call.
        refresh : coroutine function, optional
            Fetches the directory anew. Called when an unknown key knocks or a peer cannot be dialled, at
            most once a second.
        refresh_every : float, optional
            Seconds after which it is also called again and again while somebody is connected, by who is told of no
            events: whose key was revoked must not stay connected.
        peer_timeout : float
            Seconds of silence after which a peer is given up.
        concurrency : int
            Requests of one connection that are answered at once.
        signal : coroutine function of str, optional
            Has the node of this id called back by way of the API, which passes it on and no more: it calls
            `dial_back`. Two nodes behind NATs reach each other without a relay if both dial at the same time.
        spool : Path, optional
            Folder for large requests that are arriving, so that a restarted node goes on with them; see `transfers`.
        """
        mesh = cls(identity, directory, carrier, handlers or {}, refresh, peer_timeout, concurrency, signal, spool)
        mesh._start(mesh._accept(), "mesh-accept")
        if mesh._refresh and refresh_every is not None:
            mesh._start(mesh._keep_directory_fresh(mesh._refresh, refresh_every), "mesh-directory")
        return mesh

    async def __aenter__(self) -> Mesh:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def whereabouts(self) -> Whereabouts:
        """Where this node can be reached, for its directory record."""
        return self._carrier.whereabouts

    async def moved(self) -> None:
        """Return once `whereabouts` has changed since the last time that this returned."""
        await self._carrier.moved()

    def status(self) -> list[PeerStatus]:
        """Return how each peer that was ever connected is reached now, and what went there."""
        return [
            PeerStatus(
                node_id,
                link.path if (link := self._live(node_id)) else None,
                traffic.bytes_sent,
                traffic.bytes_received,
                traffic.throughput,
            )
            for node_id, traffic in sorted(self.traffic.items())
        ]

    @property
    def is_open(self) -> bool:
        """Tell whether peers are let in; false after `close`, and should the carrier have failed."""
        accepts = any(task.get_name() == "mesh-accept" for task in self._tasks)
        return not self._closed and accepts and self._carrier.is_open

    @property
    def bytes_sent(self) -> int:
        """Bytes sent to all peers; `traffic` has them by peer."""
        return sum(traffic.bytes_sent for traffic in self.traffic.values())

    @property
    def bytes_received(self) -> int:
        """Bytes received from all peers."""
        return sum(traffic.bytes_received for traffic in self.traffic.values())

    @property
    def connected(self) -> frozenset[str]:
        """The peers that there is a live connection with."""
        return frozenset(node_id for node_id, links in self._links.items() if links)

    def on_peer_lost(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Have `callback` called with the node id of every peer that is lost, or that was restarted.

        Returns
        -------
        function
            Ends this.
        """
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def on_peer_dialled(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Have `callback` called with the node id of every peer that this node has dialled, as soon as it is connected.

        The one of the two that has dialled begins what both are to tell each other when they meet.

        Returns
        -------
        function
            Ends this.
        """
        self._greeters.append(callback)
        return lambda: self._greeters.remove(callback)

    async def call(
        self,
        node_id: str,
        message: Message,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        limit: int = 0,
    ) -> Message:
        """Send a request to a peer and return its reply; a call to this node itself stays inside it.

        Tensors of more than 4 MiB go in ranges, of which only those that are missing are sent again when the
        connection was lost (`transfers`).

        Parameters
        ----------
        node_id : str
            The peer.
        message : Message
            The request.
        timeout : float, optional
            Seconds for all of it, connecting included. None waits as long as the peer lives.
        limit : int
            Bytes of tensors that the reply may carry.

        Raises
        ------
        NotAllowed
            The peer is not a member in force, does not accept this node, or refuses the request.
        Unreachable
            Codes ``no-address``, ``peer-unreachable``, ``peer-lost``, ``call-dropped``, ``call-timed-out``,
            ``transfer-stalled``.
        FlaasError
            Whatever the peer's handler raised, as the type it was.
        """
        try:
            async with asyncio.timeout(timeout) as deadline:
                with traces.span(f"call {message.type}", "client", flaas_message=message.type):
                    message = _traced(message)
                    if node_id == self.node_id:
                        return await self._call_itself(message, limit)
                    return await self._transfers.call(node_id, message, limit)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Unreachable(
                f"{node_id} did not answer {message.type!r} within {timeout} s.",
                code="call-timed-out",
                hint="The node is alive but busy, or the network is slow; its log says more.",
                node=node_id,
            ) from None

    def dial_back(self, node_id: str) -> None:
        """Dial a peer that has told by way of the API that it cannot reach this node, and return at once.

        Nothing is done while there is a connection over which it is heard, or a dial under way.
        """
        link = self._live(node_id)
        heard = link is not None and link.silence < self._greeting.timeout / 2
        if not (self._closed or heard or node_id == self.node_id or node_id in self._dials):
            self._begin_dial(node_id, called=True)

    async def close(self) -> None:
        """Close all connections; calls under way fail, handlers are cancelled. Nothing is left running."""
        self._closed = True
        for links in self._links.values():
            for link in links:
                link.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._transfers.close()
        if self._refresh:
            await self._refresh.close()
        await self._carrier.close()

    async def _ask(self, node_id: str, message: Message, limit: int) -> Message:
        """Send one frame and return the one that answers it."""
        link = await self._link(node_id)
        return await link.call(message, limit, BULK if message.type == PART else 0)

    async def _call_itself(self, message: Message, limit: int) -> Message:
        """Answer an own request by the same rules and through the same frame, without the network."""
        request = _Frame(await encode(message))
        route_limit = self._route(self.node_id, message.type)[1].limit
        reply = await self._reply(self.node_id, await decode(request, route_limit))
        return unwrap(await decode(_Frame(reply), limit))

    # -- connections --------------------------------------------------------------------------------------

    async def _link(self, node_id: str) -> Link:
        """Return a live link with `node_id`; all that ask while it is dialled wait for the same attempt."""
        if link := self._live(node_id):
            return link
        if self._closed:
            raise _closed()
        dial = self._dials.get(node_id)
        if dial is None:
            dial = self._begin_dial(node_id, called=False)
        return await asyncio.shield(dial)

    def _begin_dial(self, node_id: str, *, called: bool) -> asyncio.Future[Link]:
        """Begin to dial `node_id`; one that has called is not called in turn."""
        dial: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        dial.add_done_callback(lambda done: done.exception())  # the caller may have given up
        self._dials[node_id] = dial
        self._start(self._settle(node_id, dial, called=called), "mesh-dial")
        return dial

    def _live(self, node_id: str) -> Link | None:
        return next((link for link in reversed(self._links.get(node_id, ())) if link.is_open), None)

    async def _settle(self, node_id: str, dial: asyncio.Future[Link], *, called: bool) -> None:
        """Dial `node_id` and hand the outcome to `dial`, unless the peer connects to us before."""
        outcome: FlaasError = _closed()
        try:
            await self._dial(node_id, called=called)
        except FlaasError as error:
            outcome = error
            if called:
                logger.info("a peer that has called could not be dialled back: %s", error)
        finally:
            if not dial.done():  # `_keep` has set the result if there is a link
                dial.set_exception(outcome)
            self._dials.pop(node_id, None)

    async def _dial(self, node_id: str, *, called: bool) -> None:
        """Dial at the known addresses; if that does not do, ask the API for fresh ones once."""
        tried = Whereabouts()
        try:
            tried = self.directory.peer(node_id).whereabouts
            return await self._dial_at(node_id, tried, called=called)
        except FlaasError as error:
            if error.code not in _STALE_DIRECTORY or not self._refresh:
                raise
            await self._refresh()
            if self._live(node_id):  # it connected to us meanwhile
                return None
            if (fresh := self.directory.peer(node_id).whereabouts) == tried:
                raise
        return await self._dial_at(node_id, fresh, called=called)

    async def _dial_at(self, node_id: str, whereabouts: Whereabouts, *, called: bool) -> None:
        """Climb the ladder: all addresses and a relay at once, and before long the peer is asked to dial us."""
        ways = self._carrier.ways(whereabouts)
        if not ways:
            raise Unreachable(
                f"{node_id} has no address in force in {self.directory.domain!r}.",
                code="no-address",
                hint="The node is offline, or its clock or this machine's is wrong by more than a minute.",
                node=node_id,
            )
        relayed = any(way.kind == "relay" and way.problem is None for way in ways)
        seconds = min(self._greeting.timeout, _GREETING_SECONDS) * (_RELAYED if relayed else 1)
        calling: asyncio.Task[None] | None = None
        if self._signal is not None and not called:
            calling = asyncio.create_task(_after(_CALL_AFTER[relayed], self._signal, node_id), name="mesh-call")
        try:
            async with asyncio.timeout(seconds):
                try:
                    await self._greet(node_id, whereabouts)
                except Unreachable:
                    if calling is None:
                        raise
                    await calling
                    await asyncio.shield(self._dials[node_id])  # done as soon as the peer has dialled us
        except (TimeoutError, Unreachable) as error:
            raise _unreached(node_id, seconds, self._carrier.ways(whereabouts), _answer_to(calling), error) from error
        finally:
            if calling is not None:
                calling.cancel()
                await asyncio.gather(calling, return_exceptions=True)

    async def _greet(self, node_id: str, whereabouts: Whereabouts) -> None:
        """Connect and greet, unless the peer connects to us before."""
        connection = await _unless_done(self._carrier.dial(node_id, whereabouts), self._dials[node_id])
        if connection is None:
            return
        # From here on the peer may count on this connection: two that dial each other must not each end their own.
        try:
            link = await Link.dialled(connection, self._greeting, self.traffic[node_id])
        except BaseException:
            connection.close(REFUSED, "no greeting")
            raise
        self._keep(link)

    async def _accept(self) -> None:
        admissions = asyncio.Semaphore(_MAX_ADMISSIONS)

        async def admit(connection: Connection) -> None:
            try:
                await self._admit(connection)
            finally:
                admissions.release()

        while True:
            await admissions.acquire()
            connection = await self._carrier.accept()
            self._start(admit(connection), "mesh-admit")

    async def _admit(self, connection: Connection) -> None:
        """Let a member in; an unknown key gets one look at a fresh directory."""
        node_id = connection.node_id
        try:
            async with asyncio.timeout(_GREETING_SECONDS):
                try:
                    self.directory.peer(node_id)
                except NotAllowed as error:
                    if error.code not in _STALE_DIRECTORY or not self._refresh or self._strangers >= _MAX_STRANGERS:
                        raise
                    self._strangers += 1
                    try:
                        await self._refresh()
                    finally:
                        self._strangers -= 1
                    self.directory.peer(node_id)
                link = await Link.accepted(connection, self._greeting, self.traffic[node_id])
        except (FlaasError, TimeoutError) as error:
            reason = error.code if isinstance(error, FlaasError) else "no greeting in time"
            logger.warning("the connection of %s was refused: %s", node_id, error)
            connection.close(REFUSED, reason)
            return
        except BaseException:
            connection.close(REFUSED, "closing")
            raise
        self._keep(link)

    async def _keep_directory_fresh(self, refresh: _Refresh, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            if self.connected:
                await refresh()

    def _keep(self, link: Link) -> None:
        """Take `link` into use; it ends those that it takes the place of.

        A node is one process: another instance of it is its restart. A person may have several, each notebook's kernel
        and what sends files for JupyterLab, under one key.
        """
        others = self._links[link.node_id]
        former = [other for other in others if other.instance != link.instance]
        replaced = [other for other in others if other not in former and other.outgoing == link.outgoing]
        replaced += former[: 1 - _PROCESSES_OF_A_PERSON] if self._is_person(link.node_id) else former
        for other in replaced:
            other.close(SUPERSEDED, "a newer connection took its place")
        self._links[link.node_id].append(link)
        dial = self._dials.get(link.node_id)
        if dial is not None and not dial.done():
            dial.set_result(link)
        self._start(self._run(link), f"mesh-link-{link.node_id[:8]}")
        if link.outgoing:
            for callback in tuple(self._greeters):
                callback(link.node_id)

    def _is_person(self, node_id: str) -> bool:
        try:
            return "node" not in self.directory.peer(node_id).roles
        except NotAllowed:
            return False

    async def _run(self, link: Link) -> None:
        links = self._links[link.node_id]

        def allowed() -> None:
            self.directory.peer(link.node_id)

        try:
            await link.run(self._answer, allowed, self._concurrency)
        finally:
            links.remove(link)
            gone = not links if self._is_person(link.node_id) else all(each.instance != link.instance for each in links)
            if gone and not self._closed:
                logger.info("the connection with %s is lost", link.node_id)
                for callback in tuple(self._watchers):
                    callback(link.node_id)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_report)

    # -- requests -----------------------------------------------------------------------------------------

    async def _answer(self, link: Link, stream: Stream) -> None:
        """Answer one request, whatever it is; all that can go wrong stays with this stream."""
        placing = self._transfers.placing(link.node_id)
        try:
            try:
                request = await decode(stream, functools.partial(self._limit, link.node_id), placing)
            except FlaasError as error:
                await stream.stop_reading()
                reply = await encode(Message("error", error.to_dict()))
            else:
                reply = await _unless_abandoned(self._reply(link.node_id, request), stream)
                if request.type == FETCH:
                    await stream.prioritise(BULK)
            await write_frame(stream, reply)
        except Unreachable:
            logger.info("%s did not wait for the answer", link.node_id)
        except BaseException:
            await stream.abandon()
            raise
        finally:
            placing.release()

    async def _reply(self, node_id: str, request: Message) -> list[Buffer]:
        """Return the frame that answers `request`; an error that nobody meant is told by its number only."""
        try:
            try:
                reply = await self._handle(node_id, request)
                if node_id != self.node_id:
                    reply = await self._transfers.park(node_id, reply)
            except FlaasError as error:
                reply = Message("error", error.to_dict())
            return await encode(reply)
        except Exception:
            number = secrets.token_hex(4)
            logger.exception("error %s while answering %r of %s", number, request.type, node_id)
            failure = FlaasError(
                f"{self.node_id} failed to answer {request.type!r} (error {number}).",
                code="peer-failed",
                hint="Its log has the details under this number.",
                node=self.node_id,
            )
            return await encode(Message("error", failure.to_dict()))

    async def _handle(self, node_id: str, request: Message) -> Message:
        if self._transfers.limit_of(request.type) is not None:
            return await self._transfers.answer(node_id, request)
        peer, route = self._route(node_id, request.type)
        parent = str(request.body.pop(traces.FIELD, ""))
        with traces.span(request.type, "server", parent, flaas_message=request.type):
            return await route.handler(peer, request)

    def _limit(self, node_id: str, kind: str) -> int:
        """Return the bytes of tensors that a request of this type may carry; raises where it is not this peer's."""
        ranges = self._transfers.limit_of(kind)
        return self._route(node_id, kind)[1].limit if ranges is None else ranges

    def _route(self, node_id: str, kind: str) -> tuple[Peer, Route]:
        route = self._handlers.get(kind)
        if route is None:
            raise InvalidInput(
                f"{self.node_id} does not answer {kind[:64]!r}.",
                code="unknown-message",
                hint="Both nodes need compatible versions of flaas_jupyter.",
            )
        return self.directory.require(node_id, route.role), route


class _Frame:
    """A frame in memory, as something to read from."""

    def __init__(self, buffers: list[Buffer]) -> None:
        self._left = memoryview(b"".join(buffers))

    async def readinto(self, view: memoryview) -> None:
        if len(view) > len(self._left):
            raise EOFError
        view[:] = self._left[: len(view)]
        self._left = self._left[len(view) :]


class _Refresh:
    """Fetches the directory for all that need it at the same time, with a gap between the fetches."""

    def __init__(self, fetch: Callable[[], Awaitable[None]]) -> None:
        self._fetch = fetch
        self._next: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._earliest = 0.0
        self._failing: str | None = None

    async def __call__(self) -> None:
        """Return after a fetch that began after this call; an API that is down leaves all as it was."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(), name="mesh-refresh")
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        await asyncio.sleep(self._earliest - time.monotonic())
        self._earliest = time.monotonic() + _REFRESH_GAP
        self._next = None
        try:
            await self._fetch()
        except FlaasError as error:
            if str(error) != self._failing:  # once, not with every look
                logger.warning("the directory could not be fetched: %s", error)
            self._failing = str(error)
        else:
            if self._failing is not None:
                logger.info("the directory could be fetched again")
            self._failing = None

    async def close(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _unless_abandoned(work: Coroutine[Any, Any, _T], stream: Stream) -> _T:
    """Await `work`, and cancel it when the far side gives the call up."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(stream.abandoned())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
    if task.cancelled():
        raise Unreachable("The caller gave the call up.", code="call-abandoned")
    return task.result()


async def _unless_done(dialling: Awaitable[Connection], other: asyncio.Future[Link]) -> Connection | None:
    """Return the connection that `dialling` brings, or None if `other` is done before; then it is given up."""
    task = asyncio.ensure_future(dialling)
    try:
        await asyncio.wait((task, other), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        task.add_done_callback(_hang_up)
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if task.cancelled() or (other.done() and task.exception()):
        return None
    return task.result()


def _hang_up(task: asyncio.Future[Connection]) -> None:
    """Close a connection that came when nobody waited for it any more."""
    if not task.cancelled() and not task.exception():
        task.result().close(REFUSED, "no greeting")


def _traced(message: Message) -> Message:
    """Return `message` with the trace that goes on here, if one does."""
    here = traces.traceparent()
    return message if here is None else replace(message, body={**message.body, traces.FIELD: here})


async def _after(seconds: float, signal: Signal, node_id: str) -> None:
    await asyncio.sleep(seconds)
    try:
        await signal(node_id)
    except FlaasError as error:
        logger.info("%s could not be asked to dial back: %s", node_id, error)
        raise Unreachable(f"it could not be asked to dial back: {error.message}", code=error.code) from error


def _answer_to(calling: asyncio.Task[None] | None) -> list[str]:
    """Return what came of asking the peer to dial back, for people."""
    if calling is None or not calling.done() or calling.cancelled():
        return []
    error = calling.exception()
    return [str(error).rstrip(".") if error else "it was asked to dial back, and has not been heard"]


def _unreached(node_id: str, seconds: float, ways: Sequence[Way], call: list[str], error: BaseException) -> Unreachable:
    """Return what was tried in order to reach a peer, and what came of it."""
    silent = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else str(error).rstrip(".")
    by_answer: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for way in ways:
        by_answer[way.kind, way.problem.rstrip(".") if way.problem else silent].append(way.remote)
    names = {"direct": "directly at", "relay": "by the relay", "tls": "over TLS at"}
    rungs = [f"{names[kind]} {', '.join(remotes)}: {answer}" for (kind, answer), remotes in by_answer.items()]
    hint = "Check that the node runs; `flaas doctor --network` says what the network of a machine lets through."
    if not any(way.kind == "relay" and way.problem is None for way in ways):
        hint += " Where networks allow neither, the domain needs a relay that both sides can reach (docs/mesh.md)."
    return Unreachable(
        f"{node_id} could not be reached {'; '.join((*rungs, *call))}.",
        code="peer-unreachable",
        hint=hint,
        node=node_id,
        ways=[asdict(way) for way in ways],
    )


def _closed() -> Unreachable:
    return Unreachable("This node's mesh is closed.", code="mesh-closed", hint="Open it again.")


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("the mesh's task %s failed", task.get_name(), exc_info=error)
