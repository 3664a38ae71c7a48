"""Signing in by a code that is entered on another page or device: device authorization, RFC 8628.

The code to enter is for the person and may be shown; the device code and the tokens stay in this process. It asks the
API by itself, in the background, so that a page that is loaded again finds the sign-in where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from .coordination_api import CoordinationApi, json_object
from .oauth import DEVICE_GRANT, credentials_in, post_form
from .problems import Problem
from .session import Credentials, Session

_MOST_SECONDS = 3600.0
_LONGEST_PAUSE = 60.0
_SLOWER = 5.0  # RFC 8628, section 3.5

Identify = Callable[[CoordinationApi, Credentials], Awaitable[dict[str, Any]]]


@dataclass
class _Attempt:
    """One sign-in; `device_code` is a secret and never leaves this process."""

    url: str
    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires: float
    interval: float
    state: str = "pending"
    problem: Problem | None = None
    subject: str | None = None


class DeviceSignIn:
    """At most one sign-in by device code at a time.

    Parameters
    ----------
    session : Session
        Keeps the tokens when it is done.
    api : CoordinationApi
        The way to the API.
    client : str
        The ``client_id`` that the API knows the panel by.
    identify : callable
        Asks the API who a token belongs to.
    log : logging.Logger
        Receives what goes wrong; never a code or token.
    clock, sleep : callable
        Seconds since 1970; waiting.
    """

    def __init__(
        self,
        session: Session,
        api: CoordinationApi,
        client: str,
        identify: Identify,
        log: logging.Logger,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._api = api
        self._client = client
        self._identify = identify
        self._log = log
        self._clock = clock
        self.sleep = sleep
        self._attempt: _Attempt | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> dict[str, Any]:
        """How it stands, for the browser: ``{"state": "none"}``, or with code, address and seconds left.

        ``state`` is "pending", "done", "denied", "expired", "failed" (with ``problem``) or "none".
        """
        attempt = self._attempt
        if attempt is None:
            return {"state": "none"}
        return {
            "state": attempt.state,
            "url": attempt.url,
            "user_code": attempt.user_code,
            "verification_uri": attempt.verification_uri,
            "verification_uri_complete": attempt.verification_uri_complete,
            "expires_in": max(0, round(attempt.expires - self._clock())),
            "subject": attempt.subject,
            "problem": attempt.problem.to_dict() if attempt.problem else None,
        }

    async def start(self, url: str) -> dict[str, Any]:
        """Ask for a code, and from then on whether it was entered; an earlier sign-in is given up.

        Raises
        ------
        Problem
            The API does not answer, has no such sign-in, or answers with what it must not.
        """
        response = await post_form(self._api, url, "/oauth/device_authorization", {"client_id": self._client})
        attempt = self._attempt_in(response, url)
        await self.cancel()
        self._attempt = attempt
        self._task = asyncio.create_task(self._wait(attempt))
        return self.state

    async def cancel(self) -> None:
        """Give up; the code is worth nothing to this server any more."""
        task, self._task, self._attempt = self._task, None, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _attempt_in(self, response: httpx.Response, url: str) -> _Attempt:
        body = json_object(response)
        if response.status_code == 404:
            raise Problem(
                502,
                "no-device-sign-in",
                "This API has no sign-in by code",
                f"{url} does not offer sign-in by a code.",
                hint="Sign in with a token.",
                kind="Unreachable",
            )
        code, user_code = body.get("device_code"), body.get("user_code")
        address, whole = body.get("verification_uri"), body.get("verification_uri_complete")
        seconds, interval = body.get("expires_in", 600), body.get("interval", _SLOWER)
        sound = (
            response.status_code == 200
            and isinstance(code, str)
            and isinstance(user_code, str)
            and user_code.isprintable()
            and 0 < len(user_code) <= 64
            and _is_page(address)
            and (whole is None or _is_page(whole))
            and all(isinstance(each, int | float) and not isinstance(each, bool) for each in (seconds, interval))
        )
        if not sound:
            said = body.get("error_description") or body.get("detail") or f"Status {response.status_code}."
            raise Problem(
                502,
                "sign-in-refused",
                "The sign-in could not be started",
                f"{url}: {str(said)[:300]}",
                hint="Check the address, or sign in with a token.",
                kind="Unreachable",
            )
        return _Attempt(
            url,
            str(code),
            str(user_code),
            str(address),
            whole,
            self._clock() + min(float(seconds), _MOST_SECONDS),
            min(max(float(interval), 1.0), _LONGEST_PAUSE),
        )

    async def _wait(self, attempt: _Attempt) -> None:
        form = {"grant_type": DEVICE_GRANT, "device_code": attempt.device_code, "client_id": self._client}
        pause = attempt.interval
        while attempt.state == "pending":
            await self.sleep(pause)
            if self._clock() >= attempt.expires:
                attempt.state = "expired"
                return
            try:
                response = await post_form(self._api, attempt.url, "/oauth/token", form)
                if response.status_code >= 500:
                    raise Problem(502, "api-unreachable", "The API cannot be reached", f"{response.status_code}")
                pause = await self._answered(attempt, response, pause)
                attempt.problem = None if attempt.state == "pending" else attempt.problem
            except Problem as problem:
                if problem.code == "not-the-api":
                    attempt.state, attempt.problem = "failed", problem
                    return
                attempt.problem = problem  # said, and tried again, more slowly: RFC 8628, section 3.5
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _answered(self, attempt: _Attempt, response: httpx.Response, pause: float) -> float:
        error = json_object(response).get("error")
        if error == "authorization_pending":
            return attempt.interval
        if error == "slow_down":
            attempt.interval = min(attempt.interval + _SLOWER, _LONGEST_PAUSE)
            return attempt.interval
        if error in {"access_denied", "expired_token"}:
            attempt.state = "denied" if error == "access_denied" else "expired"
        elif error is not None:
            attempt.state = "failed"
            attempt.problem = Problem(
                502,
                "sign-in-refused",
                "The sign-in was refused",
                f"{attempt.url}: {str(json_object(response).get('error_description') or error)[:300]}",
                hint="Start again, or sign in with a token.",
                kind="Unreachable",
            )
        else:
            credentials = credentials_in(response, attempt.url, self._client, self._clock())
            me = await self._identify(self._api, credentials)
            self._session.sign_in(credentials)
            attempt.subject, attempt.state = str(me["subject"]), "done"
            self._log.info("Signed in at %s as %s.", attempt.url, me["subject"])
        return pause


def _is_page(address: object) -> bool:
    """Whether a person may be sent there: a web page, no script."""
    if not isinstance(address, str) or len(address) > 2000 or not address.isprintable():
        return False
    try:
        parts = urlsplit(address)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False
