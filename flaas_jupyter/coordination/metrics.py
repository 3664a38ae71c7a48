"""What Prometheus is told of the API: what this process has answered, and how the platform stands.

The first is counted in this process; the second is read from the data base when it is asked for, and is left out,
with ``flaas_api_database_up`` at 0, while the data base does not answer: counters must be had then above all.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session

from ..errors import Unreachable
from ..governance.approvals.tables import PENDING, Request
from ..observability.registry import process_registry
from . import presence
from .database import Database, is_away
from .services import runs
from .settings import Settings
from .tables import Node, Query, Upload

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_PATIENCE = 3.0
"""Seconds that the data base has for the platform's gauges before the rest is told without them."""
_BUCKETS = (0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 20.0)


class Metrics:
    """Counters and gauges of one API process.

    Parameters
    ----------
    database : Database
        Where the platform's gauges are read; its errors are counted.
    settings : Settings
        Says when a node is online.
    streams : callable
        Returns how many event streams are open.
    """

    def __init__(self, database: Database, settings: Settings, streams: Callable[[], int]) -> None:
        self._process = process_registry()
        self._platform = CollectorRegistry()
        self._platform.register(_Platform(database, settings, self._answers))
        self._looking: asyncio.Future[bytes] | None = None
        self._requests = Counter(
            "flaas_api_requests", "Requests answered.", ["route", "method", "status"], registry=self._process
        )
        self._seconds = Histogram(
            "flaas_api_request_seconds",
            "Time from a request to the beginning of its answer.",
            ["route", "method"],
            buckets=_BUCKETS,
            registry=self._process,
        )
        self._bytes = Counter(
            "flaas_api_body_bytes",
            "Bytes of request and answer bodies.",
            ["direction"],
            registry=self._process,
        )
        self._errors = Counter(
            "flaas_api_database_errors", "Errors of the data base.", ["kind"], registry=self._process
        )
        self._up = Gauge("flaas_api_database_up", "Whether the data base answers.", registry=self._process)
        open_streams = Gauge("flaas_api_event_streams", "Open event streams.", registry=self._process)
        open_streams.set_function(streams)
        for direction in ("in", "out"):
            self._bytes.labels(direction)
        for kind in ("away", "constraint", "other"):
            self._errors.labels(kind)
        database.on_errors(self._database_error)

    def moved(self, direction: str, count: int) -> None:
        """Count `count` body bytes ``"in"`` or ``"out"``."""
        self._bytes.labels(direction).inc(count)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer: `route` is a template of the API or ``"none"``, `method` one of `METHODS` or ``"other"``."""
        self._requests.labels(route, method, f"{status // 100}xx").inc()
        self._seconds.labels(route, method).observe(seconds)

    def text(self) -> bytes:
        """Return all of it in Prometheus's text format 0.0.4; waits for the data base."""
        platform = generate_latest(self._platform)
        return generate_latest(self._process) + platform

    async def exposed(self) -> bytes:
        """Return `text`, without the platform's gauges if the data base takes more than 3 seconds for them."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(asyncio.to_thread(generate_latest, self._platform))
        done, _ = await asyncio.wait([self._looking], timeout=_PATIENCE)
        if not done:
            self._answers(False)
        return generate_latest(self._process) + (self._looking.result() if done else b"")

    def _answers(self, up: bool) -> None:
        self._up.set(up)

    def _database_error(self, error: BaseException) -> None:
        if isinstance(error, IntegrityError):
            kind = "constraint"
        else:
            kind = "away" if isinstance(error, DBAPIError) and is_away(error) else "other"
        self._errors.labels(kind).inc()


class _Platform(Collector):
    """Gauges of what is in the data base, counted when they are asked for."""

    def __init__(self, database: Database, settings: Settings, answers: Callable[[bool], None]) -> None:
        self._database, self._settings, self._answers = database, settings, answers

    def collect(self) -> Iterator[Metric]:
        try:
            with self._database.reading() as session:
                found = list(itertools.chain(self._runs(session), self._waiting(session)))
        except (DBAPIError, NoConnectionFree, Unreachable):
            self._answers(False)
            return
        self._answers(True)
        yield from found

    def describe(self) -> list[Metric]:
        return []  # registering must not ask the data base

    def _runs(self, session: Session) -> Iterator[Metric]:
        counted = GaugeMetricFamily("flaas_api_runs", "Runs by state.", labels=["state"])
        for state, count in runs.count_by_state(session).items():
            counted.add_metric([state], count)
        yield counted

    def _waiting(self, session: Session) -> Iterator[Metric]:
        now = datetime.now(UTC)
        online = presence.online(now, self._settings)
        for name, text, table, condition in (
            ("flaas_api_nodes_online", "Nodes that hold their event stream.", Node, online),
            ("flaas_api_approvals_waiting", "Critical actions that wait.", Request, Request.state == PENDING),
            ("flaas_api_queries_open", "Questions that go on.", Query, Query.closed.is_(None) & (Query.expires > now)),
            ("flaas_api_uploads_open", "Uploads that go on.", Upload, Upload.closed.is_(None) & (Upload.expires > now)),
        ):
            count = session.scalar(select(func.count()).select_from(table).where(condition))
            yield GaugeMetricFamily(name, text, value=count or 0)
