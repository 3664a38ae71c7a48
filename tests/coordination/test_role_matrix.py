"""Every role at every endpoint, from the table of permissions: a role is let in if, and only if, the table says so.

What an endpoint then answers (there is no such thing, the body is not valid) is other tests' matter.
"""

from __future__ import annotations

import re

import httpx
import pytest
from fastapi.routing import APIRoute

from flaas_jupyter.coordination import routes
from flaas_jupyter.coordination.app import operation_of
from flaas_jupyter.governance.permissions import NODE, PERMISSIONS, ROLES, permits

ROUTES = [route for router in routes.ROUTERS for route in router.routes if isinstance(route, APIRoute)]
GUARDED = [route for route in ROUTES if operation_of(route) is not None]
OPEN = {"/", "/v1/health", "/problems/{code}", "/v1/enrolments", "/v1/nodes/join", "/v1/nodes/enrolments"}
"""Paths that anybody may call; the identity provider's own, which check credentials themselves, begin otherwise."""

PROVIDER = ("/oauth/", "/.well-known/")


def address(route: APIRoute) -> str:
    """Return an address of `route` where nothing is."""
    return re.sub(r"\{[^{}]+\}", "x1", route.path)


def refused_by_role(answer: httpx.Response, operation: str) -> bool:
    """Tell whether the answer is the one that the table of permissions gives."""
    if answer.status_code != 403:
        return False
    problem = answer.json()
    return problem.get("operation") == operation and "roles" in problem


@pytest.fixture
def database_kind() -> str:
    """SQLite alone: the table is asked before the data base is."""
    return "sqlite"


@pytest.fixture
def client(api):
    with httpx.Client(base_url=api.url, trust_env=False, timeout=20) as opened:
        yield opened


def call(client: httpx.Client, route: APIRoute, headers: dict[str, str]) -> httpx.Response:
    (method,) = route.methods
    return client.request(method, address(route), headers=headers, json=None if method in {"GET", "DELETE"} else {})


def test_every_endpoint_names_an_operation_or_is_open_to_anybody_on_purpose():
    unguarded = {route.path for route in ROUTES if operation_of(route) is None}
    assert {path for path in unguarded if not path.startswith(PROVIDER)} <= OPEN
    assert {operation_of(route) for route in GUARDED} <= set(PERMISSIONS)
    assert all(len(route.methods) == 1 for route in ROUTES)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_let_in_where_the_table_says_so_and_nowhere_else(federation, client, role):
    federation.person(role, "north")
    headers = {"Authorization": f"Bearer {federation.people[role, 'north']}"}
    granted = client.get("/v1/me", headers=headers).json()["roles"]
    assert [each["role"] for each in granted] == [role]
    wrong = []
    for route in GUARDED:
        operation = operation_of(route)
        answer = call(client, route, headers)
        assert answer.status_code not in {401, 500}, (route.path, answer.text)
        if refused_by_role(answer, operation) == permits(role, operation):
            wrong.append((sorted(route.methods), route.path, operation, answer.status_code))
    assert wrong == []


def test_a_node_is_let_in_where_the_table_says_so_and_nowhere_else(federation):
    caller = federation.node("north").api
    wrong = []
    for route in GUARDED:
        operation = operation_of(route)
        (method,) = route.methods
        answer = caller.call(method, address(route), None if method in {"GET", "DELETE"} else {})
        assert answer.status_code not in {401, 500}, (route.path, answer.text)
        if refused_by_role(answer, operation) == permits(NODE, operation):
            wrong.append((method, route.path, operation, answer.status_code))
    assert wrong == []


def test_nobody_is_let_in_anywhere(federation, client):
    for route in GUARDED:
        for headers in ({}, {"Authorization": "Bearer flaas_x_y"}, {"Authorization": "FlaasNode x"}):
            assert call(client, route, headers).status_code == 401, route.path


def test_the_description_of_the_interface_tells_the_same(api):
    document = api.app.openapi()
    for route in GUARDED:
        (method,) = route.methods
        described = document["paths"][route.path][method.lower()]
        operation = operation_of(route)
        assert described["x-flaas-operation"] == operation
        assert described["x-flaas-roles"] == [role for role in (*ROLES, NODE) if permits(role, operation)]
        assert described["security"]
