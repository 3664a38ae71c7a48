"""The rules of the price catalog once more, row by row in plain Python, written from their description alone."""

from __future__ import annotations

import csv
import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = [
    "provider",
    "region",
    "instance_type",
    "arch",
    "vcpus",
    "memory_gib",
    "gpu_name",
    "gpu_count",
    "gpu_memory_gib",
    "burstable",
    "price_usd_hour",
    "spot_usd_hour",
    "as_of",
    "source",
    "on_demand_available",
]


@dataclass(frozen=True)
class Row:
    provider: str
    region: str
    instance_type: str
    arch: str
    vcpus: float
    memory_gib: float
    gpu_name: str
    gpu_count: float
    gpu_memory_gib: float
    burstable: bool
    price_usd_hour: float
    spot_usd_hour: float | None
    as_of: str
    source: str
    on_demand_available: bool

    @property
    def machine(self) -> tuple[str, str, str]:
        return self.provider, self.region, self.instance_type


def prices_folder() -> Path | None:
    """Folder of price tables that FLAAS_DATA or a folder of data beside the checkout holds."""
    named = os.environ.get("FLAAS_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    return root / "prices" if (root / "prices").is_dir() else None


def read(folder: Path) -> list[Row]:
    rows = []
    for path in sorted([*folder.glob("*vms.csv"), *folder.glob("*vms.csv.gz")]):
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            rows += [row(**line) for line in csv.DictReader(file)]
    return rows


def row(**line: Any) -> Row:
    numbers = ("vcpus", "memory_gib", "gpu_count", "gpu_memory_gib", "price_usd_hour")
    spot = line["spot_usd_hour"]
    return Row(
        **{name: line[name] for name in ("provider", "region", "instance_type", "arch", "gpu_name", "as_of", "source")},
        **{name: float(line[name] or 0) for name in numbers},
        spot_usd_hour=float(spot) if spot not in ("", None) else None,
        burstable=str(line["burstable"]) == "True",
        on_demand_available=str(line["on_demand_available"]) == "True",
    )


def write(folder: Path, rows: list[Row], places: dict[tuple[str, str], dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for provider in {one.provider for one in rows}:
        with (folder / f"{provider}_vms.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for one in rows:
                if one.provider == provider:
                    values = [getattr(one, name) for name in COLUMNS]
                    writer.writerow(["" if value is None else value for value in values])
    with (folder / "regions.csv").open("w", newline="") as file:
        names = ["provider", "region", "country", "eu", "eea", "europe", "government"]
        lines = csv.DictWriter(file, names)
        lines.writeheader()
        lines.writerows({"provider": p, "region": r, **facts} for (p, r), facts in places.items())
    return folder


def regions(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    with path.open() as file:
        return {
            (line["provider"], line["region"]): {
                "country": line["country"],
                **{flag: line[flag] == "True" for flag in ("eu", "eea", "europe", "government")},
            }
            for line in csv.DictReader(file)
        }


def in_area(one: Row, place: dict[str, Any], area: str | list[str]) -> bool:
    for name in [area] if isinstance(area, str) else area:
        if name == "all":
            return True
        if name in ("EU", "EEA", "Europe"):
            if place[name.lower()]:
                return True
        elif name in (place["country"], one.region, f"{one.provider}:{one.region}"):
            return True
    return False


def hardware(one: Row, need: Any) -> bool:
    if one.vcpus < need.vcpus or one.memory_gib < need.memory_gib:
        return False
    if need.arch is not None and one.arch != need.arch:
        return False
    if need.gpu_count == 0:
        return one.gpu_count == 0 and not one.gpu_name
    if one.gpu_count < need.gpu_count - (0 if float(need.gpu_count).is_integer() else 0.0005):
        return False
    if one.gpu_memory_gib < need.gpu_memory_gib:
        return False
    return not need.gpu_names or one.gpu_name.lower() in [name.lower() for name in need.gpu_names]


def usable(rows: list[Row], places: Any, need: Any, area: Any, market: str, provider: str | None) -> list[Row]:
    """Return usable rows, cheapest first."""
    fitting = []
    for one in rows:
        place = places.get((one.provider, one.region))
        if place is None or place["government"] or not in_area(one, place, area):
            continue
        if provider is not None and one.provider != provider:
            continue
        if one.burstable and not need.burstable:
            continue
        if one.price_usd_hour > 0 and hardware(one, need):
            fitting.append(one)
    if market == "on_demand":
        found = [one for one in fitting if one.on_demand_available]
        return sorted(found, key=lambda one: (one.price_usd_hour, one.instance_type, one.region, one.provider))
    found = []
    for name in {one.provider for one in fitting}:
        mine = [one for one in fitting if one.provider == name]
        figures = [one for one in mine if one.spot_usd_hour]
        if len(figures) * 2 >= len(mine):
            found += [one for one in figures if one.spot_usd_hour < one.price_usd_hour]
    return sorted(found, key=lambda one: (one.spot_usd_hour, one.instance_type, one.region, one.provider))


def reason(one: Row, rows: list[Row], places: Any, need: Any, area: Any, market: str) -> str | None:
    """Return why a row is set aside, "" if it is usable, None if it is not worth a word."""
    place = places.get((one.provider, one.region))
    if place is None:
        return None
    against = []
    sliced = False
    if not hardware(one, need):
        from dataclasses import replace

        whole = replace(one, gpu_count=1e9, gpu_memory_gib=1e9)
        sliced = need.gpu_count > one.gpu_count < 1 and bool(one.gpu_name) and hardware(whole, need)
        if not sliced:
            return None
        against.append("slice of a GPU")
    if not in_area(one, place, area):
        names = [area] if isinstance(area, str) else area
        if not place["europe"] or not {"EU", "EEA"} & set(names):
            return None
        against.append("outside the ")
    elif place["government"]:
        against.append("government region")
    if one.burstable and not need.burstable:
        against.append("burstable")
    if one.price_usd_hour == 0:
        against.append("no price published (0)")
    elif market == "on_demand":
        if not one.on_demand_available:
            against.append("not sold on demand, only as spot")
    elif not one.spot_usd_hour:
        against.append("no spot price")
    if market == "spot" and one.spot_usd_hour:
        if not one.spot_usd_hour < one.price_usd_hour:
            against.append("spot price not below on demand")
        mine = [
            other
            for other in rows
            if other.provider == one.provider
            and (where := places.get((other.provider, other.region))) is not None
            and not where["government"]
            and in_area(other, where, area)
            and hardware(other, need)
            and other.price_usd_hour > 0
            and (need.burstable or not other.burstable)
        ]
        if 2 * sum(1 for other in mine if other.spot_usd_hour) < len(mine):
            against.append(f"{one.provider} has spot prices for only ")
    if not against:
        return ""
    return against[0] if len(against) == 1 else None
