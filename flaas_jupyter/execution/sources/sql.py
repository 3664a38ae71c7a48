"""Tables of SQL data bases: a SQLAlchemy URL and one SELECT.

``postgresql://host/name`` and ``sqlite:////folder/file.db``. The user may be in the address, the password never: it
comes from the data base's normal chain (``~/.pgpass``, ``PGPASSWORD``, peer authentication) or a secret, which is the
password or has ``username`` and ``password``.

The query runs in a transaction that the server itself keeps from writing, with a cursor on the server's side, so that
an answer larger than memory streams. Types are the server's where it tells them (PostgreSQL), otherwise those that
hold all values of the answer. The stamp is a digest of the query and of what it answers now, made by the server where
it can.
"""

from __future__ import annotations

import contextlib
import decimal
import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import FlaasError, InvalidInput, NotAllowed, Unreachable
from ..formats.canonical import canonical_type, require_names, unified_type
from ..formats.refusals import unreadable
from .file_source import require_columns
from .folders import AllowedFolders
from .opening import Request
from .secrets import Secret
from .select_only import not_installed, single_select
from .source import ROWS, Source

_NAMED = {"postgresql": "postgres", "postgres": "postgres", "sqlite": "sqlite"}
_DRIVERS = {"postgres": "postgresql+psycopg", "sqlite": "sqlite+pysqlite"}
# Parameters of an address that say how to connect, and nothing about where secrets or programs are.
_PARAMETERS = ("host", "port", "sslmode", "sslrootcert", "connect_timeout", "application_name")
_OIDS = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 26: pa.int64(), 700: pa.float32(),
    701: pa.float64(), 1700: pa.float64(), 25: pa.string(), 1042: pa.string(), 1043: pa.string(), 18: pa.string(),
    19: pa.string(), 2950: pa.string(), 17: pa.binary(), 1082: pa.date32(), 1114: pa.timestamp("us"),
    1184: pa.timestamp("us", "UTC"), 1083: pa.time64("us"),
}  # fmt: skip
_NOT_LET_IN = re.compile(r"authentication failed|FATAL: +(role|no pg_hba)|no password supplied", re.IGNORECASE)
_TOLD = {"42P01": "there is no such table", "42703": "there is no such column", "42501": "the user may not read that"}


def open_at(request: Request) -> Source:
    """Return the source of a data base's address and a query; see `open_source`."""
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        raise not_installed("SQLAlchemy") from error
    if request.format is not None:
        raise InvalidInput("A data base has no format of files.", code="bad-source", hint="Leave --format out.")
    if not request.query or not request.query.strip():
        raise InvalidInput(
            "A data base is read with a query.", code="not-a-select", hint='Give one: --query "SELECT … FROM …".'
        )
    try:
        url = make_url(request.url)
    except (ArgumentError, ValueError) as error:
        raise InvalidInput("That is not the address of a data base.", code="bad-source") from error
    dialect = _NAMED[url.drivername.partition("+")[0]]
    strange = sorted(set(url.query) - set(_PARAMETERS))
    if strange:
        raise InvalidInput(
            f"The address has parameters that are not used: {', '.join(strange)[:200]}; known are "
            f"{', '.join(_PARAMETERS)}.",
            code="bad-source",
        )
    if dialect == "sqlite":
        url = _sqlite(request, url)
    shown = url.set(drivername=url.drivername.partition("+")[0]).render_as_string(hide_password=True)
    secret = Secret.of(request)
    if secret is not None:
        known = secret.document() or {"password": secret.value.strip("\r\n")}
        url = url.set(username=known.get("username") or url.username, password=known.get("password"))
    url = url.set(drivername=_DRIVERS[dialect])
    return SqlSource(shown, single_select(request.query, dialect), dialect, url, tuple(request.texts))


def _sqlite(request: Request, url: Any) -> Any:
    allowed = AllowedFolders.of(request.home, request.policy.data_folders, by_operator=request.by_operator)
    if not url.database or url.database.startswith((":", "file:")) or url.host:
        raise InvalidInput("Write sqlite:////FOLDER/FILE.db.", code="bad-source")
    path = allowed.checked(Path.cwd() / url.database)
    if not path.is_file():
        raise unreadable(path, "there is no such file")
    return url.set(database=str(path), query={})


@dataclass
class SqlSource:
    """The answer to a query as a `Source`.

    Parameters
    ----------
    url : str
        Without a password.
    query : str
        As `single_select` has checked and written it.
    dialect : str
        ``"postgres"`` or ``"sqlite"``.
    address : sqlalchemy.engine.URL
        With the password.
    texts : sequence of str
        Columns that are given as texts.
    """

    url: str
    query: str
    dialect: str
    address: Any = field(repr=False)
    texts: Sequence[str] = ()
    kind: str = "sql"
    _known: Any = field(default=None, repr=False)

    def stamp(self) -> str:
        """See `Source.stamp`."""
        digest = hashlib.sha256(self.query.encode())
        with self._reading() as connection:
            if self.dialect == "postgres":
                answer = connection.exec_driver_sql(_literal(_digest_query(self.query))).one()
                digest.update(repr(tuple(map(str, answer))).encode())
            else:
                for rows in self._answer(connection).partitions(ROWS):
                    digest.update(repr([tuple(row) for row in rows]).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def schema(self) -> Any:
        """See `Source.schema`."""
        if self._known is None:
            with self._reading() as connection:
                self._known = self._schema(connection)
        return self._known

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[Any]:
        """See `Source.batches`."""
        schema = self.schema()
        wanted = schema.names if columns is None else list(columns)
        require_columns(self.url, schema, wanted)
        places = [schema.names.index(name) for name in wanted]
        chosen = pa.schema([schema.field(name) for name in wanted])
        with self._reading() as connection:
            answer = self._answer(connection)
            if list(answer.keys()) != schema.names:
                raise self._changed()
            for part in answer.partitions(rows):
                values = list(zip(*part, strict=True))
                try:
                    arrays = [_array(values[place], schema.field(place).type) for place in places]
                except (pa.ArrowException, ValueError, TypeError, OverflowError):
                    raise self._changed() from None
                yield pa.RecordBatch.from_arrays(arrays, schema=chosen)

    def _schema(self, connection: Any) -> Any:
        answer = self._answer(connection)
        names = list(answer.keys())
        require_names(self.url, names)
        if self.dialect == "postgres":
            kinds = [_OIDS.get(column.type_code) for column in answer.cursor.description]
            answer.close()
        else:
            kinds = _inferred(answer, len(names))
        for name, kind in zip(names, kinds, strict=True):
            if kind is None:
                raise unreadable(
                    f"The answer of {self.url}",
                    f"column {name!r} is of a type that is not read, or of several",
                    f"Convert it in the query: CAST({name} AS DOUBLE PRECISION), or AS TEXT.",
                )
        return pa.schema(
            [
                (name, pa.string() if name in self.texts else canonical_type(kind))
                for name, kind in zip(names, kinds, strict=True)
            ]
        )

    def _answer(self, connection: Any) -> Any:
        """Run the query with a cursor on the server's side."""
        query = self.query if self.dialect == "sqlite" else _literal(self.query)
        return connection.exec_driver_sql(query, execution_options={"stream_results": True, "max_row_buffer": ROWS})

    def _changed(self) -> InvalidInput:
        return InvalidInput(
            f"The answer of {self.url} has changed while it was read.", code="changed-while-read", hint="Try again."
        )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Any]:
        """Give a connection in a transaction that cannot write and sees one state of the data base."""
        from sqlalchemy import create_engine
        from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
        from sqlalchemy.pool import NullPool

        try:
            engine = create_engine(
                _read_only_file(self.address) if self.dialect == "sqlite" else self.address,
                poolclass=NullPool,
                hide_parameters=True,
                connect_args=_CONNECT.get(self.dialect, {}),
            )
            with engine.connect() as connection:
                for statement in _READ_ONLY[self.dialect]:
                    connection.exec_driver_sql(statement)
                try:
                    yield connection
                finally:
                    with contextlib.suppress(SQLAlchemyError):
                        connection.rollback()
        except (NoSuchModuleError, ImportError) as error:
            raise not_installed("psycopg" if self.dialect == "postgres" else "sqlite3") from error
        except DBAPIError as error:
            raise self._refused(error) from None  # its message may have values in it
        except SQLAlchemyError as error:
            raise unreadable(self.url, f"the query failed ({type(error).__name__})") from error

    def _refused(self, error: Any) -> FlaasError:
        """Return what an error of the driver means; the data base's own words may have values in them."""
        from sqlalchemy.exc import InterfaceError, OperationalError

        state, text = str(getattr(error.orig, "sqlstate", None) or ""), str(error.orig)
        if state[:2] == "28" or _NOT_LET_IN.search(text):
            return NotAllowed(
                f"{self.url} does not let this node in.",
                code="source-access-denied",
                hint="Keep the password with `flaas secret set NAME` and name it with --secret NAME.",
            )
        if state == "25006" or "readonly database" in text:
            return InvalidInput(
                "The query would write to the data base.", code="not-a-select", hint="Write one SELECT that only reads."
            )
        if state == "42501":
            return NotAllowed(f"{self.url}: {_TOLD[state]}.", code="source-access-denied", hint="GRANT SELECT on it.")
        lost = not state and self.dialect != "sqlite" and isinstance(error, OperationalError | InterfaceError)
        if state[:2] in ("08", "57", "53") or lost:
            return Unreachable(
                f"{self.url} does not answer.", code="source-unreachable", hint="Check host, port, and name."
            )
        what = _TOLD.get(state, f"the data base refuses the query ({type(error.orig).__name__} {state}".rstrip() + ")")
        return unreadable(self.url, what, "Try the query with the data base's own client.")


_READ_ONLY = {
    "postgres": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET LOCAL TIME ZONE 'UTC'",
        # The same rows in the same order each time, as far as the query leaves it open.
        "SET LOCAL synchronize_seqscans = off",
        "SET LOCAL max_parallel_workers_per_gather = 0",
    ),
    "sqlite": ("PRAGMA query_only = 1", "BEGIN"),
}
_CONNECT: dict[str, dict[str, Any]] = {"postgres": {"connect_timeout": 15}}


def _read_only_file(url: Any) -> Any:
    """Address of an SQLite file that the library opens for reading alone."""
    from urllib.parse import quote

    return url.set(database=f"file:{quote(url.database)}", query={"mode": "ro", "uri": "true"})


def _literal(query: str) -> str:
    """Write percent signs as drivers want them that look for parameters, of which there are none."""
    return query.replace("%", "%%")


def _digest_query(query: str) -> str:
    """One row about an answer: how many rows, and sums of two hashes of them that no order changes."""
    sums = ", ".join(f"coalesce(sum(hashtextextended(q::text, {seed})), 0)" for seed in (0, 1))
    return f"SELECT count(*), {sums} FROM ({query}) AS q"  # noqa: S608 - `single_select` has made it


def _inferred(answer: Any, width: int) -> list[Any]:
    """Return the type of each column that holds all of its values, None where there is none."""
    kinds: list[Any] = [pa.null()] * width
    for part in answer.partitions(ROWS):
        for place, values in enumerate(zip(*part, strict=True)):
            found = _kind_of(values)
            known = kinds[place]
            kinds[place] = None if known is None or found is None else unified_type(known, found)
    return kinds


def _kind_of(values: Sequence[Any]) -> Any:
    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if len(kinds) > 1 and kinds != {int, float}:
        return None
    try:
        kind = pa.infer_type(plain)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return None if pa.types.is_nested(kind) else kind


def _array(values: Sequence[Any], kind: Any) -> Any:
    if pa.types.is_string(kind):
        return pa.array([value if value is None or isinstance(value, str) else str(value) for value in values], kind)
    return pa.array([_plain(value) for value in values], kind)


def _plain(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    return bytes(value) if isinstance(value, memoryview) else value
