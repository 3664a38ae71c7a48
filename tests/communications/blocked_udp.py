"""A firewall for this process's own UDP sockets, without privileges: a socket filter that lets nothing in."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import stat
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SO_ATTACH_FILTER = 26  # Linux, asm-generic/socket.h
_RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)  # classic BPF: BPF_RET | BPF_K, keep 0 bytes of the packet
_LOOK_AGAIN = 0.1


def block_udp(endpoint: Any) -> None:
    """Let no packet reach the UDP sockets of an iroh endpoint any more, so that only relays are left to it.

    The core opens its sockets anew when the machine's network interfaces change, as they do where other tests make
    networks: it is not told of that any more, and sockets that it opens all the same are blocked as well.
    """
    blocked = _block(endpoint)
    expected = len(endpoint.bound_sockets())
    assert blocked == expected, f"{blocked} of {expected} sockets are blocked"
    threading.Thread(target=_keep_blocked, args=(weakref.ref(endpoint),), daemon=True).start()


def _keep_blocked(reference: weakref.ref[Any]) -> None:
    while (endpoint := reference()) is not None and not endpoint.is_closed():
        with contextlib.suppress(OSError):  # a descriptor that was closed meanwhile
            _block(endpoint)
        del endpoint
        time.sleep(_LOOK_AGAIN)


def _block(endpoint: Any) -> int:
    """Filter the endpoint's sockets, and those that tell of interfaces; return how many of the first there are."""
    ports = {int(address.rpartition(":")[2]) for address in endpoint.bound_sockets()}
    program = ctypes.create_string_buffer(_RETURN_NOTHING)
    attach = struct.pack("HL", 1, ctypes.addressof(program))
    blocked = 0
    for found in _own_sockets():
        is_udp = found.type == socket.SOCK_DGRAM and found.family in (socket.AF_INET, socket.AF_INET6)
        is_ours = is_udp and found.getsockname()[1] in ports
        if is_ours or found.family == socket.AF_NETLINK:
            found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attach)
        blocked += is_ours
    return blocked


def _own_sockets() -> Iterator[socket.socket]:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                with socket.socket(fileno=os.dup(int(entry.name))) as found:
                    yield found
