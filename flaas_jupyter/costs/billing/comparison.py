"""The bill laid beside the estimate, and in words why they differ. The two are never added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from .summary import Total

CENT = Decimal("0.01")
USD = "USD"


@dataclass(frozen=True)
class Known:
    """What is known of how far the bills have come.

    Parameters
    ----------
    complete_until : date, optional
        All bills are there up to and with this day; None if none is.
    later : mapping
        Estimate in USD by key, of the days after that.
    """

    complete_until: date | None
    later: Mapping[str, Decimal]


def compare(totals: Sequence[Total], estimated: Mapping[str, Decimal], known: Known) -> list[dict[str, Any]]:
    """Return, by key and currency, bill, estimate, their difference (bill less estimate), and why it is."""
    entries = []
    with_usd = {total.key for total in totals if total.currency == USD}
    for total in totals:
        foreign = total.currency != USD
        there = estimated.get(total.key)
        beside = there if not foreign or total.key not in with_usd else None
        difference = None if foreign else total.billed - (there or Decimal(0))
        entries.append(
            {
                "key": total.key,
                "currency": total.currency,
                "billed": total.billed,
                "estimated": beside,
                "difference": difference,
                "explanation": _foreign(total) if foreign else _explain(total, there, known),
            }
        )
    billed = {total.key for total in totals}
    for key, usd in sorted(estimated.items()):
        if key not in billed:
            entries.append(
                {
                    "key": key,
                    "currency": USD,
                    "billed": Decimal(0),
                    "estimated": usd,
                    "difference": -usd,
                    "explanation": _unbilled(key, known),
                }
            )
    return entries


def _foreign(total: Total) -> str:
    return f"The bill is in {total.currency} and the estimate in USD; nothing is converted, so they are not compared."


def _unbilled(key: str, known: Known) -> str:
    if known.complete_until is None:
        return "No bill has been fetched or imported yet."
    later = known.later.get(key, Decimal(0))
    if later > 0:
        return _delay(known.complete_until, later)
    return "Nothing was billed for it: its cloud's bill is not connected, or the tag flaas-project is not on the bill."


def _delay(until: date, later: Decimal) -> str:
    after = until + timedelta(days=1)
    return f"The bill is complete up to {until}; {_usd(later)} of the estimate is from {after} or later."


def _explain(total: Total, estimate: Decimal | None, known: Known) -> str:
    if estimate is None:
        return "Nothing of it was launched here, so there is no estimate."
    if abs(total.billed - estimate) < CENT:
        return "Bill and estimate agree to the cent."
    reasons = []
    later = known.later.get(total.key, Decimal(0))
    if known.complete_until is not None and later > 0:
        reasons.append(_delay(known.complete_until, later))
    if abs(total.elsewhere) >= CENT:
        reasons.append(
            f"{_usd(total.elsewhere)} of the bill carries no node's tag; the estimate covers only machines that were "
            "launched here."
        )
    saved = total.list - total.billed
    if saved >= CENT:
        reasons.append(f"Discounts and credits take {_usd(saved)} off list prices.")
    if not reasons:
        reasons.append(
            "The rest is what the estimate cannot know: disks and addresses, started minutes, taxes, and where traffic "
            "went. It is estimated at internet prices, unless all nodes of a run stand in one cloud, and without the "
            "gigabytes that a cloud gives for free."
        )
    return " ".join(reasons)


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f} USD"
