"""A domain whose members are processes in namespaces: the test holds its key and plays the coordination API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import trustme
from namespaces import PROXY, SERVER, SERVER6, Lab, Process

from flaas_jupyter.communications.directory import Membership, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.network import Network, ReflectorSite, RelaySite, sign_network

DOMAIN = "study"
REFLECTOR_PORT = 41642
RELAY = "https://relay.example"
"""A name: each site reaches it by an address of its own family."""


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
        self._nodes: dict[str, Process] = {}

    @property
    def listing(self) -> dict[str, Any]:
        """The directory as the API lists it."""
        return {
            "domain": DOMAIN,
            "domain_key": self.key.node_id,
            "memberships": list(self._members.values()),
            "records": list(self._records.values()),
            "network": self.network,
        }

    async def serve(self, *, relay: bool = True, direct: Any = "prefer", six: bool = False) -> None:
        """Start the public servers, and have the domain name those that it is to have."""
        certificate = self._folder / "relay.pem"
        issued = self._ca.issue_cert("relay.example")
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        listen = [f"{SERVER}:{REFLECTOR_PORT}", *([f"[{SERVER6}]:{REFLECTOR_PORT}"] if six else [])]
        order = {
            "domain": DOMAIN, "domain_key": self.key.node_id, "listing": self.listing,
            "certificate": str(certificate), "host": "", "reflector": listen, "seed": self.reflector.seed.hex(),
        }  # fmt: skip
        self._listeners.append(await self.lab.start("server", "server_process.py", order))
        relays = (RelaySite("relay", RELAY, self._ca.cert_pem.bytes().decode()),) if relay else ()
        reflectors = (ReflectorSite(self.reflector.node_id, tuple(listen)),)
        self.network = sign_network(self.key, Network(DOMAIN, relays, reflectors, direct, 1))

    async def join(self, site: str, *, environment: dict[str, str] | None = None, **order: Any) -> str:
        """Start a node at a site, and return its id; its records and signals are passed on."""
        identity, now = Identity.generate(), int(time.time())
        membership = Membership(DOMAIN, identity.node_id, site, ("node",), now - 10, now + 3600, 1)
        self._members[identity.node_id] = sign_membership(self.key, membership)
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
