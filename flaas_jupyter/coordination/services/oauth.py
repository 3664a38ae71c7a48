"""The end points of OAuth 2.0 that programs call; each takes its form and returns the body of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import FlaasError, NotAuthenticated
from ...governance.identity import (
    access_tokens,
    authentication,
    client_assertions,
    codes,
    devices,
    invitations,
    persons,
    sign_ins,
)
from ...governance.identity.bearer import caller_of
from ...governance.identity.callers import Caller
from ...governance.identity.clients import (
    CLIENT_CREDENTIALS,
    CODE,
    DEVICE,
    INVITATION,
    REFRESH,
    Client,
)
from ...governance.identity.oauth_errors import OAuthError
from ...governance.identity.provider import IdentityProvider
from ...governance.identity.sealing import digest
from ...governance.identity.tables import Person, RefreshToken, SignIn
from ..database import Database
from ..tables import Node, SeenRequest

T = TypeVar("T")
Form = Mapping[str, str]
Json = dict[str, Any]

_NODE_SECONDS = 300


class OAuth:
    """What the end points do, for one API at one origin.

    Parameters
    ----------
    provider : IdentityProvider
        Keys, settings, hashing.
    database : Database
        Where everything is kept.
    issuer : str
        Origin of the API as the caller has addressed it.
    """

    def __init__(self, provider: IdentityProvider, database: Database, issuer: str) -> None:
        self._provider = provider
        self._database = database
        self._issuer = issuer

    # ---- tokens -----------------------------------------------------------------------------------------------------

    def token(self, form: Form, address: str) -> Json:
        """Answer the token end point (RFC 6749, section 3.2)."""
        grant = required(form, "grant_type")
        if grant == CLIENT_CREDENTIALS:
            return self._node_token(form)
        client = self.client(form, grant)
        ways: Mapping[str, Callable[[Form, Client, str], sign_ins.Granted]] = {
            CODE: self._by_code,
            REFRESH: self._by_refresh_token,
            DEVICE: self._by_device,
            INVITATION: self._by_invitation,
        }
        if grant not in ways:
            known = ", ".join([*ways, CLIENT_CREDENTIALS])
            raise OAuthError("unsupported_grant_type", f"There is no grant type {grant[:60]}; there are {known}.")
        return dict(ways[grant](form, client, address).to_dict())

    def client(self, form: Form, grant: str | None = None) -> Client:
        """Return the public client that a form names, if it may use `grant`.

        Raises
        ------
        OAuthError
            ``invalid_client`` or ``unauthorized_client``.
        """
        client = self._provider.clients.get(required(form, "client_id"))
        if client is None:
            known = ", ".join(self._provider.clients)
            raise OAuthError("invalid_client", f"There is no client {form['client_id'][:60]}; there are {known}.")
        if grant in (CODE, REFRESH, DEVICE, INVITATION) and grant not in client.grants:
            raise OAuthError("unauthorized_client", f"Client {client.id} does not use {grant}.")
        return client

    def _by_code(self, form: Form, client: Client, _: str) -> sign_ins.Granted:
        code = required(form, "code")
        return self.change(
            lambda session: codes.redeem(
                self._provider,
                session,
                issuer=self._issuer,
                code=code,
                client=client.id,
                redirect_uri=form.get("redirect_uri"),
                verifier=form.get("code_verifier"),
            )
        )

    def _by_refresh_token(self, form: Form, client: Client, _: str) -> sign_ins.Granted:
        token = required(form, "refresh_token")
        return self.change(
            lambda session: sign_ins.refresh(
                self._provider,
                session,
                issuer=self._issuer,
                token=token,
                client=client.id,
                scope=form.get("scope"),
            )
        )

    def _by_device(self, form: Form, client: Client, _: str) -> sign_ins.Granted:
        code = required(form, "device_code")
        return self.change(
            lambda session: devices.poll(
                self._provider, session, issuer=self._issuer, device_code=code, client=client.id
            )
        )

    def _by_invitation(self, form: Form, client: Client, address: str) -> sign_ins.Granted:
        secret, password = required(form, "invitation"), required(form, "password")
        scope = form.get("scope", "")
        try:
            hashed = self.hash_for(secret, password, address)

            def accept(session: Session) -> sign_ins.Granted:
                person = self.accept(session, secret, password, hashed)
                return sign_ins.begin(
                    self._provider,
                    session,
                    issuer=self._issuer,
                    person=person,
                    client=client.id,
                    scope=scope,
                    authenticated=self._provider.now(),
                )

            return self.change(accept)
        except FlaasError as error:
            raise OAuthError("invalid_grant", str(error)) from error

    def hash_for(self, secret: str, password: str, address: str) -> str:
        """Return the hash of the password that somebody chooses with an invitation; both are checked before."""
        self.change(lambda session: authentication.require_address_heard(self._provider, session, address))
        with self._database.reading() as session:
            invitations.check(session, secret, password, self._provider.now(), self._provider.vault)
        return self._provider.passwords.hash(password)

    def accept(self, session: Session, secret: str, password: str, hashed: str) -> Person:
        """Use an invitation; what the account had before ends."""
        provider = self._provider
        person = invitations.accept(session, secret, password, hashed=hashed, now=provider.now(), vault=provider.vault)
        sign_ins.end_all(provider, session, person.id, "invited-anew")
        provider.audit(
            session,
            actor=person.id,
            operation="invitation:accept",
            object=f"user/{person.id}",
            organisation=person.organisation,
            outcome="done",
            details={},
        )
        return person

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def _node_token(self, form: Form) -> Json:
        node = self.node(form)
        if form.get("scope"):
            raise OAuthError("invalid_scope", "A node has no roles to choose from: leave the scope out.")
        access = self.change(
            lambda session: access_tokens.issue(
                session,
                self._provider.signer,
                issuer=self._issuer,
                subject=node,
                client=node,
                scope="",
                now=self._provider.now(),
                lifetime=_NODE_SECONDS,
            )
        )
        return {"access_token": access, "token_type": "Bearer", "expires_in": _NODE_SECONDS, "scope": ""}

    def node(self, form: Form) -> str:
        """Return the node that authenticates itself with a client assertion (RFC 7523).

        Raises
        ------
        OAuthError
            ``invalid_client``.
        """
        if form.get("client_assertion_type") != client_assertions.TYPE:
            raise client_assertions.refused(f"client_assertion_type is {client_assertions.TYPE}")
        audiences = (f"{self._issuer}/oauth/token", self._issuer)
        assertion = required(form, "client_assertion")
        node, jti, expires = client_assertions.verify(assertion, audiences, self._provider.clock)
        if form.get("client_id", node) != node:
            raise client_assertions.refused("client_id is another node")
        if self._organisation_of(node) is None:
            raise client_assertions.refused("no node with this key is registered")
        self.change(lambda session: _require_first(session, node, jti, expires))
        return node

    # ---- devices ----------------------------------------------------------------------------------------------------

    def device_authorization(self, form: Form, address: str) -> Json:
        """Answer the device authorization end point (RFC 8628, section 3.1)."""
        client = self.client(form, DEVICE)

        def start(session: Session) -> devices.Started:
            authentication.require_address_heard(self._provider, session, address)
            return devices.start(self._provider, session, client.id, form.get("scope", ""))

        started = self.change(start)
        where = f"{self._issuer}/oauth/device"
        return {
            "device_code": started.device_code,
            "user_code": started.user_code,
            "verification_uri": where,
            "verification_uri_complete": f"{where}?user_code={started.user_code}",
            "expires_in": started.expires_in,
            "interval": started.interval,
        }

    # ---- the end of tokens, and what they say ------------------------------------------------------------------------

    def revoke(self, form: Form) -> None:
        """Answer the revocation end point (RFC 7009): the sign-in ends that a token belongs to, if there is one."""
        token, client = required(form, "token"), self.client(form)

        def end(session: Session) -> None:
            sign_in = self._sign_in_of(session, token)
            if sign_in is not None and sign_in.client == client.id:
                sign_ins.end(self._provider, session, sign_in, "revoked")

        self.change(end)

    def introspect(self, form: Form, bearer: str | None) -> Json:
        """Answer the introspection end point (RFC 7662) to a node, or to somebody about their own tokens.

        Who may manage everybody's tokens may look at all. Whatever one may not see is said to be inactive.
        """
        token = required(form, "token")
        everything, own = self._may_introspect(form, bearer)
        with self._database.reading() as session:
            found = self._describe(session, token)
        if found is None or not (everything or found["sub"] == own):
            return {"active": False}
        return found

    def userinfo(self, bearer: str | None) -> Json:
        """Answer the userinfo end point (OpenID Connect Core, section 5.3)."""
        token, caller = self.signed_in(bearer)
        asked = token.scope.split()
        if caller.kind != "user" or "openid" not in asked:
            raise OAuthError(
                "insufficient_scope",
                "The token was not asked for with the scope openid.",
                headers=challenge("insufficient_scope"),
            )
        body: Json = {"sub": caller.subject}
        with self._database.reading() as session:
            name, email = persons.told(session, persons.find(session, caller.subject), self._provider.vault)
        if "profile" in asked and name is not None:
            body["name"] = name
        if "email" in asked and email is not None:
            body["email"] = email
        return body

    def signed_in(self, bearer: str | None) -> tuple[access_tokens.AccessToken, Caller]:
        """Return what a bearer's access token says, and whom it stands for.

        Raises
        ------
        OAuthError
            ``invalid_token``, with the challenge of RFC 6750.
        """
        if not bearer:
            raise OAuthError("invalid_token", "Send Authorization: Bearer <access token>.", headers=challenge(None))
        try:
            token = access_tokens.verify(bearer, self._provider.keys, self._issuer, self._provider.clock)
            if token.kind == "node":
                raise NotAuthenticated("The token is a node's.")
            with self._database.reading() as session:
                return token, caller_of(session, token)
        except NotAuthenticated as error:
            raise OAuthError("invalid_token", error.message, headers=challenge("invalid_token")) from error

    def change(self, act: Callable[[Session], T]) -> T:
        """Do `act` in a writing session; a refusal that is to be kept (`OAuthError.keep`) is committed and raised."""
        with self._database.writing() as session:
            try:
                return act(session)
            except OAuthError as error:
                if not error.keep:
                    raise
                refusal = error
        raise refusal

    def _organisation_of(self, node_id: str) -> str | None:
        with self._database.reading() as session:
            node = session.get(Node, node_id)
            return node.organisation if node is not None and node.removed is None else None

    def _may_introspect(self, form: Form, bearer: str | None) -> tuple[bool, str]:
        if "client_assertion" in form:
            return True, self.node(form)
        _, caller = self.signed_in(bearer)
        return caller.may("token:manage"), caller.subject

    def _describe(self, session: Session, token: str) -> Json | None:
        sign_in = self._sign_in_of(session, token)
        if access_tokens.looks_like_one(token):
            try:
                claims = access_tokens.verify(token, self._provider.keys, self._issuer, self._provider.clock)
                if claims.kind == "user":
                    caller_of(session, claims)
                elif self._organisation_of(claims.subject) is None:
                    return None
            except NotAuthenticated:
                return None
            return {
                "active": True,
                "sub": claims.subject,
                "client_id": claims.client,
                "scope": claims.scope,
                "token_type": "Bearer",
                "iss": self._issuer,
                "aud": self._issuer,
                "iat": claims.issued,
                "exp": claims.expires,
                "jti": claims.id,
                **({"sid": claims.session} if claims.session else {"kind": "node"}),
            }
        row = session.get(RefreshToken, digest(token))
        now = self._provider.now()
        if row is None or sign_in is None or row.used is not None or sign_in.ended is not None or row.expires <= now:
            return None
        return {
            "active": True,
            "sub": sign_in.person,
            "client_id": sign_in.client,
            "scope": sign_in.scope,
            "token_type": "refresh_token",
            "iss": self._issuer,
            "iat": int(row.created.timestamp()),
            "exp": int(row.expires.timestamp()),
        }

    def _sign_in_of(self, session: Session, token: str) -> SignIn | None:
        """Return the sign-in that a refresh or access token belongs to."""
        row = session.get(RefreshToken, digest(token))
        if row is not None:
            return session.get(SignIn, row.sign_in)
        if not access_tokens.looks_like_one(token):
            return None
        try:
            claims = access_tokens.verify(token, self._provider.keys, self._issuer, self._provider.clock)
        except NotAuthenticated:
            return None
        return session.scalars(select(SignIn).where(SignIn.session == claims.session)).first()


def required(form: Form, name: str) -> str:
    """Return a parameter that must be there; `OAuthError` (``invalid_request``) if it is not."""
    value = form.get(name)
    if not value:
        raise OAuthError("invalid_request", f"The parameter {name} is missing.")
    return value


def challenge(error: str | None) -> dict[str, str]:
    """Return the header that asks for an access token (RFC 6750, section 3)."""
    return {"WWW-Authenticate": 'Bearer realm="flaas"' + (f', error="{error}"' if error else "")}


def _require_first(session: Session, node: str, jti: str, expires: datetime) -> None:
    # Requests that a node signs for the API itself are in the same table, under ids of their own.
    name = f"a:{jti}"
    if session.get(SeenRequest, (node, name)) is not None:
        raise client_assertions.refused("it was used before")
    session.add(SeenRequest(node=node, jti=name, expires=expires))
    session.flush()
