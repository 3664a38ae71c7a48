"""The sets and relations of INCITS 359 as tables: USERS, ROLES, PRMS, UA, PA, RH, SSD, DSD, SESSIONS and their roles.

Names are the keys, so that each relation is one index and no question needs a look-up of ids. Foreign keys cascade:
what refers to a user, role or session goes with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Table
from sqlalchemy.orm import Mapped, mapped_column

from ..scopes import PLATFORM
from ..tables import Base

STATIC, DYNAMIC = "static", "dynamic"


def _of(column: str, **options: Any) -> Any:
    return mapped_column(ForeignKey(column, ondelete="CASCADE"), **options)


class User(Base):
    """USERS: somebody or something that roles are assigned to; the name is an opaque id."""

    __tablename__ = "rbac_users"

    name: Mapped[str] = mapped_column(primary_key=True)


class Role(Base):
    """ROLES."""

    __tablename__ = "rbac_roles"

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str] = mapped_column(default="", server_default="")


class Inheritance(Base):
    """RH, its immediate pairs: `ascendant` has the permissions of `descendant`."""

    __tablename__ = "rbac_inheritance"

    ascendant: Mapped[str] = _of("rbac_roles.name", primary_key=True)
    descendant: Mapped[str] = _of("rbac_roles.name", primary_key=True, index=True)


class Permission(Base):
    """PRMS, as far as somebody has named them: an operation on an object."""

    __tablename__ = "rbac_permissions"

    operation: Mapped[str] = mapped_column(primary_key=True)
    object: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str] = mapped_column(default="", server_default="")


class Grant(Base):
    """PA: a role's own permissions."""

    __tablename__ = "rbac_grants"
    __table_args__ = (
        ForeignKeyConstraint(
            ["operation", "object"],
            ["rbac_permissions.operation", "rbac_permissions.object"],
            name="fk_rbac_grants_permission",
            ondelete="CASCADE",
        ),
        Index("ix_rbac_grants_permission", "operation", "object", "role"),
    )

    role: Mapped[str] = _of("rbac_roles.name", primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    object: Mapped[str] = mapped_column(primary_key=True)


class Assignment(Base):
    """UA: a role of a user, and the scope where it is held."""

    __tablename__ = "rbac_assignments"
    __table_args__ = (Index("ix_rbac_assignments_role", "role", "user"),)

    user: Mapped[str] = _of("rbac_users.name", primary_key=True)
    role: Mapped[str] = _of("rbac_roles.name", primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True, default=PLATFORM)
    assigned: Mapped[datetime]


class Exclusion(Base):
    """SSD and DSD: nobody holds (static), no session has active (dynamic), `cardinality` or more of its roles."""

    __tablename__ = "rbac_exclusions"

    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    cardinality: Mapped[int]
    per_scope: Mapped[bool]


class ExclusionRole(Base):
    """A role of an exclusion set."""

    __tablename__ = "rbac_exclusion_roles"
    __table_args__ = (
        ForeignKeyConstraint(
            ["kind", "exclusion"],
            ["rbac_exclusions.kind", "rbac_exclusions.name"],
            name="fk_rbac_exclusion_roles_exclusion",
            ondelete="CASCADE",
        ),
    )

    kind: Mapped[str] = mapped_column(primary_key=True)
    exclusion: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = _of("rbac_roles.name", primary_key=True, index=True)


class RoleSession(Base):
    """SESSIONS: one user at work with some of its roles.

    `fixed`: its roles cannot be added to, because it stands behind a token that asked for no more than these.
    """

    __tablename__ = "rbac_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    user: Mapped[str] = _of("rbac_users.name", index=True)
    created: Mapped[datetime]
    expires: Mapped[datetime | None] = mapped_column(index=True)
    fixed: Mapped[bool]


class ActiveRole(Base):
    """session_roles: a role that is active in a session, in the scope where its user holds it."""

    __tablename__ = "rbac_active_roles"

    session: Mapped[str] = _of("rbac_sessions.id", primary_key=True)
    role: Mapped[str] = _of("rbac_roles.name", primary_key=True, index=True)
    scope: Mapped[str] = mapped_column(primary_key=True)


class Usage(Base):
    """When a role, held in a scope, has last given a permission that was made use of."""

    __tablename__ = "rbac_usage"

    role: Mapped[str] = _of("rbac_roles.name", primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    object: Mapped[str] = mapped_column(primary_key=True)
    last_used: Mapped[datetime]


class Installed(Base):
    """What `defaults.install` has once written, so that it never does so again after somebody has changed it."""

    __tablename__ = "rbac_installed"

    item: Mapped[str] = mapped_column(primary_key=True)


MAPPED = (
    User,
    Role,
    Inheritance,
    Permission,
    Grant,
    Assignment,
    Exclusion,
    ExclusionRole,
    RoleSession,
    ActiveRole,
    Usage,
    Installed,
)
TABLES: tuple[Table, ...] = tuple(cast("Table", mapped.__table__) for mapped in MAPPED)
"""All tables of this package, each after those that it refers to."""
