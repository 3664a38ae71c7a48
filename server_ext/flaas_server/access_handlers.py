"""The endpoints of signing in by code, and of deciding about critical actions.

See `handlers` for why each verb stands by itself.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any
from urllib.parse import quote

from tornado import web

from .approvals import ApprovalKey, check_text, decision_in
from .coordination_api import json_object
from .device import DeviceSignIn
from .handlers import SESSION, FlaasHandler, authorized, refusal, who_is
from .problems import Problem
from .session import check_url

APPROVALS = "flaas:approvals"
"""Resource that an Authorizer is asked about: who may use this server's key to decide."""


class DeviceHandler(FlaasHandler):
    """``flaas/session/device``: sign in by a code that is entered on the API's own page (RFC 8628)."""

    _track_activity = True

    @property
    def device(self) -> DeviceSignIn:
        """The sign-in that goes on, if any."""
        device: DeviceSignIn = self.settings["flaas_device"]
        return device

    @web.authenticated
    @authorized("read", SESSION)
    async def get(self) -> None:
        """Tell how it stands; a page that was loaded again finds it here."""
        self._say(self.device.state)

    @web.authenticated
    @authorized("write", SESSION)
    async def post(self) -> None:
        """Begin, with ``{"url"?}``; the answer has the code and where to enter it."""
        try:
            body = json.loads(self.request.body or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Problem(422, "bad-form", "Not a sign-in", "Give a JSON object with a url.", kind="InvalidInput")
        url = check_url(
            str(body.get("url") or self.session.credentials.url),
            allow_plain_http=bool(self.settings["flaas_allow_plain_http"]),
        )
        state = await self.device.start(url)
        self.set_status(201)
        self._say(state)

    @web.authenticated
    @authorized("write", SESSION)
    async def delete(self) -> None:
        """Give up."""
        await self.device.cancel()
        self.set_status(204)
        self.finish()

    def _say(self, state: dict[str, Any]) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish(state)


class ApprovalKeyHandler(FlaasHandler):
    """``flaas/approvals/key``: the key that this server's user decides with; only its public half is told."""

    _track_activity = True

    @property
    def key(self) -> ApprovalKey:
        """The key."""
        key: ApprovalKey = self.settings["flaas_approval_key"]
        return key

    @web.authenticated
    @authorized("read", APPROVALS)
    async def get(self) -> None:
        """Answer ``{"key": public half or null}``."""
        self.finish({"key": self.key.public})

    @web.authenticated
    @authorized("write", APPROVALS)
    async def post(self) -> None:
        """Make the key unless there is one, and tell the API its public half."""
        credentials = await self.signed_in()
        me = await who_is(self.api, credentials)
        public = self.key.create()
        body = json.dumps({"key": public, "proof": self.key.proof(str(me["subject"]))}).encode()
        headers = {"Content-Type": "application/json"}
        response = await self.api.request(credentials, "PUT", "/v1/me/key", headers=headers, body=body)
        if response.status_code >= 400:
            raise refusal(response)
        self.log.info("Registered the approval key %s.", public[:16])
        self.set_status(201)
        self.finish({"key": public})


class DecisionHandler(FlaasHandler):
    """``POST flaas/approvals/{id}/decision``: approve or deny, ``{"decision", "sha256"}``."""

    _track_activity = True

    @web.authenticated
    @authorized("write", APPROVALS)
    async def post(self, request: str) -> None:
        """Fetch the request, compare it with what was read, sign, and hand the decision in."""
        decision, seen = decision_in(self.request.body)
        credentials = await self.signed_in()
        path = f"/v1/approvals/{quote(request, safe='')}"
        response = await self.api.request(credentials, "GET", path)
        if response.status_code != 200:
            raise refusal(response)
        approval = json_object(response)
        if approval.get("id") != request:
            raise Problem(
                502,
                "request-inconsistent",
                "Another request was answered",
                "The API answered with another request than the one asked for. Nothing was signed.",
                kind="Unreachable",
            )
        digest = check_text(approval, seen)
        moment = int(time.time())
        key: ApprovalKey = self.settings["flaas_approval_key"]
        signature = key.sign(request, digest, decision, moment)
        response = await self.api.request(
            credentials,
            "POST",
            f"{path}/decisions",
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": self.request.headers.get("Idempotency-Key") or secrets.token_urlsafe(16),
            },
            body=json.dumps({"decision": decision, "time": moment, "signature": signature}).encode(),
        )
        if response.status_code >= 400:
            raise refusal(response)
        self.log.info("Decided about the request %s: %s.", request, decision)
        self.set_status(response.status_code)
        self.finish(response.content, set_content_type=response.headers["Content-Type"])
