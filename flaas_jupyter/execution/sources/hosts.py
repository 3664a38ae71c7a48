"""Which hosts a node may be sent to: a wall against requests to what only this machine can reach.

Whoever names an address makes this node connect to it. So names are resolved here, every address that a name has must
be a public one (or the owner has listed the host), and the connection goes to the address that was checked, not to the
name again, which might say something else a moment later (DNS rebinding). Addresses at which clouds give credentials
away are never connected to, listed or not.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from ...errors import NotAllowed, Unreachable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

# AWS, Google Cloud, Azure, Oracle, OpenStack, DigitalOcean; AWS containers and EKS; Alibaba; Azure's wire server;
# Oracle's older one; IPv6 of AWS and of Google Cloud.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.253", "100.100.100.200", "168.63.129.16",
        "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )
)  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_METADATA_NAMES = ("metadata.google.internal", "metadata.goog", "metadata.azure.internal", "instance-data")


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order in which to try them.

    Raises
    ------
    Unreachable
        Code ``source-unreachable``.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(
            f"There is no host {host[:253]!r}.", code="source-unreachable", hint="Check the address and the network."
        ) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def allowed_addresses(host: str, port: int, listed: Iterable[str], resolver: Resolver = resolve) -> list[str]:
    """Return the addresses of a host that may be connected to: all that it has, or it is refused.

    Parameters
    ----------
    host, port : str, int
        As the URL names them.
    listed : iterable of str
        ``data_hosts`` of the policy: their addresses need not be public.
    resolver : callable
        From host and port to addresses.

    Raises
    ------
    NotAllowed
        Code ``policy-data-hosts``.
    Unreachable
        Code ``source-unreachable``.
    """
    name = host.rstrip(".").lower()
    if name in _METADATA_NAMES:
        raise _never(host)
    known = any(name == entry.rstrip(".").lower() for entry in listed)
    found = resolver(name, port)
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        for meant in _meanings(address):
            if meant in _METADATA or meant.is_link_local or meant.is_unspecified or meant.is_multicast:
                raise _never(host)
            if not known and not _is_public(meant):
                raise NotAllowed(
                    f"{host} is at an address that is not public; this node reads https:// from public hosts and from "
                    "those that its policy lists.",
                    code="policy-data-hosts",
                    hint=f'The owner of this node can add "{host}" to data_hosts in node.toml.',
                )
    return list(found)


def require_allowed_if_literal(host: str, listed: Iterable[str]) -> None:
    """Refuse an address that is written out and may not be connected to, rather than the name of what is there.

    Raises
    ------
    NotAllowed
        Code ``policy-data-hosts``.
    """
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return  # a name: it is looked up when data are read
    allowed_addresses(host, 443, listed, resolver=lambda name, _: [name])


def _meanings(address: Address) -> list[Address]:
    """Return an address and the IPv4 addresses that it stands for (mapped, NAT64, 6to4, Teredo, compatible)."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None or address in _NAT64:
        return [inner]  # no more than another way of writing it
    meant: list[Address] = [address]
    if address in _LOCAL_NAT64 or address in _COMPATIBLE:
        meant.append(inner)
    return [*meant, *(other for other in (address.sixtofour, *(address.teredo or ())) if other is not None)]


def _is_public(address: Address) -> bool:
    local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not address.is_reserved and not local


def _never(host: str) -> NotAllowed:
    return NotAllowed(
        f"{host} is at an address of this machine's network or cloud itself; data are never read from there.",
        code="policy-data-hosts",
        hint="Name the server that holds the data.",
    )


class CheckedNetwork(httpcore.NetworkBackend):
    """Connects to hosts at the addresses that were checked, and to nothing else.

    Parameters
    ----------
    listed : sequence of str
        ``data_hosts`` of the policy.
    resolver : callable
        See `allowed_addresses`.
    """

    def __init__(self, listed: Sequence[str], resolver: Resolver = resolve) -> None:
        self._listed, self._resolver = listed, resolver
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a host that answers; TLS still asks for the host's own certificate."""
        error: Exception = httpcore.ConnectError("no address")
        for address in allowed_addresses(host, port, self._listed, self._resolver):
            try:
                return self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Refuse: no address of data is a socket of this machine."""
        raise httpcore.ConnectError(f"no socket: {path}")
