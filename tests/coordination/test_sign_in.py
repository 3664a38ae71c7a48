"""The pages on which people sign in, invitations, lock-out, and the own account."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import timedelta
from html.parser import HTMLParser

import httpx
import pytest
from governance.identity.fixtures import *  # noqa: F403
from governance.identity.identity_api import CHEAP, PASSWORD, Browser, Clock, IdentityApi, fields

from flaas_jupyter.communications.identity import Identity, canonical
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance.identity import invitations
from flaas_jupyter.governance.identity.attempts import Limits, RecentWaits
from flaas_jupyter.governance.identity.passwords import Passwords
from flaas_jupyter.governance.identity.persons import APPROVER
from flaas_jupyter.governance.identity.tables import Person
from flaas_jupyter.signing_in import APPROVER as APPROVER_OF_CLIENT

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def _is_sound_page(page: httpx.Response) -> None:
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)
    assert style is not None
    hashed = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{hashed}'" in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-store"
    parser = _Tags()
    parser.feed(page.text)
    assert not parser.tags & {"script", "img", "iframe", "object", "embed", "link", "base", "svg"}
    assert not [name for name in parser.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert parser.labels == parser.fields
    assert "prefers-color-scheme: dark" in page.text
    assert 'lang="en"' in page.text


class _Tags(HTMLParser):
    """What a browser sees of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.labels: set[str | None] = set()
        self.fields: set[str | None] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(given)
        if tag == "label":
            self.labels.add(given["for"])
        if tag == "input" and given["type"] != "hidden":
            self.fields.add(given["id"])


def test_pages_hold_no_script_and_no_secret_and_load_nothing(identity: IdentityApi) -> None:
    identity.add("ana", "developer", email="ana@clinic.example")
    browser = Browser(identity)
    pages = [
        browser.http.get("/oauth/authorize", params=browser.query()),
        browser.authorize("ana"),
        browser.authorize("ana", password="wrong wrong wrong"),
        browser.http.get("/oauth/device"),
        browser.http.get("/oauth/invitation"),
        browser.http.get("/oauth/authorize"),
    ]
    for page in pages:
        _is_sound_page(page)
        assert PASSWORD not in page.text
        assert "wrong wrong wrong" not in page.text
        assert "$argon2" not in page.text
        assert all(cookie.value not in page.text for cookie in browser.http.cookies.jar)
    assert pages[2].status_code == 403
    assert "form-action 'self' http://127.0.0.1:5001;" in pages[1].headers["Content-Security-Policy"]


def test_hostile_parameters_are_escaped(identity: IdentityApi) -> None:
    browser = Browser(identity)
    for name in ("state", "nonce", "client_id", "redirect_uri"):
        _is_sound_page(browser.http.get("/oauth/authorize", params=browser.query(**{name: HOSTILE})))
    refused = browser.http.get("/oauth/authorize", params=browser.query(scope=HOSTILE))
    assert refused.headers["Location"].startswith("http://127.0.0.1:5001/callback?error=invalid_scope")


def test_hostile_form_fields_are_escaped(identity: IdentityApi) -> None:
    browser = Browser(identity)
    page = browser.authorize(HOSTILE)
    assert page.status_code == 403
    _is_sound_page(page)
    _is_sound_page(browser.http.get("/oauth/device", params={"user_code": HOSTILE}))


def test_a_form_that_another_page_sends_is_refused(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    browser, other = Browser(identity), Browser(identity)
    page = browser.http.get("/oauth/authorize", params=browser.query())
    form = {**fields(page), "login": "ana", "password": PASSWORD}
    assert other.http.post("/oauth/authorize", data=form).status_code == 403  # the mark of another browser
    assert browser.http.post("/oauth/authorize", data={**form, "csrf": ""}).status_code == 403
    assert browser.http.post("/oauth/authorize", data={**form, "csrf": "0" * 64}).status_code == 403
    cross = browser.http.post("/oauth/authorize", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert cross.status_code == 403
    consent = browser.http.post("/oauth/authorize", data=form)
    assert consent.status_code == 200
    unmarked = browser.http.post("/oauth/authorize", data={"step": "decide", "decision": "allow"})
    assert unmarked.status_code == 403
    assert browser.decide(consent).status_code == 303
    assert browser.decide(consent).status_code == 403  # answered already


def test_the_consent_waits_ten_minutes(identity: IdentityApi, clock: Clock) -> None:
    identity.add("ana", "developer")
    browser = Browser(identity)
    consent = browser.authorize("ana")
    clock.ahead = 601
    assert browser.decide(consent).status_code == 403


# ---- lock-out -------------------------------------------------------------------------------------------------------


def test_wrong_passwords_make_an_account_wait_and_no_longer_than_a_quarter_of_an_hour(
    identity: IdentityApi, clock: Clock
) -> None:
    identity.add("ana", "developer")
    browser = Browser(identity)
    statuses = [browser.authorize("ana", "wrong wrong wrong").status_code for _ in range(6)]
    assert statuses == [403] * 5 + [429]
    assert browser.authorize("ana").status_code == 429  # the owner waits too
    waits = []
    for _ in range(14):
        answer = browser.authorize("ana", "wrong wrong wrong")
        wait = int(answer.headers["Retry-After"])
        waits.append(wait)
        clock.ahead += wait
        assert browser.authorize("ana", "wrong wrong wrong").status_code == 403
    assert waits == sorted(waits)
    assert waits[-1] == 900
    clock.ahead += 900
    assert browser.authorize("ana").status_code == 200
    assert browser.authorize("ana", "wrong wrong wrong").status_code == 403  # and the count begins anew


def test_an_administrator_ends_a_lock_out(identity: IdentityApi, monkeypatch: pytest.MonkeyPatch) -> None:
    from flaas_jupyter.governance.identity import persons

    monkeypatch.setattr(RecentWaits, "_SECONDS", 0.0)  # what is remembered of it for a second
    identity.add("ana", "developer", email="ana@clinic.example")
    browser = Browser(identity)
    for login in ("ana", "ana@clinic.example"):
        for _ in range(5):
            browser.authorize(login, "wrong wrong wrong")
        assert browser.authorize(login).status_code == 429
    with identity.database.writing() as session:
        persons.reset_lock_out(session, session.get_one(Person, "ana"), identity.provider.vault)
    assert browser.authorize("ana").status_code == 200
    assert browser.authorize("ANA@clinic.example ").status_code == 200


def test_an_address_has_a_budget_over_all_accounts_and_processes(database: Database, clock: Clock) -> None:
    limits = Limits(per_address=10)
    apis = [IdentityApi(database, clock, limits=limits) for _ in range(2)]
    try:
        apis[0].add("ana", "developer")
        browsers = [Browser(api) for api in apis]
        statuses = [browsers[n % 2].authorize(f"nobody-{n}", "wrong wrong wrong").status_code for n in range(12)]
        assert statuses == [403] * 10 + [429] * 2
        assert browsers[0].authorize("ana").status_code == 429
        clock.ahead = 61
        assert browsers[0].authorize("ana").status_code == 200
    finally:
        for api in apis:
            api.stop()


def test_more_passwords_than_can_be_hashed_are_turned_away(database: Database) -> None:
    busy = Passwords(CHEAP, at_once=1, waiting=0)
    api = IdentityApi(database, passwords=busy)
    try:
        api.add("ana", "developer")
        browser = Browser(api)
        with busy._turn():  # somebody else's password is being hashed
            answer = browser.authorize("ana")
            assert answer.status_code == 429
            assert answer.headers["Retry-After"] == "1"
        assert browser.authorize("ana").status_code == 200
    finally:
        api.stop()


# ---- invitations ----------------------------------------------------------------------------------------------------


def _accept(browser: Browser, secret: str, password: str, again: str | None = None) -> httpx.Response:
    form = fields(browser.http.get("/oauth/invitation"))
    again = password if again is None else again
    return browser.http.post(
        "/oauth/invitation", data={**form, "invitation": secret, "password": password, "again": again}
    )


def test_an_invitation_is_used_once_and_lives_a_week(identity: IdentityApi, clock: Clock) -> None:
    with identity.database.writing() as session:
        secret = identity.invite(session, "ana", "developer", email="ana@clinic.example")
        late = identity.invite(session, "bea", "developer")
    browser = Browser(identity)
    assert browser.authorize("ana", "").status_code == 403  # nobody signs in before
    assert _accept(browser, secret, PASSWORD, PASSWORD + "x").status_code == 400
    for weak in ("short", "password1234", "ana@clinic.example", "Name of ana", "clinic-ana-2024", "aaaaaaaaaaaaaaaa"):
        refused = _accept(browser, secret, weak)
        assert refused.status_code == 400, weak
        assert weak not in refused.text or weak == "short"
    welcome = _accept(browser, f" {secret}\n", PASSWORD)
    assert welcome.status_code == 200
    assert "ana" in welcome.text
    assert browser.authorize("ana").status_code == 200
    assert _accept(browser, secret, PASSWORD).status_code == 400
    clock.ahead = invitations.LIFETIME / timedelta(seconds=1) + 1
    assert _accept(browser, late, PASSWORD).status_code == 400


def test_a_machine_without_a_browser_accepts_an_invitation_and_is_signed_in(identity: IdentityApi) -> None:
    with identity.database.writing() as session:
        secret = identity.invite(session, "ana", "developer")
    form = {"grant_type": "urn:flaas:params:oauth:grant-type:invitation", "client_id": "flaas-cli"}
    weak = identity.token(**form, invitation=secret, password="password1234")
    assert (weak.status_code, weak.json()["error"]) == (400, "invalid_grant")
    granted = identity.token(**form, invitation=secret, password=PASSWORD)
    assert granted.status_code == 200, granted.text
    assert identity.me(granted.json()["access_token"]).json()["subject"] == "ana"
    assert identity.token(**form, invitation=secret, password=PASSWORD).status_code == 400


def test_a_new_invitation_ends_what_the_account_had(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    granted = identity.sign_in("ana")
    _register(identity, granted["access_token"], Identity.generate())
    with identity.database.writing() as session:
        secret = invitations.invite(
            session,
            user="ana",
            organisation="clinic",
            by="gov",
            now=identity.provider.now(),
            vault=identity.provider.vault,
        )
    assert _accept(Browser(identity), secret, "entirely different words").status_code == 200
    assert identity.me(granted["access_token"]).status_code == 401
    assert Browser(identity).authorize("ana").status_code == 403
    with identity.database.reading() as session:
        assert session.get_one(Person, "ana").approval_key is None


def test_the_first_start_invites_one_administrator_until_somebody_has_accepted(
    identity: IdentityApi, clock: Clock
) -> None:
    vault, now = identity.provider.vault, identity.provider.now
    with identity.database.writing() as session:
        first = invitations.first_invitation(session, vault, now())
        assert invitations.first_invitation(session, vault, now()) is None
    assert first is not None
    clock.ahead = invitations.LIFETIME / timedelta(seconds=1) + 1
    with identity.database.writing() as session:
        second = invitations.first_invitation(session, vault, now())
    assert second is not None
    browser = Browser(identity)
    assert _accept(browser, first, PASSWORD).status_code == 400
    assert _accept(browser, second, PASSWORD).status_code == 200
    granted = identity.sign_in("administrator")
    assert granted["scope"] == "role:governance-admin@platform"
    clock.ahead *= 3
    with identity.database.writing() as session:
        assert invitations.first_invitation(session, vault, now()) is None


# ---- the own account ------------------------------------------------------------------------------------------------


def _register(
    api: IdentityApi, access: str, key: Identity, previous: Identity | None = None, subject: str = "ana"
) -> httpx.Response:
    document = canonical({"subject": subject, "key": key.node_id})
    body = {"key": key.node_id, "proof": key.sign(APPROVER, document).hex()}
    if previous is not None:
        body["previous_proof"] = previous.sign(APPROVER, document).hex()
    return api.http.put("/v1/me/key", json=body, headers={"Authorization": f"Bearer {access}"})


def test_an_approval_key_is_proved_and_replaced_by_the_old_one_only(identity: IdentityApi) -> None:
    assert APPROVER == APPROVER_OF_CLIENT
    identity.add("ana", "approver")
    identity.add("bea", "approver")
    access, other = identity.sign_in("ana")["access_token"], identity.sign_in("bea")["access_token"]
    first, second = Identity.generate(), Identity.generate()
    unproved = _register(identity, access, first, subject="bea")
    assert identity.code_of(unproved) == "bad-signature"
    assert _register(identity, access, first).status_code == 204
    assert _register(identity, access, first).status_code == 204
    assert identity.code_of(_register(identity, access, second)) == "key-in-force"
    assert identity.code_of(_register(identity, access, second, second)) == "bad-signature"
    assert identity.code_of(_register(identity, other, first, subject="bea")) == "key-taken"
    assert _register(identity, access, second, first).status_code == 204


def test_a_new_password_needs_the_old_one_and_ends_the_other_sign_ins(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    here, there = identity.sign_in("ana"), identity.sign_in("ana")

    def change(old: str, new: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {here['access_token']}"}
        return identity.http.put("/v1/me/password", json={"old": old, "new": new}, headers=headers)

    assert identity.code_of(change("wrong wrong wrong", "entirely different words")) == "wrong-password"
    assert identity.code_of(change(PASSWORD, "password1234")) == "weak-password"
    assert change(PASSWORD, "entirely different words").status_code == 204
    assert identity.me(here["access_token"]).status_code == 200
    assert identity.me(there["access_token"]).status_code == 401
    assert Browser(identity).authorize("ana").status_code == 403
    identity.sign_in("ana", password="entirely different words")


def test_ones_sign_ins_are_listed_and_ended(identity: IdentityApi) -> None:
    identity.add("ana", "developer")
    identity.add("bea", "developer")
    here, there, bea = identity.sign_in("ana"), identity.sign_in("ana"), identity.sign_in("bea")
    headers = {"Authorization": f"Bearer {here['access_token']}"}
    listed = identity.http.get("/v1/me/sessions", headers=headers).json()["_embedded"]["sessions"]
    assert sorted(entry["current"] for entry in listed) == [False, True]
    assert "refresh" not in str(listed)
    other = next(entry for entry in listed if not entry["current"])
    path = other["_links"]["end"]["href"]
    assert (
        identity.http.delete(path, headers={"Authorization": f"Bearer {bea['access_token']}"}).status_code == 404
    )  # somebody else's is not found
    assert identity.http.delete(path, headers=headers).status_code == 204
    assert identity.me(there["access_token"]).status_code == 401
    assert identity.http.delete(path, headers=headers).status_code == 404
