"""Tables of an organisation's own templates and of the prices that its cloud accounts have."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ..governance.tables import Base


class OwnTemplate(Base):
    """A template that an organisation has defined."""

    __tablename__ = "cost_templates"

    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    template: Mapped[dict[str, Any]]
    created: Mapped[datetime]


class OwnPrice(Base):
    """What an organisation pays for a machine, where a provider told so or bills showed it."""

    __tablename__ = "cost_prices"

    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"), primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    region: Mapped[str] = mapped_column(primary_key=True)
    instance_type: Mapped[str] = mapped_column(primary_key=True)
    market: Mapped[str] = mapped_column(primary_key=True)
    usd_hour: Mapped[float]
    kind: Mapped[str]
    source: Mapped[str]
    as_of: Mapped[date] = mapped_column(Date)
