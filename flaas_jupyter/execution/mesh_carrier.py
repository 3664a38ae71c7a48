"""The mesh's carrier as this machine's settings say, and the record of where it is, for whoever joins the mesh."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..communications.carrier import Carrier, Whereabouts
from ..communications.directory import RECORD_SECONDS, Directory, Record
from ..communications.identity import Identity
from ..communications.mesh_settings import MeshSettings
from ..communications.network import Network
from ..communications.several_carriers import bind_carriers
from ..home import Home
from .sources.secrets import SecretStore


async def open_carrier(
    home: Home,
    identity: Identity,
    *,
    api: str,
    directories: Callable[[], Sequence[Directory]],
    listen: Sequence[str] = (),
    any_port: bool = False,
) -> Carrier:
    """Bind to what ``mesh.toml`` says, and follow what the domains' network documents say.

    Parameters
    ----------
    home : Home
        Has the settings, and the proxy's password if they name a secret.
    identity : Identity
        Whose key is proved to peers.
    api : str
        URL of the coordination API; with one on this machine, nothing listens to the network by default.
    directories : callable
        Returns the directories of the domains that this is for.
    listen : sequence of str
        In place of what the settings say.
    any_port : bool
        Take free ports, for what runs beside the node or several times: a port that the settings name is the node's.

    Raises
    ------
    InvalidInput
        ``bad-mesh-settings``, ``bad-proxy``, ``bad-ca``; ``cannot-listen``; ``no-mesh``.
    NotFound
        ``unknown-secret``.
    """
    settings = settings_of(home, api=api, listen=listen)
    if any_port:
        settings = settings.with_any_port()

    def networks() -> list[Network]:
        return [network for directory in directories() if (network := directory.network) is not None]

    return await bind_carriers(identity, settings, networks)


def settings_of(home: Home, *, api: str, listen: Sequence[str] = ()) -> MeshSettings:
    """Return what ``mesh.toml`` says; see `MeshSettings.load`.

    Raises
    ------
    InvalidInput
        ``bad-mesh-settings``, ``bad-ca``.
    NotFound
        ``unknown-secret``: the one that holds the proxy's password.
    """

    def credentials(name: str) -> Mapping[str, str]:
        return SecretStore(home.path).get(name).fields("user", "password")

    return MeshSettings.load(home.mesh, api=api, listen=listen, credentials=credentials)


def signed_record(identity: Identity, directory: Directory, here: Whereabouts) -> dict[str, Any]:
    """Return a record of where this process is, for the members of one domain; of relays it names theirs alone."""
    now = time.time()
    known = {relay.url for relay in directory.network.relays} if directory.network else set()
    record = Record(
        domain=directory.domain,
        node_id=identity.node_id,
        addresses=here.addresses,
        tls=here.tls,
        relays=tuple(relay for relay in here.relays if relay in known),
        sequence=time.time_ns() // 1_000,  # it must rise; a node may move twice in a millisecond
        issued=int(now),
        expires=int(now) + RECORD_SECONDS,
    )
    return record.sign(identity)
