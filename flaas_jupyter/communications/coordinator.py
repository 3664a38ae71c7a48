"""The client of the coordination API: one place that signs in, retries, reads problems and follows events.

What may be repeated safely is repeated with growing, jittered pauses: GET, PUT and DELETE, and a POST that
carries an ``Idempotency-Key``. Problem details (RFC 9457) become the error that the API raised. A GET of
something unchanged costs a 304 (ETag). Events are server-sent (WHATWG HTML, section 9.2) and resume after
the last one seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as jsonlib
import logging
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urljoin

import httpx

from .._version import __version__
from ..errors import (
    Conflict,
    FlaasError,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Unreachable,
)
from ..observability import traces
from .identity import Identity, origin, request_token
from .trust import Trust, is_loopback, require_private, unreachable

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds in which an API that does not answer is asked again while somebody waits for the first word of it."""

Json = dict[str, Any]

_ANSWER_LIMIT = 32 << 20
_EVENT_LIMIT = 1 << 20
_CACHED_ANSWERS = 128
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_TRY_AGAIN = frozenset({502, 503, 504})
_TRY_AGAIN_IF_TOLD_WHEN = frozenset({409, 425, 429})
_KINDS: Mapping[int, type[FlaasError]] = {
    400: InvalidInput,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: InvalidInput,
    422: InvalidInput,
    428: Conflict,
}
_LINE_END = re.compile(rb"\r\n|\n|\r")
_random = secrets.SystemRandom()


@dataclass(frozen=True)
class Bearer:
    """A person or service, by token."""

    token: str = field(repr=False)

    def authorization(self, method: str, url: str) -> str:
        """Return the header's value, the same for every request."""
        return f"Bearer {self.token}"


@dataclass(frozen=True)
class NodeKey:
    """A node, by its own key: every request carries a token made for it alone."""

    identity: Identity

    def authorization(self, method: str, url: str) -> str:
        """Return the header's value for this one request."""
        return f"FlaasNode {request_token(self.identity, method, url)}"


class Credentials(Protocol):
    """Who calls: what goes into the ``Authorization`` header of a request."""

    def authorization(self, method: str, url: str) -> str:
        """Return the header's value for one request."""


@dataclass(frozen=True)
class Event:
    """Something that happened, as the API tells it; `id` is its place in the sequence of all events."""

    id: int
    type: str
    time: str
    project: str | None
    run: str | None
    node: str | None
    data: Json

    @classmethod
    def parse(cls, text: str) -> Event:
        """Read the JSON of one event; `ValueError` if it is none."""
        raw = jsonlib.loads(text)
        if not isinstance(raw, dict) or type(raw.get("id")) is not int:
            raise ValueError("an event is an object with a whole number as id")
        data = raw.get("data")
        return cls(
            id=raw["id"],
            type=str(raw.get("type", "")),
            time=str(raw.get("time", "")),
            project=raw.get("project"),
            run=raw.get("run"),
            node=raw.get("node"),
            data=data if isinstance(data, dict) else {},
        )


class Coordinator:
    """Speaks to one coordination API; close it with `close` or ``async with``.

    Parameters
    ----------
    url : str
        Origin of the API, e.g. ``"https://flaas.example"``.
    credentials : Bearer or NodeKey, optional
        Who is calling. None calls as anybody.
    retry_for : float
        Seconds for which a request that may be repeated is repeated while the API cannot be reached.
    timeout : float
        Seconds that one attempt may take to connect, or be silent.
    trust : Trust, optional
        Who may vouch for the API; by default whom `Trust.from_environment` trusts. See `Trust.of`.

    Raises
    ------
    InvalidInput
        ``bad-url``; ``plain-http``: it is not https, and not on this machine.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        retry_for: float = 30.0,
        timeout: float = 10.0,
        trust: Trust | None = None,
    ) -> None:
        self.origin = origin(url)
        require_private(self.origin)
        self.bytes_sent = 0
        self.bytes_received = 0
        self._credentials = credentials
        self._retry_for = retry_for
        self._known: dict[str, tuple[str, bytes]] = {}
        self._http = httpx.AsyncClient(
            verify=(trust or Trust.from_environment()).context(),
            timeout=timeout,
            trust_env=not is_loopback(self.origin),  # no proxy stands between this machine and itself
            headers={"User-Agent": f"flaas_jupyter/{__version__}", "Accept": "application/hal+json"},
        )

    def __repr__(self) -> str:
        return f"Coordinator({self.origin!r}, {self._credentials!r})"

    async def __aenter__(self) -> Coordinator:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(self, path: str, *, retry_for: float | None = None) -> Json:
        """Return what is at `path`; see `request`."""
        return await self.request("GET", path, retry_for=retry_for)

    async def post(
        self,
        path: str,
        json: Json | None = None,
        *,
        idempotency_key: str | None = None,
        retry_for: float | None = None,
    ) -> Json:
        """Create or do something; repeated only with an `idempotency_key`. See `request`."""
        return await self.request("POST", path, json, idempotency_key=idempotency_key, retry_for=retry_for)

    async def put(
        self,
        path: str,
        json: Json | None = None,
        *,
        if_match: str | None = None,
        retry_for: float | None = None,
    ) -> Json:
        """Replace what is at `path`; see `request`."""
        return await self.request("PUT", path, json, if_match=if_match, retry_for=retry_for)

    async def patch(
        self,
        path: str,
        json: Json | None = None,
        *,
        if_match: str | None = None,
        retry_for: float | None = None,
    ) -> Json:
        """Change what is at `path`; see `request`."""
        return await self.request("PATCH", path, json, if_match=if_match, retry_for=retry_for)

    async def delete(self, path: str, *, if_match: str | None = None, retry_for: float | None = None) -> Json:
        """Remove what is at `path`; see `request`."""
        return await self.request("DELETE", path, if_match=if_match, retry_for=retry_for)

    def etag(self, path: str) -> str | None:
        """Return the ETag of what `get` last returned for `path`, for `if_match`."""
        known = self._known.get(self._absolute(path))
        return known[0] if known else None

    async def request(
        self,
        method: str,
        path: str,
        json: Json | None = None,
        *,
        idempotency_key: str | None = None,
        if_match: str | None = None,
        retry_for: float | None = None,
    ) -> Json:
        """Make one request, again and again if that is safe and the API cannot be reached.

        Parameters
        ----------
        method, path : str
            `path` is relative to the API's URL, or a link that the API gave.
        json : dict, optional
            The body.
        idempotency_key : str, optional
            Makes a POST safe to repeat.
        if_match : str, optional
            The ETag that the resource must still have.
        retry_for : float, optional
            Seconds; by default the client's own.

        Returns
        -------
        dict
            The body of the answer, empty if it has none.

        Raises
        ------
        FlaasError
            What the API raised: kind, code, message, hint and details.
        Unreachable
            Code ``api-unreachable``.
        """
        url = self._absolute(path)
        safe = method in ("GET", "PUT", "DELETE") or idempotency_key is not None
        give_up = time.monotonic() + (self._retry_for if retry_for is None else retry_for) * safe
        headers = {}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        if if_match is not None:
            headers["If-Match"] = if_match
        for pause in _pauses():
            try:
                return await self._attempt(method, url, json, headers)
            except _TryAgain as failure:
                wait = max(pause, failure.after)
                if time.monotonic() + wait > give_up:
                    raise failure.error from failure.__cause__
                logger.info("%s %s: %s Again in %.1f s.", method, url, failure.error.message, wait)
                await asyncio.sleep(wait)
        raise AssertionError("the pauses never end")

    async def paginate(self, path: str, key: str) -> AsyncGenerator[Json, None]:
        """Yield the entries `key` of the list at `path`, page by page as the API links them."""
        seen: set[str] = set()
        link: str | None = path
        while link is not None and link not in seen:
            seen.add(link)
            page = await self.get(link)
            for entry in page.get("_embedded", {}).get(key, []):
                yield entry
            following = page.get("_links", {}).get("next")
            link = following.get("href") if isinstance(following, dict) else None

    async def events(
        self,
        path: str,
        *,
        after: int | None = None,
        on_connection: Callable[[bool], None] | None = None,
        silence: float = 45.0,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events at `path` for ever, connecting again whenever the connection is lost.

        Parameters
        ----------
        path : str
            A resource of events.
        after : int, optional
            Id of the last event known; without it the stream starts at the present.
        on_connection : function of bool, optional
            Told True when the stream is connected and False when it is lost. While no event has been seen,
            what happens between the two is missed: read the state anew on every True.
        silence : float
            Seconds without a byte, comments included, after which the connection counts as lost.

        Raises
        ------
        FlaasError
            What the API raised if it refuses the stream; an API that cannot be reached is waited for.
        """
        url = self._absolute(path)
        last = None if after is None else str(after)
        pauses = _pauses()
        while True:
            parser = _EventParser(last)
            connected = False
            try:
                async with self._stream(url, last, silence) as response:
                    connected = True
                    if on_connection:
                        on_connection(True)
                    async for chunk in response.aiter_raw():
                        self.bytes_received += len(chunk)
                        pauses = _pauses()
                        for event in parser.feed(chunk):
                            last = parser.last_id
                            yield event
                logger.info("the event stream %s ended", url)
            except _TryAgain as failure:
                mistrusted = failure.error.code.startswith("tls-")
                logger.log(logging.WARNING if mistrusted else logging.INFO, "%s", failure.error)
            except httpx.TransportError as error:
                logger.info("the event stream %s was lost: %s", url, type(error).__name__)
            finally:
                if connected and on_connection:
                    on_connection(False)
            last = parser.last_id
            await asyncio.sleep(next(pauses))

    def _absolute(self, path: str) -> str:
        """Return the URL of `path`; credentials never go to another origin."""
        try:
            url = str(httpx.URL(urljoin(self.origin + "/", path)))
            if origin(url) == self.origin:
                return url
        except (httpx.InvalidURL, InvalidInput):
            pass
        raise InvalidInput(
            f"{path!r} is not a path of {self.origin}.",
            code="bad-path",
            hint="Give a path that starts with '/', or a link that this API gave.",
        )

    def _build(self, method: str, url: str, json: Json | None, headers: Mapping[str, str]) -> httpx.Request:
        request = self._http.build_request(method, url, json=json, headers=dict(headers))
        if self._credentials is not None:
            request.headers["Authorization"] = self._credentials.authorization(method, url)
        if (trace := traces.traceparent()) is not None:
            request.headers[traces.FIELD] = trace
        self.bytes_sent += _header_bytes(request.headers) + len(request.content)
        return request

    async def _attempt(self, method: str, url: str, json: Json | None, headers: Mapping[str, str]) -> Json:
        known = self._known.get(url) if method == "GET" else None
        if known:
            headers = {**headers, "If-None-Match": known[0]}
        try:
            response = await self._http.send(self._build(method, url, json, headers), stream=True)
            try:
                body = await self._read(response)
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            raise self._no_answer(error) from error
        if response.status_code == 304 and known:
            body = known[1]
        elif not response.is_success:
            raise self._failure(response, body)
        answer = self._parse(body)
        if method == "GET" and (etag := response.headers.get("ETag")):
            self._remember(url, etag, body)
        return answer

    async def _read(self, response: httpx.Response) -> bytes:
        """Return the body, up to 32 MiB after decompression."""
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _ANSWER_LIMIT:
                raise InvalidInput(
                    f"The answer of {self.origin} has more than {_ANSWER_LIMIT} bytes.",
                    code="answer-too-large",
                    hint="Ask for smaller pages with `limit`.",
                )
        self.bytes_received += _header_bytes(response.headers) + response.num_bytes_downloaded
        return bytes(body)

    def _parse(self, body: bytes) -> Json:
        try:
            answer = jsonlib.loads(body) if body else {}
        except (ValueError, RecursionError) as error:
            raise _TryAgain(self._unreadable()) from error
        if not isinstance(answer, dict):
            raise _TryAgain(self._unreadable())
        return answer

    def _remember(self, url: str, etag: str, body: bytes) -> None:
        self._known.pop(url, None)
        self._known[url] = (etag, body)
        if len(self._known) > _CACHED_ANSWERS:
            del self._known[next(iter(self._known))]

    def _failure(self, response: httpx.Response, body: bytes) -> FlaasError | _TryAgain:
        error = _problem(response, body)
        told = response.headers.get("Retry-After", "")
        after = min(float(told), 60.0) if told.isascii() and told.isdigit() else None
        again = response.status_code in _TRY_AGAIN_IF_TOLD_WHEN and after is not None
        if again or response.status_code in _TRY_AGAIN:
            return _TryAgain(error, after or 0.0)
        return error

    @contextlib.asynccontextmanager
    async def _stream(self, url: str, last: str | None, silence: float) -> AsyncIterator[httpx.Response]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last is not None:
            headers["Last-Event-ID"] = last
        request = self._build("GET", url, None, headers)
        request.extensions["timeout"] = {**request.extensions["timeout"], "read": silence}
        try:
            response = await self._http.send(request, stream=True)
        except httpx.RequestError as error:
            raise _TryAgain(unreachable(self.origin, error)) from error
        try:
            self.bytes_received += _header_bytes(response.headers)
            kind = response.headers.get("Content-Type", "")
            if not response.is_success:
                raise self._failure(response, await self._read(response))
            if not kind.startswith("text/event-stream"):
                raise _TryAgain(self._unreadable())
            yield response
        finally:
            await response.aclose()

    def _no_answer(self, cause: Exception) -> FlaasError | _TryAgain:
        """Return what to raise; a certificate that is not to be trusted does not become so by asking again."""
        error = unreachable(self.origin, cause)
        return _TryAgain(error) if error.code == "api-unreachable" else error

    def _unreadable(self) -> Unreachable:
        return Unreachable(
            f"What answers at {self.origin} is not a coordination API.",
            code="api-unreadable",
            hint="Check the URL (FLAAS_URL), and any proxy on the way.",
            url=self.origin,
        )


class _TryAgain(Exception):
    """A failure that may pass; `error` is what to raise if it does not."""

    def __init__(self, error: FlaasError, after: float = 0.0) -> None:
        super().__init__(error.message)
        self.error = error
        self.after = after


class _EventParser:
    """Turns the bytes of an event stream into events; `last_id` is where to resume."""

    def __init__(self, last_id: str | None) -> None:
        self.last_id = last_id
        self._id = last_id
        self._data: list[str] = []
        self._size = 0
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that `chunk` completes; one that cannot be read is logged and passed over."""
        text = self._rest + chunk
        whole = text[:-1] if text.endswith(b"\r") else text  # its line feed may be in the next chunk
        *lines, rest = _LINE_END.split(whole)
        self._rest = rest + text[len(whole) :]
        for line in lines:
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                yield event
        if self._size + len(self._rest) > _EVENT_LIMIT:
            raise httpx.RemoteProtocolError("an event is larger than any event is")

    def _field(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(line)
        elif name == "id" and "\x00" not in value:
            self._id = value

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        text, self._data, self._size = "\n".join(self._data), [], 0
        if not text:
            return None
        try:
            return Event.parse(text)
        except (ValueError, RecursionError) as error:
            logger.warning("an event could not be read: %s", error)
            return None


def _pauses() -> Iterator[float]:
    """Yield pauses that double up to 5 s, shortened at random so that clients do not come back in step."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * _random.uniform(0.5, 1.0)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _problem(response: httpx.Response, body: bytes) -> FlaasError:
    """Rebuild the error of problem details; of anything else, make one from the status."""
    status = response.status_code
    try:
        problem = jsonlib.loads(body)
    except (ValueError, RecursionError):
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("code"), str):
        known = {"type", "title", "status", "detail", "instance", "code", "kind", "hint"}
        return FlaasError.from_dict(
            {
                "kind": problem.get("kind"),
                "code": problem["code"],
                "message": problem.get("detail") or problem.get("title") or problem["code"],
                "hint": problem.get("hint") or "",
                "details": {key: value for key, value in problem.items() if key not in known},
            }
        )
    kind = _KINDS.get(status, Unreachable if status >= 500 else InvalidInput)
    where = f"{response.request.method} {response.request.url.path}"
    return kind(
        f"The coordination API answered {where} with {status} {response.reason_phrase}.",
        code="api-failed" if status >= 500 else None,
        hint="Its log says more.",
        status=status,
    )


def _header_bytes(headers: httpx.Headers) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers.raw)
