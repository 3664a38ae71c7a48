"""Which roles a sign-in activates: those that its scope asks for, or as many of the person's as may be active at once.

``scope`` names roles as ``role:developer`` (wherever the person holds it) or ``role:viewer@project:credit``. Without
any, the person's roles are taken in a fixed order (that of `permissions.ROLES`, then other roles by name; the platform
first, then scopes by name), and one that dynamic separation of duty does not allow beside those before it is left out;
it can be asked for by name instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from .. import scopes
from ..permissions import ROLES
from ..rbac import grants, review, sessions
from ..rbac.errors import RbacError
from .oauth_errors import OAuthError

IDENTITY_SCOPES = ("openid", "profile", "email")
_PREFIX = "role:"
_LONGEST = 2000
Role = tuple[str, str]


def parse(scope: str) -> tuple[tuple[str, ...], tuple[str | Role, ...]]:
    """Return the identity scopes and the roles that `scope` asks for.

    Raises
    ------
    OAuthError
        ``invalid_scope``.
    """
    if len(scope) > _LONGEST:
        raise OAuthError("invalid_scope", f"The scope has more than {_LONGEST} characters.")
    identity: list[str] = []
    roles: list[str | Role] = []
    for word in dict.fromkeys(scope.split(" ")):
        if word in IDENTITY_SCOPES:
            identity.append(word)
        elif word.startswith(_PREFIX) and word.isprintable():
            roles.append(_role(word))
        elif word:
            allowed = f"{', '.join(IDENTITY_SCOPES)}, role:<role> and role:<role>@<scope>"
            raise OAuthError("invalid_scope", f"{word[:60]} is no scope; there are {allowed}.")
    return tuple(identity), tuple(roles)


def open_session(session: Session, user: str, asked: tuple[str | Role, ...], expires: datetime) -> tuple[str, str]:
    """Create a session of roles; return its id and the roles as a scope.

    Raises
    ------
    OAuthError
        ``invalid_scope``: the person does not hold a role that is asked for, or they may not be active together; the
        description names the exclusion.
    """
    try:
        if asked:
            sid = sessions.create_session(session, user, asked, expires=expires, fixed=True)
        else:
            sid = _as_many_as_allowed(session, user, expires)
        active = grants.of(session, sid).roles
    except RbacError as error:
        raise OAuthError("invalid_scope", f"{error.message} ({error.code})") from error
    return sid, " ".join(sorted(f"{_PREFIX}{role}@{scope}" for role, scope in active))


def close_session(session: Session, user: str, sid: str) -> None:
    """End a session of roles, if it has not ended."""
    try:
        sessions.delete_session(session, user, sid)
    except RbacError:
        return  # it has expired and was removed, or the user was


def activate(session: Session, user: str, sid: str, roles: Iterable[Role]) -> None:
    """Activate `roles` in a session, but those that dynamic separation of duty does not allow beside the others."""
    for role in sorted(roles, key=preferred):
        with contextlib.suppress(RbacError):
            sessions.add_active_role(session, user, sid, *role)


def preferred(role: Role) -> tuple[int, str, bool, str]:
    """Return what the person's roles are sorted by, so that the choice is the same every time."""
    name, scope = role
    order = list(ROLES)
    return (order.index(name) if name in order else len(order), name, scope != scopes.PLATFORM, scope)


def _as_many_as_allowed(session: Session, user: str, expires: datetime) -> str:
    sid = sessions.create_session(session, user, [], expires=expires)
    activate(session, user, sid, review.assignments(session, user))
    return sid


def _role(word: str) -> str | Role:
    name, at, scope = word.removeprefix(_PREFIX).partition("@")
    if not name or (at and not scope):
        raise OAuthError("invalid_scope", f"{word[:60]} names no role.")
    return (name, scope) if at else name
