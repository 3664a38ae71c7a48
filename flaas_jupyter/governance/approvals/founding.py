"""The founding phase: one administrator sets an installation up alone, until it is closed for good."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from ...errors import Conflict, NotAllowed
from .. import scopes
from ..identity import Caller
from . import fulfilment, hooks, policy
from .people import People, in_use
from .tables import Founding


def is_open(session: Session) -> bool:
    """Tell whether the installation is still being founded: critical actions need nobody's approval."""
    return session.get(Founding, 1) is None


def closed(session: Session) -> datetime | None:
    """Return when the founding phase was closed."""
    row = session.get(Founding, 1)
    return None if row is None else row.closed


def close(session: Session, caller: Caller, now: datetime, *, people: People | None = None) -> None:
    """Close the founding phase; from now on the policy is in force, and there is no way back.

    Raises
    ------
    NotAllowed
        The caller does not keep the platform's policy.
    Conflict
        ``founding-closed``: it is closed. ``policy-unfulfillable``: nobody could approve some action.
    """
    if not caller.may("policy:manage", scopes.PLATFORM):
        raise NotAllowed(
            f"{caller.subject} does not keep the policy of the platform.",
            hint="Somebody with the role governance-admin on the platform closes the founding phase.",
        )
    since = closed(session)
    if since is not None:
        raise Conflict(
            f"The founding phase was closed at {since.isoformat(timespec='seconds')}.",
            code="founding-closed",
            hint="Nothing remains to be done: the policy is in force.",
        )
    fulfilment.require(session, people or in_use(), policy.current(session).rules)
    session.add(Founding(id=1, closed=now, closed_by=caller.subject))
    session.flush()
    hooks.tell(session, hooks.FOUNDING_CLOSED, None, by=caller.subject)
