"""What it costs to move data out of a cloud: prices by where it goes, with volume tiers.

Ingress is free everywhere; the sender pays. Within a region nothing is charged here (zones count only if both ends name
one); between regions of one provider its own price; everything else leaves over the internet at the sender's price.
Internet prices fall with the volume of a billing account in a month, and AWS and Azure give the first 100 GB free.

A placement uses the marginal price of the first tier that is paid (`EgressTable.price`); `EgressTable.cost`
integrates the tiers of a month exactly.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InvalidInput

Candidate = Mapping[str, Any]

COLUMNS = ("provider", "scope", "from_area", "to_area", "tier_from_gb", "tier_to_gb", "usd_per_gb")
SCOPES = ("internet", "internet_standard", "inter_region", "inter_zone", "same_zone", "multicloud_eu")

_NAMES = {"china": "CN", "australia": "AU", "uk": "GB", "europe": "EU", "us": "US"}
_WITHIN = ("same region", "same zone")


@dataclass(frozen=True)
class Tier:
    """USD per GB from `start` to `end` GB of an account's month."""

    start: float
    end: float
    usd_per_gb: float


@dataclass(frozen=True)
class Schedule:
    """The tiers of one provider, scope and pair of areas.

    Parameters
    ----------
    provider, scope, from_area, to_area : str
        An area is a continent (``"EU"`` is Europe here, as price lists mean it), a country, a region, ``"any"``,
        ``"A+B"``, ``"any except A and B"`` or ``"other continent"``.
    tiers : tuple of Tier
        From 0 upwards without gaps.
    checked : bool
        Whether the figure was compared with a dated source.
    as_of, source, note : str
    """

    provider: str
    scope: str
    from_area: str
    to_area: str
    tiers: tuple[Tier, ...]
    checked: bool = False
    as_of: str = ""
    source: str = ""
    note: str = ""

    @property
    def marginal(self) -> float:
        """USD per GB of the first tier that is paid; 0 if none is."""
        return next((tier.usd_per_gb for tier in self.tiers if tier.usd_per_gb > 0), 0.0)

    @property
    def free_gb(self) -> float:
        """GB of a month before the first tier that is paid."""
        return next((tier.start for tier in self.tiers if tier.usd_per_gb > 0), math.inf)

    @property
    def first_paid_end(self) -> float:
        """GB of a month up to which the marginal price is right."""
        return next((tier.end for tier in self.tiers if tier.usd_per_gb > 0), math.inf)

    def cost(self, gb: float) -> float:
        """Return USD of a month's volume, tier by tier."""
        return math.fsum(max(0.0, min(gb, t.end) - t.start) * t.usd_per_gb for t in self.tiers)


@dataclass(frozen=True)
class Quote:
    """What a GB from one machine to another costs, and on which grounds.

    `scope` is one of the table's, ``"same_region"`` or ``"unlisted"`` (a provider without prices, which charges
    nothing); `assumed` says what was not known, and is empty otherwise.
    """

    usd_per_gb: float
    scope: str
    schedule: Schedule | None = None
    assumed: str = ""


@dataclass(frozen=True)
class _Place:
    provider: str
    region: str
    country: str
    continent: str
    zone: str
    account: str


class EgressTable:
    """Prices of data leaving machines.

    Parameters
    ----------
    schedules : iterable of Schedule
        A more specific pair of areas wins over a wider one: region, country, continent, any.
    standard_tier : bool
        Google's Standard network tier instead of Premium.
    multicloud_accounts : collection of str
        Accounts (key ``"account"`` of a candidate) for which Google's free transfer to other clouds in the EU and the
        UK was switched on. It holds within one organisation, so both ends must name that account.

    Examples
    --------
    >>> table = EgressTable.embedded()
    >>> table.price({"provider": "aws", "region": "eu-west-1"}, {"provider": "gcp", "region": "europe-west1"})
    0.09
    >>> round(table.cost("aws", 600), 2)
    45.0
    """

    def __init__(
        self, schedules: Iterable[Schedule], *, standard_tier: bool = False, multicloud_accounts: Collection[str] = ()
    ) -> None:
        self.schedules = tuple(schedules)
        self.standard_tier = standard_tier
        self.multicloud_accounts = frozenset(multicloud_accounts)
        self._providers = frozenset(schedule.provider for schedule in self.schedules)
        self._places: dict[tuple[str, ...], _Place] = {}
        self._quotes: dict[tuple[_Place, _Place], Quote] = {}

    @classmethod
    def embedded(cls) -> EgressTable:
        """Return the prices that come with the package; each row says whether it was checked, when and where."""
        return cls(_embedded())

    @classmethod
    def load(cls, path: str | Path) -> EgressTable:
        """Read a table with the columns `COLUMNS` and, if there, ``checked``, ``as_of``, ``source``, ``note``.

        Raises
        ------
        InvalidInput
            ``bad-egress-table``: the file, row, column and value at fault.
        """
        return cls(_read(Path(path)))

    def switched(self, *, standard_tier: bool | None = None, multicloud_accounts: Collection[str] = ()) -> EgressTable:
        """Return the table with another network tier or further accounts with free transfer between clouds."""
        return EgressTable(
            self.schedules,
            standard_tier=self.standard_tier if standard_tier is None else standard_tier,
            multicloud_accounts=self.multicloud_accounts | set(multicloud_accounts),
        )

    def __call__(self, source: Candidate, target: Candidate) -> float:
        """Return `price`: a table is a callable like any other."""
        return self.price(source, target)

    def price(self, source: Candidate, target: Candidate) -> float:
        """Return the marginal USD per GB from one candidate to another, in the first tier that is paid.

        Candidates need ``provider`` and ``region``; ``country``, ``zone`` and ``account`` count if they are there.
        """
        return self.quote(source, target).usd_per_gb

    def quote(self, source: Candidate, target: Candidate) -> Quote:
        """Return the price and its grounds."""
        key = (self._place(source), self._place(target))
        if key not in self._quotes:
            self._quotes[key] = self._quote(*key)
        return self._quotes[key]

    def cost(
        self,
        provider: str,
        gb: float,
        kind: str = "internet",
        *,
        source: Candidate | None = None,
        target: Candidate | None = None,
    ) -> float:
        """Return USD of `gb` GB that one account sends in a month, integrated over the tiers.

        Parameters
        ----------
        provider : str
        gb : float
            Finite, at least 0.
        kind : str
            One of `SCOPES`.
        source, target : mapping, optional
            Candidates whose areas choose the schedule; without them the provider's first of that kind.

        Raises
        ------
        InvalidInput
            ``bad-volume``, ``unknown-egress-kind``
        """
        if not (isinstance(gb, (int, float)) and math.isfinite(gb) and gb >= 0):
            raise InvalidInput(
                f"The volume is {gb!r}; it must be a finite number of GB, at least 0.",
                code="bad-volume",
                hint="Give the GB that the account sends in one month.",
            )
        if kind not in SCOPES:
            raise InvalidInput(
                f"{kind!r} is no kind of egress. Allowed are {', '.join(SCOPES)}.",
                code="unknown-egress-kind",
                hint='Most data leaves as kind="internet".',
            )
        if provider not in self._providers:
            return 0.0
        if source is None:
            schedule = next((s for s in self.schedules if (s.provider, s.scope) == (provider, kind)), None)
        else:
            schedule, _ = self._find(provider, kind, self._place(source), self._place(target or source))
        if schedule is None:
            scopes = sorted({s.scope for s in self.schedules if s.provider == provider})
            raise InvalidInput(
                f"There is no price for egress of kind {kind!r} from {provider!r}.",
                code="unknown-egress-kind",
                hint=f"{provider} has {', '.join(scopes)}.",
            )
        return schedule.cost(float(gb))

    def _place(self, candidate: Candidate) -> _Place:
        names = ("provider", "region", "country", "zone", "account")
        key = tuple(str(candidate.get(name) or "") for name in names)
        if key not in self._places:
            provider, region, country, zone, account = key
            continent = ""
            if provider in self._providers or not country:
                country, continent = _whereabouts(provider, region, country)
            self._places[key] = _Place(provider, region, country, continent, zone, account)
        return self._places[key]

    def _quote(self, source: _Place, target: _Place) -> Quote:
        provider = source.provider
        if provider not in self._providers:
            return Quote(0.0, "unlisted")
        if provider == target.provider:
            if source.region == target.region:
                if source.zone and target.zone and source.zone != target.zone:
                    return self._priced("inter_zone", source, target)
                return Quote(0.0, "same_region")
            return self._priced("inter_region", source, target)
        if (
            provider == "gcp"
            and source.account in self.multicloud_accounts
            and source.account == target.account
            and target.provider in self._providers
            and self._matches("multicloud_eu", source, target)
        ):
            return self._priced("multicloud_eu", source, target)
        standard = self.standard_tier and any(
            (s.provider, s.scope) == (provider, "internet_standard") for s in self.schedules
        )
        return self._priced("internet_standard" if standard else "internet", source, target)

    def _matches(self, scope: str, source: _Place, target: _Place) -> bool:
        return any(
            (s.provider, s.scope) == (source.provider, scope)
            and _fits(s.from_area, source, source) is not None
            and _fits(s.to_area, target, source) is not None
            for s in self.schedules
        )

    def _priced(self, scope: str, source: _Place, target: _Place) -> Quote:
        schedule, assumed = self._find(source.provider, scope, source, target)
        if schedule is None and scope != "internet":
            schedule, _ = self._find(source.provider, "internet", source, target)
            assumed = f"no {scope} price of {source.provider} from {source.region}: its internet price is taken"
        if schedule is None:
            return Quote(0.0, scope, None, f"no {scope} price of {source.provider}: nothing is charged")
        if not assumed and not schedule.checked:
            assumed = (
                f"{scope} price of {source.provider} from {schedule.from_area} to {schedule.to_area} is not checked"
            )
        return Quote(schedule.marginal, scope, schedule, assumed)

    def _find(self, provider: str, scope: str, source: _Place, target: _Place) -> tuple[Schedule | None, str]:
        """Return the most specific schedule; the dearest of the provider, and why, if none fits."""
        mine = [s for s in self.schedules if (s.provider, s.scope) == (provider, scope)]
        best: tuple[float, float] | None = None
        chosen: Schedule | None = None
        for schedule in mine:
            start, end = _fits(schedule.from_area, source, source), _fits(schedule.to_area, target, source)
            if start is not None and end is not None and (best is None or (start + end, start) > best):
                best, chosen = (start + end, start), schedule
        if chosen is not None or not mine:
            return chosen, ""
        dearest = max(mine, key=lambda s: s.marginal)
        where = f"from {source.region} to {target.provider} {target.region}"
        return dearest, f"no {scope} price of {provider} {where}: the dearest known one is taken ({dearest.from_area})"


def _fits(area: str, place: _Place, sender: _Place) -> float | None:
    """Return how specific an area is that holds the place, None if it does not hold it."""
    text = area.strip()
    lower = text.lower()
    if lower in _WITHIN:
        return 1.0
    if lower == "other continent":
        return 0.6 if place.continent and sender.continent and place.continent != sender.continent else None
    if lower.startswith("any except "):
        names = lower.removeprefix("any except ").replace(" and ", ",").split(",")
        return 0.3 if all(_holds(name.strip(), place) is None for name in names) else None
    if lower == "any" or lower.startswith("any "):
        return 0.0
    parts = text.split("+")
    found = [level for part in parts if (level := _holds(part.strip().lower(), place)) is not None]
    return max(found) - 0.01 * (len(parts) - 1) if found else None


def _holds(name: str, place: _Place) -> float | None:
    code = _NAMES.get(name, name).upper()
    if name == place.region.lower():
        return 3.0
    if code == place.country.upper():
        return 2.0
    return 1.0 if code == place.continent.upper() else None


def _whereabouts(provider: str, region: str, country: str) -> tuple[str, str]:
    """Return country and continent of a region, as far as they are known."""
    from .regions import Regions

    known = Regions.embedded().find(provider, region)
    if known is not None:
        return country or known.country, known.continent
    if country:
        return country, next((one.continent for one in Regions.embedded() if one.country == country.upper()), "")
    return "", ""


@lru_cache(maxsize=1)
def _embedded() -> tuple[Schedule, ...]:
    return _read(Path(__file__).parent / "data" / "egress.csv")


def _read(path: Path) -> tuple[Schedule, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _bad(path, f"cannot be read ({error}). It must be a table of comma-separated values.") from error
    if missing:
        raise _bad(path, f"has no column {', '.join(missing)}. Columns needed: {', '.join(COLUMNS)}.")
    found: dict[tuple[str, ...], list[tuple[Tier, dict[str, str]]]] = {}
    for number, row in enumerate(rows, 1):
        key = tuple((row[column] or "").strip() for column in COLUMNS[:4])
        if not all(key):
            raise _bad(path, f"row {number}: one of {', '.join(COLUMNS[:4])} is empty.")
        if key[1] not in SCOPES:
            raise _bad(path, f"row {number}, column scope: {key[1]!r}. Allowed are {', '.join(SCOPES)}.")
        found.setdefault(key, []).append((_tier(path, row, number), row))
    return tuple(_schedule(path, key, tiers) for key, tiers in found.items())


def _tier(path: Path, row: Mapping[str, str], number: int) -> Tier:
    values = []
    for column, empty in (("tier_from_gb", math.nan), ("tier_to_gb", math.inf), ("usd_per_gb", math.nan)):
        text = (row[column] or "").strip()
        try:
            value = float(text) if text else empty
        except ValueError:
            value = math.nan
        if not value >= 0 or (math.isinf(value) and text):
            raise _bad(path, f"row {number}, column {column}: {text!r}. It must be a finite number, at least 0.")
        values.append(value)
    return Tier(*values)


def _schedule(path: Path, key: tuple[str, ...], rows: list[tuple[Tier, dict[str, str]]]) -> Schedule:
    tiers = tuple(sorted((tier for tier, _ in rows), key=lambda tier: tier.start))
    edges = [0.0, *(tier.end for tier in tiers)]
    if any(tier.start != edge or tier.end <= tier.start for tier, edge in zip(tiers, edges, strict=False)):
        raise _bad(path, f"the tiers of {' '.join(key)} have a gap or an overlap. Each must start where the last ends.")
    if math.isfinite(tiers[-1].end):  # a list that stops: the last known price goes on
        tiers = (*tiers[:-1], Tier(tiers[-1].start, math.inf, tiers[-1].usd_per_gb))
    first = rows[0][1]
    told = {name: (first.get(name) or "").strip() for name in ("checked", "as_of", "source", "note")}
    checked = told["checked"].lower() in ("yes", "true", "1", "")
    provider, scope, from_area, to_area = key
    return Schedule(provider, scope, from_area, to_area, tiers, checked, told["as_of"], told["source"], told["note"])


def _bad(path: Path, what: str) -> InvalidInput:
    return InvalidInput(f"{path}: {what}", code="bad-egress-table", hint="Mend the file or use EgressTable.embedded().")


EgressPrice = Callable[[Candidate, Candidate], float]
"""USD per GB from one candidate to another."""
