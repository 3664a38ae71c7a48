"""The mesh over QUIC with iroh: a peer is dialled by its Ed25519 key, which is our node id bit for bit.

Three rules for these bindings (iroh 1.2):

* Only the minimal preset. The default one joins the vendor's public network (relays, DNS publication). There
  is one preset in this package, `_Local`, and one place that binds, `IrohCarrier.bind`; a test keeps it so.
* The generated glue copies every outgoing byte in a Python loop, 7 MiB/s (iroh-ffi issue 229);
  `_copy_in_one_move` replaces the loop where it finds it.
* ``watch_network_change`` spins: it triggers the change that it should wait for. It is never used.

The bindings cannot switch the core's port mapper off: on start it sends one UPnP search (SSDP multicast) to
the local link. Nothing else leaves a node that listens on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import inspect
import re
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..errors import InvalidInput, Unreachable
from .carrier import NORMAL, Closing
from .identity import Identity
from .wire import Buffer

ALPN = b"flaas/mesh/1"
LOOPBACK = ("127.0.0.1:0", "[::1]:0")
HANDSHAKE_SECONDS = 10.0
_MAX_STREAMS = 256
_PENDING_CONNECTIONS = 64
_CLOSED_BY_PEER = re.compile(r"closed by peer: (?P<reason>.*) \(code (?P<code>\d+)\)", re.DOTALL)


class IrohCarrier:
    """A QUIC endpoint; make it with `bind`."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint
        self._incoming: asyncio.Queue[IrohConnection] = asyncio.Queue(_PENDING_CONNECTIONS)
        self._handshakes: set[asyncio.Task[None]] = set()
        self._listener = asyncio.create_task(self._listen(endpoint), name="iroh-listen")

    @classmethod
    async def bind(cls, identity: Identity, *, listen: Sequence[str] = LOOPBACK) -> IrohCarrier:
        """Open the sockets; at most one address of each family, port 0 for any.

        Parameters
        ----------
        identity : Identity
            The node's; its key is the endpoint's.
        listen : sequence of str
            ``ip:port`` to bind to. The default binds loopback in both families. A family that is not named
            is bound to its loopback too, because the core would otherwise open it to the whole network.

        Raises
        ------
        InvalidInput
            Code ``no-mesh``: iroh is not installed; ``cannot-listen``: the address cannot be bound.
        """
        iroh = _iroh()
        both = {("[" in address): address for address in (*reversed(LOOPBACK), *listen)}
        options = iroh.EndpointOptions(
            preset=_local_preset()(tuple(both.values())),
            secret_key=identity.seed,
            alpns=[ALPN],
            relay_mode=iroh.RelayMode.disabled(),
        )
        try:
            endpoint = await iroh.Endpoint.bind(options)
        except iroh.IrohError as error:
            raise InvalidInput(
                f"The mesh cannot listen on {', '.join(listen)}: {_words(error)}.",
                code="cannot-listen",
                hint="Choose a free port and an address of this machine; port 0 takes any free one.",
            ) from error
        return cls(endpoint)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this node can be dialled; nowhere once it is closed."""
        return tuple(self._endpoint.addr().direct_addresses()) if self._endpoint else ()

    async def dial(self, node_id: str, addresses: Sequence[str]) -> IrohConnection:
        """Connect to `node_id`; the core has no deadline under 30 s, so the caller sets one."""
        iroh = _iroh()
        target = iroh.EndpointAddr(iroh.EndpointId.from_string(node_id), None, list(addresses))
        async with _losses(f"no connection to {node_id} at {', '.join(addresses) or 'no address'}"):
            return IrohConnection(await self._endpoint.connect(target, ALPN))

    async def accept(self) -> IrohConnection:
        """Return the next connection that a peer opened and proved its key on."""
        return await self._incoming.get()

    async def close(self) -> None:
        """End all connections and free the sockets."""
        if self._endpoint is None:
            return
        # The core frees the sockets with the last handle to them, and a cancelled accept would keep one.
        endpoint, self._endpoint = self._endpoint, None
        await endpoint.close()
        await asyncio.gather(self._listener, return_exceptions=True)
        for task in tuple(self._handshakes):
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    async def _listen(self, endpoint: Any) -> None:
        while (incoming := await endpoint.accept_next()) is not None:
            if len(self._handshakes) >= _PENDING_CONNECTIONS:  # strangers may knock; they may not pile up
                with contextlib.suppress(_iroh().IrohError):
                    await incoming.refuse()
                continue
            task = asyncio.create_task(self._handshake(incoming), name="iroh-handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, incoming: Any) -> None:
        with contextlib.suppress(_iroh().IrohError, TimeoutError):
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                connection = await (await incoming.accept()).connect()
            await self._incoming.put(IrohConnection(connection))


class IrohConnection:
    """A QUIC connection with one peer."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.node_id: str = bytes(connection.remote_id().to_bytes()).hex()
        connection.set_max_concurrent_bi_streams(_MAX_STREAMS)

    @property
    def is_open(self) -> bool:
        """Tell whether the connection still stands."""
        return self._connection.close_reason() is None

    async def open_stream(self) -> IrohStream:
        """Open a stream."""
        async with _losses("the connection is lost"):
            return IrohStream(await self._connection.open_bi())

    async def accept_stream(self) -> IrohStream:
        """Return the next stream that the peer opened."""
        async with _losses("the connection is lost"):
            return IrohStream(await self._connection.accept_bi())

    async def closed(self) -> Closing:
        """Wait for the end of the connection."""
        words = await self._connection.closed()
        match = _CLOSED_BY_PEER.fullmatch(words)
        return Closing(int(match["code"]), match["reason"]) if match else Closing(None, words)

    def close(self, code: int, reason: str) -> None:
        """End the connection at once."""
        with contextlib.suppress(_iroh().IrohError):
            self._connection.close(code, reason.encode())


class IrohStream:
    """A bidirectional QUIC stream."""

    def __init__(self, stream: Any) -> None:
        self._send, self._receive = stream.send(), stream.recv()

    async def write(self, data: Buffer) -> None:
        """Send `data`."""
        async with _losses("the stream is lost"):
            await self._send.write_all(data)

    async def finish(self) -> None:
        """Say that nothing more will be written."""
        async with _losses("the stream is lost"):
            await self._send.finish()

    async def readinto(self, view: memoryview) -> None:
        """Fill all of `view`."""
        async with _losses("the stream is lost"):
            view[:] = await self._receive.read_exact(len(view))

    async def stop_reading(self) -> None:
        """Give up what the peer still writes."""
        with contextlib.suppress(_iroh().IrohError):
            await self._receive.stop(NORMAL)

    async def abandoned(self) -> None:
        """Return when the peer will read no more."""
        with contextlib.suppress(_iroh().IrohError):
            await self._send.stopped()

    async def abandon(self) -> None:
        """Give up both directions."""
        await self.stop_reading()
        with contextlib.suppress(_iroh().IrohError):
            await self._send.reset(NORMAL)


@contextlib.asynccontextmanager
async def _losses(what: str) -> AsyncIterator[None]:
    """Translate the core's errors: an early end to `EOFError`, all others to `Unreachable`."""
    try:
        yield
    except _iroh().IrohError as error:
        if "FinishedEarly" in error.message():
            raise EOFError from error
        raise Unreachable(f"{what[:1].upper()}{what[1:]}: {_words(error)}.", code="stream-lost") from error


def _words(error: Any) -> str:
    """Return the innermost cause of a core error, without the Rust source positions."""
    last = str(error.message()).strip().splitlines()[-1].strip()
    return re.sub(r"\s*\(/.*?\)", "", last)


@cache
def _iroh() -> Any:
    try:
        import iroh
    except ImportError as error:
        raise InvalidInput(
            "The mesh needs the package iroh, which is not installed.",
            code="no-mesh",
            hint="Run `pip install 'flaas_jupyter[node]'`.",
        ) from error
    _copy_in_one_move(iroh.iroh_ffi)
    return iroh


@cache
def _local_preset() -> Any:
    class _Local(_iroh().Preset):  # type: ignore[misc]
        """The minimal preset (no relay, no DNS, no discovery) with both address families pinned."""

        def __init__(self, listen: tuple[str, ...]) -> None:
            self._listen = listen

        def apply(self, builder: Any) -> None:
            builder.apply_minimal()
            for address in self._listen:
                builder.bind_addr(address)

    return _Local


def _copy_in_one_move(glue: Any) -> bool:
    """Replace the glue's per-byte loop by one `memmove`; leave other or mended glue alone."""
    builder = getattr(glue, "_UniffiRustBufferBuilder", None)
    if builder is None or not hasattr(builder, "_reserve"):
        return False
    if "enumerate(value)" not in inspect.getsource(builder.write):
        return False

    def write(self: Any, value: Buffer) -> None:
        source = value if isinstance(value, bytes) else np.frombuffer(value, np.uint8).ctypes.data
        with self._reserve(len(value)):
            start = ctypes.cast(self.rbuf.data, ctypes.c_void_p).value or 0
            ctypes.memmove(start + self.rbuf.len, source, len(value))

    builder.write = write
    return True
