"""What the API does for governance by itself: carries out what was approved, and removes what has expired."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from ..governance import approvals
from ..governance.identity.provider import IdentityProvider
from ..governance.rbac import defaults, sessions
from ..governance.rbac.usage import UsageLog
from . import events
from .database import Database

logger = logging.getLogger(__name__)

_SWEEP = timedelta(seconds=60)


class Housekeeping:
    """The background work of governance in one API process; several on one data base do not disturb each other.

    Parameters
    ----------
    database : Database
        Where everything is.
    provider : IdentityProvider
        Whose expired sign-ins are removed.
    usage : UsageLog
        Which permissions were made use of, to be written down once a minute.
    tick : float
        Seconds between looks for approved actions that have cooled down.
    """

    def __init__(self, database: Database, provider: IdentityProvider, usage: UsageLog, tick: float) -> None:
        self._database = database
        self._provider = provider
        self._usage = usage
        self._tick = tick
        self._swept = datetime.now(UTC)

    def prepare(self) -> None:
        """Write what every installation has into an empty data base: roles, separation of duties, signing keys."""
        with self._database.writing() as session:
            defaults.install(session)
            self._provider.prepare(session)

    async def run(self) -> None:
        """Work for ever."""
        while True:
            await asyncio.sleep(self._tick)
            try:
                await self._database.run(self.look)
            except Exception:
                logger.exception("approved actions and expired sessions could not be looked at")

    def look(self) -> None:
        """Look once."""
        now = datetime.now(UTC)
        with self._database.reading() as session:
            is_due = approvals.has_due(session, now)
        if is_due:
            with self._database.writing() as session:
                approvals.execute_due(session, now)
        if now - self._swept >= _SWEEP:
            self._swept = now
            self.sweep()

    def sweep(self) -> None:
        """Write down what was used, and remove what has expired."""
        with self._database.writing() as session:
            self._usage.flush(session)
            self._provider.prune(session)
            sessions.end_expired(session)
            events.forget(session, datetime.now(UTC))
