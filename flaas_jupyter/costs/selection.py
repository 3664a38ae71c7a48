"""Which machines of a price table a need may have, in which order, and why the others may not.

A machine *fits* if its hardware meets the need. A fitting machine is *usable* if nothing else stands against it; one
against which exactly one thing stands is set aside with that as the reason, since it is what somebody comparing prices
elsewhere will ask about. What fails for two reasons is not mentioned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .need import Need
from .price_table import PriceTable, Truths
from .regions import Area, Regions

MARKETS = ("on_demand", "spot")
FAR_BELOW = 0.4
"""A price below this share of its type's median over the regions is worth a second look."""
FAR_BELOW_WARNING = "far below the median of its type: check before you rely on it"

_ENOUGH_REGIONS = 3  # below this a median says nothing
_SLICE_TOLERANCE = 5e-4  # tables write 1/6 as 0.1667

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Selection:
    """Row numbers of a table.

    Attributes
    ----------
    usable : ndarray of int
        Cheapest first; of equal prices by instance type, region, provider.
    aside : ndarray of int
        What one thing stands against, in the same order.
    reasons : ndarray of str
        That thing, for each of `aside`.
    """

    usable: Rows
    aside: Rows
    reasons: NDArray[np.object_]


def require_market(market: str) -> None:
    """Raise `InvalidInput` (``unknown-market``) unless there is such a market."""
    if market not in MARKETS:
        raise InvalidInput(
            f"{market!r} is no market. Allowed are {' and '.join(MARKETS)}.",
            code="unknown-market",
            hint='"spot" machines are cheaper and can be taken away at any time.',
        )


def usable(table: PriceTable, regions: Regions, need: Need, area: Area, market: str, provider: str | None) -> Rows:
    """Return the row numbers of usable machines, in no order, each provider by its own spot coverage."""
    require_market(market)
    rows = np.flatnonzero(fits(table, need))
    part = table.take(rows)
    places = _Places(part, regions, area)
    eligible = places.inside & ~places.government & part.published
    if not need.burstable:
        eligible &= ~part.burstable
    if provider is not None:
        eligible &= part.provider.codes == part.provider.code(provider)
    if market == "on_demand":
        return rows[eligible & part.sold_on_demand]
    has_spot = ~np.isnan(part.spot.usd)
    scarce = _scarce(part, eligible, has_spot)
    return rows[eligible & has_spot & (part.spot.usd < part.on_demand.usd) & ~scarce[part.provider.codes]]


def fits(table: PriceTable, need: Need) -> Truths:
    """Return for each row whether its hardware meets the need."""
    return _fits_but_gpus(table, need) & _gpus_fit(table, need)


def in_order(table: PriceTable, rows: Rows, market: str) -> Rows:
    """Sort row numbers by price, then instance type, then region, then provider."""
    keys = (
        table.provider.codes[rows],
        table.region.codes[rows],
        table.instance_type.codes[rows],
        table.prices(market).usd[rows],
    )
    return rows[np.lexsort(keys)]


def cheapest(table: PriceTable, rows: Rows, market: str) -> int | None:
    """Return the first of `in_order` without sorting."""
    if len(rows) == 0:
        return None
    usd = table.prices(market).usd[rows]
    return int(in_order(table, rows[usd == usd.min()], market)[0])


def select(table: PriceTable, regions: Regions, need: Need, area: Area, market: str, provider: str | None) -> Selection:
    """Return usable machines and those set aside, both cheapest first."""
    require_market(market)
    near = _fits_but_gpus(table, need)
    gpus = _gpus_fit(table, need)
    sliced = near & ~gpus & _slices(table, need)
    rows = np.flatnonzero((near & gpus) | sliced)
    if provider is not None:
        rows = rows[table.provider.codes[rows] == table.provider.code(provider)]
    part = table.take(rows)
    places = _Places(part, regions, area)
    against = _Against(len(rows))
    against.add(~places.inside, lambda i: places.why_outside[i])
    against.add(places.inside & places.government, "government region")
    against.add(np.zeros(len(rows), np.bool_) if need.burstable else part.burstable, "burstable")
    against.add(sliced[rows], lambda i: f"slice of a GPU{_fraction(part.gpu_count[i])}")
    against.add(~part.published, "no price published (0)")
    eligible = against.count == 0
    if market == "on_demand":
        against.add(part.published & ~part.sold_on_demand, "not sold on demand, only as spot")
    else:
        has_spot = ~np.isnan(part.spot.usd)
        scarce = _scarce(part, eligible, has_spot)
        against.add(part.published & ~has_spot, "no spot price")
        against.add(has_spot & ~(part.spot.usd < part.on_demand.usd), "spot price not below on demand")
        texts = _scarcity(part, eligible, has_spot)
        against.add(has_spot & scarce[part.provider.codes], lambda i: texts[part.provider.codes[i]])
    reachable = places.inside | places.near
    aside = rows[(against.count == 1) & reachable]
    reasons = against.reasons((against.count == 1) & reachable)
    order = _position(table, aside, market)
    return Selection(in_order(table, rows[against.count == 0], market), aside[order], reasons[order])


def medians(table: PriceTable) -> NDArray[np.float64]:
    """Return for each row the median list price on demand of its provider's type; NaN with fewer than 3 regions.

    Regions without a published price do not count.
    """
    usd = table.on_demand.usd
    machine = table.provider.codes.astype(np.int64) * (len(table.instance_type.values) + 1) + table.instance_type.codes
    counted = np.flatnonzero(table.published)
    order = counted[np.lexsort((usd[counted], machine[counted]))]
    _, starts, sizes = np.unique(machine[order], return_index=True, return_counts=True)
    low, high = order[starts + (sizes - 1) // 2], order[starts + sizes // 2]
    middle = np.where(sizes >= _ENOUGH_REGIONS, (usd[low] + usd[high]) / 2, np.nan)
    found = np.full(len(table), np.nan)
    found[order] = np.repeat(middle, sizes)
    return found


class _Places:
    """For each row of a table: in the area, in a government region, just outside of the area."""

    def __init__(self, table: PriceTable, regions: Regions, area: Area) -> None:
        within, just_outside = regions.within(area), regions.just_outside(area)
        width = len(table.region.values)
        place = table.provider.codes.astype(np.int64) * width + table.region.codes
        known, inverse = np.unique(place, return_inverse=True)
        keys = [(table.provider.values[code // width], table.region.values[code % width]) for code in known]

        def marked(marks: list[bool]) -> Truths:
            return np.array(marks, np.bool_)[inverse] if marks else np.zeros(len(table), np.bool_)

        def is_government(key: tuple[str, str]) -> bool:
            region = regions.find(*key)
            return region is not None and region.government

        self.inside = marked([key in within for key in keys])
        self.near = marked([key in just_outside for key in keys])
        self.government = marked([is_government(key) for key in keys])
        self.why_outside = np.array([just_outside.get(key, "outside the area") for key in keys] or [""], object)[
            inverse
        ]


class _Against:
    """What stands against each row: how many things, and the last of them."""

    def __init__(self, rows: int) -> None:
        self.count = np.zeros(rows, np.int8)
        self._which = np.zeros(rows, np.int8)
        self._texts: list[str | Callable[[int], str]] = []

    def add(self, rows: Truths, reason: str | Callable[[int], str]) -> None:
        self.count += rows
        self._which[rows] = len(self._texts)
        self._texts.append(reason)

    def reasons(self, rows: Truths) -> NDArray[np.object_]:
        found = np.empty(int(rows.sum()), object)
        numbers = np.flatnonzero(rows)
        for which, text in enumerate(self._texts):
            of_this = self._which[numbers] == which
            if isinstance(text, str):
                found[of_this] = text
            else:
                found[of_this] = np.array([text(int(i)) for i in numbers[of_this]], object)
        return found


def _fits_but_gpus(table: PriceTable, need: Need) -> Truths:
    fitting: Truths = (table.vcpus >= need.vcpus) & (table.memory_gib >= need.memory_gib)
    if need.arch is not None:
        fitting &= table.arch.codes == table.arch.code(need.arch)
    return fitting


def _gpus_fit(table: PriceTable, need: Need) -> Truths:
    if need.gpus == 0:
        none: Truths = (table.gpu_count == 0) & (table.gpu_name.codes == table.gpu_name.code(""))
        return none
    least = need.gpus if float(need.gpus).is_integer() else need.gpus - _SLICE_TOLERANCE
    fitting: Truths = (table.gpu_count >= least) & (table.gpu_memory_gib >= need.gpu_memory_gib)
    return fitting & _named(table, need)


def _slices(table: PriceTable, need: Need) -> Truths:
    """Machines with a part of a wanted GPU; some providers name the GPU and publish no count."""
    if need.gpus == 0:
        return np.zeros(len(table), np.bool_)
    is_slice: Truths = (table.gpu_count < 1) & (table.gpu_name.codes != table.gpu_name.code(""))
    return is_slice & (table.gpu_count < need.gpus) & _named(table, need)


def _named(table: PriceTable, need: Need) -> Truths:
    if not need.gpu_names:
        return np.ones(len(table), np.bool_)
    wanted = {name.lower() for name in need.gpu_names}
    return table.gpu_name.is_in(name.lower() in wanted for name in table.gpu_name.values)


def _counts(table: PriceTable, rows: Truths) -> NDArray[np.intp]:
    return np.bincount(table.provider.codes[rows], minlength=len(table.provider.values))


def _scarce(table: PriceTable, eligible: Truths, has_spot: Truths) -> Truths:
    """Return for each provider whether fewer than half of its eligible machines have a spot figure."""
    return 2 * _counts(table, eligible & has_spot) < _counts(table, eligible)


def _scarcity(table: PriceTable, eligible: Truths, has_spot: Truths) -> list[str]:
    with_spot, all_of_it = _counts(table, eligible & has_spot), _counts(table, eligible)
    return [
        f"{name} has spot prices for only {100 * some // max(whole, 1)} % of fitting machines"
        for name, some, whole in zip(table.provider.values, with_spot, all_of_it, strict=True)
    ]


def _position(table: PriceTable, rows: Rows, market: str) -> Rows:
    """Order rows by price in the market, by the one on demand where there is none."""
    usd = table.prices(market).usd[rows]
    usd = np.where(np.isnan(usd), table.on_demand.usd[rows], usd)
    keys = (table.provider.codes[rows], table.region.codes[rows], table.instance_type.codes[rows], usd)
    return np.lexsort(keys)


def _fraction(count: float) -> str:
    return f" ({Fraction(count).limit_denominator(16)})" if count > 0 else ""
