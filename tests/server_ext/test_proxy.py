"""What goes through to the coordination API, what does not, and how events flow."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from flaas_server.coordination_api import ALLOWED, check_allowed, known_query
from flaas_server.problems import Problem
from jupyter_server.utils import url_path_join
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from .fake_api import TOKEN


async def sign_in(jp_fetch) -> None:
    await jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": TOKEN}))


async def problem_of(jp_fetch, *parts: str, **options) -> dict:
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", *parts, **options)
    assert caught.value.response.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(caught.value.response.body)
    assert problem["status"] == caught.value.code
    return problem


async def test_the_token_goes_to_the_api_in_the_authorization_header(jp_fetch, fake_api):
    await sign_in(jp_fetch)

    response = await jp_fetch("flaas", "api", "v1", "runs", "r1")

    assert json.loads(response.body)["id"] == "r1"
    assert response.headers["Content-Type"] == "application/hal+json"
    assert fake_api.asked("GET", "/v1/runs/r1")[0]["headers"]["authorization"] == f"Bearer {TOKEN}"


async def test_nothing_of_jupyters_own_credentials_reaches_the_api(jp_fetch, fake_api, jp_serverapp):
    await sign_in(jp_fetch)
    own = jp_serverapp.identity_provider.token

    await jp_fetch(
        "flaas", "api", "v1", "projects", params={"token": own, "limit": "3"}, headers={"Cookie": f"a={own}"}
    )

    seen = fake_api.asked("GET", "/v1/projects")[0]
    assert seen["query"] == "limit=3"
    assert own not in str(seen)


async def test_entity_tags_and_links_go_through(jp_fetch):
    await sign_in(jp_fetch)

    first = await jp_fetch("flaas", "api", "v1", "runs", "r1")
    assert first.headers["ETag"] == '"run-1"'
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", "api", "v1", "runs", "r1", headers={"If-None-Match": '"run-1"'})
    assert caught.value.code == 304
    assert caught.value.response.body == b""
    projects = await jp_fetch("flaas", "api", "v1", "projects")
    assert projects.headers["Link"] == '</v1/projects?cursor=x>; rel="next"'
    assert "ETag" not in projects.headers


async def test_stopping_a_run_carries_the_idempotency_key(jp_fetch, fake_api):
    await sign_in(jp_fetch)

    response = await jp_fetch(
        "flaas", "api", "v1", "runs", "r1", "cancel", method="POST", body="", headers={"Idempotency-Key": "k1"}
    )

    assert json.loads(response.body)["state"] == "cancelled"
    assert fake_api.asked("POST", "/v1/runs/r1/cancel")[0]["headers"]["idempotency-key"] == "k1"


async def test_the_apis_problems_go_through(jp_fetch):
    await sign_in(jp_fetch)

    problem = await problem_of(jp_fetch, "api", "v1", "runs", "none")

    assert (problem["status"], problem["code"]) == (404, "unknown-run")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "v1/tokens"),
        ("GET", "v1/tokens"),
        ("GET", "metrics"),
        ("POST", "v1/projects/demo/runs"),
        ("DELETE", "v1/projects/demo"),
        ("PUT", "v1/runs/r1/rounds/1"),
        ("PATCH", "v1/projects/demo"),
        ("GET", "v1/runs/r1/"),
        ("GET", "v1/runs/../tokens"),
        ("GET", "v1/runs/%2e%2e"),
        ("GET", "v1/runs/a%2Fb%2Fc"),
        ("GET", "v1//me"),
        ("POST", "v1/costs/accounts"),
        ("DELETE", "v1/costs/accounts/a1"),
        ("PUT", "v1/costs/accounts/a1/overlays"),
        ("POST", "v1/costs/templates"),
        ("POST", "v1/costs/imports"),
        ("PUT", "v1/projects/demo/budget"),
        ("POST", "v1/enrolments"),
    ],
)
async def test_what_is_not_listed_is_refused_and_never_reaches_the_api(
    jp_fetch, http_server_client, jp_auth_header, jp_base_url, fake_api, method, path
):
    await sign_in(jp_fetch)
    before = len(fake_api.requests)

    response = await http_server_client.fetch(
        f"{jp_base_url}flaas/api/{path}",
        method=method,
        headers=jp_auth_header,
        body="{}" if method in {"POST", "PUT", "PATCH"} else None,
        raise_error=False,
    )

    assert response.code == 403
    assert json.loads(response.body)["code"] == "not-proxied"
    assert len(fake_api.requests) == before


def test_every_listed_request_is_known_and_nothing_is_replaced():
    assert {method for method, _ in ALLOWED} == {"GET", "POST", "DELETE"}
    assert [path for method, path in ALLOWED if method == "DELETE"] == [
        "/v1/nodes/{id}/quarantine",
        "/v1/me/sessions/{id}",
        "/v1/users/{id}",
        "/v1/users/{id}/roles/{id}/{scope}",
    ]
    assert [path for method, path in ALLOWED if method == "POST"] == [
        "/v1/runs/{id}/cancel",
        "/v1/costs/recommendations",
        "/v1/costs/accounts/{id}/fetch",
        "/v1/projects/{id}/launches",
        "/v1/launches/{id}/terminate",
        "/v1/launches/{id}/resume",
        "/v1/runs/{id}/pause",
        "/v1/runs/{id}/resume",
        "/v1/nodes/{id}/quarantine",
        "/v1/models/{id}/release",
        "/v1/models/{id}/revoke",
        "/v1/users",
        "/v1/users/{id}/invitation",
        "/v1/users/{id}/roles",
        "/v1/roles/preview",
        "/v1/rbac/add_role",
        "/v1/rbac/delete_role",
        "/v1/rbac/add_inheritance",
        "/v1/rbac/delete_inheritance",
        "/v1/rbac/grant_permission",
        "/v1/rbac/revoke_permission",
        "/v1/rbac/create_ssd_set",
        "/v1/rbac/delete_ssd_set",
        "/v1/rbac/create_dsd_set",
        "/v1/rbac/delete_dsd_set",
        "/v1/approvals/{id}/withdraw",
        "/v1/founding/close",
    ]
    for method, path in ALLOWED:
        check_allowed(method, path.replace("{id}", "a-b_c.1").replace("{scope}", "project:a-b_c.1"))


def test_whatever_the_panel_asks_for_is_listed():
    """Paths in the panel's source, with anything where it puts an id."""
    sources = Path(__file__).parents[2] / "labextension" / "src"
    asked = {
        found.group(1)
        for file in sources.rglob("*.ts*")
        if "__tests__" not in file.parts
        for found in re.finditer(r"[`'](/v1/[^`'?]*)", file.read_text())
    }
    assert len(asked) > 30
    # Some end in what the caller chooses: a list of what there is to choose, or a part of its own.
    listed = [path.replace("{id}", "demo") for _, path in ALLOWED]
    patterns = {path: re.sub(r"\\\$\\\{.*?\\\}", "[^/]+", re.escape(path)) for path in asked}
    unknown = [path for path, pattern in patterns.items() if not any(re.match(pattern, each) for each in listed)]
    assert unknown == []


@pytest.mark.parametrize(
    "path", ["/v1/runs/.hidden", "/v1/runs/a b", "/v1/runs/" + "a" * 129, "/v1/meX", "x/v1/me", ""]
)
def test_paths_are_matched_as_a_whole(path: str):
    with pytest.raises(Problem):
        check_allowed("GET", path)


async def test_a_launch_goes_through_with_its_body_and_its_idempotency_key(jp_fetch, fake_api):
    await sign_in(jp_fetch)
    order = {"template": "tabular-small", "hours": 2, "accepted_usd": 1.5, "nodes": [{"name": "node-1"}]}

    response = await jp_fetch(
        "flaas", "api", "v1", "projects", "demo", "launches",
        method="POST", body=json.dumps(order), headers={"Idempotency-Key": "k2"},
    )  # fmt: skip

    assert response.code == 201
    assert json.loads(response.body)["id"] == "l1"
    seen = fake_api.asked("POST", "/v1/projects/demo/launches")[0]
    assert json.loads(seen["body"]) == order
    assert seen["headers"]["idempotency-key"] == "k2"


async def test_the_export_of_a_bill_comes_as_the_table_that_it_is(jp_fetch, fake_api):
    await sign_in(jp_fetch)

    response = await jp_fetch(
        "flaas", "api", "v1", "costs", "export", params={"from": "2026-11-01", "to": "2026-12-01"}
    )

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.body == b"BilledCost,BillingCurrency\r\n1.25,USD\r\n"
    assert fake_api.asked("GET", "/v1/costs/export")[0]["query"] == "from=2026-11-01&to=2026-12-01"


async def test_a_table_where_none_belongs_is_refused(jp_fetch):
    await sign_in(jp_fetch)

    problem = await problem_of(jp_fetch, "api", "v1", "costs", "summary")

    assert problem["code"] == "not-the-api"


def test_the_query_of_a_bill_goes_on_even_where_it_asks_for_what_has_no_project():
    assert known_query("from=2026-11-01&to=2026-12-01&group=day&provider=aws&project=&secret=s") == (
        "from=2026-11-01&to=2026-12-01&group=day&provider=aws&project="
    )


def test_unknown_query_parameters_stay_here():
    assert known_query("cursor=a%26b&token=t&no_track_activity=1&limit=2&after=3") == "cursor=a%26b&limit=2&after=3"


async def test_without_a_session_the_api_is_not_asked(jp_fetch, fake_api):
    problem = await problem_of(jp_fetch, "api", "v1", "me")

    assert (problem["status"], problem["code"]) == (401, "not-signed-in")
    assert not fake_api.asked("GET", "/v1/me")


async def test_an_api_that_is_down_is_a_502(jp_fetch, fake_api):
    await sign_in(jp_fetch)
    await fake_api.stop()

    assert (await problem_of(jp_fetch, "api", "v1", "me"))["code"] == "api-unreachable"
    stream = await problem_of(
        jp_fetch, "api", "v1", "projects", "demo", "events", headers={"Accept": "text/event-stream"}
    )
    assert (stream["status"], stream["code"]) == (502, "api-unreachable")


@pytest.mark.parametrize("run", ["moved", "page"])
async def test_redirects_and_pages_are_not_served_from_jupyters_origin(jp_fetch, run):
    await sign_in(jp_fetch)

    problem = await problem_of(jp_fetch, "api", "v1", "runs", run)

    assert (problem["status"], problem["code"]) == (502, "not-the-api")
    assert "script" not in json.dumps(problem)


async def test_a_large_body_is_refused(jp_fetch, fake_api):
    await sign_in(jp_fetch)

    problem = await problem_of(jp_fetch, "api", "v1", "runs", "r1", "cancel", method="POST", body="x" * 70_000)

    assert problem["code"] == "body-too-large"
    assert not fake_api.asked("POST", "/v1/runs/r1/cancel")


class Reader:
    """A browser's end of an event stream: chunks as they come."""

    def __init__(self, jp_fetch, **headers: str) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.answer = asyncio.ensure_future(
            jp_fetch(
                "flaas", "api", "v1", "projects", "demo", "events",
                headers={"Accept": "text/event-stream", **headers},
                streaming_callback=self.chunks.put_nowait,
                raise_error=False,
            )
        )  # fmt: skip

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.chunks.get(), 5)


async def test_events_come_one_by_one_as_the_api_sends_them(jp_fetch, fake_api):
    await sign_in(jp_fetch)
    reader = Reader(jp_fetch, **{"Last-Event-ID": "41"})

    for number in (42, 43):
        await fake_api.events.put(b"id: %d\ndata: {}\n\n" % number)
        assert await reader.next() == b"id: %d\ndata: {}\n\n" % number
    await fake_api.events.put(None)

    answer = await asyncio.wait_for(reader.answer, 5)
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    seen = fake_api.asked("GET", "/v1/projects/demo/events")[0]["headers"]
    assert (seen["last-event-id"], seen["accept"]) == ("41", "text/event-stream")


async def test_when_the_browser_goes_the_apis_stream_is_let_go(
    jp_fetch, fake_api, jp_auth_header, jp_base_url, http_server_port
):
    await sign_in(jp_fetch)
    reader, writer = await asyncio.open_connection("127.0.0.1", http_server_port[1])
    request = f"GET {jp_base_url}flaas/api/v1/projects/demo/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    writer.write(
        f"{request}Accept: text/event-stream\r\nAuthorization: {jp_auth_header['Authorization']}\r\n\r\n".encode()
    )
    await fake_api.events.put(b"id: 1\ndata: {}\n\n")
    await asyncio.wait_for(reader.readuntil(b"id: 1"), 5)

    writer.close()
    await writer.wait_closed()

    assert await asyncio.wait_for(fake_api.streams_closed.get(), 5) == "/v1/projects/demo/events"


async def test_when_the_api_goes_the_browsers_stream_ends(jp_fetch, fake_api):
    await sign_in(jp_fetch)
    reader = Reader(jp_fetch)
    await fake_api.events.put(b"id: 1\ndata: {}\n\n")
    await reader.next()

    await fake_api.stop()

    assert (await asyncio.wait_for(reader.answer, 5)).code == 200


async def test_a_stream_that_the_api_refuses_is_a_problem(jp_fetch):
    await sign_in(jp_fetch)

    problem = await problem_of(
        jp_fetch, "api", "v1", "projects", "none", "events", headers={"Accept": "text/event-stream"}
    )

    assert problem["status"] == 404


async def test_forged_requests_of_other_sites_are_refused(jp_serverapp, jp_fetch, jp_base_url, http_server_client):
    """A browser's session is a cookie; writing needs the XSRF token beside it."""
    token = jp_serverapp.identity_provider.token
    page = await http_server_client.fetch(f"{url_path_join(jp_base_url, 'flaas/status')}?token={token}")
    cookies = [cookie.partition(";")[0] for cookie in page.headers.get_list("Set-Cookie")]
    xsrf = [cookie.partition("=")[2] for cookie in cookies if cookie.startswith("_xsrf=")]
    if not xsrf:
        login = await http_server_client.fetch(url_path_join(jp_base_url, "login"), raise_error=False)
        cookies += [cookie.partition(";")[0] for cookie in login.headers.get_list("Set-Cookie")]
        xsrf = [cookie.partition("=")[2] for cookie in cookies if cookie.startswith("_xsrf=")]
    headers = {"Cookie": "; ".join(cookies)}
    url, body = url_path_join(jp_base_url, "flaas/session"), json.dumps({"token": TOKEN})
    client: AsyncHTTPClient = http_server_client

    forged = await client.fetch(url, method="POST", body=body, headers=headers, raise_error=False)
    own = await client.fetch(url, method="POST", body=body, headers={**headers, "X-XSRFToken": xsrf[0]})

    assert (forged.code, own.code) == (403, 201)
