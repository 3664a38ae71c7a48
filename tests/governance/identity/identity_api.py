"""A small API with the identity provider in it, on a real socket, and the people and nodes that sign in at it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import OKPKey
from sqlalchemy.orm import Session

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination import problems
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.routes import me, oauth
from flaas_jupyter.coordination.routes.entry import read_me
from flaas_jupyter.coordination.services import identity_audit
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.coordination.tables import Node, Organisation
from flaas_jupyter.governance.confidentiality import LocalKeys, Vault
from flaas_jupyter.governance.identity import client_assertions, invitations, keys, persons
from flaas_jupyter.governance.identity.attempts import Limits
from flaas_jupyter.governance.identity.bearer import AccessTokens, Bearer
from flaas_jupyter.governance.identity.callers import NodeSignatures
from flaas_jupyter.governance.identity.passwords import Passwords
from flaas_jupyter.governance.identity.provider import IdentityProvider, Lifetimes
from flaas_jupyter.governance.rbac import core, defaults

PASSWORD = "seven unrelated words in a row"
REDIRECT = "http://127.0.0.1:5001/callback"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
KEK = bytes(range(32))
ROUTED = [*oauth.router.routes, *me.router.routes]


class Clock:
    """The API's clock, which stands still unless a test sets it forward."""

    def __init__(self) -> None:
        self.begun, self.ahead = time.time(), 0.0

    def __call__(self) -> float:
        return self.begun + self.ahead


def prepare(database: Database) -> None:
    """Make tables, roles and organisations."""
    database.migrate()
    with database.writing() as session:
        defaults.install(session)
        session.add_all(
            [Organisation(id=name, name=name, created=datetime.now(UTC)) for name in ("clinic", "platform")]
        )


class IdentityApi:
    """The API on a data base; `stop` it."""

    def __init__(
        self,
        database: Database,
        clock: Clock | None = None,
        *,
        limits: Limits | None = None,
        lifetimes: Lifetimes | None = None,
        passwords: Passwords | None = None,
        public_url: str | None = None,
    ) -> None:
        self.database, self.clock = database, clock or Clock()
        self.audited: list[dict[str, Any]] = []
        self.provider = IdentityProvider(
            self._keys,
            vault=Vault([LocalKeys([KEK])]),
            passwords=passwords or Passwords(CHEAP),
            lifetimes=lifetimes or Lifetimes(),
            limits=limits or Limits(per_address=1_000_000),
            clock=self.clock,
            audit=self._audit,
        )
        with database.writing() as session:
            self.provider.prepare(session)
        access = AccessTokens(self._find, self.provider.keys, self._organisation_of, self.clock)
        app = FastAPI()
        app.state.hosted = SimpleNamespace(
            database=database,
            settings=Settings(database_url="sqlite:///unused.db", public_url=public_url),
            provider=self.provider,
            vault=self.provider.vault,
            usage=SimpleNamespace(note=lambda *_: None),
            scheduler=SimpleNamespace(heard=lambda: None),
            authenticators=[
                Bearer(_no_opaque, access.authenticate),
                NodeSignatures(self._organisation_of, lambda *_: True),
            ],
        )
        problems.install(app)
        app.add_middleware(_Digest)
        app.include_router(oauth.router)
        app.include_router(me.router)
        app.add_api_route("/v1/me", read_me)
        self.app = app
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        up = threading.Event()
        self._server = _Server(uvicorn.Config(app, log_level="warning", lifespan="off"), up.set)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        assert up.wait(20)
        self.http = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def stop(self) -> None:
        """End it."""
        self.http.close()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    # ---- who there is ------------------------------------------------------------------------------------------------

    def add(self, user: str, *roles: str | tuple[str, str], email: str | None = None, password: str = PASSWORD) -> str:
        """Add an active person with roles."""
        with self.database.writing() as session:
            secret = self.invite(session, user, *roles, email=email)
            hashed = self.provider.passwords.hash(password)
            invitations.accept(session, secret, password, hashed=hashed, vault=self.provider.vault)
        return user

    def invite(self, session: Session, user: str, *roles: str | tuple[str, str], email: str | None = None) -> str:
        """Add somebody who is invited, and return the invitation."""
        core.add_user(session, user)
        for role in roles:
            core.assign_user(session, user, *((role,) if isinstance(role, str) else role))
        return invitations.invite(
            session,
            user=user,
            organisation="clinic",
            name=f"Name of {user}",
            email=email,
            by="administrator",
            now=self.provider.now(),
            vault=self.provider.vault,
        )

    def add_node(self) -> Identity:
        """Register a node."""
        identity = Identity.generate()
        with self.database.writing() as session:
            session.add(
                Node(
                    id=identity.node_id,
                    name=identity.node_id[:8],
                    organisation="clinic",
                    version="1",
                    registered=datetime.now(UTC),
                    online=False,
                )
            )
        return identity

    # ---- what they do ------------------------------------------------------------------------------------------------

    def post(self, path: str, **form: str) -> httpx.Response:
        """POST a form."""
        return self.http.post(path, data=form)

    def token(self, **form: str) -> httpx.Response:
        """Ask the token end point."""
        return self.post("/oauth/token", **form)

    def sign_in(self, user: str, scope: str = "", password: str = PASSWORD) -> dict[str, Any]:
        """Sign in with a code, as flaas-web does; return the tokens."""
        browser = Browser(self)
        code = browser.code(user, scope=scope, password=password)
        answer = browser.redeem(code)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refresh(self, token: str, client: str = "flaas-web") -> httpx.Response:
        """Use a refresh token."""
        return self.token(grant_type="refresh_token", refresh_token=token, client_id=client)

    def me(self, access: str) -> httpx.Response:
        """GET /v1/me."""
        return self.http.get("/v1/me", headers={"Authorization": f"Bearer {access}"})

    def code_of(self, response: httpx.Response) -> str:
        """Return the code of a problem."""
        return response.json()["code"]

    def _audit(self, session: Session, **entry: Any) -> None:
        identity_audit.note(session, **entry)
        self.audited.append(entry)

    def _keys(self) -> Any:
        with self.database.reading() as session:
            return keys.jwk_set(session, self.provider.now())

    def _find(self, whom: Any) -> Any:
        with self.database.reading() as session:
            return whom(session)

    def _organisation_of(self, node_id: str) -> str | None:
        with self.database.reading() as session:
            node = session.get(Node, node_id)
            return node.organisation if node is not None and node.removed is None else None


class Browser:
    """A browser without scripts: cookies, forms, and no following of redirects."""

    def __init__(self, api: IdentityApi) -> None:
        self.api = api
        self.http = httpx.Client(base_url=api.url, timeout=20, trust_env=False)
        self.verifier = secrets.token_urlsafe(48)
        self.challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()

    def query(self, **changed: str | None) -> dict[str, str]:
        """Return the parameters of an authorization request."""
        asked: dict[str, str | None] = {
            "client_id": "flaas-web",
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            "state": "xyz & <b>",
            **changed,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def authorize(self, user: str, password: str = PASSWORD, **changed: str | None) -> httpx.Response:
        """Go as far as the consent page."""
        page = self.http.get("/oauth/authorize", params=self.query(**changed))
        assert page.status_code == 200, page.text
        return self.http.post("/oauth/authorize", data={**fields(page), "login": user, "password": password})

    def decide(self, page: httpx.Response, decision: str = "allow", path: str = "/oauth/authorize") -> httpx.Response:
        """Answer the consent page."""
        assert page.status_code == 200, page.text
        return self.http.post(path, data={**fields(page), "decision": decision})

    def code(self, user: str, password: str = PASSWORD, **changed: str | None) -> str:
        """Sign in, agree and return the code that goes to the client."""
        answer = self.decide(self.authorize(user, password, **changed))
        assert answer.status_code == 303, answer.text
        return returned(answer)["code"]

    def redeem(self, given: str, /, **changed: str) -> httpx.Response:
        """Exchange the code."""
        form = {
            "grant_type": "authorization_code",
            "code": given,
            "client_id": "flaas-web",
            "redirect_uri": REDIRECT,
            "code_verifier": self.verifier,
            **changed,
        }
        return self.api.token(**form)


class _Digest:
    """Notes what the audit log has of a body; the real API's gate does so."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "flaas.body_sha256": "0" * 64}, receive, send)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Any) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def main_loop(self) -> None:
        while not await self.on_tick(1):
            await asyncio.sleep(0.005)


def fields(page: httpx.Response) -> dict[str, str]:
    """Return the hidden fields of a page's form."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
    return {unescape(name): unescape(value) for name, value in found}


def returned(answer: httpx.Response) -> dict[str, str]:
    """Return the parameters that a redirect carries."""
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def assertion(identity: Identity, audience: str, now: float | None = None, **changed: Any) -> dict[str, str]:
    """Return the form by which a node authenticates itself (RFC 7523)."""
    issued = int(now if now is not None else time.time())
    claims = {
        "iss": identity.node_id,
        "sub": identity.node_id,
        "aud": audience,
        "iat": issued,
        "exp": issued + 60,
        "jti": secrets.token_urlsafe(12),
        **changed,
    }
    key = OKPKey.import_key(identity._key)
    return {
        "client_assertion_type": client_assertions.TYPE,
        "client_assertion": jwt.encode({"alg": "Ed25519"}, claims, key, algorithms=["Ed25519"]),
    }


def _no_opaque(presented: Any) -> Any:
    raise persons.NotAuthenticated("It is no token.", code="bad-token", hint="Sign in.")


@pytest.fixture
def database(identity_url: str) -> Iterator[Database]:
    """A prepared data base of the test's own."""
    opened = Database(identity_url)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    """The API's clock."""
    return Clock()


@pytest.fixture
def identity(database: Database, clock: Clock) -> Iterator[IdentityApi]:
    """An API."""
    api = IdentityApi(database, clock)
    yield api
    api.stop()
