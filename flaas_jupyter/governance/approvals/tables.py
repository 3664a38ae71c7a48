"""Tables of approvals: requests, what was decided, the policy's versions, the founding phase, and emergencies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ..tables import Base

PENDING, EXECUTED, DENIED, EXPIRED, WITHDRAWN, FAILED = (
    "pending",
    "executed",
    "denied",
    "expired",
    "withdrawn",
    "failed",
)
STATES = (PENDING, EXECUTED, DENIED, EXPIRED, WITHDRAWN, FAILED)
_PENDING = text("state = 'pending'")


class Request(Base):
    """A critical action that waits for approvals, or what became of it.

    `document` is the exact text that approvers see and sign the digest of (see `documents`); `factors` are those that
    were in force when it was asked for. `due` is when it may be executed, once all approvals are there.
    """

    __tablename__ = "approval_requests"
    __table_args__ = (
        Index("uq_approval_requests_pending", "sha256", unique=True, sqlite_where=_PENDING, postgresql_where=_PENDING),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[str]
    scope: Mapped[str]
    requester: Mapped[str] = mapped_column(index=True)
    organisation: Mapped[str] = mapped_column(index=True)
    document: Mapped[str]
    sha256: Mapped[str] = mapped_column(index=True)
    factors: Mapped[list[Any]]
    within: Mapped[list[Any]]
    cooling: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)
    created: Mapped[datetime]
    expires: Mapped[datetime]
    due: Mapped[datetime | None]
    closed: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]


class RequestScope(Base):
    """A scope in which a request is seen by those who may read requests there."""

    __tablename__ = "approval_scopes"

    request: Mapped[str] = mapped_column(ForeignKey("approval_requests.id"), primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)


class Decision(Base):
    """What one person has decided, with that person's signature.

    `factors` are the places in the request's factors that the person had an active role for at that moment.
    """

    __tablename__ = "approval_decisions"

    request: Mapped[str] = mapped_column(ForeignKey("approval_requests.id"), primary_key=True)
    decider: Mapped[str] = mapped_column(primary_key=True)
    decision: Mapped[str]
    role: Mapped[str]
    factors: Mapped[list[Any]]
    time: Mapped[int]
    key: Mapped[str]
    signature: Mapped[str]
    created: Mapped[datetime]


class PolicyVersion(Base):
    """The policy as it was from `created` on; the last is in force."""

    __tablename__ = "approval_policies"

    number: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[dict[str, Any]]
    changed_by: Mapped[str]
    request: Mapped[str | None] = mapped_column(ForeignKey("approval_requests.id"))
    created: Mapped[datetime]


class Founding(Base):
    """One row, made when the founding phase is closed."""

    __tablename__ = "approval_founding"

    id: Mapped[int] = mapped_column(primary_key=True)
    closed: Mapped[datetime]
    closed_by: Mapped[str]


class EmergencyWindow(Base):
    """For how long somebody may do one action, in one scope, without further approval."""

    __tablename__ = "approval_windows"

    id: Mapped[str] = mapped_column(ForeignKey("approval_requests.id"), primary_key=True)
    action: Mapped[str]
    scope: Mapped[str]
    person: Mapped[str]
    organisation: Mapped[str]
    reason: Mapped[str]
    opened: Mapped[datetime]
    closes: Mapped[datetime] = mapped_column(index=True)


class EmergencyUse(Base):
    """An action that was done in an emergency window."""

    __tablename__ = "approval_uses"

    number: Mapped[int] = mapped_column(primary_key=True)
    window: Mapped[str] = mapped_column(ForeignKey("approval_windows.id"), index=True)
    sha256: Mapped[str]
    document: Mapped[str]
    used: Mapped[datetime]
