"""`Rbac`: every function of INCITS 359 by its name, on a data base of one's choice, one transaction for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy.orm import Session

from ..scopes import PLATFORM
from . import core, hierarchy, review, separation, sessions
from .decisions import Decisions
from .store import Store

P = ParamSpec("P")
T = TypeVar("T")


class Rbac:
    """Role-based access control in a data base.

    Any number of threads and processes may work on one data base. A function whose precondition does not hold raises
    `RbacError` and changes nothing; its code names the precondition. Answers that are several names are sets; a
    permission is a pair ``(operation, object)``. The module functions of the same names tell their errors.

    Parameters
    ----------
    database_url : str
        ``sqlite:///path``, ``sqlite://`` (in memory) or ``postgresql://…``. Missing tables are created.

    Raises
    ------
    InvalidInput
        Code ``bad-database-url``.
    Unreachable
        Code ``database-unreachable``.

    Examples
    --------
    >>> with Rbac("sqlite://") as rbac:
    ...     rbac.add_user("anna")
    ...     rbac.add_role("doctor")
    ...     rbac.grant_permission("read", "record", "doctor")
    ...     rbac.assign_user("anna", "doctor")
    ...     session = rbac.create_session("anna", ["doctor"])
    ...     rbac.check_access(session, "read", "record")
    True
    """

    def __init__(self, database_url: str) -> None:
        self._store = Store(database_url)
        self._decisions = Decisions(self._store)

    def close(self) -> None:
        """Close the connections to the data base."""
        self._decisions.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Rbac({str(self._store)!r})"

    def _write(self, function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._store.writing() as session:
            return function(session, *args, **kwargs)

    def _read(self, function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._store.reading() as session:
            return function(session, *args, **kwargs)

    # ---- core: users, roles, assignments, permissions -------------------------------------------------------------

    def add_user(self, user: str) -> None:
        """Add a user."""
        self._write(core.add_user, user)

    def delete_user(self, user: str) -> None:
        """Delete a user and its assignments; its sessions end."""
        self._write(core.delete_user, user)

    def add_role(self, role: str, description: str = "") -> None:
        """Add a role that nobody has and that permits nothing."""
        self._write(core.add_role, role, description)

    def delete_role(self, role: str) -> None:
        """Delete a role; open sessions lose what they had through it."""
        self._write(core.delete_role, role)

    def assign_user(self, user: str, role: str, scope: str = PLATFORM) -> None:
        """Assign a role to a user, in a scope."""
        self._write(core.assign_user, user, role, scope)

    def deassign_user(self, user: str, role: str, scope: str = PLATFORM) -> None:
        """Take a role from a user, and out of its open sessions at once."""
        self._write(core.deassign_user, user, role, scope)

    def add_permission(self, operation: str, object: str, description: str = "") -> None:
        """Put a permission on record before anybody has it."""
        self._write(core.add_permission, operation, object, description)

    def delete_permission(self, operation: str, object: str) -> None:
        """Delete a permission; every role that has it loses it."""
        self._write(core.delete_permission, operation, object)

    def grant_permission(self, operation: str, object: str, role: str) -> None:
        """Grant a role an operation on an object; a pair that is not on record is put there."""
        self._write(core.grant_permission, operation, object, role)

    def revoke_permission(self, operation: str, object: str, role: str) -> None:
        """Take a permission from a role."""
        self._write(core.revoke_permission, operation, object, role)

    # ---- sessions -------------------------------------------------------------------------------------------------

    def create_session(
        self, user: str, roles: sessions.ActiveRoles, *, expires: datetime | None = None, fixed: bool = False
    ) -> str:
        """Create a session of a user with roles active; return its id."""
        return self._write(sessions.create_session, user, roles, expires=expires, fixed=fixed)

    def delete_session(self, user: str, session: str) -> None:
        """End a session of a user."""
        self._write(sessions.delete_session, user, session)

    def add_active_role(self, user: str, session: str, role: str, scope: str | None = None) -> None:
        """Activate a role in a session of a user."""
        self._write(sessions.add_active_role, user, session, role, scope)

    def drop_active_role(self, user: str, session: str, role: str, scope: str | None = None) -> None:
        """Deactivate a role in a session of a user."""
        self._write(sessions.drop_active_role, user, session, role, scope)

    def check_access(self, session: str, operation: str, object: str, *within: str) -> bool:
        """Decide whether a session may do `operation` on `object`; `within`: the scopes that the thing lies in."""
        return self._decisions.permitted(session, operation, object, within)

    # ---- hierarchy ------------------------------------------------------------------------------------------------

    def add_inheritance(self, ascendant: str, descendant: str) -> None:
        """Have `ascendant` inherit `descendant` immediately."""
        self._write(hierarchy.add_inheritance, ascendant, descendant)

    def delete_inheritance(self, ascendant: str, descendant: str) -> None:
        """Take an immediate inheritance away."""
        self._write(hierarchy.delete_inheritance, ascendant, descendant)

    def add_ascendant(self, new: str, existing: str) -> None:
        """Add the role `new`, immediately senior to `existing`."""
        self._write(hierarchy.add_ascendant, new, existing)

    def add_descendant(self, new: str, existing: str) -> None:
        """Add the role `new`, immediately junior to `existing`."""
        self._write(hierarchy.add_descendant, new, existing)

    # ---- static separation of duty --------------------------------------------------------------------------------

    def create_ssd_set(self, name: str, roles: Iterable[str], n: int, *, per_scope: bool = False) -> None:
        """Create a set: no user is authorised for `n` or more of `roles`."""
        self._write(separation.create_ssd_set, name, roles, n, per_scope=per_scope)

    def delete_ssd_set(self, name: str) -> None:
        """Delete a set."""
        self._write(separation.delete_ssd_set, name)

    def add_ssd_role_member(self, name: str, role: str) -> None:
        """Add a role to a set."""
        self._write(separation.add_ssd_role_member, name, role)

    def delete_ssd_role_member(self, name: str, role: str) -> None:
        """Take a role out of a set."""
        self._write(separation.delete_ssd_role_member, name, role)

    def set_ssd_set_cardinality(self, name: str, n: int) -> None:
        """Set the number of roles of a set of which no user is authorised for so many."""
        self._write(separation.set_ssd_set_cardinality, name, n)

    def ssd_role_sets(self) -> set[str]:
        """Return the names of the sets."""
        return self._read(separation.ssd_role_sets)

    def ssd_role_set_roles(self, name: str) -> set[str]:
        """Return the roles of a set."""
        return self._read(separation.ssd_role_set_roles, name)

    def ssd_role_set_cardinality(self, name: str) -> int:
        """Return the cardinality of a set."""
        return self._read(separation.ssd_role_set_cardinality, name)

    # ---- dynamic separation of duty -------------------------------------------------------------------------------

    def create_dsd_set(self, name: str, roles: Iterable[str], n: int, *, per_scope: bool = False) -> None:
        """Create a set: no session has active `n` or more of `roles`."""
        self._write(separation.create_dsd_set, name, roles, n, per_scope=per_scope)

    def delete_dsd_set(self, name: str) -> None:
        """Delete a set."""
        self._write(separation.delete_dsd_set, name)

    def add_dsd_role_member(self, name: str, role: str) -> None:
        """Add a role to a set."""
        self._write(separation.add_dsd_role_member, name, role)

    def delete_dsd_role_member(self, name: str, role: str) -> None:
        """Take a role out of a set."""
        self._write(separation.delete_dsd_role_member, name, role)

    def set_dsd_set_cardinality(self, name: str, n: int) -> None:
        """Set the number of roles of a set of which no session has active so many."""
        self._write(separation.set_dsd_set_cardinality, name, n)

    def dsd_role_sets(self) -> set[str]:
        """Return the names of the sets."""
        return self._read(separation.dsd_role_sets)

    def dsd_role_set_roles(self, name: str) -> set[str]:
        """Return the roles of a set."""
        return self._read(separation.dsd_role_set_roles, name)

    def dsd_role_set_cardinality(self, name: str) -> int:
        """Return the cardinality of a set."""
        return self._read(separation.dsd_role_set_cardinality, name)

    # ---- review ---------------------------------------------------------------------------------------------------

    def assigned_users(self, role: str) -> set[str]:
        """Return the users to whom a role itself is assigned."""
        return self._read(review.assigned_users, role)

    def assigned_roles(self, user: str) -> set[str]:
        """Return the roles that are assigned to a user itself."""
        return self._read(review.assigned_roles, user)

    def authorized_users(self, role: str) -> set[str]:
        """Return the users who have a role or one that inherits it."""
        return self._read(review.authorized_users, role)

    def authorized_roles(self, user: str) -> set[str]:
        """Return the roles of a user and all that they inherit."""
        return self._read(review.authorized_roles, user)

    def assignments(self, user: str) -> set[tuple[str, str]]:
        """Return the roles that are assigned to a user, each with its scope."""
        return self._read(review.assignments, user)

    def role_permissions(self, role: str) -> set[tuple[str, str]]:
        """Return the permissions of a role and those that it inherits."""
        return self._read(review.role_permissions, role)

    def user_permissions(self, user: str) -> set[tuple[str, str]]:
        """Return what a user is permitted through any of its roles."""
        return self._read(review.user_permissions, user)

    def session_roles(self, session: str) -> set[str]:
        """Return the active roles of a session."""
        return self._read(review.session_roles, session)

    def session_permissions(self, session: str) -> set[tuple[str, str]]:
        """Return what a session is permitted."""
        return self._read(review.session_permissions, session)

    def role_operations_on_object(self, role: str, object: str) -> set[str]:
        """Return what a role permits to be done with an object."""
        return self._read(review.role_operations_on_object, role, object)

    def user_operations_on_object(self, user: str, object: str) -> set[str]:
        """Return what a user is permitted to do with an object."""
        return self._read(review.user_operations_on_object, user, object)

    def permission_roles(self, operation: str, object: str) -> set[str]:
        """Return the roles that have a permission, also through what they inherit."""
        return self._read(review.permission_roles, operation, object)

    def permission_users(self, operation: str, object: str) -> set[str]:
        """Return the users who have a permission."""
        return self._read(review.permission_users, operation, object)
