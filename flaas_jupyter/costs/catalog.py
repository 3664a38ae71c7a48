"""The catalog: which machine of which cloud meets a need, at which price, and why not a cheaper one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput
from ..home import Home, write_private
from .candidates import as_json, candidate_columns
from .driver import Market
from .need import Need
from .overlays import NegotiatedPrice, PriceOverlay, apply_negotiated, apply_overlays
from .price_table import KINDS, Floats, Kind, PriceTable, read_folder, to_csv_gz
from .regions import DATA, Area, Regions
from .selection import FAR_BELOW, FAR_BELOW_WARNING, Rows, Selection, cheapest, in_order, medians, select, usable
from .spot_advisor import read_interruptions
from .storage import StoragePrices

if TYPE_CHECKING:
    import pandas as pd

    from .egress import EgressTable
    from .refresh import RefreshReport

STALE_AFTER_DAYS = 180
_SIDE_TABLES = ("egress.csv", "storage.csv")


@dataclass(frozen=True)
class Offer:
    """A machine that can be had, and its price.

    Attributes
    ----------
    provider, region, country, instance_type : str
        Where and what.
    price_usd_hour : float
        In the market asked for.
    market : str
        ``"on_demand"`` or ``"spot"``.
    kind : str
        ``"list"``: the provider's public price; ``"negotiated"``: a price of this account, told by the provider;
        ``"overlay"``: a list price with a percentage off; ``"learned"``: worked out from bills.
    source : str
        Where the price comes from.
    as_of : date, optional
        How old it is, if that is known.
    vcpus, memory_gib, gpu_count, gpu_memory_gib : float
        Hardware; `gpu_memory_gib` is that of each GPU.
    gpu_name : str
        Empty without GPU.
    arch : str
        ``"x86_64"`` or ``"arm64"``.
    warning : str
        Something to check first; mostly empty.
    """

    provider: str
    region: str
    country: str
    instance_type: str
    price_usd_hour: float
    market: Market
    kind: Kind
    source: str
    as_of: date | None
    vcpus: float
    memory_gib: float
    gpu_name: str = ""
    gpu_count: float = 0
    gpu_memory_gib: float = 0
    arch: str = ""
    warning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the offer as JSON values."""
        return {**asdict(self), "as_of": self.as_of.isoformat() if self.as_of else None}


class Catalog:
    """Prices of machines, storage and traffic of several clouds.

    Make one with `Catalog.embedded`, `Catalog.load` or `Catalog.current`.

    Parameters
    ----------
    table : PriceTable
        Machines and prices.
    regions : Regions
        Where they are; a machine in a region that is not among these is never chosen, since nobody can tell which
        country it stands in.
    folder : Path
        Where ``egress.csv``, ``storage.csv`` and ``aws_spot_advisor.csv.gz`` are looked for; each may be missing.
    """

    def __init__(self, table: PriceTable, regions: Regions, folder: Path, *, listed: PriceTable | None = None) -> None:
        self.table = table
        self.regions = regions
        self.folder = folder
        self.notes: tuple[str, ...] = ()
        self._listed = table if listed is None else listed

    @classmethod
    def load(cls, folder: str | Path) -> Catalog:
        """Read a folder of tables.

        Parameters
        ----------
        folder : path
            ``<provider>_vms.csv``, ``.csv.gz`` or ``.parquet`` with the columns of `price_table.COLUMNS`;
            ``regions.csv``, ``egress.csv``, ``storage.csv`` (those of the package where one is missing); optionally
            ``aws_spot_advisor.csv.gz``. Of rows for the same machine the newest counts.

        Raises
        ------
        InvalidInput
            ``bad-catalog``: the file, column and row at fault, and what is allowed there.
        """
        folder = Path(folder)
        table = read_folder(folder)
        regions = Regions.load(folder / "regions.csv") if (folder / "regions.csv").exists() else Regions.embedded()
        return cls(table, regions, folder)

    @classmethod
    @lru_cache(maxsize=1)
    def embedded(cls) -> Catalog:
        """Return the snapshot that comes with the package: a few hundred machines in the main regions."""
        return cls.load(DATA)

    @classmethod
    def current(cls, home_folder: str | Path | None = None) -> Catalog:
        """Return the prices that were last refreshed, else the embedded ones.

        Parameters
        ----------
        home_folder : path, optional
            `FLAAS_HOME` by default; prices are kept in its folder ``prices``.
        """
        folder = prices_folder(home_folder)
        return cls.load(folder) if folder.is_dir() else cls.embedded()

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Catalog({len(self)} machines of {', '.join(self.providers)}, from {self.folder})"

    # ---- questions ---------------------------------------------------------------------------------------------

    @cached_property
    def providers(self) -> tuple[str, ...]:
        """Providers with at least one row."""
        return tuple(self.table.provider.values[code] for code in np.unique(self.table.provider.codes))

    @cached_property
    def gpu_names(self) -> tuple[str, ...]:
        """Names of all GPUs."""
        return tuple(name for name in self.table.gpu_name.values if name)

    def cheapest(
        self, need: Need, area: Area = "EU", market: Market = "on_demand", provider: str | None = None
    ) -> Offer | None:
        """Return the cheapest machine that meets a need, None if there is none.

        Needs are lower bounds; a need without GPU takes machines without GPU; burstable machines only if the need
        allows them. A price of 0 means that the provider publishes none. Government regions never count. On demand
        takes what is sold on demand; a spot price must be below the machine's price on demand, and a provider has
        spot offers only if at least half of its machines that fit have a spot figure. Of equal prices the first by
        instance type, region, provider.

        Parameters
        ----------
        need : Need
        area : str or list of str
            ``"EU"``, ``"EEA"``, ``"Europe"``, ``"all"``, countries, regions, ``"provider:region"``.
        market : str
            ``"on_demand"`` or ``"spot"``.
        provider : str, optional
            Only this one.

        Raises
        ------
        InvalidInput
            ``unknown-area``, ``unknown-market`` or ``unknown-provider``.
        """
        self._require_provider(provider)
        row = cheapest(self.table, usable(self.table, self.regions, need, area, market, provider), market)
        return None if row is None else self._offer(row, market)

    def offers(
        self,
        need: Need,
        area: Area = "EU",
        market: Market = "on_demand",
        provider: str | None = None,
        limit: int | None = None,
    ) -> list[Offer]:
        """Return every machine that meets a need, cheapest first; arguments and errors as in `cheapest`."""
        self._require_provider(provider)
        rows = in_order(self.table, usable(self.table, self.regions, need, area, market, provider), market)
        return [self._offer(int(row), market) for row in rows[:limit]]

    def by_provider(self, need: Need, area: Area = "EU", market: Market = "on_demand") -> dict[str, Offer | None]:
        """Return `cheapest` of each provider."""
        return {name: self.cheapest(need, area, market, name) for name in self.providers}

    def by_region(
        self, need: Need, area: Area = "EU", market: Market = "on_demand", provider: str | None = None
    ) -> list[Offer]:
        """Return the cheapest machine of each provider, region and speed, cheapest first; arguments as in `cheapest`.

        Machines of one speed have the same GPUs and as many vCPUs.
        """
        self._require_provider(provider)
        table = self.table
        rows = in_order(table, usable(table, self.regions, need, area, market, provider), market)
        kinds = np.column_stack(
            [
                table.provider.codes[rows],
                table.region.codes[rows],
                table.gpu_name.codes[rows],
                table.gpu_count[rows],
                table.vcpus[rows],
            ]
        )
        _, first = np.unique(kinds, axis=0, return_index=True)
        return [self._offer(int(row), market) for row in rows[np.sort(first)]]

    def offer(self, provider: str, region: str, instance_type: str, market: Market = "on_demand") -> Offer | None:
        """Return one machine, None if it is not for sale there."""
        table = self.table
        here = (
            (table.provider.codes == table.provider.code(provider))
            & (table.region.codes == table.region.code(region))
            & (table.instance_type.codes == table.instance_type.code(instance_type))
        )
        place = self.regions.find(provider, region)
        usd = table.prices(market).usd
        rows = np.flatnonzero(here & table.published & (usd > 0) & (table.sold_on_demand | (market == "spot")))
        return None if len(rows) == 0 or place is None or place.government else self._offer(int(rows[0]), market)

    def candidates(
        self,
        need: Need,
        area: Area = "EU",
        market: Market = "on_demand",
        provider: str | None = None,
        limit: int | None = None,
        *,
        today: date | None = None,
    ) -> pd.DataFrame:
        """Return usable machines, cheapest first, and below them what was set aside, each with its reason.

        Set aside is what fits and against which one thing stands. ``attrs["message"]`` says why nothing is usable,
        and is empty otherwise.

        Parameters
        ----------
        need, area, market, provider
            As in `cheapest`.
        limit : int, optional
            At most so many usable rows, and at most so many set aside, every reason first by its cheapest.
        today : date, optional
            What `age_days` is counted to.

        Returns
        -------
        DataFrame
            provider, region, country, instance_type, vcpus, memory_gib, gpu_name, gpu_count, gpu_memory_gib,
            price_usd_hour, on_demand_usd_hour, spot_usd_hour, saving (share of the price on demand that spot saves),
            kind, as_of, age_days, source, chosen, reason, warning, interruption (how often AWS takes a spot machine
            away).
        """
        from .frames import candidates_frame

        self._require_provider(provider)
        selection = select(self.table, self.regions, need, area, market, provider)
        frame = candidates_frame(candidate_columns(self, selection, market, limit, today or _today()))
        frame.attrs["message"] = self._why_nothing(need, selection)
        return frame

    def candidate_rows(
        self,
        need: Need,
        area: Area = "EU",
        market: Market = "on_demand",
        provider: str | None = None,
        limit: int | None = None,
        *,
        today: date | None = None,
    ) -> list[dict[str, Any]]:
        """Return `candidates` as JSON values, without pandas; None stands for a figure that there is not."""
        self._require_provider(provider)
        selection = select(self.table, self.regions, need, area, market, provider)
        return as_json(candidate_columns(self, selection, market, limit, today or _today()))

    def explain(self, need: Need, area: Area = "EU", market: Market = "on_demand", provider: str | None = None) -> str:
        """Return why nothing is usable; empty if something is."""
        self._require_provider(provider)
        return self._why_nothing(need, select(self.table, self.regions, need, area, market, provider))

    # ---- age ---------------------------------------------------------------------------------------------------

    def age(self, today: date | None = None) -> dict[str, int | None]:
        """Return for each provider how many days its newest price is old, None if no row says so."""
        day = np.datetime64(today or _today(), "D")
        found: dict[str, int | None] = {}
        for name in self.providers:
            dated = self.table.on_demand.as_of[self.table.provider.codes == self.table.provider.code(name)]
            dated = dated[~np.isnat(dated)]
            found[name] = int((day - dated.max()).astype(int)) if len(dated) else None
        return found

    def warnings(self, today: date | None = None) -> list[str]:
        """Return what to know before relying on these prices: old ones, regions that nobody can place, `notes`."""
        found = [
            f"prices of {name} are {days} days old: run `flaas costs refresh`"
            for name, days in self.age(today).items()
            if days is not None and days > STALE_AFTER_DAYS
        ]
        unknown = self._unplaced()
        if unknown:
            found.append(f"not in regions.csv, so their machines are never chosen: {', '.join(unknown)}")
        return [*found, *self.notes]

    # ---- prices of one's own -----------------------------------------------------------------------------------

    def with_prices(self, overlays: Iterable[PriceOverlay] = (), negotiated: Iterable[NegotiatedPrice] = ()) -> Catalog:
        """Return a catalog with a customer's own prices.

        Parameters
        ----------
        overlays : iterable of PriceOverlay
            Percentages off the list price. Of several that cover a machine the most specific one counts.
        negotiated : iterable of NegotiatedPrice
            Prices of single machines; they win over overlays. One for a machine that is not in the catalog is left
            out and mentioned in `notes`.
        """
        table = apply_overlays(self._listed, overlays)
        table, unmatched = apply_negotiated(table, negotiated)
        catalog = Catalog(table, self.regions, self.folder, listed=self._listed)
        if unmatched:
            catalog.notes = (f"negotiated prices of machines that are not in the catalog: {', '.join(unmatched)}",)
        return catalog

    # ---- other prices ------------------------------------------------------------------------------------------

    @cached_property
    def egress(self) -> EgressTable:
        """Prices of traffic."""
        from .egress import EgressTable

        return EgressTable.load(self._side_table("egress.csv"))

    @cached_property
    def storage(self) -> StoragePrices:
        """Prices of disks."""
        return StoragePrices.load(self._side_table("storage.csv"))

    @cached_property
    def interruptions(self) -> Mapping[tuple[str, str], str]:
        """How often AWS takes a spot machine away, by (region, instance type); empty without that table."""
        return read_interruptions(self.folder / "aws_spot_advisor.csv.gz")

    # ---- keeping -----------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write list prices, regions and the prices of traffic and storage in the shape that `load` reads.

        Each file is replaced at once; one file per provider.
        """
        folder = Path(folder)
        write_private(folder / "regions.csv", self.regions.to_csv().encode())
        for name in _SIDE_TABLES:
            write_private(folder / name, self._side_table(name).read_bytes())
        for provider in self.providers:
            write_private(folder / provider_file(provider), to_csv_gz(self.rows_of(provider)))

    def rows_of(self, provider: str) -> PriceTable:
        """Return the list prices of one provider."""
        return self._listed.take(self._listed.provider.codes == self._listed.provider.code(provider))

    def refresh(
        self,
        folder: str | Path | None = None,
        provider_prices: Mapping[str, Callable[[], Iterable[Mapping[str, Any]]]] | None = None,
        *,
        today: date | None = None,
        least_share: float = 0.5,
    ) -> RefreshReport:
        """Fetch prices anew, one provider after the other, and keep what a provider had if it fails; see `refresh`.

        Parameters
        ----------
        folder : path, optional
            Where to keep them; ``prices`` in `FLAAS_HOME` by default, where `Catalog.current` looks.
        provider_prices : mapping
            For each provider what yields its rows, such as `CloudDriver.prices` of a connected account.
        today : date, optional
            ``as_of`` of rows that do not say.
        least_share : float
            A provider that answers with less than this share of the rows it had keeps those; 0 takes any number.
        """
        from .refresh import refresh

        if not provider_prices:
            raise InvalidInput(
                "No provider to ask for prices.",
                code="no-provider",
                hint='Connect an account and pass its prices, e.g. provider_prices={"aws": driver.prices}.',
            )
        return refresh(
            self, Path(folder) if folder else prices_folder(), provider_prices, today or _today(), least_share
        )

    # ---- inside ------------------------------------------------------------------------------------------------

    @cached_property
    def medians(self) -> Floats:
        """Median list price of each row's type over its provider's regions; shape (n,), see `selection.medians`."""
        return medians(self._listed)

    def is_far_below(self, rows: Rows) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return for each row whether its list price on demand is far below its type's median."""
        far: np.ndarray[Any, np.dtype[np.bool_]] = self._listed.on_demand.usd[rows] < FAR_BELOW * self.medians[rows]
        return far

    def _offer(self, row: int, market: Market) -> Offer:
        table, one = self.table, np.array([row])
        prices = table.prices(market)
        as_of = prices.as_of[row]
        provider, name = table.provider.texts(one)[0], table.region.texts(one)[0]
        region = self.regions.find(provider, name)
        return Offer(
            provider=provider,
            region=name,
            country=region.country if region else "",
            instance_type=table.instance_type.texts(one)[0],
            price_usd_hour=float(prices.usd[row]),
            market=market,
            kind=KINDS[prices.kind[row]],
            source=prices.source.texts(one)[0],
            as_of=None if np.isnat(as_of) else as_of.astype(object),
            vcpus=float(table.vcpus[row]),
            memory_gib=float(table.memory_gib[row]),
            gpu_name=table.gpu_name.texts(one)[0],
            gpu_count=float(table.gpu_count[row]),
            gpu_memory_gib=float(table.gpu_memory_gib[row]),
            arch=table.arch.texts(one)[0],
            warning=FAR_BELOW_WARNING if self.is_far_below(one)[0] else "",
        )

    def _why_nothing(self, need: Need, selection: Selection) -> str:
        if len(selection.usable):
            return ""
        known = {name.lower() for name in self.gpu_names}
        if need.gpu_names and not any(name.lower() in known for name in need.gpu_names):
            return (
                f"No machine in the catalog has a GPU named {' or '.join(need.gpu_names)}. "
                f"Known are {', '.join(self.gpu_names)}."
            )
        if not len(selection.aside):
            return "No machine in the area has such hardware: ask for less, or in a larger area."
        texts, counts = np.unique(selection.reasons.astype(str), return_counts=True)
        most = np.argsort(-counts, kind="stable")[:3]
        listed = "; ".join(f"{counts[i]} × {texts[i]}" for i in most)
        return f"{len(selection.aside)} machines have such hardware, but: {listed}."

    def _require_provider(self, provider: str | None) -> None:
        known = sorted({*self.providers, *(region.provider for region in self.regions)})
        if provider is not None and provider not in known:
            raise InvalidInput(
                f"{provider!r} is no provider. Allowed are {', '.join(known)}, or None for all.",
                code="unknown-provider",
                hint="Leave provider out to compare all of them.",
            )

    def _unplaced(self) -> list[str]:
        table, width = self.table, len(self.table.region.values)
        places = np.unique(table.provider.codes.astype(np.int64) * width + table.region.codes)
        keys = [(table.provider.values[place // width], table.region.values[place % width]) for place in places]
        return [f"{provider}:{region}" for provider, region in keys if self.regions.find(provider, region) is None]

    def _side_table(self, name: str) -> Path:
        path = self.folder / name
        return path if path.exists() else DATA / name


def prices_folder(home_folder: str | Path | None = None) -> Path:
    """Return where refreshed prices are kept: ``prices`` in the given folder, by default in `FLAAS_HOME`."""
    return (Path(home_folder) if home_folder is not None else Home.default().path) / "prices"


def provider_file(provider: str) -> str:
    """Return the name of a provider's table."""
    return f"{provider}_vms.csv.gz"


def _today() -> date:
    return datetime.now(UTC).date()
