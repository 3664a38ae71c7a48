"""Launching in one API process: the worker, the reaper, and what they are given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy.orm import Session

from .._version import __version__
from ..costs.launch.cloud_init import Software
from ..costs.launch.plan import Booting, PriceOf
from ..costs.launch.reaper import Reaper
from ..costs.launch.tokens import SecretKey
from ..costs.launch.worker import Drivers, Timing, Worker
from .database import Database
from .services import launches
from .services.recommendations import Prices
from .settings import Settings


class Launching:
    """What launches, watches and ends machines; tests put their own drivers, prices and budgets in.

    Parameters
    ----------
    database : Database
        Where launches are.
    settings : Settings
        How the API is run.
    prices : Prices, optional
        The catalog of this process.
    """

    def __init__(self, database: Database, settings: Settings, prices: Prices | None = None) -> None:
        catalog = prices or Prices()
        self.drivers: Drivers = launches.drivers_of(database, settings)
        self.price_of: Callable[[Session], PriceOf] = lambda session: launches.catalog_price(session, catalog)
        self.daily = launches.daily_of(catalog)
        self.budget_left: launches.BudgetLeft = launches.budget_left_by(self.daily)
        self._pause = settings.launch_reap
        self._database = database
        software = Software(settings.boot_package or f"flaas_jupyter[node]=={__version__}", settings.boot_index)
        self.worker = Worker(
            database,
            launches.NodesAndRuns(settings),
            lambda organisation, provider, account: self.drivers(organisation, provider, account),
            SecretKey.load,
            Booting(software, ca_fingerprint=settings.ca_fingerprint),
            Timing(
                tick=settings.launch_tick,
                lease=settings.launch_lease,
                look=settings.launch_look,
                look_ending=min(settings.launch_look, Timing.look_ending),
                settle=settings.launch_settle,
            ),
        )
        self.reaper = Reaper(
            database,
            lambda organisation, provider, account: self.drivers(organisation, provider, account),
            reaped=launches.reaped,
        )

    async def run(self) -> None:
        """Work for ever."""
        await asyncio.gather(self.worker.run(), self.reaper.run(self._pause))
