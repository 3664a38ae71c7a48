"""A customer's own prices: a percentage off the list, or the price of a single machine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np

from ..errors import InvalidInput
from .driver import Market
from .price_table import KINDS, Coded, Prices, PriceTable, Truths

MARKETS: tuple[Market, ...] = ("on_demand", "spot")


@dataclass(frozen=True)
class PriceOverlay:
    """A discount in percent.

    Parameters
    ----------
    provider : str
        Whose prices.
    percent : float
        Taken off the list price, above -100 and at most 100; a negative one is a surcharge.
    family_prefix : str, optional
        Only instance types that begin so, in either case: ``"m7i."``, ``"n2-"``, ``"Standard_D"``.
    region : str, optional
        Only this region.
    market : str, optional
        Only ``"on_demand"`` or ``"spot"``; both by default.

    Raises
    ------
    InvalidInput
        ``bad-overlay``
    """

    provider: str
    percent: float
    family_prefix: str | None = None
    region: str | None = None
    market: Market | None = None

    def __post_init__(self) -> None:
        if (
            isinstance(self.percent, bool)
            or not isinstance(self.percent, (int, float))
            or not -100 < self.percent <= 100
        ):
            raise _bad("bad-overlay", "percent", self.percent, "a number above -100 (a surcharge) and at most 100")
        if self.market is not None and self.market not in MARKETS:
            raise _bad("bad-overlay", "market", self.market, "on_demand, spot, or None for both")
        if not self.provider:
            raise _bad("bad-overlay", "provider", self.provider, "the name of a provider")

    def covers(self, table: PriceTable) -> Truths:
        """Return for each row whether the discount is for it."""
        covered: Truths = table.provider.codes == table.provider.code(self.provider)
        if self.region is not None:
            covered &= table.region.codes == table.region.code(self.region)
        if self.family_prefix:
            prefix = self.family_prefix.lower()
            covered &= table.instance_type.is_in(name.lower().startswith(prefix) for name in table.instance_type.values)
        return covered

    @property
    def _specificity(self) -> tuple[int, int, int]:
        return len(self.family_prefix or ""), self.region is not None, self.market is not None

    def __str__(self) -> str:
        what = "discount" if self.percent >= 0 else "surcharge"
        return f"{abs(self.percent):g} % {what}"


@dataclass(frozen=True)
class NegotiatedPrice:
    """The price of one machine for one customer.

    Parameters
    ----------
    provider, region, instance_type : str
        Which machine.
    usd_hour : float
        At least 0; 0 is free.
    market : str
        ``"on_demand"`` or ``"spot"``.
    kind : str
        ``"negotiated"`` if the provider told it, ``"learned"`` if it was worked out from bills.
    source : str
        Where it comes from, such as the name of the price sheet.
    as_of : date, optional
        When it held.

    Raises
    ------
    InvalidInput
        ``bad-negotiated-price``
    """

    provider: str
    region: str
    instance_type: str
    usd_hour: float
    market: Market = "on_demand"
    kind: Literal["negotiated", "learned"] = "negotiated"
    source: str = "price agreement"
    as_of: date | None = None

    def __post_init__(self) -> None:
        code, usd = "bad-negotiated-price", self.usd_hour
        if isinstance(usd, bool) or not isinstance(usd, (int, float)) or not math.isfinite(usd) or usd < 0:
            raise _bad(code, "usd_hour", usd, "a number of at least 0")
        if self.market not in MARKETS:
            raise _bad(code, "market", self.market, "on_demand or spot")
        if self.kind not in ("negotiated", "learned"):
            raise _bad(code, "kind", self.kind, "negotiated or learned")


def apply_overlays(table: PriceTable, overlays: Iterable[PriceOverlay]) -> PriceTable:
    """Return the table with percentages taken off.

    They do not add up: of several that cover a machine the most specific one counts, that is the longest
    `family_prefix`, then one for a region, then one for a market; of equally specific ones the last.
    """
    ordered = sorted(overlays, key=lambda overlay: overlay._specificity)
    for market in MARKETS:
        here = [overlay for overlay in ordered if overlay.market in (None, market)]
        if not here:
            continue
        listed = table.prices(market)
        chosen = np.full(len(table), -1)
        for number, overlay in enumerate(here):
            chosen[overlay.covers(table)] = number
        covered = chosen >= 0
        # Kept as a quotient: 1 - percent / 100 would have a rounding error of its own.
        percent = np.array([overlay.percent for overlay in here], float)[chosen]
        usd = np.where(covered, listed.usd * (100 - percent) / 100, listed.usd)
        kind = np.where(covered, KINDS.index("overlay"), listed.kind).astype(np.int8)
        named = [f"{overlay} on {name}" for overlay in here for name in listed.source.values]
        width = len(listed.source.values)
        codes = np.where(covered, width + chosen * width + listed.source.codes, listed.source.codes)
        source = Coded.of(codes, [*listed.source.values, *named])
        table = table.with_prices(market, Prices(usd, kind, source, listed.as_of))
    return table


def apply_negotiated(table: PriceTable, prices: Iterable[NegotiatedPrice]) -> tuple[PriceTable, list[str]]:
    """Return the table with prices of single machines, and the machines that it does not have."""
    unmatched: list[str] = []
    wanted = list(prices)
    if not wanted:
        return table, unmatched
    rows = {
        key: row
        for row, key in enumerate(
            zip(
                table.provider.codes.tolist(),
                table.region.codes.tolist(),
                table.instance_type.codes.tolist(),
                strict=True,
            )
        )
    }
    published = table.published.copy()
    for market in MARKETS:
        old = table.prices(market)
        usd, kind, as_of = old.usd.copy(), old.kind.copy(), old.as_of.copy()
        codes, sources = old.source.codes.copy(), list(old.source.values)
        for price in (one for one in wanted if one.market == market):
            key = (
                table.provider.code(price.provider),
                table.region.code(price.region),
                table.instance_type.code(price.instance_type),
            )
            row = rows.get(key)
            if row is None:
                unmatched.append(f"{price.provider} {price.region} {price.instance_type}")
                continue
            if price.source not in sources:
                sources.append(price.source)
            usd[row], kind[row] = price.usd_hour, KINDS.index(price.kind)
            as_of[row] = np.datetime64(price.as_of or "NaT", "D")
            codes[row] = sources.index(price.source)
            published[row] |= market == "on_demand"  # the provider has now named one
        table = table.with_prices(market, Prices(usd, kind, Coded.of(codes, sources), as_of))
    return replace(table, published=published), unmatched


def _bad(code: str, field: str, value: object, allowed: str) -> InvalidInput:
    return InvalidInput(f"{field}={value!r} is no price. Allowed is {allowed}.", code=code, hint=f"Change {field}.")
