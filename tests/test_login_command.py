"""``flaas login``, ``logout``, ``whoami``: a person at a terminal, a browser beside it, and a real API."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner, Result
from governance.identity.identity_api import PASSWORD, Browser, Clock, IdentityApi, fields, prepare

from flaas_jupyter import kept_sign_in, signing_in
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.errors import Conflict, NotAllowed, NotAuthenticated, Unreachable
from flaas_jupyter.governance.identity import invitations
from flaas_jupyter.governance.identity.provider import Lifetimes
from flaas_jupyter.governance.identity.tables import Person, RefreshToken, SignIn
from flaas_jupyter.home import Home
from flaas_jupyter.login_command import commands, rotate_keys_command
from flaas_jupyter.signing_in import DeviceSignIn, SelfRenewing


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A machine where nobody has signed in."""
    for name in ("FLAAS_URL", "FLAAS_TOKEN", "FLAAS_SECRETS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    return Home.default()


@pytest.fixture
def clock() -> Clock:
    """The API's clock."""
    return Clock()


@pytest.fixture
def api(tmp_path: Path, clock: Clock) -> Iterator[IdentityApi]:
    """An API that a device may poll without a pause."""
    database = Database(f"sqlite:///{tmp_path / 'api.db'}")
    prepare(database)
    running = IdentityApi(database, clock, lifetimes=Lifetimes(interval=0))
    yield running
    running.stop()
    database.close()


def run(*arguments: str, **options: Any) -> Result:
    """Run a command as the command line would."""
    group = click.Group(commands={str(each.name): each for each in commands()})
    group.add_command(rotate_keys_command(lambda: Home.default().database_url))
    return CliRunner().invoke(group, list(arguments), **options)


def agree(api: IdentityApi, user: str, user_code: str, decision: str = "allow") -> None:
    """Enter a code in a browser."""
    browser = Browser(api)
    form = fields(browser.http.get("/oauth/device"))
    form |= {"login": user, "password": PASSWORD, "user_code": user_code}
    answer = browser.decide(browser.http.post("/oauth/device", data=form), decision, path="/oauth/device")
    assert answer.status_code == 200, answer.text


@pytest.fixture
def agreeing(api: IdentityApi, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Have somebody enter the code as soon as it is shown."""

    def prepared(user: str, decision: str = "allow") -> None:
        begin = DeviceSignIn.begin.__func__  # type: ignore[attr-defined]

        def begun(cls: Any, url: str, **options: Any) -> DeviceSignIn:
            started: DeviceSignIn = begin(cls, url, **options)
            agree(api, user, started.user_code, decision)
            return started

        monkeypatch.setattr(DeviceSignIn, "begin", classmethod(begun))

    return prepared


def test_one_signs_in_with_a_code_and_out_again(api: IdentityApi, home: Home, agreeing: Callable[..., None]) -> None:
    api.add("ana", ("developer", "project:credit"))
    agreeing("ana")
    result = run("login", api.url)
    assert result.exit_code == 0, result.output
    assert f"{api.url}/oauth/device" in result.stderr
    assert result.stdout.strip() == f"Signed in at {api.url} as ana (developer in project:credit)."

    files = {path.name: path for path in home.path.iterdir()}
    assert {"credentials.json", "credentials.key", "approval.key"} <= set(files)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files.values())
    kept = kept_sign_in.stored(home)
    assert kept is not None
    assert kept.access not in repr(kept)
    text = files["credentials.json"].read_text()
    assert kept.access not in text
    assert kept.refresh not in text
    with api.database.reading() as session:
        key = Identity.load_or_create(files["approval.key"]).node_id
        assert session.get_one(Person, "ana").approval_key == key

    me = json.loads(run("whoami", "--json").stdout)
    assert (me["subject"], me["roles"]) == ("ana", [{"role": "developer", "scope": "project:credit"}])
    assert "ana" in run("whoami").stdout

    assert run("logout").stdout.strip() == "Signed out."
    with api.database.reading() as session:
        assert session.query(SignIn).one().reason == "revoked"
    assert api.me(kept.access).status_code == 401
    assert run("logout").stdout.strip() == "Nobody was signed in."
    assert "no-token" in run("whoami").stderr


def test_one_may_sign_in_with_a_part_of_ones_roles(api: IdentityApi, home: Home, agreeing: Callable[..., None]) -> None:
    api.add("ana", ("developer", "project:credit"), "viewer")
    agreeing("ana")
    result = run("login", api.url, "--role", "viewer@platform", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["roles"] == [{"role": "viewer", "scope": "platform"}]


def test_a_refusal_is_told_and_nothing_is_kept(api: IdentityApi, home: Home, agreeing: Callable[..., None]) -> None:
    api.add("ana", "developer")
    agreeing("ana", "deny")
    result = run("login", api.url)
    assert result.exit_code == 1
    assert "[sign-in-refused]" in result.stderr
    assert not (home.path / "credentials.json").exists()


def test_an_invitation_is_accepted_at_the_terminal(api: IdentityApi, home: Home) -> None:
    with api.database.writing() as session:
        secret = invitations.first_invitation(session, api.provider.vault, api.provider.now())
    weak = run("login", api.url, "--invitation", input=f"{secret}\npassword1234\npassword1234\n")
    assert weak.exit_code == 1
    assert "many people use it" in weak.stderr
    result = run("login", api.url, "--invitation", input=f"{secret}\n{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0, result.output
    assert "as administrator (governance-admin)" in result.stdout
    assert str(secret) not in result.output
    assert PASSWORD not in result.output


def test_a_token_is_checked_and_kept_as_before(api: IdentityApi, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add("ana", "developer")
    token = api.sign_in("ana")["access_token"]
    assert run("login", api.url, "--token", token).exit_code == 0
    assert json.loads((home.path / "credentials.json").read_text()) == {"url": api.url, "token": token}
    assert "ana" in run("whoami").stdout
    assert run("login", "--url", api.url, "--token", input=f"{token}\n").exit_code == 0
    monkeypatch.setenv("FLAAS_TOKEN", token)
    assert run("login", api.url).exit_code == 0
    assert "bad-token" in run("login", api.url, "--token", "a.b.c").stderr


def test_an_interrupt_leaves_nothing_behind(api: IdentityApi, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: DeviceSignIn, **_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DeviceSignIn, "wait", interrupted)
    result = run("login", api.url)
    assert result.exit_code == 130
    assert "Not signed in" in result.stderr
    assert not (home.path / "credentials.json").exists()


# ---- the device flow, by hand ----------------------------------------------------------------------------------------


def test_a_program_polls_goes_slower_when_told_and_can_be_cancelled(api: IdentityApi, clock: Clock) -> None:
    api.add("ana", "developer")
    api.provider.lifetimes = Lifetimes(interval=5)
    started = DeviceSignIn.begin(api.url)
    assert "…" not in repr(started)
    assert started.poll() is None
    assert started.interval == 5
    assert started.poll() is None
    assert started.interval == 10
    cancelled = threading.Event()
    cancelled.set()
    assert started.wait(cancelled) is None
    clock.ahead = 700
    with pytest.raises(Conflict) as expired:
        started.poll()
    assert expired.value.code == "sign-in-expired"

    refused = DeviceSignIn.begin(api.url)
    agree(api, "ana", refused.user_code, "deny")
    with pytest.raises(NotAllowed):
        refused.poll()


def test_what_is_no_coordination_api_is_told_apart(api: IdentityApi) -> None:
    with pytest.raises(Unreachable) as gone:
        DeviceSignIn.begin("http://127.0.0.1:9")
    assert gone.value.code == "api-unreachable"
    with pytest.raises(Unreachable) as other:
        DeviceSignIn.begin(f"{api.url}/nowhere")
    assert other.value.code == "api-unreadable"


# ---- tokens that renew themselves ------------------------------------------------------------------------------------


def _signed_in(api: IdentityApi, home: Home, user: str = "ana") -> SelfRenewing:
    api.add(user, "developer")
    started = DeviceSignIn.begin(api.url)
    agree(api, user, started.user_code)
    signed_in = started.wait()
    assert signed_in is not None
    kept_sign_in.keep(home, signed_in)
    return SelfRenewing(home, api.url)


def test_a_token_renews_itself_for_every_kind_of_client(api: IdentityApi, home: Home, clock: Clock) -> None:
    ahead = 0.0
    auth = _signed_in(api, home)
    auth._clock = lambda: clock() + ahead
    first = auth.authorization("GET", api.url)
    assert auth.authorization("GET", api.url) == first
    ahead = 280.0
    second = auth.authorization("GET", api.url)
    assert second != first
    ahead = 0.0
    # The token is refused although it should be good: once more with a new one.
    with api.database.writing() as session:
        from flaas_jupyter.governance.identity import keys

        keys.rotate(session, api.provider.vault, api.provider.now(), compromised=True)
    api.provider.keys.forget()
    with httpx.Client(base_url=api.url, trust_env=False, timeout=60) as client:
        answer = client.get("/v1/me", auth=auth)
    assert answer.json()["subject"] == "ana"

    import asyncio

    async def ask() -> Any:
        async with httpx.AsyncClient(base_url=api.url, trust_env=False, auth=auth) as client:
            return (await client.get("/v1/me")).json()["subject"]

    assert asyncio.run(ask()) == "ana"


def test_processes_on_one_machine_renew_once(api: IdentityApi, home: Home, clock: Clock) -> None:
    _signed_in(api, home)
    old = kept_sign_in.stored(home)

    def late() -> float:
        """Return a time at which only the first token is about to end."""
        return clock() + (280.0 if kept_sign_in.stored(home) == old else 0.0)

    processes = [SelfRenewing(home, api.url, clock=late) for _ in range(6)]
    start = threading.Barrier(len(processes))

    def ask(auth: SelfRenewing) -> str:
        start.wait()
        return auth.authorization("GET", api.url)

    with ThreadPoolExecutor(len(processes)) as pool:
        headers = set(pool.map(ask, processes))
    # One that was late to ask has found the new token already, and may have been content with its own.
    new = kept_sign_in.stored(home)
    assert old is not None
    assert new is not None
    assert f"Bearer {new.access}" in headers <= {f"Bearer {old.access}", f"Bearer {new.access}"}
    with api.database.reading() as session:
        assert session.query(SignIn).one().ended is None  # nobody has used a refresh token twice
        assert session.query(RefreshToken).count() == 2


def test_a_sign_in_that_has_ended_is_forgotten_with_a_word_of_what_to_do(
    api: IdentityApi, home: Home, clock: Clock
) -> None:
    auth = _signed_in(api, home)
    thief = kept_sign_in.stored(home)
    assert thief is not None
    assert api.refresh(thief.refresh, client="flaas-cli").status_code == 200
    auth._clock = lambda: clock() + 280.0
    with pytest.raises(NotAuthenticated) as ended:
        auth.authorization("GET", api.url)
    assert ended.value.code == "signed-out"
    assert "flaas login" in str(ended.value)
    assert not (home.path / "credentials.json").exists()


def test_what_is_kept_is_good_for_its_api_only(api: IdentityApi, home: Home) -> None:
    _signed_in(api, home)
    with pytest.raises(NotAuthenticated):
        SelfRenewing(home, "http://127.0.0.1:9")
    file = home.path / "credentials.json"
    body = json.loads(file.read_text())
    file.write_text(json.dumps({**body, "url": "http://evil.example"}))
    assert kept_sign_in.stored(home) is None
    file.write_text(json.dumps({**body, "sealed": body["sealed"][:-8]}))
    assert kept_sign_in.stored(home) is None
    file.write_text(json.dumps(body))
    assert signing_in.caller(home)[0] == api.url
    (home.path / "credentials.key").write_bytes(os.urandom(32))
    assert kept_sign_in.stored(home) is None


def test_signing_out_without_the_api_forgets_and_says_so(api: IdentityApi, home: Home) -> None:
    _signed_in(api, home)
    kept = kept_sign_in.stored(home)
    assert kept is not None
    gone = kept_sign_in.SignedIn("http://127.0.0.1:9", kept.access, kept.refresh, kept.expires)
    kept_sign_in.keep(home, gone)
    result = run("logout")
    assert result.exit_code == 1
    assert "Signed out here only" in result.stderr
    assert kept_sign_in.stored(home) is None


def test_a_second_machine_of_a_person_is_told_of_the_key_of_the_first(
    api: IdentityApi, home: Home, agreeing: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.add("ana", "approver")
    agreeing("ana")
    assert run("login", api.url).exit_code == 0
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "other"))
    second = run("login", api.url)
    assert second.exit_code == 0
    assert "another approval key" in second.stderr


def test_keys_are_rotated_by_command(tmp_path: Path, home: Home) -> None:
    from flaas_jupyter.governance.identity import sealing
    from flaas_jupyter.governance.identity.tables import SigningKey

    sealing.default_vault.cache_clear()
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    database = Database(url)
    try:
        prepare(database)
        early = run("rotate-keys", "--database", url)
        assert (early.exit_code, "[key-not-published]" in early.stderr) == (1, True)
        forced = run("rotate-keys", "--database", url, "--compromised")
        assert forced.exit_code == 0, forced.output
        with database.reading() as session:
            active = session.query(SigningKey).filter_by(state="active").one()
            assert active.kid in forced.stdout
    finally:
        sealing.default_vault.cache_clear()
        database.close()
