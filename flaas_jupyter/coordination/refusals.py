"""Refused requests in the audit log: who was recognised and tried what they may not do.

The same person trying the same operation is told once a minute and process, with how often it was tried since the last
entry, so that nobody fills the log by knocking. Somebody who was not recognised has no name to write down; the server's
own log and the limit of failed sign-ins are for them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..governance import audit
from ..governance.identity import Caller
from .database import Database

PAUSE = 60.0
"""Seconds in which further refusals of an operation to the same caller are only counted."""
MOST = 10_000
"""Callers and operations that are remembered; the oldest are forgotten, which costs an entry more, never one less."""


class Refusals:
    """Notes the refusals of one API process.

    Parameters
    ----------
    database : Database
        Where the audit log is.
    clock : callable
        Seconds, never going back.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def note(self, caller: Caller, operation: str, method: str, path: str, code: str) -> None:
        """Tell that `caller` was refused `operation` at `path` with the error `code`."""
        unnoted = self._due((caller.subject, operation))
        if unnoted is None:
            return
        with self._database.writing() as session:
            audit.append(
                session,
                actor=caller.subject,
                actor_kind=caller.kind,
                operation=operation,
                object=audit.opaque(path.removeprefix("/v1/")),
                organisation=caller.organisation,
                outcome="refused",
                details={"method": method, "code": code, "since_last_count": unnoted},
            )

    def _due(self, key: tuple[str, str]) -> int | None:
        """Return how many refusals went by without an entry if one is due now, else None."""
        with self._lock:
            now = self._clock()
            last = self._last.pop(key, None)
            if last is not None and now - last[0] < PAUSE:
                self._last[key] = (last[0], last[1] + 1)
                return None
            if len(self._last) >= MOST:
                del self._last[next(iter(self._last))]
            self._last[key] = (now, 0)
            return 0 if last is None else last[1]
