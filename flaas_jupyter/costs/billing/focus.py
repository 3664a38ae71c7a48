"""The FOCUS columns that are kept, and the check of rows against the specification.

FOCUS is the FinOps Open Cost and Usage Specification (https://focus.finops.org); names and rules are those of versions
1.0 to 1.2. A row that passes is a `Charge`: every kept column is there, amounts are `decimal.Decimal`, times aware in
UTC, ``Tags`` a dict of texts, everything else a text, and what is not told is None.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from ...errors import InvalidInput
from .currencies import CODES
from .money import LARGEST

Charge = dict[str, Any]
Kind = Literal["text", "amount", "time", "tags"]

MOST_LISTED = 20
"""So many problems of a bill are named; the rest is counted."""

_QUOTED = 60
_TEXT_BYTES = 4000
_TAGS_BYTES = 16_000


@dataclass(frozen=True)
class Column:
    """A column of the specification.

    Parameters
    ----------
    name : str
        As specified.
    kind : str
        ``"text"``, ``"amount"``, ``"time"`` or ``"tags"``.
    mandatory : bool
        A bill without it is none.
    nullable : bool
        Whether a row may leave it empty. It is more than the specification allows for ``ContractedCost``, which is
        shown nowhere and which not every cloud tells.
    allowed : tuple of str
        The only values, if there is a list of them; upper and lower case are put right.
    longest : int
        Bytes of UTF-8.
    """

    name: str
    kind: Kind = "text"
    mandatory: bool = False
    nullable: bool = True
    allowed: tuple[str, ...] = ()
    longest: int = _TEXT_BYTES


CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
SERVICE_CATEGORIES = (
    "AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools",
    "Identity", "Integration", "Internet of Things", "Management and Governance", "Media", "Migration", "Mobile",
    "Multicloud", "Networking", "Security", "Storage", "Web", "Other",
)  # fmt: skip

COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("AvailabilityZone"),
        Column("BilledCost", "amount", mandatory=True, nullable=False),
        Column("BillingAccountId", mandatory=True, nullable=False),
        Column("BillingAccountName", mandatory=True),
        Column("BillingCurrency", mandatory=True, nullable=False, longest=3),
        Column("BillingPeriodEnd", "time", mandatory=True, nullable=False),
        Column("BillingPeriodStart", "time", mandatory=True, nullable=False),
        Column("ChargeCategory", mandatory=True, nullable=False, allowed=CATEGORIES),
        Column("ChargeClass", mandatory=True, allowed=("Correction",)),
        Column("ChargeDescription", mandatory=True),
        Column("ChargeFrequency", allowed=("One-Time", "Recurring", "Usage-Based")),
        Column("ChargePeriodEnd", "time", mandatory=True, nullable=False),
        Column("ChargePeriodStart", "time", mandatory=True, nullable=False),
        Column("ConsumedQuantity", "amount"),
        Column("ConsumedUnit"),
        Column("ContractedCost", "amount", mandatory=True),
        Column("EffectiveCost", "amount", mandatory=True, nullable=False),
        Column("InvoiceIssuerName", mandatory=True),
        Column("ListCost", "amount", mandatory=True, nullable=False),
        Column("PricingCategory", allowed=("Standard", "Dynamic", "Committed", "Other")),
        Column("PricingQuantity", "amount", mandatory=True),
        Column("PricingUnit", mandatory=True),
        Column("ProviderName", mandatory=True, nullable=False, longest=100),
        Column("PublisherName", mandatory=True),
        Column("RegionId", longest=100),
        Column("RegionName"),
        Column("ResourceId"),
        Column("ResourceName"),
        Column("ResourceType"),
        Column("ServiceCategory", mandatory=True, nullable=False, allowed=SERVICE_CATEGORIES),
        Column("ServiceName", mandatory=True, nullable=False, longest=200),
        Column("SkuId"),
        Column("SkuPriceId"),
        Column("SubAccountId"),
        Column("SubAccountName"),
        Column("Tags", "tags"),
    )
}

MANDATORY = tuple(name for name, column in COLUMNS.items() if column.mandatory)
COSTS = ("BilledCost", "EffectiveCost", "ListCost")

_PROVIDERS = {
    "aws": "aws", "amazon": "aws", "amazon web services": "aws",
    "azure": "azure", "microsoft": "azure", "microsoft azure": "azure",
    "gcp": "gcp", "google": "gcp", "google cloud": "gcp", "google cloud platform": "gcp",
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """What is wrong in a bill: row (from 1, without the header; 0 for the header itself), column, message."""

    row: int
    column: str
    message: str


class NotFocus(InvalidInput):
    """A bill that the specification does not allow; ``details["errors"]`` lists pointers and messages."""

    code = "bad-bill"


def provider(name: str) -> str:
    """Return ``"aws"``, ``"azure"`` or ``"gcp"`` for their many names; others stay as they are."""
    return _PROVIDERS.get(name.strip().lower(), name)


def account(charge: Mapping[str, Any]) -> str:
    """Return the account that a charge belongs to, in one spelling: AWS account, Azure subscription, Google project.

    It is ``SubAccountId``, and ``BillingAccountId`` for what belongs to no account under it. Azure's exports tell a
    subscription by its path or by its id alone.
    """
    told: str = charge["SubAccountId"] or charge["BillingAccountId"]
    return told.rstrip("/").rpartition("/")[2].lower()


def day(charge: Mapping[str, Any]) -> date:
    """Return the day (UTC) that a charge counts for: the one in which its period starts."""
    started: datetime = charge["ChargePeriodStart"]
    return started.date()


def missing_columns(header: Iterable[str]) -> list[Problem]:
    """Return a problem for each mandatory column that is not in the header."""
    present = set(header)
    return [Problem(0, name, "the column is missing") for name in MANDATORY if name not in present]


def check(row: Mapping[str, Any], number: int = 1) -> tuple[Charge, list[Problem]]:
    """Return a row as a `Charge`, and what is wrong with it.

    Parameters
    ----------
    row : mapping
        Column names to texts, numbers, times, or whatever a file holds; columns that are not kept are left out.
    number : int
        Of the row, for the problems.
    """
    charge: Charge = {}
    problems: list[Problem] = []
    for name, column in COLUMNS.items():
        given = row.get(name)
        try:
            value = None if _is_null(given) else _READ[column.kind](given, column)
            if value is None and not column.nullable:
                raise ValueError("it is empty")
        except ValueError as error:
            problems.append(Problem(number, name, str(error)))
            value = None
        charge[name] = value
    currency = charge["BillingCurrency"]
    if currency is not None and currency not in CODES:
        problems.append(Problem(number, "BillingCurrency", f"{currency!r} is no currency of ISO 4217"))
    for period in ("BillingPeriod", "ChargePeriod"):
        start, end = charge[f"{period}Start"], charge[f"{period}End"]
        if start is not None and end is not None and end <= start:
            problems.append(Problem(number, f"{period}End", f"it is not after {period}Start"))
    return charge, problems


def checked(rows: Iterable[Mapping[str, Any]], first: int = 1) -> Iterator[Charge]:
    """Yield the charges of `rows`.

    Raises
    ------
    NotFocus
        At the end, if any row is wrong; up to 20 problems are named by row and column.
    """
    found: list[Problem] = []
    wrong = 0
    for number, row in enumerate(rows, first):
        charge, problems = check(row, number)
        if problems:
            wrong += len(problems)
            found += problems[: MOST_LISTED - len(found)]
        elif not wrong:
            yield charge
    if wrong:
        raise refusal(found, wrong, first)


def refusal(problems: list[Problem], total: int | None = None, first: int = 1) -> NotFocus:
    """Return the error that names `problems`, the first of `total`; `first` is the number of the first row."""
    total = len(problems) if total is None else total
    told = "; ".join(f"{_where(each)}: {each.message}" for each in problems[:3])
    more = f"; and {total - 3} more" if total > 3 else ""
    return NotFocus(
        f"The bill is not in the FOCUS format: {told}{more}.",
        hint="Columns and values are those of FOCUS 1.0 to 1.2 (https://focus.finops.org).",
        errors=[
            {"pointer": f"/rows/{max(each.row - first, 0)}/{each.column}", "detail": f"{_where(each)}: {each.message}"}
            for each in problems[:MOST_LISTED]
        ],
        total=total,
    )


def _where(problem: Problem) -> str:
    return f"row {problem.row}, {problem.column}" if problem.row else problem.column


def _is_null(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, str):
        text = value.strip()
        return not text or (len(text) == 4 and text.lower() == "null")
    return isinstance(value, float) and math.isnan(value)


def _text(value: Any, column: Column) -> str:
    text = value.strip() if isinstance(value, str) else str(value)
    if isinstance(value, float) and value.is_integer():
        text = str(int(value))  # an id that a data frame has made a number
    if column.allowed:
        return _one_of(text, column)
    _require_plain(text, column.longest)
    return text


def _require_plain(text: str, longest: int) -> None:
    """Check that both data bases can hold a text."""
    if len(text.encode("utf-8", "replace")) > longest:
        raise ValueError(f"{_short(text)} is longer than {longest} bytes")
    if "\x00" in text or (not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)):
        raise ValueError("it holds a zero byte or half a character")


@functools.cache
def _spellings(column: Column) -> dict[str, str]:
    return {value.lower(): value for value in column.allowed}


def _one_of(text: str, column: Column) -> str:
    found = _spellings(column).get(text.lower())
    if found is None:
        raise ValueError(f"{_short(text)} is not allowed; allowed is: {', '.join(column.allowed)}")
    return found


def _amount(value: Any, column: Column) -> Decimal:
    if isinstance(value, bool):
        raise ValueError("it is no number")
    if isinstance(value, float | str) and len(str(value)) > _QUOTED:
        raise ValueError("it is no number of a bill")
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(f"{_short(str(value))} is no number") from None
    if not number.is_finite():
        raise ValueError(f"{_short(str(value))} is not finite")
    largest = LARGEST if column.name.endswith("Cost") else 10**24
    if abs(number) >= largest:
        raise ValueError(f"{_short(str(value))} is too large")
    return number


@functools.lru_cache(maxsize=65_536)
def _parse_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace(" UTC", "Z"))
    except ValueError:
        raise ValueError(f"{_short(text)} is no time; times look like 2026-08-01T00:00:00Z") from None
    return _in_utc(moment)


def _in_utc(moment: datetime) -> datetime:
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if not 2000 <= moment.year < 2100:
        raise ValueError(f"{moment.year} is no year of a bill")
    return moment.astimezone(UTC)


def _time(value: Any, column: Column) -> datetime:
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, date):
        return _in_utc(datetime(value.year, value.month, value.day))
    if not isinstance(value, str):
        raise ValueError(f"{_short(str(value))} is no time")
    return _parse_time(value.strip())


@functools.lru_cache(maxsize=4096)
def _parse_tags(text: str) -> tuple[tuple[str, str], ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return tuple((key, _tag(value)) for key, value in found.items())


def _tag(value: Any) -> str:
    if isinstance(value, dict | list):
        raise ValueError("a tag's value is no text")
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    return str(value)


def _tags(value: Any, column: Column) -> dict[str, str]:
    if isinstance(value, str):
        tags = dict(_parse_tags(value))
    elif isinstance(value, Mapping):
        tags = {str(key): _tag(each) for key, each in value.items()}
    elif isinstance(value, list | tuple) and all(isinstance(each, list | tuple) and len(each) == 2 for each in value):
        tags = {str(key): _tag(each) for key, each in value}  # a map of Parquet
    else:
        raise ValueError("it is no JSON object")
    for text in (*tags, *tags.values()):
        _require_plain(text, _TEXT_BYTES)
    if sum(len(key) + len(text) for key, text in tags.items()) > _TAGS_BYTES:
        raise ValueError(f"tags of more than {_TAGS_BYTES} characters")
    return tags


def _short(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "…")


_READ = {"text": _text, "amount": _amount, "time": _time, "tags": _tags}
