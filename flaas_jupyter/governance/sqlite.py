"""How connections to SQLite are made ready: write-ahead log, foreign keys, and transactions that SQLAlchemy begins."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import Connection

BUSY_SECONDS = 20
"""How long one waits for a turn to write."""
_PAUSE = 0.01


def prepare(connection: Any, _: Any) -> None:
    """Have transactions begin where SQLAlchemy says so, not where Python's driver thinks fit (event ``connect``)."""
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def begin(connection: Connection) -> None:
    """Begin as the engine's option ``flaas_begin`` says (event ``begin``)."""
    connection.exec_driver_sql(connection.get_execution_options().get("flaas_begin", "BEGIN"))


def _write_ahead(connection: Any) -> None:
    """Switch to the write-ahead log; SQLite itself does not wait while another process is doing so."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")  # a data base in memory stays as it is
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
