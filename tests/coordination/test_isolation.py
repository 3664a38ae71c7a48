"""Every endpoint of the published description, asked for what belongs to another organisation.

The requests are made from the OpenAPI document: an endpoint that is new is tried without anybody thinking of it, and a
kind of id that is new makes the test ask what one of another organisation's would be.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import insert

from flaas_jupyter.coordination.tables import Base
from flaas_jupyter.governance.permissions import NODE, ROLES, permits

from .north import account_of_north, body_for, launch_of_north, template_of_north

PUBLIC_KINDS = {"code"}
"""What the ids of are the same for everybody."""
TELLING = ("Credit risk", "Who pays back", "Ours", "111122223333", "viewer.north", "operator.north")
"""Names that the organisations which are tried hold, and that nobody else is told."""


@dataclass(frozen=True)
class Asked:
    """A request for something of another organisation's."""

    method: str
    path: str
    template: str
    operation: str
    body: Any
    ids: frozenset[str]


@pytest.fixture
def foreign(federation):
    """Ids of everything that north has, by the name of the parameter that takes them."""
    node = federation.node("north", online=True)
    run, _, _ = federation.led_run([node])
    viewer = federation.person("viewer", "north")
    ids = {
        "organisation_id": "north", "project_id": federation.project, "node_id": node.id, "run_id": run, "number": "1",
        "name": "loans", "account_id": account_of_north(federation), "launch_id": launch_of_north(federation),
        "user_id": "viewer.north", "role": "viewer", "scope": "organisation:north", "model_id": f"{run}-1",
        "token_id": viewer.embedded("/v1/tokens", "tokens")[0]["id"], "session_id": "s-of-north", "approval_id": "a-9",
        "digest": hashlib.sha256(b"an invitation of north").hexdigest(), "query_id": "q-of-north",
        "upload_id": "0a" * 16, "recipe_id": "c-of-north",
    }  # fmt: skip
    template_of_north(federation, ids["name"])
    keep(federation, "node_invitations", digest=ids["digest"], organisation="north", name="invited", created_by="x")
    keep(federation, "sign_ins", id=ids["session_id"], person="viewer.north", client="flaas-cli", session="s", scope="")
    keep(federation, "model_versions", id=ids["model_id"], run=run, round=1, digest="cd" * 32, state="candidate")
    keep(
        federation, "queries", id=ids["query_id"], dataset="loans", operation="mean", purpose="analytics", via="mpc",
        digest="ab" * 32, submitter="cd" * 32, participants=[], releaser=node.id, created_by="developer.north",
        organisation="north",
    )  # fmt: skip
    keep(
        federation, "uploads", id=ids["upload_id"], node=node.id, dataset="sent", size=1, digest="ab" * 32,
        submitter="cd" * 32, created_by="operator.north", organisation="north",
    )  # fmt: skip
    keep(
        federation, "recipes", id=ids["recipe_id"], name="common", version=1, kind="mapping", digest="ab" * 32,
        content={"v": 1, "nodes": {}}, created_by="developer.north", organisation="north",
    )  # fmt: skip
    keep(federation, "upload_keys", node=node.id, document=node.upload_key())
    keep(
        federation, "approval_requests", id=ids["approval_id"], action="member.roles", scope="organisation:north",
        requester="operator.north", organisation="north", document='{"who":"viewer.north"}', sha256="ef" * 32,
        factors=[], within=[], cooling=0, state="pending",
    )  # fmt: skip
    keep(federation, "approval_scopes", request=ids["approval_id"], scope="organisation:north")
    return node, ids


def keep(federation, table: str, **values: Any) -> None:
    """Write a row of north's."""
    now = datetime.now(UTC)
    values |= {"project": federation.project, "created": now, "authenticated": now, "used": now}
    values["expires"] = now + timedelta(hours=1)
    rows = Base.metadata.tables[table]
    with federation.api.hosted.database.writing() as session:
        session.connection().execute(insert(rows).values({k: v for k, v in values.items() if k in rows.c}))


def requests(federation, foreign) -> Iterator[Asked]:
    """Yield a request for each endpoint of the description that takes an id."""
    node, ids = foreign
    for template, methods in federation.api.app.openapi()["paths"].items():
        kinds = set(re.findall(r"{(\w+)}", template))
        if not kinds or kinds <= PUBLIC_KINDS:
            continue
        for method, described in methods.items():
            operation = described.get("x-flaas-operation")
            assert operation, f"{method} {template} does not say what it takes"
            missing = kinds - set(ids)
            assert not missing, f"say in `foreign` what a {missing} of north is, for {template}"
            path = template.format(**{kind: quote(ids[kind], safe=":") for kind in kinds})
            body = None if "requestBody" not in described else sound(template, federation, node)
            named = frozenset(ids[kind] for kind in kinds)
            yield Asked(method.upper(), path, template, operation, body, named)


def sound(template: str, federation, node) -> Any:
    """Return a body with which nothing is wrong, so that it is for the id alone that the request is refused."""
    own = {"/v1/users/{user_id}/roles": {"role": "viewer", "scope": "organisation:elsewhere"}}
    body = own.get(template) or body_for(template, federation, node)
    return {} if body is None else body


def told(response) -> str:
    """Return everything that an answer tells."""
    return "\n".join([response.text, *(f"{name}: {value}" for name, value in response.headers.items())])


def test_what_others_have_is_not_there_for_any_role(federation, foreign, database_kind):
    _, ids = foreign
    callers = {role: federation.person(role, "elsewhere") for role in ROLES}
    callers[NODE] = federation.foreign_node().api
    secrets = {
        *TELLING,
        *(ids[kind] for kind in ("node_id", "run_id", "account_id", "launch_id", "token_id", "session_id", "digest")),
    }
    tried = 0
    for asked in requests(federation, foreign):
        for role, caller in callers.items():
            if database_kind == "postgresql" and not permits(role, asked.operation):
                continue  # refused before the data base is asked
            response = caller.call(asked.method, asked.path, asked.body)
            where = f"{role}: {asked.method} {asked.template}: {response.status_code} {response.text[:300]}"
            assert response.status_code == (404 if permits(role, asked.operation) else 403), where
            answer = told(response)
            for asked_for in asked.ids:
                answer = answer.replace(asked_for, "").replace(quote(asked_for, safe=":"), "")
            leaked = sorted(secret for secret in secrets if secret in answer)
            assert not leaked, f"{where} tells {leaked}"
            tried += response.status_code == 404
    assert tried > 100


def test_what_is_not_there_and_what_is_anothers_look_the_same(federation, foreign):
    stranger = {role: federation.person(role, "elsewhere") for role in ROLES}
    other = {"project_id": "no-such", "run_id": "0" * 16, "node_id": "0" * 64, "organisation_id": "no-such",
             "launch_id": "l" + "0" * 16, "account_id": "0" * 16, "user_id": "no-such", "name": "no-such",
             "model_id": "no-such-1", "token_id": "0" * 12, "session_id": "no-such", "approval_id": "no-such",
             "digest": "0" * 64, "query_id": "q" + "0" * 16, "upload_id": "0" * 32,
             "recipe_id": "c" + "0" * 16}  # fmt: skip
    node, ids = foreign
    absent = (node, {**ids, **other})
    for theirs, nothing in zip(requests(federation, foreign), requests(federation, absent), strict=True):
        # One with many rights and one with few: what the others are refused, the test above has seen.
        let_in = [role for role in stranger if permits(role, theirs.operation)]
        for role in dict.fromkeys([*let_in[:1], *let_in[-1:]]):
            caller, problems = stranger[role], []
            for asked in (theirs, nothing):
                problem = caller.problem(asked.method, asked.path, asked.body)
                text = str({name: value for name, value in problem.items() if name != "instance"})
                for each in sorted(asked.ids, key=len, reverse=True):
                    text = text.replace(each, "…")
                problems.append(text)
            assert problems[0] == problems[1], f"{role}: {theirs.method} {theirs.template}"
