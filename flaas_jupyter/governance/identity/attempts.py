"""Lock-out and rate limits: counted in the data base, before any password is hashed, for all API processes together.

An account answers the first five attempts at once; each further one doubles the wait, up to a quarter of an hour, so
that guessing is hopeless and the owner is never out for longer. Attempts during the wait are refused without being
counted. An address has a budget of attempts a minute over all accounts. Accounts that do not exist are counted alike.
An attempt is counted when it begins: many at the same time gain nothing.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from .oauth_errors import too_many
from .tables import Attempts

FORGET = timedelta(days=1)
"""After so long without an attempt the account answers at once again."""


@dataclass(frozen=True)
class Limits:
    """How many attempts are heard.

    Parameters
    ----------
    free : int
        Attempts at an account before it makes one wait.
    first_wait, longest_wait : float
        Seconds that an account makes one wait at first and at most; each time twice as long.
    per_address, window : int, float
        Attempts that an address has in a window of so many seconds.
    """

    free: int = 5
    first_wait: float = 1.0
    longest_wait: float = 900.0
    per_address: int = 30
    window: float = 60.0


class RecentWaits:
    """Remembers for a second who has to wait, so that thousands of attempts do not reach the data base.

    A lock-out that is reset elsewhere is noticed a second later. Nothing of it is kept.
    """

    _SECONDS, _MOST = 1.0, 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, datetime]] = {}

    def note(self, name: str, until: datetime) -> None:
        """Note that `name` has to wait until `until`."""
        with self._lock:
            if len(self._known) >= self._MOST:
                self._known.clear()
            self._known[name] = (self._clock(), until)

    def require_over(self, names: tuple[str, ...], now: datetime) -> None:
        """Check that no one of `names` is known to wait; `OAuthError` 429 otherwise."""
        with self._lock:
            known = [self._known[name] for name in names if name in self._known]
        present = self._clock()
        waits = [until for noted, until in known if present - noted < self._SECONDS and until > now]
        if waits:
            raise too_many((max(waits) - now).total_seconds())


def address_key(address: str) -> str:
    """Return what an address is counted by: all of an IPv4 address, the first 64 bits of IPv6 (one customer)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((parsed, 64), strict=False))


def waiting(session: Session, key: str, now: datetime) -> datetime | None:
    """Return until when whoever has `key` has to wait; None if it has not."""
    row = session.get(Attempts, key)
    return row.retry_at if row is not None and row.retry_at > now else None


def require_heard(session: Session, keys: tuple[str, ...], now: datetime) -> None:
    """Check, changing nothing, that no one of `keys` has to wait.

    Raises
    ------
    OAuthError
        429 with ``Retry-After``.
    """
    waits = [until for key in keys if (until := waiting(session, key, now)) is not None]
    if waits:
        raise too_many((max(waits) - now).total_seconds())


def count_account(session: Session, key: str, now: datetime, limits: Limits) -> None:
    """Count an attempt at an account as failed; `forget` it when it succeeds."""
    row = _row(session, key, now)
    if now - row.since > FORGET:
        row.count = 0
    row.count, row.since = row.count + 1, now
    if row.count >= limits.free:
        wait = min(limits.first_wait * 2.0 ** min(row.count - limits.free, 32), limits.longest_wait)
        row.retry_at = now + timedelta(seconds=wait)
    session.flush()


def count_address(session: Session, key: str, now: datetime, limits: Limits) -> None:
    """Count an attempt from an address."""
    row = _row(session, key, now)
    if (now - row.since).total_seconds() >= limits.window:
        row.count, row.since = 0, now
    row.count += 1
    if row.count >= limits.per_address:
        row.retry_at = row.since + timedelta(seconds=limits.window)
    session.flush()


def forget(session: Session, key: str) -> None:
    """Have the account answer at once again: somebody has signed in, or an administrator has reset it."""
    session.execute(delete(Attempts).where(Attempts.key == key))


def prune(session: Session, now: datetime) -> None:
    """Remove what counts no more."""
    session.execute(delete(Attempts).where(Attempts.since < now - FORGET, Attempts.retry_at < now))


def _row(session: Session, key: str, now: datetime) -> Attempts:
    row = session.get(Attempts, key)
    if row is None:
        row = Attempts(key=key, count=0, since=now, retry_at=now)
        session.add(row)
    return row
