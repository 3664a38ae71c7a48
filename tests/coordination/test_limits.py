"""Garbage, in every form: a clear answer, nothing stored, and never a failure of the API."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .hosted_api import check_answer, run_body

LIMIT = 256 * 1024


@pytest.fixture
def send(federation):
    """Send bytes as the administrator."""
    with httpx.Client(base_url=federation.api.url, trust_env=False, timeout=20) as client:

        def post(path: str, content, content_type: str | None = "application/json", **headers: str):
            sent = {"Authorization": f"Bearer {federation.people['org-admin', 'platform']}", **headers}
            if content_type is not None:
                sent["Content-Type"] = content_type
            response = client.post(path, content=content, headers=sent)
            check_answer(response)
            return response

        yield post


def refusal(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_bodies_have_a_limit(send):
    fitting = json.dumps({"id": "east", "name": "East"}).encode().ljust(LIMIT)
    assert send("/v1/organisations", fitting).status_code == 201
    response = send("/v1/organisations", fitting + b" ")
    assert refusal(response) == (413, "body-too-large")
    assert response.json()["limit"] == LIMIT


def test_a_body_that_does_not_say_how_long_it_is_has_the_same_limit(send):
    def endless():
        for _ in range(LIMIT // 1024 + 1):
            yield b" " * 1024

    assert refusal(send("/v1/organisations", endless())) == (413, "body-too-large")


def test_an_announced_length_is_enough_to_be_refused(federation):
    with socket.create_connection(("127.0.0.1", federation.api.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/organisations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 999999999999\r\n\r\n"
        )
        assert b" 413 " in connection.recv(100)


@pytest.mark.parametrize(
    "media", [None, "application/octet-stream", "text/plain", "application/msgpack", "multipart/form-data"]
)
def test_only_json_is_let_in(send, media):
    body = json.dumps({"id": "east", "name": "East"}).encode()
    assert refusal(send("/v1/organisations", body, media)) == (415, "unsupported-media-type")
    assert refusal(send("/v1/organisations", b"\x00\x01\x02\x03", media)) == (415, "unsupported-media-type")


def test_json_with_parameters_or_a_suffix_is_json(send):
    body = json.dumps({"id": "east", "name": "East"}).encode()
    assert send("/v1/organisations", body, "application/hal+json; charset=utf-8").status_code == 201


GARBAGE = [
    b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b'{"id": NaN}', b"[" * 100_000, b'{"a":' * 20_000,
    b'{"id": "east", "name": "\\ud800"}', b'{"id": "east", "name": "\\u0000"}', b'{"id": "EAST", "name": "x"}',
    b'{"id": "east", "name": "x", "extra": 1}', b'{"id": "-east", "name": "x"}', b'{"id": 1, "name": "x"}',
    b'{"id": "east", "name": "' + b"x" * 101 + b'"}', b'{"id": 1e400, "name": "x"}', b"9" * 5000,
]  # fmt: skip


def test_garbage_is_told_what_is_wrong_with_it(send, federation):
    for body in GARBAGE:
        response = send("/v1/organisations", body)
        assert refusal(response) == (422, "invalid-input"), body[:60]
    names = [o["id"] for o in federation.admin.embedded("/v1/organisations", "organisations")]
    assert "east" not in names


ADDRESSES = [
    "/v1/projects/%00", "/v1/projects/credit%00", "/v1/nodes?project=%00", "/v1/runs/%F0%9F%98%80",
    "/v1/nodes/" + "a" * 5000, "/v1/projects/..%2f..", "/v1/projects/'%20OR%201=1", "/v1/nodes/" + "zz" * 32,
    "/v1/tokens/%FF", "/v1/projects/%2e%2e/x",
]  # fmt: skip


def test_odd_addresses_lead_nowhere(federation):
    for path in ADDRESSES:
        status, _ = federation.admin.refused("GET", path)
        assert status in (404, 422), path


def test_odd_headers_change_nothing(federation):
    path = federation.path
    for headers in (
        {"If-None-Match": "garbage"},
        {"If-None-Match": '"a", W/"b",'},
        {"Accept": "\x7f"},
        {"Accept-Encoding": "br;q=nan"},
    ):
        assert federation.admin.call("GET", path, headers=headers).status_code == 200
    for authorization in (
        b"Bearer",
        b"\xff\xfe",
        b"Basic eDp5",
        b"FlaasNode x.y.z",
        b"FlaasNode " + b"." * 5000,
    ):
        headers = {"Authorization": authorization}
        response = federation.nobody.call("GET", path, headers=headers)
        assert response.status_code == 401, authorization


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def test_whatever_stands_in_a_run_it_is_taken_or_refused(federation):
    node = federation.node("north", online=True)
    run, _, _ = federation.led_run([node])

    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(name=st.sampled_from(sorted(run_body())), value=JSON)
    @example(name="name", value="\ud800")
    @example(name="seed", value=1 << 64)
    @example(name="clip", value=1e308)
    def creating(name, value):
        content = json.dumps({**run_body(), name: value})
        response = federation.developer.call(
            "POST", f"{federation.path}/runs", content=content, headers={"Content-Type": "application/json"}
        )
        assert response.status_code in (201, 404, 422), response.text

    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(name=st.sampled_from(sorted(node.round(1))), value=JSON)
    def reporting(name, value):
        content = json.dumps({**node.round(1), name: value})
        response = node.api.call(
            "PUT", f"/v1/runs/{run}/rounds/1", content=content, headers={"Content-Type": "application/json"}
        )
        assert response.status_code in (200, 409, 422), response.text

    creating()
    reporting()


def test_details_of_an_error_may_hold_any_json_that_everybody_can_read(federation):
    nodes = federation.three()
    run = federation.run()["id"]

    def refusing(value):
        reason = {"kind": "X", "code": "y", "message": "m", "hint": "", "details": {"value": value}}
        path = f"/v1/runs/{run}/assignments/{nodes[0].id}"
        content = json.dumps({"state": "refused", "reason": reason})
        return nodes[0].api.call("PUT", path, content=content, headers={"Content-Type": "application/json"})

    abyss: list = []
    for _ in range(100):
        abyss = [abyss]
    for value in ("a\x00b", "\ud800", {"\ud800": 1}, abyss, float("inf")):
        response = refusing(value)
        assert refusal(response) == (422, "invalid-input"), value
        assert response.json()["errors"][0]["pointer"] == "/reason/details"
    assert refusing({"plain": [[1e300, "\U0001f600", None]]}).status_code == 200
