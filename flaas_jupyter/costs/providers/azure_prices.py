"""Prices of Azure's virtual machines: the public list, and what a size is.

The price list knows prices but not hardware, the list of sizes knows hardware but not prices; see
https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices and
https://learn.microsoft.com/rest/api/compute/resource-skus.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import urlencode

from ..driver import CloudUnreachable, PriceRow
from .azure_arm import Arm

RETAIL: Final = "https://prices.azure.com"
RETAIL_VERSION: Final = "2023-01-01-preview"
SKUS_ACTION: Final = "Microsoft.Compute/skus/read"

_GPUS: Final[tuple[tuple[str, str, float], ...]] = (
    (r"_T4_v\d", "T4", 16),
    (r"^NV\d+\w*_A10_v\d|^NC\d+\w*_A10_v\d", "A10", 24),
    (r"^NC\d+\w*_A100_v4|^ND\d+amsr_A100_v4", "A100-80GB", 80),
    (r"^ND\d+asr_v4", "A100", 40),
    (r"^NCC?\d+\w*_H100_v5", "H100-NVL", 94),
    (r"^ND\d+\w*_H100_v5", "H100", 80),
    (r"^ND\d+\w*_H200_v5", "H200", 141),
    (r"^ND\d+\w*_MI300X_v5", "MI300X", 192),
    (r"^NC\d+\w*_v3", "V100", 16),
    (r"^ND40\w*_v2", "V100", 32),
    (r"^NV\d+\w*_v[23]", "M60", 8),
)
"""Pattern of the size's name without ``Standard_``, model, memory in GiB; the list of sizes names no model. From
https://learn.microsoft.com/azure/virtual-machines/sizes/overview, GPU accelerated."""
_SLICES: Final[Mapping[str, float]] = {
    "NV6ads_A10_v5": 1 / 6,
    "NV12ads_A10_v5": 1 / 3,
    "NV18ads_A10_v5": 1 / 2,
    "NC8ads_A10_v4": 1 / 3,
    "NC16ads_A10_v4": 2 / 3,
}
"""Parts of a GPU, which the list of sizes calls a whole one."""


@dataclass(frozen=True)
class Size:
    """What a machine type is in one region.

    Parameters
    ----------
    name, arch : str
        Such as ``Standard_D4s_v5``, ``x86_64``.
    vcpus, memory_gib : float
    gpu_name : str
        Empty without, or if the model is not known.
    gpu_count : float
        Below 1 for a slice.
    gpu_memory_gib : float
        Of each GPU, or of the slice.
    available : bool
        Whether this subscription may order it there.
    second_generation, trusted_launch : bool
        What it boots.
    """

    name: str
    arch: str
    vcpus: float
    memory_gib: float
    gpu_name: str
    gpu_count: float
    gpu_memory_gib: float
    available: bool
    second_generation: bool
    trusted_launch: bool

    @property
    def burstable(self) -> bool:
        """Whether it is of a B series, which runs on credits."""
        return bool(re.match(r"Standard_B\d", self.name))


def sizes(arm: Arm, region: str = "") -> dict[str, Size]:
    """Return the sizes of a region by lower-case name."""
    found = {}
    with arm.errors("listing machine types", SKUS_ACTION):
        for sku in arm.compute.resource_skus.list(filter=f"location eq '{region}'"):
            if sku.resource_type == "virtualMachines":
                size = _size(sku, region)
                found[size.name.lower()] = size
    return found


def regions_sold(arm: Arm) -> list[str]:
    """Return the regions in which this subscription finds machine types."""
    regions = set()
    with arm.errors("listing regions", SKUS_ACTION):
        for sku in arm.compute.resource_skus.list():
            if sku.resource_type == "virtualMachines":
                regions |= {str(place).lower() for place in sku.locations or ()}
    return sorted(regions)


def _size(sku: Any, region: str) -> Size:
    can = {str(each.name): str(each.value) for each in sku.capabilities or ()}
    name = str(sku.name)
    count, model, memory = _gpu(name, _number(can.get("GPUs")))
    restricted = any(
        str(getattr(each.type, "value", each.type)).lower() == "location"
        and region.lower() in {str(place).lower() for place in each.values_property or ()}
        for each in sku.restrictions or ()
    )
    second = "V2" in can.get("HyperVGenerations", "V1,V2")
    arch = "arm64" if can.get("CpuArchitectureType", "x64").lower() == "arm64" else "x86_64"
    return Size(
        name,
        arch,
        _number(can.get("vCPUsAvailable")) or _number(can.get("vCPUs")),
        _number(can.get("MemoryGB")),
        model,
        count,
        memory,
        not restricted,
        second,
        second and can.get("TrustedLaunchDisabled", "False").lower() != "true",
    )


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _gpu(name: str, listed: float) -> tuple[float, str, float]:
    """Return count, model and memory of each GPU; a slice's memory is its own."""
    short = name.removeprefix("Standard_")
    if not listed and short not in _SLICES:
        return 0.0, "", 0.0
    model, memory = next(((m, gib) for pattern, m, gib in _GPUS if re.search(pattern, short)), ("", 0.0))
    share = _SLICES.get(short)
    return (round(share, 4), model, round(memory * share, 4)) if share else (listed, model, memory)


# ---- the public list -----------------------------------------------------------------------------------------------


@dataclass
class Listed:
    """List prices of one size in one region, by market: USD per hour, the meter's id, since when."""

    meters: dict[str, str]
    usd: dict[str, Decimal]
    since: dict[str, str]


def prices(arm: Arm, regions: Sequence[str] = ()) -> Iterator[PriceRow]:
    """Yield the list price of every size that has hardware data, region by region; see `CloudDriver.prices`."""
    today = datetime.now(UTC).date()
    for region in [each.lower() for each in regions] or regions_sold(arm):
        known = sizes(arm, region)
        for name, listed in sorted(retail(arm, region, today).items()):
            size = known.get(name)
            if size is None or size.vcpus <= 0:
                continue  # in the price list but nowhere described: retired or of another cloud
            normal, spot = listed.usd.get("on_demand"), listed.usd.get("spot")
            yield {
                "provider": "azure",
                "region": region,
                "instance_type": size.name,
                "arch": size.arch,
                "vcpus": size.vcpus,
                "memory_gib": size.memory_gib,
                "gpu_name": size.gpu_name,
                "gpu_count": size.gpu_count,
                "gpu_memory_gib": size.gpu_memory_gib,
                "burstable": size.burstable,
                "price_usd_hour": None if normal is None else float(normal),
                "spot_usd_hour": None if spot is None else float(spot),
                "as_of": today,
                "source": "Azure Retail Prices API",
                "on_demand_available": size.available and normal is not None,
            }


def retail(arm: Arm, region: str, today: date) -> dict[str, Listed]:
    """Return Linux prices of a region by lower-case size, of the newest price that is in force."""
    found: dict[str, Listed] = {}
    for item in _items(arm, region):
        product, meter = str(item.get("productName", "")), str(item.get("meterName", ""))
        if any(word in product for word in ("Windows", "Dedicated", "CloudServices")) or "Low Priority" in meter:
            continue
        usd, name = decimal(item.get("retailPrice")), str(item.get("armSkuName", "")).lower()
        since = str(item.get("effectiveStartDate", ""))[:10]
        hourly = item.get("unitOfMeasure") == "1 Hour" and item.get("currencyCode") == "USD"
        # some sizes are listed at 0, which is a gap and no gift
        if not name or not hourly or usd is None or usd <= 0 or since > today.isoformat():
            continue
        market = "spot" if "Spot" in meter else "on_demand"
        listed = found.setdefault(name, Listed({}, {}, {}))
        if since >= listed.since.get(market, ""):
            listed.since[market], listed.usd[market] = since, usd
            listed.meters[market] = str(item.get("meterId", "")).lower()
    return found


def _items(arm: Arm, region: str) -> Iterator[dict[str, Any]]:
    """Yield the price list of a region; one region at a time, since walking over all of them skips rows."""
    from azure.core.rest import HttpRequest

    base = (arm.endpoint.base or RETAIL).rstrip("/")
    wanted = f"serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armRegionName eq '{region}'"
    asked = {"api-version": RETAIL_VERSION, "currencyCode": "USD", "$filter": wanted}
    url = f"{base}/api/retail/prices?{urlencode(asked)}"
    with arm.errors(f"reading the price list of {region}"), arm.public_client(base) as client:
        while url:
            response = client.send_request(HttpRequest("GET", url))
            response.raise_for_status()
            page = json.loads(response.text(), parse_float=Decimal)
            if not isinstance(page, dict) or not isinstance(page.get("Items"), list):
                raise CloudUnreachable("Azure's price list answered with half a page.", hint="Try again.")
            yield from page["Items"]
            url = page.get("NextPageLink") or ""


def decimal(value: Any) -> Decimal | None:
    """Return a finite number, or None."""
    try:
        number = Decimal(str(value).replace(",", "").strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
