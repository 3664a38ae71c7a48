"""Finds machines that carry this installation's tag and that nobody wants any more, and ends them.

There should be none: the worker ends what it launched. The reaper is for what the data base does not know, for instance
because it was restored from a backup. Machines of another installation are never touched, whatever project they name.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ...errors import FlaasError
from ..driver import INSTALLATION_TAG, LAUNCH_TAG, Machine
from . import plan, states
from .tables import LaunchedMachine, LaunchRow
from .worker import Drivers, Store

logger = logging.getLogger(__name__)

Place = tuple[str, str, str | None]
"""Organisation, provider, account."""


@dataclass
class Swept:
    """What one sweep found.

    Parameters
    ----------
    ended : list of Machine
        Ours, of no launch that is open: they were told to end.
    foreign : list of Machine
        Of another installation, or of none.
    problems : list of (Place, FlaasError)
        Where it could not be looked, or something could not be ended.
    """

    ended: list[Machine] = field(default_factory=list)
    foreign: list[Machine] = field(default_factory=list)
    problems: list[tuple[Place, FlaasError]] = field(default_factory=list)


class Reaper:
    """Compares what runs with what is wanted.

    Parameters
    ----------
    store : Store
        Where the launches are.
    drivers : callable
        Returns the driver for an organisation, provider and account.
    places : callable, optional
        Given a reading session, returns further places to look at, for instance every account with its regions.
    reaped : callable, optional
        Given a writing session and a machine that was told to end.
    """

    def __init__(
        self,
        store: Store,
        drivers: Drivers,
        *,
        places: Callable[[Session], list[tuple[str, str, str | None, str]]] | None = None,
        reaped: Callable[[Session, Machine], None] | None = None,
    ) -> None:
        self._store = store
        self._drivers = drivers
        self._places = places or (lambda session: [])
        self._reaped = reaped or (lambda session, machine: None)
        self.last = Swept()

    async def run(self, pause: float) -> None:
        """Sweep for ever, every `pause` seconds."""
        while True:
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(self.sweep)
            except Exception:
                logger.exception("orphans could not be looked for")

    def sweep(self) -> Swept:
        """Look once, everywhere."""
        swept = Swept()
        with self._store.reading() as session:
            regions: dict[Place, set[str]] = defaultdict(set)
            for organisation, provider, account, region in [*places_used(session), *self._places(session)]:
                regions[organisation, provider, account].add(region)
            installation = plan.installation(session) if regions else ""
            over = set(session.scalars(_settled(select(LaunchedMachine.token))))
        for place, names in regions.items():
            try:
                driver = self._drivers(*place)
                found = driver.describe(installation, sorted(names))
                # The data base is read before and after the cloud: what was launched in between is known by then, and
                # what has ended in between was no orphan when the cloud showed it.
                for machine in found:
                    if machine.tags.get(INSTALLATION_TAG) != installation:
                        swept.foreign.append(machine)
                    elif not machine.gone and (machine.token in over or not self._is_known(machine)):
                        driver.terminate(machine)
                        swept.ended.append(machine)
                        self._say(machine)
            except FlaasError as error:
                logger.warning("machines of %s at %s could not be looked at: %s", place[0], place[1], error)
                swept.problems.append((place, error))
        self.last = swept
        return swept

    def _is_known(self, machine: Machine) -> bool:
        """Tell whether `machine` was launched from this data base."""
        with self._store.reading() as session:
            known = (
                select(LaunchRow.number)
                .join(LaunchedMachine, LaunchedMachine.launch == LaunchRow.number)
                .where(LaunchedMachine.token == machine.token, LaunchRow.id == machine.tags.get(LAUNCH_TAG, ""))
            )
            return session.scalars(known).first() is not None

    def _say(self, machine: Machine) -> None:
        logger.warning(
            "orphan %s at %s (%s, launch %s) was told to end",
            machine.id,
            machine.provider,
            machine.region,
            machine.tags.get(LAUNCH_TAG),
        )
        with self._store.writing() as session:
            self._reaped(session, machine)


def _settled(query: Any) -> Any:
    """Narrow `query` to machines of which nothing was left."""
    return query.join(LaunchRow, LaunchedMachine.launch == LaunchRow.number).where(
        or_(LaunchedMachine.over, LaunchRow.state.in_(states.OVER))
    )


def places_used(session: Session) -> list[tuple[str, str, str | None, str]]:
    """Return every (organisation, provider, account, region) in which a machine was ever asked for."""
    query = (
        select(LaunchRow.organisation, LaunchedMachine.provider, LaunchedMachine.account, LaunchedMachine.region)
        .join(LaunchedMachine, LaunchedMachine.launch == LaunchRow.number)
        .distinct()
    )
    rows: list[Any] = list(session.execute(query))
    return [(organisation, provider, account, region) for organisation, provider, account, region in rows]
