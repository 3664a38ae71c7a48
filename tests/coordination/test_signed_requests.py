"""Nodes' signed requests against the whole API: what `tests/governance` shows of one process holds for all of them."""

from __future__ import annotations

import time
from unittest import mock

import httpx

from flaas_jupyter.communications import identity
from flaas_jupyter.communications.identity import request_token

from .hosted_api import Node


def present(api, token: str, path: str = "/v1/me", **options) -> tuple[int, dict]:
    headers = {"Authorization": f"FlaasNode {token}", **options.pop("headers", {})}
    response = httpx.request("GET", api.url + path, headers=headers, trust_env=False, timeout=60, **options)
    return response.status_code, response.json()


def test_a_replayed_request_is_refused_by_every_process_and_after_a_restart(start_api, enter):
    first = start_api(public_url="http://flaas.example")
    federation = enter(first)
    node = Node(federation, "north", "north", identity.Identity(b"n" * 32))
    assert node.register().status_code == 201
    token = request_token(node.identity, "GET", "http://flaas.example/v1/me")
    assert present(first, token)[0] == 200
    for api in (first, start_api(public_url="http://flaas.example")):
        status, problem = present(api, token)
        assert (status, problem["code"]) == (401, "replayed")


def test_a_token_for_another_address_is_refused(federation):
    node = federation.node("north")
    token = request_token(node.identity, "GET", "http://flaas.example/v1/me")
    status, problem = present(federation.api, token)
    assert (status, problem["code"]) == (401, "wrong-request")
    for host in ("", "[", "x:y", "a b"):
        token = request_token(node.identity, "GET", federation.api.url + "/v1/me")
        status, _ = present(federation.api, token, headers={"Host": host})
        assert status in (400, 401), host


def test_a_token_is_for_its_path_and_method(federation):
    node = federation.node("north")
    token = request_token(node.identity, "GET", federation.api.url + "/v1/projects")
    assert present(federation.api, token)[1]["code"] == "wrong-request"
    token = request_token(node.identity, "GET", federation.api.url + f"/v1/nodes/{node.id}/assignments?open=true")
    assert present(federation.api, token, f"/v1/nodes/{node.id}/assignments?open=true")[0] == 200
    token = request_token(node.identity, "GET", federation.api.url + "/v1/runs/a%20b")
    assert present(federation.api, token, "/v1/runs/a%20b")[1]["code"] == "unknown-run"


def test_a_clock_an_hour_off_is_told_to_the_node(federation):
    node = federation.node("north")
    with mock.patch.object(identity, "time", mock.Mock(time=mock.Mock(return_value=time.time() + 3600))):
        token = request_token(node.identity, "GET", federation.api.url + "/v1/me")
    status, problem = present(federation.api, token)
    assert (status, problem["code"], problem["kind"]) == (401, "clock-skew", "NotAuthenticated")
    assert problem["node_time"] > problem["api_time"]
    assert problem["node_time"] in problem["detail"]
    assert problem["api_time"] in problem["detail"]


def test_an_unregistered_node_is_told_so(federation):
    stranger = federation.api.as_node(identity.Identity(b"u" * 32))
    assert stranger.refused("GET", "/v1/me") == (404, "unknown-node")
