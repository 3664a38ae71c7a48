"""Prices of Amazon EC2's machines: the public list, spot, and what this account really paid.

The price list knows prices and little of the hardware, ``DescribeInstanceTypes`` the hardware and no prices; see
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from ..driver import PriceRow
from .aws_connection import HOME_REGION, Connection, needed
from .aws_costs import Explorer
from .aws_errors import unreachable
from .aws_machines import architecture

COMPUTE: Final = "Amazon Elastic Compute Cloud - Compute"
LEARN_DAYS: Final = 30
_LINUX_ON_DEMAND: Final[Mapping[str, str]] = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "preInstalledSw": "NA",
    "marketoption": "OnDemand",
}


def prices(aws: Connection, regions: Sequence[str], now: datetime) -> Iterator[PriceRow]:
    """Yield the prices of every machine type, region by region; see `CloudDriver.prices`."""
    for region in regions or _regions(aws):
        described = {
            str(each["InstanceType"]): each
            for each in aws.pages(
                "ec2", "describe_instance_types", "InstanceTypes", f"listing machine types of {region}", region
            )
        }
        listed = _listed(aws, region)
        spot = _spot(aws, region, now)
        for instance_type in sorted({*listed, *described}):
            usd, attributes = listed.get(instance_type, (None, {}))
            cheapest = spot.get(instance_type)
            if usd is None and cheapest is None:
                continue
            hardware = _hardware(described.get(instance_type), attributes)
            if not hardware["vcpus"]:
                continue  # in the list but described nowhere
            yield {
                "provider": "aws",
                "region": region,
                "instance_type": instance_type,
                **hardware,
                "price_usd_hour": None if usd is None else float(usd),
                "spot_usd_hour": None if cheapest is None else float(cheapest),
                "as_of": now.date(),
                "source": "AWS Price List API",
                "on_demand_available": usd is not None and instance_type in described,
            }


def _regions(aws: Connection) -> list[str]:
    doing = "listing regions"
    return sorted(
        str(each["RegionName"]) for each in needed(aws.call("ec2", "describe_regions", doing), "Regions", doing)
    )


def _filters(**more: str) -> list[dict[str, str]]:
    return [
        {"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in {**_LINUX_ON_DEMAND, **more}.items()
    ]


def one_product(aws: Connection) -> None:
    """Ask for one product, to see whether prices may be read."""
    aws.call("pricing", "get_products", "reading one price", HOME_REGION, ServiceCode="AmazonEC2", MaxResults=1)


def _listed(aws: Connection, region: str) -> dict[str, tuple[Decimal, Mapping[str, str]]]:
    """Return USD per hour and attributes by machine type."""
    doing = f"reading the price list of {region}"
    found: dict[str, tuple[Decimal, Mapping[str, str]]] = {}
    items = aws.pages(
        "pricing", "get_products", "PriceList", doing, HOME_REGION,
        ServiceCode="AmazonEC2", Filters=_filters(regionCode=region),
    )  # fmt: skip
    for text in items:
        try:
            item = json.loads(text)
            attributes = item["product"]["attributes"]
            instance_type = attributes.get("instanceType")
            terms = item["terms"].get("OnDemand", {}).values()
            dimensions = [each for term in terms for each in term["priceDimensions"].values()]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise unreachable(doing, "an item that cannot be read") from None
        for dimension in dimensions:
            usd = _decimal(dimension.get("pricePerUnit", {}).get("USD"))
            # some items are listed at 0, which is a gap and no gift
            if not instance_type or dimension.get("unit") != "Hrs" or usd is None or usd <= 0:
                continue
            if instance_type not in found or usd < found[instance_type][0]:
                found[instance_type] = (usd, attributes)
    return found


def _spot(aws: Connection, region: str, now: datetime) -> dict[str, Decimal]:
    """Return USD per hour by machine type: the newest of each zone, of the cheapest zone."""
    newest: dict[tuple[str, str], tuple[datetime, Decimal]] = {}
    history = aws.pages(
        "ec2", "describe_spot_price_history", "SpotPriceHistory", f"reading spot prices of {region}", region,
        StartTime=now, ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
    )  # fmt: skip
    for entry in history:
        usd = _decimal(entry.get("SpotPrice"))
        place = (str(entry["InstanceType"]), str(entry.get("AvailabilityZone", "")))
        if usd is not None and usd > 0 and (place not in newest or entry["Timestamp"] > newest[place][0]):
            newest[place] = (entry["Timestamp"], usd)
    cheapest: dict[str, Decimal] = {}
    for (instance_type, _), (_, usd) in newest.items():
        cheapest[instance_type] = min(usd, cheapest.get(instance_type, usd))
    return cheapest


def _hardware(described: Mapping[str, Any] | None, attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return the catalog's columns on hardware; from the price list where a type is not described in the region."""
    if described is None:
        name = attributes.get("instanceType", "")
        return {
            "arch": "arm64" if "Graviton" in attributes.get("physicalProcessor", "") else "x86_64",
            "vcpus": _first_number(attributes.get("vcpu")),
            "memory_gib": _first_number(attributes.get("memory")),
            "gpu_name": "",
            "gpu_count": _first_number(attributes.get("gpu")),
            "gpu_memory_gib": 0.0,
            "burstable": bool(re.match(r"t\d", name)),
        }
    return {
        "arch": architecture(described),
        "vcpus": float(described.get("VCpuInfo", {}).get("DefaultVCpus", 0)),
        "memory_gib": _gib(described.get("MemoryInfo", {}).get("SizeInMiB")),
        **_gpus(described.get("GpuInfo", {}).get("Gpus", ())),
        "burstable": bool(described.get("BurstablePerformanceSupported", False)),
    }


def _gpus(gpus: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not gpus:
        return {"gpu_name": "", "gpu_count": 0.0, "gpu_memory_gib": 0.0}
    gpu = gpus[0]
    name, memory = str(gpu.get("Name", "")), _gib(gpu.get("MemoryInfo", {}).get("SizeInMiB"))
    if name == "A100" and memory > 60:  # AWS calls both by one name
        name = "A100-80GB"
    count = float(gpu.get("Count") or 0)
    part = float(gpu.get("GpuPartitionSize") or 1)
    if 0 < part < 1:  # a slice, and its memory
        count = round(part * float(gpu.get("LogicalGpuCount") or 1), 4)
    return {"gpu_name": name, "gpu_count": count, "gpu_memory_gib": memory}


# ---- what this account paid ----------------------------------------------------------------------------------------


def learned(explorer: Explorer, wanted: Iterable[PriceRow], now: datetime) -> Iterator[PriceRow]:
    """Yield what `wanted` cost this account per hour of late, with all its discounts and commitments.

    Parameters
    ----------
    explorer : Explorer
    wanted : iterable of PriceRow
    now : datetime
        The last 30 days before it count; Cost Explorer is not asked if nothing is wanted.
    """
    rows = list(wanted)
    if not rows:
        return
    only = {
        "And": [
            {"Dimensions": {"Key": "SERVICE", "Values": [COMPUTE]}},
            {"Dimensions": {"Key": "PLATFORM", "Values": ["Linux/UNIX"]}},
            {"Not": {"Dimensions": {"Key": "PURCHASE_TYPE", "Values": ["Spot Instances"]}}},
            {"Dimensions": {"Key": "RECORD_TYPE", "Values": _USAGE}},
        ]
    }
    by = [{"Type": "DIMENSION", "Key": "INSTANCE_TYPE"}, {"Type": "DIMENSION", "Key": "REGION"}]
    today = now.date()
    paid: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    hours: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for group in explorer.groups(today - timedelta(days=LEARN_DAYS), today, by, only, "MONTHLY"):
        if group.currency == "USD" and group.unit.lower() in ("hrs", "hours"):
            place = (group.keys[1], group.keys[0])
            paid[place] += group.effective
            hours[place] += group.quantity
    for row in rows:
        place = (str(row["region"]), str(row["instance_type"]))
        if hours[place] >= 1 and paid[place] > 0:  # less than an hour teaches nothing
            yield {
                **row,
                "price_usd_hour": float(paid[place] / hours[place]),
                "spot_usd_hour": None,
                "as_of": today,
                "source": f"AWS Cost Explorer, cost per hour of the last {LEARN_DAYS} days",
                "kind": "learned",
            }


_USAGE: Final = ["Usage", "DiscountedUsage", "SavingsPlanCoveredUsage"]


def _decimal(value: Any) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _first_number(text: str | None) -> float:
    found = re.search(r"[\d,]+(?:\.\d+)?", text or "")
    return float(found[0].replace(",", "")) if found else 0.0


def _gib(mib: Any) -> float:
    return round(float(mib or 0) / 1024, 2)
