"""Decisions on access without a session of SQLAlchemy: one prepared statement on a connection that is kept.

Every statement is a transaction by itself, so what anybody has committed, in another process too, counts at once.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from . import sessions
from .errors import unknown
from .lookup import require_unexpired
from .store import Store

Statement = tuple[str, Callable[[dict[str, str]], Any]]
"""SQL in the driver's own form, and what makes its parameters of the named ones."""


class Decisions:
    """Answers ``check_access``.

    Parameters
    ----------
    store : Store
        Where the tables are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._postgresql = store.engine.dialect.name == "postgresql"
        self._lost: tuple[type[Exception], ...] = (
            (store.engine.dialect.loaded_dbapi.OperationalError,) if self._postgresql else ()
        )
        self._statements: dict[int, Statement] = {}
        self._idle: deque[Any] = deque()

    def permitted(self, session_id: str, operation: str, object: str, within: tuple[str, ...]) -> bool:
        """Decide; see `sessions.check_access`."""
        given = sessions.decision_parameters(session_id, operation, object, within)
        sql, parameters = self._statements.get(len(within)) or self._compile(len(within))
        rows = self._ask(sql, parameters(given))
        if not rows:
            raise unknown("session", session_id)
        expires, permitted = rows[0]
        if expires is not None:
            if isinstance(expires, str):
                expires = datetime.fromisoformat(expires).replace(tzinfo=UTC)
            require_unexpired(expires)
        return bool(permitted)

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    def _compile(self, count: int) -> Statement:
        compiled = sessions.decision(count).compile(dialect=self._store.engine.dialect)
        sql, order = str(compiled), getattr(compiled, "positiontup", None)
        statement: Statement = (sql, lambda given: given)
        if order is not None:
            statement = (sql, lambda given: [given[name] for name in order])
        self._statements[count] = statement
        return statement

    def _ask(self, sql: str, parameters: Any) -> Any:
        if self._store.in_memory:
            with self._store.lock, contextlib.closing(self._store.engine.raw_connection()) as shared:
                cursor = shared.cursor()
                cursor.execute(sql, parameters)
                return cursor.fetchall()
        connection = self._idle.pop() if self._idle else self._store.connection()
        try:
            rows = self._execute(connection, sql, parameters)
        except self._lost:
            # The server was started anew, or the network has cut an idle connection: the question loses nothing.
            connection.close()
            self.close()
            connection = self._store.connection()
            rows = self._execute(connection, sql, parameters)
        self._idle.append(connection)
        return rows

    def _execute(self, connection: Any, sql: str, parameters: Any) -> Any:
        # Read to the end: a statement that is left open would hold its snapshot.
        if self._postgresql:
            return connection.execute(sql, parameters, prepare=True).fetchall()
        return connection.execute(sql, parameters).fetchall()
