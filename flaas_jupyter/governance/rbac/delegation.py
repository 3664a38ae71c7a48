"""Who may give which role to whom: nobody hands out more than they have.

Those who may change roles on the platform (``role:manage``) may assign every role; separation of duty and the approval
of several people hold them. Those who manage the members of a place (``member:manage``) may assign there the roles
whose permissions they all hold there themselves, and in an organisation also the roles of its daily work, some of which
no administrator of an organisation has. Roles that reach for the rules themselves are in neither. A role that decides
on approvals is otherwise handed on only by who holds that very role there: approvals are counted by role, so its
permissions are not all there is to it.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from ...errors import NotAllowed
from .. import scopes
from ..identity.callers import Caller
from ..permissions import APPROVER, AUDITOR, COST_MANAGER, DATA_OWNER, DEVELOPER, OPERATOR, VIEWER
from . import review

DAILY_WORK = frozenset({VIEWER, DATA_OWNER, DEVELOPER, OPERATOR, COST_MANAGER, APPROVER, AUDITOR})
"""Roles that whoever manages an organisation's members may assign within it."""

_DECIDES = "approval:decide"
_RULES = frozenset({"role:manage", "policy:manage", "key:rotate", "token:manage"})
"""Operations on the rules themselves: a role that has one of them is assigned by ``role:manage`` alone."""


def require_may_assign(session: Session, assigner: Caller, role: str, scope: str, *within: str) -> None:
    """Check that `assigner` may give `role` in `scope`, or take it away.

    Parameters
    ----------
    session : Session
        A session of the data base.
    assigner : Caller
        Who wants to.
    role, scope : str
        Which role, and where it would be held.
    *within : str
        Further scopes that `scope` lies in entirely, as a node in its organisation.

    Raises
    ------
    NotAllowed
        Code ``may-not-assign``; ``missing`` names the operations that stand in the way.
    RbacError
        Code ``unknown-role``.
    """
    granted = {f"{object}:{operation}" for operation, object in review.role_permissions(session, role)}
    if assigner.may("role:manage", scopes.PLATFORM):
        return
    places = (scope, *within)
    if not assigner.may("member:manage", *places):
        raise _refused(role, scope, ["member:manage"], "You do not manage members there.")
    reserved = sorted(granted & _RULES)
    if reserved:
        raise _refused(role, scope, reserved, "It permits changes of the rules themselves.")
    organisations = [place for place in places if scopes.kind_of(place) == "organisation"]
    if role in DAILY_WORK and organisations and assigner.may("member:manage", *organisations):
        return
    theirs = {held for held, at in assigner.roles if at in (scopes.PLATFORM, *places)}
    if _DECIDES in granted and role not in theirs:
        raise _refused(role, scope, [_DECIDES], "Approvals are counted by role, and you do not hold this one there.")
    missing = sorted(operation for operation in granted if not assigner.may(operation, *places))
    if missing:
        raise _refused(role, scope, missing, "It permits what you yourself may not do there.")


def _refused(role: str, scope: str, missing: list[str], why: str) -> NotAllowed:
    return NotAllowed(
        f"You may not assign or withdraw role {role!r} in {scope[:80]!r}. {why} ({', '.join(missing)})",
        code="may-not-assign",
        hint="Ask somebody who may change roles on the platform (governance-admin).",
        role=role,
        missing=missing,
    )
