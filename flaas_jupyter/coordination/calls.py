"""One call: who makes it, and what every route does with it. Routes state the operation; its table decides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Security
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy.orm import Session

from ..communications.identity import origin
from ..errors import InvalidInput, NotAllowed, NotAuthenticated
from ..governance import approvals, audit
from ..governance.approvals.tables import Request as Asked
from ..governance.identity import Caller, Presented, recognise
from ..governance.isolation import across
from ..governance.permissions import PERMISSIONS, roles_for
from . import hal, idempotency
from .access import View, tenant_of
from .approval_schemas import Approval
from .hosted import Hosted
from .paging import MOST, Page

# These only describe to OpenAPI how one signs in; `_caller` looks at the header itself.
_BEARER = HTTPBearer(auto_error=False, description="A token of a person or service.")
_NODE = APIKeyHeader(
    name="Authorization",
    scheme_name="FlaasNode",
    auto_error=False,
    description="`FlaasNode <JWT>`: made for this one request and signed with the node's Ed25519 key.",
)

ASKED: dict[int | str, dict[str, Any]] = {
    202: {"model": Approval, "description": "Waits for approval: the request for it"}
}
"""Further answers of a route whose action may be critical."""

Limit = Annotated[int, Query(ge=1, le=MOST)]
Cursor = Annotated[str | None, Query(max_length=1000)]


@dataclass(frozen=True)
class Call:
    """A request by somebody who may make it."""

    hosted: Hosted
    request: Request
    view: View

    def reading(self) -> contextlib.AbstractContextManager[Session]:
        """Open a session on one snapshot."""
        return self.hosted.database.reading(tenant_of(self.view))

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session alone with the data base; the audit log tells of it in the same transaction."""
        with self.hosted.database.writing(tenant_of(self.view)) as session:
            yield session
            if not session.info.get("replayed"):
                with across(session, "the audit log is the platform's"):
                    self._note(session)

    @contextlib.contextmanager
    def reporting(self) -> Iterator[Session]:
        """As `writing`, for what is said every few seconds and decides nothing: it would drown the audit log."""
        with self.hosted.database.writing(tenant_of(self.view)) as session:
            yield session

    def _note(self, session: Session) -> None:
        caller, asked = self.view.caller, session.info.get("approval")
        audit.append(
            session,
            actor=caller.subject,
            actor_kind=caller.kind,
            operation=self.view.operation,
            object=audit.opaque(self.request.url.path.removeprefix("/v1/")),
            organisation=caller.organisation,
            project=session.info.get("project"),
            outcome="done" if asked is None else "asked",
            details={
                "method": self.request.method,
                "body_sha256": self.request.scope["flaas.body_sha256"],
                **({} if asked is None else {"approval": asked}),
            },
        )

    def ask(
        self, session: Session, action: str, scope: str, body: dict[str, Any], within: Sequence[str] = ()
    ) -> Asked | None:
        """Ask for the approvals that `action` needs; None if it needs none and may be done at once.

        Approvers whose role is held in one of the scopes `within` count too.
        """
        caller, now = self.view.caller, self.view.now
        with across(session, "requests for approval are the platform's"):
            asked = approvals.submit(session, action, scope=scope, requester=caller, body=body, now=now, within=within)
        if asked is not None:
            session.info["approval"] = asked.id
        return asked

    def critical(
        self, session: Session, action: str, scope: str, body: dict[str, Any], within: Sequence[str] = ()
    ) -> Response | None:
        """As `ask`; what is answered (202) while approvals are waited for."""
        from .services.approvals import accepted  # services know calls

        asked = self.ask(session, action, scope, body, within)
        if asked is None:
            return None
        with across(session, "requests for approval are the platform's"):
            return accepted(self, asked)

    def read(self, show: Callable[[Session], hal.Resource]) -> Response:
        """Answer with one resource, or 304."""
        with self.reading() as session:
            return hal.answer(show(session), self.request)

    def once(self, act: Callable[[Session], Response]) -> Response:
        """Do `act` and answer; a repetition with the same idempotency key gets the first answer."""
        key = idempotency.key_of(self.request)
        with self.writing() as session:
            if key is None:
                return act(session)
            with across(session, "answers are kept sealed with the installation's key"):
                kept = idempotency.find(session, self.hosted.vault, self.view.caller, key, self.request)
            if kept is not None:
                session.info["replayed"] = True
                return kept
            answer = act(session)
            session.flush()
            with across(session, "answers are kept sealed with the installation's key"):
                idempotency.keep(session, self.hosted.vault, self.view.caller, key, self.request, answer)
            return answer

    def page(self, limit: int, cursor: str | None, **query: str | None) -> Page:
        """Return which part of a list is asked for."""
        given = {name: value for name, value in query.items() if value is not None}
        return Page(self.request.url.path, limit, cursor, given)


def hosted_of(request: Request) -> Hosted:
    """Return the process that answers `request`."""
    hosted: Hosted = request.app.state.hosted
    return hosted


def requires(operation: str) -> Any:
    """Return the dependency on a caller that may do `operation` (a key of the permissions table)."""
    assert operation in PERMISSIONS, operation

    def call(
        request: Request,
        _bearer: Annotated[object, Security(_BEARER)],
        _node: Annotated[object, Security(_NODE)],
    ) -> Call:
        hosted = hosted_of(request)
        caller = _caller(request, hosted)
        request.state.asked = (caller, operation)
        if not caller.may(operation):
            held = ", ".join(sorted({role for role, _ in caller.roles})) or caller.kind
            raise NotAllowed(
                f"This takes the role {' or '.join(roles_for(operation))}; {caller.subject} has {held}.",
                hint="Ask your organisation's administrator for a role, or sign in with one that you have.",
                operation=operation,
                roles=roles_for(operation),
            )
        hosted.usage.note(caller.roles, operation)
        hosted.scheduler.heard()
        return Call(hosted, request, View.of(caller, hosted.settings, operation))

    call.operation = operation  # type: ignore[attr-defined]  # for the description of the API
    return Depends(call)


def maybe_signed_in(request: Request) -> View | None:
    """Return the caller's view where signing in is optional; wrong credentials are refused all the same."""
    if "Authorization" not in request.headers:
        return None
    hosted = hosted_of(request)
    return View.of(_caller(request, hosted), hosted.settings, "me:read")


def _caller(request: Request, hosted: Hosted) -> Caller:
    header = request.headers.get("Authorization", "")
    scheme, _, credentials = header.partition(" ")
    if not scheme or not credentials.strip():
        raise NotAuthenticated(
            "Nobody is signed in: there is no token in the Authorization header.",
            hint="Send `Authorization: Bearer <token>`; notebooks and commands take it from FLAAS_TOKEN.",
        )
    path = request.scope.get("raw_path") or request.url.path.encode()
    presented = Presented(
        scheme=scheme,
        credentials=credentials.strip(),
        method=request.method,
        path=path.partition(b"?")[0].decode("latin-1"),
        audience=audience(request, hosted),
    )
    return recognise(hosted.authenticators, presented)


def audience(request: Request, hosted: Hosted) -> str:
    """Return the origin that callers know the API by; empty, so that nobody has signed for it, if it is none."""
    host = request.headers.get("Host", "")
    try:
        return origin(hosted.settings.public_url or f"{request.url.scheme}://{host}")
    except InvalidInput:
        return ""


def created(body: hal.Resource, location: str, *, new: bool = True) -> Response:
    """Answer a POST: 201 with the place of what was created, or 200 if it was there."""
    return hal.answer(body, status=201 if new else 200, headers={"Location": location})
