"""What the owner of a data set declares of its columns: types, units, roles, ranges, categories.

It is written by people, in a TOML file beside the data, and is told to others as it is declared (never found in the
rows), unless the owner's policy keeps it back. Roles decide what may be done with a column: a ``feature`` and the
``label`` are learned from, an ``id`` names whom a row is about and never leaves, a ``sensitive`` column is no feature
of any run. What is not declared is a feature.

    [columns.age]
    unit = "years"
    range = [0, 120]

    [columns.sex]
    categories = ["f", "m"]
    description = "as in the register"

    [columns.religion]
    role = "sensitive"
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InvalidInput
from ...training.preprocessing.values import columns_of, kind_of, missing_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROLES = ("feature", "label", "id", "sensitive")
COLUMNS = 2_000
"""Columns that can be declared; what is told of all of them together is limited too."""
CATEGORIES = 1_000
_BYTES = 96 << 10
_LONGEST = {"name": 300, "dtype": 40, "unit": 40, "description": 500, "category": 200}
_KEYS = ("dtype", "role", "unit", "description", "range", "categories")
_INFERRED = 20
"""Different values of a column at most for `infer` to call them categories."""


@dataclass(frozen=True)
class ColumnSchema:
    """What is declared of one column.

    Parameters
    ----------
    name : str
    dtype : str, optional
        ``"int64"``, ``"float64"``, ``"string"``, ``"bool"``, ``"date"``, …: what the column is meant to be.
    role : str
        ``"feature"``, ``"label"``, ``"id"`` or ``"sensitive"``.
    unit, description : str, optional
    range : (float, float), optional
        Smallest and largest value that make sense, which need not occur.
    categories : tuple of str or of numbers, optional
        All values that make sense.

    Raises
    ------
    InvalidInput
        Code ``bad-schema``.
    """

    name: str
    dtype: str | None = None
    role: str = "feature"
    unit: str | None = None
    description: str | None = None
    range: tuple[float, float] | None = None
    categories: tuple[str | float, ...] | None = None

    def __post_init__(self) -> None:
        _require_text(self.name, "name", self.name)
        if self.role not in ROLES:
            near = difflib.get_close_matches(str(self.role), ROLES, 1)
            raise _bad(f"the role of {self.name!r} is {self.role!r}; there are {', '.join(ROLES)}", near)
        for what in ("dtype", "unit", "description"):
            if getattr(self, what) is not None:
                _require_text(getattr(self, what), what, self.name)
        if self.range is not None:
            ends = [end for end in self.range if _is_number(end)] if isinstance(self.range, list | tuple) else []
            if len(ends) != 2 or len(self.range) != 2 or not ends[0] <= ends[1]:
                raise _bad(f"the range of {self.name!r} is no pair of numbers, the smaller one first")
            object.__setattr__(self, "range", (float(ends[0]), float(ends[1])))
        if self.categories is not None:
            object.__setattr__(self, "categories", _read_categories(self.name, self.categories))
        if self.range is not None and self.categories is not None:
            raise _bad(f"{self.name!r} has a range and categories; declare one of them")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; what is not declared is None."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "role": self.role,
            "unit": self.unit,
            "description": self.description,
            "range": None if self.range is None else list(self.range),
            "categories": None if self.categories is None else list(self.categories),
        }


@dataclass(frozen=True)
class DatasetSchema:
    """What is declared of the columns of a data set.

    Parameters
    ----------
    columns : tuple of ColumnSchema

    Raises
    ------
    InvalidInput
        Code ``bad-schema``.
    """

    columns: tuple[ColumnSchema, ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) != len(names) else []
        if twice:
            raise _bad(f"it declares {', '.join(map(repr, twice[:5]))} twice")
        if len(names) > COLUMNS:
            raise _bad(f"it declares {len(names):,} columns; allowed are {COLUMNS:,}")
        size = sum(len(repr(column)) for column in self.columns)
        if size > _BYTES:
            raise _bad(
                f"it is about {size:,} bytes; allowed are {_BYTES:,}", hint="Shorten descriptions and categories."
            )

    # ---- reading ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, data: object) -> DatasetSchema:
        """Read ``{"columns": {name: {"unit": …}, …}}``, or the columns alone.

        Raises
        ------
        InvalidInput
            Code ``bad-schema``; the message names the column and the key.
        """
        if not isinstance(data, Mapping):
            raise _bad("it is no table of columns")
        entries = data["columns"] if set(data) == {"columns"} else data
        if isinstance(entries, list | tuple):
            return cls.from_list(entries)
        if not isinstance(entries, Mapping):
            raise _bad("its columns are no table")
        columns = []
        for name, entry in entries.items():
            if not isinstance(entry, Mapping):
                raise _bad(f"what it says of column {str(name)[:80]!r} is no table")
            columns.append(_read_column(name, entry))
        return cls(tuple(columns))

    @classmethod
    def from_list(cls, data: object) -> DatasetSchema:
        """Read `to_list`'s form.

        Raises
        ------
        InvalidInput
            Code ``bad-schema``.
        """
        if not isinstance(data, list | tuple):
            raise _bad("it is no list of columns")
        columns = []
        for entry in data:
            if not isinstance(entry, Mapping) or "name" not in entry:
                raise _bad("a column of it has no name")
            columns.append(_read_column(entry["name"], {key: entry[key] for key in entry if key != "name"}))
        return cls(tuple(columns))

    @classmethod
    def load(cls, path: str | Path) -> DatasetSchema:
        """Read a TOML file.

        Raises
        ------
        InvalidInput
            Code ``bad-schema``: it cannot be read, or says something that is not known.
        """
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise _bad(f"{path} cannot be read ({type(error).__name__})") from error
        except tomllib.TOMLDecodeError as error:
            raise _bad(f"{path} is no TOML: {error}") from error
        return cls.from_dict(data)

    @classmethod
    def infer(cls, table: Any, *, target: str | None = None, id_column: str | None = None) -> DatasetSchema:
        """Return a draft for the owner to correct: types, roles as they are known, ranges and categories as they occur.

        Ranges and categories are read off the rows: look at them before they are declared to others.

        Parameters
        ----------
        table : DataFrame or mapping of arrays
        target, id_column : str, optional
        """
        columns = []
        for name, values in columns_of(table).items():
            role = "label" if name == target else "id" if name == id_column else "feature"
            kind = kind_of(values)
            dtype = "date" if values.dtype.kind == "M" else "string" if kind == "text" else str(values.dtype)
            present = values[~missing_of(values)]
            different = None if role == "id" or values.dtype.kind == "M" else _few(present)
            span = None
            if kind == "number" and different is None and present.size and role != "id":
                numbers = present.astype(np.float64)
                span = (float(numbers.min()), float(numbers.max())) if np.isfinite(numbers).all() else None
            columns.append(ColumnSchema(name, dtype, role, range=span, categories=different))
        return cls(tuple(columns))

    # ---- as data ---------------------------------------------------------------------------------------------------

    def to_list(self) -> list[dict[str, Any]]:
        """Return it as JSON values, a column each."""
        return [column.to_dict() for column in self.columns]

    def public(self) -> list[dict[str, Any]]:
        """Return what others are told: all but ids and sensitive columns."""
        return [column.to_dict() for column in self.columns if column.role in ("feature", "label")]

    def to_toml(self) -> str:
        """Return it as a TOML file for people."""
        return "\n".join(_toml(column) for column in self.columns)

    def __getitem__(self, name: str) -> ColumnSchema:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def get(self, name: str) -> ColumnSchema:
        """Return what is declared of a column; of others that it is a feature."""
        return next((column for column in self.columns if column.name == name), ColumnSchema(name))

    def with_role(self, role: str) -> list[str]:
        """Return the names of columns with a role."""
        return [column.name for column in self.columns if column.role == role]

    def require_in(self, names: Iterable[str]) -> None:
        """Refuse a schema that declares columns which are not there.

        Raises
        ------
        InvalidInput
            Code ``unknown-column``.
        """
        known = list(names)
        for column in self.columns:
            if column.name not in known:
                near = difflib.get_close_matches(column.name, known, 1)
                raise InvalidInput(
                    f"The schema declares the column {column.name!r}, which the data do not have.",
                    code="unknown-column",
                    hint=f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(known[:20])}.",
                    column=column.name,
                )


def _read_column(name: Any, entry: Mapping[str, Any]) -> ColumnSchema:
    strange = [str(key) for key in entry if key not in _KEYS]
    if strange:
        near = difflib.get_close_matches(strange[0], _KEYS, 1)
        raise _bad(f"it says {strange[0][:40]!r} of column {str(name)[:80]!r}; known are {', '.join(_KEYS)}", near)
    given = {key: value for key, value in entry.items() if value is not None}
    if "categories" in given:
        if not isinstance(given["categories"], list | tuple):
            raise _bad(f"the categories of {str(name)[:80]!r} are no list")
        given["categories"] = tuple(given["categories"])
    return ColumnSchema(name, **given)


def _read_categories(name: str, given: Sequence[Any]) -> tuple[str | float, ...]:
    found = tuple(given)
    if not found or not (all(isinstance(value, str) for value in found) or all(map(_is_number, found))):
        raise _bad(f"the categories of {name!r} must be texts, or numbers, at least one")
    if len(set(found)) != len(found):
        raise _bad(f"a category of {name!r} is listed twice")
    if len(found) > CATEGORIES:
        raise _bad(f"{name!r} has {len(found):,} categories; allowed are {CATEGORIES:,}")
    for value in found:
        if isinstance(value, str) and value:
            _require_text(value, "category", name)
    return found


def _require_text(value: object, what: str, name: object) -> None:
    most = _LONGEST[what]
    fine = isinstance(value, str) and 0 < len(value) <= most and value.isprintable()
    if not fine:
        raise _bad(f"the {what} of column {str(name)[:80]!r} is no printable text of up to {most} characters")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _few(values: NDArray[Any]) -> tuple[str | float, ...] | None:
    if values.dtype.kind == "f" and not (values == np.trunc(values)).all():
        return None
    different: set[Any] = {value if isinstance(value, str) else float(value) for value in values.tolist()[:100_000]}
    if not 1 <= len(different) <= _INFERRED or len(different) * 5 > len(values):
        return None
    if any(isinstance(value, str) and not (value and value.isprintable() and len(value) <= 200) for value in different):
        return None
    return tuple(sorted(different))


def _toml(column: ColumnSchema) -> str:
    import json

    name = column.name if column.name.isidentifier() and column.name.isascii() else json.dumps(column.name)
    lines = [f"[columns.{name}]"]
    for key in _KEYS:
        value = column.to_dict()[key]
        if value is not None and not (key == "role" and value == "feature"):
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _bad(why: str, near: Sequence[str] = (), *, hint: str = "") -> InvalidInput:
    return InvalidInput(
        f"The schema is not acceptable: {why}.",
        code="bad-schema",
        hint=f"Did you mean {near[0]!r}?" if near else hint or "docs/preprocessing.md shows what can be declared.",
    )
