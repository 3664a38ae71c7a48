"""Signing in from this machine: the device flow, and tokens that renew themselves.

Commands, notebooks and JupyterLab's server share ``FLAAS_HOME`` (`kept_sign_in`). A refresh token is good for one use,
so whoever renews holds ``credentials.lock`` and looks first whether somebody else has done it meanwhile. The API ends a
sign-in whose refresh token comes twice; if the answer to a renewal was lost on the way, one signs in again.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import httpx

from .communications.coordinator import Bearer
from .communications.identity import Identity, canonical
from .communications.trust import Trust
from .errors import Conflict, FlaasError, NotAllowed, NotAuthenticated, Unreachable
from .home import Home
from .kept_sign_in import CLIENT, SignedIn, keep, locked, stored
from .oauth_client import Refused, granted, http, object_of, post, reached, unreadable

APPROVER = "flaas/approver/1"
"""Context of the signature that proves to have an approval key; the API's `governance.identity.persons` has it too."""
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
INVITATION_GRANT = "urn:flaas:params:oauth:grant-type:invitation"
MARGIN = 30.0
"""Seconds before its end when an access token is renewed."""
_SLOWER = 5.0
_LONGEST_INTERVAL = 60.0


# ---- the device flow ------------------------------------------------------------------------------------------------


class DeviceSignIn:
    """A sign-in that waits for somebody to enter a code in a browser, on this machine or any other (RFC 8628).

    `begin` makes one; show `verification_uri` and `user_code`, then `wait`, or `poll` every `interval` seconds.
    """

    def __init__(self, url: str, client: str, answer: dict[str, Any], trust: Trust) -> None:
        self.url = url
        self.user_code = str(answer["user_code"])
        self.verification_uri = str(answer["verification_uri"])
        self.verification_uri_complete = str(answer.get("verification_uri_complete") or self.verification_uri)
        self.expires_in = float(answer["expires_in"])
        self.interval = max(0.0, float(answer.get("interval", 5)))
        self._client = client
        self._trust = trust
        self._device_code = str(answer["device_code"])

    def __repr__(self) -> str:
        return f"<DeviceSignIn at {self.url} with code {self.user_code}>"

    @classmethod
    def begin(cls, url: str, *, client: str = CLIENT, scope: str = "", trust: Trust | None = None) -> DeviceSignIn:
        """Ask the API for a code.

        Parameters
        ----------
        url : str
            The API.
        client : str
            Who asks, for the person to read.
        scope : str
            Roles to activate, e.g. ``"role:developer@project:credit"``; by default as many as may be active together.
        trust : Trust, optional
            Who may vouch for the API; by default whom `Trust.from_environment` trusts.

        Raises
        ------
        Unreachable
            Codes ``api-unreachable`` and ``api-unreadable``, and those of `tls_problem`.
        FlaasError
            The API refuses.
        """
        form = {"client_id": client, **({"scope": scope} if scope else {})}
        trust = trust or Trust.from_environment()
        answer = post(url, "/oauth/device_authorization", form, trust)
        try:
            return cls(url.rstrip("/"), client, answer, trust)
        except (KeyError, ValueError) as error:
            raise unreadable(url) from error

    def poll(self) -> SignedIn | None:
        """Ask once whether somebody has answered; None if not yet.

        Raises
        ------
        NotAllowed
            Code ``sign-in-refused``: somebody has said no.
        Conflict
            Code ``sign-in-expired``.
        """
        form = {"grant_type": DEVICE_GRANT, "device_code": self._device_code, "client_id": self._client}
        try:
            return granted(self.url, self._client, post(self.url, "/oauth/token", form, self._trust))
        except Refused as refused:
            if refused.error == "slow_down":
                self.interval = min(self.interval + _SLOWER, _LONGEST_INTERVAL)
            if refused.error in ("slow_down", "authorization_pending"):
                return None
            if refused.error == "access_denied":
                raise NotAllowed(
                    "The sign-in was refused in the browser.",
                    code="sign-in-refused",
                    hint="Run it again if you did not.",
                ) from refused
            if refused.error == "expired_token":
                raise _too_late() from refused
            raise refused.told() from refused

    def wait(
        self,
        cancelled: threading.Event | None = None,
        *,
        waiting: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> SignedIn | None:
        """Poll until somebody has answered; None if `cancelled` was set.

        Parameters
        ----------
        cancelled : Event, optional
            Set it to stop waiting.
        waiting : function of float, optional
            Told before each pause how many seconds are left.
        clock : callable
            Seconds, monotonic.
        """
        cancelled = cancelled or threading.Event()
        end = clock() + self.expires_in
        while clock() < end:
            if waiting is not None:
                waiting(end - clock())
            if cancelled.wait(self.interval):
                return None
            try:
                signed_in = self.poll()
            except Unreachable:  # RFC 8628, section 3.5: poll less often, and go on
                self.interval = min(max(self.interval, 1.0) * 2, _LONGEST_INTERVAL)
                continue
            if signed_in is not None:
                return signed_in
        raise _too_late()


def accept_invitation(
    url: str, invitation: str, password: str, *, client: str = CLIENT, trust: Trust | None = None
) -> SignedIn:
    """Accept an invitation with a new password, and sign in.

    Raises
    ------
    NotAuthenticated
        Code ``sign-in-refused``: the invitation is not in force, or the password too weak; the message says which.
    """
    form = {"grant_type": INVITATION_GRANT, "invitation": invitation, "password": password, "client_id": client}
    try:
        answer = post(url, "/oauth/token", form, trust or Trust.from_environment())
        return granted(url.rstrip("/"), client, answer)
    except Refused as refused:
        raise refused.told() from refused


def caller(home: Home, url: str | None = None) -> tuple[str, Bearer | SelfRenewing]:
    """Return the API's URL and who calls it, for `Coordinator`.

    The URL is the argument, then `FLAAS_URL`, then that of the last sign-in, then the default; the caller is
    `FLAAS_TOKEN`, then the last sign-in or the token that is kept for this URL.

    Raises
    ------
    NotAuthenticated
        Code ``no-token``.
    """
    signed_in, token = stored(home), os.environ.get("FLAAS_TOKEN")
    url = url_of(home, url)
    if token:
        return url, Bearer(token)
    if signed_in is not None:
        return url, SelfRenewing(home, url)
    kept = home.credentials(url).token
    if kept is None:
        raise NotAuthenticated(
            f"There is no token for {url}.", code="no-token", hint="Run `flaas login` or set FLAAS_TOKEN."
        )
    return url, Bearer(kept)


def url_of(home: Home, url: str | None = None) -> str:
    """Return the API's URL, see `caller`."""
    signed_in = stored(home)
    if signed_in is None:
        return home.credentials(url).url
    return (url or os.environ.get("FLAAS_URL") or signed_in.url).rstrip("/")


# ---- tokens that renew themselves -----------------------------------------------------------------------------------


class SelfRenewing(httpx.Auth):
    """The caller that is signed in at `url`, for `Coordinator` and for httpx: a new access token whenever one ends.

    Parameters
    ----------
    home : Home
        Where the sign-in is kept.
    url : str
        The API.
    clock : callable
        Unix seconds.

    Raises
    ------
    NotAuthenticated
        Code ``no-token``: nobody is signed in there.
    """

    def __init__(self, home: Home, url: str, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._url = url.rstrip("/")
        self._clock = clock
        self._turn = threading.Lock()
        self._present = self._read()

    def __repr__(self) -> str:
        return f"SelfRenewing({self._url!r})"

    def authorization(self, method: str, url: str) -> str:
        """Return the header's value; renews the token if it is about to end.

        Raises
        ------
        NotAuthenticated
            Code ``signed-out``: the sign-in has ended.
        Unreachable
            The API cannot be reached.
        """
        with self._turn:
            if self._present.expires - MARGIN <= self._clock():
                self._renew()
            return f"Bearer {self._present.access}"

    def renew(self, used: str) -> bool:
        """After a refusal of the header `used`: get another token; False if there is none to be had."""
        with self._turn:
            if used == f"Bearer {self._present.access}":
                try:
                    self._renew(force=True)
                except FlaasError:
                    return False
            return True

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request; once more with a new token if the API does not take this one."""
        request.headers["Authorization"] = used = self.authorization(request.method, str(request.url))
        response = yield request
        if response.status_code == 401 and self.renew(used):
            request.headers["Authorization"] = self.authorization(request.method, str(request.url))
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `sync_auth_flow`, without keeping the event loop waiting."""
        used = await asyncio.to_thread(self.authorization, request.method, str(request.url))
        request.headers["Authorization"] = used
        response = yield request
        if response.status_code == 401 and await asyncio.to_thread(self.renew, used):
            again = await asyncio.to_thread(self.authorization, request.method, str(request.url))
            request.headers["Authorization"] = again
            yield request

    def _renew(self, *, force: bool = False) -> None:
        with locked(self._home):
            before, self._present = self._present, self._read()
            fresh = self._present.expires - MARGIN > self._clock()
            if fresh and not (force and self._present.access == before.access):
                return  # another process has done it
            self._present = refresh(self._home, self._present)

    def _read(self) -> SignedIn:
        found = stored(self._home)
        if found is None or found.url != self._url:
            raise NotAuthenticated(
                f"Nobody is signed in at {self._url}.",
                code="no-token",
                hint="Run `flaas login` or sign in in JupyterLab.",
            )
        return found


def refresh(home: Home, signed_in: SignedIn) -> SignedIn:
    """Use the refresh token, and keep what it gives; hold the lock (`locked`) meanwhile.

    Raises
    ------
    NotAuthenticated
        Code ``signed-out``: it is not in force any more; what was kept is forgotten.
    """
    form = {"grant_type": "refresh_token", "refresh_token": signed_in.refresh, "client_id": signed_in.client}
    try:
        answer = post(signed_in.url, "/oauth/token", form, Trust.of(home, signed_in.url))
        renewed = granted(signed_in.url, signed_in.client, answer)
    except Refused as refused:
        if refused.error != "invalid_grant":
            raise refused.told() from refused
        home.forget_credentials()
        raise NotAuthenticated(
            f"The sign-in at {signed_in.url} has ended: {refused.description}",
            code="signed-out",
            hint="Run `flaas login`, or sign in in JupyterLab.",
        ) from refused
    keep(home, renewed)
    return renewed


def sign_out(home: Home) -> bool:
    """End the sign-in at the API, then forget it here; tell whether anybody was signed in.

    Raises
    ------
    Unreachable
        It is forgotten here, and the API could not be told.
    """
    with locked(home):
        signed_in = stored(home)
        known = home.forget_credentials()
    if signed_in is not None:
        form = {"token": signed_in.refresh, "token_type_hint": "refresh_token", "client_id": signed_in.client}
        try:
            post(signed_in.url, "/oauth/revoke", form, Trust.of(home, signed_in.url))
        except Refused as refused:
            raise refused.told() from refused
    return known


def register_approval_key(home: Home, url: str, auth: httpx.Auth, subject: str) -> bool:
    """Make ``approval.key`` in `home` if it is missing and register its public half.

    Returns
    -------
    bool
        False if the API knows another key of this person, which has to sign for this one.
    """
    identity = Identity.load_or_create(home.path / "approval.key")
    proof = identity.sign(APPROVER, canonical({"subject": subject, "key": identity.node_id})).hex()
    with http(url, Trust.of(home, url)) as client:
        response = reached(
            url, lambda: client.put("/v1/me/key", json={"key": identity.node_id, "proof": proof}, auth=auth)
        )
    if response.is_success:
        return True
    problem = object_of(url, response)
    if problem.get("code") == "key-in-force":
        return False
    raise FlaasError.from_dict(
        {**problem, "message": problem.get("detail", "The approval key was not accepted."), "details": {}}
    )


def _too_late() -> Conflict:
    return Conflict("Nobody has entered the code in time.", code="sign-in-expired", hint="Run `flaas login` again.")
