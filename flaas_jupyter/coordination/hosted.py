"""One API process: its data base and what runs in the background beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..governance.confidentiality import Vault
from ..governance.identity import Authenticator, BearerTokens, Caller, NodeSignatures, keys
from ..governance.identity.bearer import AccessTokens, Bearer
from ..governance.identity.provider import IdentityProvider
from ..governance.rbac.usage import UsageLog
from .database import Database
from .housekeeping import Housekeeping
from .launching import Launching
from .metrics import Metrics
from .presence import Presence
from .refusals import Refusals
from .scheduler import Scheduler
from .services import identity_audit
from .services.dials import DialLimits
from .services.price_refresh import PriceRefresh
from .services.recommendations import Prices
from .settings import Settings
from .streams import EventLog
from .tables import Node, SeenRequest

_PRICES_SECONDS = 3.0
"""How long the end waits for prices that are being fetched; those that come later are not kept."""


class Hosted:
    """The parts of one API process.

    Parameters
    ----------
    settings : Settings
        How it is run.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database_url)
        self.prices = Prices()
        self.price_refresh = PriceRefresh(self.database, self.prices)
        self.log = EventLog(self.database, settings.poll)
        self.metrics = Metrics(self.database, settings, lambda: self.log.followers)
        self.scheduler = Scheduler(self.database, settings)
        self.presence = Presence(self.database, settings, self.scheduler.node_came_online)
        self.launching = Launching(self.database, settings, self.prices)
        self.vault = Vault.load()
        self.provider = IdentityProvider(self._signing_keys, vault=self.vault, audit=identity_audit.note)
        self.usage = UsageLog()
        self.dials = DialLimits()
        self.refusals = Refusals(self.database)
        self.housekeeping = Housekeeping(self.database, self.provider, self.usage, settings.housekeeping)
        access = AccessTokens(self._find, self.provider.keys, self._organisation_of)
        self.authenticators: list[Authenticator] = [
            Bearer(BearerTokens(self._find).authenticate, access.authenticate),
            NodeSignatures(self._organisation_of, self._first_use),
        ]
        self.database.on_events(self.log.wake)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Bring the schema up to date, then look after events, presence and deadlines."""
        await self.database.run(self.database.migrate)
        await self.database.run(self.housekeeping.prepare)
        tasks = [
            asyncio.create_task(self.log.run()),
            asyncio.create_task(self.presence.beat()),
            asyncio.create_task(self.scheduler.run(self.presence)),
            asyncio.create_task(self.launching.run()),
            asyncio.create_task(self.housekeeping.run()),
        ]
        try:
            yield
        finally:
            self.log.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self.price_refresh.join, _PRICES_SECONDS)
            await asyncio.to_thread(self.database.close)

    def _signing_keys(self) -> Mapping[str, list[dict[str, str]]]:
        with self.database.reading() as session:
            return keys.jwk_set(session, datetime.now(UTC))

    def _find(self, whom: Callable[[Session], Caller]) -> Caller:
        with self.database.reading() as session:
            return whom(session)

    def _organisation_of(self, node_id: str) -> str | None:
        with self.database.reading() as session:
            node = session.get(Node, node_id)
            return node.organisation if node is not None and node.removed is None else None

    def _first_use(self, node_id: str, jti: str, expires: datetime) -> bool:
        try:
            with self.database.noting() as session:
                session.add(SeenRequest(node=node_id, jti=jti, expires=expires))
        except IntegrityError:
            return False
        return True
