"""What the organisation north has, and sound bodies for requests about it: only who is asking is wrong with these."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from flaas_jupyter.communications.domain_key import Holder, Holders, sign_domain_document
from flaas_jupyter.communications.identity import MEMBER
from flaas_jupyter.communications.identity import Identity as Key
from flaas_jupyter.communications.rotation import sign_rotation
from flaas_jupyter.costs import accounts
from flaas_jupyter.costs.driver import Identity
from flaas_jupyter.costs.launch import plan, states
from flaas_jupyter.costs.launch.plan import Asked, Wanted
from flaas_jupyter.costs.secrets import Keyring

from .hosted_api import description, query_body, run_body, upload_body


def body_for(path: str, federation, node) -> dict | None:
    """A sound body, so that who is calling is the only thing wrong with a request."""
    return {
        "/v1/organisations": {"id": "new", "name": "New"},
        "/v1/organisations/{organisation_id}": {"name": "New"},
        "/v1/tokens": {"note": "x"},
        "/v1/users": {"organisation": "north", "kind": "service"},
        "/v1/nodes/invitations": {"name": "new", "project": "credit", "digest": "0" * 64},
        "/v1/approvals/{approval_id}/decisions": {"decision": "approve", "time": 1_790_000_000, "signature": "0" * 128},
        "/v1/nodes/{node_id}/quarantine": {"reason": "looks ill"},
        "/v1/models/{model_id}/revoke": {"reason": "poisoned"},
        "/v1/projects": federation.project_body(id="new"),
        "/v1/projects/{project_id}": {"name": "New"},
        "/v1/projects/{project_id}/memberships": federation.membership(node.id, "north"),
        "/v1/projects/{project_id}/revocations": federation.revocation(node.id),
        "/v1/projects/{project_id}/pending": {"kind": "memberships", "document": cosigned(federation, node)},
        "/v1/projects/{project_id}/runs": run_body(),
        "/v1/projects/{project_id}/queries": query_body(),
        "/v1/queries/{query_id}/close": {"outcome": "released"},
        "/v1/projects/{project_id}/recipes": {"name": "common", "recipe": {"nodes": {}}},
        "/v1/projects/{project_id}/uploads": upload_body(node),
        "/v1/uploads/{upload_id}/outcome": {"outcome": "aborted"},
        "/v1/nodes/{node_id}/upload-key": node.upload_key(),
        "/v1/projects/{project_id}/views": query_body(operation="explore-column"),
        "/v1/views/{query_id}/close": {"outcome": "released"},
        "/v1/nodes": node.registration(),
        "/v1/nodes/{node_id}/record": node.record(),
        "/v1/nodes/{node_id}/rotation": sign_rotation(node.identity, Key(b"R" * 32), 1_790_000_000),
        "/v1/nodes/{node_id}/links": {"links": []},
        "/v1/projects/{project_id}/network": federation.network(),
        "/v1/projects/{project_id}/dials": {"to": node.id},
        "/v1/nodes/{node_id}/datasets/{name}": description(),
        "/v1/runs/{run_id}/assignments/{node_id}": {"state": "accepted"},
        "/v1/runs/{run_id}/transitions": {"to": "running", "term": 1},
        "/v1/runs/{run_id}/rounds/{number}": node.round(1),
        "/v1/costs/accounts": {"provider": "aws", "title": "Ours", "credentials": {}},
        "/v1/costs/accounts/{account_id}/overlays": {"overlays": []},
        "/v1/costs/accounts/{account_id}/fetch": {},
        "/v1/costs/templates": {"name": "new", "title": "New", "need": {"vcpus": 2}},
        "/v1/costs/recommendations": {"template": "tabular-small"},
        "/v1/costs/imports": {"name": "bill", "delivered": "2026-09-01T00:00:00Z", "rows": [{}]},
        "/v1/projects/{project_id}/budget": {"budget_usd": 5},
        "/v1/projects/{project_id}/launches": {
            "hours": 1.0,
            "accepted_usd": 0.0,
            "nodes": [{"name": "new", "provider": "local", "region": "here", "instance_type": "process"}],
        },
    }.get(path)


def cosigned(federation, node) -> dict:
    """Return a membership that one of two holders has signed."""
    holders = Holders.of([federation.domain_key.node_id, node.id], 2)
    body = federation.membership(node.id, "north")["body"]
    return sign_domain_document(Holder(federation.domain_key, holders), MEMBER, body)


def account_of_north(federation) -> str:
    """Return the id of a cloud account, entered without asking the cloud."""
    with federation.api.hosted.database.writing() as session:
        identity = Identity("111122223333", "user/flaas")
        return accounts.add(session, Keyring([b"k" * 32]), "north", "aws", "Ours", {}, identity).id


def launch_of_north(federation) -> str:
    """Return the id of a launch that has ended, so that nothing works on it."""
    node = Wanted("ended", "local", "here", "process", 0.0)
    asked = Asked("credit", "north", "somebody", 1.0, federation.api.url, 0.0, [node])
    with federation.api.hosted.database.writing() as session:
        launch = plan.create(session, asked, [Decimal(0)], datetime.now(UTC))
        launch.state = states.ENDED
        for machine in launch.machines:
            machine.state, machine.over = states.ENDED, True
        return launch.id


def template_of_north(federation, name: str) -> None:
    """Keep a template of north's own."""
    body = {"name": name, "title": "Ours", "need": {"vcpus": 2}}
    federation.person("cost-manager", "north").post("/v1/costs/templates", body)
