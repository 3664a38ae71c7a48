"""The mesh: every node calls every other by its key, over whichever live connection there is.

A call uses a connection with the peer in whichever direction it was opened, so that only one of two nodes
needs to be dialable; else it dials at the addresses of the directory. Who may be connected is decided by
the signed directory, with every request anew; what a request may be is decided by its `Route`: the role it
needs and the bytes it may carry, both checked before its tensors are read. An error that a handler raises
is raised again at the caller.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import FlaasError, InvalidInput, NotAllowed, Unreachable
from .carrier import REFUSED, SUPERSEDED, Carrier, Connection, Stream
from .directory import Peer, Peers
from .identity import Identity
from .link import Greeting, Link, Traffic, unwrap, write_frame
from .wire import Buffer, Message, decode, encode

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

Handler = Callable[[Peer, Message], Awaitable[Message]]
_REFRESH_GAP = 1.0  # strangers who knock make us ask the API at most this often, in seconds
_GREETING_SECONDS = 10.0
_MAX_ADMISSIONS = 64
_PROCESSES_OF_A_PERSON = 8
_STALE_DIRECTORY = frozenset({"unknown-peer", "no-address", "peer-unreachable"})
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
    ) -> None:
        self.node_id = identity.node_id
        self.directory = directory
        self.traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        self._carrier = carrier
        self._handlers = dict(handlers)
        self._refresh = _Refresh(refresh) if refresh else None
        self._greeting = Greeting.new(peer_timeout)
        self._concurrency = concurrency
        self._links: defaultdict[str, list[Link]] = defaultdict(list)
        self._dials: dict[str, asyncio.Future[Link]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: list[Callable[[str], None]] = []
        self._greeters: list[Callable[[str], None]] = []
        self._closed = False

    @classmethod
    async def open(
        cls,
        identity: Identity,
        directory: Peers,
        *,
        carrier: Carrier,
        handlers: Mapping[str, Route] | None = None,
        refresh: Callable[[], Awaitable[None]] | None = None,
        peer_timeout: float = 10.0,
        concurrency: int = 64,
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
        peer_timeout : float
            Seconds of silence after which a peer is given up.
        concurrency : int
            Requests of one connection that are answered at once.
        """
        mesh = cls(identity, directory, carrier, handlers or {}, refresh, peer_timeout, concurrency)
        mesh._start(mesh._accept(), "mesh-accept")
        return mesh

    async def __aenter__(self) -> Mesh:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this node can be dialled, for its directory record."""
        return self._carrier.addresses

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
            Codes ``no-address``, ``peer-unreachable``, ``peer-lost``, ``call-dropped``, ``call-timed-out``.
        FlaasError
            Whatever the peer's handler raised, as the type it was.
        """
        try:
            async with asyncio.timeout(timeout) as deadline:
                if node_id == self.node_id:
                    return await self._call_itself(message, limit)
                link = await self._link(node_id)
                return await link.call(message, limit)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Unreachable(
                f"{node_id} did not answer {message.type!r} within {timeout} s.",
                code="call-timed-out",
                hint="The node is alive but busy, or the network is slow; its log says more.",
                node=node_id,
            ) from None

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
        if self._refresh:
            await self._refresh.close()
        await self._carrier.close()

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
            dial = self._dials[node_id] = asyncio.get_running_loop().create_future()
            dial.add_done_callback(lambda done: done.exception())  # the caller may have given up
            self._start(self._settle(node_id, dial), "mesh-dial")
        return await asyncio.shield(dial)

    def _live(self, node_id: str) -> Link | None:
        return next((link for link in reversed(self._links.get(node_id, ())) if link.is_open), None)

    async def _settle(self, node_id: str, dial: asyncio.Future[Link]) -> None:
        """Dial `node_id` and hand the outcome to `dial`, unless the peer connects to us before."""
        outcome: FlaasError = _closed()
        try:
            await self._dial(node_id)
        except FlaasError as error:
            outcome = error
        finally:
            if not dial.done():  # `_keep` has set the result if there is a link
                dial.set_exception(outcome)
            self._dials.pop(node_id, None)

    async def _dial(self, node_id: str) -> None:
        """Dial at the known addresses; if that does not do, ask the API for fresh ones once."""
        tried: tuple[str, ...] = ()
        try:
            tried = self.directory.peer(node_id).addresses
            return await self._dial_at(node_id, tried)
        except FlaasError as error:
            if error.code not in _STALE_DIRECTORY or not self._refresh:
                raise
            await self._refresh()
            if self._live(node_id):  # it connected to us meanwhile
                return None
            if (fresh := self.directory.peer(node_id).addresses) == tried:
                raise
        return await self._dial_at(node_id, fresh)

    async def _dial_at(self, node_id: str, addresses: tuple[str, ...]) -> None:
        if not addresses:
            raise Unreachable(
                f"{node_id} has no address in force in {self.directory.domain!r}.",
                code="no-address",
                hint="The node is offline, or its clock or this machine's is wrong by more than a minute.",
                node=node_id,
            )
        seconds = min(self._greeting.timeout, _GREETING_SECONDS)
        connection: Connection | None = None
        try:
            async with asyncio.timeout(seconds):
                connection = await self._carrier.dial(node_id, addresses)
                link = await Link.dialled(connection, self._greeting, self.traffic[node_id])
        except BaseException as error:
            if connection is not None:
                connection.close(REFUSED, "no greeting")
            if isinstance(error, (TimeoutError, Unreachable)):
                raise Unreachable(
                    f"{node_id} could not be reached at {', '.join(addresses)} within {seconds} s.",
                    code="peer-unreachable",
                    hint="Check that the node runs, and that its UDP port is open from here.",
                    node=node_id,
                ) from error
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
                    if error.code not in _STALE_DIRECTORY or not self._refresh:
                        raise
                    await self._refresh()
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
        try:
            try:
                request = await decode(stream, lambda kind: self._route(link.node_id, kind)[1].limit)
            except FlaasError as error:
                await stream.stop_reading()
                reply = await encode(Message("error", error.to_dict()))
            else:
                reply = await _unless_abandoned(self._reply(link.node_id, request), stream)
            await write_frame(stream, reply)
        except Unreachable:
            logger.info("%s did not wait for the answer", link.node_id)
        except BaseException:
            await stream.abandon()
            raise

    async def _reply(self, node_id: str, request: Message) -> list[Buffer]:
        """Return the frame that answers `request`; an error that nobody meant is told by its number only."""
        try:
            try:
                peer, route = self._route(node_id, request.type)
                reply = await route.handler(peer, request)
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
            logger.warning("the directory could not be fetched: %s", error)

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


def _closed() -> Unreachable:
    return Unreachable("This node's mesh is closed.", code="mesh-closed", hint="Open it again.")


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("the mesh's task %s failed", task.get_name(), exc_info=error)
