"""List prices of Compute Engine: a machine costs what its vCPUs, memory, GPUs and local disks cost.

Google's catalog has no price of a machine, but of an hour of a vCPU of one family in one region, and so on. How they
add up: https://cloud.google.com/compute/vm-instance-pricing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

SERVICE = "services/6F81-5844-456A"  # Compute Engine
HOURS_A_MONTH = 730  # what Google divides a monthly price by
LOCAL_SSD_GIB = 375  # of one partition
SOURCE = "Google Cloud Billing Catalog"

Key = tuple[str, str, str]
"""Region, ``"OnDemand"`` or ``"Preemptible"``, and what it is the price of: ``"core n2"``, ``"gpu L4"``, ``"ssd"``."""

_SKIPPED = re.compile(
    r"sole tenancy|reserved|custom|premium|commitment|suspended|dws|calendar mode|flex[ -]start|extended memory", re.I
)
_SPOT = re.compile(r"^(?:spot )?(?:preemptible )?", re.I)
_WHERE = re.compile(r"(?: running)? (?:in|attached to) .*$", re.I)
_FAMILY = re.compile(r"([A-Z]\d+[A-Za-z]*)(?: (?:AMD|Arm|Predefined|Memory-optimized))? Instance (Core|Ram)", re.I)
_GPU = re.compile(r"Nvidia (?:Tesla )?(.+?) GPU", re.I)
_WHOLE = {"micro instance with burstable cpu": "whole f1-micro", "small instance with 1 vcpu": "whole g1-small"}
_NAMED_FAMILIES = {"compute optimized": "c2", "memory-optimized instance": "m1"}

# Type of accelerator: name in the catalog, memory in GiB, name in the price list
GPUS: Mapping[str, tuple[str, int, str]] = {
    "nvidia-tesla-t4": ("T4", 16, "t4"),
    "nvidia-l4": ("L4", 24, "l4"),
    "nvidia-tesla-a100": ("A100", 40, "a100"),
    "nvidia-a100-80gb": ("A100-80GB", 80, "a100 80gb"),
    "nvidia-h100-80gb": ("H100", 80, "h100 80gb"),
    "nvidia-h100-mega-80gb": ("H100", 80, "h100 80gb plus"),
    "nvidia-h200-141gb": ("H200", 141, "h200 141gb"),
    "nvidia-b200": ("B200", 180, "b200"),
    "nvidia-rtx-pro-6000": ("RTXPRO6000", 96, "rtx 6000 96gb"),
}
# Of a whole core, https://cloud.google.com/compute/docs/general-purpose-machines#e2-shared-core
_SHARED_CORES = {
    "e2-micro": Decimal("0.25"),
    "e2-small": Decimal("0.5"),
    "e2-medium": Decimal(1),
}
# Priced, but only sold by spot, reservation or calendar,
# https://cloud.google.com/compute/docs/accelerator-optimized-machines
_NOT_ON_DEMAND = re.compile(r"a3-highgpu-[124]g|a3-ultragpu-.*|a4x?-.*")
# Their local disks have prices of their own, which are not in the list under a name that can be told apart
_NOT_PRICED = re.compile(r"z3-|x4-|m2-|.*-metal$")
_T4 = "nvidia-tesla-t4"
# How many vCPUs may be had with so many T4s, https://cloud.google.com/compute/docs/gpus#t4-gpus
_T4_VCPUS = {1: 48, 2: 48, 4: 96}


@dataclass(frozen=True)
class MachineType:
    """A machine type in a region, as Compute Engine describes it.

    Parameters
    ----------
    name : str
        With ``+<accelerator>:<number>`` where that is ordered beside it.
    region : str
    vcpus, memory_gib : Decimal
    arm : bool
    gpu : str
        Type of accelerator, empty if there is none.
    gpus : int
    local_ssd_gib : int
    """

    name: str
    region: str
    vcpus: Decimal
    memory_gib: Decimal
    arm: bool = False
    gpu: str = ""
    gpus: int = 0
    local_ssd_gib: int = 0

    def parts(self) -> dict[str, Decimal]:
        """Return what it is made of, and how much of each: keys as in `Key`."""
        base = self.name.partition("+")[0]
        if base in ("f1-micro", "g1-small"):
            return {f"whole {base}": Decimal(1)}
        family = base.split("-")[0]
        for kind, other in (("a3-megagpu", "a3plus"), ("a3-ultragpu", "a3ultra")):
            family = other if base.startswith(kind) else family
        made = {f"core {family}": _SHARED_CORES.get(base, self.vcpus), f"ram {family}": self.memory_gib}
        if self.gpus:
            made[f"gpu {GPUS[self.gpu][2]}"] = Decimal(self.gpus)
        if self.local_ssd_gib:
            made["ssd"] = Decimal(self.local_ssd_gib)
        return made


@dataclass
class PriceList:
    """Prices per hour and unit by `Key`, and the SKU that each comes from."""

    usd: dict[Key, Decimal] = field(default_factory=dict)
    sku: dict[Key, str] = field(default_factory=dict)

    @classmethod
    def read(cls, skus: Iterable[Any]) -> PriceList:
        """Read SKUs as google-cloud-billing gives them."""
        prices = cls()
        for sku in skus:
            market = str(sku.category.usage_type)
            what = component(str(sku.description), market)
            if what is None or not sku.pricing_info:
                continue
            usd = _applicable(
                [
                    (Decimal(str(tier.start_usage_amount)), money(tier.unit_price))
                    for tier in sku.pricing_info[-1].pricing_expression.tiered_rates
                ]
            )
            if usd is None:
                continue
            usd = usd / HOURS_A_MONTH if what == "ssd" else usd
            for region in sku.service_regions:
                key = str(region), market, what
                if usd > prices.usd.get(key, Decimal(-1)):  # of two that cannot be told apart the dearer
                    prices.usd[key], prices.sku[key] = usd, str(sku.sku_id)
        return prices

    def price(self, machine: MachineType, market: str) -> Decimal | None:
        """Return USD per hour, None if a part has no price."""
        total = Decimal(0)
        for what, amount in machine.parts().items():
            usd = self.usd.get((machine.region, market, what))
            if usd is None:
                return None
            total += amount * usd
        return total

    def skus(self, machine: MachineType, market: str) -> dict[str, str]:
        """Return the SKU of each part."""
        keys = {what: (machine.region, market, what) for what in machine.parts()}
        return {what: self.sku[key] for what, key in keys.items() if key in self.sku}


def component(description: str, market: str) -> str | None:
    """Return what a SKU is the price of (see `Key`), None if of nothing that a machine here is made of."""
    if market not in ("OnDemand", "Preemptible") or _SKIPPED.search(description):
        return None
    if description.lower().startswith("ssd backed local storage"):
        return "ssd"
    plain = _WHERE.sub("", _SPOT.sub("", description)).strip()
    if plain.lower() in _WHOLE:
        return _WHOLE[plain.lower()]
    if match := _FAMILY.fullmatch(plain):
        return f"{match[2].lower()} {match[1].lower()}"
    if match := _GPU.fullmatch(plain):
        return f"gpu {match[1].lower()}"
    for words, family in _NAMED_FAMILIES.items():
        for what in ("core", "ram"):
            if plain.lower() in (f"{words} {what}", f"{words} instance {what}"):
                return f"{what} {family}"
    return None


def money(amount: Any) -> Decimal:
    """Return Google's ``Money``, whole units and billionths, exactly."""
    return Decimal(int(amount.units)) + Decimal(int(amount.nanos)) / 10**9


def _applicable(tiers: list[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Return the price of the first tier that costs something: free allowances belong to accounts."""
    return next((usd for _, usd in sorted(tiers) if usd > 0), None)


def machine_types(
    described: Iterable[Mapping[str, Any]], accelerator_zones: Mapping[str, set[str]]
) -> Iterator[MachineType]:
    """Yield each machine type once per region, and N1 with T4s where the region has them.

    Parameters
    ----------
    described : iterable of dict
        ``machineTypes`` of Compute Engine, one for each zone.
    accelerator_zones : mapping of str to set of str
        Type of accelerator to the zones that have it.
    """
    seen: set[tuple[str, str]] = set()
    for found in described:
        name, zone = str(found["name"]), str(found["zone"]).rsplit("/", 1)[-1]
        region = zone.rsplit("-", 1)[0]
        if _NOT_PRICED.match(name) or found.get("deprecated", {}).get("state") in ("OBSOLETE", "DELETED"):
            continue
        vcpus, memory = Decimal(int(found["guestCpus"])), Decimal(int(found["memoryMb"])) / 1024
        accelerators = found.get("accelerators") or ()
        gpu = str(accelerators[0]["guestAcceleratorType"]) if accelerators else ""
        count = int(accelerators[0]["guestAcceleratorCount"]) if accelerators else 0
        if gpu and gpu not in GPUS:
            continue
        partitions = int((found.get("bundledLocalSsds") or {}).get("partitionCount") or 0)
        if not partitions and name.startswith("a2-ultragpu-"):
            partitions = count
        arm = found.get("architecture") == "ARM64"
        plain = MachineType(name, region, vcpus, memory, arm, gpu, count, partitions * LOCAL_SSD_GIB)
        variants = [plain]
        if name.startswith("n1-") and zone in accelerator_zones.get(_T4, ()):
            variants += [
                MachineType(f"{name}+{_T4}:{number}", region, vcpus, memory, arm, _T4, number)
                for number, most in _T4_VCPUS.items()
                if vcpus <= most
            ]
        for variant in variants:
            if (variant.name, region) not in seen:
                seen.add((variant.name, region))
                yield variant


def row(
    machine: MachineType, price: Callable[[str], Decimal | None], as_of: date, source: str = SOURCE
) -> dict[str, Any] | None:
    """Return a row of the catalog, None if there is no price at all.

    Parameters
    ----------
    machine : MachineType
    price : callable
        Given ``"OnDemand"`` or ``"Preemptible"``: USD per hour.
    as_of : date
    source : str
    """
    on_demand, spot = price("OnDemand"), price("Preemptible")
    if on_demand is None and spot is None:
        return None
    gpu_name, gpu_memory, _ = GPUS.get(machine.gpu, ("", 0, ""))
    return {
        "provider": "gcp",
        "region": machine.region,
        "instance_type": machine.name,
        "arch": "arm64" if machine.arm else "x86_64",
        "vcpus": float(machine.vcpus),
        "memory_gib": float(machine.memory_gib),
        "gpu_name": gpu_name,
        "gpu_count": machine.gpus,
        "gpu_memory_gib": gpu_memory,
        "burstable": machine.name in ("f1-micro", "g1-small", *_SHARED_CORES),
        "price_usd_hour": None if on_demand is None else float(on_demand),
        "spot_usd_hour": None if spot is None else float(spot),
        "as_of": as_of,
        "source": source,
        "on_demand_available": on_demand is not None and not _NOT_ON_DEMAND.fullmatch(machine.name),
    }


def contract_price(answer: Mapping[str, Any]) -> tuple[Decimal, bool]:
    """Return the price that an account pays by its contract, and whether that differs from the list.

    Parameters
    ----------
    answer : dict
        ``BillingAccountPrice`` of the Pricing API: ``rate.tiers[]`` with ``startAmount``, ``listPrice`` and
        ``contractPrice``.
    """
    tiers = [
        (
            Decimal(str((tier.get("startAmount") or {}).get("value") or 0)),
            _json_money(tier.get("contractPrice") or tier.get("listPrice") or {}),
            _json_money(tier.get("listPrice") or tier.get("contractPrice") or {}),
        )
        for tier in (answer.get("rate") or {}).get("tiers") or ()
    ]
    paid = next((tier for tier in sorted(tiers) if tier[2] > 0), None)
    return (Decimal(0), False) if paid is None else (paid[1], paid[1] != paid[2])


def _json_money(amount: Mapping[str, Any]) -> Decimal:
    return Decimal(int(amount.get("units") or 0)) + Decimal(int(amount.get("nanos") or 0)) / 10**9
