"""The end points of OAuth 2.0 that people meet in a browser: authorization, devices, invitations.

Each answers with a `Page` or a `Redirect`, and says which cookies to set; the routes know of HTTP, this does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from sqlalchemy.orm import Session

from ...errors import FlaasError
from ...governance.identity import authentication, browser, codes, devices, role_sessions, sign_ins
from ...governance.identity.clients import CODE, Client
from ...governance.identity.codes import Asked
from ...governance.identity.oauth_errors import OAuthError
from ...governance.identity.provider import IdentityProvider
from ...governance.identity.tables import DeviceCode, Person
from ..database import Database
from . import oauth_pages as pages
from .oauth import OAuth

Form = Mapping[str, str]
FORM_COOKIE, SIGN_IN_COOKIE = "flaas-form", "flaas-sign-in"
_KEPT = (
    "client_id",
    "redirect_uri",
    "response_type",
    "code_challenge",
    "code_challenge_method",
    "scope",
    "state",
    "nonce",
)
_STATE_LIMIT = 2000
_WARNING = (
    "Only allow this if you have just started it yourself and the code is the one that you see there. Nobody needs you "
    "to enter a code for them."
)


@dataclass(frozen=True)
class Visitor:
    """A browser: its two cookies, and the address that it calls from."""

    form: str | None = None
    sign_in: str | None = None
    address: str = ""


@dataclass(frozen=True)
class Page:
    """HTML, and the cookies to set (None removes one)."""

    html: str
    status: int = 200
    cookies: Mapping[str, str | None] = field(default_factory=dict)
    form_targets: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Redirect:
    """Back to the client."""

    url: str
    cookies: Mapping[str, str | None] = field(default_factory=dict)


class BrowserFlows:
    """What the pages do, for one API at one origin.

    Parameters
    ----------
    provider, database, issuer
        See `OAuth`.
    oauth : OAuth
        The end points beside these.
    """

    def __init__(self, provider: IdentityProvider, database: Database, issuer: str, oauth: OAuth) -> None:
        self._provider = provider
        self._database = database
        self._issuer = issuer
        self._oauth = oauth

    # ---- authorization code ------------------------------------------------------------------------------------------

    def authorize(self, query: Form, cookie: str | None) -> Page | Redirect:
        """Show the sign-in page for an authorization request; refusals go back to the client."""
        client = self._returnable(query)
        try:
            self._asked(client, query)
        except OAuthError as error:
            return self._back(query, error=error.error, error_description=error.description)
        return self._sign_in_page(query, client, cookie)

    def authorize_step(self, form: Form, visitor: Visitor) -> Page | Redirect:
        """Take the password, then the consent."""
        if form.get("step") == "decide":
            return self._authorize_decision(form, visitor)
        client = self._returnable(form)
        asked = self._asked(client, form)
        with self._database.reading() as session:
            browser.require_marked(self._provider, session, visitor.form, "authorize", form.get("csrf"))
        try:
            person = self._password(form, visitor)
        except OAuthError as error:
            return self._sign_in_page(form, client, visitor.form, error=error)
        parameters = {name: form[name] for name in _KEPT if form.get(name)}
        return self._consent_page("authorize", person, client, asked.scope, parameters)

    def _authorize_decision(self, form: Form, visitor: Visitor) -> Redirect:
        cookie = visitor.sign_in

        def decide(session: Session) -> Redirect:
            browser.require_marked(self._provider, session, cookie, "authorize-consent", form.get("csrf"))
            consent = browser.take(self._provider, session, cookie, "authorize")
            client = self._returnable(consent.parameters)
            asked = self._asked(client, consent.parameters)
            if form.get("decision") != "allow":
                return self._back(
                    consent.parameters, error="access_denied", error_description="The person has refused."
                )
            code = codes.issue(self._provider, session, asked, consent.person, consent.authenticated)
            return self._back(consent.parameters, code=code)

        return self._oauth.change(decide)

    def _returnable(self, query: Form) -> Client:
        """Return the client, once it is sure where the browser may be sent back to; `OAuthError` for a page here."""
        client = self._oauth.client(query, CODE)
        if not client.may_return_to(query.get("redirect_uri", "")):
            raise OAuthError("invalid_request", "The redirect_uri is none of the client's; you are not sent there.")
        return client

    def _asked(self, client: Client, query: Form) -> Asked:
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "The response_type is code.")
        for name in ("request", "request_uri"):
            if name in query:
                raise OAuthError(f"{name}_not_supported", f"The parameter {name} is not supported.")
        if query.get("response_mode", "query") != "query":
            raise OAuthError("invalid_request", "The response_mode is query.")
        if query.get("prompt") == "none":
            raise OAuthError("login_required", "Everybody signs in anew here.")
        if any(len(query.get(name, "")) > _STATE_LIMIT for name in ("state", "nonce")):
            raise OAuthError("invalid_request", f"state and nonce have at most {_STATE_LIMIT} characters.")
        challenge = codes.require_challenge(query.get("code_challenge_method"), query.get("code_challenge"))
        scope = query.get("scope", "")
        role_sessions.parse(scope)
        return Asked(client.id, query["redirect_uri"], challenge, scope, query.get("nonce"), query.get("state"))

    def _back(self, query: Form, **parameters: str) -> Redirect:
        """Return to the client with `parameters`, its state, and who answers (RFC 9207)."""
        state = query.get("state")
        if state is not None and len(state) <= _STATE_LIMIT:
            parameters["state"] = state
        answer = urlencode({**parameters, "iss": self._issuer})
        return Redirect(f"{query['redirect_uri']}?{answer}", {SIGN_IN_COOKIE: None})

    def _sign_in_page(self, query: Form, client: Client, cookie: str | None, error: OAuthError | None = None) -> Page:
        hidden = {name: query[name] for name in _KEPT if query.get(name)}
        return self._form_page(
            "authorize",
            hidden,
            cookie,
            error,
            lambda marked, told: pages.sign_in(
                "/oauth/authorize", marked, client=client.name, error=told, login=query.get("login", "")
            ),
        )

    # ---- devices -----------------------------------------------------------------------------------------------------

    def device(self, query: Form, cookie: str | None, error: OAuthError | None = None) -> Page:
        """Show the page that takes a device's code."""
        return self._form_page(
            "device",
            {},
            cookie,
            error,
            lambda marked, told: pages.sign_in(
                "/oauth/device",
                marked,
                client="",
                error=told,
                login=query.get("login", ""),
                user_code=query.get("user_code", "")[:20],
            ),
        )

    def device_step(self, form: Form, visitor: Visitor) -> Page:
        """Take password and code, then the consent."""
        if form.get("step") == "decide":
            return self._device_decision(form, visitor)
        with self._database.reading() as session:
            browser.require_marked(self._provider, session, visitor.form, "device", form.get("csrf"))
        try:
            person = self._password(form, visitor)
            found = self._oauth.change(
                lambda session: devices.find(self._provider, session, form.get("user_code", ""), person)
            )
            if found is None:
                raise OAuthError("invalid_request", "The code is not known, or has expired.")
        except OAuthError as error:
            return self.device(form, visitor.form, error)
        return self._device_consent(found, person, form.get("user_code", "")[:20])

    def _device_consent(self, found: DeviceCode, person: str, user_code: str) -> Page:
        client = self._provider.clients[found.client]
        parameters = {"device": found.digest, "client": client.name}
        return self._consent_page(
            "device",
            person,
            client,
            found.scope,
            parameters,
            extra=(f"the code at the device is {user_code.upper()}", f"asked for at {_clock(found.created)}"),
            warning=_WARNING,
        )

    def _device_decision(self, form: Form, visitor: Visitor) -> Page:
        agreed, cookie = form.get("decision") == "allow", visitor.sign_in

        def decide(session: Session) -> str:
            browser.require_marked(self._provider, session, cookie, "device-consent", form.get("csrf"))
            consent = browser.take(self._provider, session, cookie, "device")
            devices.answer(
                self._provider,
                session,
                consent.parameters["device"],
                consent.person,
                consent.authenticated,
                agreed=agreed,
            )
            return str(consent.parameters["client"])

        client = self._oauth.change(decide)
        title, text = ("Signed in", "is signed in") if agreed else ("Refused", "was refused")
        return Page(pages.message(title, f"{client} {text}. You can close this page."), cookies={SIGN_IN_COOKIE: None})

    # ---- invitations -------------------------------------------------------------------------------------------------

    def invitation(self, cookie: str | None, error: OAuthError | None = None) -> Page:
        """Show the page that takes an invitation."""
        return self._form_page(
            "invitation",
            {},
            cookie,
            error,
            lambda marked, told: pages.invitation("/oauth/invitation", marked, error=told),
        )

    def invitation_step(self, form: Form, visitor: Visitor) -> Page:
        """Take an invitation and the new password."""
        cookie = visitor.form
        with self._database.reading() as session:
            browser.require_marked(self._provider, session, cookie, "invitation", form.get("csrf"))
        secret, password = form.get("invitation", ""), form.get("password", "")
        try:
            if form.get("again") != password:
                raise OAuthError("invalid_request", "The two passwords are not the same.")
            hashed = self._oauth.hash_for(secret, password, visitor.address)
            user = self._oauth.change(lambda session: self._oauth.accept(session, secret, password, hashed).id)
        except OAuthError as error:
            return self.invitation(cookie, error)
        except FlaasError as error:
            return self.invitation(cookie, OAuthError("invalid_request", str(error)))
        text = f"Your user name is {user}. Sign in with `flaas login` or in JupyterLab. You can close this page."
        return Page(pages.message("Welcome", text))

    # ---- shared ------------------------------------------------------------------------------------------------------

    def _password(self, form: Form, visitor: Visitor) -> str:
        login, password = form.get("login", ""), form.get("password", "")
        return authentication.authenticate(self._provider, self._database, login, password, visitor.address)

    def _form_page(self, form: str, hidden: Form, cookie: str | None, error: OAuthError | None, render: Any) -> Page:
        """Return a page whose form carries the mark of the browser's cookie."""
        cookie = cookie or browser.new_cookie()
        with self._database.reading() as session:
            marked = {**hidden, "csrf": browser.mark(self._provider, session, cookie, form)}
        html = render(marked, error.description if error is not None else "")
        status, headers = (error.status, error.headers) if error is not None else (200, {})
        return Page(html, status, {FORM_COOKIE: cookie}, headers=headers)

    def _consent_page(
        self,
        purpose: str,
        person: str,
        client: Client,
        scope: str,
        parameters: dict[str, str],
        *,
        extra: tuple[str, ...] = (),
        warning: str = "",
    ) -> Page:
        with self._database.writing() as session:
            cookie = browser.remember(self._provider, session, person, purpose, parameters)
            csrf = browser.mark(self._provider, session, cookie, f"{purpose}-consent")
            sign_ins.require_active(session.get_one(Person, person))
        html = pages.consent(
            f"/oauth/{purpose}",
            {"csrf": csrf},
            client=client.name,
            person=person,
            asks=[*_asks(scope), *extra],
            warning=warning,
        )
        target = parameters.get("redirect_uri")
        return Page(html, cookies={SIGN_IN_COOKIE: cookie}, form_targets=(_origin(target),) if target else ())


def _asks(scope: str) -> list[str]:
    identity, roles = role_sessions.parse(scope)
    told = [
        f"with the role {role}" if isinstance(role, str) else f"with the role {role[0]} in {role[1]}" for role in roles
    ]
    told = told or ["with as many of your roles as may be active together"]
    names = {"openid": "know your user name", "profile": "know your name", "email": "know your e-mail address"}
    return [*told, *(names[each] for each in identity)]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    # The grammar of CSP has no IPv6 addresses; then the whole scheme is named.
    return f"{parts.scheme}:" if ":" in (parts.hostname or "") else f"{parts.scheme}://{parts.netloc}"


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M} UTC"
