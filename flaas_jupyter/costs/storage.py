"""What a disk costs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from .price_table import bad_catalog

HOURS_PER_MONTH = 730.0
"""What the providers count a month as."""

COLUMNS = ("provider", "region", "kind", "usd_gb_month", "source", "as_of")


@dataclass(frozen=True)
class StoragePrice:
    """One kind of disk in one region.

    Attributes
    ----------
    provider, region, kind : str
        A region of ``"*"`` stands for all that are not named.
    usd_gb_month : float
        Per GB and month of 730 hours.
    source : str
        Where the figure comes from.
    as_of : date, optional
    """

    provider: str
    region: str
    kind: str
    usd_gb_month: float
    source: str = ""
    as_of: date | None = None

    def usd(self, gb: float, hours: float) -> float:
        """Return the price of a disk of `gb` for `hours`."""
        return gb * self.usd_gb_month * hours / HOURS_PER_MONTH


class StoragePrices:
    """Prices of general-purpose SSDs by provider and region."""

    def __init__(self, prices: Iterable[StoragePrice]) -> None:
        self._by_place = {(price.provider, price.region): price for price in prices}

    @classmethod
    def load(cls, path: str | Path) -> StoragePrices:
        """Read a table with the columns `COLUMNS`.

        Raises
        ------
        InvalidInput
            ``bad-catalog``
        """
        path = Path(path)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
                if missing:
                    raise bad_catalog(
                        f"{path} has no column {', '.join(missing)}", f"Columns needed: {', '.join(COLUMNS)}."
                    )
                return cls([_price(path, number, row) for number, row in enumerate(reader, 1)])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise bad_catalog(f"{path} cannot be read ({error})", "Expected is a table of prices.") from error

    def __len__(self) -> int:
        return len(self._by_place)

    def find(self, provider: str, region: str) -> StoragePrice | None:
        """Return the price in a region, else the provider's general one, else None."""
        return self._by_place.get((provider, region)) or self._by_place.get((provider, "*"))


def _price(path: Path, number: int, row: dict[str, str]) -> StoragePrice:
    try:
        usd = float(row["usd_gb_month"])
        as_of = date.fromisoformat(row["as_of"]) if row["as_of"] else None
    except (TypeError, ValueError) as error:
        raise bad_catalog(
            f"{path}, row {number}: {error}", "Allowed are a price and a date such as 2026-08-03."
        ) from error
    if not math.isfinite(usd) or usd < 0:
        raise bad_catalog(f"{path}, column usd_gb_month, row {number}: {usd}", "Allowed is a number of at least 0.")
    return StoragePrice(row["provider"], row["region"], row["kind"], usd, row["source"], as_of)
