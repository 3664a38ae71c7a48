"""Joining a project: prove possession of the key, register, pin the domain key, open the policy for the project."""

from __future__ import annotations

from typing import Any

from .._version import __version__
from ..communications import blocking
from ..communications.coordinator import Bearer, Coordinator, NodeKey
from ..communications.directory import Directory
from ..communications.identity import REGISTER, Identity, canonical
from ..errors import FlaasError, NotAuthenticated
from ..home import Credentials, Home
from .datasets import DatasetRegistry
from .enrolment import Enrolment
from .policy import Policy, allow_project


def join(home: Home, credentials: Credentials, project: str, domain_key: str) -> Enrolment:
    """Register the node in `home` for `project`; nothing is written before the API has agreed.

    Raises
    ------
    NotAuthenticated
        There is no operator's token.
    Conflict
        ``node-exists``: the organisation has another node of this name, or the key belongs to another node.
        ``domain-key-changed``: the project was pinned to another domain key.
    """
    if credentials.token is None:
        raise NotAuthenticated(
            "Joining takes an operator's token.", code="no-token", hint="Pass --token or set FLAAS_TOKEN."
        )
    return blocking.run(_join(home, credentials.url, credentials.token, project, domain_key))


async def _join(home: Home, url: str, token: str, project: str, domain_key: str) -> Enrolment:
    before = Enrolment.load(home.enrolment)
    identity = Identity.load_or_create(home.key)
    async with Coordinator(url, Bearer(token)) as coordinator:
        organisation = (await coordinator.get("/v1/me"))["organisation"]
        after = before.joined(url, organisation, project, domain_key)
        # An API that names another domain key than the operator was told is not to be joined.
        Directory(project, domain_key).update(await coordinator.get(f"/v1/projects/{project}/directory"))
        proof = canonical({"id": identity.node_id, "name": before.name, "organisation": organisation})
        body = {
            "id": identity.node_id,
            "name": before.name,
            "projects": sorted(after.projects),
            "version": __version__,
            "proof": identity.sign(REGISTER, proof).hex(),
        }
        await coordinator.post("/v1/nodes", body)
    after.save(home.enrolment)
    allow_project(home.policy, project)
    return after


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
        "datasets": [entry.name for entry in DatasetRegistry(home.path).list()],
        "state": "not joined",
    }
    if enrolment.url:
        try:
            result |= blocking.run(_known(enrolment.url, identity))
        except FlaasError as error:
            result["state"] = f"unknown: {error}"
    return result


async def _known(url: str, identity: Identity) -> dict[str, Any]:
    async with Coordinator(url, NodeKey(identity)) as coordinator:
        node = await coordinator.get(f"/v1/nodes/{identity.node_id}")
        return {"state": node["state"], "last_seen": node["last_seen"]}
