"""The API's OAuth end points, asked without being signed in: forms in, JSON out, refusals told apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from ._version import __version__
from .communications.trust import Trust, is_loopback, require_private, unreachable
from .errors import Conflict, FlaasError, InvalidInput, NotAuthenticated, NotFound, Unreachable
from .kept_sign_in import SignedIn

_TIMEOUT = 10.0


class Refused(Exception):
    """An OAuth end point has said no."""

    def __init__(self, error: str, description: str, status: int) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status

    def told(self) -> FlaasError:
        """Return the error to raise."""
        kind = {429: Conflict, 404: NotFound}.get(self.status, NotAuthenticated)
        code = "too-many-attempts" if self.status == 429 else "sign-in-refused"
        return kind(self.description, code=code, hint="Start the sign-in again.")


def post(url: str, path: str, form: dict[str, str], trust: Trust) -> dict[str, Any]:
    """POST a form to an OAuth end point and return the answer; `Refused` if it says no."""
    with http(url, trust) as client:
        response = reached(url, lambda: client.post(path, data=form))
    if response.status_code >= 500:
        raise Unreachable(
            f"The coordination API at {url} answered {response.status_code}.",
            code="api-failed",
            hint="Its log says more; try again.",
        )
    body = object_of(url, response) if response.content else {}
    if response.is_success:
        return body
    if not isinstance(body.get("error"), str):
        raise unreadable(url)
    raise Refused(body["error"], str(body.get("error_description", body["error"])), response.status_code)


def http(url: str, trust: Trust) -> httpx.Client:
    """Return a client of the API at `url`, for which those may vouch whom `trust` names."""
    require_private(url)
    try:
        return httpx.Client(
            base_url=url,
            verify=trust.context(),
            timeout=_TIMEOUT,
            trust_env=not is_loopback(url),  # no proxy stands between this machine and itself
            headers={"User-Agent": f"flaas_jupyter/{__version__}", "Accept": "application/json"},
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(f"{url!r} is not the URL of an API.", code="bad-url", hint="Give http(s)://host.") from error


def reached(url: str, ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Return what `ask` does; `Unreachable` if the API cannot be reached."""
    try:
        return ask()
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise unreachable(url, error) from error


def granted(url: str, client: str, answer: dict[str, Any]) -> SignedIn:
    """Return what a token end point has granted."""
    try:
        expires = time.time() + float(answer["expires_in"])
        return SignedIn(url, str(answer["access_token"]), str(answer["refresh_token"]), expires, client)
    except (KeyError, ValueError, TypeError) as error:
        raise unreadable(url) from error


def object_of(url: str, response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    try:
        body = response.json()
    except ValueError as error:
        raise unreadable(url) from error
    if not isinstance(body, dict):
        raise unreadable(url)
    return body


def unreadable(url: str) -> Unreachable:
    """Return the error that something else than the API answers."""
    return Unreachable(
        f"What answers at {url} is not a coordination API that one can sign in at.",
        code="api-unreadable",
        hint="Check the URL (FLAAS_URL), and any proxy on the way.",
    )
