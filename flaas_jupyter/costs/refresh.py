"""Fetching prices anew without ever losing the last good ones."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ..errors import FlaasError, InvalidInput
from ..home import write_private
from .catalog import Catalog, provider_file
from .price_table import PriceTable, read_rows, to_csv_gz

log = logging.getLogger(__name__)

PriceSource = Callable[[], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class ProviderRefresh:
    """What became of one provider's prices.

    Attributes
    ----------
    provider : str
    replaced : bool
        Whether the new ones are in use; otherwise the old ones still are.
    rows_before, rows_after : int
        Before, and in use now.
    message : str
        For people.
    """

    provider: str
    replaced: bool
    rows_before: int
    rows_after: int
    message: str


@dataclass(frozen=True)
class RefreshReport:
    """What became of each provider, and the catalog as it is now."""

    folder: Path
    providers: tuple[ProviderRefresh, ...]
    catalog: Catalog

    @property
    def complete(self) -> bool:
        """Whether every provider's prices were replaced."""
        return all(one.replaced for one in self.providers)


def refresh(
    catalog: Catalog,
    folder: Path,
    provider_prices: Mapping[str, PriceSource],
    today: date,
    least_share: float = 0.5,
) -> RefreshReport:
    """Replace the prices in `folder` provider by provider.

    A provider keeps its rows if it fails, answers with nothing, with rows that are damaged, or with less than
    `least_share` of those it had, which is more often a fault on the way than a clearance. Each provider's file is
    replaced at once, so that a crash leaves either the old or the new prices.

    Parameters
    ----------
    catalog : Catalog
        What `folder` is filled with first where it has nothing.
    folder : Path
        Made if it does not exist.
    provider_prices : mapping of str to callable
        Each yields rows with `price_table.COLUMNS`; ``as_of`` is `today` and ``source`` the provider's name where a
        row does not say.
    today : date
    least_share : float
        0 takes any number of rows.
    """
    last_good = _fill(catalog, folder)
    done = []
    for provider, prices in provider_prices.items():
        before = last_good.rows_of(provider)
        try:
            after = _fetch(provider, prices, today, len(before), least_share)
        except Exception as error:  # one provider's failure, of whatever kind, must not cost the others theirs
            log.warning("prices of %s were kept: %s", provider, error)
            why = error.message if isinstance(error, FlaasError) else f"{type(error).__name__}: {error}"
            kept = f"{why} The {len(before)} prices from before are kept." if len(before) else why
            done.append(ProviderRefresh(provider, False, len(before), len(before), kept))
            continue
        write_private(folder / provider_file(provider), to_csv_gz(after))
        for suffix in ("csv", "parquet"):
            (folder / f"{provider}_vms.{suffix}").unlink(missing_ok=True)
        done.append(ProviderRefresh(provider, True, len(before), len(after), f"{len(after)} prices as of {today}."))
    return RefreshReport(folder, tuple(done), Catalog.load(folder))


def _fill(catalog: Catalog, folder: Path) -> Catalog:
    """Write what is missing in `folder` and return the catalog that it holds."""
    try:
        there = Catalog.load(folder)
    except InvalidInput as error:
        if folder.is_dir() and any(folder.glob("*vms.*")):
            log.warning("%s", error)
        _save_at_once(catalog, folder)
        return Catalog.load(folder)
    for provider in catalog.providers:
        if provider not in there.providers:
            write_private(folder / provider_file(provider), to_csv_gz(catalog.rows_of(provider)))
    return Catalog.load(folder)


def _save_at_once(catalog: Catalog, folder: Path) -> None:
    """Write a whole folder such that nobody who reads meanwhile finds half of it."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / folder.name
        catalog.save(made)
        if folder.exists():  # with nothing of use in it
            folder.rename(Path(temporary) / "before")
        made.rename(folder)


def _fetch(provider: str, prices: PriceSource, today: date, rows_before: int, least_share: float) -> PriceTable:
    rows = [
        {**row, "as_of": row.get("as_of") or today, "source": row.get("source") or f"{provider} prices"}
        for row in prices()
    ]
    strangers = {str(row.get("provider")) for row in rows} - {provider}
    if strangers:
        raise InvalidInput(f"{provider} answered with rows of {', '.join(sorted(strangers))}.", code="bad-catalog")
    if not rows:
        raise InvalidInput(f"{provider} answered with no price.", code="too-few-prices")
    table = PriceTable.joined([read_rows(rows, f"prices of {provider}")])
    if len(table) < least_share * rows_before:
        raise InvalidInput(
            f"{provider} answered with {len(table)} prices, less than {least_share:.0%} of the {rows_before} it had.",
            code="too-few-prices",
            hint="If that is right, refresh again with least_share=0.",
        )
    return table
