"""The roles, permissions and exclusions that every installation begins with, out of `governance.permissions`.

Each of them is written once and its name kept. A later version adds what it has that is new, and leaves alone what
stands there by then, changed or deleted: roles belong to those who administer them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from ..permissions import DYNAMIC, NODE, PERMISSIONS, ROLES, STATIC, split
from . import core, hierarchy, separation
from .errors import RbacConflict, RbacError
from .tables import Installed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Item:
    """One thing to be installed: its name for all time, and the call that does it."""

    name: str
    function: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]


def install(session: Session) -> None:
    """Write what the table of permissions has and was never written before.

    What present assignments or changes do not permit (an exclusion that somebody violates, a role that is gone) is
    left out with a warning, and tried again the next time.

    Parameters
    ----------
    session : Session
        A writing session.
    """
    known = set(session.scalars(select(Installed.item)))
    for item in _items():
        if item.name in known or not _install(session, item):
            continue
        session.execute(insert(Installed).values(item=item.name))


def _install(session: Session, item: _Item) -> bool:
    try:
        item.function(session, *item.arguments, **item.options)
    except RbacConflict as error:
        if not error.code.endswith(("-exists", "already-member")):
            logger.warning("%s is not in force: %s", item.name, error)
            return False
    except RbacError as error:
        logger.warning("%s is not in force: %s", item.name, error)
        return False
    return True


def _items() -> Iterator[_Item]:
    for name, role in ROLES.items():
        yield _Item(f"role {name}", core.add_role, (name, role.description), {})
    for operation, permission in PERMISSIONS.items():
        verb, resource = split(operation)
        yield _Item(f"permission {operation}", core.add_permission, (verb, resource, permission.description), {})
    for senior, role in ROLES.items():
        for junior in role.juniors:
            yield _Item(f"inheritance {senior} > {junior}", hierarchy.add_inheritance, (senior, junior), {})
    for operation, permission in PERMISSIONS.items():
        for holder in sorted(permission.roles - {NODE}):
            yield _Item(f"grant {operation} to {holder}", core.grant_permission, (*split(operation), holder), {})
    for create, sets in ((separation.create_ssd_set, STATIC), (separation.create_dsd_set, DYNAMIC)):
        for each in sets:
            options = {"per_scope": each.per_scope}
            arguments = (each.name, sorted(each.roles), each.limit)
            yield _Item(f"exclusion {each.name}", create, arguments, options)
