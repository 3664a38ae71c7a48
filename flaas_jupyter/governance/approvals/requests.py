"""Asking for a critical action, seeing what was asked for, and taking it back."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from ...errors import Conflict, FlaasError, NotAllowed, NotFound
from .. import scopes
from ..identity import Caller
from . import documents, founding, hooks, policy, windows
from .actions import ACTIONS, EXECUTORS, POLICY_CHANGE, Action, require_known
from .factors import Seats, resolve
from .tables import EXPIRED, PENDING, WITHDRAWN, Request, RequestScope

READ = "approval:read"
MOST_PENDING = 200
"""Requests of one person that may wait at a time."""
_ANYWHERE = "*"


def submit(
    session: Session,
    action: str,
    *,
    scope: str,
    requester: Caller,
    body: dict[str, Any],
    now: datetime,
    within: Sequence[str] = (),
) -> Request | None:
    """Ask for a critical action.

    Parameters
    ----------
    session : Session
        A writing one.
    action : str
        A key of `ACTIONS`.
    scope : str
        Where it takes place.
    requester : Caller
        Who asks.
    body : dict
        JSON values that say exactly what is to be done; the executor gets these, and nothing else.
    now : datetime
        The present.
    within : sequence of str
        Further scopes that `scope` lies in (organisations of a project): roles there count for factors of the
        action's scope.

    Returns
    -------
    Request or None
        The request that waits for approval, the same if the same person asks for the same again. None if nobody has
        to approve (by policy, in the founding phase, in an emergency window): the caller then acts at once.

    Raises
    ------
    InvalidInput
        ``unknown-action``, ``bad-scope``, ``bad-document``, ``approval-too-long``.
    NotAllowed
        The requester is not permitted the action's operation there.
    Conflict
        Code ``too-many-approvals``: too many requests of this person wait.
    """
    critical = require_known(action)
    places = tuple(dict.fromkeys((scopes.parse(scope), *(scopes.parse(other) for other in within))))
    _require_permitted(requester, critical, places)
    if founding.is_open(session):
        return None
    document, sha256 = documents.write(action, scope, requester.subject, body)
    seats = _seats(session, action, places, requester, body)
    if not seats or windows.passes(session, action, scope, requester.subject, document, sha256, now):
        return None
    if action not in EXECUTORS:
        raise FlaasError(f"Nothing carries out {action}: no executor is registered.", code="no-executor")
    known = session.scalar(select(Request).where(Request.sha256 == sha256, Request.state == PENDING))
    if known is not None:
        if is_live(known, now):
            return known
        expire(session, known, now)
    _require_few(session, requester, now)
    rule = policy.current(session).rules[action]
    request = Request(
        id=_new_id(now),
        action=action,
        scope=scope,
        requester=requester.subject,
        organisation=requester.organisation,
        document=document,
        sha256=sha256,
        factors=[seat.to_dict() for seat in seats],
        within=list(places[1:]),
        cooling=rule.cooling,
        state=PENDING,
        created=now,
        expires=now + timedelta(seconds=rule.ttl),
    )
    session.add(request)
    session.flush()
    shown = {*places, *(where for seat in seats for where in seat.scopes or (_ANYWHERE,))}
    session.add_all(RequestScope(request=request.id, scope=place) for place in sorted(shown))
    session.flush()
    hooks.changed(session, request, requester.subject)
    return request


def seats_of(request: Request) -> tuple[Seats, ...]:
    """Return the factors of a request, as they were when it was made."""
    return tuple(Seats.from_dict(kept) for kept in request.factors)


def may_ask(requester: Caller, action: Action, places: Sequence[str]) -> bool:
    """Tell whether `requester` is permitted what `action` takes in `places`.

    For a project or node a role in the requester's own organisation does too: whether that organisation has to do with
    it is what the route that asks has looked at.
    """
    shared = any(scopes.kind_of(place) in ("project", "node") for place in places)
    own = (scopes.organisation(requester.organisation),) if shared else ()
    return requester.may(action.operation, *places, *own)


def places_of(request: Request) -> tuple[str, ...]:
    """Return the scopes that the action takes place in."""
    return (request.scope, *request.within)


def is_live(request: Request, now: datetime) -> bool:
    """Tell whether something can still become of the request."""
    return request.state == PENDING and (now < request.expires or request.due is not None)


def state_of(request: Request, now: datetime) -> str:
    """Return the state of the request; it has expired also before anybody has written that down."""
    return EXPIRED if request.state == PENDING and not is_live(request, now) else request.state


def in_state(state: str, now: datetime) -> ColumnElement[bool]:
    """Return the condition that the state of a request is `state`."""
    over = and_(Request.state == PENDING, Request.expires <= now, Request.due.is_(None))
    if state == EXPIRED:
        return or_(Request.state == EXPIRED, over)
    return and_(Request.state == PENDING, ~over) if state == PENDING else Request.state == state


def visible(caller: Caller) -> Select[Request]:
    """Return the query of what `caller` sees: its own requests, and those in scopes where it may read requests."""
    query = select(Request)
    if caller.may(READ, scopes.PLATFORM):
        return query
    granted = set(caller.grants.get(READ, ()))
    if granted:
        granted.add(_ANYWHERE)
    seen = select(RequestScope.request).where(RequestScope.scope.in_(sorted(granted)))
    return query.where(or_(Request.requester == caller.subject, Request.id.in_(seen)))


def find(session: Session, request_id: str, caller: Caller | None = None, *, alone: bool = False) -> Request:
    """Return a request.

    Parameters
    ----------
    session : Session
        `request_id` is looked up here.
    request_id : str
        Which.
    caller : Caller, optional
        It must be `visible` to; without, to nobody in particular.
    alone : bool
        Keep others from changing it until the end of the transaction.

    Raises
    ------
    NotFound
        Code ``unknown-approval``.
    """
    query = (select(Request) if caller is None else visible(caller)).where(Request.id == request_id)
    if alone:
        query = query.with_for_update().execution_options(populate_existing=True)
    found = session.scalar(query) if request_id.isprintable() else None
    if found is None:
        raise NotFound(
            f"There is no request {request_id[:80]!r} for you.",
            code="unknown-approval",
            hint="List them with `flaas approvals list`; those outside the scopes of your roles are not shown.",
        )
    return found


def withdraw(session: Session, request_id: str, caller: Caller, now: datetime) -> Request:
    """Take a request back.

    Raises
    ------
    NotFound
        Code ``unknown-approval``.
    NotAllowed
        It is somebody else's.
    Conflict
        Code ``approval-closed``.
    """
    request = find(session, request_id, caller, alone=True)
    if request.requester != caller.subject:
        raise NotAllowed(
            f"Request {request.id} is {request.requester}'s, not {caller.subject}'s.",
            hint="Deny it, if you may decide on it.",
        )
    require_live(request, now)
    request.state, request.closed = WITHDRAWN, now
    session.flush()
    hooks.changed(session, request, caller.subject)
    return request


def require_live(request: Request, now: datetime) -> None:
    """Check that something can still become of the request.

    Raises
    ------
    Conflict
        Codes ``approval-expired`` and ``approval-closed``.
    """
    state = state_of(request, now)
    if state == EXPIRED:
        raise Conflict(
            f"Request {request.id} has expired at {request.expires.isoformat(timespec='seconds')}.",
            code="approval-expired",
            hint="The requester asks anew.",
        )
    if state != PENDING:
        raise Conflict(
            f"Request {request.id} is {state}; only pending ones can be changed.",
            code="approval-closed",
            hint="The requester asks anew, if it is still wanted.",
            state=state,
        )


def expire(session: Session, request: Request, now: datetime) -> None:
    """Write down that a request has expired."""
    request.state, request.closed, request.due = EXPIRED, now, None
    session.flush()
    hooks.changed(session, request, None)


def _seats(
    session: Session, action: str, places: tuple[str, ...], requester: Caller, body: dict[str, Any]
) -> tuple[Seats, ...]:
    rules = policy.current(session).rules
    if action == POLICY_CHANGE:
        return policy.seats_of_change(rules, policy.complete(policy.parse(body["policy"])))
    return tuple(resolve(factor, places, requester.organisation) for factor in rules[action].factors)


def _require_permitted(requester: Caller, action: Action, places: tuple[str, ...]) -> None:
    if requester.kind == "user" and may_ask(requester, action, places):
        return
    name = next(name for name, known in ACTIONS.items() if known is action)
    raise NotAllowed(
        f"{requester.subject} is not permitted {action.operation} in {' or '.join(places)}, so cannot ask for {name}.",
        hint="Somebody who has the role for it asks.",
        operation=action.operation,
    )


def _require_few(session: Session, requester: Caller, now: datetime) -> None:
    query = select(func.count()).select_from(Request).where(Request.requester == requester.subject)
    waiting = session.scalar(query.where(in_state(PENDING, now))) or 0
    if waiting >= MOST_PENDING:
        raise Conflict(
            f"{waiting} requests of {requester.subject} wait already; at most {MOST_PENDING} may.",
            code="too-many-approvals",
            hint="Withdraw those that are not wanted any more.",
        )


def _new_id(now: datetime) -> str:
    """Return an id that sorts by time."""
    return f"{int(now.timestamp() * 1_000_000):014x}{secrets.token_hex(8)}"
