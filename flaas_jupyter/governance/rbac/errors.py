"""A precondition of the standard that does not hold: its code names which, its details who and what is in the way."""

from __future__ import annotations

from typing import Any

from ...errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotFound


class RbacError(FlaasError):
    """A function of INCITS 359 whose precondition does not hold; nothing was changed."""

    code = "rbac"


class RbacInvalid(RbacError, InvalidInput):
    """An argument that can stand for nothing: ``bad-name``, ``bad-cardinality``."""


class RbacNotFound(RbacError, NotFound):
    """A user, role, permission, session or exclusion set that does not exist."""


class RbacNotAllowed(RbacError, NotAllowed):
    """A session of somebody else, or a role that its user is not authorised for."""


class RbacConflict(RbacError, Conflict):
    """What the present assignments, hierarchy, exclusions or sessions do not permit."""


_HINTS = {
    "user": "Add it with add_user, or list the users of a role with authorized_users.",
    "role": "Add it with add_role, or read the list of roles.",
    "permission": "Grant or add it first; permissions are pairs of operation and object.",
    "session": "It was ended, has expired and was cleared away, or never existed: create_session makes a new one.",
    "ssd-set": "ssd_role_sets lists those that there are.",
    "dsd-set": "dsd_role_sets lists those that there are.",
}


def unknown(kind: str, name: object) -> RbacNotFound:
    """Return the error that there is no `kind` (user, role, permission, session, ssd-set, dsd-set) called `name`."""
    shown = "this" if kind == "session" else repr(str(name)[:80])
    details: dict[str, Any] = {} if kind == "session" else {kind.replace("-", "_"): str(name)[:80]}
    title = kind.upper().replace("-SET", " set") if kind.endswith("-set") else kind
    message = "There is no such session." if kind == "session" else f"There is no {title} {shown}."
    return RbacNotFound(message, code=f"unknown-{kind}", hint=_HINTS[kind], **details)
