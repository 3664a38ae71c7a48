"""The data base of a standalone `Rbac`: SQLite, also in memory, or PostgreSQL, one transaction for each call.

Writers take turns, those of other processes too: SQLite by ``BEGIN IMMEDIATE``, PostgreSQL by the advisory lock that
the coordination API takes as well. So a precondition still holds when the change that relies on it is written.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from ...errors import InvalidInput, Unreachable
from .. import sqlite
from ..tables import Base
from .tables import TABLES

WRITERS_LOCK = 0x666C616173
"""Key of the advisory lock under which every writer of the hosted side works."""
_BUSY_SECONDS = 20


class Store:
    """Engine and transactions; the tables are created if they are not there.

    Parameters
    ----------
    url : str
        ``sqlite:///path``, ``sqlite://`` (in memory) or ``postgresql://…``.

    Raises
    ------
    InvalidInput
        Code ``bad-database-url``.
    Unreachable
        Code ``database-unreachable``.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self.in_memory = self._url.get_backend_name() == "sqlite" and self._url.database in (None, "", ":memory:")
        self.lock = threading.RLock()
        """Held by writers on SQLite; in memory, where all share one connection, by readers too."""
        self.engine = self._connect()
        try:
            with self.writing() as session:
                Base.metadata.create_all(session.connection(), tables=TABLES)
        except DBAPIError as error:
            self.engine.dispose()
            raise Unreachable(
                f"The data base {self} cannot be used: {error.orig}.",
                code="database-unreachable",
                hint="Check that it runs, that the URL is right, and that its folder exists and is writable.",
            ) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session alone with the data base; it is committed at the end, or rolled back on any error."""
        with self._turn(), Session(self._writers, expire_on_commit=False) as session:
            if self.engine.dialect.name == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITERS_LOCK})
            yield session
            session.commit()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session on one snapshot."""
        with self.lock if self.in_memory else contextlib.nullcontext(), Session(self._readers) as session:
            yield session

    def connection(self) -> Any:
        """Return a driver's connection of the caller's own, on which every statement is a transaction by itself."""
        pooled = self.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        if self.engine.dialect.name == "postgresql":
            connection.autocommit = True
        return connection

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def __repr__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def _turn(self) -> contextlib.AbstractContextManager[object]:
        """Threads of this process queue here for SQLite, which itself would have them poll for their turn."""
        return self.lock if self.engine.dialect.name == "sqlite" else contextlib.nullcontext()

    def _options(self) -> str:
        """Of the connections to PostgreSQL: work for the whole platform, where tables have row-level security."""
        given = self._url.query.get("options", ())
        return " ".join([*([given] if isinstance(given, str) else given), "-c flaas.system=on"])

    def _connect(self) -> Engine:
        if self._url.get_backend_name() == "postgresql":
            engine = create_engine(self._url, pool_pre_ping=True, connect_args={"options": self._options()})
            # A writer that has waited for its turn must see what the one before it has done.
            self._writers: Engine = engine.execution_options(isolation_level="READ COMMITTED")
            self._readers: Engine = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            return engine
        alone: dict[str, Any] = {"poolclass": StaticPool} if self.in_memory else {}
        connect = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
        engine = create_engine(self._url, connect_args=connect, **alone)
        event.listen(engine, "connect", sqlite.prepare)
        event.listen(engine, "begin", sqlite.begin)
        self._readers = engine
        self._writers = engine.execution_options(flaas_begin="BEGIN IMMEDIATE")
        return engine


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url("it is no URL") from error
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise _bad_url(f"{parsed.drivername!r} is not supported")
    return parsed.set(drivername="sqlite+pysqlite")


def _bad_url(why: str) -> InvalidInput:
    return InvalidInput(
        f"The URL of the data base cannot be used: {why}.",
        code="bad-database-url",
        hint="Give sqlite:///path/to/file.db, sqlite:// (in memory) or postgresql://user:password@host/name.",
    )
