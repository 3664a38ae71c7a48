"""Fetching list prices anew, and an organisation's own prices, in the background of one API process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import delete
from sqlalchemy.orm import Session

from ...costs import accounts
from ...costs.catalog import Catalog, prices_folder
from ...costs.driver import CloudDriver
from ...costs.tables import OwnPrice
from ...errors import Conflict, FlaasError
from .. import hal
from ..database import Database
from .recommendations import Prices

logger = logging.getLogger(__name__)


class PriceRefresh:
    """One refresh at a time; the last good prices stay whatever happens, so a killed process loses nothing.

    Parameters
    ----------
    database : Database
        Where accounts are, and where own prices are kept.
    prices : Prices
        What is refreshed.
    """

    def __init__(self, database: Database, prices: Prices) -> None:
        self._database = database
        self._prices = prices
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.refreshed: datetime | None = None
        self.outcome: dict[str, tuple[str, str]] = {}
        """By provider: state and problem of the last refresh."""

    @property
    def running(self) -> bool:
        """Whether prices are being fetched."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, organisation: str) -> None:
        """Fetch prices with the accounts of `organisation`.

        Raises
        ------
        Conflict
            ``refresh-running``; ``no-cloud-account``.
        """
        with self._lock:
            if self.running:
                raise Conflict(
                    "Prices are being fetched already.", code="refresh-running", hint="Look again in a minute."
                )
            with self._database.reading() as session:
                drivers = {
                    account.provider: accounts.open_driver(session, organisation, account.id)
                    for account in accounts.listed(session, organisation)
                }
            if not drivers:
                raise Conflict(
                    "Your organisation has no cloud account to ask for prices.",
                    code="no-cloud-account",
                    hint="Enter one with `flaas costs account add aws` (or azure, gcp).",
                )
            self.outcome = dict.fromkeys(drivers, ("running", ""))
            self._thread = threading.Thread(
                target=self._refresh, args=(organisation, drivers), name="prices", daemon=True
            )
            self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of a refresh."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _refresh(self, organisation: str, drivers: Mapping[str, CloudDriver]) -> None:
        today = datetime.now(UTC).date()
        for provider, driver in drivers.items():
            try:
                report = self._prices.catalog().refresh(prices_folder(), {provider: driver.prices}, today=today)
                (one,) = report.providers
                state = ("replaced", "") if one.replaced else ("kept", one.message)
                self._own(organisation, provider, driver, report.catalog, today)
            except FlaasError as error:
                state = ("failed", error.message)
            except Exception:
                logger.exception("fetching the prices of %s failed", provider)
                state = ("failed", "The API's log says why.")
            self.outcome = {**self.outcome, provider: state}
        self.refreshed = datetime.now(UTC)

    def _own(self, organisation: str, provider: str, driver: CloudDriver, catalog: Catalog, today: date) -> None:
        """Replace the organisation's own prices at one provider."""
        told = list(driver.negotiated(_wanted(catalog, provider)))
        with self._database.noting() as session:
            session.execute(
                delete(OwnPrice).where(OwnPrice.organisation == organisation, OwnPrice.provider == provider)
            )
            session.add_all(
                OwnPrice(
                    organisation=organisation,
                    provider=provider,
                    region=row["region"],
                    instance_type=row["instance_type"],
                    market=row.get("market", "on_demand"),
                    usd_hour=float(row["usd_hour"] if "usd_hour" in row else row["price_usd_hour"]),
                    kind=row.get("kind", "negotiated"),
                    source=row.get("source", provider),
                    as_of=row.get("as_of") or today,
                )
                for row in told
            )


def _wanted(catalog: Catalog, provider: str) -> Iterable[dict[str, Any]]:
    rows = catalog.rows_of(provider)
    everything = np.arange(len(rows))
    regions, types = rows.region.texts(everything), rows.instance_type.texts(everything)
    for region, instance_type in zip(regions, types, strict=True):
        yield {"provider": provider, "region": region, "instance_type": instance_type}


def show(prices: Prices, refresh: PriceRefresh) -> hal.Resource:
    """Return how old prices are, and how their refresh goes on."""
    catalog, today = prices.catalog(), datetime.now(UTC).date()
    ages = catalog.age(today)
    providers = {}
    for name in catalog.providers:
        state, problem = refresh.outcome.get(name, ("kept", ""))
        days = ages.get(name)
        as_of = None if days is None else (today - timedelta(days=days)).isoformat()
        providers[name] = {"rows": len(catalog.rows_of(name)), "as_of": as_of, "state": state, "problem": problem}
    body = {
        "state": "running" if refresh.running else "idle",
        "refreshed": hal.instant(refresh.refreshed),
        "providers": providers,
        "warnings": catalog.warnings(),
    }
    return hal.resource(body, "/v1/costs/prices")


def accounts_by_provider(session: Session, organisation: str) -> dict[str, str]:
    """Return the account that an organisation launches with at each provider: the one it entered first."""
    found: dict[str, str] = {}
    for account in accounts.listed(session, organisation):
        found.setdefault(account.provider, account.id)
    return found
