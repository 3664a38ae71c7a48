"""Joining a project: prove possession of the key, register, pin the domain key, open the policy for the project."""

from __future__ import annotations

from typing import Any

from .._version import __version__
from ..communications import blocking
from ..communications.coordinator import Coordinator, Credentials, NodeKey
from ..communications.directory import Directory
from ..communications.identity import REGISTER, Identity, canonical
from ..communications.trust import Trust
from ..communications.upload_key import UploadKey, fingerprint
from ..errors import Conflict, FlaasError
from ..home import Home
from . import peers, rotation, witness
from .enrolment import Enrolment
from .policy import Policy, allow_project


def join(
    home: Home, url: str, operator: Credentials, project: str, domain_key: str, *, trust: Trust | None = None
) -> Enrolment:
    """Register the node in `home` for `project`, as its operator; nothing is written before the API has agreed.

    Who may vouch for the API is `trust`, which is pinned then; by default whom `Trust.of` trusts.

    Raises
    ------
    Conflict
        ``node-exists``: the organisation has another node of this name, or the key belongs to another node.
        ``domain-key-changed``: the project was pinned to another domain key. ``waits-for-approval``: others have to
        agree first; join again when they have.
    """
    return blocking.run(_join(home, url, operator, project, domain_key, trust or Trust.of(home, url)))


async def _join(home: Home, url: str, operator: Credentials, project: str, domain_key: str, trust: Trust) -> Enrolment:
    before = Enrolment.load(home.enrolment)
    identity = Identity.load_or_create(home.key)
    async with Coordinator(url, operator, trust=trust) as coordinator:
        organisation = (await coordinator.get("/v1/me"))["organisation"]
        after = before.joined(url, organisation, project, domain_key)
        # An API that names another domain key than the operator was told is not to be joined.
        Directory(project, domain_key).update(await coordinator.get(f"/v1/projects/{project}/directory"))
        body = {
            "id": identity.node_id,
            "name": before.name,
            "projects": sorted(after.projects),
            "version": __version__,
            "proof": _proof(identity, before.name, organisation),
        }
        answer = await coordinator.post("/v1/nodes", body)
    if "sha256" in answer:
        raise Conflict(
            f"The node is added when others have approved it: request {answer['id']}.",
            code="waits-for-approval",
            hint=f"See `flaas approvals show {answer['id']}`; join again when it is approved.",
            approval=answer["id"],
        )
    return _joined(home, after, project, trust)


def enrol(
    home: Home, url: str, organisation: str, project: str, domain_key: str, secret: str, *, trust: Trust | None = None
) -> Enrolment:
    """Register the node in `home` with an invitation's secret; whoever invited is not needed for it.

    `trust` is as for `join`.

    Raises
    ------
    NotAuthenticated
        ``bad-enrolment``: the secret is not known (or waits for approval), or is for a node of another name;
        ``enrolment-expired``.
    NotAllowed
        ``enrolment-used``: by another key.
    Conflict
        ``node-exists``; ``domain-key-changed``: the project was pinned to another domain key.
    """
    return blocking.run(_enrol(home, url, organisation, project, domain_key, secret, trust or Trust.of(home, url)))


async def _enrol(
    home: Home, url: str, organisation: str, project: str, domain_key: str, secret: str, trust: Trust
) -> Enrolment:
    before = Enrolment.load(home.enrolment)
    identity = Identity.load_or_create(home.key)
    after = before.joined(url, organisation, project, domain_key)
    async with Coordinator(url, trust=trust) as coordinator:
        body = {
            "secret": secret,
            "id": identity.node_id,
            "name": before.name,
            "version": __version__,
            "proof": _proof(identity, before.name, organisation),
        }
        await coordinator.post("/v1/enrolments", body)
    async with Coordinator(url, NodeKey(identity), trust=trust) as coordinator:
        # An API that names another domain key than the node's owner was told is not to be joined.
        Directory(project, domain_key).update(await coordinator.get(f"/v1/projects/{project}/directory"))
    return _joined(home, after, project, trust)


def _joined(home: Home, enrolment: Enrolment, project: str, trust: Trust) -> Enrolment:
    if trust.pem:
        trust.keep(home, enrolment.url)
    enrolment.save(home.enrolment)
    allow_project(home.policy, project)
    return enrolment


def _proof(identity: Identity, name: str, organisation: str) -> str:
    document = canonical({"id": identity.node_id, "name": name, "organisation": organisation})
    return identity.sign(REGISTER, document).hex()


def status(home: Home) -> dict[str, Any]:
    """Return what this node is and whether the API has it online; API problems are told, not raised."""
    enrolment, identity = Enrolment.load(home.enrolment), Identity.load_or_create(home.key)
    policy = Policy.load(home.policy)
    result: dict[str, Any] = {
        "name": enrolment.name,
        "node_id": identity.node_id,
        "organisation": enrolment.organisation or None,
        "api": enrolment.url or None,
        "projects": sorted(enrolment.projects),
        "allowed": sorted(policy.projects),
        "datasets": _datasets(home),
        "state": "not joined",
        "upload_key": _fingerprint(home, identity) if policy.takes_uploads else None,
        "peers_waiting": [row["node_id"] for row in peers.listed(home) if row["state"] == "waits"],
        "next_key": _next_key(home),
    }
    if enrolment.url:
        try:
            result |= blocking.run(_known(enrolment.url, identity, Trust.of(home, enrolment.url)))
        except FlaasError as error:
            result["state"] = f"unknown: {error}"
    return result | witness.status(home)


def _datasets(home: Home) -> list[str]:
    """Return the names of the data sets; a relay has none, nor what reads them."""
    if not (home.path / "datasets.json").exists():
        return []
    from .datasets import DatasetRegistry

    return [entry.name for entry in DatasetRegistry(home.path).list()]


def _next_key(home: Home) -> str | None:
    """Return the key that the node is going over to, if it is."""
    path = rotation.next_key(home)
    return Identity.load_or_create(path).node_id if path.exists() else None


def _fingerprint(home: Home, identity: Identity) -> str:
    """Return what people compare before they send this node a file."""
    return fingerprint(identity.node_id, UploadKey.load_or_create(home.path / "upload.key").public)


async def _known(url: str, identity: Identity, trust: Trust) -> dict[str, Any]:
    async with Coordinator(url, NodeKey(identity), trust=trust) as coordinator:
        node = await coordinator.get(f"/v1/nodes/{identity.node_id}")
        quarantine = f"{node['quarantine_reason']} (since {node['quarantined']})" if node.get("quarantined") else None
        return {"state": node["state"], "last_seen": node["last_seen"], "quarantine": quarantine}
