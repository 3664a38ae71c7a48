"""The clouds' own export files turned into FOCUS rows: AWS Cost and Usage Report, Azure cost export, Google Cloud.

Each row of an export becomes one row; credits that Google nests in a row count into what that row bills. Column names
are those of the vendors' documents:
https://docs.aws.amazon.com/cur/latest/userguide/data-dictionary.html,
https://learn.microsoft.com/azure/cost-management-billing/automate/understand-usage-details-fields and
https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from .focus import MANDATORY

Row = dict[str, Any]
Converter = Callable[[Mapping[str, str]], Row]

_DATES = ("%Y-%m-%d", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S", "%Y%m%d")
_DAY = timedelta(days=1)

# Families and services to the closed list of FOCUS; what is not named here is "Other".
_CATEGORIES = {
    "AmazonEC2": "Compute", "AWSLambda": "Compute", "AmazonECS": "Compute", "AmazonEKS": "Compute",
    "AmazonS3": "Storage", "AmazonEFS": "Storage", "AmazonGlacier": "Storage", "AmazonECR": "Compute",
    "AmazonRDS": "Databases", "AmazonDynamoDB": "Databases", "AmazonElastiCache": "Databases",
    "AmazonVPC": "Networking", "AmazonRoute53": "Networking", "AmazonCloudFront": "Networking",
    "AWSDataTransfer": "Networking", "AWSELB": "Networking", "AmazonCloudWatch": "Management and Governance",
    "AWSCloudTrail": "Management and Governance", "AWSConfig": "Management and Governance", "awskms": "Security",
    "AmazonSNS": "Integration", "AWSQueueService": "Integration", "AmazonAthena": "Analytics", "AWSGlue": "Analytics",
    "AmazonSageMaker": "AI and Machine Learning",
    "Virtual Machines": "Compute", "Virtual Machines Licenses": "Compute", "Container Instances": "Compute",
    "Storage": "Storage", "Bandwidth": "Networking", "Virtual Network": "Networking", "Load Balancer": "Networking",
    "SQL Database": "Databases", "SQL Managed Instance": "Databases", "Azure Cosmos DB": "Databases",
    "Log Analytics": "Management and Governance", "Azure Monitor": "Management and Governance",
    "Event Hubs": "Integration", "Azure Data Factory v2": "Analytics", "Key Vault": "Security",
    "Azure Machine Learning": "AI and Machine Learning",
}  # fmt: skip

_AWS_TYPES = {
    "Tax": "Tax", "Credit": "Credit", "Refund": "Credit", "Fee": "Purchase", "RIFee": "Purchase",
    "SavingsPlanRecurringFee": "Purchase", "SavingsPlanUpfrontFee": "Purchase", "BundledDiscount": "Credit",
    "EdpDiscount": "Credit", "PrivateRateDiscount": "Credit", "SavingsPlanNegation": "Credit",
}  # fmt: skip
_AZURE_TYPES = {
    "Usage": "Usage", "Purchase": "Purchase", "Tax": "Tax", "Refund": "Credit", "Adjustment": "Adjustment",
    "UnusedReservation": "Usage", "UnusedSavingsPlan": "Usage", "RoundingAdjustment": "Adjustment",
}  # fmt: skip
_AZURE_FREQUENCIES = {"usagebased": "Usage-Based", "onetime": "One-Time", "recurring": "Recurring"}


def converter(header: Iterable[str]) -> Converter | None:
    """Return what turns rows with these columns into FOCUS rows; None if they are no export that is known."""
    names = set(header)
    if {"lineItem/UnblendedCost", "lineItem/UsageStartDate"} <= names:
        return from_aws
    if "MeterId" in names and ({"Cost", "CostInBillingCurrency"} & names):
        return from_azure
    if {"billing_account_id", "usage_start_time", "cost", "service.description"} <= names:
        return from_gcp
    return None


def from_aws(row: Mapping[str, str]) -> Row:
    """Return a row of a Cost and Usage Report (slash names) as a FOCUS row."""
    code = row.get("lineItem/ProductCode") or "AWS"
    billed = row["lineItem/UnblendedCost"]
    kind = row.get("lineItem/LineItemType", "")
    effective = {
        "SavingsPlanCoveredUsage": row.get("savingsPlan/SavingsPlanEffectiveCost"),
        "DiscountedUsage": row.get("reservation/EffectiveCost"),
        "SavingsPlanNegation": "0",
    }.get(kind)
    return {
        "AvailabilityZone": row.get("lineItem/AvailabilityZone"),
        "BilledCost": billed,
        "BillingAccountId": row.get("bill/PayerAccountId"),
        "BillingAccountName": None,
        "BillingCurrency": row.get("lineItem/CurrencyCode"),
        "BillingPeriodEnd": row.get("bill/BillingPeriodEndDate"),
        "BillingPeriodStart": row.get("bill/BillingPeriodStartDate"),
        "ChargeCategory": _AWS_TYPES.get(kind, "Usage"),
        "ChargeClass": "Correction" if kind == "Refund" else None,
        "ChargeDescription": row.get("lineItem/LineItemDescription"),
        "ChargeFrequency": "Recurring" if kind.endswith(("RecurringFee", "RIFee")) else "Usage-Based",
        "ChargePeriodEnd": _after(row.get("lineItem/UsageStartDate"), row.get("lineItem/UsageEndDate")),
        "ChargePeriodStart": row["lineItem/UsageStartDate"],
        "ConsumedQuantity": row.get("lineItem/UsageAmount"),
        "ConsumedUnit": row.get("pricing/unit"),
        "ContractedCost": None,
        "EffectiveCost": effective or billed,
        "InvoiceIssuerName": row.get("lineItem/LegalEntity") or "Amazon Web Services",
        "ListCost": row.get("pricing/publicOnDemandCost") or billed,
        "PricingCategory": {"OnDemand": "Standard", "Spot": "Dynamic", "Reserved": "Committed"}.get(
            row.get("pricing/term", "")
        ),
        "PricingQuantity": row.get("lineItem/UsageAmount"),
        "PricingUnit": row.get("pricing/unit"),
        "ProviderName": "AWS",
        "PublisherName": row.get("lineItem/LegalEntity") or "AWS",
        "RegionId": row.get("product/regionCode") or row.get("product/region"),
        "RegionName": row.get("product/location"),
        "ResourceId": row.get("lineItem/ResourceId"),
        "ResourceType": row.get("product/productFamily") or row.get("lineItem/Operation"),
        "ServiceCategory": _CATEGORIES.get(code, "Other"),
        "ServiceName": row.get("product/ProductName") or row.get("product/servicename") or code,
        "SkuId": row.get("product/sku"),
        "SkuPriceId": row.get("pricing/RateCode") or row.get("lineItem/UsageType"),
        "SubAccountId": row.get("lineItem/UsageAccountId"),
        "Tags": {
            name.partition("/")[2].removeprefix("user:"): value
            for name, value in row.items()
            if name.startswith("resourceTags/") and value
        },
    }


def from_azure(row: Mapping[str, str]) -> Row:
    """Return a row of an Azure cost export (EA or version 2, actual or amortised) as a FOCUS row."""
    day = _date(row["Date"])
    cost = row.get("CostInBillingCurrency") or row.get("Cost")
    service = row.get("MeterCategory") or row.get("ConsumedService") or "Azure"
    quantity = row.get("Quantity")
    model = row.get("PricingModel", "")
    return {
        "AvailabilityZone": row.get("AvailabilityZone"),
        "BilledCost": cost,
        "BillingAccountId": row.get("BillingAccountId"),
        "BillingAccountName": row.get("BillingAccountName"),
        "BillingCurrency": row.get("BillingCurrencyCode") or row.get("BillingCurrency"),
        "BillingPeriodEnd": _date(row["BillingPeriodEndDate"]) + _DAY,  # theirs is the last day
        "BillingPeriodStart": _date(row["BillingPeriodStartDate"]),
        "ChargeCategory": _AZURE_TYPES.get(row.get("ChargeType", ""), "Usage"),
        "ChargeClass": "Correction" if row.get("ChargeType") == "Refund" else None,
        "ChargeDescription": row.get("ProductName") or row.get("Product"),
        "ChargeFrequency": _AZURE_FREQUENCIES.get(row.get("Frequency", "").lower()),
        "ChargePeriodEnd": day + _DAY,
        "ChargePeriodStart": day,
        "ConsumedQuantity": quantity,
        "ConsumedUnit": row.get("UnitOfMeasure"),
        "ContractedCost": None,
        "EffectiveCost": cost,
        "InvoiceIssuerName": "Microsoft",
        "ListCost": _azure_list(row, quantity) or cost,
        "PricingCategory": {
            "OnDemand": "Standard", "Spot": "Dynamic", "Reservation": "Committed", "SavingsPlan": "Committed",
        }.get(model),
        "PricingQuantity": quantity,
        "PricingUnit": row.get("UnitOfMeasure"),
        "ProviderName": "Microsoft",
        "PublisherName": row.get("PublisherName") or "Microsoft",
        "RegionId": row.get("ResourceLocation", "").lower().replace(" ", ""),
        "RegionName": row.get("MeterRegion"),
        "ResourceId": row.get("ResourceId"),
        "ResourceName": row.get("ResourceName"),
        "ResourceType": row.get("ConsumedService"),
        "ServiceCategory": _CATEGORIES.get(service, "Other"),
        "ServiceName": service,
        "SkuId": row.get("MeterId"),
        "SkuPriceId": row.get("PartNumber"),
        "SubAccountId": row.get("SubscriptionId"),
        "SubAccountName": row.get("SubscriptionName"),
        "Tags": _azure_tags(row.get("Tags", "")),
    }  # fmt: skip


def from_gcp(row: Mapping[str, str]) -> Row:
    """Return a row of a BigQuery billing export, flattened to dotted names, as a FOCUS row.

    It is read as the driver reads the same table; what a file tells besides is kept too.
    """
    from ..providers.gcp_costs import rows_from_export

    (known,) = rows_from_export([row])
    kind = row.get("cost_type", "regular")
    return {
        **dict.fromkeys(MANDATORY),
        **known,
        "AvailabilityZone": row.get("location.zone"),
        "ChargeClass": "Correction" if kind == "adjustment" else None,
        "ChargeDescription": row.get("sku.description"),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": _after(row["usage_start_time"], row.get("usage_end_time")),
        "ConsumedQuantity": row.get("usage.amount"),
        "ConsumedUnit": row.get("usage.unit"),
        "ContractedCost": row["cost"],
        "InvoiceIssuerName": "Google Cloud",
        "PublisherName": "Google Cloud",
        "RegionName": row.get("location.location"),
        "ResourceName": row.get("resource.name"),
        "SkuId": row.get("sku.id"),
        "SubAccountName": row.get("project.name"),
    }


def _date(text: str) -> datetime:
    """Read a day in any of the spellings that exports have; months come before days, as everywhere in Azure's."""
    for form in _DATES:
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError(f"{text[:40]!r} is no date of an export")


def _after(start: str | None, end: str | None) -> str | datetime | None:
    """Return the end of a period; some charges of an instant have the same end as start, and get a second."""
    if start and (not end or end == start):
        return datetime.fromisoformat(start) + timedelta(seconds=1)
    return end


def _azure_list(row: Mapping[str, str], quantity: str | None) -> Decimal | None:
    """Return quantity x pay-as-you-go price; None where the export does not tell that price."""
    try:
        price = Decimal(row.get("PayGPrice") or "0")
        return Decimal(quantity or "0") * price if price > 0 else None
    except InvalidOperation:
        return None


def _azure_tags(text: str) -> dict[str, str]:
    """Read tags, which most exports write without the braces of an object."""
    text = text.strip()
    if not text:
        return {}
    found = json.loads(text if text.startswith("{") else f"{{{text}}}")
    return {str(key): str(value) for key, value in found.items()}
