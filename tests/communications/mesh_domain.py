"""A domain as the coordination API would hold it, with its key at hand to sign memberships."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import astuple
from typing import Any

from flaas_jupyter.communications.carrier import Carrier, Whereabouts
from flaas_jupyter.communications.directory import Directory, Membership, Record, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh
from flaas_jupyter.communications.revocation import Revocation, sign_revocation

DOMAIN = "hospital-study"
Bind = Callable[[Identity], Awaitable[Carrier]]
Start = Callable[..., Awaitable[Mesh]]


class Domain:
    """What the coordination API would hold of one project."""

    def __init__(self, name: str = DOMAIN) -> None:
        self.name = name
        self.key = Identity.generate()
        self.memberships: dict[str, dict[str, Any]] = {}
        self.revocations: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[str, Any]] = {}

    def admit(self, node_id: str, roles: tuple[str, ...] = ("node",), **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        fields = {"not_before": now - 10, "not_after": now + 1000, "serial": 1, "organisation": "clinic"}
        membership = Membership(domain=self.name, node_id=node_id, roles=roles, **{**fields, **changes})
        self.memberships[node_id] = sign_membership(self.key, membership)
        return self.memberships[node_id]

    def revoke(self, node_id: str, serial: int = 1, reason: str = "stolen") -> dict[str, Any]:
        revocation = Revocation(DOMAIN, node_id, serial, reason, int(time.time()))
        self.revocations[node_id] = sign_revocation(self.key, revocation)
        return self.revocations[node_id]

    def publish(self, identity: Identity, whereabouts: Whereabouts, sequence: int = 1) -> dict[str, Any]:
        now = int(time.time())
        record = Record(self.name, identity.node_id, *astuple(whereabouts), sequence, now, now + 800)
        self.records[identity.node_id] = record.sign(identity)
        return self.records[identity.node_id]

    def listing(self) -> dict[str, Any]:
        return {
            "domain": self.name,
            "domain_key": self.key.node_id,
            "memberships": list(self.memberships.values()),
            "revocations": list(self.revocations.values()),
            "records": list(self.records.values()),
        }

    def directory(self) -> Directory:
        directory = Directory(self.name, self.key.node_id)
        directory.update(self.listing())
        return directory
