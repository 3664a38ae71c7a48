"""The endpoints of simulations on this machine, and of the catalogue of rules and attacks.

See `handlers` for why each verb stands by itself. Files are read and answers written in threads: a journal can have
hundreds of megabytes, and notebooks' kernels talk through the same event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tornado import web

from .catalogue import Catalogue
from .handlers import FlaasHandler, authorized
from .problems import Problem
from .simulations import Simulations

SIMULATIONS, PROTOCOLS = "flaas:simulations", "flaas:protocols"
"""Resources that an Authorizer is asked about."""


class _SimulationsHandler(FlaasHandler):
    """What the endpoints of simulations share."""

    @property
    def simulations(self) -> Simulations:
        """The simulations of this server's user."""
        simulations: Simulations = self.settings["flaas_simulations"]
        return simulations

    async def _answer(self, ask: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        self.finish(await asyncio.to_thread(lambda: json.dumps(ask(*arguments), allow_nan=False)))

    def _count(self, name: str, default: int, most: int) -> int:
        """Return the query parameter `name`, a whole number from 0 to `most`."""
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) < 16 and int(text) <= most):
            raise Problem(
                422,
                "bad-query",
                "A query parameter is not right",
                f"{name}={text[:40]!r} is not a whole number from 0 to {most}.",
                kind="InvalidInput",
            )
        return int(text)


class SimulationsHandler(_SimulationsHandler):
    """``GET flaas/simulations?limit=n``: the newest, without their clients."""

    @web.authenticated
    @authorized("read", SIMULATIONS)
    async def get(self) -> None:
        """List the simulations, newest first."""
        await self._answer(self.simulations.newest, self._count("limit", 50, 500))


class SimulationHandler(_SimulationsHandler):
    """``flaas/simulations/{id}``: one, with its clients."""

    @web.authenticated
    @authorized("read", SIMULATIONS)
    async def get(self, name: str) -> None:
        """Read one simulation."""
        await self._answer(self.simulations.whole, name)

    @web.authenticated
    @authorized("write", SIMULATIONS)
    async def delete(self, name: str) -> None:
        """Delete one that does not run."""
        await asyncio.to_thread(self.simulations.delete, name)
        self.log.info("Deleted the simulation %s.", name)
        self.set_status(204)
        self.finish()


class RoundsHandler(_SimulationsHandler):
    """``GET flaas/simulations/{id}/rounds?after=k&limit=n``: reports that follow the first `k`, in columns."""

    @web.authenticated
    @authorized("read", SIMULATIONS)
    async def get(self, name: str) -> None:
        """Read on in the journal; ``after`` of the answer is where to go on, ``total`` how far it goes."""
        after, limit = self._count("after", 0, 1 << 40), self._count("limit", 500, 5000)
        await self._answer(self.simulations.rounds, name, after, limit)


class StopHandler(_SimulationsHandler):
    """``POST flaas/simulations/{id}/stop``: end it before its next round."""

    _track_activity = True

    @web.authenticated
    @authorized("write", SIMULATIONS)
    async def post(self, name: str) -> None:
        """Ask it to stop; its engine looks between rounds, so that it may run for a while yet."""
        self.set_status(202)
        await self._answer(self.simulations.stop, name)


class ProtocolsHandler(FlaasHandler):
    """``GET flaas/protocols``: the catalogue of aggregation rules and attacks."""

    @web.authenticated
    @authorized("read", PROTOCOLS)
    async def get(self) -> None:
        """Answer with the catalogue; the first time it takes as long as a process takes to start."""
        catalogue: Catalogue = self.settings["flaas_catalogue"]
        self.finish(await catalogue.get())
