"""Whom the approvals tell what happens: the audit log and the event stream, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from .tables import Request

CHANGED = "approval.changed"
WINDOW_OPENED, WINDOW_USED = "approval.emergency-opened", "approval.emergency-used"
POLICY_CHANGED, FOUNDING_CLOSED = "approval.policy-changed", "approval.founding-closed"
ALARMS = frozenset({WINDOW_OPENED, WINDOW_USED})
"""What everybody who is responsible is to be told at once."""

Observer = Callable[[Session, str, Request | None, dict[str, Any]], None]
_observers: list[Observer] = []


def observe(observer: Observer) -> Callable[[], None]:
    """Call ``observer(session, event, request, details)`` with everything that happens; return what ends that.

    `details` hold ids and digests only. What the observer raises undoes the change.
    """
    _observers.append(observer)
    return lambda: _observers.remove(observer)


def tell(session: Session, event: str, request: Request | None, **details: Any) -> None:
    """Tell every observer."""
    for observer in tuple(_observers):
        observer(session, event, request, details)


def changed(session: Session, request: Request, by: str | None) -> None:
    """Tell that a request was made, decided, carried out or closed."""
    tell(session, CHANGED, request, id=request.id, action=request.action, state=request.state, by=by)
