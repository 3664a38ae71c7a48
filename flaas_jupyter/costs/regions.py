"""Where the clouds' regions are, and what an area such as ``"EU"`` takes in.

Europe is not the EU: London, Zurich and Oslo lie in Europe, and data that must stay in the EU may not go there.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path

from ..errors import InvalidInput

DATA = Path(__file__).parent / "data"

Area = str | Sequence[str]
"""``"EU"``, ``"EEA"``, ``"Europe"``, ``"all"``, a country (ISO 3166), a region, ``"provider:region"``, or several."""

_NAMED = ("EU", "EEA", "Europe", "all")
_FLAGS = ("eu", "eea", "europe", "government")
_TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}


@dataclass(frozen=True)
class Region:
    """One region of one provider.

    Parameters
    ----------
    provider, name : str
        In the provider's own terms.
    country : str
        ISO 3166, two letters.
    continent : str
        ``"EU"`` (Europe), ``"NA"``, ``"SA"``, ``"AS"``, ``"OC"``, ``"AF"``, ``"ME"``; empty if not known.
    eu, eea, europe : bool
        In a member state of the European Union; in one of the European Economic Area; in the EEA, Great Britain or
        Switzerland.
    government : bool
        Sold to public bodies of that country alone.
    """

    provider: str
    name: str
    country: str
    continent: str
    eu: bool
    eea: bool
    europe: bool
    government: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Provider and name."""
        return self.provider, self.name


class Regions:
    """All regions that are known.

    Parameters
    ----------
    regions : iterable of Region
        Of one with the same provider and name the last counts.
    """

    def __init__(self, regions: Iterable[Region]) -> None:
        self._by_key: dict[tuple[str, str], Region] = {region.key: region for region in regions}

    @classmethod
    @lru_cache(maxsize=1)
    def embedded(cls) -> Regions:
        """Return the regions that come with the package."""
        return cls.load(DATA / "regions.csv")

    @classmethod
    def load(cls, path: str | Path) -> Regions:
        """Read a table with the columns of `Region` (``region`` for its name; ``continent`` may be missing).

        Raises
        ------
        InvalidInput
            ``bad-catalog``: the file, column and row at fault.
        """
        path = Path(path)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                needed = {"region", *(f.name for f in fields(Region))} - {"name", "continent"}
                missing = sorted(needed - set(rows.fieldnames or ()))
                if missing:
                    raise _bad(
                        path, f"has no column {', '.join(missing)}", f"Columns needed: {', '.join(sorted(needed))}."
                    )
                found = [_region(path, row, number) for number, row in enumerate(rows, 1)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise _bad(path, f"cannot be read ({error})", "It must be a table of comma-separated values.") from error
        return cls(found)

    def __iter__(self) -> Iterator[Region]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def to_csv(self) -> str:
        """Return a table that `load` reads."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["region" if f.name == "name" else f.name for f in fields(Region)])
        writer.writerows([getattr(region, f.name) for f in fields(Region)] for region in self)
        return text.getvalue()

    def find(self, provider: str, region: str) -> Region | None:
        """Return a provider's region, None if it is not known."""
        return self._by_key.get((provider, region))

    def within(self, area: Area) -> frozenset[tuple[str, str]]:
        """Return (provider, region) of every region of `area`, government regions among them.

        Raises
        ------
        InvalidInput
            ``unknown-area``
        """
        found: set[tuple[str, str]] = set()
        for name in area_names(area):
            found |= self._places(name)
        return frozenset(found)

    def just_outside(self, area: Area) -> dict[tuple[str, str], str]:
        """Return the regions of Europe that an area of the EU or the EEA leaves out, each with the reason."""
        inside = self.within(area)
        wanted = [name for name in ("EU", "EEA") if name.lower() in {one.lower() for one in area_names(area)}]
        if not wanted:
            return {}
        return {
            region.key: f"outside the {wanted[-1]} ({region.country}), though in Europe"
            for region in self
            if region.europe and region.key not in inside
        }

    def _places(self, name: str) -> set[tuple[str, str]]:
        wanted = name.strip().lower()
        if wanted == "all":
            return set(self._by_key)
        if wanted in ("eu", "eea", "europe"):
            return {region.key for region in self if getattr(region, wanted)}
        if wanted in self._names:
            return self._names[wanted]
        close = difflib.get_close_matches(wanted, self._names, n=3, cutoff=0.6)
        countries = ", ".join(sorted({region.country for region in self if region.country}))
        raise InvalidInput(
            f"{name!r} is no area with a region. Allowed are {', '.join(_NAMED)}, a country ({countries}), the name of "
            'a region, "provider:region", or a list of these.',
            code="unknown-area",
            hint=f"Did you mean {' or '.join(close)}?" if close else 'Use area="all" to search everywhere.',
            area=name,
            close=close,
        )

    @cached_property
    def _names(self) -> Mapping[str, set[tuple[str, str]]]:
        names: dict[str, set[tuple[str, str]]] = {}
        for region in self:
            for name in (region.country, region.name, f"{region.provider}:{region.name}"):
                if name:
                    names.setdefault(name.lower(), set()).add(region.key)
        return names


def area_names(area: Area) -> tuple[str, ...]:
    """Return the names that make up `area`.

    Raises
    ------
    InvalidInput
        ``unknown-area``: not a text or a list of texts, or an empty one.
    """
    names = (area,) if isinstance(area, str) else tuple(area) if isinstance(area, Iterable) else ()
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InvalidInput(
            f"{area!r} is no area. Allowed are {', '.join(_NAMED)}, countries, regions, or a list of these.",
            code="unknown-area",
            hint='For example area="EU" or area=["DE", "FR"].',
        )
    return names


def _region(path: Path, row: Mapping[str, str | None], number: int) -> Region:
    def text(column: str) -> str:
        return (row.get(column) or "").strip()

    flags = {}
    for column in _FLAGS:
        value = text(column).lower()
        if value not in _TRUTH:
            raise _bad(path, f"row {number}, column {column}: {text(column)!r}", "Allowed are True and False.")
        flags[column] = _TRUTH[value]
    for column in ("provider", "region"):
        if not text(column):
            raise _bad(path, f"row {number}, column {column} is empty", "Every region needs a provider and a name.")
    country = text("country").upper()
    continent = text("continent") if "continent" in row else _continents().get(country, "")
    return Region(text("provider"), text("region"), country, continent, **flags)


@lru_cache(maxsize=1)
def _continents() -> dict[str, str]:
    return {region.country: region.continent for region in Regions.embedded()}


def _bad(path: Path, what: str, allowed: str) -> InvalidInput:
    return InvalidInput(f"{path}: {what}. {allowed}", code="bad-catalog", hint="Mend the file or take another one.")
