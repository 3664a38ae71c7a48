"""Which role the API works as in PostgreSQL: one that row-level security holds for.

A superuser, and a role with BYPASSRLS, is not subject to it whatever tables say. Where the API signs in as one, it
makes a role without such rights once, and goes over to it (``SET ROLE``) on every connection that it works on.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ...errors import InvalidInput

APP_ROLE = "flaas_app"
_BYPASSES = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
_MISSING = f"SELECT to_regrole('{APP_ROLE}') IS NULL"
_CREATE = f"CREATE ROLE {APP_ROLE} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE"
_MAY_BECOME = f"SELECT pg_has_role(current_user, '{APP_ROLE}', 'MEMBER')"
_BECOME = f"GRANT {APP_ROLE} TO CURRENT_USER"
_GRANTS = (
    f"GRANT USAGE ON SCHEMA public TO {APP_ROLE}",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APP_ROLE}",
    f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {APP_ROLE}",
    # The version of the schema is for migrations to write, which run as who has signed in.
    f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON alembic_version FROM {APP_ROLE}",
)
_TRIES = 5


def prepare(connection: Connection) -> None:
    """Make the role and give it what it needs, if who has signed in is not subject to row-level security.

    Roles belong to the whole cluster: another data base's API may be doing the same just now.

    Raises
    ------
    InvalidInput
        Code ``database-role-bypasses-isolation``.
    """
    if not connection.scalar(text(_BYPASSES)):
        return
    user = str(connection.scalar(text("SELECT session_user")))  # after a failure the transaction answers nothing more
    try:
        if connection.scalar(text(_MISSING)):
            _at_once(connection, _CREATE, accepted=("42710", "23505"))
        if not connection.scalar(text(_MAY_BECOME)):
            _at_once(connection, _BECOME)
        for statement in _GRANTS:
            connection.execute(text(statement))
    except DBAPIError as error:
        raise bypasses(user) from error


def enter(cursor: Any) -> None:
    """Go over to the role on a new connection of the driver, if who has signed in is not subject to the policies.

    Raises
    ------
    InvalidInput
        Code ``database-role-bypasses-isolation``.
    """
    cursor.execute(f"{_BYPASSES.replace('SELECT', f'SELECT ({_MISSING}), session_user,', 1)}")
    missing, user, bypass = cursor.fetchone()
    if not bypass:
        return
    if missing:
        raise bypasses(user)
    cursor.execute(f"SET ROLE {APP_ROLE}")


def bypasses(user: str) -> InvalidInput:
    """Return the error that says what to do about a role that cannot be used."""
    return InvalidInput(
        f"The data base's role {user!r} is not subject to row-level security (SUPERUSER or BYPASSRLS), and could not "
        f"make or become {APP_ROLE!r}, which is.",
        code="database-role-bypasses-isolation",
        hint=f"As an administrator of PostgreSQL: {'; '.join((_CREATE, *_GRANTS))}; "
        f'GRANT {APP_ROLE} TO "{user}"; or, so that none of that is needed: '
        f'ALTER ROLE "{user}" NOSUPERUSER NOBYPASSRLS;',
        role=user,
    )


def _at_once(connection: Connection, statement: str, accepted: tuple[str, ...] = ()) -> None:
    """Do what another process may be doing at the same time: "tuple concurrently updated" (XX000) is no failure."""
    for left in reversed(range(_TRIES)):
        try:
            with connection.begin_nested():
                connection.execute(text(statement))
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state in accepted:
                return
            if state != "XX000" or not left:
                raise
        else:
            return
