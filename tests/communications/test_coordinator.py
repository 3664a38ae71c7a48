"""The client against a real server on loopback that fails in the ways that servers fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import OKPKey

from flaas_jupyter.communications import coordinator
from flaas_jupyter.communications.coordinator import Bearer, Coordinator, Event, NodeKey, _EventParser
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotAuthenticated, NotFound, Unreachable

pytestmark = pytest.mark.anyio

Scope = dict[str, Any]
Answer = Callable[["Request"], Awaitable[None]]


class Request:
    """One request as ASGI gives it, and the means to answer it."""

    def __init__(self, scope: Scope, body: bytes, send: Any) -> None:
        self.method, self.path = scope["method"], scope["path"]
        self.query = scope["query_string"].decode()
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.body = body
        self._send = send

    async def start(self, status: int = 200, **headers: str) -> None:
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int = 200, body: object = None, **headers: str) -> None:
        headers.setdefault("content_type", "application/json")
        await self.start(status, **headers)
        await self.write(body if isinstance(body, bytes) else json.dumps(body).encode(), more=False)


class Api:
    """A server whose answers are written by the test; it can be stopped and started on the same port."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        body = b""
        while (event := await receive())["type"] == "http.request":
            body += event["body"]
            if not event.get("more_body"):
                break
        request = Request(scope, body, send)
        self.requests.append(request)
        await self.answers[min(len(self.requests), len(self.answers)) - 1](request)

    async def start(self) -> None:
        config = uvicorn.Config(self, "127.0.0.1", self.port, log_level="critical", lifespan="off")
        config.timeout_graceful_shutdown = 0
        server = self._server = uvicorn.Server(config)
        started = asyncio.Event()
        startup = server.startup

        async def told(**kwargs: Any) -> None:
            await startup(**kwargs)
            started.set()

        server.startup = told  # type: ignore[method-assign]
        self._task = asyncio.create_task(server._serve())
        await asyncio.wait_for(started.wait(), 10)

    async def stop(self) -> None:
        if self._server and self._task:
            self._server.should_exit = self._server.force_exit = True
            await self._task
            self._server = None


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    server = Api()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(api: Api) -> AsyncIterator[Coordinator]:
    async with Coordinator(api.url, Bearer("s3cret"), retry_for=20, timeout=5) as client:
        yield client


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(coordinator, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def broken() -> Iterator[Callable[[bytes], str]]:
    """A server that answers whatever it is asked with the same bytes, and hangs up."""
    sockets: list[socket.socket] = []

    def serve(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in sockets:
        listener.close()


def give(body: object = None, status: int = 200, **headers: str) -> Answer:
    async def answer(request: Request) -> None:
        await request.answer(status, {} if body is None else body, **headers)

    return answer


async def hang_up(request: Request) -> None:
    """Promise more than is sent, so that the connection breaks in the middle of the answer."""
    await request.start(200, content_length="1000")
    await request.write(b"{", more=False)


# -- requests --------------------------------------------------------------------------------------------


async def test_a_request_carries_token_body_and_keys(api: Api, client: Coordinator) -> None:
    api.answers = [give({"id": "r1"}, 201)]
    assert await client.post("/v1/projects/p/runs", {"rounds": 3}, idempotency_key="k1") == {"id": "r1"}
    (request,) = api.requests
    assert (request.method, request.path, json.loads(request.body)) == ("POST", "/v1/projects/p/runs", {"rounds": 3})
    assert request.headers["authorization"] == "Bearer s3cret"
    assert request.headers["idempotency-key"] == "k1"
    assert client.bytes_sent > len(request.body)
    assert client.bytes_received > 10


async def test_a_node_signs_every_request_anew(api: Api) -> None:
    api.answers = [give()]
    identity = Identity.generate()
    key = OKPKey.import_key(identity._key.public_key())
    async with Coordinator(api.url, NodeKey(identity)) as client:
        await client.put("/v1/nodes/n/record", {"x": 1}, if_match='"3"')
        await client.get("/v1/me?x=1")
    claims = []
    for request in api.requests:
        scheme, token = request.headers["authorization"].split()
        assert scheme == "FlaasNode"
        claims.append(jwt.decode(token, key, ["Ed25519"]).claims)
    assert [(c["aud"], c["htm"], c["htu"]) for c in claims] == [
        (api.url, "PUT", "/v1/nodes/n/record"),
        (api.url, "GET", "/v1/me"),
    ]
    assert claims[0]["jti"] != claims[1]["jti"]
    assert api.requests[0].headers["if-match"] == '"3"'


def test_credentials_are_not_shown() -> None:
    assert "s3cret" not in repr(Coordinator("http://127.0.0.1:1", Bearer("s3cret")))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, NotAuthenticated), (403, NotAllowed), (404, NotFound), (409, Conflict), (422, InvalidInput)],
)
async def test_a_problem_becomes_the_error_that_it_was(
    api: Api, client: Coordinator, status: int, kind: type[FlaasError]
) -> None:
    problem = {
        "type": "/problems/x-y",
        "title": "X",
        "status": status,
        "detail": "Rounds is 0.",
        "code": "x-y",
        "kind": kind.__name__,
        "hint": "Use 1 or more.",
        "errors": [{"pointer": "/rounds", "detail": "too small"}],
    }
    api.answers = [give(problem, status)]
    with pytest.raises(FlaasError) as caught:
        await client.post("/v1/runs", {})
    assert type(caught.value) is kind
    assert caught.value.to_dict() == {
        "kind": kind.__name__,
        "code": "x-y",
        "message": "Rounds is 0.",
        "hint": "Use 1 or more.",
        "details": {"errors": [{"pointer": "/rounds", "detail": "too small"}]},
    }
    api.answers = [give(b"<html>", status)]
    with pytest.raises(kind, match=f"POST /v1/runs with {status}"):
        await client.post("/v1/runs", {})
    assert len(api.requests) == 2, "what was refused is not repeated"


@pytest.mark.parametrize(
    "answer", [b"[" * 100_000, b'{"a":' * 100_000, b"{", b"[]"], ids=["lists", "objects", "cut", "list"]
)
async def test_an_answer_that_cannot_be_read_is_none(api: Api, answer: bytes) -> None:
    api.answers = [give(answer)]
    async with Coordinator(api.url, retry_for=0.1) as client:
        with pytest.raises(Unreachable):
            await client.get("/v1/me")
        api.answers = [give(answer, 403)]
        with pytest.raises(NotAllowed):
            await client.get("/v1/me")


async def test_nobody_there_is_said_with_url_and_what_to_do(api: Api) -> None:
    await api.stop()
    async with Coordinator(api.url, retry_for=0.1) as client:
        for call in (client.get("/v1/me"), client.post("/v1/runs", {})):
            with pytest.raises(Unreachable, match=api.url) as caught:
                await call
            assert caught.value.code == "api-unreachable"
            assert "FLAAS_URL" in caught.value.hint


async def test_what_is_safe_to_repeat_survives_a_restart(api: Api, client: Coordinator) -> None:
    api.answers = [give({"ok": True})]
    await api.stop()
    calls = [
        asyncio.create_task(work)
        for work in (
            client.get("/v1/me"),
            client.put("/v1/x", {}),
            client.delete("/v1/x"),
            client.post("/v1/x", {}, idempotency_key="k"),
        )
    ]
    await asyncio.wait(calls, timeout=0.1)
    assert not any(call.done() for call in calls)
    await api.start()
    assert await asyncio.gather(*calls) == [{"ok": True}] * 4


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_gateway_that_fails_is_tried_again(api: Api, client: Coordinator, status: int) -> None:
    api.answers = [give({}, status), hang_up, give(b"<html>not json"), give([1]), give({"n": 5})]
    assert await client.get("/v1/me") == {"n": 5}
    assert len(api.requests) == 5


async def test_a_conflict_that_says_when_is_tried_again(api: Api, client: Coordinator) -> None:
    api.answers = [give({}, 409, retry_after="0"), give({}, 429, retry_after="0"), give({"n": 3})]
    assert await client.post("/v1/runs", {}, idempotency_key="k") == {"n": 3}
    assert [request.headers["idempotency-key"] for request in api.requests] == ["k"] * 3


async def test_a_post_without_key_is_made_once(api: Api, client: Coordinator) -> None:
    api.answers = [hang_up]
    with pytest.raises(Unreachable):
        await client.post("/v1/runs", {})
    assert len(api.requests) == 1


@pytest.mark.parametrize("answer", [b"\x00\x01garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_garbage_is_an_api_that_cannot_be_reached(broken: Callable[[bytes], str], answer: bytes) -> None:
    async with Coordinator(broken(answer), retry_for=0.1) as client:
        with pytest.raises(Unreachable) as caught:
            await client.get("/v1/me")
    assert caught.value.code == "api-unreachable"


async def test_an_endless_answer_is_cut_off(api: Api, client: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flood(request: Request) -> None:
        await request.start(200)
        for _ in range(1000):
            await request.write(b" " * 1000)
        await request.write(b"{}", more=False)

    monkeypatch.setattr(coordinator, "_ANSWER_LIMIT", 100_000)
    api.answers = [flood]
    with pytest.raises(InvalidInput, match="more than 100000 bytes"):
        await client.get("/v1/me")


async def test_an_unchanged_answer_is_not_sent_again(api: Api, client: Coordinator) -> None:
    async def directory(request: Request) -> None:
        fresh = request.headers.get("if-none-match") == '"7"'
        await request.answer(304 if fresh else 200, b"" if fresh else {"records": [1]}, etag='"7"')

    api.answers = [directory]
    assert await client.get("/v1/directory") == await client.get("/v1/directory") == {"records": [1]}
    assert [request.headers.get("if-none-match") for request in api.requests] == [None, '"7"']
    assert client.etag("/v1/directory") == '"7"'
    assert client.etag("/v1/other") is None


async def test_credentials_never_go_elsewhere(api: Api, client: Coordinator) -> None:
    for path in ("http://evil.example/v1/me", "//evil.example/x", "https://127.0.0.1/x", "file:///etc/passwd"):
        with pytest.raises(InvalidInput) as caught:
            await client.get(path)
        assert caught.value.code == "bad-path"
    api.answers = [give({}, 302, location="http://evil.example/")]
    with pytest.raises(FlaasError):
        await client.get("/v1/me")
    api.answers = [give({"ok": 1})]
    assert await client.get(f"{api.url}/v1/me") == {"ok": 1}


async def test_pages_are_followed_to_the_last(api: Api, client: Coordinator) -> None:
    def page(entries: list[int], following: str | None) -> Answer:
        links = {"next": {"href": following}} if following else {}
        return give({"_links": links, "_embedded": {"nodes": [{"n": n} for n in entries]}})

    api.answers = [page([1, 2], "/v1/nodes?cursor=a"), page([], "/v1/nodes?cursor=b"), page([3], None)]
    assert [node["n"] async for node in client.paginate("/v1/nodes", "nodes")] == [1, 2, 3]
    assert [request.query for request in api.requests] == ["", "cursor=a", "cursor=b"]
    api.answers = [page([1], "/v1/nodes")]
    assert len([node async for node in client.paginate("/v1/nodes", "nodes")]) == 1, "a circle ends"


# -- events ----------------------------------------------------------------------------------------------


def event(number: int) -> bytes:
    body = {"id": number, "type": "run.round", "time": "t", "project": "p", "run": "r", "node": None, "data": {"n": 1}}
    return f"id: {number}\nevent: run.round\ndata: {json.dumps(body)}\n\n".encode()


def stream(*parts: bytes, breaks: bool = False) -> Answer:
    async def answer(request: Request) -> None:
        await request.start(200, content_type="text/event-stream", **({"content_length": "9999"} if breaks else {}))
        for part in parts:
            await request.write(part)
        await request.write(b"", more=False)

    return answer


async def take(events: AsyncGenerator[Event, None], count: int) -> list[int]:
    found = []
    async with asyncio.timeout(20):
        async for one in events:
            found.append(one.id)
            if len(found) == count:
                break
    await events.aclose()
    return found


async def test_events_resume_after_the_last_one_seen(api: Api, client: Coordinator) -> None:
    api.answers = [
        stream(event(4), event(5)[:20]),
        give({}, 503),
        stream(event(5), b": keep-alive\n\n", breaks=True),
        give(b"<html>"),
        stream(event(6)),
    ]
    told: list[bool] = []
    assert await take(client.events("/v1/events", after=3, on_connection=told.append), 3) == [4, 5, 6]
    assert [request.headers.get("last-event-id") for request in api.requests] == ["3", "4", "4", "5", "5"]
    assert told == [True, False, True, False, True, False]


async def test_events_go_on_after_the_api_was_restarted(api: Api, client: Coordinator) -> None:
    async def forever(request: Request) -> None:
        await request.start(200, content_type="text/event-stream")
        await request.write(event(len(api.requests)))
        await asyncio.Event().wait()

    api.answers = [forever]
    events = client.events("/v1/events")
    first = await asyncio.wait_for(anext(events), 10)
    waiting = asyncio.ensure_future(anext(events))
    await api.stop()
    await api.start()
    second = await asyncio.wait_for(waiting, 20)
    assert (first.id, second.id) == (1, len(api.requests))
    assert [r.headers.get("last-event-id") for r in api.requests][:2] == [None, "1"]
    await events.aclose()


async def test_a_silent_stream_is_given_up(api: Api, client: Coordinator) -> None:
    async def silent(request: Request) -> None:
        await request.start(200, content_type="text/event-stream")
        await request.write(b": hello\n\n")
        await asyncio.Event().wait()

    api.answers = [silent, stream(event(9))]
    assert await take(client.events("/v1/events", silence=0.2), 1) == [9]


async def test_an_id_without_data_says_where_to_resume(api: Api, client: Coordinator) -> None:
    api.answers = [stream(b"id: 41\n\n"), stream(event(42))]
    assert await take(client.events("/v1/events"), 1) == [42]
    assert api.requests[1].headers["last-event-id"] == "41"


async def test_a_refused_stream_is_an_error(api: Api, client: Coordinator) -> None:
    api.answers = [give({"code": "unknown-run", "kind": "NotFound", "detail": "No such run."}, 404)]
    with pytest.raises(NotFound, match="No such run"):
        await anext(client.events("/v1/events"))


def feed(*chunks: bytes) -> list[int]:
    parser = _EventParser(None)
    return [one.id for chunk in chunks for one in parser.feed(chunk)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_parsed_however_the_bytes_are_cut(end: bytes) -> None:
    text = (b"\xef\xbb\xbf: hi\n\n" + event(1) + event(2) + b'data: {\ndata: "id": 3}\n\n').replace(b"\n", end)
    for at in range(len(text)):
        assert feed(text[:at], text[at:], end) == [1, 2, 3]
    assert feed(*(text[i : i + 1] for i in range(len(text))), end) == [1, 2, 3]


@pytest.mark.parametrize(
    "junk", [b"data: {", b"data: []", b'data: {"id": "1"}', b"data: \xff\xfe", b"\xff", b"id", b"data: " + b"[" * 9999]
)
def test_an_event_that_cannot_be_read_is_passed_over(junk: bytes) -> None:
    assert feed(event(1), junk + b"\n\n", event(2)) == [1, 2]
