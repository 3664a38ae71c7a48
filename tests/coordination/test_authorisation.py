"""Each endpoint, by nobody, by somebody whose role does not permit it, and by somebody from elsewhere."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from flaas_jupyter.coordination.app import operation_of
from flaas_jupyter.costs import accounts
from flaas_jupyter.costs.driver import Identity
from flaas_jupyter.costs.launch import plan, states
from flaas_jupyter.costs.launch.plan import Asked, Wanted
from flaas_jupyter.costs.secrets import Keyring
from flaas_jupyter.governance.permissions import NODE, ROLES, permits

from .hosted_api import ROUTES, description, run_body

PUBLIC = {"/", "/v1/health", "/problems/{code}", "/v1/enrolments"}  # an enrolment has a secret of its own


def body_for(path: str, federation, node) -> dict | None:
    """A sound body, so that who is calling is the only thing wrong with a request."""
    return {
        "/v1/organisations": {"id": "new", "name": "New"},
        "/v1/organisations/{organisation_id}": {"name": "New"},
        "/v1/tokens": {"subject": "x", "organisation": "north", "role": "viewer"},
        "/v1/projects": federation.project_body(id="new"),
        "/v1/projects/{project_id}": {"name": "New"},
        "/v1/projects/{project_id}/memberships": federation.membership(node.id, "north"),
        "/v1/projects/{project_id}/runs": run_body(),
        "/v1/nodes": node.registration(),
        "/v1/nodes/{node_id}/record": node.record(),
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
    federation.person("controller", "north").post("/v1/costs/templates", body)


@pytest.fixture
def world(federation):
    """A project with a node, a run under way, and the requests that could be made of them."""
    node = federation.node("north", online=True)
    run, _, _ = federation.led_run([node])
    token = federation.admin.embedded("/v1/tokens", "tokens")[0]["id"]
    names = {
        "organisation_id": "north", "token_id": token, "project_id": "credit", "node_id": node.id,
        "run_id": run, "number": 1, "name": "loans", "account_id": account_of_north(federation),
        "launch_id": launch_of_north(federation),
    }  # fmt: skip
    template_of_north(federation, names["name"])
    requests = []
    for route in ROUTES:
        (method,) = route.methods
        path = route.path.format(**names) if route.path not in PUBLIC else route.path
        body = None if method in ("GET", "DELETE") else body_for(route.path, federation, node)
        requests.append((route, method, path, body))
    return federation, node, requests


def test_every_route_says_what_it_requires():
    assert {route.path for route in ROUTES if operation_of(route) is None} == PUBLIC


def test_nobody_gets_anywhere(world):
    federation, _, requests = world
    for route, method, path, body in requests:
        if route.path not in PUBLIC:
            assert federation.nobody.refused(method, path, body) == (401, "not-authenticated"), path
            wrong = federation.api.as_person("flaas_0123456789ab_wrong")
            assert wrong.refused(method, path, body) == (401, "bad-token"), path


def test_a_role_that_does_not_permit_it_is_refused(world):
    federation, node, requests = world
    callers = {role: federation.person(role, "north") for role in ROLES if role != "admin"}
    callers |= {"admin": federation.admin, NODE: node.api}
    tried = 0
    for (route, method, path, body), (role, caller) in itertools.product(requests, callers.items()):
        operation = operation_of(route)
        if operation is not None and not permits(role, operation):
            problem = caller.problem(method, path, body)
            assert (problem["status"], problem["code"]) == (403, "not-allowed"), (role, path)
            assert role not in problem["roles"]
            tried += 1
    assert tried > 60


def test_what_belongs_to_others_is_not_there(world):
    federation, _, requests = world
    strangers = {
        role: federation.person(role, "elsewhere") for role in ("operator", "developer", "controller", "viewer")
    }
    tried = 0
    for (route, method, path, body), (role, caller) in itertools.product(requests, strangers.items()):
        operation = operation_of(route)
        if "{" not in route.path or operation is None or not permits(role, operation):
            continue
        status, code = caller.refused(method, path, body)
        assert status == 404, (role, method, path, code)
        tried += 1
    assert tried > 20


def test_a_foreign_node_sees_nothing_either(world):
    federation, _, requests = world
    foreigner = federation.foreign_node()
    tried = 0
    for route, method, path, body in requests:
        operation = operation_of(route)
        if "{" in route.path and operation is not None and permits(NODE, operation):
            status, code = foreigner.api.refused(method, path, body)
            assert status == 404, (method, path, code)
            tried += 1
    assert tried > 15


def test_lists_hold_only_what_the_caller_sees(world):
    federation, node, _ = world
    stranger = federation.person("viewer", "elsewhere")
    assert stranger.embedded("/v1/nodes", "nodes") == []
    assert [p["id"] for p in stranger.embedded("/v1/projects", "projects")] == ["other"]
    assert [o["id"] for o in stranger.embedded("/v1/organisations", "organisations")] == ["elsewhere"]
    viewer = federation.person("viewer", "west")
    assert [n["id"] for n in viewer.embedded("/v1/nodes", "nodes")] == [node.id]
    assert [p["id"] for p in viewer.embedded("/v1/projects", "projects")] == ["credit"]


def test_another_node_of_the_same_project_cannot_act_for_it(world):
    federation, _, requests = world
    other = federation.node("south")
    for route, method, path, body in requests:
        if operation_of(route) == "node:act":
            assert other.api.refused(method, path, body) == (403, "not-allowed"), path


def test_a_node_sees_the_projects_that_it_is_in_and_no_others_of_its_organisation(federation):
    federation.admin.post("/v1/projects", federation.project_body(id="fraud"))
    node = federation.node("north")
    assert [p["id"] for p in node.api.embedded("/v1/projects", "projects")] == ["credit"]
    assert node.api.refused("GET", "/v1/projects/fraud") == (404, "unknown-project")


def test_an_unknown_project_names_those_that_there_are(federation):
    problem = federation.developer.problem("GET", "/v1/projects/elsewhere")
    assert problem["code"] == "unknown-project"
    assert problem["known"] == ["credit"]
    assert "credit" in problem["detail"]
