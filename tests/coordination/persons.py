"""People with accounts and keys of their own in a federation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from sqlalchemy import select

from flaas_jupyter.communications.identity import Identity, canonical
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance.approvals.documents import sign
from flaas_jupyter.governance.rbac import core
from flaas_jupyter.governance.rbac.tables import Assignment

from .hosted_api import Api, Caller, Federation, Json

PASSWORD = "seven unrelated words in a row"
CLIENT = "flaas-cli"
FOUNDERS = {
    "pam": ("platform", "approver", "platform"),
    "pit": ("platform", "approver", "platform"),
    "owen": ("north", "data-owner", "project:credit"),
    "dora": ("laboratory", "developer", "project:credit"),
    "olga": ("platform", "org-admin", "platform"),
    "gwen": ("platform", "governance-admin", "platform"),
    "oscar": ("north", "operator", "organisation:north"),
}


@dataclass
class Human:
    """A person: the key that it signs decisions with, and what it signs in with again."""

    name: str
    key: Identity
    refresh: str
    api: Api | None = None
    access: str = field(default="", repr=False)

    def at(self, api: Api) -> Human:
        """Return the person at `api`, which has a copy of the data base that the account was made in."""
        return replace(self, api=api, access="")

    def renew(self) -> None:
        """Get an access token for the refresh token."""
        assert self.api is not None
        tokens = _tokens(self.api, grant_type="refresh_token", refresh_token=self.refresh)
        self.access, self.refresh = tokens["access_token"], tokens["refresh_token"]

    @property
    def caller(self) -> Caller:
        """The person as who calls the API."""
        if not self.access:
            self.renew()
        assert self.api is not None
        return self.api.as_person(self.access)

    def decision(self, approval: Json, decision: str = "approve", later: int = 0) -> Json:
        """Return a decision, signed for what the API shows, by a clock that is `later` seconds ahead."""
        now = int(time.time()) + later
        signature = sign(self.key, approval["id"], approval["sha256"], decision, now)
        return {"decision": decision, "time": now, "signature": signature}

    def decide(self, approval: Json, decision: str = "approve", later: int = 0) -> httpx.Response:
        """Decide on a request."""
        path = f"/v1/approvals/{approval['id']}/decisions"
        return self.caller.call("POST", path, self.decision(approval, decision, later))

    def refused(self, approval: Json) -> tuple[int, str]:
        """Approve, which must be refused; return status and code."""
        response = self.decide(approval, later=60)
        return response.status_code, response.json()["code"]

    def approve(self, approval: Json) -> Json:
        """Approve what must be possible to approve; return the request after it."""
        response = self.decide(approval)
        assert response.status_code == 200, response.text
        return dict(response.json())


def settle(federation: Federation) -> dict[str, Human]:
    """Invite the people, who accept, sign in and register their keys."""
    people = {}
    for number, (name, (organisation, role, scope)) in enumerate(FOUNDERS.items()):
        body = {
            "id": name,
            "organisation": organisation,
            "email": f"{name}@{organisation}.example",
            "roles": [{"role": role, "scope": scope}],
        }
        secret = federation.governor.post("/v1/users", body)["invitation"]
        grant = "urn:flaas:params:oauth:grant-type:invitation"
        tokens = _tokens(federation.api, grant_type=grant, invitation=secret, password=PASSWORD)
        key = Identity(bytes([number + 1]) * 32)
        proof = key.sign("flaas/approver/1", canonical({"subject": name, "key": key.node_id})).hex()
        federation.api.as_person(tokens["access_token"]).put("/v1/me/key", {"key": key.node_id, "proof": proof})
        people[name] = Human(name, key, tokens["refresh_token"])
    return people


def lose(database_url: str, user: str) -> None:
    """Take all roles from somebody, as others would have done meanwhile."""
    database = Database(database_url)
    try:
        with database.writing() as session:
            held = session.execute(select(Assignment.role, Assignment.scope).where(Assignment.user == user)).all()
            for role, scope in held:
                core.deassign_user(session, user, role, scope)
    finally:
        database.close()


def _tokens(api: Api, **form: str) -> dict[str, Any]:
    with httpx.Client(base_url=api.url, timeout=20, trust_env=False) as client:
        answer = client.post("/oauth/token", data={"client_id": CLIENT, **form})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
