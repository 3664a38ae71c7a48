"""How this machine takes part in the mesh: ``FLAAS_HOME/mesh.toml``, for whoever runs it to edit.

What relays and reflectors there are, and whether peers connect directly, is said by the domain's administrators in a
signed document (`network`). What only this machine knows stands here: where it listens, the proxy that leads out of
its network, and who vouches for relays where TLS is inspected. The same file serves nodes, kernels and what sends
files for JupyterLab. Without it everything has a default.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import InvalidInput
from .iroh_endpoint import LOOPBACK, has_family_of
from .network import Direct, Network, RelaySite
from .shim import Proxy
from .signed_fields import is_address, require_relay_url
from .trust import Trust, is_loopback

logger = logging.getLogger(__name__)

EVERYWHERE = ("0.0.0.0:0", "[::]:0")
USER, PASSWORD = "FLAAS_PROXY_USER", "FLAAS_PROXY_PASSWORD"
_FIELDS = {"listen", "carriers", "listen_tls", "announce_tls", "direct", "proxy", "relay_trust"}
CarrierName = Literal["iroh", "tls"]
_PROXY_FIELDS = {"mode", "secret"}

Credentials = Callable[[str], Mapping[str, str]]
"""Gives the fields ``user`` and ``password`` of the secret of this name."""


@dataclass(frozen=True)
class MeshSettings:
    """What this machine says of its part in the mesh; `load` reads it.

    Parameters
    ----------
    listen : tuple of str
        ``ip:port`` of UDP, at most one of each family; port 0 takes a free one.
    carriers : tuple of {"iroh", "tls"}
        The transports that are used, the preferred one first.
    listen_tls : tuple of str
        ``ip:port`` of TCP, likewise. Without one peers are dialled over TLS, and cannot dial.
    announce_tls : tuple of str
        ``ip:port`` at which peers reach `listen_tls` from outside, where a port is forwarded.
    direct : {"prefer", "only", "never"}
        See `network.Direct`; it may be stricter than the domain's.
    proxy : str
        ``auto`` (what the environment says, HTTPS_PROXY and NO_PROXY), ``none``, or the proxy's URL.
    user, password : str
        For the proxy, Basic authentication.
    relay_trust : mapping of str to Trust
        By relay URL, or ``*`` for all: who vouches for it here, in place of what the domain's document says.
    """

    listen: tuple[str, ...] = LOOPBACK
    carriers: tuple[CarrierName, ...] = get_args(CarrierName)
    listen_tls: tuple[str, ...] = ()
    announce_tls: tuple[str, ...] = ()
    direct: Direct = "prefer"
    proxy: str = "auto"
    user: str = ""
    password: str = field(default="", repr=False)
    relay_trust: Mapping[str, Trust] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        api: str,
        listen: Sequence[str] = (),
        credentials: Credentials | None = None,
    ) -> MeshSettings:
        """Read the file at `path`; one that is not there leaves all as it is by default.

        Parameters
        ----------
        path : Path
            Of ``mesh.toml``.
        api : str
            URL of the coordination API. Where it is on this machine, everything is taken to be, and by default
            peers speak TLS on loopback alone: iroh's core looks for a router (see `iroh_endpoint`), and TLS sends no
            packet anywhere else. With an API elsewhere all of the network is listened to, in both families: a socket
            that is bound to loopback can not dial out either.
        listen : sequence of str
            In place of what the file says.
        credentials : callable, optional
            Opens the secret that ``[proxy] secret`` names.

        Raises
        ------
        InvalidInput
            Code ``bad-mesh-settings``; ``bad-ca``: a file of ``[relay_trust]``.
        """
        try:
            raw = tomllib.loads(path.read_text()) if path.exists() else {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _refused(path, f"it cannot be read ({error})") from error
        if unknown := sorted(set(raw) - _FIELDS):
            raise _refused(path, f"it has {unknown[0]!r}; there are {', '.join(sorted(_FIELDS))}")
        direct = raw.get("direct", "prefer")
        if direct not in get_args(Direct):
            raise _refused(path, f"direct is {direct!r}; it is one of {', '.join(get_args(Direct))}")
        in_file = _addresses(path, raw, "listen")
        told = tuple(listen) or in_file
        if listen and in_file and set(told) != set(in_file):
            logger.info("--listen counts (%s), not what %s says (%s)", ", ".join(told), path, ", ".join(in_file))
        require_addresses("--listen" if listen else str(path), told)
        listen_tls, announce_tls = _addresses(path, raw, "listen_tls"), _addresses(path, raw, "announce_tls")
        require_addresses(f"{path}, listen_tls", listen_tls)
        _require_announced(path, listen_tls, announce_tls)
        alone = is_loopback(api) and not told
        carriers = _carriers(path, raw.get("carriers", ["tls"] if alone else list(get_args(CarrierName))), listen_tls)
        if is_loopback(api) and "tls" in carriers and "listen_tls" not in raw:
            listen_tls = LOOPBACK[:1]  # also beside --listen: kernels of the same home are not told that
        mode, user, password = _proxy(path, raw.get("proxy", {}), credentials)
        return cls(
            listen=told or default_listen(api),
            carriers=carriers,
            listen_tls=listen_tls,
            announce_tls=announce_tls,
            direct=direct,
            proxy=mode,
            user=user,
            password=password,
            relay_trust=_relay_trust(path, raw.get("relay_trust", {})),
        )

    def with_any_port(self) -> MeshSettings:
        """Return the same with any free port at every address: the one that is named is the node's.

        Over TLS only the node listens.
        """
        anywhere = tuple(f"{address.rpartition(':')[0]}:0" for address in self.listen)
        return replace(self, listen=anywhere, listen_tls=(), announce_tls=())

    def direct_with(self, networks: Sequence[Network]) -> Direct:
        """Return the rule for this machine and every domain: ``never``, if anybody says so, else ``only``."""
        said = {self.direct, *(network.direct for network in networks)}
        return "never" if "never" in said else "only" if "only" in said else "prefer"

    def trust_of(self, relay: RelaySite) -> Trust:
        """Return who vouches for `relay`."""
        return self.relay_trust.get(relay.url) or self.relay_trust.get("*") or Trust(relay.ca)

    def proxy_to(self, relay: str) -> Proxy | None:
        """Return the proxy by which the relay at this URL is reached; None for none.

        Raises
        ------
        InvalidInput
            Code ``bad-proxy``: the environment names one that cannot be used.
        """
        if self.proxy == "none" or is_loopback(relay):
            return None
        if self.proxy != "auto":
            return self._at(self.proxy)
        url = getproxies().get("https")
        if not url or proxy_bypass(urlsplit(relay).hostname or ""):
            return None
        return self._at(url if "://" in url else f"http://{url}")

    def _at(self, url: str) -> Proxy:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 0
        if not host or parts.scheme != "http":
            raise InvalidInput(
                f"The proxy {_without_password(url)!r} cannot be used.",
                code="bad-proxy",
                hint="It is http://host:port; what goes through it is encrypted all the same.",
            )
        user, password = self.user, self.password
        if not user and parts.username:  # as curl and pip take it from the environment
            user, password = unquote(parts.username), unquote(parts.password or "")
        return Proxy(host, port, user, password)


def default_listen(api: str) -> tuple[str, ...]:
    """Return where to listen when nobody has said: on loopback, or with an API elsewhere everywhere."""
    return tuple(address for address in (LOOPBACK if is_loopback(api) else EVERYWHERE) if has_family_of(address))


def _addresses(path: Path, raw: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = raw.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _refused(path, f"{name} is {value!r}, not a list of ip:port")
    return tuple(value)


def _carriers(path: Path, value: object, listen_tls: Sequence[str]) -> tuple[CarrierName, ...]:
    known = get_args(CarrierName)
    if not isinstance(value, list) or not value or any(item not in known for item in value):
        raise _refused(path, f"carriers is {value!r}; it is a list of {' and '.join(known)}, the preferred one first")
    if listen_tls and "tls" not in value:
        raise _refused(path, 'listen_tls is given, and carriers leaves out "tls"')
    return tuple(dict.fromkeys(value))


def _require_announced(path: Path, listen_tls: Sequence[str], announced: Sequence[str]) -> None:
    if bad := [address for address in announced if not is_address(address)]:
        raise _refused(path, f"announce_tls has {bad[0][:80]!r}, which is not ip:port or [ip6]:port")
    if announced and not listen_tls:
        raise _refused(path, "announce_tls is given without listen_tls, so that nothing answers there")


def require_addresses(where: str, addresses: Sequence[str]) -> None:
    """Raise `InvalidInput` (code ``bad-mesh-settings``) unless they can be bound to: one of each family at most."""
    for address in addresses:
        if not is_address(f"{address[:-2]}:1" if address.endswith(":0") else address):
            raise InvalidInput(
                f"{where}: {address[:80]!r} is not ip:port or [ip6]:port.",
                code="bad-mesh-settings",
                hint='For example "0.0.0.0:41641" and "[::]:41641"; port 0 takes a free one.',
            )
    if len(addresses) != len({address.startswith("[") for address in addresses}):
        raise InvalidInput(
            f"{where}: {', '.join(addresses)} names two addresses of one family.",
            code="bad-mesh-settings",
            hint="Give at most one for IPv4 and one for IPv6; 0.0.0.0 and [::] are all of this machine's.",
        )


def _proxy(path: Path, table: object, credentials: Credentials | None) -> tuple[str, str, str]:
    texts = isinstance(table, dict) and all(isinstance(value, str) for value in table.values())
    if not isinstance(table, dict) or not texts or not set(table) <= _PROXY_FIELDS:
        raise _refused(path, "[proxy] has mode and secret, which are texts, and nothing else")
    mode = table.get("mode", "auto")
    if mode not in ("auto", "none"):
        parts = urlsplit(mode)
        if parts.username is not None or parts.password is not None:
            raise _refused(path, f"a password does not belong into a URL; set {USER} and {PASSWORD}, or name a secret")
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
            raise _refused(path, f"[proxy] mode is {mode!r}; it is auto, none or http://host:port")
    if name := table.get("secret"):
        if credentials is None:
            raise _refused(path, f"the secret {name!r} cannot be opened here; set {USER} and {PASSWORD}")
        found = credentials(name)
        return mode, found["user"], found["password"]
    return mode, os.environ.get(USER, ""), os.environ.get(PASSWORD, "")


def _relay_trust(path: Path, table: object) -> dict[str, Trust]:
    if not isinstance(table, dict):
        raise _refused(path, "[relay_trust] is a table of relay URLs and files")
    found = {}
    for url, named in table.items():
        if not isinstance(named, str):
            raise _refused(path, f"[relay_trust] of {url!r} is a PEM file, or system")
        if url != "*":
            require_relay_url(url)
        found[url] = Trust() if named == "system" else Trust.from_file(path.parent / named)
    return found


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else url


def _refused(path: Path, what: str) -> InvalidInput:
    return InvalidInput(f"{path}: {what}.", code="bad-mesh-settings", hint="docs/mesh.md shows all settings.")
