"""The coordination API as the panel may use it: an allow-list in front of an HTTP client.

What is not in `ALLOWED` cannot be asked for through Jupyter Server, whatever the token would permit: a page
that runs in the browser reads what it shows, stops a run, has prices compared and launches what was compared, gives
and takes roles as the person there may, no more. Cloud accounts are not entered through it: their secrets never go
through a browser. Nor do tokens, passwords and keys, nor decisions about critical actions: those are signed here
(`approvals`).
Redirects are never followed, since they would carry the token to where nobody meant it to go.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from . import trust
from .problems import Problem
from .session import Credentials

ALLOWED: tuple[tuple[str, str], ...] = (
    ("GET", "/"),
    ("GET", "/v1/health"),
    ("GET", "/v1/me"),
    ("GET", "/v1/projects"),
    ("GET", "/v1/projects/{id}"),
    ("GET", "/v1/projects/{id}/datasets"),
    ("GET", "/v1/projects/{id}/mesh"),
    ("GET", "/v1/projects/{id}/pending"),
    ("GET", "/v1/projects/{id}/events"),
    ("GET", "/v1/projects/{id}/queries"),
    ("GET", "/v1/projects/{id}/runs"),
    ("GET", "/v1/nodes"),
    ("GET", "/v1/nodes/{id}"),
    ("GET", "/v1/nodes/{id}/upload-key"),
    ("GET", "/v1/projects/{id}/uploads"),
    ("GET", "/v1/uploads/{id}"),
    ("GET", "/v1/runs/{id}"),
    ("GET", "/v1/runs/{id}/events"),
    ("GET", "/v1/runs/{id}/rounds"),
    ("POST", "/v1/runs/{id}/cancel"),
    ("GET", "/v1/costs/templates"),
    ("GET", "/v1/costs/providers"),
    ("GET", "/v1/costs/accounts"),
    ("GET", "/v1/costs/accounts/{id}"),
    ("GET", "/v1/costs/summary"),
    ("GET", "/v1/costs/export"),
    ("POST", "/v1/costs/recommendations"),
    ("POST", "/v1/costs/accounts/{id}/fetch"),
    ("GET", "/v1/projects/{id}/budget"),
    ("GET", "/v1/projects/{id}/launches"),
    ("POST", "/v1/projects/{id}/launches"),
    ("GET", "/v1/launches/{id}"),
    ("POST", "/v1/launches/{id}/terminate"),
    ("POST", "/v1/launches/{id}/resume"),
    ("POST", "/v1/runs/{id}/pause"),
    ("POST", "/v1/runs/{id}/resume"),
    ("POST", "/v1/nodes/{id}/quarantine"),
    ("DELETE", "/v1/nodes/{id}/quarantine"),
    ("GET", "/v1/projects/{id}/models"),
    ("GET", "/v1/models/{id}"),
    ("POST", "/v1/models/{id}/release"),
    ("POST", "/v1/models/{id}/revoke"),
    ("GET", "/v1/me/sessions"),
    ("DELETE", "/v1/me/sessions/{id}"),
    ("GET", "/v1/users"),
    ("POST", "/v1/users"),
    ("GET", "/v1/users/{id}"),
    ("DELETE", "/v1/users/{id}"),
    ("POST", "/v1/users/{id}/invitation"),
    ("POST", "/v1/users/{id}/roles"),
    ("DELETE", "/v1/users/{id}/roles/{id}/{scope}"),
    ("GET", "/v1/roles"),
    ("POST", "/v1/roles/preview"),
    ("GET", "/v1/permissions"),
    ("GET", "/v1/permissions/unused"),
    ("GET", "/v1/separation"),
    ("POST", "/v1/rbac/add_role"),
    ("POST", "/v1/rbac/delete_role"),
    ("POST", "/v1/rbac/add_inheritance"),
    ("POST", "/v1/rbac/delete_inheritance"),
    ("POST", "/v1/rbac/grant_permission"),
    ("POST", "/v1/rbac/revoke_permission"),
    ("POST", "/v1/rbac/create_ssd_set"),
    ("POST", "/v1/rbac/delete_ssd_set"),
    ("POST", "/v1/rbac/create_dsd_set"),
    ("POST", "/v1/rbac/delete_dsd_set"),
    ("GET", "/v1/approvals"),
    ("GET", "/v1/approvals/{id}"),
    ("POST", "/v1/approvals/{id}/withdraw"),
    ("GET", "/v1/policy"),
    ("POST", "/v1/founding/close"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/audit/export"),
    ("GET", "/v1/audit/checkpoints"),
)
QUERY = frozenset(
    {
        "actor", "after", "cursor", "days", "format", "from", "group", "limit", "mine", "node", "object", "operation",
        "outcome", "project", "provider", "resource", "state", "to",
    }
)  # fmt: skip
"""Query parameters that go on; others stay here, among them Jupyter's own ``token``."""

EVENT_STREAM = "text/event-stream"
_JSON = ("application/json", "application/hal+json", "application/problem+json")
_TABLES = {  # what is answered there beside JSON
    "/v1/costs/export": ("text/csv",),
    "/v1/audit/export": ("text/csv", "application/jsonl", "application/x-ndjson"),
    "/oauth/revoke": ("",),  # its answer is empty (RFC 7009, section 2.2)
}
_ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"  # no leading dot, no slash, no percent sign
_SCOPE = rf"(?:platform|(?:organisation|project|node):{_ID})"
_PATTERNS = [
    (method, re.compile(re.escape(path).replace(r"\{id\}", _ID).replace(r"\{scope\}", _SCOPE)))
    for method, path in ALLOWED
]
_SECRETS = re.compile(rf"/v1/users(?:/{_ID}/invitation)?")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def check_allowed(method: str, path: str) -> None:
    """Raise a 403 `Problem` unless the panel may use `method` on `path`."""
    if not any(method == allowed and pattern.fullmatch(path) for allowed, pattern in _PATTERNS):
        raise Problem(
            403,
            "not-proxied",
            "Not available through JupyterLab",
            f"{method} {path[:200]} is not among the requests that the panel may make.",
            hint="Use the `flaas` command or the Python interface for it.",
            kind="NotAllowed",
        )


def has_secret(path: str) -> bool:
    """Tell whether an answer at `path` may hold an invitation, which is shown once and kept nowhere."""
    return _SECRETS.fullmatch(path) is not None


def known_query(query: str) -> str:
    """Return `query` with its known parameters only; an empty value means something (``project=``: without one)."""
    return urlencode([(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name in QUERY])


class CoordinationApi:
    """Requests to the coordination API with the session's token.

    Parameters
    ----------
    timeout : float
        Seconds that the API may take to connect or be silent in an ordinary request.
    stream_timeout : float
        Seconds that an event stream may be silent; the API sends a sign of life more often than that.
    home : Path
        `FLAAS_HOME`, where the authorities of APIs are pinned.
    """

    def __init__(self, timeout: float, stream_timeout: float, home: Path) -> None:
        self._home = home
        self._timeout = httpx.Timeout(timeout)
        self._stream_timeout = httpx.Timeout(timeout, read=stream_timeout)
        self._clients: dict[tuple[bool, str], httpx.AsyncClient] = {}

    async def request(
        self,
        credentials: Credentials,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> httpx.Response:
        """Ask and return the answer, whatever its status.

        Raises
        ------
        Problem
            502 ``api-unreachable``: no answer; ``not-the-api``: an answer that the coordination API does not give; a
            code of `trust.problem`.
        """
        client = self._client(credentials.url)
        try:
            request = self._build(client, credentials, method, path, query, headers, body)
            response = await client.send(request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(credentials.url, error) from error
        _check_answer(credentials.url, response, (*_JSON, *_TABLES.get(path, ())))
        return response

    @asynccontextmanager
    async def events(
        self, credentials: Credentials, path: str, *, query: str, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """Open an event stream; the answer's chunks come with ``aiter_bytes``. Raises as `request` does."""
        client = self._client(credentials.url)
        try:
            request = self._build(client, credentials, "GET", path, query, headers, None)
            request.extensions["timeout"] = self._stream_timeout.as_dict()
            response = await client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(credentials.url, error) from error
        try:
            _check_answer(credentials.url, response, (EVENT_STREAM, *_JSON))
            yield response
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close all connections, event streams included."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _client(self, url: str) -> httpx.AsyncClient:
        local, pem = urlsplit(url).hostname in _LOCAL_HOSTS, trust.pinned(self._home, url)
        if (local, pem) not in self._clients:  # what is pinned anew is a client of its own
            # No proxy stands between this machine and itself. Streams stay open: no limit on connections.
            self._clients[local, pem] = httpx.AsyncClient(
                verify=trust.context(pem),
                timeout=self._timeout,
                trust_env=not local,
                limits=httpx.Limits(max_connections=None),
            )
        return self._clients[local, pem]

    @staticmethod
    def _build(
        client: httpx.AsyncClient,
        credentials: Credentials,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> httpx.Request:
        url = f"{credentials.url}{path}?{query}" if query else f"{credentials.url}{path}"
        request = client.build_request(
            method, url, headers={"Accept": "application/hal+json", **(headers or {})}, content=body
        )
        if credentials.token:
            if not _TOKEN.fullmatch(credentials.token):  # a header could not carry it; never quoted
                detail = "The token has characters that no token has."
                raise Problem(422, "bad-token", "Not a token", detail, kind="InvalidInput")
            request.headers["Authorization"] = f"Bearer {credentials.token}"
        return request


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of an answer, an empty one if there is none."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _check_answer(url: str, response: httpx.Response, types: tuple[str, ...]) -> None:
    """Refuse redirects, and content (a login page, say) that must not be served from Jupyter's origin."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if response.status_code in {204, 304} or (not response.is_redirect and media_type in types):
        return
    answer = "a redirect" if response.is_redirect else f"{media_type or 'nothing'} with status {response.status_code}"
    raise Problem(
        502,
        "not-the-api",
        "Not a coordination API",
        f"{url} answered with {answer}, which the coordination API does not do.",
        hint="Check the address; give the one that the service itself has, not one that redirects to it.",
        kind="Unreachable",
    )


def _unreachable(url: str, error: Exception) -> Problem:
    return trust.problem(url, error) or Problem(
        502,
        "api-unreachable",
        "The coordination API cannot be reached",
        f"{url} does not answer ({type(error).__name__}).",
        hint="Check that it runs and that the address is right.",
        kind="Unreachable",
    )
