"""A bill fetched from a cloud's own interface: bounded, patient with throttling, checked like any other bill."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from ...errors import Aborted, InvalidInput
from ..driver import CloudDriver, Throttled
from . import focus

MOST_ROWS = 300_000
_TRIES = 5
_LONGEST_WAIT = 300.0
_WAIT = 5.0
"""Seconds, where a cloud does not say how long to wait."""


def charges(driver: CloudDriver, start: date, end: date, stop: threading.Event) -> list[focus.Charge]:
    """Return what `driver`'s account was billed from `start` to before `end`, all of it or nothing.

    A cloud that throttles is asked again after as long as it says, five times at most.

    Raises
    ------
    Aborted
        `stop` was set.
    InvalidInput
        Codes ``bad-bill`` and ``bill-too-long``.
    FlaasError
        What the driver raises.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return list(focus.checked(_whole(row) for row in _bounded(driver.costs(start, end), stop)))
        except Throttled as error:
            wait = float(error.details.get("retry_after") or _WAIT)
            if attempt == _TRIES or wait > _LONGEST_WAIT:
                raise
            if stop.wait(wait):
                break
    raise Aborted("The fetch was stopped.")


def _bounded(rows: Iterable[Mapping[str, Any]], stop: threading.Event) -> Iterator[Mapping[str, Any]]:
    for count, row in enumerate(rows, 1):
        if stop.is_set():
            raise Aborted("The fetch was stopped.")
        if count > MOST_ROWS:
            raise InvalidInput(
                f"The bill has more than {MOST_ROWS:,} rows.",
                code="bill-too-long",
                hint="Fetch fewer days at a time, or import the cloud's own export files.",
            )
        yield row


def _whole(row: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what not every interface tells: columns that a bill must have and that follow from others.

    Where a cloud does not tell what a charge costs amortised or at list prices, what it billed stands for it.
    """
    whole = dict.fromkeys(focus.MANDATORY) | dict(row)
    for name in ("EffectiveCost", "ListCost"):
        if whole[name] is None:
            whole[name] = whole["BilledCost"]
    whole["ServiceCategory"] = whole["ServiceCategory"] or "Other"
    whole["ChargeCategory"] = whole["ChargeCategory"] or "Usage"
    started = whole["ChargePeriodStart"]
    if isinstance(started, datetime) and whole["BillingPeriodStart"] is None:
        month = datetime(started.year, started.month, 1, tzinfo=UTC)
        after = datetime(started.year + started.month // 12, started.month % 12 + 1, 1, tzinfo=UTC)
        whole["BillingPeriodStart"], whole["BillingPeriodEnd"] = month, after
    return whole
