"""How an installation begins: its schema, its roles, and the first who may give roles to others."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..governance import scopes, tokens
from ..governance.confidentiality import Vault
from ..governance.identity import invitations
from ..governance.identity.tables import Person
from ..governance.permissions import GOVERNANCE_ADMIN, ORG_ADMIN
from ..governance.rbac import core as rbac
from ..governance.rbac import defaults
from ..governance.rbac.tables import Assignment
from .database import Database
from .services import organisations, users
from .tables import Organisation

PLATFORM = "platform"
"""The organisation of the first administrators."""


def bootstrap(database_url: str, vault: Vault | None = None) -> str | None:
    """Bring the data base up to date; return the first administrator's invitation if there is no administrator.

    The invitation is for a person who is `permissions.GOVERNANCE_ADMIN` on the platform: that person says who else has
    which role, and can do nothing with projects, nodes or data.

    Raises
    ------
    InvalidInput, Unreachable, Conflict
        The data base cannot be used: ``bad-database-url``, ``database-unreachable``, ``database-newer``.
    """
    vault = vault or Vault.load()
    database = Database(database_url)
    try:
        _prepare(database)
        with database.writing() as session:
            return invitations.first_invitation(session, vault)
    finally:
        database.close()


def found(database_url: str, vault: Vault | None = None) -> dict[str, str]:
    """Bring the data base up to date; where there is no administrator, make services that are, and return their tokens.

    For installations that a program sets up: a demonstration, a test. People are invited, see `bootstrap`.

    Returns
    -------
    dict
        Role (`GOVERNANCE_ADMIN` and `ORG_ADMIN`, both on the platform) to token; empty if there were administrators.
    """
    vault = vault or Vault.load()
    database = Database(database_url)
    try:
        _prepare(database)
        with database.writing() as session:
            if _has_administrator(session):
                return {}
            made = {}
            for role in (GOVERNANCE_ADMIN, ORG_ADMIN):
                user = f"first-{role}"
                users.add_service(session, vault, user, PLATFORM, None, datetime.now(UTC))
                rbac.assign_user(session, user, role, scopes.PLATFORM)
                _, made[role] = tokens.issue(session, user=user, organisation=PLATFORM, note="first administrator")
            return made
    finally:
        database.close()


def _prepare(database: Database) -> None:
    database.migrate()
    with database.writing() as session:
        defaults.install(session)
        if session.get(Organisation, PLATFORM) is None:
            organisations.add(session, PLATFORM, "Platform")


def _has_administrator(session: Session) -> bool:
    held = select(Assignment.user).where(Assignment.role == GOVERNANCE_ADMIN)
    return session.scalar(select(Person.id).where(Person.id.in_(held), Person.state != "removed").limit(1)) is not None
