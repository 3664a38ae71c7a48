"""OAuth 2.0 as a client and an attacker meet it: codes with PKCE, devices, revocation, broken requests."""

from __future__ import annotations

import itertools
import re

import httpx
import pytest
from governance.identity.fixtures import *  # noqa: F403
from governance.identity.identity_api import (
    PASSWORD,
    REDIRECT,
    Browser,
    Clock,
    IdentityApi,
    assertion,
    fields,
    returned,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaas_jupyter.governance.identity.devices import ALPHABET
from flaas_jupyter.governance.identity.tables import AuthorizationCode, DeviceCode
from flaas_jupyter.governance.permissions import AUDITOR, GOVERNANCE_ADMIN

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def _error(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    return str(answer.json()["error"])


# ---- discovery ------------------------------------------------------------------------------------------------------


def test_a_client_finds_everything_by_discovery(identity: IdentityApi) -> None:
    found = identity.http.get("/.well-known/openid-configuration").json()
    assert found == identity.http.get("/.well-known/oauth-authorization-server").json()
    assert found["issuer"] == identity.url
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert all(
        url.startswith(f"{identity.url}/oauth/") for name, url in found.items() if name.endswith(("_endpoint", "_uri"))
    )


def test_behind_a_proxy_the_issuer_is_the_public_address(database: object) -> None:
    api = IdentityApi(database, public_url="https://flaas.example:443/")  # type: ignore[arg-type]
    try:
        assert api.http.get("/.well-known/openid-configuration").json()["issuer"] == "https://flaas.example"
        page = api.http.get("/oauth/authorize", params=Browser(api).query())
        cookie = page.headers["Set-Cookie"]
        assert cookie.startswith("__Host-")
        assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=strict", "Path=/"))
    finally:
        api.stop()


# ---- authorization code ---------------------------------------------------------------------------------------------


def test_a_code_comes_back_with_state_and_issuer_and_works_once(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    browser = Browser(identity)
    answer = browser.decide(browser.authorize("ana", scope="openid", nonce="n-1"))
    back = returned(answer)
    assert answer.headers["Location"].startswith(REDIRECT + "?")
    assert (back["state"], back["iss"]) == ("xyz & <b>", identity.url)

    granted = browser.redeem(back["code"])
    assert granted.status_code == 200
    assert identity.me(granted.json()["access_token"]).status_code == 200
    assert _error(browser.redeem(back["code"])) == "invalid_grant"
    # What it gave is revoked: somebody else has the code too.
    assert identity.me(granted.json()["access_token"]).status_code == 401
    assert identity.refresh(granted.json()["refresh_token"]).status_code == 400
    with identity.database.reading() as session:
        assert session.query(AuthorizationCode).one().digest != back["code"]


WRONG_HANDS: tuple[dict[str, str], ...] = (
    {"code_verifier": "x" * 43},
    {"code_verifier": "short"},
    {"code_verifier": ""},
    {"redirect_uri": "http://127.0.0.1:5002/callback"},
    {"redirect_uri": ""},
    {"client_id": "flaas-cli"},
    {"code": "guessed"},
)


def test_a_code_in_wrong_hands_is_worth_nothing(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    browser = Browser(identity)
    for changed in WRONG_HANDS:
        code = browser.code("ana")
        assert _error(browser.redeem(code, **changed)) in ("invalid_grant", "unauthorized_client")
        if changed.keys() & {"code_verifier", "redirect_uri"}:
            assert _error(browser.redeem(code)) == "invalid_grant"  # one attempt only


def test_a_code_lives_a_minute(identity: IdentityApi, clock: Clock) -> None:
    identity.add("ana", "developer")
    browser = Browser(identity)
    code = browser.code("ana")
    clock.ahead = 61
    assert _error(browser.redeem(code)) == "invalid_grant"


UNSOUND: tuple[tuple[dict[str, str | None], str], ...] = (
    ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": None}, "unsupported_response_type"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"request": "ey"}, "request_not_supported"),
    ({"request_uri": "https://x.example"}, "request_uri_not_supported"),
    ({"prompt": "none"}, "login_required"),
    ({"scope": "everything"}, "invalid_scope"),
    ({"scope": "role:"}, "invalid_scope"),
)


def test_without_pkce_and_sound_parameters_nobody_is_asked(identity: IdentityApi) -> None:
    browser = Browser(identity)
    for changed, error in UNSOUND:
        answer = identity.http.get("/oauth/authorize", params=browser.query(**changed))
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith(REDIRECT + "?")
        assert returned(answer)["error"] == error
        assert (returned(answer)["state"], returned(answer)["iss"]) == ("xyz & <b>", identity.url)


ELSEWHERE = (
    "https://evil.example/callback",
    "http://127.0.0.1.evil.example/callback",
    "http://127.0.0.1:80@evil.example/callback",
    "http://127.0.0.1:/callback",
    "http://127.0.0.1:0/callback",
    "http://127.0.0.1:99999/callback",
    "http://127.0.0.1:١٢/callback",
    "http://127.0.0.1:5001/callback/../evil",
    "http://127.0.0.1:5001/callback?next=https://evil.example",
    "http://127.0.0.1:5001/callback#x",
    "http://127.0.0.1:5001//callback",
    "http://127.0.0.1:5001/Callback",
    "http://localhost:5001/callback",
    "https://127.0.0.1:5001/callback",
    "http://0x7f.1:5001/callback",
    "HTTP://127.0.0.1:5001/callback",
    "http://127.0.0.1:5001/callback\r\nSet-Cookie: a=b",
    "javascript:alert(1)",
    "//evil.example",
    "",
)


def test_nobody_is_sent_elsewhere(identity: IdentityApi) -> None:
    browser = Browser(identity)
    for uri, changed in itertools.product(ELSEWHERE, ({}, {"scope": "everything"})):
        answer = identity.http.get("/oauth/authorize", params=browser.query(redirect_uri=uri, **changed))
        assert answer.status_code == 400, uri
        assert "Location" not in answer.headers


def test_a_loopback_address_may_have_any_port(identity: IdentityApi) -> None:
    browser = Browser(identity)
    for uri in (REDIRECT, "http://127.0.0.1/callback", "http://[::1]:61000/callback"):
        page = identity.http.get("/oauth/authorize", params=browser.query(redirect_uri=uri))
        assert page.status_code == 200, uri
    for client in ("flaas-cli", "nobody"):
        answer = identity.http.get("/oauth/authorize", params=browser.query(client_id=client))
        assert answer.status_code == 400


def test_refusing_goes_back_to_the_client(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    browser = Browser(identity)
    answer = browser.decide(browser.authorize("ana"), "deny")
    assert returned(answer)["error"] == "access_denied"


# ---- devices --------------------------------------------------------------------------------------------------------


def _start(api: IdentityApi, scope: str = "", client: str = "flaas-cli") -> dict[str, str]:
    answer = api.post("/oauth/device_authorization", client_id=client, **({"scope": scope} if scope else {}))
    assert answer.status_code == 200, answer.text
    return answer.json()


def _poll(api: IdentityApi, started: dict[str, str], client: str = "flaas-cli") -> httpx.Response:
    return api.token(grant_type=DEVICE, device_code=started["device_code"], client_id=client)


def _enter(browser: Browser, user: str, user_code: str) -> httpx.Response:
    page = browser.http.get("/oauth/device")
    form = {**fields(page), "login": user, "password": PASSWORD, "user_code": user_code}
    return browser.http.post("/oauth/device", data=form)


def test_a_device_gets_its_tokens_when_somebody_has_agreed(identity: IdentityApi, clock: Clock) -> None:
    identity.add("ana", "developer")
    started = _start(identity, "role:developer openid")
    assert re.fullmatch(f"[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", started["user_code"])
    assert _error(_poll(identity, started)) == "authorization_pending"

    browser = Browser(identity)
    page = _enter(browser, "ana", started["user_code"].lower())  # typed as people type
    assert started["user_code"] in page.text
    assert "role developer" in page.text
    assert "Signed in" in browser.decide(page, path="/oauth/device").text

    clock.ahead = 6
    granted = _poll(identity, started)
    assert granted.status_code == 200, granted.text
    assert identity.me(granted.json()["access_token"]).json()["subject"] == "ana"
    assert "id_token" in granted.json()
    clock.ahead = 12
    assert _error(_poll(identity, started)) == "invalid_grant"
    assert _error(_poll(identity, _start(identity), client="flaas-jupyterlab")) == "invalid_grant"


def test_a_device_that_polls_too_fast_is_slowed_down(identity: IdentityApi, clock: Clock) -> None:
    started = _start(identity)
    assert started["interval"] == 5
    assert _error(_poll(identity, started)) == "authorization_pending"
    assert _error(_poll(identity, started)) == "slow_down"
    clock.ahead = 6
    assert _error(_poll(identity, started)) == "slow_down"  # ten seconds by now
    clock.ahead = 30
    assert _error(_poll(identity, started)) == "authorization_pending"
    clock.ahead = 601
    assert _error(_poll(identity, started)) == "expired_token"


def test_a_device_is_told_that_somebody_has_refused(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    started = _start(identity)
    browser = Browser(identity)
    page = _enter(browser, "ana", started["user_code"])
    assert "refused" in browser.decide(page, "deny", path="/oauth/device").text
    assert _error(_poll(identity, started)) == "access_denied"


def test_user_codes_cannot_be_guessed(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    started = _start(identity)
    browser = Browser(identity)
    answers = [_enter(browser, "ana", f"BBBB-BBB{letter}") for letter in "BCDFGHJ"]
    assert [answer.status_code for answer in answers[:5]] == [400] * 5
    assert {answer.status_code for answer in answers[5:]} == {429}
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert _enter(browser, "ana", started["user_code"]).status_code == 429  # the right one too
    assert _error(_poll(identity, started)) == "authorization_pending"
    with identity.database.reading() as session:
        row = session.query(DeviceCode).one()
        plain = started["user_code"].replace("-", "")
        assert plain not in row.user_code
        assert started["device_code"] not in (row.digest, row.user_code)


def test_a_code_is_answered_once_and_by_whom_the_page_was_made_for(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    identity.add("bea", "viewer")
    started = _start(identity)
    ana, bea = Browser(identity), Browser(identity)
    page_of_ana, page_of_bea = _enter(ana, "ana", started["user_code"]), _enter(bea, "bea", started["user_code"])
    # Bea's page sent by Ana's browser is no answer at all.
    assert ana.decide(page_of_bea, path="/oauth/device").status_code == 403
    assert ana.decide(page_of_ana, path="/oauth/device").status_code == 200
    assert bea.decide(page_of_bea, "deny", path="/oauth/device").status_code == 400
    granted = _poll(identity, started)
    assert identity.me(granted.json()["access_token"]).json()["subject"] == "ana"


# ---- the end of tokens, and what they say ---------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["refresh_token", "access_token"])
def test_signing_out_ends_the_sign_in(identity: IdentityApi, which: str) -> None:
    identity.add("ana", "developer")
    granted = identity.sign_in("ana")
    foreign = identity.post("/oauth/revoke", token=granted[which], client_id="flaas-cli")
    assert foreign.status_code == 200
    assert identity.me(granted["access_token"]).status_code == 200  # another client's token is none of its business

    assert identity.post("/oauth/revoke", token=granted[which], client_id="flaas-web").status_code == 200
    assert identity.me(granted["access_token"]).status_code == 401
    assert _error(identity.refresh(granted["refresh_token"])) == "invalid_grant"
    assert identity.post("/oauth/revoke", token=granted[which], client_id="flaas-web").status_code == 200
    assert identity.post("/oauth/revoke", token="unknown", client_id="flaas-web").status_code == 200
    assert _error(identity.post("/oauth/revoke", client_id="flaas-web")) == "invalid_request"


def test_introspection_is_for_nodes_managers_and_ones_own_tokens(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    identity.add("bea", "developer")
    identity.add("gov", GOVERNANCE_ADMIN)
    ana, bea, gov = (identity.sign_in(user) for user in ("ana", "bea", "gov"))
    node = identity.add_node()

    def ask(token: str, bearer: str | None = None, **form: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return identity.http.post("/oauth/introspect", data={"token": token, **form}, headers=headers)

    assert _error(ask(ana["access_token"]), 401) == "invalid_token"
    assert _error(ask(ana["access_token"], "x.y.z"), 401) == "invalid_token"
    own = ask(ana["access_token"], ana["access_token"]).json()
    assert (own["active"], own["sub"], own["client_id"]) == (True, "ana", "flaas-web")
    assert ask(ana["refresh_token"], ana["access_token"]).json()["token_type"] == "refresh_token"
    assert ask(ana["access_token"], bea["access_token"]).json() == {"active": False}
    assert ask("nonsense", bea["access_token"]).json() == {"active": False}
    assert ask(ana["access_token"], gov["access_token"]).json()["active"]
    proof = assertion(node, identity.url)
    assert ask(bea["access_token"], **proof).json()["sub"] == "bea"
    assert _error(ask(bea["access_token"], **proof), 401) == "invalid_client"  # replayed
    identity.post("/oauth/revoke", token=ana["refresh_token"], client_id="flaas-web")
    assert ask(ana["access_token"], gov["access_token"]).json() == {"active": False}


def test_userinfo_says_what_the_scope_permits(identity: IdentityApi) -> None:
    identity.add("ana", AUDITOR, email="ana@clinic.example")

    def ask(scope: str, method: str = "GET") -> httpx.Response:
        access = identity.sign_in("ana", scope)["access_token"]
        return identity.http.request(method, "/oauth/userinfo", headers={"Authorization": f"Bearer {access}"})

    assert ask("openid").json() == {"sub": "ana"}
    assert ask("openid profile email", "POST").json() == {
        "sub": "ana",
        "name": "Name of ana",
        "email": "ana@clinic.example",
    }
    missing = ask("")
    assert (missing.status_code, missing.json()["error"]) == (403, "insufficient_scope")
    assert _error(identity.http.get("/oauth/userinfo"), 401) == "invalid_token"


# ---- broken requests ------------------------------------------------------------------------------------------------


def test_requests_that_are_none_are_refused_in_oauths_form(identity: IdentityApi) -> None:
    http = identity.http
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert _error(http.post("/oauth/token")) == "invalid_request"
    assert _error(http.post("/oauth/token", json={"grant_type": "x"}), 415) == "invalid_request"
    assert _error(http.post("/oauth/token", content=b"grant_type=a&grant_type=b", headers=form)) == "invalid_request"
    assert _error(http.post("/oauth/token", content=b"a=%ff", headers=form)) == "invalid_request"
    assert _error(http.post("/oauth/token", content=b"\xff\xfe", headers=form)) == "invalid_request"
    assert _error(http.post("/oauth/token", content=b"grant_type=a%00b", headers=form)) == "invalid_request"
    many = "&".join(f"p{number}=1" for number in range(100)).encode()
    assert _error(http.post("/oauth/token", content=many, headers=form)) == "invalid_request"
    assert _error(identity.token(grant_type="password", client_id="flaas-cli")) == "unsupported_grant_type"
    assert _error(identity.token(grant_type="refresh_token", client_id="who"), 401) == "invalid_client"
    assert _error(identity.token(grant_type=DEVICE, client_id="flaas-web")) == "unauthorized_client"
    assert _error(identity.token(grant_type="authorization_code", client_id="flaas-cli")) == "unauthorized_client"
    basic = http.post("/oauth/token", data={"grant_type": "refresh_token"}, auth=("flaas-cli", "x"))
    assert _error(basic, 401) == "invalid_client"
    assert basic.headers["WWW-Authenticate"].startswith("Basic")


def test_bodies_and_addresses_have_limits(identity: IdentityApi) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    large = b"grant_type=" + b"a" * 20_000
    assert _error(identity.http.post("/oauth/token", content=large, headers=form), 413) == "invalid_request"
    chunked = identity.http.post("/oauth/token", content=iter([large] * 4), headers=form)
    assert chunked.status_code == 413
    page = identity.http.post("/oauth/authorize", content=large, headers=form)
    assert page.status_code == 413
    assert page.headers["Content-Type"].startswith("text/html")
    assert identity.http.get("/oauth/authorize", params={"state": "a" * 20_000}).status_code == 400


@given(body=st.binary(max_size=300))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_makes_the_end_points_fail(identity: IdentityApi, body: bytes) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("token", "revoke", "introspect", "device_authorization", "authorize", "device", "invitation"):
        answer = identity.http.post(f"/oauth/{path}", content=body, headers=form)
        assert 400 <= answer.status_code < 500, answer.text
