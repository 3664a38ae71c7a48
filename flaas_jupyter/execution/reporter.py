"""Reports to the coordination API: in order, retried until they arrive, never in a round's way."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..communications.coordinator import Coordinator
from ..errors import FlaasError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Report:
    method: Literal["put", "post"]
    path: str
    body: dict[str, Any]
    key: str


class Reporter:
    """One ordered queue of reports.

    Parameters
    ----------
    coordinator : Coordinator
        The coordination API.
    refused : callable
        Told of a report that the API refuses for good: its path and the error.
    """

    def __init__(self, coordinator: Coordinator, refused: Callable[[str, FlaasError], None]) -> None:
        self._coordinator = coordinator
        self._refused = refused
        self._queue: asyncio.Queue[_Report] = asyncio.Queue()

    def put(self, path: str, body: dict[str, Any]) -> None:
        """Queue a PUT."""
        self._queue.put_nowait(_Report("put", path, body, ""))

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Queue a POST, with an idempotency key so that a retry does nothing twice."""
        self._queue.put_nowait(_Report("post", path, body, secrets.token_hex(16)))

    async def flush(self, limit: float) -> None:
        """Wait until the queue is empty, at most `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self._queue.join()
        except TimeoutError:
            log.warning("the coordination API is behind: %d reports wait", self._queue.qsize())

    async def run(self) -> None:
        """Deliver reports until cancelled."""
        while True:
            report = await self._queue.get()
            try:
                await self._deliver(report)
            except FlaasError as error:
                log.warning("%s was refused: %s", report.path, error)
                self._refused(report.path, error)
            finally:
                self._queue.task_done()

    async def _deliver(self, report: _Report) -> None:
        if report.method == "put":
            await self._coordinator.put(report.path, report.body, retry_for=math.inf)
        else:
            await self._coordinator.post(report.path, report.body, idempotency_key=report.key, retry_for=math.inf)
