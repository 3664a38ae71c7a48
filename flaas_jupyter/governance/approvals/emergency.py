"""Breaking the glass: two people open, for an hour, one action to the person who has asked for it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from ...errors import Conflict, InvalidInput, NotAllowed
from .. import scopes
from ..identity import Caller
from . import founding, windows
from .actions import ACTIONS, BREAK_GLASS
from .requests import may_ask, submit
from .tables import Request

LONGEST_REASON = 2000


def ask(session: Session, action: str, *, scope: str, reason: str, requester: Caller, now: datetime) -> Request:
    """Ask for an emergency window, in which `requester` may do `action` in `scope` without further approval.

    Raises
    ------
    InvalidInput
        ``unknown-action``, ``never-by-emergency``, ``bad-scope``; ``reason-needed``.
    NotAllowed
        The requester may not do the action even with approval.
    Conflict
        Code ``founding-open``: nothing needs approval as yet.
    """
    windows.require_possible(action)
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise InvalidInput(
            f"An emergency has a reason of 1 to {LONGEST_REASON} characters.",
            code="reason-needed",
            hint="Say what has happened; everybody who is responsible will read it.",
        )
    operation = ACTIONS[action].operation
    if not may_ask(requester, ACTIONS[action], (scopes.parse(scope),)):
        raise NotAllowed(
            f"{requester.subject} is not permitted {operation} in {scope}, with or without approval.",
            hint="Somebody who has the role for the action asks.",
            operation=operation,
        )
    body = {"action": action, "scope": scope, "reason": reason}
    request = submit(
        session, BREAK_GLASS, scope=scope, requester=requester, body=body, now=now, within=(scopes.PLATFORM,)
    )
    if request is None:
        assert founding.is_open(session)
        raise Conflict(
            "The installation is still being founded: no action needs approval.",
            code="founding-open",
            hint=f"Do {action} at once.",
        )
    return request
