"""QUIC endpoints of iroh: the one place that imports the bindings and binds with them.

Three rules for these bindings (iroh 1.2):

* Only the minimal preset. The default one joins the vendor's public network (relays, DNS publication). There
  is one preset in this package, `_Local`, and one place that binds, `bind_endpoint`; a test keeps it so.
* The generated glue copies every outgoing byte in a Python loop, 7 MiB/s (iroh-ffi issue 229);
  `_copy_in_one_move` replaces the loop where it finds it.
* ``watch_network_change`` spins: it triggers the change that it should wait for. It is never used.

The bindings cannot switch the core's port mapper off: on start it sends one UPnP search (SSDP multicast) to
the local link. Nothing else leaves a node that listens on loopback.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import logging
import re
import socket
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..errors import InvalidInput, Unreachable
from .identity import Identity
from .wire import Buffer

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1:0", "[::1]:0")
_WILDCARDS = ("0.0.0.0:", "[::]:")


async def bind_endpoint(
    identity: Identity, listen: Sequence[str], alpns: Sequence[bytes], relays: Sequence[str] | None = None
) -> Any:
    """Open an endpoint's sockets; at most one address of each family, port 0 for any.

    Parameters
    ----------
    identity : Identity
        Whose key is the endpoint's.
    listen : sequence of str
        ``ip:port`` to bind to. A family that is not named is bound to its loopback, because the core would
        otherwise open it to the whole network. All addresses (``0.0.0.0``, ``[::]``) of a family that this machine
        lacks are passed over, so that both can be named everywhere.
    alpns : sequence of bytes
        The protocols that it accepts.
    relays : sequence of str, optional
        URLs of relays, or of ways to them on this machine. None: relays are out of the question, also later.

    Raises
    ------
    InvalidInput
        Code ``no-mesh``: iroh is not installed; ``cannot-listen``: the address cannot be bound.
    """
    unnamed = (address for address in LOOPBACK if has_family_of(address))
    both = {("[" in address): address for address in (*unnamed, *_possible(listen))}
    options = iroh().EndpointOptions(
        preset=_local_preset()(tuple(both.values())),
        secret_key=identity.seed,
        alpns=list(alpns),
        relay_mode=_relay_mode(relays),
    )
    try:
        return await iroh().Endpoint.bind(options)
    except iroh().IrohError as error:
        raise InvalidInput(
            f"The mesh cannot listen on {', '.join(listen)}: {words_of(error)}.",
            code="cannot-listen",
            hint="Choose a free port and an address of this machine; port 0 takes any free one.",
        ) from error


def has_family_of(address: str) -> bool:
    """Tell whether this machine can bind to addresses like `address`; containers often have no IPv6."""
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address.rpartition(":")[0].strip("[]"), 0))
    except OSError:
        return False
    return True


def _possible(listen: Sequence[str]) -> Sequence[str]:
    """Return `listen` without all addresses of a family that this machine lacks, as long as something is left."""
    lacking = [address for address in listen if address.startswith(_WILDCARDS) and not has_family_of(address)]
    if not lacking or len(lacking) == len(listen):
        return listen
    logger.info("this machine has no addresses of the family of %s, where nothing is listened to", lacking[0])
    return [address for address in listen if address not in lacking]


def relay_config(url: str) -> Any:
    """Return how an endpoint is told of a relay.

    Without a QUIC port: our relays have none, and the core would wait three seconds for it. By which address the
    outside sees a node it learns from a reflector.
    """
    return iroh().RelayConfig(url=url, quic_port=None, auth_token=None)


@contextlib.asynccontextmanager
async def losses(what: str) -> AsyncIterator[None]:
    """Translate the core's errors: an early end to `EOFError`, all others to `Unreachable`."""
    try:
        yield
    except iroh().IrohError as error:
        if "FinishedEarly" in error.message():
            raise EOFError from error
        raise Unreachable(f"{what[:1].upper()}{what[1:]}: {words_of(error)}.", code="stream-lost") from error


def words_of(error: Any) -> str:
    """Return the innermost cause of a core error, without the Rust source positions."""
    last = str(error.message()).strip().splitlines()[-1].strip()
    return re.sub(r"\s*\(/.*?\)", "", last)


@cache
def iroh() -> Any:
    """Return the bindings, mended.

    Raises
    ------
    InvalidInput
        Code ``no-mesh``: iroh is not installed.
    """
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


def _relay_mode(relays: Sequence[str] | None) -> Any:
    if relays is None:
        return iroh().RelayMode.disabled()
    ours = iroh().RelayMap.empty()
    for url in relays:
        ours.insert(relay_config(url))
    return iroh().RelayMode.custom(ours)


@cache
def _local_preset() -> Any:
    class _Local(iroh().Preset):  # type: ignore[misc]
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
