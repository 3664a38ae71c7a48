"""A domain whose members are processes in namespaces: the test holds its key and plays the coordination API."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme
from namespaces import PROXY, SERVER, SERVER6, Lab, Process

from flaas_jupyter.communications.directory import Membership, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.network import Network, ReflectorSite, RelaySite, sign_network

DOMAIN = "study"
REFLECTOR_PORT = 41642
RELAYS = ("https://relay.example", "https://relay2.example:444")
"""Names: each site reaches them by an address of its own family."""
RELAY = RELAYS[0]


class Federation:
    """Members, their records, and what the API passes on."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.key = Identity.generate()
        self.reflector = Identity.generate()
        self._folder = folder
        self._ca = trustme.CA()
        self._members: dict[str, dict[str, Any]] = {}
        self._records: dict[str, dict[str, Any]] = {}
        self.where: dict[str, dict[str, list[str]]] = {}
        self.network: dict[str, Any] | None = None
        self._listeners: list[Process] = []
        self._relays: dict[int, Process] = {}
        self._nodes: dict[str, Process] = {}
        self._identities: dict[str, Identity] = {}
        self._lie: Callable[[dict[str, Any]], None] | None = None

    @property
    def listing(self) -> dict[str, Any]:
        """The directory as the API lists it."""
        listing = {
            "domain": DOMAIN,
            "domain_key": self.key.node_id,
            "memberships": list(self._members.values()),
            "records": list(self._records.values()),
            "network": self.network,
        }
        if self._lie is not None:
            listing = copy.deepcopy(listing)
            self._lie(listing)
        return listing

    def lie(self, how: Callable[[dict[str, Any]], None] | None) -> None:
        """Have the API change what it lists; None for the truth."""
        self._lie = how
        self._pass_on()

    async def serve(self, *, relays: int = 1, direct: Any = "prefer", six: bool = False) -> None:
        """Start the public servers, and have the domain name those that it is to have."""
        listen = [f"{SERVER}:{REFLECTOR_PORT}", *([f"[{SERVER6}]:{REFLECTOR_PORT}"] if six else [])]
        await self._serve(reflector=listen, seed=self.reflector.seed.hex())
        for number in range(relays):
            await self.start_relay(number)
        ca = self._ca.cert_pem.bytes().decode()
        sites = tuple(RelaySite(f"relay{number}", RELAYS[number], ca) for number in range(relays))
        reflectors = (ReflectorSite(self.reflector.node_id, tuple(listen)),)
        self.network = sign_network(self.key, Network(DOMAIN, sites, reflectors, direct, 1))

    async def start_relay(self, number: int) -> None:
        """Start a relay, or start it again."""
        parts = urlsplit(RELAYS[number])
        certificate = self._folder / f"relay{number}.pem"
        issued = self._ca.issue_cert(str(parts.hostname))
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        self._relays[number] = await self._serve(certificate=str(certificate), host="", port=parts.port or 443)

    async def kill_relay(self, number: int) -> None:
        """Kill a relay's process, as when its machine fails."""
        relay = self._relays.pop(number)
        self._listeners.remove(relay)
        await relay.kill()

    async def _serve(self, **order: Any) -> Process:
        common = {"domain": DOMAIN, "domain_key": self.key.node_id, "listing": self.listing}
        self._listeners.append(await self.lab.start("server", "server_process.py", {**common, **order}))
        return self._listeners[-1]

    async def join(
        self,
        site: str,
        *,
        environment: dict[str, str] | None = None,
        as_node: str | None = None,
        key: Identity | None = None,
        **order: Any,
    ) -> str:
        """Start a node at a site, and return its id; its records and signals are passed on.

        Parameters
        ----------
        site : str
            The namespace.
        environment : dict, optional
            Of its process, beside the usual one.
        as_node : str, optional
            A node that was here before, in place of a new one.
        key : Identity, optional
            Who signs its membership, in place of the domain's administrators.
        **order
            What the process is told beside the usual things.
        """
        identity, now = self._identities[as_node] if as_node else Identity.generate(), int(time.time())
        self._identities[identity.node_id] = identity
        membership = Membership(DOMAIN, identity.node_id, site, ("node",), now - 10, now + 3600, 1)
        self._members[identity.node_id] = sign_membership(key or self.key, membership)
        self._pass_on()
        told = {
            "domain": DOMAIN, "domain_key": self.key.node_id, "listing": self.listing, "seed": identity.seed.hex(),
            "peer_timeout": 5.0, **order,
        }  # fmt: skip
        node = await self.lab.start(site, "node_process.py", told, environment)
        self._nodes[identity.node_id] = node
        self._listeners.append(node)

        def said(line: dict[str, Any]) -> None:
            if line["event"] == "record":
                self._records[identity.node_id] = line["record"]
                self.where[identity.node_id] = line["whereabouts"]
                self._pass_on()
            elif line["event"] == "signal" and line["to"] in self._nodes:
                self._nodes[line["to"]].tell(do="dial_back", to=identity.node_id)

        node.on_said = said
        for line in node.said:
            said(line)
        return identity.node_id

    async def leave(self, node: str) -> None:
        """End a node's process."""
        process = self._nodes.pop(node)
        self._listeners.remove(process)
        await process.end()

    async def recorded(self, node: str) -> dict[str, Any]:
        """Return the record that a node has published last."""
        async with asyncio.timeout(20):
            while node not in self._records:
                await asyncio.sleep(0.05)
        return self._records[node]

    async def refused(self, node: str) -> str:
        """Return why a node does not take what the API lists."""
        return str((await self._nodes[node].expect("refused"))["code"])

    async def cut(self, node: str) -> None:
        """Have a node close all its connections."""
        await self._nodes[node].ask("cut")

    async def call(self, caller: str, called: str, size: int = 4000, seconds: float = 40.0) -> dict[str, Any]:
        """Have one call the other, and return what came of it."""
        return await self._nodes[caller].ask("call", seconds + 10, to=called, bytes=size, timeout=seconds)

    async def path(self, caller: str) -> dict[str, Any] | None:
        """Return how a node reaches its peer."""
        status = await self._nodes[caller].ask("status")
        return status["peers"][0]["path"]

    async def sent(self, caller: str) -> int:
        """Return how many bytes a node has sent to its peer."""
        status = await self._nodes[caller].ask("status")
        return sum(peer["bytes_sent"] for peer in status["peers"])

    def _pass_on(self) -> None:
        for process in self._listeners:
            process.tell(do="listing", listing=self.listing)


def proxy_of(credentials: str = "") -> dict[str, str]:
    """Return the environment of a node that has nothing but a proxy."""
    return {"HTTPS_PROXY": f"http://{credentials}{'@' if credentials else ''}{PROXY}:3128"}
