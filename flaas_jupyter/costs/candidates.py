"""The columns of the table of candidates: what is usable, what was set aside, and why."""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .price_table import KINDS
from .selection import FAR_BELOW_WARNING, Rows, Selection

if TYPE_CHECKING:
    from .catalog import Catalog


def candidate_columns(
    catalog: Catalog, selection: Selection, market: str, limit: int | None, today: date
) -> dict[str, NDArray[Any]]:
    """Return the columns that `Catalog.candidates` describes, all of the same length."""
    usable = selection.usable[:limit]
    shown = _fair_share(selection, limit)
    rows = np.concatenate([usable, selection.aside[shown]])
    table = catalog.table
    prices = table.prices(market)
    on_demand, spot = table.on_demand.usd[rows], table.spot.usd[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        saving = np.where(on_demand > 0, 1 - spot / on_demand, np.nan)
    as_of = prices.as_of[rows]
    return {
        "provider": table.provider.texts(rows),
        "region": table.region.texts(rows),
        "country": _countries(catalog, rows),
        "instance_type": table.instance_type.texts(rows),
        "vcpus": table.vcpus[rows],
        "memory_gib": table.memory_gib[rows],
        "gpu_name": table.gpu_name.texts(rows),
        "gpu_count": table.gpu_count[rows],
        "gpu_memory_gib": table.gpu_memory_gib[rows],
        "price_usd_hour": prices.usd[rows],
        "on_demand_usd_hour": on_demand,
        "spot_usd_hour": spot,
        "saving": saving,
        "kind": np.array(KINDS, object)[prices.kind[rows]],
        "as_of": as_of,
        "age_days": (np.datetime64(today, "D") - as_of) / np.timedelta64(1, "D"),
        "source": prices.source.texts(rows),
        "chosen": np.arange(len(rows)) < min(len(usable), 1),
        "reason": np.concatenate([np.full(len(usable), "", object), selection.reasons[shown]]),
        "warning": np.where(catalog.is_far_below(rows), FAR_BELOW_WARNING, "").astype(object),
        "interruption": _interruptions(catalog, rows),
    }


def as_json(columns: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Return columns as rows of JSON values: dates as texts, None for what there is not."""
    plain = {name: [_plain(value) for value in values.tolist()] for name, values in columns.items()}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and math.isnan(value) else value


def _fair_share(selection: Selection, limit: int | None) -> Rows:
    """Return which of those set aside to show: first the cheapest of each reason, then the second ones, and so on."""
    everything = np.arange(len(selection.aside))
    if limit is None or len(everything) <= limit:
        return everything
    _, which = np.unique(selection.reasons.astype(str), return_inverse=True)
    together = np.argsort(which, kind="stable")
    sizes = np.bincount(which)
    rank = np.empty(len(everything), np.intp)
    rank[together] = np.arange(len(everything)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(np.argsort(rank, kind="stable")[:limit])


def _countries(catalog: Catalog, rows: Rows) -> NDArray[np.object_]:
    table, width = catalog.table, len(catalog.table.region.values)
    place = table.provider.codes[rows].astype(np.int64) * width + table.region.codes[rows]
    known, inverse = np.unique(place, return_inverse=True)
    found = [catalog.regions.find(table.provider.values[p // width], table.region.values[p % width]) for p in known]
    countries: NDArray[np.object_] = np.array([*(region.country if region else "" for region in found), ""], object)
    return countries[inverse]


def _interruptions(catalog: Catalog, rows: Rows) -> NDArray[np.object_]:
    bands, table = catalog.interruptions, catalog.table
    found = np.full(len(rows), "", object)
    if bands:
        at_aws = np.flatnonzero(table.provider.codes[rows] == table.provider.code("aws"))
        machines = zip(table.region.texts(rows[at_aws]), table.instance_type.texts(rows[at_aws]), strict=True)
        found[at_aws] = [bands.get(machine, "") for machine in machines]
    return found
