"""Prices of an Azure account of its own: from its price sheet, or worked out of what it paid lately.

Both know meters only; the public list says which meter is which size in which region. The sheet's columns are those of
https://learn.microsoft.com/azure/cost-management-billing/dataset-schema/price-sheet-mca.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit

from ...errors import InvalidInput
from ..driver import CloudUnreachable, PriceRow
from .azure_arm import Arm
from .azure_costs import query
from .azure_prices import decimal, retail

log = logging.getLogger(__name__)

SHEET_ACTION: Final = "Microsoft.CostManagement/pricesheets/download/action"
_SHEET_LIMIT: Final = 1 << 30
_LEARN_DAYS: Final = 30
_SCOPE: Final = re.compile(
    r"(?:/providers/Microsoft\.Billing)?/billingAccounts/(?P<account>[^/]+)(?:/billingProfiles/(?P<profile>[^/]+))?/?",
    re.IGNORECASE,
)


class _Own(Protocol):
    kind: Literal["negotiated", "learned"]
    source: str

    def usd_hour(self, meter: str, listed: Decimal | None) -> Decimal | None: ...


def negotiated(arm: Arm, billing_scope: str, wanted: Iterable[PriceRow]) -> Iterator[PriceRow]:
    """Yield the account's own price of each row wanted that has one; see `CloudDriver.negotiated`.

    Rows have ``price_usd_hour`` or ``spot_usd_hour`` or both, and ``kind``: ``"negotiated"`` from the price sheet of
    `billing_scope`, ``"learned"`` from the last 30 days' costs without one.
    """
    asked: dict[str, dict[str, str]] = {}
    for row in wanted:
        name = str(row["instance_type"])
        asked.setdefault(str(row["region"]).lower(), {})[name.lower()] = name
    if not asked:
        return
    today = datetime.now(UTC).date()
    own: _Own = PriceSheet(arm, billing_scope, today) if billing_scope else PaidPrices(arm, today)
    for region, names in sorted(asked.items()):
        listed = retail(arm, region, today)
        for low, name in sorted(names.items()):
            if low not in listed:
                continue
            found = {}
            for market, column in (("on_demand", "price_usd_hour"), ("spot", "spot_usd_hour")):
                usd = own.usd_hour(listed[low].meters.get(market, ""), listed[low].usd.get(market))
                if usd is not None:
                    found[column] = float(usd)
            if found:
                place = {"provider": "azure", "region": region, "instance_type": name}
                yield {**place, **found, "kind": own.kind, "source": own.source, "as_of": today}


class PaidPrices:
    """What the subscription paid per hour of each meter lately.

    Parameters
    ----------
    arm : Arm
    today : date
        The last 30 days before it are looked at.
    """

    kind: Literal["negotiated", "learned"] = "learned"
    source = "Azure Cost Management, cost per hour of the last 30 days"

    def __init__(self, arm: Arm, today: date) -> None:
        grouping = [{"type": "Dimension", "name": "MeterId"}]
        only = {"dimensions": {"name": "ServiceName", "operator": "In", "values": ["Virtual Machines"]}}
        totals = {"usd": {"name": "CostUSD", "function": "Sum"}, "hours": {"name": "UsageQuantity", "function": "Sum"}}
        self._usd: dict[str, Decimal] = {}
        start = today - timedelta(days=_LEARN_DAYS)
        for row in query(arm, start, today, grouping, totals, only, granularity="None"):
            usd, hours = decimal(row.get("costusd")), decimal(row.get("usagequantity"))
            if usd and hours and usd > 0 and hours > 0:
                self._usd[str(row.get("meterid", "")).lower()] = usd / hours

    def usd_hour(self, meter: str, listed: Decimal | None) -> Decimal | None:
        """Return the price of a meter, None if it was not used."""
        return self._usd.get(meter) if meter else None


class PriceSheet:
    """The price sheet of a billing profile (Microsoft Customer Agreement) or account (Enterprise Agreement).

    Prices in another currency than USD become USD by the discount: own price over the sheet's list price, times the
    list price in USD. Without a list price beside it such a price is left out.

    Parameters
    ----------
    arm : Arm
    billing_scope : str
        ``/providers/Microsoft.Billing/billingAccounts/...`` with or without ``/billingProfiles/...``.
    today : date
        The sheet of its month is taken.

    Raises
    ------
    InvalidInput
        Code ``bad-billing-scope``.
    """

    kind: Literal["negotiated", "learned"] = "negotiated"

    def __init__(self, arm: Arm, billing_scope: str, today: date) -> None:
        scope = _SCOPE.fullmatch(billing_scope)
        if scope is None:
            raise InvalidInput(
                f"{billing_scope[:200]!r} is no billing scope.",
                code="bad-billing-scope",
                hint="Give /providers/Microsoft.Billing/billingAccounts/<id>, with or without /billingProfiles/<id>.",
            )
        account, profile = scope["account"], scope["profile"]
        self.source = f"Azure price sheet of {profile or account}"
        self._rows: dict[str, Mapping[str, str]] = {}
        with arm.errors("asking for the price sheet", SHEET_ACTION):
            sheets = arm.costs.price_sheet
            if profile:
                url = sheets.begin_download_by_billing_profile(account, profile).result().download_url
            else:
                month = f"{today:%Y%m}"
                url = sheets.begin_download_by_billing_account(account, month).result().properties.report_url
        for row in _table(_download(arm, str(url or ""))):
            meter = row.get("meterid", "").lower()
            consumption = row.get("pricetype", "Consumption").lower() == "consumption"
            if meter and consumption and not decimal(row.get("tierminimumunits") or 0):
                self._rows[meter] = row

    def usd_hour(self, meter: str, listed: Decimal | None) -> Decimal | None:
        """Return the price of a meter, None if the sheet has none that can be told in USD."""
        row = self._rows.get(meter) if meter else None
        if row is None:
            return None
        price, per = decimal(row.get("unitprice")), decimal(row.get("unitofmeasure", "1").split(" ")[0])
        if price is None or price <= 0 or not per:
            return None
        if (row.get("currency") or row.get("currencycode") or row.get("billingcurrency")) == "USD":
            return price / per
        market = decimal(row.get("marketprice"))
        if market and listed is not None:
            return listed * price / market
        log.warning("the price sheet's price of meter %s is in another currency and was left out", meter)
        return None


def _download(arm: Arm, url: str) -> bytes:
    """Fetch a report from storage: the address itself is the permission, so no credentials go along."""
    from azure.core.rest import HttpRequest

    parts = urlsplit(url)
    if parts.scheme != "https":
        raise CloudUnreachable("Azure gave no https address for the price sheet.", hint="Try again.")
    base = f"{parts.scheme}://{parts.netloc}"
    content = bytearray()
    with arm.errors("downloading the price sheet"), arm.public_client(base) as client:
        response = client.send_request(HttpRequest("GET", url), stream=True)
        with response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > _SHEET_LIMIT:
                    raise CloudUnreachable(f"The price sheet is larger than {_SHEET_LIMIT} bytes.")
    return bytes(content)


def _table(content: bytes) -> Iterator[Mapping[str, str]]:
    """Yield the rows of a CSV, or of all in a ZIP, with column names in small letters and no spaces."""
    if not content.startswith(b"PK"):
        yield from _rows(io.BytesIO(content))
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                if entry.filename.lower().endswith(".csv") and entry.file_size <= _SHEET_LIMIT:
                    with archive.open(entry) as file:
                        yield from _rows(file)
    except zipfile.BadZipFile:
        raise CloudUnreachable("Azure's price sheet is no whole ZIP file.", hint="Try again.") from None


def _rows(file: Any) -> Iterator[Mapping[str, str]]:
    for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline="")):
        yield {re.sub(r"[^a-z]", "", str(name).lower()): str(value or "") for name, value in row.items()}
