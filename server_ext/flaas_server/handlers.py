"""The endpoints of session and coordination API: each verb is authenticated and authorised where it stands.

``@authorized`` keeps action and resource in the closure of the method that it decorates, so an inherited
method would be authorised as whatever was asked first; hence no verb is inherited and both are spelled out.
The default Authorizer of Jupyter Server lets every signed-in user of the server do everything; what a
person may do with federated runs is decided by the coordination API, from the token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar, cast

import httpx
from jupyter_server.auth.decorator import authorized as _authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.iostream import StreamClosedError

from . import __version__
from .coordination_api import EVENT_STREAM, CoordinationApi, check_allowed, has_secret, json_object, known_query
from .oauth import Renewal
from .problems import Problem
from .session import Credentials, Session, check_url

STATUS, SESSION, API = "flaas:status", "flaas:session", "flaas:api"
"""Resources that an Authorizer is asked about."""

_SUPPORTED_API = "v1"
_REQUEST_HEADERS = ("Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID")
_RESPONSE_HEADERS = ("ETag", "Link", "Location", "Retry-After")
_BODY_LIMIT = 64 * 1024  # bytes; no request of the panel comes near


Verb = TypeVar("Verb", bound=Callable[..., Awaitable[None]])


def authorized(action: str, resource: str) -> Callable[[Verb], Verb]:
    """Jupyter Server's own decorator, typed, with neither argument left to the first request."""
    return cast(Callable[[Verb], Verb], _authorized(action, resource))


class FlaasHandler(APIHandler):
    """What the endpoints share: collaborators, and problem details for whatever goes wrong."""

    # A panel that looks by itself is no activity: a hub may stop a server that nobody uses.
    _track_activity = False

    @property
    def session(self) -> Session:
        """The signed-in session."""
        session: Session = self.settings["flaas_session"]
        return session

    @property
    def api(self) -> CoordinationApi:
        """The way to the coordination API."""
        api: CoordinationApi = self.settings["flaas_api"]
        return api

    @property
    def renewal(self) -> Renewal:
        """What renews the session's tokens."""
        renewal: Renewal = self.settings["flaas_renewal"]
        return renewal

    async def signed_in(self) -> Credentials:
        """Return credentials that are good for a while.

        Raises
        ------
        Problem
            401: nobody is signed in, or the session has ended.
        """
        credentials = await self.renewal.current()
        if credentials.token is not None:
            return credentials
        if self.session.ended is not None:
            raise self.session.ended
        raise Problem(
            401,
            "not-signed-in",
            "Nobody is signed in",
            f"This server is not signed in at {credentials.url}.",
            hint="Sign in with the Federated learning panel or with `flaas login`.",
            kind="NotAuthenticated",
        )

    def compute_etag(self) -> None:
        """Leave entity tags to the coordination API."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer every failure as ``application/problem+json``; what is unforeseen says nothing of its inside."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        if not isinstance(error, Problem):
            title = HTTPStatus(status_code).phrase
            reason = error.log_message if isinstance(error, web.HTTPError) and status_code < 500 else None
            code = "-".join(title.lower().split())
            error = Problem(status_code, code, title, reason or title)
        self.set_status(error.status)
        self.finish(json.dumps(error.to_dict(instance=self.request.path)), set_content_type="application/problem+json")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log a problem in one line; anything else with its traceback."""
        if isinstance(value, Problem):
            self.log.warning("%s: %s", value.code, value.detail)
        else:
            super().log_exception(typ, value, tb)


class StatusHandler(FlaasHandler):
    """``GET flaas/status``: versions of the halves, whether the API answers, and who is signed in."""

    @web.authenticated
    @authorized("read", STATUS)
    async def get(self) -> None:
        """Answer the handshake; a silent API is part of the answer, not an error."""
        try:
            credentials, ended = await self.renewal.current(), None
        except Problem as over:
            credentials, ended = self.session.credentials, over
        root, me = await asyncio.gather(self._entry_point(credentials), self._me(credentials))
        problem = next((each for each in (root, me, ended, self.session.ended) if isinstance(each, Problem)), None)
        version = None if isinstance(root, Problem) else root.get("version")
        known = me if isinstance(me, dict) else {}
        self.finish(
            {
                "version": __version__,
                "api": {
                    "url": credentials.url,
                    "reachable": not isinstance(root, Problem),
                    "version": version,
                    "problem": problem.to_dict() if problem else None,
                },
                "session": {
                    "signed_in": isinstance(me, dict),
                    "has_token": credentials.token is not None,
                    "renewed": credentials.refresh is not None,
                    "subject": known.get("subject"),
                    "organisation": known.get("organisation"),
                    "roles": roles_in(known),
                    "node": self.session.node,
                },
            }
        )

    async def _entry_point(self, credentials: Credentials) -> dict[str, Any] | Problem:
        try:
            response = await self.api.request(Credentials(credentials.url), "GET", "/")
            body = json_object(response)
        except Problem as problem:
            return problem
        if response.status_code >= 500:
            return refusal(response)
        if body.get("api") != _SUPPORTED_API:
            return Problem(
                502,
                "unsupported-api",
                "Another version of the coordination API",
                f"{credentials.url} speaks version {body.get('api')!r} of the API; this extension speaks "
                f"{_SUPPORTED_API!r}.",
                hint="Install the version of flaas_jupyter that belongs to the API: pip install -U flaas_jupyter",
                kind="Unreachable",
            )
        return body

    async def _me(self, credentials: Credentials) -> dict[str, Any] | Problem | None:
        if credentials.token is None:
            return None
        try:
            return await who_is(self.api, credentials)
        except Problem as problem:
            return problem


class SessionHandler(FlaasHandler):
    """``POST flaas/session`` signs in, ``DELETE flaas/session`` signs out."""

    _track_activity = True

    @web.authenticated
    @authorized("write", SESSION)
    async def post(self) -> None:
        """Verify ``{"url"?, "token"}`` with the API and keep it; the answer has everything but the token."""
        body = self._sign_in_form()
        url = check_url(
            str(body.get("url") or self.session.credentials.url),
            allow_plain_http=bool(self.settings["flaas_allow_plain_http"]),
        )
        credentials = Credentials(url, body["token"].strip())
        me = await who_is(self.api, credentials)
        self.session.sign_in(credentials)
        self.log.info("Signed in at %s as %s.", url, me["subject"])
        self.set_status(201)
        self.finish(
            {"url": url, "subject": me["subject"], "organisation": me.get("organisation"), "roles": roles_in(me)}
        )

    @web.authenticated
    @authorized("write", SESSION)
    async def delete(self) -> None:
        """End a session of this server's own, at the API too; only forget a pasted token, which others may use.

        If the API could not be told, the answer says so: ``{"revoked": false, "problem"}``.
        """
        credentials = self.session.credentials
        self.session.sign_out()  # whatever the API says
        try:
            await self.renewal.revoke(credentials)
        except Problem as problem:
            self.log.warning("Signed out here, but %s could not be told: %s", credentials.url, problem.detail)
            self.finish({"revoked": False, "problem": problem.to_dict()})
            return
        self.set_status(204)
        self.finish()

    def _sign_in_form(self) -> dict[str, Any]:
        try:
            body = json.loads(self.request.body)
        except ValueError:  # its message, and its chain, could quote the token
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("token"), str) or not body["token"].strip():
            raise Problem(
                422,
                "no-token",
                "There is no token",
                "Signing in needs a JSON object with a token.",
                hint="Paste the token that your administrator gave you.",
                kind="InvalidInput",
            )
        return body


class ApiHandler(FlaasHandler):
    """``flaas/api/<path>``: the coordination API's resources that the panel may use, events included."""

    _relay: asyncio.Task[None] | None = None

    @web.authenticated
    @authorized("read", API)
    async def get(self, path: str) -> None:
        """Read a resource; with ``Accept: text/event-stream`` follow its events."""
        check_allowed("GET", path)
        if EVENT_STREAM in self.request.headers.get("Accept", ""):
            await self._follow(path)
        else:
            await self._forward(path)

    @web.authenticated
    @authorized("write", API)
    async def post(self, path: str) -> None:
        """Do one of the few things that the panel may do."""
        check_allowed("POST", path)
        await self._forward(path)

    @web.authenticated
    @authorized("write", API)
    async def put(self, path: str) -> None:
        """Replace one of the few things that the panel may."""
        check_allowed("PUT", path)
        await self._forward(path)

    @web.authenticated
    @authorized("write", API)
    async def patch(self, path: str) -> None:
        """Refuse, unless the allow-list comes to know of it."""
        check_allowed("PATCH", path)
        await self._forward(path)

    @web.authenticated
    @authorized("write", API)
    async def delete(self, path: str) -> None:
        """Remove one of the few things that the panel may."""
        check_allowed("DELETE", path)
        await self._forward(path)

    def on_connection_close(self) -> None:
        """Let go of the API's stream when the browser is gone."""
        super().on_connection_close()
        if self._relay is not None:
            self._relay.cancel()

    async def _forward(self, path: str) -> None:
        if len(self.request.body) > _BODY_LIMIT:
            raise Problem(413, "body-too-large", "The request is too large", f"{len(self.request.body)} bytes.")
        response = await self.api.request(
            await self.signed_in(),
            self.request.method or "GET",
            path,
            query=known_query(self.request.query),
            headers=self._request_headers(),
            body=self.request.body or None,
        )
        if has_secret(path):
            self.set_header("Cache-Control", "no-store")
        self._answer(response)

    async def _follow(self, path: str) -> None:
        self._relay = asyncio.create_task(self._relay_events(path))
        try:
            await asyncio.wait({self._relay})
        finally:
            self._relay.cancel()
        if not self._relay.cancelled():
            self._relay.result()

    async def _relay_events(self, path: str) -> None:
        headers = {**self._request_headers(), "Accept": EVENT_STREAM}
        query = known_query(self.request.query)
        credentials = await self.signed_in()
        async with self.api.events(credentials, path, query=query, headers=headers) as response:
            if not response.headers.get("Content-Type", "").startswith(EVENT_STREAM):
                await response.aread()
                self._answer(response)
                return
            self.set_header("Content-Type", EVENT_STREAM)
            self.set_header("Cache-Control", "no-store")
            self.set_header("X-Accel-Buffering", "no")  # or a reverse proxy keeps events until a buffer is full
            try:
                await self.flush()
                # What was opened with a token ends with it; the browser goes on by id, with the next token.
                async with asyncio.timeout(self.renewal.seconds_left(credentials)):
                    async for chunk in response.aiter_bytes():
                        self.write(chunk)
                        await self.flush()
            except TimeoutError:
                self.log.debug("The event stream of %s ends with its token.", path)
            except httpx.HTTPError as error:
                # Headers are out: the end of the body is the only way to tell the browser, which resumes by id.
                self.log.info("The event stream of %s ended (%s).", path, type(error).__name__)
            except StreamClosedError:
                return

    def _request_headers(self) -> dict[str, str]:
        return {name: value for name in _REQUEST_HEADERS if (value := self.request.headers.get(name))}

    def _answer(self, response: httpx.Response) -> None:
        self.set_status(response.status_code)
        for name in _RESPONSE_HEADERS:
            if name in response.headers:
                self.set_header(name, response.headers[name])
        if response.status_code in {204, 304}:
            self.finish()
        else:
            self.finish(response.content, set_content_type=response.headers["Content-Type"])


async def who_is(api: CoordinationApi, credentials: Credentials) -> dict[str, Any]:
    """Return the API's answer to ``GET /v1/me``, or raise its refusal as a `Problem`."""
    response = await api.request(credentials, "GET", "/v1/me")
    me = json_object(response)
    if response.status_code == 200 and isinstance(me.get("subject"), str):
        return me
    raise refusal(response)


def refusal(response: httpx.Response) -> Problem:
    """Turn the API's own problem details into ours."""
    body = json_object(response)
    status = response.status_code if response.status_code >= 400 else 502
    return Problem(
        status,
        str(body.get("code", "unexpected-answer")),
        str(body.get("title", "The coordination API gave an unexpected answer")),
        str(body.get("detail", f"Status {response.status_code}.")),
        hint=str(body.get("hint", "")),
        kind=str(body.get("kind", "FlaasError")),
    )


def roles_in(me: dict[str, Any]) -> list[dict[str, str]]:
    """Return roles and where they are held; an API that knows one role a person holds it in the organisation."""
    roles = me.get("roles")
    if isinstance(roles, list):
        return [{"role": str(each.get("role")), "scope": str(each.get("scope"))} for each in roles if _is_object(each)]
    if not isinstance(me.get("role"), str):
        return []
    organisation = me.get("organisation")
    return [{"role": me["role"], "scope": f"organisation:{organisation}" if organisation else "platform"}]


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
