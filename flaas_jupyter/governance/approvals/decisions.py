"""Deciding on a request, and carrying it out: once, by the server, with the body that was stored and signed.

Nothing about an approval is taken for granted later: at each look it counts only if the person is still active, still
has the role and the key that it was signed with, and the signature is right. So the last approval and the execution
see the same: what is counted is what holds at that moment, in one transaction that is alone with the data base.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, and_, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ...communications.identity import canonical
from ...errors import Conflict, FlaasError, InvalidInput, NotAllowed
from .. import scopes
from ..identity import Caller
from . import documents, hooks
from .actions import ACTIONS, EXECUTORS, Context
from .documents import APPROVE, DENY
from .factors import Seats, fill, is_full
from .fulfilment import DECIDE
from .people import People, in_use
from .requests import expire, find, may_ask, places_of, require_live, seats_of
from .tables import DENIED, EXECUTED, FAILED, PENDING, Decision, Request

logger = logging.getLogger(__name__)

_RETRY = timedelta(minutes=1)
"""When a request is looked at again that is approved and cannot be carried out for the moment."""


@dataclass(frozen=True)
class Standing:
    """How far a request is, looked at afresh.

    Parameters
    ----------
    seats : tuple of Seats
        The factors.
    taken : list of list of str
        By factor: whose approvals fill it.
    lapsed : mapping of str to str
        Persons whose approval does not count any more, and why.
    requester_may : bool
        Whether the requester is still permitted the action.
    """

    seats: tuple[Seats, ...]
    taken: list[list[str]]
    lapsed: Mapping[str, str]
    requester_may: bool

    @property
    def satisfied(self) -> bool:
        """Whether every factor is filled; a request that names none never is."""
        return bool(self.seats) and is_full(self.seats, self.taken)


def decisions_on(session: Session, request: Request) -> list[Decision]:
    """Return what was decided on a request, in order."""
    query = select(Decision).where(Decision.request == request.id).order_by(Decision.created, Decision.decider)
    return list(session.scalars(query))


def assess(session: Session, request: Request, *, people: People | None = None) -> Standing:
    """Return how far a request is, with the roles and keys of this moment."""
    people = people or in_use()
    seats = seats_of(request)
    options: dict[str, list[int]] = {}
    lapsed: dict[str, str] = {}
    for row in decisions_on(session, request):
        if row.decision != APPROVE:
            continue
        at, why = _counts(session, people, request, row, seats)
        if at:
            options[row.decider] = at
        else:
            lapsed[row.decider] = why
    requester = Caller(
        request.requester, "user", request.organisation, people.grants(session, request.requester), (), None
    )
    may = people.is_active(session, request.requester)
    may = may and may_ask(requester, ACTIONS[request.action], places_of(request))
    return Standing(seats, fill(seats, options), lapsed, may)


def seats_for(session: Session, request: Request, decider: Caller, *, people: People | None = None) -> list[int]:
    """Return the positions of the factors that `decider` may decide for now, with the roles active in its session."""
    people = people or in_use()
    if decider.kind != "user" or decider.subject == request.requester:
        return []
    if not people.is_person(session, decider.subject):
        return []
    return [
        at
        for at, seats in enumerate(seats_of(request))
        if decider.may(DECIDE, *seats.scopes)
        and _has_active(session, people, decider, seats)
        and _authorised(session, people, decider.subject, seats)
    ]


def decide(
    session: Session,
    request_id: str,
    decider: Caller,
    decision: str,
    time: int,
    signature: str,
    now: datetime,
    *,
    people: People | None = None,
) -> Request:
    """Approve or deny a request; the last approval carries it out, unless it has to cool down first.

    Parameters
    ----------
    session : Session
        A writing one.
    request_id : str
        Which.
    decider : Caller
        Who decides.
    decision : str
        ``"approve"`` or ``"deny"``; one denial ends the request.
    time : int
        Seconds since 1970 (UTC) at which it was signed, within five minutes of now.
    signature : str
        Hex, by the decider's own key, see `documents.sign`.
    now : datetime
        The present.
    people : People, optional
        Who knows about people; default: the installation's own tables.

    Raises
    ------
    NotFound
        ``unknown-approval``.
    InvalidInput
        ``bad-decision``, ``stale-approval``.
    NotAllowed
        ``not-a-person``, ``own-request``, ``no-factor``, ``bad-approval-signature``.
    Conflict
        ``approval-closed``, ``approval-expired``, ``already-decided``, ``no-approval-key``, ``approval-tampered``.
    """
    people = people or in_use()
    request = find(session, request_id, alone=True)
    if decision not in (APPROVE, DENY):
        raise InvalidInput(
            f"{str(decision)[:40]!r} is no decision.", code="bad-decision", hint=f"Give {APPROVE} or {DENY}."
        )
    at = _require_may_decide(session, people, request, decider)
    kept = session.get(Decision, (request.id, decider.subject))
    if kept is not None and (kept.decision, kept.time, kept.signature) == (decision, time, signature):
        return request  # the same once more: the first answer was lost on its way
    require_live(request, now)
    if decision == APPROVE and now >= request.expires:
        raise Conflict(
            f"Request {request.id} took approvals until {request.expires.isoformat(timespec='seconds')}.",
            code="approval-expired",
            hint="It is approved already and cools down; it can still be denied.",
        )
    if kept is not None and decision == kept.decision and _counts(session, people, request, kept, seats_of(request))[0]:
        raise Conflict(
            f"{decider.subject} has approved request {request.id} already.",
            code="already-decided",
            hint="One person counts once; others have to approve.",
        )
    documents.read(request.document, request.sha256)
    key = _require_signed(session, people, request, decider, decision, time, signature, now)
    if kept is None:
        kept = Decision(request=request.id, decider=decider.subject)
        session.add(kept)
    kept.decision, kept.time, kept.signature, kept.key, kept.created = decision, time, signature, key, now
    kept.factors, kept.role = list(at), seats_of(request)[at[0]].role
    session.flush()
    if decision == DENY:
        request.state, request.closed, request.due = DENIED, now, None
        session.flush()
        hooks.changed(session, request, decider.subject)
        return request
    hooks.changed(session, request, decider.subject)
    _settle(session, people, request, now)
    return request


def has_due(session: Session, now: datetime) -> bool:
    """Tell whether `execute_due` has anything to do; cheap, and for a reading session."""
    return session.scalar(select(Request.id).where(_due(now)).limit(1)) is not None


def execute_due(session: Session, now: datetime, *, people: People | None = None) -> list[Request]:
    """Carry out what has cooled down, and write down what has expired; return what was looked at.

    One request that fails in an unforeseen way does not keep the others back; it is tried again a minute later.
    """
    people = people or in_use()
    looked_at = list(session.scalars(select(Request).where(_due(now)).order_by(Request.id).limit(100)))
    for request in looked_at:
        try:
            with session.begin_nested():
                _settle(session, people, request, now)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            _postpone(session, request, now, error)
        except Exception as error:
            _postpone(session, request, now, error)
    return looked_at


def _due(now: datetime) -> Any:
    over = and_(Request.due.is_(None), Request.expires <= now)
    return and_(Request.state == PENDING, or_(Request.due <= now, over))


def _postpone(session: Session, request: Request, now: datetime, error: Exception) -> None:
    session.refresh(request)  # the savepoint's end has undone what it was moved to
    logger.error("request %s could not be carried out", request.id, exc_info=error)
    if now >= request.expires:
        expire(session, request, now)
    else:
        request.due = now + _RETRY
        session.flush()


def _settle(session: Session, people: People, request: Request, now: datetime) -> None:
    """Do with a pending request whatever is due now."""
    standing = assess(session, request, people=people)
    if not standing.satisfied:
        request.due = None
    elif request.due is None and now < request.expires:
        request.due = now + timedelta(seconds=request.cooling)
    if request.due is not None and request.due <= now and standing.requester_may:
        _execute(session, people, request, now)
    elif now >= request.expires and (request.due is None or request.due <= now):
        expire(session, request, now)
    elif request.due is not None and request.due <= now:
        request.due = now + _RETRY
    session.flush()


def _execute(session: Session, people: People, request: Request, now: datetime) -> None:
    """Carry the request out, exactly once: only who moves it out of ``pending`` does."""
    moved = cast(
        "CursorResult[Any]",
        session.execute(
            update(Request)
            .where(Request.id == request.id, Request.state == PENDING)
            .values(state=EXECUTED, closed=now)
            .execution_options(synchronize_session=False)
        ),
    )
    session.refresh(request)
    if moved.rowcount != 1:
        return
    grants = people.grants(session, request.requester)
    requester = Caller(request.requester, "user", request.organisation, grants, (), None)
    try:
        with session.begin_nested():  # what a failing executor has changed is undone
            content = documents.read(request.document, request.sha256)
            said = (content["action"], content["scope"], content["requester"])
            if said != (request.action, request.scope, request.requester):
                raise _tampered(request)
            context = Context(session, requester, request.id, now, people)
            result = EXECUTORS[request.action](context, content["body"])
            request.result = json.loads(canonical(result))
            session.flush()
    except FlaasError as error:
        request.state, request.problem = FAILED, error.to_dict()
        session.flush()
    hooks.changed(session, request, request.requester)


def _counts(
    session: Session, people: People, request: Request, row: Decision, seats: tuple[Seats, ...]
) -> tuple[list[int], str]:
    """Return the factors that an approval counts for at present, and if none, why."""
    if row.decider == request.requester:
        return [], "it is the requester's own"
    if not people.is_person(session, row.decider):
        return [], "is no active person any more"
    if people.key_of(session, row.decider) != row.key:
        return [], "has another key now"
    try:
        documents.check(row.key, request.id, request.sha256, row.decision, row.time, row.signature)
    except NotAllowed:
        return [], "the signature is not for this request"
    held = [
        at
        for at in row.factors
        if type(at) is int and 0 <= at < len(seats) and _authorised(session, people, row.decider, seats[at])
    ]
    return held, "" if held else "has lost the role"


def _has_active(session: Session, people: People, decider: Caller, seats: Seats) -> bool:
    wanted = set(seats.roles)
    return any(
        (not seats.scopes or scope == scopes.PLATFORM or scope in seats.scopes)
        and not wanted.isdisjoint(people.included(session, role))
        for role, scope in decider.roles
    )


def _authorised(session: Session, people: People, person: str, seats: Seats) -> bool:
    if not any(people.authorised(session, person, role, seats.scopes) for role in seats.roles):
        return False
    return Caller(person, "user", "", people.grants(session, person), (), None).may(DECIDE, *seats.scopes)


def _require_may_decide(session: Session, people: People, request: Request, decider: Caller) -> list[int]:
    if decider.kind != "user" or not people.is_person(session, decider.subject):
        raise NotAllowed(
            f"{decider.subject} is not a person: only people approve.",
            code="not-a-person",
            hint="Services and nodes can ask, and a person approves.",
        )
    if decider.subject == request.requester:
        raise NotAllowed(
            f"{decider.subject} has asked for this, so somebody else has to decide.",
            code="own-request",
            hint="Withdraw the request, if it is not wanted any more.",
        )
    at = seats_for(session, request, decider, people=people)
    if not at:
        asked = "; ".join(f"{seats.role.replace('|', ' or ')} in {seats.place}" for seats in seats_of(request))
        has = ", ".join(f"{role} in {scope}" for role, scope in decider.roles) or "no role"
        raise NotAllowed(
            f"This takes {asked}, active in the session; {decider.subject} has {has}.",
            code="no-factor",
            hint="Sign in with that role, or let somebody who has it decide.",
        )
    return at


def _require_signed(
    session: Session,
    people: People,
    request: Request,
    decider: Caller,
    decision: str,
    time: int,
    signature: str,
    now: datetime,
) -> str:
    """Return the decider's key, which has signed this decision just now."""
    if type(time) is not int or abs(now.timestamp() - time) > documents.CLOCK_TOLERANCE:
        raise InvalidInput(
            f"The decision was signed at {str(time)[:40]}, and it is {int(now.timestamp())} (seconds since 1970).",
            code="stale-approval",
            hint=f"Set the clock right, and sign within {documents.CLOCK_TOLERANCE // 60} minutes.",
        )
    key = people.key_of(session, decider.subject)
    if key is None:
        raise Conflict(
            f"No approval key of {decider.subject} is known.",
            code="no-approval-key",
            hint="Hand in the public key: `flaas approvals key`.",
        )
    documents.check(key, request.id, request.sha256, decision, time, signature)
    return key


def _tampered(request: Request) -> Conflict:
    return Conflict(
        f"The row of request {request.id} does not say what its document says: it was changed after it was made.",
        code="approval-tampered",
        hint="Have the data base examined, and ask for the action anew.",
    )
