"""Cloud accounts as the interface shows them, and the background work that fetches their bills."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from ...costs import accounts, providers
from ...costs.accounts import CloudAccount
from ...costs.billing import charges, fetch
from ...costs.billing.focus import day as day_of
from ...costs.launch import usage
from ...errors import FlaasError
from ...governance import scopes
from .. import hal
from ..access import View
from ..database import Database
from ..meanings import MEANINGS

logger = logging.getLogger(__name__)

_STALE = timedelta(seconds=60)
_BEAT_SECONDS = 15.0
_POLL_SECONDS = 2.0
_AT_ONCE = 2
_SETTLING_DAYS = 2
"""Clouds tell most of a day's costs within two days (AWS and Azure in 24 h, Google Cloud a little later)."""


def organisation_of(view: View) -> str | None:
    """Return whose accounts and bills `view` has; None for everybody's."""
    return None if view.everything else view.own


def find(session: Session, view: View, account_id: str) -> CloudAccount:
    """Return the account; `NotFound` (code ``unknown-account``) if the caller sees none."""
    return accounts.find(session, organisation_of(view), account_id)


def show_provider(name: str) -> dict[str, Any]:
    """Return a provider with what it needs to know to sign in."""
    cls = providers.driver_class(name)
    fields = [
        {
            "name": each.name,
            "label": each.label,
            "secret": each.secret,
            "required": each.required,
            "help": each.help,
        }
        for each in cls.fields
    ]
    return {"provider": name, "title": cls.title, "fields": fields}


def show(view: View, account: CloudAccount) -> hal.Resource:
    """Return the account as the caller sees it; nothing of it is secret."""
    href = f"/v1/costs/accounts/{account.id}"
    manages = view.may("costs:manage", scopes.organisation(account.organisation))
    idle = account.fetch_state != "running"
    body = {
        "id": account.id,
        "provider": account.provider,
        "title": account.title,
        "organisation": account.organisation,
        "identity": account.identity,
        "permissions": account.permissions,
        "overlays": account.overlays,
        "created": hal.instant(account.created),
        "checked": hal.instant(account.checked),
        "fetch": {
            "state": account.fetch_state,
            "at": hal.instant(account.fetch_at),
            "from": _iso(account.fetch_from),
            "to": _iso(account.fetch_to),
            "rows": account.fetch_rows,
            "problem": account.fetch_problem,
            "next": hal.instant(accounts.next_fetch(account)),
        },
    }
    return hal.resource(
        body,
        href,
        check=hal.link(f"{href}/check", "POST") if manages else None,
        fetch=hal.link(f"{href}/fetch", "POST") if manages and idle else None,
        overlays=hal.link(f"{href}/overlays", "PUT") if manages else None,
        delete=hal.link(href, "DELETE") if manages else None,
    )


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


class BillFetcher:
    """Fetches bills in the background. What is to be fetched stands in the data base, so a restart forgets nothing.

    A process that fetches says every 15 s that it is alive; what a dead one has left is taken up by another.

    Parameters
    ----------
    database : Database
        Of the API.
    every : timedelta
        How often each bill is fetched by itself, see `flaas_jupyter.costs.accounts.is_due`; 0 for never.
    clock : callable, optional
        What tells the time.
    """

    def __init__(
        self, database: Database, every: timedelta = timedelta(0), clock: Callable[[], datetime] | None = None
    ) -> None:
        self._database = database
        self._every = every
        self._now = clock or (lambda: datetime.now(UTC))
        self._id = secrets.token_hex(8)
        self._stop = threading.Event()
        self._wake: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy: dict[str, threading.Thread] = {}

    def wake(self) -> None:
        """Look at once what is to be fetched, from whichever thread."""
        if self._loop is not None and self._wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: so has this process's work
                self._loop.call_soon_threadsafe(self._wake.set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[BillFetcher]:
        """Fetch as long as the context lasts; what is not finished then is given back."""
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self._stop.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(self._give_back)

    async def _run(self) -> None:
        assert self._wake is not None
        last_beat = 0.0
        while True:
            try:
                await self._database.run(self.look)
                now = asyncio.get_running_loop().time()
                if self._busy and now - last_beat > _BEAT_SECONDS:
                    last_beat = now
                    await self._database.run(self._beat)
            except Exception:
                logger.exception("looking for bills to fetch failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _POLL_SECONDS)
            self._wake.clear()

    def look(self) -> None:
        """Ask for the bills that are due, and begin to fetch what was asked for."""
        self._ask()
        self._begin()

    def join(self) -> None:
        """Wait for the fetches that were begun."""
        for thread in list(self._busy.values()):
            thread.join()

    def _ask(self) -> None:
        """Ask for each bill that is due; of several processes that find it so, one asks."""
        if not self._every:
            return
        query = select(CloudAccount).where(CloudAccount.removed.is_(None), CloudAccount.fetch_state != "running")
        with self._database.reading() as session:
            due = [row.id for row in session.scalars(query) if accounts.is_due(row, self._now(), self._every)]
        for account_id in due:
            with self._database.noting() as session:
                account = session.get(CloudAccount, account_id, with_for_update=True)
                if account is not None and accounts.is_due(account, self._now(), self._every):
                    accounts.ask_for_bill(account, None, None, now=self._now())

    def _begin(self) -> None:
        for account_id in [each for each, thread in self._busy.items() if not thread.is_alive()]:
            del self._busy[account_id]
        if len(self._busy) >= _AT_ONCE:
            return
        with self._database.reading() as session:
            due = list(session.scalars(select(CloudAccount.id).where(*self._due()).order_by(CloudAccount.created)))
        for account_id in due:
            if len(self._busy) < _AT_ONCE and account_id not in self._busy and self._claim(account_id):
                thread = threading.Thread(target=self._fetch, args=(account_id,), name="bill", daemon=True)
                self._busy[account_id] = thread
                thread.start()

    def _due(self) -> tuple[Any, ...]:
        abandoned = self._now() - _STALE
        return (
            CloudAccount.fetch_state == "running",
            CloudAccount.removed.is_(None),
            or_(CloudAccount.fetch_owner.is_(None), CloudAccount.fetch_beat < abandoned),
        )

    def _claim(self, account_id: str) -> bool:
        claim = update(CloudAccount).where(CloudAccount.id == account_id, *self._due())
        claim = claim.values(fetch_owner=self._id, fetch_beat=self._now())
        with self._database.noting() as session:
            result: Any = session.execute(claim, execution_options={"synchronize_session": False})
            return bool(result.rowcount == 1)

    def _beat(self) -> None:
        self._mine({"fetch_beat": self._now()})

    def _give_back(self) -> None:
        """Let the next process take up at once what this one has not finished."""
        if self._busy:
            self._mine({"fetch_owner": None})

    def _mine(self, values: dict[str, Any]) -> None:
        mine = update(CloudAccount).where(CloudAccount.fetch_owner == self._id, CloudAccount.fetch_state == "running")
        with self._database.noting() as session:
            session.execute(mine.values(**values), execution_options={"synchronize_session": False})

    def _fetch(self, account_id: str) -> None:
        """Fetch one account's bill, in a thread of its own; whatever goes wrong is kept with the account."""
        began = self._now()
        try:
            with self._database.reading() as session:
                account = accounts.find(session, None, account_id)
                start, end = account.fetch_from, account.fetch_to
                driver = accounts.open_driver(session, account.organisation, account_id)
            assert start is not None
            assert end is not None
            rows = fetch.charges(driver, start, end, self._stop)
            with self._database.reading() as session:
                rows = usage.with_nodes(session, account.organisation, rows)
            self._keep(account, (start, end), rows, began)
        except FlaasError as error:
            self._end(account_id, None, began, error)
        except Exception:
            if self._stop.is_set():
                return  # the data base was closed under it; another process starts over
            logger.exception("fetching the bill of cloud account %s failed", account_id)
            self._end(account_id, None, began, FlaasError("The fetch failed; the API's log says why.", code="internal"))
        finally:
            self.wake()

    def _keep(
        self, account: CloudAccount, window: tuple[date, date], rows: list[dict[str, Any]], began: datetime
    ) -> None:
        """Write the bill day by day, so that others who write need not wait for all of it."""
        by_day: dict[date, list[dict[str, Any]]] = {}
        for row in rows:
            by_day.setdefault(day_of(row), []).append(row)
        for day in _days(window):
            if self._stop.is_set():
                return
            with self._database.noting() as session:
                charges.lock(session, account.organisation)
                one = (day, day + timedelta(days=1))
                charges.cover(session, account.organisation, account.id, one, by_day.get(day, []), began)
        settled = min(window[1] - timedelta(days=1), began.date() - timedelta(days=_SETTLING_DAYS))
        self._end(account.id, len(rows), began, None, settled)

    def _end(
        self,
        account_id: str,
        rows: int | None,
        began: datetime,
        error: FlaasError | None,
        settled: date | None = None,
    ) -> None:
        if self._stop.is_set():
            return
        with self._database.noting() as session:
            account = session.get(CloudAccount, account_id)
            if account is None or account.fetch_owner != self._id:
                return
            account.fetch_state = "done" if error is None else "failed"
            account.fetch_owner = account.fetch_beat = None
            account.fetch_at = began
            if rows is not None:
                account.fetch_rows = rows
            if settled is not None:
                account.complete_until = max(settled, account.complete_until or settled)
            account.fetch_problem = None if error is None else problem_of(error)


def problem_of(error: FlaasError) -> dict[str, Any]:
    """Return an error as a problem (RFC 9457) that may be stored and shown."""
    meaning = MEANINGS.get(error.code)
    return {
        "type": f"/problems/{error.code}",
        "title": meaning.title if meaning else type(error).__name__,
        "detail": error.message,
        "code": error.code,
        "hint": error.hint or (meaning.remedy if meaning else ""),
    }


def _days(window: tuple[date, date]) -> Iterator[date]:
    for number in range((window[1] - window[0]).days):
        yield window[0] + timedelta(days=number)
