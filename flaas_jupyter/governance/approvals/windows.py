"""Emergency windows: for an hour one person may do one action in one scope, and all of it is written down."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import InvalidInput
from .. import scopes
from . import hooks
from .actions import ACTIONS, BREAK_GLASS, POLICY_CHANGE, Context, register, require_known
from .tables import EmergencyUse, EmergencyWindow

WINDOW = timedelta(hours=1)
NEVER = (POLICY_CHANGE, BREAK_GLASS)
"""Actions that no emergency opens: whoever has two allies could else do away with the policy."""


def open_now(session: Session, now: datetime) -> list[EmergencyWindow]:
    """Return the windows that are open, the last opened first."""
    query = select(EmergencyWindow).where(EmergencyWindow.closes > now, EmergencyWindow.opened <= now)
    return list(session.scalars(query.order_by(EmergencyWindow.opened.desc(), EmergencyWindow.id)))


def uses(session: Session, window: EmergencyWindow) -> list[EmergencyUse]:
    """Return what was done in a window, in order."""
    query = select(EmergencyUse).where(EmergencyUse.window == window.id).order_by(EmergencyUse.number)
    return list(session.scalars(query))


def passes(session: Session, action: str, scope: str, person: str, document: str, sha256: str, now: datetime) -> bool:
    """Tell whether `person` may do `action` in an open window; if so, it is written down and everybody is alarmed."""
    for window in open_now(session, now):
        fits = window.scope in (scope, scopes.PLATFORM) and action not in NEVER
        if fits and (window.action, window.person) == (action, person):
            session.add(EmergencyUse(window=window.id, sha256=sha256, document=document, used=now))
            session.flush()
            hooks.tell(
                session, hooks.WINDOW_USED, None, window=window.id, action=action, scope=scope, by=person, sha256=sha256
            )
            return True
    return False


def require_possible(action: str) -> None:
    """Check that an emergency can open `action`.

    Raises
    ------
    InvalidInput
        ``unknown-action``; ``never-by-emergency``.
    """
    require_known(action)
    if action in NEVER:
        raise InvalidInput(
            f"{action} cannot be opened by an emergency.",
            code="never-by-emergency",
            hint=f"Possible are: {', '.join(name for name in ACTIONS if name not in NEVER)}.",
        )


def _open(context: Context, body: dict[str, Any]) -> dict[str, Any]:
    require_possible(body["action"])
    window = EmergencyWindow(
        id=context.request_id,
        action=body["action"],
        scope=scopes.parse(body["scope"]),
        person=context.requester.subject,
        organisation=context.requester.organisation,
        reason=body["reason"],
        opened=context.now,
        closes=context.now + WINDOW,
    )
    context.session.add(window)
    context.session.flush()
    hooks.tell(
        context.session,
        hooks.WINDOW_OPENED,
        None,
        window=window.id,
        action=window.action,
        scope=window.scope,
        by=window.person,
    )
    return {"window": window.id, "closes": window.closes.isoformat(timespec="seconds")}


register(BREAK_GLASS, _open)
