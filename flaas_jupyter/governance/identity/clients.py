"""The clients that may ask for tokens, and where a browser may be sent back to.

All of them are public (RFC 6749, section 2.1): a program on somebody's machine can keep no secret of its own, so they
use PKCE or the device flow. A node is a client too, known by its key; it is in no list here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

CODE = "authorization_code"
REFRESH = "refresh_token"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT_CREDENTIALS = "client_credentials"
INVITATION = "urn:flaas:params:oauth:grant-type:invitation"
"""An extension (RFC 6749, section 4.5): an invitation and a new password, for machines without a browser."""

_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Client:
    """A public client.

    Parameters
    ----------
    id, name : str
        For machines, and for the person who is asked to agree.
    grants : frozenset of str
        Grant types that it may use.
    redirect_uris : tuple of str
        Where a browser may be sent back to; compared exactly, but for the port of a loopback address.
    """

    id: str
    name: str
    grants: frozenset[str]
    redirect_uris: tuple[str, ...] = ()

    def may_return_to(self, uri: str) -> bool:
        """Tell whether `uri` is one of the client's (RFC 9700, section 2.1; RFC 8252, section 7.3)."""
        return any(uri == known or _same_but_for_port(uri, known) for known in self.redirect_uris)


BUILT_IN: Mapping[str, Client] = MappingProxyType(
    {
        client.id: client
        for client in (
            Client("flaas-cli", "The flaas command and notebooks", frozenset({DEVICE, REFRESH, INVITATION})),
            Client("flaas-jupyterlab", "The Federated learning panel of JupyterLab", frozenset({DEVICE, REFRESH})),
            Client(
                "flaas-web",
                "A program on your own machine",
                frozenset({CODE, REFRESH}),
                ("http://127.0.0.1/callback", "http://[::1]/callback"),
            ),
        )
    }
)


def _same_but_for_port(uri: str, known: str) -> bool:
    """Loopback only, and only if `uri` is spelt exactly like `known` with a port in it."""
    parts = urlsplit(known)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or parts.port is not None:
        return False
    head = f"{parts.scheme}://{parts.netloc}:"
    port, slash, rest = uri.removeprefix(head).partition("/")
    if not uri.startswith(head) or f"{slash}{rest}" != parts.path:
        return False
    return port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
