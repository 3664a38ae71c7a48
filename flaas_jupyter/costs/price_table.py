"""Machines and their prices as columns: reading tables from files, checking them, writing them back.

A table has one row per (provider, region, instance type). Texts are kept as numbers into a sorted list of the distinct
ones, so that the order of the numbers is that of the texts and a comparison costs no string.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import FlaasError, InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["list", "negotiated", "overlay", "learned"]
KINDS: tuple[Kind, ...] = ("list", "negotiated", "overlay", "learned")

TEXTS = ("provider", "region", "instance_type", "arch", "gpu_name", "source")
NUMBERS = ("vcpus", "memory_gib", "gpu_count", "gpu_memory_gib", "price_usd_hour", "spot_usd_hour")
TRUTHS = ("burstable", "on_demand_available")
COLUMNS = (
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
)
"""Of ``<provider>_vms.csv``; ``gpu_memory_gib`` is that of each GPU, prices are USD per hour."""

_MAY_BE_EMPTY = {"gpu_name", "spot_usd_hour", "price_usd_hour", "as_of", "source"}
_ALLOWED = {**dict.fromkeys(TEXTS, "a text"), **dict.fromkeys(NUMBERS, "a number of at least 0")}
_ALLOWED |= {**dict.fromkeys(TRUTHS, "True or False"), "as_of": "a date such as 2026-08-03, or empty"}
_ARROW_ERROR = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?(?:CSV )?(.*)", re.DOTALL)

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]
Truths = NDArray[np.bool_]
Days = NDArray[np.datetime64]


@dataclass(frozen=True)
class Coded:
    """A column of texts: `values` in ascending order without repetition, `codes` into them; no text is ``""``."""

    codes: Codes
    values: tuple[str, ...]

    @classmethod
    def of(cls, codes: NDArray[Any], values: Sequence[str]) -> Coded:
        """Bring any coding into the ascending one."""
        ordered = sorted(set(values))
        place = {value: i for i, value in enumerate(ordered)}
        new = np.array([place[value] for value in values] or [0], np.int32)
        return cls(new[codes], tuple(ordered))

    @classmethod
    def joined(cls, parts: Sequence[Coded]) -> Coded:
        """One column below the other."""
        offsets = np.cumsum([0, *(len(part.values) for part in parts)])
        codes = np.concatenate([part.codes + offset for part, offset in zip(parts, offsets[:-1], strict=True)])
        return cls.of(codes, [value for part in parts for value in part.values])

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[Any]) -> Coded:
        """Return some rows."""
        return Coded(self.codes[rows], self.values)

    def code(self, value: str) -> int:
        """Return the number of a text, -1 if no row can have it."""
        return self.values.index(value) if value in self.values else -1

    def is_in(self, wanted: Iterable[bool]) -> Truths:
        """Return for each row whether its text is wanted; `wanted` says it for each of `values`."""
        return np.fromiter(wanted, np.bool_, len(self.values))[self.codes] if self.values else np.zeros(0, np.bool_)

    def texts(self, rows: NDArray[Any]) -> NDArray[np.object_]:
        """Return the texts of some rows."""
        found: NDArray[np.object_] = np.array(self.values, object)[self.codes[rows]]
        return found


@dataclass(frozen=True)
class Prices:
    """The prices of one market, row by row.

    Attributes
    ----------
    usd : ndarray of float64, shape (n,)
        Per hour; NaN where there is none.
    kind : ndarray of int8, shape (n,)
        Index into `KINDS`.
    source : Coded
        Where each comes from.
    as_of : ndarray of datetime64[D], shape (n,)
        NaT where it is not known.
    """

    usd: Floats
    kind: NDArray[np.int8]
    source: Coded
    as_of: Days

    def take(self, rows: NDArray[Any]) -> Prices:
        """Return some rows."""
        return Prices(self.usd[rows], self.kind[rows], self.source.take(rows), self.as_of[rows])


@dataclass(frozen=True)
class PriceTable:
    """Machines, the columns of equal length; ``published`` says whether the provider names a price at all."""

    provider: Coded
    region: Coded
    instance_type: Coded
    arch: Coded
    gpu_name: Coded
    vcpus: Floats
    memory_gib: Floats
    gpu_count: Floats
    gpu_memory_gib: Floats
    burstable: Truths
    sold_on_demand: Truths
    published: Truths
    on_demand: Prices
    spot: Prices

    def __len__(self) -> int:
        return len(self.vcpus)

    def take(self, rows: NDArray[Any]) -> PriceTable:
        """Return some rows, by number or by mask."""
        new = {}
        for f in fields(self):
            column = getattr(self, f.name)
            new[f.name] = column[rows] if isinstance(column, np.ndarray) else column.take(rows)
        return PriceTable(**new)

    def prices(self, market: str) -> Prices:
        """Return the prices of ``"on_demand"`` or ``"spot"``."""
        return self.spot if market == "spot" else self.on_demand

    def with_prices(self, market: str, prices: Prices) -> PriceTable:
        """Return the same machines with other prices in one market."""
        return replace(self, spot=prices) if market == "spot" else replace(self, on_demand=prices)

    @classmethod
    def joined(cls, tables: Sequence[PriceTable]) -> PriceTable:
        """One table below the other; of rows for the same machine the newest is kept, of equally old ones the last."""
        return _without_doubles(_below(tables))


def read_folder(folder: Path) -> PriceTable:
    """Read every ``*vms.csv``, ``*vms.csv.gz`` and ``*vms.parquet`` of a folder.

    Raises
    ------
    InvalidInput
        ``bad-catalog``: what is wrong with which file, in which column and row.
    """
    if not folder.is_dir():
        raise bad_catalog(f"{folder} is no folder", "Give a folder with tables such as aws_vms.csv.gz.")
    files = sorted(
        path
        for path in folder.iterdir()
        if re.fullmatch(r"(.+_)?vms\.(csv|csv\.gz|parquet)", path.name) and path.is_file()
    )
    if not files:
        raise bad_catalog(
            f"{folder} holds no table of prices", "Expected is aws_vms.csv, .csv.gz or .parquet, and so on."
        )
    table = PriceTable.joined([read_file(path) for path in files])
    if len(table) == 0:
        raise bad_catalog(f"the tables in {folder} hold no row", "Expected is one row per machine and region.")
    return table


def read_file(path: Path) -> PriceTable:
    """Read one table.

    Raises
    ------
    InvalidInput
        ``bad-catalog``
    """
    return from_arrow(_arrow_from_file(path), str(path))


def read_rows(rows: Iterable[Mapping[str, Any]], name: str) -> PriceTable:
    """Build a table of rows that a provider's driver yields; `name` stands for the file in errors.

    Raises
    ------
    InvalidInput
        ``bad-catalog``
    """
    pa = _pyarrow()
    listed = list(rows)
    for number, row in enumerate(listed, 1):
        missing = [column for column in COLUMNS if column not in row and column not in _MAY_BE_EMPTY]
        if missing:
            raise bad_catalog(f"{name}, row {number} lacks {', '.join(missing)}", f"A row has {', '.join(COLUMNS)}.")
    columns = {}
    for column, kind in _schema(pa).items():
        try:
            values = [_plain(column, row.get(column)) for row in listed]
            columns[column] = pa.array(values, kind.value_type if column in TEXTS else kind)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise bad_catalog(f"{name}, column {column}: {error}", f"Allowed is {_ALLOWED[column]}.") from error
    return from_arrow(pa.table(columns), name)


def from_arrow(table: pa.Table, name: str) -> PriceTable:
    """Check a table with the columns `COLUMNS` and turn it into arrays; `name` stands for the file in errors.

    Raises
    ------
    InvalidInput
        ``bad-catalog``
    """
    import pyarrow as pa

    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing:
        raise bad_catalog(f"{name} has no column {', '.join(missing)}", f"Columns needed: {', '.join(COLUMNS)}.")
    columns: dict[str, Any] = {}
    for column, kind in _schema(pa).items():
        try:
            chunks = table.column(column).cast(kind).unify_dictionaries().combine_chunks()
        except pa.ArrowException as error:
            raise bad_catalog(f"{name}, column {column}: {error}", f"Allowed is {_ALLOWED[column]}.") from error
        if chunks.null_count and column not in _MAY_BE_EMPTY:
            empty = int(np.flatnonzero(_values(chunks.is_null(), np.bool_))[0])
            raise bad_catalog(f"{name}, column {column}, row {empty + 1} is empty", f"Allowed is {_ALLOWED[column]}.")
        if column in TEXTS:
            columns[column] = _coded(chunks)
        elif column == "as_of":
            columns[column] = _days(chunks)
        else:
            columns[column] = _values(chunks, np.bool_ if column in TRUTHS else np.float64)
        if column in NUMBERS:
            _require_amounts(columns[column], name, column, column in _MAY_BE_EMPTY)
    rows = table.num_rows
    listed = np.zeros(rows, np.int8)
    price, spot = columns["price_usd_hour"], columns["spot_usd_hour"]
    published = price > 0
    as_of, source = columns["as_of"], columns["source"]
    return PriceTable(
        **{column: columns[column] for column in ("provider", "region", "instance_type", "arch", "gpu_name")},
        **{column: columns[column] for column in ("vcpus", "memory_gib", "gpu_count", "gpu_memory_gib", "burstable")},
        sold_on_demand=columns["on_demand_available"],
        published=published,
        on_demand=Prices(np.where(published, price, np.nan), listed, source, as_of),
        spot=Prices(np.where(spot > 0, spot, np.nan), listed, source, as_of),
    )


def to_arrow(table: PriceTable) -> pa.Table:
    """Return the columns `COLUMNS`; what has no price is written as empty."""
    pa = _pyarrow()
    everything = np.arange(len(table))

    def amounts(usd: Floats) -> Any:
        return pa.array(usd, mask=np.isnan(usd))

    columns = {
        **{
            column: pa.array([value or None for value in getattr(table, column).texts(everything)], pa.string())
            for column in ("provider", "region", "instance_type", "arch", "gpu_name")
        },
        **{
            column: pa.array(getattr(table, column))
            for column in ("vcpus", "memory_gib", "gpu_count", "gpu_memory_gib", "burstable")
        },
        "price_usd_hour": amounts(table.on_demand.usd),
        "spot_usd_hour": amounts(table.spot.usd),
        "as_of": pa.array(table.on_demand.as_of, pa.date32(), mask=np.isnat(table.on_demand.as_of)),
        "source": pa.array(table.on_demand.source.texts(everything).tolist(), pa.string()),
        "on_demand_available": pa.array(table.sold_on_demand),
    }
    return pa.table({column: columns[column] for column in COLUMNS})


def to_csv_gz(table: PriceTable) -> bytes:
    """Return the table as a gzipped file that `read_file` reads back to the same numbers."""
    import gzip

    import pyarrow as pa
    import pyarrow.csv

    text = pa.BufferOutputStream()
    pyarrow.csv.write_csv(to_arrow(table), text)
    return gzip.compress(text.getvalue().to_pybytes(), mtime=0)


def bad_catalog(
    what: str, allowed: str, hint: str = "Mend it, or run `flaas costs refresh` to fetch prices anew."
) -> InvalidInput:
    """Return the error for tables that cannot be used."""
    return InvalidInput(f"{what}. {allowed}", code="bad-catalog", hint=hint)


def _plain(column: str, value: Any) -> Any:
    """Return what a driver yields as pyarrow takes it; drivers may leave texts empty and count money in `Decimal`."""
    if value is None or value == "":
        return None if column in _MAY_BE_EMPTY else value
    if column == "as_of" and isinstance(value, str):
        return date.fromisoformat(value)
    return float(value) if column in NUMBERS and isinstance(value, Decimal) else value


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise FlaasError(
            "Tables of prices are read with pyarrow, which is not installed.",
            code="missing-extra",
            hint="pip install pyarrow",
        ) from error
    return pyarrow


def _schema(pa: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(TEXTS, pa.dictionary(pa.int32(), pa.string())),
        **dict.fromkeys(NUMBERS, pa.float64()),
        **dict.fromkeys(TRUTHS, pa.bool_()),
        "as_of": pa.date32(),
    }


def _arrow_from_file(path: Path) -> pa.Table:
    pa = _pyarrow()
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            return pyarrow.parquet.read_table(path)
        return _read_csv(pa, path, threads=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if path.suffix != ".parquet" and _ARROW_ERROR.search(str(error)):
            error = _slow_error(pa, path) or error
        found = _ARROW_ERROR.search(str(error))
        if not found:
            raise bad_catalog(f"{path} cannot be read ({error})", "Expected is a table of prices.") from error
        column = _header(path, int(found[1]))
        row = f", row {int(found[2]) - 1}" if found[2] else ""
        allowed = _ALLOWED.get(column, "a value")
        raise bad_catalog(f"{path}, column {column}{row}: {found[3].strip()}", f"Allowed is {allowed}.") from error


def _read_csv(pa: Any, path: Path, *, threads: bool) -> pa.Table:
    import pyarrow.csv

    convert = pyarrow.csv.ConvertOptions(
        column_types=_schema(pa),
        include_columns=None,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    return pyarrow.csv.read_csv(
        path, read_options=pyarrow.csv.ReadOptions(use_threads=threads), convert_options=convert
    )


def _slow_error(pa: Any, path: Path) -> Exception | None:
    """Return the error of reading without threads, which knows the row."""
    try:
        _read_csv(pa, path, threads=False)
    except (pa.ArrowException, OSError) as error:
        return error
    return None


def _header(path: Path, column: int) -> str:
    import gzip

    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        names = file.readline().strip().split(",")
    return names[column].strip('"') if column < len(names) else str(column)


def _coded(array: Any) -> Coded:
    values = [value if value is not None else "" for value in array.dictionary.to_pylist()]
    codes = _values(array.indices, np.int32, len(values))
    return Coded.of(codes, [*values, ""] if array.null_count else values)


def _days(array: Any) -> Days:
    days = _values(array.cast("int32"), np.int32, np.iinfo(np.int32).min).astype(np.int64)
    days[days == np.iinfo(np.int32).min] = np.iinfo(np.int64).min  # what NumPy takes for no date
    return days.view("datetime64[D]")


def _values(array: Any, dtype: Any, empty: float = math.nan) -> NDArray[Any]:
    """Return the numbers of an arrow array, `empty` for none; its own `to_numpy` and `fill_null` import pandas."""
    if dtype is np.bool_:
        return _values(array.cast("uint8"), np.uint8).astype(np.bool_)
    if len(array) == 0:
        return np.zeros(0, dtype)
    found = np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * np.dtype(dtype).itemsize)
    if array.null_count:
        found = np.where(_values(array.is_valid(), np.bool_), found, np.array(empty, dtype))
    return found


def _require_amounts(values: Floats, name: str, column: str, may_be_empty: bool) -> None:
    wrong = (values < 0) | np.isinf(values)
    if not may_be_empty:
        wrong |= np.isnan(values)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise bad_catalog(f"{name}, column {column}, row {row + 1}: {values[row]}", f"Allowed is {_ALLOWED[column]}.")


def _below(tables: Sequence[PriceTable]) -> PriceTable:
    if len(tables) == 1:
        return tables[0]
    new: dict[str, Any] = {}
    for f in fields(PriceTable):
        parts = [getattr(table, f.name) for table in tables]
        if isinstance(parts[0], Prices):
            new[f.name] = Prices(
                np.concatenate([part.usd for part in parts]),
                np.concatenate([part.kind for part in parts]),
                Coded.joined([part.source for part in parts]),
                np.concatenate([part.as_of for part in parts]),
            )
        else:
            new[f.name] = Coded.joined(parts) if isinstance(parts[0], Coded) else np.concatenate(parts)
    return PriceTable(**new)


def _without_doubles(table: PriceTable) -> PriceTable:
    machine = (table.provider.codes.astype(np.int64) * (len(table.region.values) + 1) + table.region.codes) * (
        len(table.instance_type.values) + 1
    ) + table.instance_type.codes
    if len(np.unique(machine)) == len(machine):
        return table
    age = table.on_demand.as_of.astype(np.int64)  # NaT is the least number of all
    order = np.lexsort((np.arange(len(machine)), age, machine))
    last = np.append(machine[order][1:] != machine[order][:-1], True)
    return table.take(np.sort(order[last]))
