"""Answers as HAL (draft-kelly-json-hal): a resource, and links to what the caller may do with it now.

A strong ETag is the digest of the answer itself: equal tags mean equal bytes, whatever the answer was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from ..errors import Conflict

MEDIA_TYPE = "application/hal+json"
_PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Accept"}

Resource = dict[str, Any]


class HalResponse(JSONResponse):
    """A HAL document, given as the bytes that it is."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Return `content`, text or bytes, as it is sent."""
        return content if isinstance(content, bytes) else str(content).encode()


def link(href: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    """Return a link object; `method` is told when it is not GET."""
    return {"href": href, **({} if method == "GET" else {"method": method}), **more}


def resource(body: Mapping[str, Any], href: str, **links: Any) -> Resource:
    """Return `body` with its links; those that are None are not there."""
    kept = {name: target for name, target in links.items() if target is not None}
    return {**body, "_links": {"self": link(href), **kept}}


def instant(moment: datetime | None) -> str | None:
    """Return `moment` in RFC 3339, UTC."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def etag(body: Resource) -> str:
    """Return the strong ETag of an answer."""
    return f'"{hashlib.sha256(_encode(body)).hexdigest()[:32]}"'


def answer(
    body: Resource,
    request: Request | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    tagged: bool = True,
) -> Response:
    """Return `body` as an answer; 304 if `request` shows that the caller has it already.

    Parameters
    ----------
    body : dict
        The resource.
    request : Request, optional
        The GET request, for its ``If-None-Match``.
    status : int
        Of an answer with a body.
    headers : mapping, optional
        Further headers.
    tagged : bool
        Whether it is a single resource, with an ETag.
    """
    sent = {**_PRIVATE, **(headers or {})}
    if tagged:
        sent["ETag"] = etag(body)
        if request is not None and _matches(request.headers.get("If-None-Match"), sent["ETag"], weak=True):
            return Response(status_code=304, headers=sent)
    return HalResponse(_encode(body), status, headers=sent)


def require_match(request: Request, present: Resource) -> None:
    """Check that the caller changes what it has read.

    Raises
    ------
    Conflict
        Codes ``if-match-required`` (428) and ``stale-etag`` (412).
    """
    condition = request.headers.get("If-Match")
    if condition is None:
        raise Conflict(
            f"{request.method} {request.url.path} needs If-Match.",
            code="if-match-required",
            hint="GET the resource and send its ETag.",
        )
    if not _matches(condition, etag(present), weak=False):
        raise Conflict(
            f"{request.url.path} is not any more what was read ({condition[:80]}).",
            code="stale-etag",
            hint="GET it again, look at what has changed, and repeat with the new ETag.",
        )


def _encode(body: Resource) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _matches(condition: str | None, tag: str, weak: bool) -> bool:
    if condition is None:
        return False
    candidates = {candidate.strip() for candidate in condition.split(",")}
    if weak:
        candidates = {candidate.removeprefix("W/") for candidate in candidates}
    return "*" in candidates or tag in candidates
