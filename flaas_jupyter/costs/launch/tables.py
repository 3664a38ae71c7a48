"""Tables of launches. A `LaunchedMachine` is one attempt at one node, committed before its cloud is asked."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ...governance.tables import Base

_Sequence = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER primary keys only
_CASCADE = "CASCADE"


class Installation(Base):
    """The one row that names this installation: what it launches carries the id as a tag."""

    __tablename__ = "installation"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str]


class LaunchRow(Base):
    """A launch. `state` follows from its machines, see `states.of_launch`; `ending` is what people asked for."""

    __tablename__ = "launches"
    __table_args__ = (
        Index("ix_launches_project_number", "project", "number"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(_Sequence, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE))
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    title: Mapped[str | None]
    template: Mapped[str | None]
    rounds: Mapped[int | None]
    hours: Mapped[float]
    accepted_usd: Mapped[float]
    state: Mapped[str] = mapped_column(index=True)
    ending: Mapped[bool] = mapped_column(default=False)
    problem: Mapped[dict[str, Any] | None]
    created: Mapped[datetime]
    created_by: Mapped[str]
    ends_at: Mapped[datetime]
    url: Mapped[str]
    run: Mapped[str | None]
    round: Mapped[int | None]
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]

    machines: Mapped[list[LaunchedMachine]] = relationship(
        order_by="LaunchedMachine.position, LaunchedMachine.attempt", lazy="selectin", passive_deletes=True
    )


class LaunchedMachine(Base):
    """One attempt at one node of a launch.

    `user_data` is the cloud-init document as the cloud is given it, but for the secret, whose place it marks: a
    repetition must be the same to the byte, whatever version of this package makes it. `called` is when its cloud was
    last asked for it, `started` and `ended` are the machine's own. `over` says that nothing of it is left in the cloud.
    """

    __tablename__ = "machines"
    __table_args__ = (Index("ix_machines_over_started", "over", "started"),)

    launch: Mapped[int] = mapped_column(ForeignKey("launches.number", ondelete=_CASCADE), primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int]
    token: Mapped[str] = mapped_column(unique=True)
    provider: Mapped[str]
    account: Mapped[str | None]
    region: Mapped[str]
    instance_type: Mapped[str]
    market: Mapped[str]
    usd_hour: Mapped[str]
    disk_gib: Mapped[int]
    dataset: Mapped[dict[str, Any] | None]
    state: Mapped[str]
    over: Mapped[bool] = mapped_column(default=False)
    problem: Mapped[dict[str, Any] | None]
    user_data: Mapped[str | None] = mapped_column(Text)
    max_minutes: Mapped[int | None]
    machine: Mapped[str | None]
    node_id: Mapped[str | None] = mapped_column(index=True)
    tries: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[datetime | None]
    called: Mapped[datetime | None]
    planned: Mapped[datetime]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]

    @property
    def price(self) -> Decimal:
        """USD per hour when it was launched, exactly."""
        return Decimal(self.usd_hour)


class EnrolmentRow(Base):
    """A single-use secret, by its SHA-256 alone, and which node used it."""

    __tablename__ = "enrolments"

    digest: Mapped[str] = mapped_column(primary_key=True)
    launch: Mapped[int] = mapped_column(ForeignKey("launches.number", ondelete=_CASCADE), index=True)
    node: Mapped[str]
    attempt: Mapped[int]
    expires: Mapped[datetime]
    used_by: Mapped[str | None]
    used: Mapped[datetime | None]
