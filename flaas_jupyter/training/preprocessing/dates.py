"""Parts of dates: year, month, day, weekday, hour.

A date is a text of fixed form (``2024-03-05``, ``05/03/2024 14:30``); its digits stand where the form has them, so that
the same arithmetic reads it with NumPy and within a Keras model. Days are counted by the algorithm of Howard Hinnant,
"chrono-Compatible Low-Level Date Algorithms" (2013), ``days_from_civil``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from . import limits
from .blocks import Blocks
from .engine import MISSING, ArrayEngine
from .statistics import Statistics
from .step import Fitted, Step, names_of, one_of, require

_FIELDS = {"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2}
PARTS = ("year", "month", "day", "weekday", "dayofyear", "days", "hour", "minute")
_OF_TIME = {"hour": "%H", "minute": "%M"}
_SCALES: dict[str, tuple[int, float]] = {
    "year": (2000, 10.0),
    "month": (1, 11.0),
    "day": (1, 30.0),
    "weekday": (0, 6.0),
    "dayofyear": (1, 365.0),
    "days": (10957, 3652.5),
    "hour": (0, 23.0),
    "minute": (0, 59.0),
}
"""What is taken from each part, and what it is divided by: fixed, so that no row is asked. Years and days count in
decades from 2000."""


@dataclass(frozen=True)
class DateParts(Step):
    """Turn dates into columns ``<column>.<part>``.

    Parameters
    ----------
    column : str
        Dates, or texts.
    parts : sequence of str
        Of ``"year"``, ``"month"``, ``"day"``, ``"weekday"`` (Monday is 0), ``"dayofyear"`` (from 1), ``"days"`` (since
        1970-01-01), ``"hour"``, ``"minute"``.
    format : str, optional
        The form of the texts: ``%Y``, ``%m``, ``%d``, ``%H``, ``%M`` with two digits each (``%Y`` with four), and
        signs between them. By default that of ISO 8601, which dates are written in.
    scale : bool
        Whether parts become small numbers: months 0 to 1, years in decades from 2000, …
    missing : str
        What is no date is all zeros; with ``"column"`` it has a column of its own as well.

    Raises
    ------
    InvalidInput
        Code ``bad-step``.
    """

    column: str
    parts: Sequence[str] = ("year", "month", "weekday")
    format: str | None = None
    scale: bool = True
    missing: str = "ignore"

    def __post_init__(self) -> None:
        if len(names_of(self.column, "DateParts")) != 1:
            raise InvalidInput("DateParts takes one column; use a step for each.", code="bad-step")
        for part in names_of(self.parts, "DateParts"):
            one_of(part, PARTS, "A part")
        one_of(self.missing, ("ignore", "column"), "missing")
        why = _wrong(self._form, names_of(self.parts, "DateParts"))
        if why is not None:
            raise InvalidInput(f"The format {self.format!r} of dates will not do: {why}.", code="bad-step")

    @property
    def _form(self) -> str:
        if self.format is not None:
            return self.format
        return "%Y-%m-%dT%H:%M" if set(names_of(self.parts, "DateParts")) & set(_OF_TIME) else "%Y-%m-%d"

    @property
    def questions(self) -> int:
        """How many private answers fitting it takes."""
        return 0

    def fit(self, statistics: Statistics) -> DatePartsTaken:
        """Return the fitted step; nothing is asked of the rows, but a table at hand must have a date of this form."""
        (name,) = names_of(self.column, "DateParts")
        require(statistics, [name], "text", "DateParts")
        parts = names_of(self.parts, "DateParts")
        fitted = DatePartsTaken(name, parts, self._form, self.scale, self.missing == "column")
        texts = statistics.texts_at_hand(name)
        if texts is not None and not fitted.finds_any(texts):
            raise InvalidInput(
                f"No value of {name!r} is a date of the form {self._form!r}.",
                code="bad-step",
                hint='Say how they are written: DateParts(..., format="%d/%m/%Y").',
                column=name,
            )
        return fitted


@dataclass(frozen=True)
class DatePartsTaken(Fitted):
    """Which parts of dates of which form."""

    kind = "date_parts"

    name: str
    parts: tuple[str, ...]
    format: str
    scale: bool = True
    missing: bool = False

    @classmethod
    def read(cls, data: dict[str, Any]) -> DatePartsTaken:
        """Check `to_dict`'s form."""
        wanted = ("kind", "column", "parts", "format", "scale", "missing")
        entries = limits.mapping(data, "a step of date parts", wanted)
        parts = [limits.choice(part, "a part", PARTS) for part in limits.texts(entries["parts"], "parts", len(PARTS))]
        form = limits.text(entries["format"], "format", 64)
        why = _wrong(form, parts) if parts else "it names no part"
        if why is not None:
            raise limits.bad(f"a step of date parts will not do: {why}")
        flags = (limits.flag(entries[name], name) for name in ("scale", "missing"))
        return cls(limits.text(entries["column"], "column"), tuple(parts), form, *flags)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "kind": self.kind,
            "column": self.name,
            "parts": list(self.parts),
            "format": self.format,
            "scale": self.scale,
            "missing": self.missing,
        }

    def run(self, blocks: Blocks) -> None:
        """Make the columns."""
        blocks.require([self.name], "text", "DateParts")
        engine, ops = blocks.engine, blocks.engine.ops
        texts = blocks.take([self.name])
        found = self._columns(engine, texts)
        default = blocks.defaults.get(self.name)
        if default is not None:
            alone = np.empty((1, 1), object)
            alone[0, 0] = default
            stands = self._columns(ArrayEngine(), alone)
            found = ops.where(ops.equal(engine.lookup(texts, [default]), MISSING), stands, found)
        names = [*self.parts, *(["missing"] if self.missing else [])]
        blocks.expand(self.name, [f"{self.name}.{part}" for part in names], found)

    def finds_any(self, texts: NDArray[Any]) -> bool:
        """Tell whether one of some texts, shape (n,), None where missing, is a date of this form."""
        alone = DatePartsTaken(self.name, ("day",), self.format, missing=True)
        gone = alone._columns(ArrayEngine(), texts.reshape(-1, 1))[:, 1]
        return bool((gone == 0.0).any())

    def _columns(self, engine: Any, texts: Any) -> Any:
        ops, places = engine.ops, _places(self.format)
        digits = engine.digits(texts, _length(self.format))

        def field(name: str) -> tuple[Any, Any]:
            """The number that a field has, and whether it is all digits."""
            start = places[name]
            value, fine = None, None
            for at in range(start, start + _FIELDS[name]):
                digit = engine.slice(digits, at, at + 1)
                there = ops.greater_equal(digit, 0)
                value = digit if value is None else ops.add(ops.multiply(value, 10), digit)
                fine = there if fine is None else ops.logical_and(fine, there)
            return value, fine

        fields = {name: field(name) for name in places}
        year, month, day = (fields[name][0] for name in ("%Y", "%m", "%d"))
        fine = None
        for _, digit in fields.values():
            fine = digit if fine is None else ops.logical_and(fine, digit)
        for value, low, high in ((year, 1, 9999), (month, 1, 12), (day, 1, _month_length(ops, year, month))):
            inside = ops.logical_and(ops.greater_equal(value, low), ops.less_equal(value, high))
            fine = ops.logical_and(fine, inside)
        for name, most in (("%H", 23), ("%M", 59)):
            if name in fields:
                fine = ops.logical_and(fine, ops.less_equal(fields[name][0], most))
        days = _days(ops, year, month, day)
        made: dict[str, Callable[[], Any]] = {
            "year": lambda: year,
            "month": lambda: month,
            "day": lambda: day,
            "weekday": lambda: ops.mod(ops.add(days, 3), 7),
            "dayofyear": lambda: ops.add(ops.subtract(days, _days(ops, year, ops.ones_like(month), 1)), 1),
            "days": lambda: days,
            "hour": lambda: fields["%H"][0],
            "minute": lambda: fields["%M"][0],
        }
        columns = []
        for part in self.parts:
            value = engine.cast(made[part](), "float64")
            if self.scale:
                shift, divisor = _SCALES[part]
                value = ops.divide(ops.subtract(value, float(shift)), divisor)
            columns.append(ops.where(fine, value, 0.0))
        if self.missing:
            columns.append(engine.cast(ops.logical_not(fine), "float64"))
        return columns[0] if len(columns) == 1 else engine.join(columns)


def _days(ops: Any, year: Any, month: Any, day: Any) -> Any:
    """Days since 1970-01-01 of the Gregorian calendar, of whole numbers."""
    early = ops.less_equal(month, 2)
    y = ops.subtract(year, ops.where(early, 1, 0))
    m = ops.add(month, ops.where(early, 9, -3))
    era = ops.floor_divide(y, 400)
    of_era = ops.subtract(y, ops.multiply(era, 400))
    of_year = ops.add(ops.floor_divide(ops.add(ops.multiply(m, 153), 2), 5), ops.subtract(day, 1))
    leaps = ops.subtract(ops.floor_divide(of_era, 4), ops.floor_divide(of_era, 100))
    of_era = ops.add(ops.add(ops.multiply(of_era, 365), leaps), of_year)
    return ops.subtract(ops.add(ops.multiply(era, 146097), of_era), 719468)


def _month_length(ops: Any, year: Any, month: Any) -> Any:
    even = ops.equal(ops.mod(year, 4), 0)
    leap = ops.logical_and(even, ops.logical_or(ops.not_equal(ops.mod(year, 100), 0), ops.equal(ops.mod(year, 400), 0)))
    later = ops.where(ops.greater(month, 7), 1, 0)
    usual = ops.add(30, ops.mod(ops.add(month, later), 2))
    return ops.where(ops.equal(month, 2), ops.add(28, ops.where(leap, 1, 0)), usual)


def _places(form: str) -> dict[str, int]:
    """Where each field begins."""
    found, at, place = {}, 0, 0
    while at < len(form):
        field = form[at : at + 2]
        if field in _FIELDS:
            found[field] = place
            place, at = place + _FIELDS[field], at + 2
        else:
            place, at = place + 1, at + 1
    return found


def _length(form: str) -> int:
    return max(start + _FIELDS[name] for name, start in _places(form).items())


def _wrong(form: str, parts: Sequence[str]) -> str | None:
    """Say why dates cannot be read so, or None."""
    if len(form) > 64:
        return "it is longer than 64 characters"
    fields = [name for name in _FIELDS if name in form]
    missing = [name for name in ("%Y", "%m", "%d") if name not in fields]
    missing += [_OF_TIME[part] for part in parts if part in _OF_TIME and _OF_TIME[part] not in fields]
    if missing:
        return f"it has no {', '.join(missing)}"
    if any(form.count(name) > 1 for name in fields) or form.count("%") != len(fields):
        return f"it may have each of {', '.join(_FIELDS)} once, and no other"
    return None
