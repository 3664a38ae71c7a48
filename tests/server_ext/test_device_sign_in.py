"""Signing in by code, renewing, ending; and decisions that are signed here: no token or key is ever in an answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flaas_server.approvals import ApprovalKey, canonical
from flaas_server.coordination_api import ALLOWED, CoordinationApi, check_allowed
from flaas_server.oauth import Renewal
from flaas_server.problems import Problem
from flaas_server.sealed import create_private, seal, unseal
from flaas_server.session import Credentials, Session
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado import web
from tornado.httpclient import HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from flaas_jupyter.communications.identity import Identity, verify

DEVICE_CODE, USER_CODE = "device-code-that-is-a-secret", "WDJB-MJHT"
LOG = logging.getLogger("test")
BODY = '{"changes":[{"function":"add_role","role":"curator"}]}'


class OAuth:
    """The OAuth and approval endpoints of a coordination API on a real socket, with refresh tokens used once."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[tuple[int, dict[str, Any]]] = []  # of the token endpoint, before it grants
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.count = 0
        self.lifetime = 3600
        self.refresh = ""
        self.revoked: list[str] = []
        self.page = "https://api.example/oauth/device"
        self.approval = {"id": "a1", "body": BODY, "sha256": hashlib.sha256(BODY.encode()).hexdigest()}
        self.decisions: list[dict[str, Any]] = []
        self.key = ""
        self.down = False
        self.streams = 0

    def tokens(self) -> tuple[int, dict[str, Any]]:
        self.count += 1
        self.refresh = f"refresh-{self.count}"
        body = {"access_token": f"access-{self.count}", "token_type": "Bearer"}
        return 200, {**body, "refresh_token": self.refresh, "expires_in": self.lifetime}

    def token_endpoint(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self.answers:
            return self.answers.pop(0)
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh:
            return 400, {"error": "invalid_grant"}
        return self.tokens()


class _Handler(web.RequestHandler):
    def initialize(self, oauth: OAuth) -> None:
        self.oauth = oauth

    async def prepare(self) -> None:
        oauth, request = self.oauth, self.request
        form = dict(parse_qsl(request.body.decode())) if request.path.startswith("/oauth") else {}
        oauth.requests.append((request.method, request.path, form))
        if oauth.down:
            self.say(503, {"detail": "down"})
            return
        known = request.headers.get("Authorization") == f"Bearer access-{oauth.count}"
        match request.method, request.path:
            case "GET", "/":
                self.say(200, {"api": "v1", "version": "9"})
            case "POST", "/oauth/device_authorization":
                self.say(
                    200,
                    {
                        "device_code": DEVICE_CODE, "user_code": USER_CODE, "verification_uri": oauth.page,
                        "verification_uri_complete": f"{oauth.page}?user_code={USER_CODE}",
                        "expires_in": 600, "interval": 5,
                    },
                )  # fmt: skip
            case "POST", "/oauth/token":
                self.say(*oauth.token_endpoint(form))
            case "POST", "/oauth/revoke":
                oauth.revoked.append(form["token"])
                self.clear_header("Content-Type")
                self.finish()
            case _ if not known:
                self.say(401, {"code": "not-authenticated", "title": "Unknown", "detail": "Unknown token."})
            case "GET", "/v1/me":
                roles = [{"role": "approver", "scope": "project:credit"}]
                self.say(200, {"subject": "ana", "organisation": "north", "roles": roles})
            case "GET", "/v1/approvals/a1":
                self.say(200, oauth.approval)
            case "PUT", "/v1/me/key":
                form = json.loads(request.body)
                oauth.key = form["key"]
                document = canonical({"subject": "ana", "key": oauth.key})
                verify(oauth.key, "flaas/approver/1", document, bytes.fromhex(form["proof"]))
                self.say(200, {"key": oauth.key})
            case "POST", "/v1/approvals/a1/decisions":
                oauth.decisions.append(json.loads(request.body))
                self.say(200, {**oauth.approval, "state": "executed"})
            case "POST", "/v1/users":
                self.say(201, {"id": "eva", "invitation": "shown-once"})
            case "GET", "/v1/projects/demo/events":
                oauth.streams += 1
                self.set_header("Content-Type", "text/event-stream")
                self.write(b": hello\n\n")
                await self.flush()
                self._auto_finish = False
            case _:
                self.say(404, {"code": "not-found", "title": "Not found", "detail": "Nothing is here."})

    def say(self, status: int, body: dict[str, Any]) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.finish(json.dumps(body))


@pytest.fixture
def oauth(jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[OAuth]:
    fake = OAuth()
    socket, port = bind_unused_port()
    fake.url = f"http://127.0.0.1:{port}"

    async def start() -> HTTPServer:
        server = HTTPServer(web.Application([(r".*", _Handler, {"oauth": fake})]))
        server.add_socket(socket)
        return server

    async def stop() -> None:
        server.stop()
        await server.close_all_connections()

    server = jp_asyncio_loop.run_until_complete(start())
    yield fake
    jp_asyncio_loop.run_until_complete(stop())


@pytest.fixture
def jp_server_config(flaas_home: Path, oauth: OAuth) -> dict[str, object]:
    return {"ServerApp": {"jpserver_extensions": {"flaas_server": True}}, "FlaasServer": {"url": oauth.url}}


class Pauses:
    """Takes the place of sleeping: says for how long it would be, and waits until the test lets it go on."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self.go: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await self.go.get()

    async def next(self) -> float:
        """Let the present pause end; return how long the one that follows is."""
        self.go.put_nowait(None)
        return await asyncio.wait_for(self.asked.get(), 5)


@pytest.fixture
def pauses(jp_serverapp) -> Pauses:
    pauses = Pauses()
    jp_serverapp.web_app.settings["flaas_device"].sleep = pauses
    return pauses


async def ask(jp_fetch, method: str, *parts: str, body: object = None, **options: Any) -> Any:
    text = None if method in {"GET", "DELETE"} else json.dumps(body or {})
    response = await jp_fetch("flaas", *parts, method=method, body=text, **options)
    return json.loads(response.body) if response.body else None


async def until(told: Callable[[], bool]) -> None:
    """Let the background work have its turns."""
    async with asyncio.timeout(5):
        while not told():
            await asyncio.sleep(0.005)


async def sign_in(jp_fetch, jp_serverapp, pauses: Pauses) -> None:
    await ask(jp_fetch, "POST", "session", "device")
    await pauses.asked.get()
    pauses.go.put_nowait(None)
    device = jp_serverapp.web_app.settings["flaas_device"]
    await until(lambda: device.state["state"] == "done")


async def test_the_code_is_shown_and_the_sign_in_goes_on_by_itself(jp_fetch, jp_serverapp, oauth, flaas_home, pauses):
    oauth.answers = [(400, {"error": "authorization_pending"})]

    started = await ask(jp_fetch, "POST", "session", "device", body={"url": oauth.url})
    assert (started["state"], started["user_code"]) == ("pending", USER_CODE)
    assert started["verification_uri_complete"].endswith(USER_CODE)
    assert 590 < started["expires_in"] <= 600
    assert await pauses.asked.get() == 5
    assert await pauses.next() == 5
    again = await ask(jp_fetch, "GET", "session", "device")  # as after a reload
    assert again["user_code"] == USER_CODE
    pauses.go.put_nowait(None)
    device = jp_serverapp.web_app.settings["flaas_device"]
    await until(lambda: device.state["state"] == "done")

    status = await ask(jp_fetch, "GET", "status")
    assert status["session"]["signed_in"] is True
    assert status["session"]["roles"] == [{"role": "approver", "scope": "project:credit"}]
    file = flaas_home / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((flaas_home / "credentials.key").stat().st_mode) == 0o600
    at_rest = file.read_text()
    assert "access-1" not in at_rest
    assert "refresh-1" not in at_rest
    assert set(json.loads(at_rest)) == {"version", "url", "client_id", "sealed"}
    for form in (form for _, path, form in oauth.requests if path == "/oauth/token"):
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code"
        assert form["device_code"] == DEVICE_CODE


async def test_no_token_or_device_code_is_in_any_answer_or_log_line(
    jp_fetch, jp_serverapp, oauth, pauses, caplog, jp_logging_stream
):
    caplog.set_level(logging.DEBUG)
    answers = [await jp_fetch("flaas", "session", "device", method="POST", body="{}")]
    await pauses.asked.get()
    pauses.go.put_nowait(None)
    device = jp_serverapp.web_app.settings["flaas_device"]
    await until(lambda: device.state["state"] == "done")
    for parts in (("session", "device"), ("status",), ("api", "v1", "me"), ("api", "v1", "runs", "none")):
        answers.append(await jp_fetch("flaas", *parts, raise_error=False))
    oauth.down = True
    answers.append(await jp_fetch("flaas", "session", method="DELETE"))

    said = "".join(answer.body.decode() + str(list(answer.headers.get_all())) for answer in answers)
    for secret in ("access-1", "refresh-1", DEVICE_CODE):
        assert secret not in said + caplog.text + jp_logging_stream.getvalue()
    assert answers[1].headers["Cache-Control"] == "no-store"
    assert "refresh" not in repr(jp_serverapp.web_app.settings["flaas_session"])


async def test_slow_down_and_silence_make_it_ask_more_rarely(jp_fetch, oauth, pauses):
    oauth.answers = [
        (400, {"error": "slow_down"}), (400, {"error": "authorization_pending"}), (503, {"detail": "busy"}),
        (400, {"error": "authorization_pending"}), (400, {"error": "authorization_pending"}),
    ]  # fmt: skip
    await ask(jp_fetch, "POST", "session", "device")

    waited = [await pauses.asked.get()] + [await pauses.next() for _ in range(5)]

    assert waited == [5, 10, 10, 20, 10, 10]  # RFC 8628, section 3.5
    await ask(jp_fetch, "DELETE", "session", "device")


@pytest.mark.parametrize(
    ("error", "state"),
    [("access_denied", "denied"), ("expired_token", "expired"), ("invalid_client", "failed")],
)
async def test_how_it_can_end_otherwise(jp_fetch, jp_serverapp, oauth, flaas_home, pauses, error, state):
    oauth.answers = [(400, {"error": error})]
    await ask(jp_fetch, "POST", "session", "device")
    await pauses.asked.get()
    pauses.go.put_nowait(None)
    await until(lambda: jp_serverapp.web_app.settings["flaas_device"].state["state"] != "pending")

    told = await ask(jp_fetch, "GET", "session", "device")

    assert told["state"] == state
    assert (told["problem"] is not None) == (state == "failed")
    assert not (flaas_home / "credentials.json").exists()


async def test_a_code_that_nobody_enters_expires_without_being_asked_for_ever(
    jp_fetch, jp_serverapp, oauth, pauses, monkeypatch
):
    await ask(jp_fetch, "POST", "session", "device")
    await pauses.asked.get()
    device = jp_serverapp.web_app.settings["flaas_device"]
    monkeypatch.setattr(device, "_clock", lambda: time.time() + 601)
    pauses.go.put_nowait(None)
    await until(lambda: device.state["state"] == "expired")
    assert [path for _, path, _ in oauth.requests].count("/oauth/token") == 0


async def test_giving_up_forgets_the_code(jp_fetch, jp_serverapp, oauth, pauses):
    await ask(jp_fetch, "POST", "session", "device")
    await ask(jp_fetch, "DELETE", "session", "device")
    assert await ask(jp_fetch, "GET", "session", "device") == {"state": "none"}


@pytest.mark.parametrize("page", ["javascript:alert(1)", "data:text/html,x", "https://ana:x@evil.example/", "", 7])
async def test_nobody_is_sent_to_what_is_no_web_page(jp_fetch, oauth, page):
    oauth.page = page
    with pytest.raises(HTTPClientError) as caught:
        await ask(jp_fetch, "POST", "session", "device")
    assert json.loads(caught.value.response.body)["code"] == "sign-in-refused"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("[]", "bad-form"),
        ("{", "bad-form"),
        ('{"url": "ftp://x"}', "bad-url"),
        ('{"url": "http://x.example"}', "plain-http"),
    ],
)
async def test_a_bad_form_is_a_422(jp_fetch, body, code):
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", "session", "device", method="POST", body=body)
    assert caught.value.code == 422
    assert json.loads(caught.value.response.body)["code"] == code


# ---- renewing -------------------------------------------------------------------------------------------------


def renewal(home: Path, now: Callable[[], float]) -> tuple[Session, Renewal, CoordinationApi]:
    session, api = Session(home, "http://127.0.0.1:1", LOG), CoordinationApi(5, 5, home)
    return session, Renewal(session, api, home, LOG, now), api


async def test_requests_renew_a_token_before_it_ends(jp_fetch, jp_serverapp, oauth, pauses):
    oauth.lifetime = 30  # less than the margin
    await sign_in(jp_fetch, jp_serverapp, pauses)
    oauth.lifetime = 3600

    assert (await ask(jp_fetch, "GET", "api", "v1", "me"))["subject"] == "ana"
    assert (await ask(jp_fetch, "GET", "api", "v1", "me"))["subject"] == "ana"

    assert oauth.count == 2
    stored = json.loads((Path(jp_serverapp.web_app.settings["flaas_session"]._home) / "credentials.json").read_text())
    assert stored["version"] == 2


async def test_many_at_once_renew_once_and_two_processes_too(tmp_path, oauth, jp_asyncio_loop):
    oauth.tokens()
    first, one, api = renewal(tmp_path, time.time)
    first.sign_in(Credentials(oauth.url, "access-1", "refresh-1", time.time() + 5, "flaas-cli"))
    second, other, second_api = renewal(tmp_path, time.time)

    found = await asyncio.gather(*(each.current() for each in (one, other) * 10))

    assert {credentials.token for credentials in found} == {"access-2"}
    assert oauth.count == 2  # a second use of the same refresh token would have ended the session
    assert second.credentials == first.credentials
    await api.close()
    await second_api.close()


async def test_a_session_that_was_ended_elsewhere_is_forgotten_and_says_why(
    jp_fetch, jp_serverapp, oauth, flaas_home, pauses
):
    oauth.lifetime = 30
    await sign_in(jp_fetch, jp_serverapp, pauses)
    oauth.refresh = "another"

    with pytest.raises(HTTPClientError) as caught:
        await ask(jp_fetch, "GET", "api", "v1", "me")

    assert json.loads(caught.value.response.body)["code"] == "session-ended"
    assert not (flaas_home / "credentials.json").exists()
    status = await ask(jp_fetch, "GET", "status")
    assert status["session"]["has_token"] is False
    assert status["api"]["problem"]["code"] == "session-ended"


async def test_an_api_that_is_down_leaves_the_token_in_use_while_it_is_good(tmp_path, oauth, jp_asyncio_loop):
    now = [1000.0]
    session, renew, api = renewal(tmp_path, lambda: now[0])
    session.sign_in(Credentials(oauth.url, "access-1", "refresh-1", 1030.0, "flaas-cli"))
    oauth.down = True

    assert (await renew.current()).token == "access-1"
    now[0] = 1031.0
    with pytest.raises(Problem) as caught:
        await renew.current()

    assert caught.value.status == 502
    assert session.credentials.refresh == "refresh-1"  # for when it is back
    await api.close()


async def test_an_event_stream_ends_with_its_token_and_the_next_has_a_new_one(jp_fetch, jp_serverapp, oauth, pauses):
    oauth.lifetime = 3600
    await sign_in(jp_fetch, jp_serverapp, pauses)
    renew = jp_serverapp.web_app.settings["flaas_renewal"]
    renew.seconds_left = lambda credentials: 0.05 if credentials.expires else None
    renew._is_stale = lambda credentials: False

    response = await jp_fetch(
        "flaas", "api", "v1", "projects", "demo", "events", headers={"Accept": "text/event-stream"}
    )

    assert response.body == b": hello\n\n"
    assert oauth.streams == 1


async def test_signing_out_revokes_and_forgets(jp_fetch, jp_serverapp, oauth, flaas_home, pauses):
    await sign_in(jp_fetch, jp_serverapp, pauses)

    assert (await jp_fetch("flaas", "session", method="DELETE")).code == 204

    assert oauth.revoked == ["refresh-1"]
    assert not (flaas_home / "credentials.json").exists()


async def test_signing_out_while_the_api_is_down_forgets_and_says_that_it_was_not_revoked(
    jp_fetch, jp_serverapp, oauth, flaas_home, pauses
):
    await sign_in(jp_fetch, jp_serverapp, pauses)
    oauth.down = True

    told = await ask(jp_fetch, "DELETE", "session")

    assert told["revoked"] is False
    assert not (flaas_home / "credentials.json").exists()


# ---- at rest --------------------------------------------------------------------------------------------------


def test_a_sealed_token_cannot_be_moved_to_another_api(tmp_path: Path):
    sealed = seal(tmp_path, "https://api.example", {"refresh_token": "x"})
    assert unseal(tmp_path, "https://api.example", sealed) == {"refresh_token": "x"}
    assert unseal(tmp_path, "https://evil.example", sealed) is None
    (tmp_path / "credentials.key").unlink()
    assert unseal(tmp_path, "https://api.example", sealed) is None


@given(text=st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_garbage_that_claims_to_be_sealed_means_not_signed_in(tmp_path_factory, text):
    home = tmp_path_factory.mktemp("home")
    create_private(home / "credentials.key", b"k" * 32)
    body = {"version": 2, "url": "https://api.example", "sealed": text}
    (home / "credentials.json").write_text(json.dumps(body))
    assert unseal(home, "https://api.example", text) is None
    assert Session(home, "http://default", LOG).credentials == Credentials("http://default")


def test_a_restart_finds_the_session_again(tmp_path: Path):
    known = Credentials("https://api.example", "access", "refresh", 2e9, "flaas-cli")
    Session(tmp_path, "http://default", LOG).sign_in(known)
    assert Session(tmp_path, "http://default", LOG).credentials == known


# ---- decisions ------------------------------------------------------------------------------------------------


@pytest.fixture
def digest() -> str:
    return hashlib.sha256(BODY.encode()).hexdigest()


async def test_a_decision_is_signed_with_the_key_that_the_api_knows(
    jp_fetch, jp_serverapp, oauth, flaas_home, pauses, digest
):
    await sign_in(jp_fetch, jp_serverapp, pauses)
    assert await ask(jp_fetch, "GET", "approvals", "key") == {"key": None}
    key = (await ask(jp_fetch, "POST", "approvals", "key"))["key"]
    assert key == oauth.key
    assert stat.S_IMODE((flaas_home / "approval.key").stat().st_mode) == 0o600

    answer = await ask(jp_fetch, "POST", "approvals", "a1", "decision", body={"decision": "approve", "sha256": digest})

    assert answer["state"] == "executed"
    (decision,) = oauth.decisions
    body = {"request": "a1", "sha256": digest, "decision": "approve", "time": decision["time"]}
    signature = bytes.fromhex(decision["signature"])
    verify(key, "flaas/approval/1", canonical(body), signature)  # as the API does it
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, b"flaas/approval/1\x00" + canonical(body))
    assert abs(decision["time"] - time.time()) < 60


async def test_what_was_not_read_is_not_signed(jp_fetch, jp_serverapp, oauth, pauses, digest):
    await sign_in(jp_fetch, jp_serverapp, pauses)
    await ask(jp_fetch, "POST", "approvals", "key")
    other = '{"changes":[{"function":"add_role","role":"owner"}]}'
    cases = [
        ({"body": other, "sha256": hashlib.sha256(other.encode()).hexdigest()}, "request-changed", 409),
        ({"body": other, "sha256": digest}, "request-inconsistent", 502),
        ({"body": {"a": 1}, "sha256": digest}, "request-inconsistent", 502),
        ({"id": "a2"}, "request-inconsistent", 502),
    ]
    for change, code, status in cases:
        before, oauth.approval = oauth.approval, {**oauth.approval, **change}
        with pytest.raises(HTTPClientError) as caught:
            await ask(jp_fetch, "POST", "approvals", "a1", "decision", body={"decision": "approve", "sha256": digest})
        assert (json.loads(caught.value.response.body)["code"], caught.value.code) == (code, status)
        oauth.approval = before
    assert oauth.decisions == []


@pytest.mark.parametrize(
    "body",
    ["", "[]", '{"decision": "approve"}', '{"decision": "maybe", "sha256": "' + "a" * 64 + '"}',
     '{"decision": "approve", "sha256": "AA"}', '{"decision": ["approve"], "sha256": "' + "a" * 64 + '"}'],
)  # fmt: skip
async def test_what_is_no_decision_is_a_422(jp_fetch, oauth, body):
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", "approvals", "a1", "decision", method="POST", body=body)
    assert caught.value.code == 422
    assert oauth.decisions == []


async def test_without_a_key_it_says_how_to_make_one(jp_fetch, jp_serverapp, oauth, pauses, digest):
    await sign_in(jp_fetch, jp_serverapp, pauses)
    with pytest.raises(HTTPClientError) as caught:
        await ask(jp_fetch, "POST", "approvals", "a1", "decision", body={"decision": "deny", "sha256": digest})
    assert json.loads(caught.value.response.body)["code"] == "no-approval-key"


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path):
    key = ApprovalKey(tmp_path)
    public = key.create()
    assert key.create() == public  # the second time nothing happens
    (tmp_path / "approval.key").chmod(0o644)
    with pytest.raises(Problem, match="by others"):
        key.sign("a1", "0" * 64, "approve", 1)
    (tmp_path / "approval.key").write_bytes(b"short")
    (tmp_path / "approval.key").chmod(0o600)
    with pytest.raises(Problem, match="32 bytes"):
        key.sign("a1", "0" * 64, "approve", 1)


def test_the_key_of_the_command_is_this_servers_too(tmp_path: Path):
    made = Identity.load_or_create(tmp_path / "approval.key")
    assert ApprovalKey(tmp_path).public == ApprovalKey(tmp_path).create() == made.node_id
    other = tmp_path / "other"
    other.mkdir()
    assert ApprovalKey(other).create() == Identity.load_or_create(other / "approval.key").node_id


# ---- what goes through ----------------------------------------------------------------------------------------


async def test_an_invitation_is_not_to_be_stored_on_its_way(jp_fetch, jp_serverapp, oauth, pauses, jp_logging_stream):
    await sign_in(jp_fetch, jp_serverapp, pauses)
    response = await jp_fetch("flaas", "api", "v1", "users", method="POST", body='{"user": "eva"}')
    assert json.loads(response.body)["invitation"] == "shown-once"
    assert response.headers["Cache-Control"] == "no-store"
    assert "shown-once" not in jp_logging_stream.getvalue()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/approvals/a1/decisions"), ("PUT", "/v1/me/key"), ("PUT", "/v1/me/password"),
        ("POST", "/v1/tokens"), ("POST", "/oauth/token"), ("GET", "/oauth/authorize"),
        ("POST", "/v1/rbac/create_session"),
        ("DELETE", "/v1/roles/viewer"), ("DELETE", "/v1/policy"), ("PUT", "/v1/users/eva"), ("GET", "/v1/me/export"),
        ("DELETE", "/v1/users/eva/roles/viewer/planet:x"), ("DELETE", "/v1/users/eva/roles/viewer/project:../x"),
        ("DELETE", "/v1/users/../policy"),
    ],
)  # fmt: skip
def test_what_the_panel_does_not_need_is_not_let_through(method, path):
    with pytest.raises(Problem) as caught:
        check_allowed(method, path)
    assert caught.value.code == "not-proxied"


def test_a_scope_goes_through_as_it_is():
    for scope in ("platform", "organisation:north", "project:credit", "node:" + "a" * 64):
        check_allowed("DELETE", f"/v1/users/eva/roles/viewer/{scope}")
    assert len(set(ALLOWED)) == len(ALLOWED)
