"""The panel as an OAuth 2.0 client without a secret (RFC 6749, 7009): renewing tokens, and ending a session.

Who asks for an access token with `Renewal.current` gets one that is good for a while. Refresh tokens are used once:
whoever renews holds the lock of the credentials' file, and looks first whether somebody else has done it meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from .coordination_api import CoordinationApi, json_object
from .problems import Problem
from .sealed import locked
from .session import Credentials, Session

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
MARGIN = 60.0
"""Seconds before its end from which on an access token is renewed."""
_LIFETIME = 300.0  # where an answer does not say


async def post_form(api: CoordinationApi, url: str, path: str, form: Mapping[str, str]) -> httpx.Response:
    """Ask an OAuth endpoint of the API at `url`; raises as `CoordinationApi.request` does."""
    return await api.request(
        Credentials(url),
        "POST",
        path,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        body=urlencode(form).encode(),
    )


def credentials_in(response: httpx.Response, url: str, client: str, now: float, refresh: str = "") -> Credentials:
    """Return what a token endpoint has granted; a refresh token that is not replaced stays.

    Raises
    ------
    Problem
        502 ``not-the-api``: the answer is none of a token endpoint.
    """
    body = json_object(response)
    token, refresh = body.get("access_token"), body.get("refresh_token") or refresh
    seconds = body.get("expires_in", _LIFETIME)
    sound = response.status_code == 200 and isinstance(token, str) and token and isinstance(refresh, str) and refresh
    if not sound or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise Problem(
            502,
            "not-the-api",
            "Not a coordination API",
            f"{url} answered a request for a token with status {response.status_code} and no usable token.",
            hint="Check the address; sign in again.",
            kind="Unreachable",
        )
    return Credentials(url, str(token), str(refresh), now + float(seconds), client)


class Renewal:
    """Access tokens that are good for a while.

    Parameters
    ----------
    session : Session
        Whose tokens they are.
    api : CoordinationApi
        The way to the API.
    home : Path
        Where the lock is.
    log : logging.Logger
        Receives what goes wrong; never a token.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        session: Session,
        api: CoordinationApi,
        home: Path,
        log: logging.Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._api = api
        self._home = home
        self._log = log
        self._clock = clock
        self._turn = asyncio.Lock()

    async def current(self) -> Credentials:
        """Return the session's credentials, renewed if they end within `MARGIN`.

        An API that cannot be reached leaves the present token in use while it is good.

        Raises
        ------
        Problem
            401 ``session-ended``: the refresh token is no longer good, and is forgotten. 502: the API does not answer
            and the token has ended.
        """
        credentials = self._session.credentials
        if not self._is_stale(credentials):
            return credentials
        async with self._turn:
            credentials = self._session.credentials
            if not self._is_stale(credentials):
                return credentials
            lock = locked(self._home)
            await asyncio.to_thread(lock.__enter__)
            try:
                credentials = self._session.credentials
                return await self._renew(credentials) if self._is_stale(credentials) else credentials
            finally:
                lock.__exit__(None, None, None)

    async def revoke(self, credentials: Credentials) -> None:
        """Tell the API that this session has ended; all tokens of it are worth nothing from then on.

        Raises
        ------
        Problem
            The API does not answer, or refuses.
        """
        if credentials.refresh is None:
            return
        form = {"token": credentials.refresh, "token_type_hint": "refresh_token", "client_id": credentials.client}
        response = await post_form(self._api, credentials.url, "/oauth/revoke", form)
        if response.status_code >= 400:
            raise _refused(response)

    def seconds_left(self, credentials: Credentials) -> float | None:
        """Return for how long the access token is good; None if it does not say."""
        return None if credentials.expires is None else max(0.0, credentials.expires - self._clock())

    def _is_stale(self, credentials: Credentials) -> bool:
        left = self.seconds_left(credentials)
        return credentials.refresh is not None and left is not None and left < MARGIN

    async def _renew(self, credentials: Credentials) -> Credentials:
        assert credentials.refresh is not None  # it is stale
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.refresh,
            "client_id": credentials.client,
        }
        try:
            response = await post_form(self._api, credentials.url, "/oauth/token", form)
            if response.status_code >= 500:
                raise _refused(response)
        except Problem:
            if self.seconds_left(credentials):
                return credentials
            raise
        if json_object(response).get("error") == "invalid_grant":
            self._log.info("The session at %s has ended.", credentials.url)
            self._session.end(_ended(credentials.url))
            raise _ended(credentials.url)
        renewed = credentials_in(response, credentials.url, credentials.client, self._clock(), credentials.refresh)
        if self._session.credentials.refresh != credentials.refresh:
            await self.revoke(renewed)  # signed out meanwhile: it must not come back
            raise _ended(credentials.url)
        self._session.sign_in(renewed)
        return renewed


def _ended(url: str) -> Problem:
    return Problem(
        401,
        "session-ended",
        "Your session has ended",
        f"{url} no longer accepts this session: it was too long unused, was ended elsewhere, or is revoked.",
        hint="Sign in again; nothing that was entered is lost.",
        kind="NotAuthenticated",
    )


def _refused(response: httpx.Response) -> Problem:
    body: dict[str, Any] = json_object(response)
    return Problem(
        502,
        "sign-in-refused",
        "The coordination API did not do it",
        str(body.get("error_description") or body.get("detail") or f"Status {response.status_code}."),
        kind="Unreachable",
    )
