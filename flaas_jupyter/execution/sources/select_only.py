"""The first wall around a data base: what is sent to it is one SELECT, and nothing that writes.

The query is parsed (sqlglot), held against what a SELECT may be made of, and written anew from what was parsed, so that
what runs is what was checked, whatever comments or quotes the text had. The second wall is the data base's own: a
transaction that may only read (`sql`).
"""

from __future__ import annotations

from typing import Any

from ...errors import InvalidInput

_MAXIMUM = 100_000
# They read files, reach other data bases, wait, or act on the server, in the middle of a SELECT.
_FORBIDDEN = (
    "dblink", "lo_", "pg_read_", "pg_ls_", "pg_stat_file", "pg_terminate", "pg_cancel", "pg_reload", "pg_rotate",
    "pg_sleep", "pg_advisory", "pg_try_advisory", "pg_notify", "pg_logical", "pg_replication", "pg_create_", "pg_drop_",
    "pg_switch", "pg_promote", "pg_file", "pg_execute", "set_config", "setval", "nextval", "query_to_xml",
    "table_to_xml", "database_to_xml", "cursor_to_xml", "schema_to_xml", "load_file", "load_extension", "sleep",
    "benchmark", "get_lock", "release_lock", "sys_exec", "sys_eval", "writefile", "readfile", "fts3_tokenizer",
    "utl_", "dbms_", "httpuritype", "xp_", "openrowset", "opendatasource", "read_csv", "read_parquet",
)  # fmt: skip


def single_select(query: str, dialect: str) -> str:
    """Return a query as it is to run.

    Parameters
    ----------
    query : str
        A SELECT (or WITH … SELECT, or several joined by UNION, INTERSECT or EXCEPT).
    dialect : str
        sqlglot's name of the data base's language.

    Raises
    ------
    InvalidInput
        Code ``not-a-select``; ``not-installed`` without sqlglot. Messages do not repeat the query.
    """
    try:
        import sqlglot
        from sqlglot import exp
        from sqlglot.errors import SqlglotError
    except ImportError as error:
        raise not_installed("sqlglot") from error
    if len(query) > _MAXIMUM or "\0" in query:
        raise _refused(f"it is longer than {_MAXIMUM} signs, or has zero bytes in it")
    try:
        statements = [entry for entry in sqlglot.parse(query, read=dialect) if entry is not None]
    except (SqlglotError, RecursionError):
        raise _refused("it cannot be parsed") from None  # the message has the query in it
    if len(statements) != 1:
        raise _refused(f"there are {len(statements)} statements")
    statement = statements[0]
    if not isinstance(statement, exp.Select | exp.SetOperation | exp.Subquery):
        raise _refused(f"it begins with {statement.key.upper()}")
    for part in statement.walk():
        _require_harmless(part, exp)
    return statement.sql(dialect=dialect, comments=False)


def _require_harmless(part: Any, exp: Any) -> None:
    acting = (
        exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Command, exp.Copy, exp.Set,
        exp.Into, exp.Lock, exp.Pragma, exp.Attach, exp.Detach, exp.Use, exp.Transaction, exp.Commit, exp.Rollback,
        exp.Describe, exp.Kill, exp.LoadData, exp.TruncateTable,
    )  # fmt: skip
    if isinstance(part, acting):
        raise _refused(f"it has {part.key.upper()} in it")
    if isinstance(part, exp.Parameter | exp.Placeholder | exp.SessionParameter):
        raise _refused("it has parameters, which nobody fills in")
    if isinstance(part, exp.Func):
        name = (part.name if isinstance(part, exp.Anonymous) else part.sql_name()).lower()
        if name.startswith(_FORBIDDEN):
            raise _refused(f"it calls {name}")


def _refused(why: str) -> InvalidInput:
    return InvalidInput(
        f"The query is not one SELECT: {why}.",
        code="not-a-select",
        hint="Write one SELECT that gives the rows; let the data base's owner make a view of whatever takes more.",
    )


def not_installed(package: str) -> InvalidInput:
    """Return the refusal of a source whose package is not installed, code ``not-installed``."""
    return InvalidInput(
        f"Data bases are read with {package}, which is not installed here.",
        code="not-installed",
        hint='pip install "flaas_jupyter[sql]"',
    )
