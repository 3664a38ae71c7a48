"""A domain as the coordination API would hold it, with its key at hand to sign memberships."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from flaas_jupyter.communications.directory import Directory, Membership, Record, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh

DOMAIN = "hospital-study"
Start = Callable[..., Awaitable[Mesh]]


class Domain:
    """What the coordination API would hold of one project."""

    def __init__(self) -> None:
        self.key = Identity.generate()
        self.memberships: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[str, Any]] = {}

    def admit(self, node_id: str, roles: tuple[str, ...] = ("node",), **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        fields = {"not_before": now - 10, "not_after": now + 1000, "serial": 1, "organisation": "clinic"}
        membership = Membership(domain=DOMAIN, node_id=node_id, roles=roles, **{**fields, **changes})
        self.memberships[node_id] = sign_membership(self.key, membership)
        return self.memberships[node_id]

    def publish(self, identity: Identity, addresses: tuple[str, ...], sequence: int = 1) -> dict[str, Any]:
        now = int(time.time())
        record = Record(DOMAIN, identity.node_id, addresses, sequence, now, now + 800)
        self.records[identity.node_id] = record.sign(identity)
        return self.records[identity.node_id]

    def listing(self) -> dict[str, Any]:
        return {
            "domain": DOMAIN,
            "domain_key": self.key.node_id,
            "memberships": list(self.memberships.values()),
            "records": list(self.records.values()),
        }

    def directory(self) -> Directory:
        directory = Directory(DOMAIN, self.key.node_id)
        directory.update(self.listing())
        return directory
