"""What another site, a page or a neighbour on the network may try: nothing reaches the API, nothing leaks.

Requests are sent as bytes over a socket, so that no client library puts right what is meant to be wrong.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import resource
from dataclasses import dataclass

import pytest
from jupyter_server.utils import url_path_join

from .fake_api import TOKEN

ELSEWHERE = "https://attacker.example"
ENDPOINTS = [
    ("GET", "status"),
    ("POST", "session"),
    ("DELETE", "session"),
    ("GET", "session/device"),
    ("POST", "session/device"),
    ("DELETE", "session/device"),
    ("GET", "approvals/key"),
    ("POST", "approvals/key"),
    ("POST", "approvals/a1/decision"),
    ("GET", "api/v1/me"),
    ("POST", "api/v1/runs/r1/cancel"),
    ("PUT", "api/v1/policy"),
    ("PATCH", "api/v1/me"),
    ("DELETE", "api/v1/users/ana"),
    ("GET", "simulations"),
    ("GET", "simulations/s1"),
    ("DELETE", "simulations/s1"),
    ("GET", "simulations/s1/rounds"),
    ("POST", "simulations/s1/stop"),
    ("GET", "protocols"),
]


@dataclass
class Answer:
    """Of a server, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    lines: list[str]


@pytest.fixture
def send(jp_fetch, jp_http_port, jp_base_url):
    """Send a request line and headers exactly as given, below the extension's own address."""

    async def call(
        method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"", *, whole: bool = False
    ) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port, limit=2**22)
        target = path if whole else f"{jp_base_url}flaas/{path}"
        sent = {"Host": f"127.0.0.1:{jp_http_port}", "Connection": "close", **(headers or {})}
        if body or method in {"POST", "PUT", "PATCH"}:
            sent.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        try:
            writer.write("\r\n".join(lines).encode("latin-1") + body)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            rest = await asyncio.wait_for(reader.readexactly(int(length[1])) if length else reader.read(), 20)
        except (ConnectionError, asyncio.IncompleteReadError):  # closed without a word
            return Answer(0, {}, b"", [])
        finally:
            writer.close()
        first, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        names = dict(field.partition(": ")[::2] for field in fields)
        return Answer(int(first.split()[1]), {name.lower(): value for name, value in names.items()}, rest, fields)

    return call


@pytest.fixture
def jp_http_port(http_server_port):
    """Port of the Jupyter server."""
    return http_server_port[1]


@pytest.fixture
def own(jp_auth_header):
    """Headers of a client that holds Jupyter's token: a script, or a page that Jupyter has served."""
    return dict(jp_auth_header)


@pytest.fixture
def signed_in(jp_asyncio_loop, jp_fetch, fake_api):
    """A server that is signed in at the API; return how often the API was asked so far."""
    jp_asyncio_loop.run_until_complete(jp_fetch("flaas", "session", method="POST", body=json.dumps({"token": TOKEN})))
    return len(fake_api.requests)


@pytest.fixture
def browser(jp_asyncio_loop, jp_serverapp, http_server_client, jp_base_url):
    """What a browser keeps after its owner has signed in to Jupyter: cookies, and the XSRF token among them."""
    return jp_asyncio_loop.run_until_complete(_cookies(jp_serverapp, http_server_client, jp_base_url))


async def _cookies(jp_serverapp, http_server_client, jp_base_url):
    token = jp_serverapp.identity_provider.token
    cookies: list[str] = []
    for address in (f"{url_path_join(jp_base_url, 'flaas/status')}?token={token}", url_path_join(jp_base_url, "login")):
        page = await http_server_client.fetch(address, raise_error=False)
        cookies += [cookie.partition(";")[0] for cookie in page.headers.get_list("Set-Cookie")]
    xsrf = next(cookie.partition("=")[2] for cookie in cookies if cookie.startswith("_xsrf="))
    return {"Cookie": "; ".join(cookies)}, xsrf


# ---- paths --------------------------------------------------------------------------------------------------------


SPELLINGS = [
    "v1/runs/../tokens",
    "v1/runs/%2e%2e/tokens",
    "v1/runs/%2E%2E%2Ftokens",
    "v1/runs/..%2ftokens",
    "v1/runs/%252e%252e%252ftokens",
    "v1/runs/..%5ctokens",
    "v1/runs/..\\tokens",
    "v1\\runs\\r1",
    "v1/runs/r1%00",
    "v1/runs/%00../tokens",
    "v1/runs/r1%0d%0aX-Injected:%201",
    "v1/runs/r1%23fragment",
    "v1/runs/r1%3fcursor=x",
    "v1/runs/r1;a=b",
    "v1/runs/r1@attacker.example",
    "/attacker.example/v1/me",
    "%2f%2fattacker.example/v1/me",
    "http://attacker.example/v1/me",
    "http:%2f%2fattacker.example/v1/me",
    "@attacker.example/v1/me",
    ":80@attacker.example/v1/me",
    ".attacker.example/v1/me",
    "v1/runs/%c0%ae%c0%ae/tokens",
    "v1/runs/%ef%bc%8e%ef%bc%8e/tokens",
    "v1/runs/ｒ１",
    "v1/me/",
    "v1/me%20",
    "v1/me%09",
    "v1/me%0a",
    "V1/me",
    "v1/./me",
    "v1//me",
]


async def test_no_spelling_of_a_path_leaves_the_allow_list(send, own, signed_in, fake_api):
    for path in SPELLINGS:
        answer = await send("GET", f"api/{path.encode().decode('latin-1')}", own)
        assert answer.status in {400, 403, 404, 0}, path
        assert "x-injected" not in answer.headers, path
        assert len(fake_api.requests) == signed_in, path


NAMES = ["..", "%2e%2e", "..%2f..%2fetc", "..%5c", "%00", ".hidden", "a" * 300, "s1%2f..%2f.."]


async def test_no_name_of_a_simulation_leaves_its_folder(send, own, flaas_home):
    outside = flaas_home / "credentials.json"
    outside.parent.mkdir(parents=True, exist_ok=True)
    outside.write_text("{}")
    (flaas_home / "simulations").mkdir(exist_ok=True)

    verbs = (("GET", ""), ("GET", "/rounds"), ("POST", "/stop"), ("DELETE", ""))
    for name, (method, tail) in itertools.product(NAMES, verbs):
        answer = await send(method, f"simulations/{name}{tail}", own)
        assert answer.status in {400, 403, 404, 405, 422}, (method, name, tail)
        assert b"Traceback" not in answer.body
        assert str(flaas_home).encode() not in answer.body
    assert outside.read_text() == "{}"


async def test_the_extension_is_no_open_proxy(send, own, signed_in, fake_api):
    targets = ("http://attacker.example/v1/me", "attacker.example:443", "*", "//attacker.example/")
    for target, method in itertools.product(targets, ("GET", "CONNECT", "OPTIONS", "TRACE")):
        answer = await send(method, target, own, whole=True)
        assert answer.status not in range(200, 300)
        assert TOKEN.encode() not in answer.body
    assert len(fake_api.requests) == signed_in


# ---- other sites --------------------------------------------------------------------------------------------------


FORGED = [
    {},
    {"Origin": ELSEWHERE},
    {"Origin": "null"},
    {"Referer": f"{ELSEWHERE}/page"},
    {"X-XSRFToken": "guessed"},
    {"X-XSRFToken": ""},
]


async def test_a_form_of_another_site_does_nothing(send, browser, signed_in, fake_api, flaas_home):
    cookies, _ = browser
    before = sorted(flaas_home.rglob("*"))

    writing = [(method, path) for method, path in ENDPOINTS if method != "GET"]
    for (method, path), forged in itertools.product(writing, FORGED):
        headers = {**cookies, "Content-Type": "text/plain", **forged}
        answer = await send(method, path, headers, b'{"token": "of another"}')
        assert answer.status in {403, 404}, (method, path, forged)

    assert len(fake_api.requests) == signed_in
    assert sorted(flaas_home.rglob("*")) == before


async def test_the_same_request_of_jupyters_own_page_is_done(send, browser, fake_api):
    cookies, xsrf = browser

    answer = await send("POST", "session", {**cookies, "X-XSRFToken": xsrf}, json.dumps({"token": TOKEN}).encode())

    assert answer.status == 201
    assert fake_api.asked("GET", "/v1/me")


async def test_another_site_cannot_read_what_the_browser_would_fetch_for_it(send, browser, signed_in):
    cookies, _ = browser

    reading = [path for method, path in ENDPOINTS if method == "GET" and path != "protocols"]
    for path, origin in itertools.product(reading, (ELSEWHERE, "null", "http://127.0.0.1:1")):
        answer = await send("GET", path, {**cookies, "Origin": origin, "Referer": f"{origin}/page"})
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_request_of_another_site_permits_nothing(send, browser):
    cookies, _ = browser

    for method, path in ENDPOINTS:
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x-xsrftoken"}
        answer = await send("OPTIONS", path, {**cookies, "Origin": ELSEWHERE, **asked})
        assert answer.headers.get("access-control-allow-origin") not in {ELSEWHERE, "*", "null"}, path


async def test_a_name_that_was_pointed_here_is_not_answered(send, own, signed_in, fake_api):
    """DNS rebinding: a browser that is told that attacker.example is this machine sends that name as the host."""
    hosts = ("attacker.example", "attacker.example:8888", "127.0.0.1.attacker.example", "", "a b", "[::1")
    for path, host in itertools.product(("status", "api/v1/me", "simulations"), hosts):
        answer = await send("GET", path, {**own, "Host": host})
        assert answer.status in {400, 403}, (path, host)
        assert b"north" not in answer.body
    assert len(fake_api.requests) == signed_in


async def test_the_host_and_forwarding_headers_never_reach_the_api(send, own, signed_in, fake_api):
    forged = {
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "attacker.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=attacker.example",
        "X-HTTP-Method-Override": "DELETE",
        "Transfer-Type": "x",
        "Origin": "http://127.0.0.1",
        "Cookie": "a=b",
        "Accept": "*/*",
    }
    await send("GET", "api/v1/runs/r1", {**own, **forged})

    seen = fake_api.asked("GET", "/v1/runs/r1")
    for request in seen:
        assert "attacker" not in str(request)
        assert not {"cookie", "origin", "x-forwarded-for", "x-http-method-override"} & set(request["headers"])
        assert request["headers"]["host"] == fake_api.url.removeprefix("http://")


# ---- nobody -------------------------------------------------------------------------------------------------------


NO_CREDENTIALS = [
    {},
    {"Authorization": "token wrong"},
    {"Authorization": f"Bearer {TOKEN}"},
    {"Authorization": "Basic YTpi"},
    {"Cookie": "username-127-0-0-1=forged; _xsrf=x", "X-XSRFToken": "x"},
]


async def test_without_jupyters_own_credentials_nothing_is_done(send, signed_in, fake_api, flaas_home):
    before = sorted(flaas_home.rglob("*"))

    for (method, path), credentials in itertools.product(ENDPOINTS, NO_CREDENTIALS):
        answer = await send(method, path, credentials, b"{}" if method in {"POST", "PUT", "PATCH"} else b"")
        assert answer.status in {401, 403, 302}, (method, path, credentials)
        assert b"north" not in answer.body  # the organisation of who is signed in

    assert len(fake_api.requests) == signed_in
    assert sorted(flaas_home.rglob("*")) == before


async def test_a_websocket_is_not_opened(send, own):
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for path in ("status", "api/v1/projects/demo/events", "api/v1/me", "session"):
        answer = await send("GET", path, {**own, **upgrade, "Accept": "application/json"})
        assert answer.status != 101
        assert "sec-websocket-accept" not in answer.headers


# ---- bodies and headers -------------------------------------------------------------------------------------------


async def test_a_body_that_is_too_large_goes_nowhere(send, own, signed_in, fake_api):
    for method, path in ENDPOINTS:
        if method in {"POST", "PUT"} and not path.endswith("/stop") and path != "approvals/key":
            answer = await send(method, path, own, b'"' + b"x" * (1 << 20) + b'"')
            assert answer.status in {400, 403, 413, 422}, path
    assert len(fake_api.requests) == signed_in


async def test_a_body_that_is_only_announced_takes_no_memory(send, own, jp_http_port, jp_base_url):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for length in ("999999999999", "-1", "0x10", "1e9", "18446744073709551617"):
        reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
        head = [f"POST {jp_base_url}flaas/session HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"]
        head += [f"{name}: {value}" for name, value in own.items()]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        try:
            first = await asyncio.wait_for(reader.readline(), 20)
        except ConnectionError:
            first = b""
        writer.close()
        assert first == b"" or first.split()[1] in {b"400", b"413"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB


async def test_two_requests_in_one_are_not_taken_apart_in_two_ways(send, own, signed_in, fake_api):
    """Request smuggling (RFC 9112, section 11.2): a length and chunks at once, or two lengths."""
    inner = b"GET /a/b/flaas/api/v1/me HTTP/1.1\r\nHost: x\r\n\r\n"
    for headers in (
        {"Content-Length": str(len(inner)), "Transfer-Encoding": "chunked"},
        {"Content-Length": f"{len(inner)}, 0"},
        {"Transfer-Encoding": "chunked, identity"},
        {"Content-Length": f"0\r\nContent-Length: {len(inner)}"},
    ):
        answer = await send("POST", "session", {**own, **headers}, inner)
        assert answer.status in {0, 400, 413, 422}
    assert len(fake_api.requests) == signed_in


async def test_a_header_that_goes_on_cannot_bring_another_with_it(send, own, signed_in, fake_api):
    names = ("Idempotency-Key", "If-Match", "Last-Event-ID", "Content-Type")
    values = ("k\r\nAuthorization: Bearer other", "k\nX-Injected: 1", "k\rX-Injected: 1", "k\x00", "k\x0b\x0cX: 1")
    for header, value in itertools.product(names, values):
        await send("POST", "api/v1/runs/r1/cancel", {**own, header: value}, b"")
    for request in fake_api.requests[signed_in:]:
        assert request["headers"]["authorization"] == f"Bearer {TOKEN}"
        assert "x-injected" not in request["headers"]
        shown = "".join(request["headers"].get(name.lower(), "") for name in names)
        assert not any(character in shown for character in "\r\n\x00")


async def test_a_browser_takes_no_answer_for_a_page(send, own, signed_in):
    for path in ("status", "api/v1/me", "api/v1/runs/none", "api/v1/tokens", "simulations", "simulations/none"):
        answer = await send("GET", path, {**own, "Accept": "text/html"})
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert "json" in answer.headers["content-type"]


async def test_what_is_sent_comes_back_as_text_never_as_markup(send, own, signed_in):
    markup = "%3Cimg%20src=x%20onerror=alert(1)%3E"
    for path in (f"api/v1/{markup}", f"simulations/{markup}"):
        answer = await send("GET", path, {**own, "Accept": "text/html"})
        assert "json" in answer.headers["content-type"]
        assert answer.status in {403, 404}


# ---- secrets ------------------------------------------------------------------------------------------------------


async def test_neither_token_shows_in_answers_or_logs(send, own, browser, signed_in, jp_serverapp, fake_api, caplog):
    caplog.set_level("DEBUG")
    jupyter = jp_serverapp.identity_provider.token
    answers = [
        await send("GET", "status", own),
        await send("GET", "api/v1/me", own),
        await send("GET", f"api/v1/projects?token={TOKEN}&limit=2", own),
        await send("GET", f"api/v1/tokens?token={TOKEN}", own),
        await send("POST", "session", own, json.dumps({"token": TOKEN + "x"}).encode()),
        await send("POST", "session", own, f'{{"token": "{TOKEN}"'.encode()),
        await send("GET", "session/device", own),
    ]
    for answer in answers:
        shown = answer.body.decode() + "".join(answer.lines)
        assert TOKEN not in shown
        assert jupyter not in shown
    assert all("token" not in request["query"] for request in fake_api.requests)
    assert TOKEN not in caplog.text


async def test_a_token_cannot_be_handed_in_by_address(send, own, fake_api):
    """Addresses are logged, kept in histories and sent on as referrers."""
    answer = await send("POST", f"session?token={TOKEN}", own, b"{}")

    assert answer.status in {403, 422}
    assert not fake_api.asked("GET", "/v1/me")


ADDRESSES = [
    "http://attacker.example",
    "ftp://attacker.example",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://user:password@attacker.example",
    "http://127.0.0.1@attacker.example",
    "http://127.0.0.1:99999",
    "https://",
    "//attacker.example",
    "https://attacker.example/?q=",
    "https://attacker.example\r\nX-Injected: 1",
    "http://169.254.169.254/latest/meta-data",
]


async def test_a_token_is_not_sent_to_an_address_that_none_should_go_to(send, own):
    for url in ADDRESSES:
        answer = await send("POST", "session", own, json.dumps({"token": TOKEN, "url": url}).encode())
        assert answer.status == 422, url
        assert TOKEN.encode() not in answer.body
