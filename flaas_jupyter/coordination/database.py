"""One data base, SQLite or PostgreSQL, with the same two promises on both.

Reading sees one snapshot. Writers take turns: SQLite by itself (``BEGIN IMMEDIATE``), PostgreSQL by an advisory lock
that is held to the end of the transaction. Coordination writes are few and small (a handful per round), and in return
every check of a state and its change are one step, and the numbers of events rise in the order in which they become
visible, so that a reader that has seen event n has seen all before it.

Each session works for a tenant (see `governance.isolation`), and nobody waits for ever: not for a turn or a row that
somebody else holds, not for a transaction that nothing goes on in, not for a peer that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from ..errors import Conflict, InvalidInput, Unreachable
from ..governance import sqlite
from ..governance.isolation import SYSTEM, ScopedSession, Tenant, roles

P = ParamSpec("P")
T = TypeVar("T")

_WRITERS_LOCK = 0x666C616173  # "flaas"
_MIGRATIONS_LOCK = _WRITERS_LOCK + 1
_BUSY_SECONDS = 20
"""How long one waits for a turn to write, or for a row that another writer holds."""
_IDLE_SECONDS = 60
"""How long a transaction may stay open while nothing is asked of it."""
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "connect_timeout": 20,
}
"""Of connections to PostgreSQL (libpq, "Parameter Key Words"): seconds, but for ``tcp_user_timeout`` (ms)."""
_THREADS = 16
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Engine and sessions.

    Parameters
    ----------
    url : str
        ``sqlite:///path`` or ``postgresql://…``; the latter is spoken with psycopg 3.

    Raises
    ------
    InvalidInput
        Code ``bad-database-url``.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self.kind = self._url.get_backend_name()
        self._turn = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="database")
        self._listeners: list[Callable[[], None]] = []
        self._on_error: list[Callable[[ExceptionContext], None]] = []
        self._engine = self._connect()

    def reading(self, tenant: Tenant = SYSTEM) -> contextlib.AbstractContextManager[Session]:
        """Open a session of `tenant` on one snapshot; what is changed in it is thrown away."""
        return self._session(self._readers, tenant)

    @contextlib.contextmanager
    def writing(self, tenant: Tenant = SYSTEM) -> Iterator[Session]:
        """Open a session of `tenant` alone with the data base; committed at the end, or rolled back on any error.

        Raises
        ------
        Unreachable
            Code ``database-unavailable``: no turn came in 20 seconds (on PostgreSQL an error of its own that
            `is_away` knows).
        """
        with self._one_at_a_time(), self._session(self._writers, tenant) as session:
            if self.kind == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_LOCK})
            yield session
            session.commit()
            changed = bool(session.info.get("events"))
        if changed:
            for listener in self._listeners:
                listener()

    @contextlib.contextmanager
    def noting(self, tenant: Tenant = SYSTEM) -> Iterator[Session]:
        """As `writing`, without waiting for a turn on PostgreSQL: for what appends no event and checks no state."""
        with self._one_at_a_time(), self._session(self._writers, tenant) as session:
            yield session
            session.commit()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`, which uses the data base, in a thread; `close` waits for it even if the caller does not."""
        call = functools.partial(work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def on_events(self, listener: Callable[[], None]) -> None:
        """Call `listener`, from whichever thread, after each commit that has appended events."""
        self._listeners.append(listener)

    def on_errors(self, listener: Callable[[BaseException], None]) -> None:
        """Call `listener`, from whichever thread, with each error of the data base, whoever deals with it."""

        def tell(context: ExceptionContext) -> None:
            if context.sqlalchemy_exception is not None:
                listener(context.sqlalchemy_exception)

        self._on_error.append(tell)
        event.listen(self._engine, "handle_error", tell)

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema up to `revision`, as the role that the URL names, and let the API's role in.

        Raises
        ------
        Unreachable
            Code ``database-unreachable``.
        Conflict
            Code ``database-newer``: a newer version of the package has migrated it.
        InvalidInput
            Code ``database-role-bypasses-isolation``: nothing would hold the API to the policies.
        """
        from alembic.util import CommandError

        try:
            with self._alone() as connection:
                _bring_to(connection, revision)
            if self.kind == "postgresql":
                with self._alone() as connection:
                    roles.prepare(connection)
        except OperationalError as error:
            raise Unreachable(
                f"The data base {self} cannot be used: {error.orig}.",
                code="database-unreachable",
                hint="Check that it runs, that the URL is right, and that its folder exists and is writable.",
            ) from error
        except CommandError as error:
            raise Conflict(
                f"The data base {self} was made by a newer version of flaas_jupyter ({error}).",
                code="database-newer",
                hint="Upgrade the package, or restore an older backup.",
            ) from error

    def close(self) -> None:
        """Close the connections, once what goes on in threads is done."""
        self._threads.shutdown(wait=True)
        self._engine.dispose()
        # The mappers' caches of statements keep the engine's dialect, and with it whoever listens there.
        while self._on_error:
            event.remove(self._engine, "handle_error", self._on_error.pop())

    def __repr__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def _session(self, engine: Engine, tenant: Tenant) -> Session:
        return ScopedSession(engine, expire_on_commit=False, info={"tenant": tenant})

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Threads of this process queue here for SQLite, which itself would have them poll for their turn."""
        if self.kind != "sqlite":
            yield
            return
        if not self._turn.acquire(timeout=_BUSY_SECONDS):
            raise Unreachable(
                f"Others have been writing for {_BUSY_SECONDS} seconds.",
                code="database-unavailable",
                hint="Try again in a second.",
            )
        try:
            yield
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Connection]:
        """Open a transaction of migrations: as who has signed in, on a connection of its own, one process at a time."""
        if self.kind == "sqlite":
            with self._writers.connect() as connection, connection.begin():
                yield connection
            return
        engine = create_engine(self._url, poolclass=NullPool, connect_args=self._keepalive)
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATIONS_LOCK})
            # The owner of the tables is subject to their policies too.
            connection.execute(text("SELECT set_config('flaas.system', 'on', true)"))
            yield connection

    @property
    def _keepalive(self) -> dict[str, int]:
        """What the URL does not say itself."""
        return {name: value for name, value in _KEEPALIVE.items() if name not in self._url.query}

    def _connect(self) -> Engine:
        options: dict[str, Any] = {"pool_size": 10, "max_overflow": 40}
        if self.kind == "postgresql":
            engine = create_engine(self._url, pool_pre_ping=True, connect_args=self._keepalive, **options)
            event.listen(engine, "connect", _prepare_postgresql)
            # A writer that has waited for its turn must see what the one before it has done.
            self._writers: Engine = engine.execution_options(isolation_level="READ COMMITTED")
            self._readers: Engine = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            return engine
        # Connections to a file are cheap to keep and dear to open: all that threads could need at once are kept.
        engine = create_engine(self._url, connect_args={"timeout": _BUSY_SECONDS}, pool_size=64, max_overflow=16)
        event.listen(engine, "connect", sqlite.prepare)
        event.listen(engine, "begin", sqlite.begin)
        self._readers = engine
        self._writers = engine.execution_options(flaas_begin="BEGIN IMMEDIATE")
        return engine


def is_away(error: DBAPIError) -> bool:
    """Tell whether `error` may pass by itself: the data base is away, restarting or very busy."""
    return isinstance(error, OperationalError) or error.connection_invalidated


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url("it is no URL") from error
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise _bad_url(f"{parsed.drivername!r} is not supported")
    if parsed.database in (None, "", ":memory:"):
        raise _bad_url("a data base in memory ends with the process")
    return parsed.set(drivername="sqlite+pysqlite")


def _bad_url(why: str) -> InvalidInput:
    return InvalidInput(
        f"The URL of the data base cannot be used: {why}.",
        code="bad-database-url",
        hint="Give sqlite:///path/to/file.db or postgresql://user:password@host/name.",
    )


def _bring_to(connection: Connection, revision: str) -> None:
    """Run the migrations between the schema's revision and `revision`, forwards or back."""
    from alembic import command
    from alembic.migration import MigrationContext

    newest_first = _revisions()
    present = MigrationContext.configure(connection).get_current_revision()
    if revision == "head" and present == newest_first[0]:
        return
    config = _migrations()
    config.attributes["connection"] = connection
    back = present in newest_first[: newest_first.index(revision)] if revision in newest_first else False
    (command.downgrade if back else command.upgrade)(config, revision)


def _migrations() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


@functools.cache
def _revisions() -> tuple[str, ...]:
    """Return the names of all migrations, the newest first."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_migrations())
    return tuple(each.revision for each in scripts.iterate_revisions("head", "base"))


def _prepare_postgresql(connection: Any, _: Any) -> None:
    """Go over to the API's role, and give up what takes too long, unless the URL or the role has limits of its own."""
    limits = {"lock_timeout": _BUSY_SECONDS, "idle_in_transaction_session_timeout": _IDLE_SECONDS}
    with connection.cursor() as cursor:
        for name, seconds in limits.items():
            cursor.execute(
                "SELECT set_config(%s, %s, false) WHERE current_setting(%s) = '0'", (name, f"{seconds}s", name)
            )
        roles.enter(cursor)
    connection.commit()  # a rollback would take it back
