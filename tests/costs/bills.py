"""Rows of made-up bills, and where the samples of real ones are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import Session

from flaas_jupyter.coordination.tables import Base, Charge, CostRollup

FORM = {
    "BilledCost": "1.5", "BillingAccountId": "123", "BillingAccountName": "Hospital", "BillingCurrency": "USD",
    "BillingPeriodEnd": "2026-09-01T00:00:00Z", "BillingPeriodStart": "2026-08-01T00:00:00Z",
    "ChargeCategory": "Usage", "ChargeClass": "", "ChargeDescription": "m7i.large in eu-central-1",
    "ChargePeriodEnd": "2026-08-04T00:00:00Z", "ChargePeriodStart": "2026-08-03T00:00:00Z", "ContractedCost": "1.5",
    "EffectiveCost": "1.25", "InvoiceIssuerName": "AWS", "ListCost": "2", "PricingQuantity": "24",
    "PricingUnit": "Hours", "ProviderName": "AWS", "PublisherName": "AWS", "ServiceCategory": "Compute",
    "ServiceName": "Amazon EC2", "RegionId": "eu-central-1", "ResourceId": "i-1",
    "Tags": '{"flaas-project": "credit", "flaas-node": "north"}',
}  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    """Return a row in FOCUS columns."""
    return {**FORM, **changes}


def samples() -> Path:
    """Return the folder of billing samples; the test is skipped where there is none."""
    named = os.environ.get("FLAAS_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (folder / "cloud-billing").is_dir():
        pytest.skip("FLAAS_DATA names no folder with cloud-billing, and there is none beside the checkout")
    return folder / "cloud-billing"


@contextmanager
def empty_base() -> Iterator[Session]:
    """Open a session on an empty data base in memory."""
    engine = create_engine("sqlite://")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=OFF"))
    Base.metadata.create_all(engine, tables=[Base.metadata.tables[name] for name in _TABLES])
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


_TABLES = ("organisations", "charges", "cost_rollups", "bill_coverage", "bill_imports", "cloud_accounts")


def table(session: Session) -> list[tuple[Any, ...]]:
    """Return all charges as they stand, in one order."""
    session.expire_all()
    columns = Charge.__table__.columns
    return sorted((tuple(found) for found in session.execute(select(*columns))), key=repr)


def rollup(session: Session) -> list[tuple[Any, ...]]:
    """Return the whole roll-up, in one order."""
    return sorted((tuple(found) for found in session.execute(select(*CostRollup.__table__.columns))), key=repr)
