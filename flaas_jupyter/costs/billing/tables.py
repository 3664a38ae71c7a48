"""Tables of what was billed: charges in FOCUS columns, their roll-up, which fetch covers which day, and budgets."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from ...governance.tables import Base

_CASCADE = "CASCADE"


class Charge(Base):
    """A billed charge.

    `source` is the cloud account that it was fetched from, or `FILES`. `line` is the digest of everything that
    identifies it, `ordinal` its place among the charges that have the same (no bill numbers its rows). `delivered` and
    `digest` are those of the delivery that its group came with. Amounts are in two parts, see `money`; quantities are
    as they were told. `project` and `node` are our tags, empty without. `account` is `focus.account`.
    """

    __tablename__ = "charges"
    __table_args__ = (Index("ix_charges_organisation_day", "organisation", "day", "source"),)

    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete=_CASCADE), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    delivered: Mapped[datetime]
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    day: Mapped[date]
    project: Mapped[str]
    provider: Mapped[str]
    node: Mapped[str]
    account: Mapped[str]
    billed_micro: Mapped[int] = mapped_column(BigInteger)
    billed_femto: Mapped[int] = mapped_column(BigInteger)
    effective_micro: Mapped[int] = mapped_column(BigInteger)
    effective_femto: Mapped[int] = mapped_column(BigInteger)
    list_micro: Mapped[int] = mapped_column(BigInteger)
    list_femto: Mapped[int] = mapped_column(BigInteger)
    availability_zone: Mapped[str | None]
    billing_account_id: Mapped[str]
    billing_account_name: Mapped[str | None]
    billing_currency: Mapped[str]
    billing_period_end: Mapped[datetime]
    billing_period_start: Mapped[datetime]
    charge_category: Mapped[str]
    charge_class: Mapped[str | None]
    charge_description: Mapped[str | None]
    charge_frequency: Mapped[str | None]
    charge_period_end: Mapped[datetime]
    charge_period_start: Mapped[datetime]
    consumed_quantity: Mapped[str | None]
    consumed_unit: Mapped[str | None]
    contracted_cost: Mapped[str | None]
    invoice_issuer_name: Mapped[str | None]
    pricing_category: Mapped[str | None]
    pricing_quantity: Mapped[str | None]
    pricing_unit: Mapped[str | None]
    provider_name: Mapped[str]
    publisher_name: Mapped[str | None]
    region_id: Mapped[str | None]
    region_name: Mapped[str | None]
    resource_id: Mapped[str | None]
    resource_name: Mapped[str | None]
    resource_type: Mapped[str | None]
    service_category: Mapped[str]
    service_name: Mapped[str]
    sku_id: Mapped[str | None]
    sku_price_id: Mapped[str | None]
    sub_account_id: Mapped[str | None]
    sub_account_name: Mapped[str | None]
    tags: Mapped[str | None] = mapped_column(Text)


class CostRollup(Base):
    """The charges of one key added up; what the dashboard reads. Both parts of amounts are plain sums."""

    __tablename__ = "cost_rollups"
    __table_args__ = ({"sqlite_with_rowid": False},)

    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete=_CASCADE), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    service: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    region: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    rows: Mapped[int] = mapped_column(BigInteger)
    billed_micro: Mapped[int] = mapped_column(BigInteger)
    billed_femto: Mapped[int] = mapped_column(BigInteger)
    effective_micro: Mapped[int] = mapped_column(BigInteger)
    effective_femto: Mapped[int] = mapped_column(BigInteger)
    list_micro: Mapped[int] = mapped_column(BigInteger)
    list_femto: Mapped[int] = mapped_column(BigInteger)


class BillCoverage(Base):
    """The newest fetch that has told all charges of a day of one source."""

    __tablename__ = "bill_coverage"

    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete=_CASCADE), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    delivered: Mapped[datetime]
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))


class BillImport(Base):
    """Files that were imported under one name, for people to see what there is."""

    __tablename__ = "bill_imports"

    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete=_CASCADE), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    delivered: Mapped[datetime]
    received: Mapped[datetime]


class ProjectBudget(Base):
    """What an organisation means to spend on a project, in USD, over its whole life."""

    __tablename__ = "project_budgets"

    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete=_CASCADE), primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True)
    budget_usd: Mapped[float]
    warn_at: Mapped[float]
